-- Case 236 of seed 8114, made smaller.
-- q12: after a refresh, INCREMENTAL: folded the change into its groups (2 groups had lost an extreme and were read again): 6 of 56 source rows changed: 1 missing: (B | B | B | 2 | 2); 1 surplus: (B | B | B | 3 | 3)

CREATE TABLE t0 (id BIGINT, k INTEGER, g VARCHAR, f DOUBLE, day DATE, y SMALLINT, unused INTEGER);
CREATE TABLE t1 (id BIGINT, k BIGINT, g VARCHAR, d DECIMAL(18, 2), day DATE, y SMALLINT, unused INTEGER);
INSERT INTO t0 (id, k, g, f, day, y) VALUES
  (46, 2, 'a b', NULL, '2024-02-27', 9),
  (38, 0, '7', 0.25, '2024-02-26', 2),
  (46, 2, 'a b', NULL, '2024-02-27', 9),
  (44, 1, '', 1.5, '2024-02-29', NULL),
  (25, 5, '7', -3, '2024-02-26', -3),
  (52, 6, 'ä%', NULL, '2024-02-27', 0),
  (NULL, NULL, 'it''s', 0, NULL, 2),
  (1, 5, '7', 0.25, '2024-02-26', 10),
  (31, 6, 'it''s', 1.5, '2024-02-26', 8),
  (NULL, NULL, '7', 0.25, NULL, 3),
  (31, 3, 'B', -3, '2024-02-27', 10),
  (31, 2, '7', 0.25, '2024-02-29', -4),
  (NULL, 5, 'B', NULL, '2024-02-29', 7),
  (2, 5, NULL, -3, '2024-02-26', 1),
  (12, NULL, '', 0.25, '2024-02-28', NULL),
  (NULL, 5, 'ä%', 0, '2024-02-26', 9),
  (44, 1, '', 1.5, '2024-02-29', NULL),
  (15, NULL, 'a', 1.5, '2024-02-29', 20),
  (31, 1, '7', 'nan', '2024-02-29', -3),
  (16, 4, 'a b', 0, NULL, -1),
  (1, 5, '7', 0.25, '2024-02-26', 10),
  (15, 6, '', 0.25, '2024-02-29', 3),
  (2, 6, 'ä%', 1.5, '2024-02-26', 2),
  (47, 1, 'ä%', -3, '2024-02-29', -5),
  (29, 4, 'b', NULL, '2024-02-26', NULL);
INSERT INTO t1 (id, k, g, d, day, y) VALUES
  (NULL, NULL, 'ä%', 0, '2024-02-29', NULL),
  (42, 6, 'it''s', -2.25, '2024-02-29', 10),
  (7, 2, 'ä%', 10.01, '2024-02-29', 18),
  (13, 1, '7', 1.50, '2024-02-26', -3),
  (4, 4, 'a', 1.50, '2024-02-26', 0),
  (10, 3, 'B', 10.01, '2024-02-27', -2),
  (44, 1, 'a', -2.25, '2024-02-26', 13),
  (40, 6, '', 123456789012.34, '2024-02-29', 9),
  (NULL, NULL, 'B', 1.50, '2024-02-27', 18),
  (NULL, NULL, 'ä%', NULL, '2024-02-29', 8),
  (26, 2, '7', NULL, NULL, 7),
  (33, NULL, 'a', -2.25, '2024-02-28', 0),
  (NULL, NULL, 'a b', 99.99, NULL, 15),
  (40, 4, '7', 10.01, '2024-02-26', 0),
  (51, 5, NULL, 1.50, NULL, 8),
  (NULL, 4, 'B', 99.99, '2024-02-29', 7),
  (52, 5, 'it''s', -2.25, '2024-02-29', 13),
  (33, NULL, 'a', -2.25, '2024-02-28', 0),
  (4, 4, 'a', 1.50, '2024-02-26', 0),
  (18, 4, '7', 0, '2024-02-28', 12),
  (27, NULL, 'B', 99.99, '2024-02-27', 3),
  (57, 1, 'B', -2.25, '2024-02-29', 18),
  (NULL, 4, 'ä%', 99.99, '2024-02-26', 13),
  (12, 1, NULL, -2.25, '2024-02-28', -2),
  (6, 0, 'ä%', 123456789012.34, '2024-02-29', -1),
  (NULL, 3, 'it''s', 1.50, '2024-02-26', -1),
  (10, 0, '7', 99.99, '2024-02-28', 16);
CREATE DYNAMIC TABLE q12 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
SELECT a3.c3 AS c0, a3.c2 AS c1, max(a3.c3) AS c2, count(*) AS c3, count(*) AS c4 FROM (SELECT a1.id AS c0, a2.id AS c1, a2.g AS c2, a2.g AS c3 FROM t0 AS a1 JOIN t1 AS a2 ON a1.k = a2.k AND a1.g = 'b' ORDER BY a2.d DESC NULLS LAST, a1.k, a1.g, a1.f, a1.day, a1.y, a2.id, a2.k, a2.g, a1.id, a2.day, a2.y LIMIT 6) AS a3 WHERE struct_extract({'a': 1, 'b': 'x'}, 'b') IS NOT NULL GROUP BY a3.c3, a3.c2;
INSERT INTO t1 (id, k, g, d, day, y) VALUES
  (NULL, 3, 'B', 0, '2024-02-27', 18),
  (NULL, 3, 'B', 0, '2024-02-27', 18);
UPDATE t0 SET g = 'b' WHERE day IS NOT DISTINCT FROM '2024-02-27';
ALTER DYNAMIC TABLE q12 REFRESH;
DELETE FROM t1 WHERE k = 4;
ALTER DYNAMIC TABLE q12 REFRESH;
