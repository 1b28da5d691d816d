-- Step 3 of a day: flights arrive. For some the delay at departure is reported as that at arrival, too hastily.

UPDATE flights
  SET arr_time = actual.arr_time, air_time = actual.air_time,
      arr_delay = CASE WHEN flights.flight % 25 = 0 THEN flights.dep_delay ELSE actual.arr_delay END
  FROM (
    FROM read_parquet(getvariable('data') || '/flights.parquet')
    WHERE make_date(year, month, day) = getvariable('day') AND arr_time IS NOT NULL
  ) AS actual
  WHERE make_date(flights.year, flights.month, flights.day) = getvariable('day')
    AND (flights.carrier, flights.flight, flights.origin) = (actual.carrier, actual.flight, actual.origin);
