//! Wrong input and broken surroundings: a clear error, the right exit code, and nothing half-done.

use std::process::Command;

use insta::assert_snapshot;

use crate::program::{DAILY, Program, finish};

/// The statement is refused with this exit code, and lake and registry are as before.
#[track_caller]
fn refused(statement: &str) -> String {
    refused_in(&Program::with_orders(), statement)
}

#[track_caller]
fn refused_in(program: &Program, statement: &str) -> String {
    program.file("bad.sql", statement);
    let before = program.inventory();
    let error = program.fails(1, &["create", "-f", "bad.sql"]);
    assert_eq!(program.inventory(), before, "something half-done remains");
    let checked = program.run(&["validate", "-f", "bad.sql"]);
    assert_eq!(checked.code, 1, "validate must see it too\n{}", checked.stdout);
    error
}

#[test]
fn an_empty_file() {
    assert_snapshot!(refused(""), @r"");
    assert_snapshot!(refused("-- nothing but a comment\n;"), @r"");
}

#[test]
fn an_unterminated_string() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t\n  TARGET_LAG = '5 minutes\nAS SELECT 1"), @r"");
}

#[test]
fn an_unknown_property() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAGG = '5 minutes' AS SELECT * FROM orders"), @r"");
}

#[test]
fn a_lag_of_zero() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '0 minutes' AS SELECT * FROM orders"), @r"");
}

#[test]
fn a_lag_that_is_none() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = 'soon' AS SELECT * FROM orders"), @r"");
}

#[test]
fn an_unknown_source() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELECT * FROM ordres"), @r"");
}

#[test]
fn a_column_that_does_not_exist() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELECT amuont FROM orders"), @r"");
}

#[test]
fn duplicate_output_columns() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELECT id, amount AS id FROM orders"), @r"");
}

#[test]
fn a_query_that_is_no_sql() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELEC * FROM orders"), @r"");
}

#[test]
fn a_name_taken_by_a_plain_table() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE customers TARGET_LAG = '5 minutes' AS SELECT * FROM orders"), @r"");
    let replaced =
        refused("CREATE OR REPLACE DYNAMIC TABLE customers TARGET_LAG = '5 minutes' AS SELECT * FROM orders");
    assert!(replaced.contains("customers"), "{replaced}");
}

#[test]
fn incremental_where_it_cannot_be() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' REFRESH_MODE = INCREMENTAL AS\nSELECT * FROM orders ORDER BY amount LIMIT 1"), @r"");
}

#[test]
fn another_statement_in_a_file_for_create() {
    assert_snapshot!(refused("DROP TABLE orders"), @r"");
}

#[test]
fn nothing_of_a_file_is_done_if_its_last_statement_is_wrong() {
    let error = refused(&format!("{DAILY};\nCREATE DYNAMIC TABLE t TARGET_LAG = 'soon' AS SELECT 1"));
    assert!(error.contains("bad.sql:2"), "{error}");
    let error = refused(&format!("{DAILY};\nCREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS SELECT * FROM ordres"));
    assert!(error.contains("ordres"), "{error}");
}

#[test]
fn a_cycle() {
    let program = Program::with_daily();
    program.sql("CREATE DYNAMIC TABLE total TARGET_LAG = '5 minutes' AS SELECT sum(amount) AS amount FROM daily");
    let error = program.fails(
        1,
        &["sql", "-c", "CREATE OR REPLACE DYNAMIC TABLE daily TARGET_LAG = '5 minutes' AS SELECT amount FROM total"],
    );
    assert!(error.contains("daily") && error.contains("total"), "{error}");
    assert!(error.contains("cycle") || error.contains("itself"), "{error}");
    assert_eq!(program.sql("SELECT orders FROM daily ORDER BY day"), ["2", "1"]);
}

#[test]
fn drop_of_a_table_that_others_read() {
    let program = Program::with_daily();
    program.sql("CREATE DYNAMIC TABLE total TARGET_LAG = '5 minutes' AS SELECT sum(amount) AS amount FROM daily");
    let before = program.inventory();
    assert_snapshot!(program.fails(1, &["drop", "daily"]), @r"");
    assert_eq!(program.inventory(), before);
    program.ok(&["drop", "daily", "--cascade"]);
    let (tables, dynamic) = program.inventory();
    assert_eq!(tables, ["customers", "orders"]);
    assert!(dynamic.is_empty(), "{dynamic:?}");
}

#[test]
fn names_of_nothing() {
    let program = Program::with_orders();
    for verb in ["describe", "status", "refresh", "suspend", "resume", "drop", "history", "explain", "verify"] {
        let error = program.fails(1, &[verb, "nothing"]);
        assert!(error.contains("nothing"), "{verb}: {error}");
    }
    assert_snapshot!(program.fails(1, &["describe", "nothing"]), @r"");
    assert_snapshot!(program.fails(1, &["describe", "not a name"]), @r"");
    assert_snapshot!(program.fails(1, &["describe", "orders"]), @r"");
    program.ok(&["drop", "nothing", "--if-exists"]);
}

#[test]
fn wrong_properties_of_alter() {
    let program = Program::with_daily();
    assert_snapshot!(program.fails(1, &["alter", "daily", "--set", "TARGET_LAG=never"]), @r"");
    assert_snapshot!(program.fails(1, &["alter", "daily", "--set", "TARGET_LAG"]), @r"");
    assert_snapshot!(program.fails(1, &["alter", "daily", "--unset", "COLOR"]), @r"");
    program.fails(1, &["alter", "daily", "--set", "COMMENT=x", "--set", "CARDINALITY_THRESHOLD=7"]);
    let described = program.ok(&["describe", "daily", "--format", "json"]);
    assert!(!described.contains("\"comment\": \"x\""), "the first of two was done: {described}");
}

#[test]
fn a_registry_that_cannot_be_reached() {
    let program = Program::with_orders();
    let url = "postgresql://ann:s3cret@127.0.0.1:1/metadata";
    let error = program.fails(2, &["list", "--pg-url", url]);
    assert!(error.starts_with("error[CONNECTION]:"), "{error}");
    assert!(error.contains("hint:") && !error.contains("s3cret"), "{error}");
    program.file("daily.sql", DAILY);
    program.fails(2, &["create", "-f", "daily.sql", "--pg-url", url]);
    assert_eq!(program.inventory().0, ["customers", "orders"]);
}

#[test]
fn a_registry_that_is_none() {
    let program = Program::with_orders();
    program.file("text.sqlite", "this is no database, whatever its name says, and it is long enough to be looked at");
    let error = program.fails(1, &["list", "--pg-url", "sqlite:text.sqlite"]);
    assert!(error.contains("registry") || error.contains("text.sqlite"), "{error}");
    let error = program.fails(1, &["list", "--pg-url", "mysql://h/d"]);
    assert!(error.contains("hint:"), "{error}");
}

#[test]
fn a_lake_that_cannot_be_reached() {
    let program = Program::new();
    let lake = "ducklake:postgres:host=127.0.0.1 port=1 dbname=lake user=ann password=s3cret";
    let error = program.fails(2, &["list", "--duckdb-path", lake, "--pg-url", "sqlite:r.sqlite", "--data-path", "d"]);
    assert!(error.starts_with("error[CONNECTION]:"), "{error}");
    assert!(error.contains("hint:") && !error.contains("s3cret"), "{error}");
    let error = program.fails(1, &["list", "--duckdb-path", lake]);
    assert!(error.contains("--pg-url") && !error.contains("s3cret"), "{error}");
}

#[test]
fn a_lake_that_is_none() {
    let program = Program::new();
    program
        .file("lake.ducklake", "this is no database, whatever its name says, and it is long enough to be looked at");
    let run = program.run(&["list", "--duckdb-path", "lake.ducklake"]);
    assert!(run.code == 1 || run.code == 2, "{run:?}");
    assert!(run.stderr.contains("lake.ducklake") && run.stderr.contains("hint:"), "{run:?}");
}

#[test]
fn no_lake_where_one_is_expected() {
    let program = Program::new();
    assert_snapshot!(program.fails(1, &["list"]), @r#"
    error[CONFIGURATION]: there is no lake lake.sqlite
      hint: Run this where the lake is, name the lake with --duckdb-path, or make it with a first table: dynamic-tables sql -c "CREATE TABLE ..."
    "#);
    assert_eq!(std::fs::read_dir(program.path()).unwrap().count(), 0, "a lake or registry was made");
}

#[test]
fn a_registry_of_a_newer_version() {
    let program = Program::with_daily();
    program.sql(
        "ATTACH 'dynamic_tables.sqlite' AS registry (TYPE sqlite);
         INSERT INTO registry._sqlx_migrations SELECT 99999999, 'from the future', installed_on, true, checksum, 1
         FROM registry._sqlx_migrations LIMIT 1",
    );
    let error = program.fails(1, &["list"]);
    assert!(error.contains("99999999") && error.contains("hint:"), "{error}");
}

#[test]
fn an_extension_that_is_missing() {
    let program = Program::with_orders();
    std::fs::create_dir(program.path().join("none")).unwrap();
    let run = program.run(&["list", "--extension-directory", "none"]);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("extension") && run.stderr.contains("extensions install"), "{run:?}");
}

#[test]
fn a_disk_that_is_full_during_a_refresh() {
    let program = Program::with_orders();
    program.sql("CREATE DYNAMIC TABLE copy TARGET_LAG = '5 minutes' AS SELECT o.*, hash(o.id) AS h FROM orders o");
    program.sql("INSERT INTO orders SELECT i, '2026-02-01', i, i FROM range(2000000) r(i)");
    let before = program.sql("SELECT count(*), sum(hash(copy)) FROM copy");
    // No file may grow beyond this many blocks: writing fails as on a full disk.
    let limited = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    let template = program.command(&["refresh", "copy"]);
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(template.get_program()).args(template.get_args());
    command.current_dir(program.path()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let run = finish(command.spawn().unwrap());
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("error["), "{run:?}");

    assert_eq!(program.sql("SELECT count(*), sum(hash(copy)) FROM copy"), before, "half a refresh is visible");
    program.ok(&["verify"]);
    program.ok(&["refresh", "copy"]);
    assert_eq!(program.sql("SELECT count(*) FROM copy"), ["2000003"]);
    program.ok(&["verify"]);
}
