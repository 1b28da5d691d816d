//! The table functions over the registry, in a user's statements.

use insta::assert_snapshot;

use crate::program::Program;

fn with_a_failure() -> Program {
    let program = Program::with_daily();
    program.sql(
        "CREATE DYNAMIC TABLE weekly TARGET_LAG = DOWNSTREAM AS SELECT date_trunc('week', day) AS week FROM daily;
         CREATE DYNAMIC TABLE fragile TARGET_LAG = '10 seconds' AS SELECT CASE WHEN id > 99 THEN error('too large') ELSE 1 END AS ok FROM orders;
         INSERT INTO orders VALUES (100, '2026-01-03', 1, 1)",
    );
    program.run(&["refresh", "fragile"]);
    program.ok(&["suspend", "fragile"]);
    program
}

#[test]
fn they_are_joined_and_filtered_like_any_table() {
    let program = with_a_failure();
    let lag = "SELECT name, qualified_name, target_lag_sec, target_lag_type, scheduling_state.state, scheduling_state.reason_code,
                      mean_lag_sec > 0 AND maximum_lag_sec >= mean_lag_sec, time_within_target_lag_ratio > 0, latest_data_timestamp < now(), rows
               FROM dynamic_tables() WHERE target_lag_type IS NOT NULL ORDER BY name";
    assert_snapshot!(program.sql(lag).join("\n"), @r"
    daily,lake.main.daily,300,USER_DEFINED,RUNNING,,true,true,true,2
    fragile,lake.main.fragile,10,USER_DEFINED,SUSPENDED,USER,true,true,true,3
    weekly,lake.main.weekly,300,DOWNSTREAM,RUNNING,,true,true,true,2
    ");
    let refreshes = "SELECT h.name, state, state_code, state_message, refresh_action, refresh_trigger, reinit_reason, h.target_lag_sec,
                            h.statistics.numInsertedRows, completion_target > refresh_start_time, refresh_end_time >= refresh_start_time,
                            g.query_text LIKE 'SELECT%' AS known
                     FROM INFORMATION_SCHEMA.DYNAMIC_TABLE_REFRESH_HISTORY() h
                     JOIN dynamic_table_graph_history() g ON g.name = h.name AND g.valid_from = h.graph_history_valid_from
                     ORDER BY refresh_start_time";
    assert_snapshot!(program.sql(refreshes).join("\n"), @r"
    daily,SUCCEEDED,,,REINITIALIZE,CREATION,first refresh,300,2,,true,true
    weekly,SUCCEEDED,,,REINITIALIZE,CREATION,first refresh,,2,,true,true
    fragile,SUCCEEDED,,,REINITIALIZE,CREATION,first refresh,10,3,,true,true
    fragile,FAILED,QUERY,too large,,MANUAL,,10,,true,true,true
    ");
    let graph = "SELECT name, list_transform(inputs, lambda i: i.name || ' ' || i.kind), alter_trigger, scheduling_state.state, valid_to IS NULL
                 FROM information_schema.dynamic_table_graph_history() ORDER BY name, valid_from";
    assert_snapshot!(program.sql(graph).join("\n"), @r"
    daily,[lake.main.orders TABLE],[CREATE_DYNAMIC_TABLE],RUNNING,true
    fragile,[lake.main.orders TABLE],[CREATE_DYNAMIC_TABLE],RUNNING,false
    fragile,[lake.main.orders TABLE],[SUSPEND],SUSPENDED,true
    weekly,[lake.main.daily DYNAMIC_TABLE],[CREATE_DYNAMIC_TABLE],RUNNING,true
    ");
}

#[test]
fn they_take_snowflakes_arguments() {
    let program = with_a_failure();
    let count = |call: &str| program.sql(&format!("SELECT count(*) FROM {call}")).join("");
    assert_eq!(count("dynamic_tables()"), "3");
    assert_eq!(count("dynamic_tables(name => 'MAIN.Daily')"), "1");
    assert_eq!(count("dynamic_tables('lake.main.daily')"), "1");
    assert_eq!(count("dynamic_table_refresh_history()"), "4");
    assert_eq!(count("dynamic_table_refresh_history(error_only => true)"), "1");
    assert_eq!(count("dynamic_table_refresh_history(result_limit => 2)"), "2");
    assert_eq!(count("dynamic_table_refresh_history(name_prefix => 'lake.main.f')"), "2");
    assert_eq!(count("dynamic_table_refresh_history(data_timestamp_start => now())"), "0");
    assert_eq!(count("dynamic_table_graph_history(name => 'fragile', as_of => now())"), "1");
}

#[test]
fn any_statement_may_read_them_and_none_reads_what_another_one_saw() {
    let program = Program::with_daily();
    let script = "CREATE TABLE kept AS SELECT name FROM dynamic_tables();
                  CREATE DYNAMIC TABLE second TARGET_LAG = '1 day' AS SELECT count(*) AS n FROM orders;
                  INSERT INTO kept SELECT name FROM dynamic_tables();
                  BEGIN; INSERT INTO kept SELECT d.name FROM dynamic_tables() d, dynamic_tables() e; ROLLBACK;
                  SELECT name FROM kept ORDER BY name";
    let rows = program.sql(script);
    assert_eq!(rows[rows.len() - 3..], ["daily", "daily", "second"]);
    let left = "SELECT function_name FROM duckdb_functions() WHERE function_name LIKE 'dynamic_table%' UNION ALL \
                SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%dynamic_table%'";
    let rows = program.sql(&format!("SELECT 1 FROM dynamic_tables(); {left}"));
    assert_eq!(rows, ["1", "1", "function_name"], "two tables, and then nothing but the header");
    assert_eq!(
        program.sql("SELECT dynamic_tables FROM (SELECT 1 AS dynamic_tables)"),
        ["1"],
        "a column may be called so"
    );
}

#[test]
fn a_mistake_in_a_statement_that_reads_them_has_its_place() {
    let program = Program::with_daily();
    assert_snapshot!(program.fails(1, &["sql", "-c", "SELECT 1;\nSELECT nope FROM dynamic_tables()"]), @r#"
    error[QUERY]: referenced column "nope" not found in FROM clause
     --> -c:2:8
      2 | SELECT nope FROM dynamic_tables()
        |        ^^^^
      hint: Candidate bindings: "name", "last_completed_refresh_state", "last_completed_refresh_state_message", "comment", "rows"
    "#);
    assert_snapshot!(program.fails(1, &["sql", "-c", "SELECT * FROM dynamic_tables(colour => 'red')"]), @r"
    error[QUERY]: macro dynamic_tables() does not support the supplied arguments. You might need to add explicit type casts
     --> -c:1:15
      1 | SELECT * FROM dynamic_tables(colour => 'red')
        |               ^
      hint: Candidate macros: dynamic_tables(name := NULL)
    ");
    assert_snapshot!(program.fails(1, &["sql", "-c", "SELECT * FROM other.dynamic_tables()"]), @r#"
    error[QUERY]: table Function with name dynamic_tables does not exist
     --> -c:1:15
      1 | SELECT * FROM other.dynamic_tables()
        |               ^
      hint: Did you mean "main.dynamic_tables"?
    "#);
}
