-- Results that somebody who watches New York's airports would want to keep fresh.
--
-- `dynamic-tables demo` creates them; on a lake of your own: dynamic-tables create -f examples/flights/dynamic_tables.sql

-- Every flight with its airline, its plane and the weather at its departure. A flight stands here once all three are
-- known; those that lack one are in flights_with_gaps.
CREATE DYNAMIC TABLE flights_wide
  TARGET_LAG = '5 minutes'
  COMMENT = 'flights with airline, plane and weather'
AS
  SELECT
    make_date(f.year, f.month, f.day) AS date, f.carrier, a.name AS airline, f.flight, f.origin, f.dest, f.distance,
    f.sched_dep_time, f.dep_time, f.dep_delay, f.sched_arr_time, f.arr_time, f.arr_delay, f.air_time,
    f.tailnum, p.manufacturer, p.model, p.year AS built, p.seats,
    w.temp, w.wind_speed, w.precip, w.visib
  FROM flights AS f
  JOIN airlines AS a ON a.carrier = f.carrier
  JOIN planes AS p ON p.tailnum = f.tailnum
  JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour;

-- What the wide table lacks and why. Of the two LEFT JOINs only the flights are computed again whose plane or weather
-- stands in the change.
CREATE DYNAMIC TABLE flights_with_gaps
  TARGET_LAG = '1 hour'
  COMMENT = 'flights without a known plane or weather'
AS
  SELECT
    make_date(f.year, f.month, f.day) AS date, f.carrier, f.flight, f.origin, f.tailnum,
    p.tailnum IS NULL AS no_plane, w.origin IS NULL AS no_weather
  FROM flights AS f
  LEFT JOIN planes AS p ON p.tailnum = f.tailnum
  LEFT JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
  WHERE p.tailnum IS NULL OR w.origin IS NULL;

-- The day in figures. What changed is added to and taken from the stored figures (they are folded); count(*) and the
-- count beside each sum hold what that needs.
CREATE DYNAMIC TABLE daily_by_carrier
  TARGET_LAG = DOWNSTREAM
  COMMENT = 'flights per day, carrier and origin'
AS
  SELECT
    make_date(year, month, day) AS date, carrier, origin,
    count(*) AS flights,
    count(*) FILTER (dep_delay > 15) AS delayed,
    count(*) FILTER (dep_time IS NULL) AS cancelled,  -- or not departed yet
    count(dep_delay) AS departed, sum(dep_delay) AS dep_delay,
    count(arr_delay) AS arrived, sum(arr_delay) AS arr_delay,
    count(distance) AS measured, sum(distance) AS miles
  FROM flights
  GROUP BY ALL;

-- A table over a table: both always show the same version of the lake. The affected groups are computed again.
CREATE DYNAMIC TABLE monthly_by_carrier
  TARGET_LAG = '1 hour'
  COMMENT = 'flights per month and airline, with shares'
AS
  SELECT
    date_trunc('month', d.date) AS month, a.name AS airline,
    sum(d.flights) AS flights,
    round(100 * sum(d.delayed) / sum(d.flights), 1) AS delayed_percent,
    round(100 * sum(d.cancelled) / sum(d.flights), 1) AS cancelled_percent,
    round(sum(d.arr_delay) / sum(d.arrived), 1) AS mean_arr_delay
  FROM daily_by_carrier AS d
  JOIN airlines AS a ON a.carrier = d.carrier
  GROUP BY ALL;

-- Is it the hour or the weather? A join below an aggregate, folded as well.
CREATE DYNAMIC TABLE delay_by_hour_and_weather
  TARGET_LAG = '15 minutes'
  COMMENT = 'departure delay by scheduled hour and weather'
AS
  SELECT
    f.hour,
    CASE WHEN w.precip > 0 THEN 'rain or snow' WHEN w.visib < 3 THEN 'fog' WHEN w.wind_speed >= 20 THEN 'wind'
         ELSE 'fair' END AS weather,
    count(*) AS flights,
    count(*) FILTER (f.dep_delay > 15) AS delayed,
    count(f.dep_delay) AS departed, sum(f.dep_delay) AS dep_delay
  FROM flights AS f
  JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
  GROUP BY ALL;

-- The life of each plane. A median cannot be folded, so the planes that a change touches are computed again.
CREATE DYNAMIC TABLE plane_use
  TARGET_LAG = '15 minutes'
  COMMENT = 'what each plane did'
AS
  SELECT
    tailnum,
    count(*) AS flights, sum(distance) AS miles, sum(air_time) AS minutes_in_the_air,
    median(arr_delay) AS median_arr_delay, max(arr_delay) AS worst_arr_delay
  FROM flights
  WHERE tailnum IS NOT NULL
  GROUP BY tailnum;

-- Where each plane flew last. The planes that a change touches are computed again.
CREATE DYNAMIC TABLE latest_flight_of_plane
  TARGET_LAG = '15 minutes'
  COMMENT = 'the latest departure of each plane'
AS
  SELECT tailnum, make_date(year, month, day) AS date, dep_time, carrier, flight, origin, dest
  FROM flights
  WHERE tailnum IS NOT NULL AND dep_time IS NOT NULL
  QUALIFY row_number() OVER (PARTITION BY tailnum ORDER BY time_hour DESC, sched_dep_time DESC, flight, origin) = 1;

-- Where people go that the table of airports does not know. When an airport comes or goes, only the flights to it are looked at
-- again; when flights come, they are folded into the stored counts. `dynamic-tables explain unknown_destinations` shows the rules.
CREATE DYNAMIC TABLE unknown_destinations
  TARGET_LAG = '1 hour'
  COMMENT = 'flights to airports that are not listed'
AS
  SELECT f.dest, count(*) AS flights, min(make_date(f.year, f.month, f.day)) AS first_seen
  FROM flights AS f
  WHERE NOT EXISTS (SELECT 1 FROM airports AS a WHERE a.faa = f.dest)
  GROUP BY f.dest;

-- Three figures for a dashboard.
CREATE DYNAMIC TABLE totals
  TARGET_LAG = '1 minute'
  COMMENT = 'three figures for a dashboard'
AS
  SELECT count(*) AS scheduled, count(dep_delay) AS departed, sum(dep_delay) AS minutes_of_delay
  FROM flights;
