-- Step 1 of a day: its timetable. What is not known beforehand stays NULL.
--
-- By hand:  SET VARIABLE data = 'examples/flights/data';
--           SET VARIABLE day = DATE '2013-12-01';

INSERT INTO flights
  SELECT * REPLACE (NULL AS dep_time, NULL AS dep_delay, NULL AS arr_time, NULL AS arr_delay, NULL AS air_time)
  FROM read_parquet(getvariable('data') || '/flights.parquet')
  WHERE make_date(year, month, day) = getvariable('day');

-- Some flights of a week ago are announced again although they will not fly; the corrections take them back.
INSERT INTO flights
  SELECT * REPLACE (
    year(getvariable('day')) AS year, month(getvariable('day')) AS month, day(getvariable('day')) AS day,
    NULL AS dep_time, NULL AS dep_delay, NULL AS arr_time, NULL AS arr_delay, NULL AS air_time, NULL AS tailnum,
    time_hour + INTERVAL 7 DAYS AS time_hour)
  FROM read_parquet(getvariable('data') || '/flights.parquet') AS before
  WHERE make_date(year, month, day) = getvariable('day') - 7
    AND flight % 10 = 0
    AND NOT EXISTS (
      FROM flights AS today
      WHERE make_date(today.year, today.month, today.day) = getvariable('day')
        AND (today.carrier, today.flight, today.origin) = (before.carrier, before.flight, before.origin));

-- Planes that fly for the first time.
INSERT INTO planes
  FROM read_parquet(getvariable('data') || '/planes.parquet')
  WHERE tailnum IN (SELECT tailnum FROM flights WHERE make_date(year, month, day) = getvariable('day'))
    AND tailnum NOT IN (SELECT tailnum FROM planes);
