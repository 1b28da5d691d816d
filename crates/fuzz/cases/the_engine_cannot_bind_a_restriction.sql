-- Case 38 of seed 77, made smaller.
-- q6: the refresh failed: INTERNAL: failed to bind column reference "delim_index" [107.0] (bindings: {#[30.0]})

CREATE TABLE t0 (id BIGINT, k INTEGER, g VARCHAR, x INTEGER, day DATE, seen TIMESTAMP, tz TIMESTAMPTZ, ok BOOLEAN, s STRUCT(a INTEGER, b VARCHAR), h VARCHAR, unused INTEGER);
CREATE TABLE t3 (id BIGINT, k INTEGER, g VARCHAR, day DATE, seen TIMESTAMP, tz TIMESTAMPTZ, l INTEGER[], s STRUCT(a INTEGER, b VARCHAR), h VARCHAR, unused INTEGER);
INSERT INTO t0 (id, k, g, x, day, seen, tz, ok, s, h) VALUES
  (NULL, 6, 'ä%', 13, '2024-02-27', '2024-03-31 00:30:00', '2024-03-31 03:30:00+00', false, {'a': 0, 'b': 'x'}, 'b'),
  (50, 4, NULL, 14, '2024-02-27', '2024-03-31 01:30:00', '2024-03-31 03:30:00+01', true, {'a': 0, 'b': 'x'}, 'it''s'),
  (25, 0, NULL, -1, '2024-02-28', '2024-03-31 02:30:00', '2024-03-31 03:30:00+00', false, {'a': 2, 'b': 'x'}, ''),
  (57, 2, 'B', 14, '2024-02-27', '2024-03-31 02:30:00', '2024-03-31 03:30:00+01', true, {'a': 1, 'b': 'x'}, 'b'),
  (34, 5, 'a', -5, '2024-02-28', '2024-03-31 03:30:00', '2024-03-31 03:30:00+01', false, NULL, 'b'),
  (43, 0, 'b', -4, '2024-02-29', '2024-03-31 02:30:00', NULL, false, {'a': 0, 'b': 'x'}, 'B'),
  (40, 5, 'ä%', NULL, '2024-02-28', '2024-03-31 03:30:00', NULL, false, NULL, '7'),
  (33, NULL, 'b', 14, NULL, '2024-03-31 00:30:00', '2024-03-31 00:30:00+00', true, {'a': 2, 'b': 'x'}, 'a'),
  (NULL, 3, 'b', 13, '2024-02-27', '2024-03-31 00:30:00', '2024-03-31 00:30:00+00', false, {'a': 2, 'b': 'x'}, '7'),
  (7, 5, 'ä%', 18, '2024-02-28', '2024-03-31 02:30:00', '2024-03-31 03:30:00+00', false, {'a': 0, 'b': 'x'}, 'b'),
  (NULL, 3, 'b', 13, '2024-02-27', '2024-03-31 00:30:00', '2024-03-31 00:30:00+00', false, {'a': 2, 'b': 'x'}, '7'),
  (29, 6, '', 17, '2024-02-27', '2024-03-31 03:30:00', '2024-03-31 01:30:00+01', NULL, {'a': 0, 'b': 'x'}, 'ä%');
CREATE DYNAMIC TABLE q6 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
SELECT (1.50)::VARCHAR AS c0, a1.l AS c1, lead(a1.h, 2) OVER (PARTITION BY a1.id, a1.l, a1.l ORDER BY a1.l DESC, a1.k, a1.g, a1.day, a1.seen, a1.tz, a1.id, a1.s, a1.h) AS c2, first_value(a1.tz) OVER (PARTITION BY a1.id, a1.l ORDER BY a1.day, a1.k, a1.g, a1.id, a1.seen, a1.tz, a1.l, a1.s, a1.h) AS c3 FROM t3 AS a1;
CHECKPOINT lake;
INSERT INTO t3 (id, k, g, day, seen, tz, l, s, h) VALUES
  (12, 6, NULL, '2024-02-26', '2024-03-31 02:30:00', '2024-03-31 01:30:00+01', [1, 2], NULL, 'it''s'),
  (35, 4, 'B', '2024-02-27', '2024-03-31 03:30:00', '2024-03-31 01:30:00+01', NULL, {'a': 0, 'b': 'x'}, NULL),
  (33, 5, 'a b', '2024-02-27', '2024-03-31 03:30:00', '2024-03-31 01:30:00+01', [3], {'a': 2, 'b': 'x'}, NULL);
ALTER DYNAMIC TABLE q6 REFRESH;
