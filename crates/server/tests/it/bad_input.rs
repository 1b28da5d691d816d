//! What is not meant well, or not well made: an answer of the right kind each time, and the server goes on.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Served, read};

#[test]
fn bodies_that_are_wrong_are_refused() {
    let served = Served::with_daily();
    let send = |kind: &str, body: &[u8]| served.send("POST", "/api/v1/sql", &[("content-type", kind)], body);
    assert_eq!(send("text/plain", b"SELECT 1").status, 415);
    assert_eq!(send("", b"SELECT 1").status, 415);
    assert_eq!(send("multipart/form-data", b"x").code(), "QUERY");
    for body in [
        &b"{"[..],
        b"[]",
        b"null",
        b"{\"sql\": 1}",
        b"{\"sql\": \"SELECT 1\", \"unknown\": 1}",
        b"\xff\xfe",
        b"{\"sql\":\"SELECT 1\",\"limit\":-1}",
        b"{\"sql\":\"SELECT 1\",\"timeout_seconds\":-1}",
        b"{\"sql\":\"SELECT 1\",\"timeout_seconds\":1e300}",
        b"{\"sql\":\"SELECT 1\",\"format\":\"exe\"}",
    ] {
        let answer = send("application/json", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "QUERY"), "{body:?}");
    }
    assert_eq!(send("application/sql", b"SELECT '").code(), "QUERY");
    assert_eq!(send("application/sql", b"SELECT 1 \0 2").status, 400);
    let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    assert!(matches!(send("application/sql", deep.as_bytes()).status, 200 | 400));
    for query in ["limit=x", "limit=-1", "since=never", "nothing=1"] {
        assert_eq!(served.get(&format!("/api/v1/history?{query}")).status, 400, "{query}");
    }
    // Serde would take a list for an object.
    let refresh = |body: &[u8]| {
        served
            .send("POST", "/api/v1/dynamic-tables/daily/refresh", &[("content-type", "application/json")], body)
            .status
    };
    assert_eq!([&b"[]"[..], b"[true]", b"1", b"null", b"{}"].map(refresh), [400, 400, 400, 202, 202]);
    // Nothing that DuckDB finds a statement in.
    for text in ["º", "ä ", ";", "-- nothing"] {
        let answer = served.sql(&json!({ "sql": text, "write": true }));
        assert_eq!((answer.status, answer.code().as_str()), (400, "QUERY"), "{text}");
    }
    assert_eq!(served.get("/api/v1/history?limit=9223372036854775807").status, 200);
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn a_body_that_is_too_long_is_not_read() {
    let served = Served::new();
    let body = vec![b' '; 3 << 20];
    let answer = served.send("POST", "/api/v1/sql", &[("content-type", "application/sql")], &body);
    assert_eq!((answer.status, answer.code().as_str()), (413, "RESOURCE"));
    // One that does not say how long it is.
    let mut stream = served.connect();
    write!(stream, "POST /api/v1/sql HTTP/1.1\r\nhost: {}\r\ncontent-type: application/sql\r\ntransfer-encoding: chunked\r\n\r\n", served.address).unwrap();
    for _ in 0..40 {
        if write!(stream, "10000\r\n{}\r\n", " ".repeat(0x10000)).is_err() {
            break;
        }
    }
    let _ = write!(stream, "0\r\n\r\n");
    assert!(matches!(read(&mut stream).status, 413 | 0));
}

#[test]
fn clients_that_are_slow_are_left() {
    let served = Served::with(|options| options.limits.arrival = Duration::from_millis(300));
    let mut slow = served.connect();
    write!(slow, "GET /healthz HTTP/1.1\r\nhost:").unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(10));
    let mut half = served.connect();
    write!(half, "POST /api/v1/sql HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/sql\r\ncontent-length: 100\r\n\r\nSELECT", served.address).unwrap();
    let answer = read(&mut half);
    assert_eq!((answer.status, answer.code().as_str()), (408, "RESOURCE"));
}

#[test]
fn paths_lead_nowhere_else() {
    let served = Served::with_daily();
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/dynamic-tables/..%2f..%2fetc%2fpasswd",
        "/page/index.html",
        "/api/v1/dynamic-tables/%00",
        "/api/v1/dynamic-tables/a;drop",
        "/api/v1/dynamic-tables/%ff",
        "/api/v1/tasks/..",
        "//healthz",
        "/api/v1/dynamic-tables/%27%20OR%201%3D1",
        "/api/v1/dynamic-tables/a.b.c.d.e",
    ] {
        let answer = served.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(!answer.text().contains("root:"), "{path}");
    }
    for path in ["pipelines/9223372036854775808", "pipelines/x/preview/y", "connections/%ff", "tasks/%ff"] {
        let answer = served.get(&format!("/api/v1/{path}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "QUERY"), "{path}");
    }
    let mut garbage = served.connect();
    garbage.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n").unwrap();
    assert_eq!(read(&mut garbage).status, 400);
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn a_thousand_requests_at_once_are_all_answered() {
    let served = Served::with_daily();
    let client = served.client;
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = move |number: usize| match number % 3 {
            0 => client.get("/api/v1/dynamic-tables").status,
            1 => client.sql(&json!({ "sql": "SELECT count(*) FROM daily" })).status,
            _ => client.get("/metrics").status,
        };
        let askers: Vec<_> = (0..100)
            .map(|asker| scope.spawn(move || (0..10).map(|number| ask(asker + number)).collect::<Vec<_>>()))
            .collect();
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|status| matches!(status, 200 | 429 | 503)), "{answers:?}");
    assert!(answers.iter().filter(|status| **status == 200).count() > 300, "{answers:?}");
    assert_eq!(served.get("/readyz").status, 200);
}
