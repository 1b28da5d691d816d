-- The lake as it is when the demo begins: everything up to the last month of the data.
--
-- By hand:  SET VARIABLE data = 'examples/flights/data';
--           SET VARIABLE first_day = DATE '2013-12-01';

CREATE TABLE airlines AS FROM read_parquet(getvariable('data') || '/airlines.parquet');
CREATE TABLE airports AS FROM read_parquet(getvariable('data') || '/airports.parquet');

CREATE TABLE flights AS
  FROM read_parquet(getvariable('data') || '/flights.parquet')
  WHERE make_date(year, month, day) < getvariable('first_day')
  ORDER BY time_hour;

CREATE TABLE weather AS
  FROM read_parquet(getvariable('data') || '/weather.parquet')
  WHERE make_date(year, month, day) < getvariable('first_day')
  ORDER BY time_hour;

-- A plane becomes known when it first flies.
CREATE TABLE planes AS
  FROM read_parquet(getvariable('data') || '/planes.parquet')
  WHERE tailnum IN (SELECT tailnum FROM flights);
