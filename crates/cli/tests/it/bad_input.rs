//! Wrong input and broken surroundings: a clear error, the right exit code, and nothing half-done.

use std::process::Command;

use insta::assert_snapshot;

use crate::program::{DAILY, Program, finish};

/// The statement is refused with this exit code, and lake and registry are as before.
#[track_caller]
fn refused(statement: &str) -> String {
    let program = Program::with_orders();
    program.file("bad.sql", statement);
    let error = program.fails(1, &["create", "-f", "bad.sql"]);
    let before = (vec!["customers".to_owned(), "orders".to_owned()], Vec::new());
    assert_eq!(program.inventory(), before, "something half-done remains");
    let checked = program.run(&["validate", "-f", "bad.sql"]);
    assert_eq!(checked.code, 1, "validate must see it too\n{}", checked.stdout);
    assert!(checked.stdout.contains("FAIL"), "{}", checked.stdout);
    error
}

#[test]
fn an_empty_file() {
    assert_snapshot!(refused(""), @r"
    error[QUERY]: there is no statement in the text
     --> bad.sql:1:1
      1 | 
        | ^
      hint: Write a statement such as CREATE DYNAMIC TABLE name TARGET_LAG = '5 minutes' AS SELECT ...
    ");
    assert_snapshot!(refused("-- nothing but a comment\n;"), @r"
    error[QUERY]: there is no statement in the text
     --> bad.sql:1:1
      1 | -- nothing but a comment
        | ^
      hint: Write a statement such as CREATE DYNAMIC TABLE name TARGET_LAG = '5 minutes' AS SELECT ...
    ");
}

#[test]
fn an_unterminated_string() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t\n  TARGET_LAG = '5 minutes\nAS SELECT 1"), @r"
    error[QUERY]: unterminated string
     --> bad.sql:2:16
      2 |   TARGET_LAG = '5 minutes
        |                ^
      hint: It begins here and is never closed by a single quote.
    ");
}

#[test]
fn an_unknown_property() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAGG = '5 minutes' AS SELECT * FROM orders"), @r#"
    error[QUERY]: unknown property "TARGET_LAGG"
     --> bad.sql:1:24
      1 | CREATE DYNAMIC TABLE t TARGET_LAGG = '5 minutes' AS SELECT * FROM orders
        |                        ^^^^^^^^^^^
      hint: Did you mean TARGET_LAG?
    "#);
}

#[test]
fn a_lag_of_zero() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '0 minutes' AS SELECT * FROM orders"), @r#"
    error[QUERY]: invalid TARGET_LAG "0 minutes": a lag of zero cannot be kept
     --> bad.sql:1:37
      1 | CREATE DYNAMIC TABLE t TARGET_LAG = '0 minutes' AS SELECT * FROM orders
        |                                     ^^^^^^^^^^^
      hint: Write a number of seconds, minutes, hours or days, such as '5 minutes', or DOWNSTREAM.
    "#);
}

#[test]
fn a_lag_that_is_none() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = 'soon' AS SELECT * FROM orders"), @r#"
    error[QUERY]: invalid TARGET_LAG "soon": it does not begin with a number
     --> bad.sql:1:37
      1 | CREATE DYNAMIC TABLE t TARGET_LAG = 'soon' AS SELECT * FROM orders
        |                                     ^^^^^^
      hint: Write a number of seconds, minutes, hours or days, such as '5 minutes', or DOWNSTREAM.
    "#);
}

#[test]
fn an_unknown_source() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELECT * FROM ordres"), @r"
    error[QUERY]: unknown source ordres
     --> bad.sql:2:15
      2 | SELECT * FROM ordres
        |               ^^^^^^
      hint: Did you mean main.orders?
    ");
}

#[test]
fn a_column_that_does_not_exist() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELECT amuont FROM orders"), @r#"
    error[QUERY]: referenced column "amuont" not found in FROM clause
     --> bad.sql:2:8
      2 | SELECT amuont FROM orders
        |        ^^^^^^
      hint: Candidate bindings: "amount", "customer", "day"
    "#);
}

#[test]
fn duplicate_output_columns() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELECT id, amount AS id FROM orders"), @r#"
    error[QUERY]: the result has two columns called "id"
     --> bad.sql:2:8
      2 | SELECT id, amount AS id FROM orders
        |        ^^
      hint: Give each output column a name of its own with AS.
    "#);
}

#[test]
fn a_query_that_is_no_sql() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' AS\nSELEC * FROM orders"), @r#"
    error[QUERY]: syntax error at or near "SELEC"
     --> bad.sql:2:1
      2 | SELEC * FROM orders
        | ^
    "#);
}

#[test]
fn a_name_taken_by_a_plain_table() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE customers TARGET_LAG = '5 minutes' AS SELECT * FROM orders"), @r"
    error[QUERY]: main.customers is the name of a plain table
     --> bad.sql:1:22
      1 | CREATE DYNAMIC TABLE customers TARGET_LAG = '5 minutes' AS SELECT * FROM orders
        |                      ^^^^^^^^^
      hint: Choose another name, or drop the table first.
    ");
    let replaced =
        refused("CREATE OR REPLACE DYNAMIC TABLE customers TARGET_LAG = '5 minutes' AS SELECT * FROM orders");
    assert!(replaced.contains("customers"), "{replaced}");
}

#[test]
fn incremental_where_it_cannot_be() {
    assert_snapshot!(refused("CREATE DYNAMIC TABLE t TARGET_LAG = '5 minutes' REFRESH_MODE = INCREMENTAL AS\nSELECT * FROM orders ORDER BY amount LIMIT 1%"), @r"
    error[QUERY]: the query cannot be refreshed incrementally: LIMIT of a percentage depends on the number of all rows
     --> bad.sql:2:8
      2 | SELECT * FROM orders ORDER BY amount LIMIT 1%
        |        ^
      hint: Use REFRESH_MODE = AUTO to have it refreshed in full, or change the query.
    ");
}

#[test]
fn another_statement_in_a_file_for_create() {
    assert_snapshot!(refused("DROP TABLE orders"), @r"
    error[QUERY]: only CREATE DYNAMIC TABLE can stand here
     --> bad.sql:1:1
      1 | DROP TABLE orders
        | ^^^^
      hint: Run other statements with `dynamic-tables sql -f FILE`.
    ");
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
    assert!(error.contains("main.total reads main.daily reads main.total"), "{error}");
    assert_eq!(program.sql("SELECT orders FROM daily ORDER BY day"), ["2", "1"]);
}

#[test]
fn drop_of_a_table_that_others_read() {
    let program = Program::with_daily();
    program.sql("CREATE DYNAMIC TABLE total TARGET_LAG = '5 minutes' AS SELECT sum(amount) AS amount FROM daily");
    let before = program.inventory();
    assert_snapshot!(program.fails(1, &["drop", "daily"]), @r"
    error[DEPENDENCY]: other dynamic tables depend on main.daily: main.total
      hint: Drop those first, or use CASCADE to drop all of them.
    ");
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
    assert_snapshot!(program.fails(1, &["describe", "nothing"]), @r"
    error[QUERY]: dynamic table main.nothing does not exist
      hint: `dynamic-tables list` shows those that do.
    ");
    assert_snapshot!(program.fails(1, &["describe", "not a name"]), @r#"
    error[QUERY]: expected a table name, found "not"
     --> line 1, column 1
      1 | not a name
        | ^^^
      hint: A name that is a keyword must be quoted: "not".
    "#);
    assert_snapshot!(program.fails(1, &["describe", "orders"]), @r"
    error[QUERY]: dynamic table main.orders does not exist
      hint: `dynamic-tables list` shows those that do.
    ");
    program.ok(&["drop", "nothing", "--if-exists"]);
}

#[test]
fn wrong_properties_of_alter() {
    let program = Program::with_daily();
    assert_snapshot!(program.fails(1, &["alter", "daily", "--set", "TARGET_LAG=never"]), @r#"
    error[QUERY]: invalid TARGET_LAG "never": it does not begin with a number
      hint: Write a number of seconds, minutes, hours or days, such as '5 minutes', or DOWNSTREAM.
    "#);
    assert_snapshot!(program.fails(1, &["alter", "daily", "--set", "TARGET_LAG"]), @r#"
    error[CONFIGURATION]: "TARGET_LAG" is not of the form PROPERTY=value
      hint: Write for example TARGET_LAG='5 minutes'.
    "#);
    assert_snapshot!(program.fails(1, &["alter", "daily", "--unset", "COLOR"]), @r#"
    error[QUERY]: unknown property "COLOR"
      hint: The properties are TARGET_LAG, REFRESH_MODE, INITIALIZE, DEDUPLICATION, CARDINALITY_THRESHOLD, PARALLEL_THRESHOLD, MAX_PARALLELISM, SCHEDULER, QUEUE, COMMENT, CLUSTER_BY.
    "#);
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
         INSERT INTO registry.dynamic_tables_migration SELECT 99999999, 'from the future', installed_on, true, checksum, 1
         FROM registry.dynamic_tables_migration LIMIT 1",
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

#[test]
fn a_nul_character_that_would_cut_the_query_short() {
    assert!(
        refused("CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' AS SELECT id FROM orders WHERE id = 1\0 AND false")
            .contains("NUL")
    );
    let program = Program::new();
    program.file("nul.sql", "SELECT 1 AS a\0, 2 AS b");
    assert!(program.fails(1, &["sql", "-f", "nul.sql"]).contains(" --> nul.sql:1:14"));
}

#[test]
fn a_query_that_is_nested_too_deeply() {
    let query = format!("{}orders{}", "(SELECT * FROM ".repeat(300), ")".repeat(300));
    let error = refused(&format!("CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' AS SELECT * FROM {query}"));
    assert!(error.starts_with("error[QUERY]: the query is nested too deeply"), "{error}");
}

#[test]
fn a_registry_given_as_a_connection_string() {
    let program = Program::new();
    let error = program.fails(1, &["list", "--pg-url", "host=127.0.0.1 port=1 password=verysecret"]);
    assert!(!error.contains("verysecret"), "{error}");
    assert_eq!(std::fs::read_dir(program.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn secrets_in_parameters_that_the_driver_does_not_know() {
    let program = Program::with_orders();
    let url = "postgresql://u:verysecret@127.0.0.1:1/d?sslpassword=verysecret&connect_timeout=3";
    let error = program.fails(2, &["list", "--pg-url", url]);
    assert!(!error.contains("verysecret"), "{error}");
    assert!(error.contains("connect_timeout"), "{error}");
}
