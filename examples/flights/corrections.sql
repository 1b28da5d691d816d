-- Step 4 of a day, the morning after: hasty reports are put right, and flights that were announced in error go.

UPDATE flights SET arr_delay = actual.arr_delay
  FROM (
    FROM read_parquet(getvariable('data') || '/flights.parquet')
    WHERE make_date(year, month, day) = getvariable('day')
  ) AS actual
  WHERE make_date(flights.year, flights.month, flights.day) = getvariable('day')
    AND (flights.carrier, flights.flight, flights.origin) = (actual.carrier, actual.flight, actual.origin)
    AND flights.arr_delay IS DISTINCT FROM actual.arr_delay;

DELETE FROM flights
  WHERE make_date(year, month, day) = getvariable('day')
    AND (carrier, flight, origin) NOT IN (
      SELECT (carrier, flight, origin)
      FROM read_parquet(getvariable('data') || '/flights.parquet')
      WHERE make_date(year, month, day) = getvariable('day'));
