//! Dynamic tables as resources.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::client::{DAILY, ORDERS, Served};

#[test]
fn a_table_lives_from_create_to_drop() {
    let served = Served::new();
    served.lake.run(ORDERS).unwrap();
    let accepted =
        served.send("POST", "/api/v1/dynamic-tables", &[("content-type", "application/sql")], DAILY.as_bytes());
    let task = served.finish(&accepted);
    assert_eq!(task["state"], "SUCCESS", "{task}");
    assert_eq!(task["result"][0]["action"], "created");

    let list = served.get("/api/v1/dynamic-tables").json();
    assert_eq!((list[0]["name"].as_str(), list[0]["rows"].as_u64()), (Some("daily"), Some(10)));
    let details = served.get("/api/v1/dynamic-tables/main.daily").json();
    assert_eq!(details["columns"][0]["name"], "day");
    assert_eq!(details["sources"][0]["name"], "main.orders");

    served.lake.run("INSERT INTO orders VALUES (5000, 3, 100)").unwrap();
    let dry = served.finish(&served.post("/api/v1/dynamic-tables/daily/dry-run", &json!({})));
    assert_eq!(dry["result"][0]["rows_inserted"], 1, "{dry}");
    let refreshed = served.finish(&served.post("/api/v1/dynamic-tables/daily/refresh", &json!({})));
    assert_eq!(refreshed["result"][0]["state"], "SUCCEEDED", "{refreshed}");
    let verified = served.finish(&served.post("/api/v1/verify", &json!({})));
    assert_eq!(verified["result"][0]["equal"], true, "{verified}");

    let history = served.get("/api/v1/dynamic-tables/daily/history?limit=1").json();
    assert_eq!((history.as_array().unwrap().len(), history[0]["trigger"].as_str()), (1, Some("MANUAL")));
    assert!(served.get("/api/v1/dynamic-tables/daily/lag?since=1h").json()["mean_lag_seconds"].is_number());
    let explained = served.get("/api/v1/dynamic-tables/daily/explain").json();
    assert!(
        explained["tree"].as_array().unwrap().len() > 1 && explained["choice"]["action"] == "NO_DATA",
        "{explained}"
    );
    let graph = served.get("/api/v1/graph").json();
    assert_eq!(graph["edges"], json!([[0, 1]]));
    assert_eq!(served.get("/api/v1/sources").json()[0]["readers"], json!(["main.daily"]));

    assert_eq!(served.post("/api/v1/dynamic-tables/daily/suspend", &json!({})).status, 200);
    let suspended = served.get("/api/v1/dynamic-tables?state=suspended").json();
    assert_eq!(suspended.as_array().unwrap().len(), 1);
    assert_eq!(served.post("/api/v1/dynamic-tables/daily/resume", &json!({})).status, 200);
    let alter = json!({ "set": { "TARGET_LAG": "5 minutes" }, "rename_to": "per_day" });
    let json_type = [("content-type", "application/json")];
    let altered = served.send("PATCH", "/api/v1/dynamic-tables/daily", &json_type, alter.to_string().as_bytes());
    assert_eq!(altered.json()["name"], "main.per_day", "{}", altered.text());
    let dropped = served.send("DELETE", "/api/v1/dynamic-tables/per_day", &[], b"").json();
    assert_eq!(dropped["dropped"], json!(["main.per_day"]));
    assert_eq!(served.get("/api/v1/dynamic-tables").json(), json!([]));
}

#[test]
fn what_is_not_there_is_not_found() {
    let served = Served::with_daily();
    for path in ["nothing", "nothing/history", "nothing/explain", "nothing/lag"] {
        let answer = served.get(&format!("/api/v1/dynamic-tables/{path}"));
        assert_eq!((answer.status, answer.code().as_str()), (404, "QUERY"), "{path}");
    }
    assert_eq!(served.post("/api/v1/dynamic-tables/nothing/refresh", &json!({})).status, 404);
    assert_eq!(served.send("DELETE", "/api/v1/dynamic-tables/nothing", &[], b"").status, 404);
    assert_eq!(served.get("/api/v1/tasks/01234567-89ab-cdef-0123-456789abcdef").status, 404);
    assert_eq!(served.get("/api/v2").status, 404);
    assert_eq!(served.send("PUT", "/api/v1/dynamic-tables", &[], b"").status, 405);
}

#[test]
fn a_statement_that_is_wrong_is_refused_with_its_place() {
    let served = Served::with_daily();
    let headers = [("content-type", "application/sql")];
    let answer =
        served.send("POST", "/api/v1/dynamic-tables", &headers, b"CREATE DYNAMIC TABLE x\nTARGET_LAG = AS SELECT 1");
    assert_eq!((answer.status, answer.code().as_str()), (400, "QUERY"));
    assert_eq!(answer.json()["place"]["line"], 2);
    let unbound = b"CREATE DYNAMIC TABLE x TARGET_LAG = '1 hour' AS SELECT nothing FROM orders";
    let task = served.finish(&served.send("POST", "/api/v1/dynamic-tables", &headers, unbound));
    assert_eq!((task["state"].as_str(), task["error"]["code"].as_str()), (Some("FAILURE"), Some("QUERY")), "{task}");
    assert_eq!(task["error"]["place"]["column"], 56, "{task}");
}

#[test]
fn an_explanation_is_drawn() {
    let served = Served::with_daily();
    let ask = |format: &str| served.get(&format!("/api/v1/dynamic-tables/daily/explain?format={format}"));
    let svg = ask("svg");
    assert_eq!(svg.header("content-type").as_deref(), Some("image/svg+xml"));
    assert!(svg.text().starts_with("<svg") && svg.text().contains("orders"), "{}", svg.text());
    assert!(ask("dot").text().contains("n0 -> n1"));
    assert!(ask("json").json()["tree"].is_array());
    assert_eq!((ask("png").status, ask("png").code().as_str()), (400, "QUERY"));
}

#[test]
fn a_task_is_cancelled_while_it_runs() {
    let served = Served::with_daily();
    let slow = "CREATE DYNAMIC TABLE slow TARGET_LAG = '1 hour' AS \
                SELECT count(*) AS n FROM orders a, orders b, orders c, orders d WHERE a.id + b.id + c.id + d.id = 7";
    let accepted = served.post("/api/v1/dynamic-tables", &json!({ "sql": slow }));
    let path = accepted.header("location").unwrap();
    while served.get(&path).json()["state"] == "PENDING" {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(served.send("DELETE", &path, &[], b"").status, 200);
    assert_eq!(served.finish(&accepted)["state"], "REVOKED");
    assert_eq!(served.send("DELETE", &path, &[], b"").code(), "CONFLICT");
    assert_eq!(served.get("/api/v1/dynamic-tables/slow").status, 404);
}

#[test]
fn changes_of_tasks_are_heard_of() {
    let served = Served::with_daily();
    let mut stream = served.connect();
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nhost: {}\r\n\r\n", served.address).unwrap();
    let mut heard = vec![0; 1];
    stream.read_exact(&mut heard).unwrap();
    served.finish(&served.post("/api/v1/refresh", &json!({})));
    let mut text = String::new();
    while !text.contains("SUCCESS") {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).unwrap();
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    assert!(text.contains("event: task"));
    // Who listens does not hold up the end.
    assert!(served.stop() < Duration::from_secs(4));
}

#[test]
fn the_description_says_what_there_is() {
    let served = Served::new();
    let description = served.get("/api/v1/openapi.json").json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{name}", "x").replace("{id}", "x");
            if path == "/api/v1/events" {
                continue;
            }
            let answer = served.send(&method.to_uppercase(), &path, &[], b"");
            let is_route = answer.status != 405 && !answer.text().contains("there is nothing at");
            assert!(is_route, "{method} {path}: {}", answer.text());
        }
    }
    assert!(paths.len() > 20);
}

#[test]
fn figures_and_health_can_be_asked_for() {
    let served = Served::with_daily();
    served.finish(&served.post("/api/v1/refresh", &json!({ "full": true })));
    let figures = served.get("/metrics");
    for line in [
        "dynamic_tables_lag_seconds{table=\"main.daily\"}",
        "dynamic_tables_target_lag_seconds{table=\"main.daily\"} 3600.0",
        "dynamic_tables_refresh_duration_seconds_count{table=\"main.daily\",action=\"FULL\"} 1",
        "dynamic_tables_tables{state=\"RUNNING\"} 1",
        "dynamic_tables_tasks{state=\"SUCCESS\"} 1",
        "dynamic_tables_duckdb_memory_bytes",
        "dynamic_tables_up 1",
        "dynamic_tables_workers{state=\"RUNNING\"} 0",
        "dynamic_tables_refreshes_total{table=\"main.daily\",state=\"FAILED\"} 0",
        "# TYPE dynamic_tables_http_requests_total counter",
    ] {
        assert!(figures.text().contains(line), "{line}\n{}", figures.text());
    }
    let open =
        served.send("GET", "/metrics", &[("accept", "application/openmetrics-text;version=1.0.0")], b"").text();
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE dynamic_tables_http_requests counter"), "{open}");
    assert_eq!(served.get("/healthz").text(), "ok\n");
    assert_eq!(served.get("/readyz").text(), "ready\n");
    let health = served.get("/health").json();
    assert_eq!((health["status"].as_str(), health["active_workers"].as_u64()), (Some("degraded"), Some(0)));
}
