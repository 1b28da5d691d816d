-- Step 2 of a day: its weather is observed, and flights depart. Those that are cancelled never do.

INSERT INTO weather
  FROM read_parquet(getvariable('data') || '/weather.parquet')
  WHERE make_date(year, month, day) = getvariable('day');

UPDATE flights SET dep_time = actual.dep_time, dep_delay = actual.dep_delay
  FROM (
    FROM read_parquet(getvariable('data') || '/flights.parquet')
    WHERE make_date(year, month, day) = getvariable('day') AND dep_time IS NOT NULL
  ) AS actual
  WHERE make_date(flights.year, flights.month, flights.day) = getvariable('day')
    AND (flights.carrier, flights.flight, flights.origin) = (actual.carrier, actual.flight, actual.origin);
