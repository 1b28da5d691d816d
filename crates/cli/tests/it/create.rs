//! `create` and `validate`.

use insta::assert_snapshot;

use crate::program::{DAILY, FILTERS, Program};

#[test]
fn a_file_with_several_tables_over_one_another() {
    let program = Program::with_orders();
    program.file(
        "tables.sql",
        &format!(
            "-- figures\n{DAILY};\n/* over it */ CREATE DYNAMIC TABLE total TARGET_LAG = DOWNSTREAM SCHEDULER = DISABLE AS
             SELECT count(*) AS days, sum(amount) AS amount FROM daily;"
        ),
    );
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["create", "-f", "tables.sql"]), @r"
        name  result  refresh_mode  reason  rows  duration
        main.daily  created  INCREMENTAL  2  [n]
        main.total  created  INCREMENTAL  1  [n]
        ");
    });
    assert_eq!(program.sql("SELECT * FROM daily ORDER BY day"), ["2026-01-01,2,30.00", "2026-01-02,1,5.00"]);
    assert_eq!(program.sql("SELECT * FROM total"), ["2,35.00"]);
    program.ok(&["verify"]);
}

#[test]
fn standard_input_and_several_files() {
    let program = Program::with_orders();
    program.file("a.sql", DAILY);
    let run = program.run_with_input(
        &["create", "-f", "a.sql", "-f", "-", "--format", "json"],
        "CREATE DYNAMIC TABLE names TARGET_LAG = '1 day' AS SELECT name FROM customers",
    );
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.contains("\"name\":\"main.daily\"") && run.stdout.contains("\"name\":\"main.names\""),
        "{run:?}"
    );
    assert_eq!(program.inventory().1, ["daily", "names"]);
}

#[test]
fn doing_it_again() {
    let program = Program::with_daily();
    program.file("again.sql", DAILY);
    assert_snapshot!(program.fails(1, &["create", "-f", "again.sql"]), @r"
    error[QUERY]: dynamic table main.daily already exists
     --> again.sql:1:22
      1 | CREATE DYNAMIC TABLE daily TARGET_LAG = '5 minutes' AS SELECT day, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY day
        |                      ^^^^^
    ");
    program.file("if_not_exists.sql", &DAILY.replace("TABLE daily", "TABLE IF NOT EXISTS daily"));
    assert!(program.ok(&["create", "-f", "if_not_exists.sql"]).contains("already exists"));
    program.file("or_replace.sql", &DAILY.replace("CREATE", "CREATE OR REPLACE"));
    assert!(program.ok(&["create", "-f", "or_replace.sql"]).contains("unchanged"));
    program.file("or_replace.sql", &DAILY.replace("CREATE", "CREATE OR REPLACE").replace("sum(", "max("));
    assert!(program.ok(&["create", "-f", "or_replace.sql"]).contains("replaced"));
    program.file("or_replace.sql", &DAILY.replace("CREATE", "CREATE OR REPLACE"));
    assert!(program.ok(&["create", "-f", "or_replace.sql"]).contains("replaced"));
    program.file("or_alter.sql", &DAILY.replace("CREATE", "CREATE OR ALTER"));
    assert!(program.ok(&["create", "-f", "or_alter.sql"]).contains("unchanged"));
    program.file("or_alter.sql", &DAILY.replace("CREATE", "CREATE OR ALTER").replace("'5 minutes'", "'1 hour'"));
    assert!(program.ok(&["create", "-f", "or_alter.sql"]).contains("altered"));
    program.ok(&["verify"]);
}

#[test]
fn the_query_says_why_it_is_not_incremental() {
    let program = Program::with_orders();
    let out = program.ok(&[
        "sql",
        "-c",
        "CREATE DYNAMIC TABLE top TARGET_LAG = '1 hour' AS SELECT * FROM orders ORDER BY amount DESC LIMIT 2%",
    ]);
    assert!(out.contains("FULL") && out.contains("LIMIT of a percentage"), "{out}");
}

#[test]
fn validate_reports_every_check() {
    let program = Program::with_orders();
    program.file("good.sql", DAILY);
    assert_snapshot!(program.ok(&["validate", "-f", "good.sql"]), @r"
    file      name   check         result  details
    good.sql  daily  statement     OK      the statement is well-formed
    good.sql  daily  properties    OK      target lag 5 minutes
    good.sql  daily  name          OK      main.daily is free
    good.sql  daily  query         OK      3 columns: day DATE, orders BIGINT, amount DECIMAL(38,2)
    good.sql  daily  sources       OK      main.orders
    good.sql  daily  refresh mode  OK      INCREMENTAL
    good.sql  daily  dependencies  OK      reads no other dynamic table
    ");
    program.file("bad.sql", "CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS SELECT x FROM ordres");
    let run = program.run(&["validate", "-f", "bad.sql", "--format", "json"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("\"FAIL\"") && run.stdout.contains("ordres"), "{run:?}");
    assert_eq!(program.inventory().1, Vec::<String>::new());
}

#[test]
fn a_table_with_a_quote_in_its_name_is_read_by_the_next_statement() {
    let program = Program::with_orders();
    program.file(
        "odd.sql",
        "CREATE DYNAMIC TABLE \"a\"\"b;c\" TARGET_LAG = '1 minute' AS SELECT count(*) AS n FROM orders;\n\
         CREATE DYNAMIC TABLE \"SELECT\" TARGET_LAG = '1 minute' AS SELECT max(n) AS m FROM \"a\"\"b;c\";",
    );
    program.ok(&["create", "-f", "odd.sql"]);
    program.ok(&["verify"]);
}
