//! Previews of a PostgreSQL table: what they show, what they read, and what the server sees of them.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::postgres::PASSWORD;

use crate::world::{World, create, options, to_postgres};
use preview::Options;

#[test]
fn a_table_is_shown_filtered_and_queried() {
    let world = World::new();
    let answer = world.preview(json!({}));
    assert_eq!(answer.error, None);
    assert_eq!(answer.columns, ["id", "customer", "amount", "day"]);
    assert_eq!(answer.column_types, ["number", "text", "number", "date"]);
    assert_eq!(answer.engine_types, ["BIGINT", "VARCHAR", "DECIMAL(12,2)", "DATE"]);
    assert_eq!((answer.row_count, answer.truncated, answer.cached), (100, true, false));
    let first = r#"[{"id":1,"customer":"c1","amount":1.25,"day":"2024-01-02"}"#;
    assert!(answer.data.get().starts_with(first), "{}", answer.data.get());
    assert!(world.preview(json!({})).cached);

    let filter = json!({ "version": 2, "groups": [{ "conditions": [
        { "column": "id", "operator": "BETWEEN", "value": "10", "value2": "12" },
        { "column": "customer", "operator": "ILIKE", "value": "C1" }
    ], "intraLogic": "AND" }] });
    let filtered = json!({ "filter_sql": filter.to_string() });
    assert_eq!(world.rows(filtered), json!([{ "id": 11, "customer": "c1", "amount": 13.75, "day": "2024-01-12" }]));

    let sums = json!({ "sql": "SELECT count(*) AS n, 'orders' AS orders FROM orders;", "filter_sql": "id > 500; id <= 600" });
    assert_eq!(world.rows(sums), json!([{ "n": 100, "orders": "orders" }]));
    // Over the whole table unless a sample is asked for, which the answer says.
    let all = json!({ "sql": "SELECT count(*) AS n FROM orders" });
    assert_eq!(world.rows(all), json!([{ "n": 1000 }]));
    let sample = world.preview(json!({ "sql": "SELECT count(*) AS n FROM orders", "sample": true, "limit": 7 }));
    assert_eq!((sample.data.get(), sample.sample), ("[{\"n\":7}]", true));

    for (sql, table, expected) in [
        ("SELECT sum(old) AS s FROM archive.orders", "orders", json!([{ "s": 7 }])),
        ("SELECT old FROM orders", "archive.orders", json!([{ "old": 7 }])),
        ("SELECT old FROM pg_src_crm.archive.orders", "orders", json!([{ "old": 7 }])),
        ("SELECT count(*) AS n FROM orders o JOIN pg_dwh.orders d USING (id)", "orders", json!([{ "n": 1000 }])),
        ("FROM \"Odd name\"", "\"Odd name\"", json!([{ "a b": 1 }])),
        ("SELECT id FROM orders ORDER BY id DESC LIMIT 2", "orders", json!([{ "id": 1000 }, { "id": 999 }])),
        ("SELECT id FROM orders WHERE id < 3 ORDER BY id DESC", "orders", json!([{ "id": 2 }, { "id": 1 }])),
        ("WITH orders AS (SELECT 5 AS x) SELECT x FROM orders", "orders", json!([{ "x": 5 }])),
        ("SELECT 1 AS a, 2 AS a -- ;", "orders", json!([{ "a": 1, "a_1": 2 }])),
    ] {
        assert_eq!(world.rows(json!({ "sql": sql, "table_name": table })), expected, "{sql}");
    }
    let arrays = json!({ "sql": "SELECT 1 AS a, 2 AS a", "rows": "arrays" });
    assert_eq!(world.rows(arrays), json!([[1, 2]]));
}

#[test]
fn a_filter_is_computed_by_the_server_that_holds_the_rows() {
    let world = World::new();
    // The server itself says what it was sent: it sleeps while the engine reads a view, and is looked at meanwhile.
    world.psql("CREATE VIEW big AS SELECT o.*, CASE WHEN id = 7 THEN pg_sleep(3)::TEXT END AS wait FROM orders o");
    let filter = json!({ "version": 2, "groups": [{ "conditions": [
        { "column": "id", "operator": "=", "value": 7 }, { "column": "customer", "operator": "=", "value": "it's c7" }
    ], "intraLogic": "OR" }, { "conditions": [{ "column": "id", "operator": "<=", "value": "7" }] }] });
    let more = json!({ "table_name": "big", "filter_sql": filter.to_string(), "sql": "SELECT id, wait FROM big WHERE id > 6" });
    let sent = std::thread::scope(|scope| {
        let world = &world;
        let running = scope.spawn(move || world.rows(more));
        let mut sent = String::new();
        until(|| !world.psql(RUNNING).is_empty());
        sent.push_str(&world.psql(RUNNING));
        assert_eq!(running.join().unwrap(), json!([{ "id": 7, "wait": "" }]));
        sent
    });
    let (_, condition) = sent.split_once("WHERE").unwrap_or_else(|| panic!("nothing is pushed down: {sent}"));
    for part in ["\"id\"", "6", "7"] {
        assert!(condition.contains(part), "{sent}");
    }
    // Columns that nobody asked for stay where they are.
    assert!(!sent.contains("\"amount\"") && !sent.contains("\"day\""), "{sent}");
}

/// What the server computes for the view that sleeps.
const RUNNING: &str = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
    AND query LIKE '%\"big\"%' AND pid <> pg_backend_pid() LIMIT 1";

#[test]
fn what_is_wrong_is_an_answer_without_a_password() {
    let world = World::new();
    let down = create(
        &world.connections,
        "down",
        connection::Kind::Postgres,
        &[("host", "127.0.0.1"), ("port", "1"), ("database", "x"), ("user", "u"), ("password", "hunter2'\\x")],
    );
    let port = testkit::postgres::Postgres::shared().unwrap().port().to_string();
    let wrong = create(
        &world.connections,
        "wrong",
        connection::Kind::Postgres,
        &[
            ("host", "127.0.0.1"),
            ("port", &port),
            ("database", "postgres"),
            ("user", "postgres"),
            ("password", "hunter2'\\x"),
        ],
    );
    for (more, what) in [
        (json!({ "source_id": down }), "Could not connect to source database: nothing answers there"),
        (json!({ "source_id": wrong }), "Could not connect to source database: the user or the password is wrong"),
        (json!({ "sql": "FROM pg_down.x", "destination_id": down }), "Could not connect to destination database"),
        (json!({ "source_id": 4711 }), "there is no source 4711"),
        (json!({ "table_name": "gone" }), "does not exist"),
        (json!({ "sql": "SELECT nothing FROM orders" }), "nothing"),
        (json!({ "sql": "DELETE FROM orders" }), "only a SELECT"),
        (json!({ "sql": "SELECT 1; SELECT 2" }), "2 statements"),
        (json!({ "sql": "SELECT" }), ""),
        (
            json!({ "filter_sql": "{\"version\":2,\"groups\":[{\"conditions\":[{\"column\":\"x\",\"operator\":\"=\",\"value\":1}]}]}" }),
            "no column",
        ),
        (json!({ "filter_sql": "1=1) UNION SELECT (1" }), "no condition"),
        (json!({ "limit": 0 }), "limit must be"),
    ] {
        let answer = world.preview(more.clone());
        let text = serde_json::to_string(&answer).unwrap();
        let error = answer.error.unwrap_or_else(|| panic!("{more} works"));
        assert!(error.contains(what), "{more}: {error}");
        assert!(answer.columns.is_empty() && answer.data.get() == "[]");
        assert!(!text.contains("hunter2") && !text.contains(PASSWORD), "{text}");
    }
    // A destination that the query does not read need not be there.
    assert_eq!(world.rows(json!({ "sql": "SELECT 1 AS a", "destination_id": down })), json!([{ "a": 1 }]));
    for name in ["down", "wrong"] {
        let error = world.previews.test(name).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    world.previews.test("crm").unwrap();
}

#[test]
fn a_changed_connection_forgets_what_was_remembered() {
    let world = World::new();
    world.preview(json!({}));
    assert!(world.preview(json!({})).cached);
    let setting = connection::Setting { name: "schema".to_owned(), value: "archive".to_owned() };
    world.connections.alter("crm", &[setting], &[]).unwrap();
    let answer = world.preview(json!({}));
    assert_eq!((answer.cached, answer.columns), (false, vec!["old".to_owned()]));
}

/// How many statements that sleep run in the database.
fn sleeping(world: &World) -> String {
    world.psql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%\"slow\"%' AND pid <> pg_backend_pid()")
}

fn until(what: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn a_cancelled_query_ends_at_the_other_end_too() {
    let world = World::new();
    let began = Instant::now();
    let asked = world.asked(json!({ "table_name": "slow" }));
    let cancelled = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cancelled = &cancelled;
        let (world, asked) = (&world, &asked);
        let running = scope.spawn(move || {
            world.previews.run(asked, &mut || !cancelled.load(std::sync::atomic::Ordering::SeqCst)).is_none()
        });
        let seen = until(|| sleeping(world) == "1");
        cancelled.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(running.join().unwrap() && seen);
    });
    assert!(until(|| sleeping(&world) == "0"));
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_query_that_is_too_slow_is_stopped() {
    let limits = Options { soft_limit: Duration::from_millis(700), hard_limit: Duration::from_secs(4), ..options() };
    let world = World::with(limits);
    let began = Instant::now();
    // The engine waits for the server and hears no interruption: the process is killed, and the server notices.
    let answer = world.preview(json!({ "table_name": "slow" }));
    assert!(answer.error.unwrap().starts_with("the preview took longer than"));
    // What the engine itself computes is interrupted.
    let soft = world.preview(json!({ "sql": "SELECT count(*) FROM range(1000000000) a, range(1000000) b" }));
    assert_eq!(soft.error.unwrap(), "the preview took longer than 0.7 seconds");
    assert!(until(|| sleeping(&world) == "0"));
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn a_profile_says_what_the_rows_hold() {
    let world = World::new();
    let answer = world.preview(json!({ "sql": "SELECT id, nullif(customer, 'c1') AS c FROM orders WHERE id <= 20", "include_profiling": true }));
    let profile: serde_json::Value = serde_json::from_str(answer.profile.unwrap().get()).unwrap();
    assert_eq!(answer.row_count, 20);
    assert_eq!(profile[0]["mean"], json!(10.5));
    assert_eq!((&profile[0]["min"], &profile[0]["distinct_count"]), (&json!(1.0), &json!(20)));
    assert_eq!((&profile[1]["null_count"], &profile[1]["null_percent"]), (&json!(2), &json!(10.0)));
    assert_eq!(profile[1]["top_values"][0], json!({ "value": "c0", "count": 2, "percent": 10.0 }));
}

#[test]
fn names_that_become_one_are_told_apart() {
    let world = World::new();
    let twin = to_postgres(&world.connections, "src_crm", &world.database);
    let sql = "SELECT count(*) AS n FROM pg_src_crm.orders JOIN pg_src_crm_destination.orders d USING (id)";
    assert_eq!(world.rows(json!({ "sql": sql, "destination_id": twin })), json!([{ "n": 1000 }]));
}
