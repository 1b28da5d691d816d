//! The life of a dynamic table, verb by verb.

use insta::assert_snapshot;

use crate::program::{DAILY, FILTERS, Program};

#[test]
fn list_describe_and_status() {
    let program = Program::with_daily();
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["list"]), @r"");
        assert_snapshot!(program.ok(&["describe", "daily"]), @r"");
        assert_snapshot!(program.ok(&["status", "daily"]), @r"");
        assert_snapshot!(program.ok(&["list", "--format", "json"]), @r"");
    });
    assert_eq!(program.ok(&["list", "--like", "x%"]), "there is no dynamic table\n");
    assert_eq!(program.ok(&["list", "--like", "x%", "--format", "json"]), "[]\n");
    assert_eq!(Program::with_orders().ok(&["list"]), "there is no dynamic table\n");
}

#[test]
fn refresh_follows_the_sources() {
    let program = Program::with_daily();
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["refresh"]), @r"");
    });
    program.sql("INSERT INTO orders VALUES (4, '2026-01-02', 2, 7.5); DELETE FROM orders WHERE id = 1");
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["refresh", "daily", "--dry-run"]), @r"");
    });
    assert_eq!(program.sql("SELECT * FROM daily ORDER BY day"), ["2026-01-01,2,30.00", "2026-01-02,1,5.00"]);
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["refresh", "daily"]), @r"");
    });
    assert_eq!(program.sql("SELECT * FROM daily ORDER BY day"), ["2026-01-01,1,20.00", "2026-01-02,2,12.50"]);
    let full = program.ok(&["refresh", "daily", "--full", "--format", "csv"]);
    assert!(full.contains("FULL") || full.contains("REINITIALIZE"), "{full}");
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["verify"]), @r"");
        assert_snapshot!(program.ok(&["history", "daily"]), @r"");
    });
    let latest = program.ok(&["history", "--limit", "1", "--format", "csv"]);
    assert_eq!(latest.lines().count(), 2, "{latest}");
}

#[test]
fn explain_says_how_and_why() {
    let program = Program::with_daily();
    program.sql("INSERT INTO orders VALUES (4, '2026-01-02', 2, 7.5)");
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["explain", "daily"]), @r"");
    });
    assert!(program.ok(&["explain", "daily", "--sql"]).to_uppercase().contains("SELECT"));
    let json = program.ok(&["explain", "daily", "--format", "json"]);
    assert!(json.contains("\"tree\"") && json.contains("\"choice\""), "{json}");
    program
        .sql("CREATE DYNAMIC TABLE top TARGET_LAG = '1 hour' AS SELECT * FROM orders ORDER BY amount DESC LIMIT 2");
    let out = program.ok(&["explain", "top"]);
    assert!(out.contains("line 1"), "{out}");
}

#[test]
fn suspend_and_resume_take_the_readers_along() {
    let program = Program::with_daily();
    program.sql("CREATE DYNAMIC TABLE total TARGET_LAG = '5 minutes' AS SELECT sum(amount) AS amount FROM daily");
    let out = program.ok(&["suspend", "daily"]);
    assert!(out.contains("main.total"), "{out}");
    let listed = program.ok(&["list", "--format", "csv"]);
    assert_eq!(listed.matches("SUSPENDED").count(), 2, "{listed}");
    program.ok(&["resume", "daily"]);
    let listed = program.ok(&["list", "--format", "csv"]);
    assert_eq!(listed.matches("RUNNING").count(), 2, "{listed}");
}

#[test]
fn alter_changes_what_it_says_and_nothing_else() {
    let program = Program::with_daily();
    program.ok(&["alter", "daily", "--set", "TARGET_LAG=1 hour", "--set", "COMMENT='orders, per day'"]);
    let described = program.ok(&["describe", "daily", "--format", "json"]);
    assert!(described.contains("1 hour") && described.contains("orders, per day"), "{described}");
    program.ok(&["alter", "daily", "--unset", "COMMENT"]);
    let described = program.ok(&["describe", "daily", "--format", "json"]);
    assert!(described.contains("1 hour") && !described.contains("orders, per day"), "{described}");
    assert_eq!(program.sql("SELECT count(*) FROM daily"), ["2"]);
}

#[test]
fn rename_keeps_content_and_readers() {
    let program = Program::with_daily();
    program.sql("CREATE DYNAMIC TABLE total TARGET_LAG = '5 minutes' AS SELECT sum(amount) AS amount FROM daily");
    program.ok(&["rename", "daily", "per_day"]);
    assert_eq!(program.inventory().1, ["per_day", "total"]);
    program.sql("INSERT INTO orders VALUES (4, '2026-01-03', 2, 65)");
    program.ok(&["refresh"]);
    assert_eq!(program.sql("SELECT amount FROM total"), ["100.00"]);
    assert!(program.ok(&["verify"]).contains("verified: 2 of 2 dynamic tables equal their queries"));
}

#[test]
fn drop_removes_table_and_definition() {
    let program = Program::with_daily();
    assert!(program.ok(&["drop", "daily"]).contains("main.daily"));
    assert_eq!(program.inventory(), (vec!["customers".to_owned(), "orders".to_owned()], Vec::new()));
}

#[test]
fn verify_sees_what_somebody_else_did() {
    let program = Program::with_daily();
    program.sql("DELETE FROM daily WHERE day = '2026-01-01'");
    let run = program.run(&["verify"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stdout.contains("verified: 0 of 1 dynamic tables equal their queries"), "{run:?}");
    assert!(run.stdout.contains("missing"), "{run:?}");
    program.ok(&["refresh", "daily"]);
    program.ok(&["verify"]);
}

#[test]
fn the_registry_may_be_in_postgresql() {
    let postgres = testkit::postgres::Postgres::shared().unwrap();
    let url = postgres.fresh_database().unwrap();
    let database = url.rsplit('/').next().unwrap();
    let program = Program::with_orders();
    program.file("daily.sql", DAILY);
    program.ok(&["create", "-f", "daily.sql", "--pg-url", &url]);
    program.sql("INSERT INTO orders VALUES (4, '2026-01-03', 2, 65)");
    program.ok(&["refresh", "--pg-url", &url]);
    assert!(program.ok(&["verify", "--pg-url", &url]).contains("verified: 1 of 1"));
    let shown =
        postgres.psql(database, "SELECT name, scheduling_state, target_lag, rows FROM dynamic_tables").unwrap();
    assert_eq!(shown, "daily|RUNNING|5 minutes|3");
    // The password is nowhere, not even where everything is told.
    let told = program.run(&["doctor", "--pg-url", &url, "--log-level", "DEBUG"]);
    assert_eq!(told.code, 0, "{told:?}");
    let password = testkit::postgres::PASSWORD;
    assert!(!format!("{told:?}").contains(password) && !format!("{told:?}").contains(&password.replace('@', "%40")));
}
