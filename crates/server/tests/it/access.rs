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

#[test]
fn who_has_changed_what_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let mut served = Served::with(|options| {
        options.tokens = server::Tokens::parse(TOKENS).unwrap();
        options.audit = Some(file.clone());
    });
    served.lake.run(ORDERS).unwrap();
    served.client.token = Some("reader-reader-reader");
    served.sql(&json!({ "sql": "SELECT * FROM orders" }));
    served.sql(&json!({ "sql": "DROP DYNAMIC TABLE daily" }));
    served.sql(&json!({ "sql": "DELETE FROM orders", "write": true }));
    served.client.token = Some("chief-chief-chief");
    served.finish(&served.sql(&json!({ "sql": DAILY })));
    let secret = "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'geheimgeheim')";
    served.sql(&json!({ "sql": secret, "write": true }));
    let alter = json!({ "set": { "TARGET_LAG": "5 minutes" } });
    let headers = [("content-type", "application/json")];
    served.send("PATCH", "/api/v1/dynamic-tables/daily", &headers, alter.to_string().as_bytes());
    served.finish(&served.post("/api/v1/dynamic-tables/daily/refresh", &json!({})));
    served.finish(&served.post("/api/v1/dynamic-tables/daily/verify", &json!({})));
    served.send("DELETE", "/api/v1/dynamic-tables/daily", &[], b"");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(!written.contains("geheim"), "{written}");
    let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &serde_json::Value| {
        ["by", "action", "result"].map(|field| line[field].as_str().unwrap().to_owned()).join(" ")
    };
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            "reader DROP FAILURE",
            "reader SQL FAILURE",
            "chief CREATE STARTED",
            "chief CREATE SUCCESS",
            "chief SQL SUCCESS",
            "chief ALTER SUCCESS",
            "chief REFRESH STARTED",
            "chief REFRESH SUCCESS",
            "chief DROP SUCCESS",
        ],
        "{written}"
    );
    assert_eq!(lines[0]["error_code"], "PERMISSION");
    assert!(lines[3]["statement"].as_str().unwrap().contains("sum(amount)"));
    assert_eq!(lines[5]["statement"], "SET TARGET_LAG = '5 minutes'");
    assert_eq!(lines[2]["task"], lines[3]["task"]);
}
