//! The life of a dynamic table, verb by verb.

use insta::assert_snapshot;

use crate::program::{DAILY, FILTERS, Program};

#[test]
fn list_describe_and_status() {
    let program = Program::with_daily();
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["list"]), @r"
        schema  name  scheduling_state  target_lag  current_lag  refresh_mode  last_refresh_status  rows  bytes
        main  daily  RUNNING  5 minutes  [n]  INCREMENTAL  SUCCEEDED  2  [n]
        ");
        assert_snapshot!(program.ok(&["describe", "daily"]), @r"
        schema  main
        name  daily
        scheduling_state  RUNNING
        target_lag  5 minutes
        effective_lag  5 minutes
        current_lag  [n]
        refresh_mode  INCREMENTAL
        data_version  4
        data_timestamp  [time]
        last_refresh_time  [time]
        last_refresh_status  SUCCEEDED
        last_refresh_action  REINITIALIZE
        rows  2
        bytes  [n]
        properties  TARGET_LAG = '5 minutes'
                             REFRESH_MODE = AUTO
                             INITIALIZE = ON_CREATE
                             DEDUPLICATION = FALSE
                             CARDINALITY_THRESHOLD = 0.3
                             PARALLEL_THRESHOLD = 10000000
                             MAX_PARALLELISM = 16
                             SCHEDULER = ENABLE
                             QUEUE = 'default'

        column  type
        day  DATE
        orders  BIGINT
        amount  DECIMAL(38,2)

        source  kind
        main.orders  TABLE

        CREATE DYNAMIC TABLE main.daily
          TARGET_LAG = '5 minutes'
        AS
        SELECT day, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY day;
        ");
        assert_snapshot!(program.ok(&["status", "daily"]), @r"
        schema  main
        name  daily
        scheduling_state  RUNNING
        target_lag  5 minutes
        effective_lag  5 minutes
        current_lag  [n]
        refresh_mode  INCREMENTAL
        data_version  4
        data_timestamp  [time]
        last_refresh_time  [time]
        last_refresh_status  SUCCEEDED
        last_refresh_action  REINITIALIZE
        rows  2
        bytes  [n]
        mean_lag  [n]
        maximum_lag  [n]
        time_above_target_lag  [n]
        time_within_target_lag_ratio  100.00 %
        lag_since  [time]
        lag_measured  [n]
        ");
        assert_snapshot!(program.ok(&["list", "--format", "json"]), @r#"
        [
          {"schema":"main","name":"daily","scheduling_state":"RUNNING","suspended_reason":null,"target_lag":"5 minutes","effective_lag":"5 minutes","current_lag":[n],"refresh_mode":"INCREMENTAL","refresh_mode_reason":null,"data_version":4,"data_timestamp":"[time]","last_refresh_time":"[time]","last_refresh_status":"SUCCEEDED","last_refresh_action":"REINITIALIZE","last_error":null,"executing_refresh":null,"rows":2,"bytes":[n],"comment":null}
        ]
        "#);
    });
    assert_eq!(program.ok(&["list", "--like", "x%"]), "there is no dynamic table\n");
    assert_eq!(program.ok(&["list", "--like", "x%", "--format", "json"]), "[]\n");
    assert_eq!(Program::with_orders().ok(&["list"]), "there is no dynamic table\n");
}

#[test]
fn refresh_follows_the_sources() {
    let program = Program::with_many_orders();
    program.sql(DAILY);
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["refresh"]), @r"
        name  state  action  reason  rows_read  rows_inserted  rows_deleted  duration
        main.daily  SUCCEEDED  NO_DATA  no source has changed  0  0  0  [n]
        ");
    });
    program.sql("INSERT INTO orders VALUES (4, '2026-01-02', 2, 7.5); DELETE FROM orders WHERE id = 1");
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["refresh", "daily", "--dry-run"]), @r"
        name  action  reason  rows_inserted  rows_deleted
        main.daily  INCREMENTAL  folded the change into its groups (state table): 2 of 200003 source rows changed  2  2

        main.daily
        change  day  orders  amount
        +  2026-01-01  1  20.00
        +  2026-01-02  2  12.50
        -  2026-01-01  2  30.00
        -  2026-01-02  1  5.00

        nothing was changed (--dry-run)
        ");
    });
    let january = "SELECT * FROM daily WHERE day < '2026-02-01' ORDER BY day";
    assert_eq!(program.sql(january), ["2026-01-01,2,30.00", "2026-01-02,1,5.00"]);
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["refresh", "daily"]), @r"
        name  state  action  reason  rows_read  rows_inserted  rows_deleted  duration
        main.daily  SUCCEEDED  INCREMENTAL  folded the change into its groups (state table): 2 of 200003 source rows changed  2  2  2  [n]
        ");
    });
    assert_eq!(program.sql(january), ["2026-01-01,1,20.00", "2026-01-02,2,12.50"]);
    let full = program.ok(&["refresh", "daily", "--full", "--format", "csv"]);
    assert!(full.contains("SUCCEEDED,FULL"), "{full}");
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["verify"]), @r"
        name  result  data_version  rows  missing  surplus  float_noise  details
        main.daily  equal  10  102  0  0  0

        verified: 1 of 1 dynamic tables equal their queries
        ");
        assert_snapshot!(program.ok(&["history", "daily"]), @r"
        name  started_at  state  trigger  action  reason  rows_read  rows_inserted  rows_deleted  duration  lag_before  lag_after  worker
        main.daily  [time]  SUCCEEDED  MANUAL  FULL  asked for  0  0  0  [n]  [n]  [n]
        main.daily  [time]  SUCCEEDED  MANUAL  INCREMENTAL  folded the change into its groups (state table): 2 of 200003 source rows changed  2  2  2  [n]  [n]  [n]
        main.daily  [time]  SUCCEEDED  MANUAL  NO_DATA  no source has changed  [n]  [n]  [n]
        main.daily  [time]  SUCCEEDED  CREATION  REINITIALIZE  first refresh  102  102  0  [n]  [n]
        ");
    });
    let latest = program.ok(&["history", "--limit", "1", "--format", "csv"]);
    assert_eq!(latest.lines().count(), 2, "{latest}");
}

#[test]
fn explain_offers_a_rewrite_that_is_incremental() {
    let program = Program::with_orders();
    program.sql("CREATE DYNAMIC TABLE large TARGET_LAG = '5 minutes' AS SELECT sum(amount::DOUBLE) AS amount FROM orders GROUP BY customer");
    let text = program.ok(&["explain", "large"]);
    assert!(text.contains("incremental if written with the GROUP BY keys in the select list; the result: it has further columns at the end\n  SELECT sum("), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&program.ok(&["explain", "large", "--format", "json"])).unwrap();
    let rewrites = json[0]["rewrites"].as_array().or_else(|| json["rewrites"].as_array()).unwrap();
    assert!(rewrites[0]["effect"].as_str().unwrap().contains("further columns"), "{json}");
    assert!(rewrites[0]["query"].as_str().unwrap().contains("customer FROM orders GROUP BY customer"), "{json}");
}

#[test]
fn explain_analyze_shows_where_the_time_went() {
    let program = Program::with_many_orders();
    program.sql(DAILY);
    program.sql("INSERT INTO orders VALUES (4, '2026-01-02', 2, 7.5)");
    let analyzed = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(
            &program.ok(&[&["explain", "daily", "--analyze", "--format", "json"], arguments].concat()),
        )
        .unwrap()
    };
    let json = analyzed(&[]);
    assert_eq!(
        (json["action"].as_str(), &json["earlier"]),
        (Some("INCREMENTAL"), &serde_json::Value::Null),
        "{json}"
    );
    let steps = json["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names, ["begin", "decide", "read changes", "compute", "wait", "apply", "commit", "record", "total"]);
    for step in steps {
        let of = |name: &str| step[name].as_f64().unwrap();
        let parts = of("lake_ms") + of("registry_ms") + of("own_ms");
        assert!((parts - of("ms")).abs() < 0.05, "{step}");
    }
    assert!(json["statements"].as_u64().unwrap() > 10);
    // The table of the orders has many rows in one file, of which its change is one, in another or in the catalog.
    let orders: Vec<_> = json["scans"].as_array().unwrap().iter().filter(|scan| scan["table"] == "orders").collect();
    assert!(!orders.is_empty(), "{json}");
    for scan in orders {
        assert!(scan["rows_read"].as_u64().unwrap() <= 1 && scan["rows"].as_u64().unwrap() > 200_000, "{scan}");
        assert!(scan["files_read"].as_u64() <= scan["files"].as_u64(), "{scan}");
    }
    // It was a refresh. The next one has nothing to do, and shows it once more.
    program.ok(&["verify"]);
    let again = analyzed(&[]);
    assert_eq!((again["action"].as_str(), again["earlier"].is_string()), (Some("INCREMENTAL"), true), "{again}");
    let text = program.ok(&["explain", "daily", "--analyze"]);
    assert!(text.contains("own_ms") && text.contains("statements to the lake"), "{text}");
}

#[test]
fn explain_says_how_and_why() {
    let program = Program::with_many_orders();
    program.sql(DAILY);
    program.sql("INSERT INTO orders VALUES (4, '2026-01-02', 2, 7.5)");
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["explain", "daily"]), @r#"
        name  main.daily
        refresh_mode  INCREMENTAL

        Aggregate by "day"  [fold the change into its groups; the state table holds count(*), count(amount), sum(amount)]
          Scan main.orders  [its change between the two snapshots]

        source  kind  columns  rows  changed  read_by
        main.orders  TABLE  day, amount  200004  1  insertions of the change feed

        next refresh: INCREMENTAL: folded the change into its groups (state table): 1 of 200004 source rows changed
          source_rows: 200004
          changed_rows: 1
          target_rows: 102
          cardinality_threshold: 0.3
          floor_rows: 100000

        `dynamic-tables explain main.daily --sql` shows the SQL of a refresh.
        "#);
    });
    assert!(program.ok(&["explain", "daily", "--sql"]).to_uppercase().contains("SELECT"));
    let json = program.ok(&["explain", "daily", "--format", "json"]);
    assert!(json.contains("\"tree\"") && json.contains("\"choice\""), "{json}");
    program
        .sql("CREATE DYNAMIC TABLE top TARGET_LAG = '1 hour' AS SELECT * FROM orders ORDER BY amount DESC LIMIT 2%");
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["explain", "top"]), @r"
        name  main.top
        refresh_mode  FULL
        reason  LIMIT of a percentage depends on the number of all rows

        Limit  not incremental: LIMIT of a percentage depends on the number of all rows (line 1, column 8)

        source  kind  columns  rows  changed  read_by
        main.orders  TABLE  id, day, customer, amount  200004  0  unchanged

        next refresh: NO_DATA: no source has changed
        ");
    });
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
