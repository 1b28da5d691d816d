//! `sql`: our statements and DuckDB's, from everywhere.

use insta::assert_snapshot;

use crate::program::{DAILY, FILTERS, Program};

#[test]
fn statements_come_from_options_files_and_standard_input() {
    let program = Program::new();
    program.ok(&[
        "sql",
        "-c",
        "CREATE TABLE t (a INTEGER)",
        "-c",
        "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    ]);
    program.file("more.sql", "INSERT INTO t VALUES (3); -- ; not a statement\n");
    program.ok(&["sql", "-f", "more.sql"]);
    let run = program
        .run_with_input(&["sql", "--format", "csv"], "INSERT INTO t VALUES (4);\nSELECT sum(a) AS s FROM t;\n");
    assert_eq!((run.code, run.stdout.as_str()), (0, "s\n10\n"), "{run:?}");
}

#[test]
fn our_statements_are_understood() {
    let program = Program::with_orders();
    let script = format!(
        "{DAILY};
         ALTER DYNAMIC TABLE daily SET TARGET_LAG = '1 hour' COMMENT = 'per day';
         ALTER DYNAMIC TABLE daily SUSPEND; ALTER DYNAMIC TABLE daily RESUME;
         INSERT INTO orders VALUES (9, '2026-01-09', 1, 1);
         ALTER DYNAMIC TABLE daily REFRESH;
         SHOW DYNAMIC TABLES LIKE 'd%';
         DESCRIBE DYNAMIC TABLE daily;
         EXPLAIN DYNAMIC TABLE daily;
         SELECT count(*) AS days FROM daily;
         ALTER DYNAMIC TABLE daily RENAME TO per_day;
         DROP DYNAMIC TABLE per_day"
    );
    let run = program.run_with_input(&["sql"], &script);
    assert_eq!(run.code, 0, "{run:?}");
    insta::with_settings!({ filters => FILTERS }, { assert_snapshot!(run.stdout, @r#"
    name  result  refresh_mode  reason  rows  duration
    main.daily  created  INCREMENTAL  2  [n]
    name  result  affected
    main.daily  altered main.daily
    name  result  affected
    main.daily  suspended main.daily
    name  result  affected
    main.daily  resumed main.daily
    name  state  action  reason  rows_read  rows_inserted  rows_deleted  duration
    main.daily  SUCCEEDED  FULL  the sources are small: 4 rows, fewer than 100000  3  1  0  [n]
    schema  name  scheduling_state  target_lag  current_lag  refresh_mode  last_refresh_status  rows  bytes
    main  daily  RUNNING  1 hour  [n]  INCREMENTAL  SUCCEEDED  3  [n]
    schema  main
    name  daily
    scheduling_state  RUNNING
    target_lag  1 hour
    effective_lag  1 hour
    current_lag  [n]
    refresh_mode  INCREMENTAL
    data_version  7
    data_timestamp  [time]
    last_refresh_time  [time]
    last_refresh_status  SUCCEEDED
    last_refresh_action  FULL
    rows  3
    bytes  [n]
    comment  per day
    properties  TARGET_LAG = '1 hour'
                         REFRESH_MODE = AUTO
                         INITIALIZE = ON_CREATE
                         DEDUPLICATION = FALSE
                         CARDINALITY_THRESHOLD = 0.3
                         PARALLEL_THRESHOLD = 10000000
                         MAX_PARALLELISM = 16
                         SCHEDULER = ENABLE
                         QUEUE = 'default'
                         COMMENT = 'per day'

    column  type
    day  DATE
    orders  BIGINT
    amount  DECIMAL(38,2)

    source  kind
    main.orders  TABLE

    CREATE DYNAMIC TABLE main.daily
      TARGET_LAG = '1 hour'
      COMMENT = 'per day'
    AS
    SELECT day, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY day;
    name  main.daily
    refresh_mode  INCREMENTAL

    Aggregate by "day"  [fold the change into its groups; the state table holds count(*), count(amount), sum(amount)]
      Scan main.orders  [its change between the two snapshots]

    source  kind  columns  rows  changed  read_by
    main.orders  TABLE  day, amount  4  0  unchanged

    next refresh: NO_DATA: no source has changed
    days
       3
    name  result  affected
    main.per_day  renamed main.daily to main.per_day
    name  result
    main.per_day  dropped
    "#); });
    assert!(program.inventory().1.is_empty());
}

#[test]
fn an_error_says_where_in_the_whole_text() {
    let program = Program::new();
    assert_snapshot!(program.fails(1, &["sql", "-c", "SELECT 1;\nSELECT\n  nothing;"]), @r#"
    error[QUERY]: referenced column "nothing" was not found because the FROM clause is missing
     --> -c:3:3
      3 |   nothing;
        |   ^^^^^^^
    "#);
    assert_snapshot!(program.fails(1, &["sql", "-c", "SELECT 1;\nALTER DYNAMIC TABLE t SET COLOR = 'red'"]), @r#"
    error[QUERY]: unknown property "COLOR"
     --> -c:2:27
      2 | ALTER DYNAMIC TABLE t SET COLOR = 'red'
        |                           ^^^^^
      hint: The properties are TARGET_LAG, REFRESH_MODE, INITIALIZE, DEDUPLICATION, CARDINALITY_THRESHOLD, PARALLEL_THRESHOLD, MAX_PARALLELISM, SCHEDULER, QUEUE, COMMENT, CLUSTER_BY.
    "#);
}

#[test]
fn the_first_error_ends_it() {
    let program = Program::new();
    program.fails(
        1,
        &["sql", "-c", "CREATE TABLE a AS SELECT 1 AS x; SELECT * FROM nothing; CREATE TABLE b AS SELECT 1 AS x"],
    );
    assert_eq!(program.inventory().0, ["a"]);
}
