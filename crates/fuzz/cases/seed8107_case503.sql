-- Case 503 of seed 8107, made smaller.
-- q7: cannot be created: QUERY: unknown source t0 (in a common table expression that nothing reads)

CREATE TABLE t1 (id BIGINT, k BIGINT, g VARCHAR, unused INTEGER);
INSERT INTO t1 (id, k, g) VALUES (1, 1, 'a'), (2, 1, 'b'), (2, NULL, NULL);
CREATE DYNAMIC TABLE q7 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
WITH a3 AS NOT MATERIALIZED (SELECT a2.c0 AS c0, max(a2.c0) OVER (PARTITION BY a2.c0) AS c1 FROM (SELECT nullif(a1.g, 'a') AS c0 FROM t1 AS a1 WHERE a1.id BETWEEN 0 AND 2) AS a2) SELECT * FROM (WITH a5 AS (SELECT a4.id AS c0 FROM t0 AS a4 WHERE a4.id = 0), a7 AS (SELECT c0 FROM a5) SELECT a6.c0 AS c0 FROM a3 AS a6);
INSERT INTO t1 (id, k, g) VALUES (0, 1, 'zz');
ALTER DYNAMIC TABLE q7 REFRESH;
