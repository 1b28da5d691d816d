-- Case 732 of seed 8003, made smaller.
-- q12: after creation: 1 missing: (2 | 0); 0 surplus: 

CREATE TABLE t2 (id BIGINT, k INTEGER, g VARCHAR, x INTEGER, f DOUBLE, tz TIMESTAMPTZ, unused INTEGER);
INSERT INTO t2 (id, k, g, x, f, tz) VALUES
  (35, 5, '7', 5, 1.5, '2024-03-31 03:30:00+01'),
  (59, 6, '7', NULL, 'nan', '2024-03-31 03:30:00+00');
CREATE DYNAMIC TABLE q12 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
SELECT (a1.id % 3) AS c0, count(*) FILTER (WHERE a1.id = 0) AS c1 FROM t2 AS a1 GROUP BY ALL HAVING NOT ((a1.id % 3) = 0);
INSERT INTO t2 (id, k) VALUES (0, 1), (35, 2), (3, 1);
ALTER DYNAMIC TABLE q12 REFRESH;
DELETE FROM t2 WHERE k = 6;
ALTER DYNAMIC TABLE q12 REFRESH;
