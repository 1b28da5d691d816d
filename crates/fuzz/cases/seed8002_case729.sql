-- Case 729 of seed 8002, made smaller.
-- q9: full, was stated INCREMENTAL (FULL: its state table cannot be continued: somebody else changed it)

CREATE TABLE t0 (id BIGINT, k INTEGER, g VARCHAR, l INTEGER[], h VARCHAR, y SMALLINT, unused INTEGER);
CREATE TABLE t1 (id BIGINT, k BIGINT, g VARCHAR, d DECIMAL(18, 2), day DATE, seen TIMESTAMP, tz TIMESTAMPTZ, ok BOOLEAN, l INTEGER[], y SMALLINT, unused INTEGER);
INSERT INTO t0 (id, k, g, l, h, y) VALUES
  (NULL, 6, 'a b', [NULL, 1], 'a', 14),
  (20, 5, 'ä%', [3], 'it''s', 10),
  (15, 2, 'b', [2, 1, 2], 'a', 8),
  (39, 4, '7', [3], '7', 9),
  (42, 2, 'b', [2, 1, 2], 'b', 5),
  (59, 0, 'ä%', [1, 2], 'ä%', 5),
  (5, NULL, NULL, [], NULL, 15),
  (12, 5, '', [NULL, 1], '', 7),
  (57, 1, '', [1, 2], '7', 9),
  (25, 2, 'a b', [1, 2], '7', 13),
  (37, 1, 'ä%', [2, 1, 2], 'a', 4),
  (31, NULL, 'a', [], 'b', 4),
  (32, 4, 'a b', [], 'it''s', 13),
  (34, 0, 'it''s', [NULL, 1], NULL, 2),
  (1, 6, '7', [1, 2], 'a b', NULL),
  (44, 5, 'B', NULL, 'a b', 1),
  (NULL, 2, 'a b', [], 'a b', 11),
  (45, NULL, '7', [2, 1, 2], 'it''s', -4),
  (57, 1, '', [1, 2], '7', 9);
INSERT INTO t1 (id, k, g, d, day, seen, tz, ok, l, y) VALUES
  (13, 1, 'b', -2.25, '2024-02-29', NULL, '2024-03-31 01:30:00+01', false, [3], 10),
  (10, 3, 'a', 0, NULL, NULL, '2024-03-31 01:30:00+01', NULL, [NULL, 1], 14),
  (8, 6, 'it''s', 99.99, '2024-02-28', '2024-03-31 02:30:00', '2024-03-31 03:30:00+00', false, [2, 1, 2], 5),
  (NULL, 0, 'a', 10.01, NULL, '2024-03-31 02:30:00', '2024-03-31 03:30:00+00', false, [NULL, 1], -1),
  (23, 2, 'it''s', 1.50, '2024-02-26', '2024-03-31 00:30:00', '2024-03-31 00:30:00+01', true, [1, 2], 16),
  (40, 2, NULL, 123456789012.34, '2024-02-29', '2024-03-31 03:30:00', '2024-03-31 02:30:00+00', false, [NULL, 1], 12),
  (10, 3, 'ä%', NULL, '2024-02-28', '2024-03-31 01:30:00', '2024-03-31 03:30:00+01', true, [2, 1, 2], 20),
  (8, 6, 'it''s', 99.99, '2024-02-28', '2024-03-31 02:30:00', '2024-03-31 03:30:00+00', false, [2, 1, 2], 5),
  (38, 0, '7', -2.25, '2024-02-29', '2024-03-31 01:30:00', NULL, NULL, [2, 1, 2], 4),
  (27, NULL, '', 123456789012.34, '2024-02-26', '2024-03-31 01:30:00', '2024-03-31 00:30:00+01', false, [], 10),
  (NULL, 5, '', 1.50, '2024-02-28', '2024-03-31 03:30:00', '2024-03-31 00:30:00+01', false, [3], NULL),
  (NULL, 5, '', 1.50, '2024-02-28', '2024-03-31 03:30:00', '2024-03-31 00:30:00+01', false, [3], NULL),
  (48, 5, 'ä%', 1.50, '2024-02-28', '2024-03-31 01:30:00', '2024-03-31 01:30:00+00', true, [NULL, 1], 6),
  (56, 6, '7', 0, '2024-02-27', '2024-03-31 03:30:00', NULL, NULL, [], -3),
  (40, 0, 'a b', 10.01, '2024-02-26', '2024-03-31 00:30:00', '2024-03-31 00:30:00+00', false, NULL, 9),
  (8, 6, 'it''s', 99.99, '2024-02-28', '2024-03-31 02:30:00', '2024-03-31 03:30:00+00', false, [2, 1, 2], 5),
  (51, 6, 'b', 10.01, NULL, '2024-03-31 01:30:00', '2024-03-31 03:30:00+01', true, [NULL, 1], 17),
  (58, 1, '7', 0, '2024-02-28', '2024-03-31 02:30:00', NULL, false, [2, 1, 2], 4),
  (17, 0, 'b', NULL, '2024-02-28', '2024-03-31 01:30:00', '2024-03-31 02:30:00+00', false, [], -3),
  (8, 6, 'it''s', 99.99, '2024-02-28', '2024-03-31 02:30:00', '2024-03-31 03:30:00+00', false, [2, 1, 2], 5),
  (12, 5, '', 0, '2024-02-27', '2024-03-31 02:30:00', '2024-03-31 01:30:00+00', true, [], -2),
  (10, 0, 'ä%', 0, '2024-02-28', '2024-03-31 00:30:00', '2024-03-31 03:30:00+00', NULL, [1, 2], NULL),
  (33, NULL, NULL, -2.25, '2024-02-29', '2024-03-31 02:30:00', '2024-03-31 01:30:00+01', false, [1, 2], 1),
  (13, 5, NULL, 123456789012.34, '2024-02-26', '2024-03-31 03:30:00', '2024-03-31 02:30:00+01', true, [], NULL);
CREATE VIEW v0 AS SELECT a1.ok AS c0, a1.tz AS c1, a1.seen AS c2, count(a1.l) AS c3 FROM t1 AS a1 GROUP BY 1, 2, 3;
CREATE VIEW v1 AS SELECT a3.c3 AS c0, a3.c1 AS c1 FROM (SELECT a2.day AS c0, a1.c0 AS c1, a2.id AS c2, last_value(a1.c1 IGNORE NULLS) OVER (PARTITION BY a2.g ORDER BY a1.c3, a1.c1, a1.c2, a1.c0, a2.id, a2.k, a2.g, a2.d, a2.day, a2.seen, a2.tz, a2.ok, a2.l, a2.y) AS c3 FROM v0 AS a1 RIGHT JOIN t1 AS a2 ON a1.c3 = a2.id AND a1.c1 <> a2.tz QUALIFY last_value(a1.c1 IGNORE NULLS) OVER (PARTITION BY a2.g ORDER BY a1.c3, a1.c1, a1.c2, a1.c0, a2.id, a2.k, a2.g, a2.d, a2.day, a2.seen, a2.tz, a2.ok, a2.l, a2.y) IS NOT NULL AND a2.d IS NOT NULL) AS a3;
CREATE DYNAMIC TABLE q4 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
SELECT DISTINCT ON (a2.h) a1.g AS c0, a2.h AS c1 FROM t0 AS a1 RIGHT JOIN t0 AS a2 ON a1.y < a2.id AND a1.y = 4 ORDER BY a2.h, a2.id DESC NULLS LAST, a1.k, a1.g, a1.l, a1.h, a1.y, a1.id, a2.k, a2.g, a2.l, a2.h, a2.y;
CREATE DYNAMIC TABLE q5 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
SELECT nullif(a4.c3, [1, 2]) AS c0, a4.c1 AS c1, a1.c1 AS c2, a4.c3 AS c3 FROM q4 AS a1 RIGHT JOIN v1 AS a2 ON a1.c1 BETWEEN 'b' AND 'a' JOIN (SELECT a3.ok AS c0, a3.id AS c1, max(a3.l) AS c2, max(a3.l) AS c3 FROM t1 AS a3 WHERE (coalesce(date_trunc('month', a3.day)::DATE, a3.day) IS NOT NULL OR a3.ok) GROUP BY a3.ok, a3.id) AS a4 ON a4.c0 IS NOT NULL, unnest(a4.c3) AS a5(v);
CREATE DYNAMIC TABLE q9 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
SELECT a3.c4 AS c0, (a3.c0 IS NULL) AS c1, count(a3.c0) AS c2 FROM (SELECT a1.c3 AS c0, a1.c0 AS c1, upper(a1.c2) AS c2, sum(DISTINCT a1.c1) AS c3, count(*) AS c4, max(a2.c0) AS c5 FROM q5 AS a1 JOIN v1 AS a2 ON (a1.c2 IS NOT NULL OR a2.c1) WHERE a2.c0 IS NOT NULL GROUP BY 1, 2, 3) AS a3, unnest(a3.c1) AS a4(v) GROUP BY a3.c4, (a3.c0 IS NULL) HAVING (a3.c0 IS NULL) BETWEEN true AND true;
UPDATE t0 SET k = 2 WHERE id IS NOT DISTINCT FROM NULL;
ALTER DYNAMIC TABLE q4 REFRESH;
ALTER DYNAMIC TABLE q5 REFRESH;
ALTER DYNAMIC TABLE q9 REFRESH;
INSERT INTO t1 (id, k, g, d, day, seen, tz, ok, l, y) VALUES
  (31, 1, 'B', 10.01, '2024-02-26', '2024-03-31 03:30:00', NULL, true, [1, 2], 6),
  (58, 0, 'ä%', 99.99, '2024-02-28', '2024-03-31 03:30:00', NULL, false, [3], NULL);
DELETE FROM t0 WHERE k = 2;
EXPLAIN DYNAMIC TABLE q4;
ALTER DYNAMIC TABLE q4 REFRESH;
ALTER DYNAMIC TABLE q5 REFRESH;
ALTER DYNAMIC TABLE q9 REFRESH;
UPDATE t0 SET k = 2 WHERE g IS NULL;
ALTER DYNAMIC TABLE q4 REFRESH;
ALTER DYNAMIC TABLE q5 REFRESH;
ALTER DYNAMIC TABLE q9 REFRESH;
UPDATE t0 SET k = (k + 1) % 9 WHERE g IS NOT DISTINCT FROM 'b';
CALL ducklake_expire_snapshots('lake', older_than => now() - INTERVAL 0 SECOND);
ALTER TABLE t0 RENAME COLUMN unused TO added1;
INSERT INTO t1 (id, k, g, d, day, seen, tz, ok, l, y) VALUES
  (54, 1, 'a b', 0, '2024-02-28', '2024-03-31 03:30:00', NULL, false, [2, 1, 2], 7),
  (16, NULL, 'B', 10.01, '2024-02-27', '2024-03-31 03:30:00', '2024-03-31 02:30:00+01', false, [], NULL),
  (16, NULL, 'B', 10.01, '2024-02-27', '2024-03-31 03:30:00', '2024-03-31 02:30:00+01', false, [], NULL),
  (18, 3, 'it''s', 0, '2024-02-29', NULL, '2024-03-31 00:30:00+00', false, [2, 1, 2], 6),
  (39, 5, 'ä%', NULL, '2024-02-29', '2024-03-31 01:30:00', NULL, true, [3], -2);
ALTER DYNAMIC TABLE q4 REFRESH;
ALTER DYNAMIC TABLE q5 REFRESH;
ALTER DYNAMIC TABLE q9 REFRESH;
