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
    insta::with_settings!({ filters => FILTERS }, { assert_snapshot!(run.stdout, @r""); });
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
      hint: The properties are TARGET_LAG, REFRESH_MODE, INITIALIZE, DEDUPLICATION, CARDINALITY_THRESHOLD, PARALLEL_THRESHOLD, MAX_PARALLELISM, SCHEDULER, COMMENT.
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
