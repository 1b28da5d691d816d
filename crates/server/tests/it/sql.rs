//! SQL over HTTP: forms of a result, parameters, limits, time, one consistent cut, and statements that are no queries.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{DAILY, ORDERS, Served};

#[test]
fn a_result_comes_in_the_form_that_is_accepted() {
    let served = Served::with_daily();
    let sql = "SELECT day, amount FROM daily WHERE day < 2 ORDER BY day";
    let ask = |accept: &str| {
        let headers = [("content-type", "application/sql"), ("accept", accept)];
        served.send("POST", "/api/v1/sql", &headers, sql.as_bytes())
    };
    let whole = ask("application/json").json();
    assert_eq!((whole["row_count"].as_u64(), whole["truncated"].as_bool()), (Some(2), Some(false)), "{whole}");
    assert_eq!((whole["columns"][0]["name"].as_str(), whole["rows"][1]["day"].as_i64()), (Some("day"), Some(1)));
    let lines = ask("application/x-ndjson").text();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert_eq!(ask("text/csv").text().lines().next(), Some("day,amount"));
    assert!(ask("application/vnd.apache.arrow.stream").body.starts_with(&[0xff, 0xff, 0xff, 0xff]));
    let file = ask("application/vnd.apache.parquet");
    assert!(file.body.starts_with(b"PAR1") && file.body.ends_with(b"PAR1"), "{}", file.text());
    assert_eq!((ask("image/png").status, ask("image/png").code().as_str()), (406, "QUERY"));
    let empty = served.sql(&json!({ "sql": "SELECT day FROM daily WHERE false" })).json();
    assert_eq!((&empty["rows"], empty["columns"][0]["name"].as_str()), (&json!([]), Some("day")));
    let header = served.sql(&json!({ "sql": "SELECT day FROM daily WHERE false", "format": "csv" }));
    assert_eq!(header.text(), "day\n");
}

#[test]
fn values_of_every_type_can_be_given() {
    let served = Served::new();
    let sql = "SELECT 1::HUGEINT AS h, 1.50::DECIMAL(9,2) AS d, 'é\"<b>' AS t, DATE '2026-01-02' AS day, \
               TIMESTAMP '2026-01-02 03:04:05.5' AS ts, TIMESTAMPTZ '2026-01-02 03:04:05+00' AS tz, TIME '01:02:03' AS ti, \
               [1, NULL] AS l, {'a': 1, 'b': 'x'} AS s, MAP {'k': 1} AS m, NULL AS n, true AS b, 'ab'::BLOB AS bl, \
               uuid() IS NOT NULL AS u, 1.5::DOUBLE AS f, 'x'::ENUM('x', 'y') AS e, 18446744073709551615::UBIGINT AS ub";
    for format in ["json", "jsonl", "arrow", "parquet"] {
        let answer = served.sql(&json!({ "sql": sql, "format": format }));
        assert_eq!(answer.status, 200, "{format}: {}", answer.text());
    }
    let row = served.sql(&json!({ "sql": sql })).json()["rows"][0].clone();
    assert_eq!(
        (&row["t"], &row["l"], &row["s"]["b"], &row["b"]),
        (&json!("é\"<b>"), &json!([1, null]), &json!("x"), &json!(true))
    );
    assert_eq!((&row["day"], &row["ub"]), (&json!("2026-01-02"), &json!(u64::MAX)), "{row}");
    let csv = served.sql(&json!({ "sql": "SELECT [1] AS l", "format": "csv" }));
    assert_eq!(csv.code(), "SCHEMA");
}

#[test]
fn parameters_and_limits_are_kept() {
    let served = Served::with_daily();
    let sum = "SELECT $1::INTEGER + $2 AS n";
    assert_eq!(served.sql(&json!({ "sql": sum, "parameters": [1, 2] })).json()["rows"][0]["n"], 3);
    let named = json!({ "sql": "SELECT $a || 'y' AS n", "parameters": { "a": "x'; DROP TABLE t" } });
    assert_eq!(served.sql(&named).json()["rows"][0]["n"], "x'; DROP TABLE ty");
    for parameters in [json!([1]), json!([1, 2, 3]), json!({ "b": 1 }), json!([[1], 2])] {
        assert_eq!(served.sql(&json!({ "sql": sum, "parameters": parameters })).code(), "QUERY");
    }
    let limited = served.sql(&json!({ "sql": "FROM range(100000)", "limit": 3 })).json();
    assert_eq!((limited["row_count"].as_u64(), limited["truncated"].as_bool()), (Some(3), Some(true)));
    let exact = served.sql(&json!({ "sql": "FROM range(3)", "limit": 3 })).json();
    assert_eq!((exact["row_count"].as_u64(), exact["truncated"].as_bool()), (Some(3), Some(false)));
}

const ENDLESS: &str = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range % 7 = b.range % 11";

#[test]
fn a_query_that_takes_too_long_is_stopped() {
    let served = Served::new();
    let began = Instant::now();
    let answer = served.sql(&json!({ "sql": ENDLESS, "timeout_seconds": 0.3 }));
    assert_eq!((answer.status, answer.code().as_str()), (503, "RESOURCE"));
    assert!(answer.text().contains("longer than 0.3 seconds") && began.elapsed() < Duration::from_secs(20));
    assert_eq!(served.sql(&json!({ "sql": "SELECT 1 AS a" })).json()["rows"][0]["a"], 1);
}

#[test]
fn nothing_is_computed_for_clients_that_are_gone() {
    let served = Served::with(|options| options.limits.queries = 2);
    for _ in 0..4 {
        let body = json!({ "sql": ENDLESS, "timeout_seconds": 600 }).to_string();
        let mut stream = served.connect();
        write!(
            stream,
            "POST /api/v1/sql HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            served.address,
            body.len()
        )
        .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // In the middle of a result as well as before its beginning.
        drop(stream);
    }
    let stream = served.connect();
    drop(stream);
    assert_eq!(served.sql(&json!({ "sql": "SELECT 1 AS a" })).json()["rows"][0]["a"], 1);
}

#[test]
fn a_big_result_is_streamed_and_a_client_that_leaves_it_frees_the_session() {
    let served = Served::with(|options| options.limits.queries = 1);
    let rows = 300_000;
    let lines = served.sql(&json!({ "sql": format!("FROM range({rows})"), "format": "jsonl" })).text();
    assert_eq!(lines.lines().count(), rows);
    for _ in 0..3 {
        let body = json!({ "sql": "SELECT range, repeat('x', 1000) AS t FROM range(100000000)", "format": "csv" })
            .to_string();
        let mut stream = served.connect();
        write!(
            stream,
            "POST /api/v1/sql HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            served.address,
            body.len()
        )
        .unwrap();
        let mut part = [0; 1000];
        std::io::Read::read_exact(&mut stream, &mut part).unwrap();
    }
    assert_eq!(served.sql(&json!({ "sql": "SELECT 1 AS a" })).json()["rows"][0]["a"], 1);
}

#[test]
fn a_client_that_does_not_read_is_left() {
    let served = Served::with(|options| {
        options.limits.queries = 1;
        options.limits.stall = Duration::from_millis(300);
    });
    let body = json!({ "sql": "SELECT repeat('x', 1000) AS t FROM range(100000000)", "format": "csv" }).to_string();
    let mut stream = served.connect();
    write!(
        stream,
        "POST /api/v1/sql HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        served.address,
        body.len()
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(served.sql(&json!({ "sql": "SELECT 1 AS a" })).json()["rows"][0]["a"], 1);
    drop(stream);
}

#[test]
fn a_failure_after_the_first_rows_ends_the_result_before_its_end() {
    let served = Served::new();
    let sql = "SELECT CASE WHEN range < 200000 THEN range ELSE error('late')::BIGINT END AS a FROM range(300000)";
    let lines = served.sql(&json!({ "sql": sql, "format": "jsonl" })).text();
    assert!(lines.contains("\"code\":\"QUERY\"") || lines.contains("late"), "{}", &lines[lines.len() - 300..]);
    let csv = served.sql(&json!({ "sql": sql, "format": "csv" }));
    assert!(csv.status != 200 || csv.text().ends_with("CUT"));
}

#[test]
fn mistakes_have_their_place_in_the_text_that_was_sent() {
    let served = Served::with_daily();
    for (sql, column) in
        [("SELECT wrong FROM daily", 8), ("  SELECT day FROM nothing", 19), ("SELECT day FRM daily", 16)]
    {
        let answer = served.sql(&json!({ "sql": sql }));
        assert_eq!((answer.status, answer.code().as_str()), (400, "QUERY"), "{sql}");
        assert_eq!(answer.json()["place"]["column"], column, "{}", answer.text());
    }
    assert_eq!(served.sql(&json!({ "sql": "SELECT 1; SELECT 2" })).code(), "QUERY");
    assert_eq!(served.sql(&json!({ "sql": "" })).code(), "QUERY");
}

#[test]
fn our_statements_are_run_by_the_product() {
    let served = Served::new();
    served.lake.run(ORDERS).unwrap();
    assert_eq!(served.finish(&served.sql(&json!({ "sql": DAILY })))["state"], "SUCCESS");
    assert_eq!(served.sql(&json!({ "sql": "SHOW DYNAMIC TABLES" })).json()[0]["name"], "daily");
    assert_eq!(served.sql(&json!({ "sql": "DESCRIBE DYNAMIC TABLE daily" })).json()["refresh_mode"], "INCREMENTAL");
    assert!(served.sql(&json!({ "sql": "EXPLAIN DYNAMIC TABLE daily" })).json()["tree"].is_array());
    assert_eq!(served.sql(&json!({ "sql": "ALTER DYNAMIC TABLE daily SUSPEND" })).status, 200);
    assert_eq!(
        served.finish(&served.sql(&json!({ "sql": "ALTER DYNAMIC TABLE daily REFRESH FULL" })))["state"],
        "SUCCESS"
    );
    assert_eq!(served.sql(&json!({ "sql": "DROP DYNAMIC TABLE daily" })).json()["dropped"], json!(["main.daily"]));
}

#[test]
fn who_may_changes_the_lake_by_saying_so() {
    let served = Served::new();
    served.lake.run(ORDERS).unwrap();
    let insert = "INSERT INTO orders VALUES (7000, 1, 1)";
    assert_eq!(served.sql(&json!({ "sql": insert })).code(), "PERMISSION");
    let done = served.sql(&json!({ "sql": insert, "write": true }));
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(served.sql(&json!({ "sql": "SELECT count(*) AS n FROM orders" })).json()["rows"][0]["n"], 1001);
    assert_eq!(served.sql(&json!({ "sql": "SELECT 1", "write": true })).code(), "QUERY");
    for _ in 0..6 {
        assert_eq!(served.sql(&json!({ "sql": "BEGIN", "write": true })).code(), "QUERY");
    }
    assert_eq!(served.sql(&json!({ "sql": insert, "write": true })).status, 200);
    assert_eq!(served.sql(&json!({ "sql": "SELECT count(*) AS n FROM orders" })).json()["rows"][0]["n"], 1002);
}

#[test]
fn several_dynamic_tables_are_read_at_the_newest_data_version_that_all_have_had() {
    let served = Served::with_daily();
    served
        .lake
        .run("CREATE DYNAMIC TABLE total TARGET_LAG = '1 hour' AS SELECT sum(amount) AS amount FROM orders")
        .unwrap();
    let sql = "SELECT (SELECT sum(amount) FROM daily) = (SELECT amount FROM total) AND \
               (SELECT sum(amount) FROM orders) = (SELECT amount FROM total) AS equal";
    served.lake.refresh(&[]).unwrap();
    // One is refreshed, the other is not: as they stand they contradict each other.
    served.lake.run("INSERT INTO orders VALUES (8000, 1, 1000)").unwrap();
    served.lake.refresh(&["daily"]).unwrap();
    assert_eq!(served.sql(&json!({ "sql": sql })).json()["rows"][0]["equal"], false);
    let consistent = served.sql(&json!({ "sql": sql, "consistent": true }));
    assert_eq!(consistent.json()["rows"][0]["equal"], true, "{}", consistent.text());
    let version: i64 = consistent.header("x-data-version").unwrap().parse().unwrap();
    let same = json!({ "sql": sql, "data_version": version });
    assert_eq!(served.sql(&same).json()["rows"][0]["equal"], true);
    served.lake.refresh(&["total"]).unwrap();
    let later = served.sql(&json!({ "sql": sql, "consistent": true }));
    assert_eq!(later.json()["rows"][0]["equal"], true);
    assert!(later.header("x-data-version").unwrap().parse::<i64>().unwrap() > version);
    // What was read before can be read again.
    let old = json!({ "sql": "SELECT amount::BIGINT AS a FROM total", "data_version": version });
    assert_eq!(served.sql(&old).json()["rows"][0]["a"], 2997);
    let never = served.sql(&json!({ "sql": "SELECT * FROM total", "data_version": 0 }));
    assert_eq!((never.status, never.code().as_str()), (409, "DEPENDENCY"));
}
