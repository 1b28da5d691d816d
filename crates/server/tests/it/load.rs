//! Many tables, many readers.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, ORDERS, Served};

const PATH: &str = "/api/v1/dynamic-tables";
const READERS: usize = 200;

/// Prints what it measures; the bounds that must hold are those of a program that is not optimised.
#[test]
fn a_thousand_tables_are_listed_for_two_hundred_readers() {
    let served = Served::with(|options| options.limits.requests_per_second = 1_000_000);
    served.lake.run(ORDERS).unwrap();
    let count = std::env::var("SERVE_TABLES").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    let create = |number| {
        format!(
            "CREATE DYNAMIC TABLE t{number} TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS SELECT count(*) AS n FROM orders"
        )
    };
    let statements: Vec<String> = (0..count).map(create).collect();
    served.lake.run(&statements.join(";")).unwrap();
    let client = served.client;
    let first = client.get(PATH);
    assert_eq!(first.json().as_array().unwrap().len(), count);
    let bytes = first.body.len();
    let made: Vec<Duration> = (0..7)
        .map(|_| {
            // So long that no list is left that would do.
            std::thread::sleep(Duration::from_millis(300));
            let began = Instant::now();
            assert_eq!(client.get(PATH).body.len(), bytes);
            began.elapsed()
        })
        .collect();
    let at_once = together(|| {
        let began = Instant::now();
        assert_eq!(client.get(PATH).body.len(), bytes);
        vec![began.elapsed()]
    });
    let plain = together(|| again_and_again(client, "", bytes, 5));
    let zipped = together(|| again_and_again(client, "accept-encoding: gzip\r\n", 1, 20));
    let made = median(made);
    println!("{count} tables, {bytes} bytes: {made:?} at the median to make the list");
    println!(
        "200 at once on new connections: {at_once:?}; again and again on open ones: {plain:?}, compressed: {zipped:?}"
    );
    assert!(made.as_secs_f64() < 5.0 && at_once.as_secs_f64() < 5.0 && zipped.as_secs_f64() < 2.0);
}

/// What readers measure who all begin at the same time, at the median.
fn together(read: impl Fn() -> Vec<Duration> + Sync) -> Duration {
    let barrier = Barrier::new(READERS);
    let wait = || {
        barrier.wait();
        read()
    };
    median(std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(wait)).collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    }))
}

/// Asks for the list without a pause, over one connection; how long each answer took, to its last byte.
fn again_and_again(client: Client, headers: &str, least: usize, times: usize) -> Vec<Duration> {
    let stream = client.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", client.address);
    let ask = |_| {
        let began = Instant::now();
        (&stream).write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        assert!(length >= least, "{length}");
        began.elapsed()
    };
    (0..times).map(ask).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_list_is_shared_but_never_older_than_what_was_changed() {
    let served = Served::with_daily();
    let suspended = || served.get(PATH).json()[0]["scheduling_state"] == "SUSPENDED";
    for round in 0..20 {
        let verb = if round % 2 == 0 { "suspend" } else { "resume" };
        assert_eq!(served.post(&format!("{PATH}/daily/{verb}"), &json!({})).status, 200);
        assert_eq!(suspended(), verb == "suspend", "round {round}");
    }
    served.finish(
        &served.post(PATH, &json!({ "sql": "CREATE DYNAMIC TABLE more TARGET_LAG = '1 hour' AS SELECT 1 AS one" })),
    );
    assert_eq!(served.get(PATH).json().as_array().unwrap().len(), 2);
    // What somebody else changes is seen a moment later.
    served.lake.run("DROP DYNAMIC TABLE more").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(served.get(PATH).json().as_array().unwrap().len(), 1);
}

#[test]
fn a_list_that_a_client_has_is_not_sent_again() {
    let served = Served::with_daily();
    let first = served.get(PATH);
    let tag = first.header("etag").unwrap();
    let ask = |name: &str, value: &str| served.send("GET", PATH, &[(name, value)], b"");
    for known in [tag.as_str(), "*", &format!("\"other\", W/{tag}")] {
        let same = ask("if-none-match", known);
        assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(tag.clone())), "{known}");
    }
    assert_eq!(ask("if-none-match", "\"other\"").body, first.body);
    assert_eq!(served.post(&format!("{PATH}/daily/suspend"), &json!({})).status, 200);
    assert_eq!(ask("if-none-match", &tag).status, 200);

    let plain = served.get(PATH);
    let zipped = ask("accept-encoding", "br, gzip;q=0.5");
    assert_eq!(zipped.header("content-encoding").as_deref(), Some("gzip"));
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut unzipped).unwrap();
    assert_eq!(unzipped, plain.body);
    for refused in ["identity", "gzip;q=0", "gzip; q=nonsense"] {
        assert_eq!(ask("accept-encoding", refused).header("content-encoding"), None, "{refused}");
    }
}
