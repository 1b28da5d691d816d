//! Who may do what, and who is let in at all.

use registry::Registry;
use serde_json::json;
use server::{Options, Server};
use testkit::lake::ThrowAway;

use crate::client::{DAILY, ORDERS, Served};

const TOKENS: &str = "reader=read:reader-reader-reader; operator=operate:operator-operator; chief=admin:chief-chief-chief; \
                      old=admin:old-old-old-old-old@2020-01-01";

#[test]
fn a_role_may_do_what_it_says() {
    let mut served = Served::with_tokens(TOKENS);
    served.lake.run(&format!("{ORDERS}; {DAILY}")).unwrap();
    let mut statuses = Vec::new();
    for token in ["reader-reader-reader", "operator-operator", "chief-chief-chief"] {
        served.client.token = Some(token);
        let drop = served.send("DELETE", "/api/v1/dynamic-tables/nothing", &[], b"").status;
        statuses.push([
            served.get("/api/v1/dynamic-tables").status,
            served.sql(&json!({ "sql": "SELECT * FROM daily" })).status,
            served.post("/api/v1/dynamic-tables/daily/refresh", &json!({})).status,
            served.sql(&json!({ "sql": "ALTER DYNAMIC TABLE daily SUSPEND" })).status,
            served.sql(&json!({ "sql": "INSERT INTO orders VALUES (1, 1, 1)", "write": true })).status,
            served.sql(&json!({ "sql": "DROP DYNAMIC TABLE nothing" })).status,
            drop,
        ]);
    }
    assert_eq!(
        statuses,
        [
            [200, 200, 403, 403, 403, 403, 403],
            [200, 200, 202, 200, 403, 403, 403],
            [200, 200, 202, 200, 200, 400, 404]
        ]
    );
}

#[test]
fn without_a_right_token_nothing_is_answered() {
    let served = Served::with_tokens(TOKENS);
    let answer = served.get("/api/v1/dynamic-tables");
    assert_eq!((answer.status, answer.code().as_str()), (401, "PERMISSION"));
    assert_eq!(answer.header("www-authenticate").as_deref(), Some("Bearer"));
    for authorization in [
        "Bearer",
        "Bearer ",
        "Basic cmVhZGVy",
        "Bearer reader-reader-reade",
        "Bearer reader-reader-reader-",
        "Bearer old-old-old-old-old",
        "Bearer reader",
        "bearer x y z",
    ] {
        for path in ["/api/v1/dynamic-tables", "/api/v1/events", "/metrics", "/api/v1/openapi.json", "/nothing"] {
            let answer = served.send("GET", path, &[("authorization", authorization)], b"");
            assert_eq!((answer.status, answer.code().as_str()), (401, "PERMISSION"), "{authorization} {path}");
            assert!(!answer.text().contains("reader-reader"));
        }
    }
    for path in ["/healthz", "/readyz", "/health", "/"] {
        assert_eq!(served.get(path).status, 200, "{path}");
    }
}

#[test]
fn other_web_pages_cannot_act_through_a_browser() {
    let served = Served::with_daily();
    let address = served.address.to_string();
    let own = format!("http://{address}");
    for (headers, expected) in [
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("host", "evil.example")], 403),
        (vec![("host", "127.0.0.1.evil.example:80")], 403),
        (vec![("origin", own.as_str())], 200),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("host", "localhost:1")], 200),
        (vec![("host", "[::1]:1")], 200),
    ] {
        assert_eq!(served.send("GET", "/api/v1/dynamic-tables", &headers, b"").status, expected, "{headers:?}");
    }
    let policy = served.get("/").header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[test]
fn strangers_are_not_let_in_without_tokens() {
    let lake = ThrowAway::new().unwrap();
    let registry = Registry::open(lake.registry_url()).unwrap();
    let options = Options::new("0.0.0.0:0".parse().unwrap());
    let refused = Server::open(options, lake.options(), registry).err().unwrap();
    assert_eq!(refused.code(), error::Code::Configuration);
    assert!(refused.hint().unwrap().contains("--tokens"));
    let mut options = Options::new("127.0.0.1:0".parse().unwrap());
    options.flight = Some("0.0.0.0:0".parse().unwrap());
    let registry = Registry::open(lake.registry_url()).unwrap();
    let refused = Server::open(options, lake.options(), registry).err().unwrap();
    assert_eq!(refused.code(), error::Code::Configuration);
}

#[test]
fn who_asks_too_often_is_told_to_wait() {
    let served = Served::with(|options| options.limits.requests_per_second = 1);
    let statuses: Vec<u16> = (0..15).map(|_| served.get("/api/v1/tasks").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
    let answer = served.get("/api/v1/tasks");
    assert_eq!((answer.status, answer.code().as_str()), (429, "RESOURCE"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(served.get("/healthz").status, 200);
}
