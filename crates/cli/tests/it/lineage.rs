//! OpenLineage as a catalog sees it: every request that a real worker sends, checked against the specification's rules.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::Program;

/// A catalog that takes events: its address, and what it was sent.
struct Catalog {
    url: String,
    requests: Receiver<Request>,
}

struct Request {
    head: String,
    event: Value,
}

impl Catalog {
    /// The first requests are answered with these statuses, the others with 201.
    fn new(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, requests) = channel();
        std::thread::spawn(move || {
            let mut statuses = statuses.iter().copied();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (head, body) = read(&stream);
                let status = statuses.next().unwrap_or(201);
                let _ = write!(stream, "HTTP/1.1 {status} As Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                if status == 201
                    && sent.send(Request { head, event: serde_json::from_slice(&body).unwrap() }).is_err()
                {
                    return;
                }
            }
        });
        Self { url, requests }
    }
}

fn read(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap().trim().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (lower, body)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} of {value:#}"))
}

/// Whether an event is what the specification 2-0-2 requires, with no field that it does not know.
fn check(event: &Value) {
    only(event, &["eventType", "eventTime", "run", "job", "inputs", "outputs", "producer", "schemaURL"]);
    assert!(["START", "COMPLETE", "ABORT", "FAIL"].contains(&text(event, "/eventType")));
    let _: jiff::Timestamp = text(event, "/eventTime").parse().unwrap();
    assert_uri(text(event, "/producer"));
    assert_eq!(text(event, "/schemaURL"), "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent");
    only(&event["run"], &["runId", "facets"]);
    let _: uuid::Uuid = text(event, "/run/runId").parse().unwrap();
    only(&event["job"], &["namespace", "name", "facets"]);
    facets(&event["run"]["facets"]);
    facets(&event["job"]["facets"]);
    for (side, own) in [("inputs", "inputFacets"), ("outputs", "outputFacets")] {
        for dataset in event[side].as_array().unwrap() {
            only(dataset, &["namespace", "name", "facets", own]);
            assert!(!text(dataset, "/namespace").is_empty() && !text(dataset, "/name").is_empty());
            facets(&dataset["facets"]);
            if let Some(own) = dataset.get(own) {
                facets(own);
            }
        }
    }
}

fn only(object: &Value, known: &[&str]) {
    for name in object.as_object().unwrap_or_else(|| panic!("{object}")).keys() {
        assert!(known.contains(&name.as_str()), "{name} in {object:#}");
    }
}

fn assert_uri(uri: &str) {
    let (scheme, rest) = uri.split_once(':').unwrap_or_else(|| panic!("{uri}"));
    assert!(
        scheme.chars().all(|letter| letter.is_ascii_alphanumeric()) && !rest.is_empty() && !uri.contains(' '),
        "{uri}"
    );
}

/// A field that must be there, and what tells that it is of the right type.
type Required = (&'static str, fn(&Value) -> bool);

/// Every facet says who made it and by which schema, and those of the specification hold what theirs requires.
fn facets(all: &Value) {
    for (name, facet) in all.as_object().unwrap() {
        assert_uri(text(facet, "/_producer"));
        assert_uri(text(facet, "/_schemaURL"));
        let required: &[Required] = match name.as_str() {
            "processing_engine" => &[("version", Value::is_string)],
            "parent" => &[("run", Value::is_object), ("job", Value::is_object)],
            "errorMessage" => &[("message", Value::is_string), ("programmingLanguage", Value::is_string)],
            "jobType" => &[("processingType", Value::is_string), ("integration", Value::is_string)],
            "sql" => &[("query", Value::is_string)],
            "schema" => &[("fields", Value::is_array)],
            "version" => &[("datasetVersion", Value::is_string)],
            "outputStatistics" => &[("rowCount", Value::is_u64)],
            "dynamicTables_refresh" => &[("state", Value::is_string)],
            other => panic!("{other} is not known"),
        };
        for (field, is_right) in required {
            assert!(facet.get(field).is_some_and(is_right), "{field} of {name}: {facet:#}");
        }
    }
}

const TABLES: &str = "
    CREATE DYNAMIC TABLE daily TARGET_LAG = '1 second' AS
        SELECT day, sum(amount) AS amount FROM orders GROUP BY day;
    CREATE DYNAMIC TABLE monthly TARGET_LAG = '1 second' AS
        SELECT month(day) AS month, sum(amount) AS amount FROM daily GROUP BY ALL;
    CREATE DYNAMIC TABLE broken TARGET_LAG = '1 second' INITIALIZE = ON_SCHEDULE AS
        SELECT name::INTEGER AS number FROM customers";

#[test]
fn a_catalog_hears_how_refreshes_begin_and_end() {
    let program = Program::with_orders();
    program.sql(TABLES);
    program.sql("INSERT INTO orders VALUES (4, '2026-01-03', 1, 1)");
    std::thread::sleep(Duration::from_millis(1_100));
    // It is away for a moment at first.
    let catalog = Catalog::new(&[503]);
    let worker = program
        .command(&["worker", "--once"])
        .env("OPENLINEAGE_URL", &catalog.url)
        .env("OPENLINEAGE_API_KEY", "geheim-geheim")
        .env("OPENLINEAGE_NAMESPACE", "shop")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&worker.stderr);
    // One refresh fails.
    assert_eq!(worker.status.code(), Some(1), "{log}");
    assert!(!log.contains("geheim"), "{log}");

    let requests: Vec<Request> = catalog.requests.try_iter().collect();
    for Request { head, event } in &requests {
        assert!(head.starts_with("post /api/v1/lineage http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        assert!(head.contains("authorization: bearer geheim-geheim\r\n"), "{head}");
        check(event);
        assert_eq!((text(event, "/job/namespace"), text(event, "/outputs/0/namespace")), ("shop", "shop"));
        assert_eq!(text(event, "/job/name"), text(event, "/outputs/0/name"));
    }
    let of = |kind: &str, table: &str| -> Vec<&Value> {
        let of_it = |event: &&Value| event["eventType"] == kind && event["job"]["name"] == table;
        requests.iter().map(|request| &request.event).filter(of_it).collect()
    };
    for (table, end) in [("main.daily", "COMPLETE"), ("main.monthly", "COMPLETE"), ("main.broken", "FAIL")] {
        let (started, ended) = (of("START", table), of(end, table));
        assert!(!started.is_empty() && started.len() == ended.len(), "{table}");
        for (started, ended) in started.iter().zip(&ended) {
            assert_eq!(text(started, "/run/runId"), text(ended, "/run/runId"));
            assert!(started["eventTime"].as_str() <= ended["eventTime"].as_str());
        }
    }
    let runs: BTreeSet<&str> = requests.iter().map(|request| text(&request.event, "/run/runId")).collect();
    assert_eq!(requests.len(), 2 * runs.len(), "each run begins once and ends once");

    let daily = of("COMPLETE", "main.daily")[0];
    assert_eq!(daily["inputs"][0]["name"], "main.orders");
    assert_eq!(daily["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"], 1);
    let fields = &daily["outputs"][0]["facets"]["schema"]["fields"];
    assert_eq!(
        (text(fields, "/0/name"), text(fields, "/0/type"), text(fields, "/1/name")),
        ("day", "DATE", "amount")
    );
    assert!(text(daily, "/job/facets/sql/query").contains("sum(amount)"));
    let figures = &daily["run"]["facets"]["dynamicTables_refresh"];
    assert_eq!((text(figures, "/state"), text(figures, "/trigger")), ("SUCCEEDED", "SCHEDULED"));
    assert!(figures["dataVersion"].is_u64() && figures["steps"][0]["ms"].is_number(), "{figures:#}");
    let monthly = of("COMPLETE", "main.monthly")[0];
    assert_eq!(monthly["inputs"][0]["facets"]["schema"]["fields"], *fields);
    assert_eq!(text(monthly, "/run/facets/parent/run/runId"), text(daily, "/run/facets/parent/run/runId"));
    let broken = of("FAIL", "main.broken")[0];
    assert!(text(broken, "/run/facets/errorMessage/message").contains("Ann"), "{broken:#}");
    assert_eq!(text(broken, "/run/facets/dynamicTables_refresh/errorCode"), "QUERY");
    assert!(of("START", "main.broken")[0]["run"]["facets"].get("errorMessage").is_none());
}

#[test]
fn a_catalog_that_is_away_holds_up_nothing_and_a_file_takes_events_too() {
    let program = Program::with_orders();
    program.sql(TABLES.split(';').next().unwrap());
    program.sql("INSERT INTO orders VALUES (4, '2026-01-03', 1, 1)");
    std::thread::sleep(Duration::from_millis(1_100));
    // It takes connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let began = Instant::now();
    program.ok(&["worker", "--once", "--openlineage-url", &url]);
    // It waits five seconds for what is left, and not for the catalog.
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert_eq!(program.sql("SELECT count(*) FROM daily"), ["3"]);

    program.sql("INSERT INTO orders VALUES (5, '2026-01-04', 1, 1)");
    std::thread::sleep(Duration::from_millis(1_100));
    program.ok(&["worker", "--once", "--openlineage-url", "file:events.jsonl"]);
    let lines = std::fs::read_to_string(program.path().join("events.jsonl")).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    events.iter().for_each(check);
    let kinds: Vec<&str> = events.iter().map(|event| text(event, "/eventType")).collect();
    assert_eq!(kinds, ["START", "COMPLETE"]);

    let wrong = program.fails(1, &["worker", "--once", "--openlineage-url", "ftp://user:geheim@host"]);
    assert!(wrong.contains("CONFIGURATION") && !wrong.contains("geheim"), "{wrong}");
    let shown = program.command(&["config"]).env("OPENLINEAGE_API_KEY", "geheim").output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("openlineage-api-key") && !shown.contains("geheim"), "{shown}");
}
