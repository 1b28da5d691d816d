//! Connections and previews as their user meets them: by SQL, on the command line and over HTTP, with a worker of its own;
//! and a password that is in nothing that anybody reads.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::postgres::{PASSWORD, Postgres, USER};

use crate::program::{Program, finish};

const KEY: &str = "0123456789abcdef0123456789ABCDEF";
const OTHER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const WRONG: &str = "hunter2-never-shown";

/// A program in the background, and all that it has said.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.env("DYNAMIC_TABLES_LOG_FORMAT", "json").env("DYNAMIC_TABLES_LOG_LEVEL", "TRACE");
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Self { child, said }
    }

    /// The field of the first event with this message.
    fn wait_for(&self, message: &str, field: &str) -> String {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            let said = self.said.lock().unwrap().clone();
            let events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(event) = events.into_iter().find(|event| event["message"] == message) {
                return event[field].as_str().unwrap_or_default().to_owned();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{message} is not said: {}", self.said.lock().unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn http(address: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_connection_is_made_tested_and_previewed_and_shows_no_password() {
    let program = Program::with_orders();
    let command = |arguments: &[&str]| {
        let mut command = program.command(arguments);
        command.env("CREDENTIAL_ENCRYPTION_KEY", KEY);
        command
    };
    let mut seen = String::new();
    let mut run = |arguments: &[&str], code: i32| {
        let run = finish(command(arguments).spawn().unwrap());
        assert_eq!(run.code, code, "{arguments:?}\n{}\n{}", run.stdout, run.stderr);
        let text = run.stdout + &run.stderr;
        seen.push_str(&text);
        text
    };
    let postgres = Postgres::shared().unwrap();
    let database = postgres.fresh_database().unwrap().rsplit('/').next().unwrap().to_owned();
    postgres
        .psql(&database, "CREATE TABLE people (id INT, name TEXT); INSERT INTO people VALUES (1, 'ann'), (2, 'bob')")
        .unwrap();
    let create = |name: &str, password: &str| {
        let port = postgres.port();
        format!(
            "CREATE CONNECTION {name} TYPE = postgres HOST = '127.0.0.1' PORT = {port} DATABASE = '{database}' USER = {USER} PASSWORD = '{password}'"
        )
    };
    run(&["sql", "-c", &create("crm", PASSWORD)], 0);
    run(&["sql", "-c", &create("bad", WRONG)], 0);
    assert!(run(&["sql", "-c", "TEST CONNECTION crm"], 0).contains("can be reached"));
    assert!(run(&["connection", "test", "bad"], 2).contains("password"));
    run(&["sql", "-c", &create("crm", WRONG)], 1);
    run(&["sql", "-c", &format!("{} {}", create("more", WRONG), "HOTS = 'x'")], 1);
    run(&["sql", "-c", &format!("{} {}", create("more", WRONG), "PORT")], 1);
    assert!(
        run(&["connection", "list", "--format", "json"], 0).replace(' ', "").contains("\"password\":\"registry\"")
    );
    let described = run(&["sql", "-c", "SHOW CONNECTIONS; DESCRIBE CONNECTION crm"], 0);
    assert!(described.contains("password=registry"), "{described}");

    // The one server tries previews itself, the other one gives them to a worker.
    let mut serve = command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env("WORKER_PREVIEW_ROW_LIMIT", "1");
    let at_once = Running::start(serve);
    let mut serve = command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env("WORKER_ENABLED", "true");
    let queueing = Running::start(serve);
    let worker = Running::start(command(&["worker", "--queues", "preview,default"]));
    let (first, second) = (at_once.wait_for("serving", "address"), queueing.wait_for("serving", "address"));
    worker.wait_for("worker started", "worker");

    let mut ask = |address: &str, method: &str, path: &str, body: Option<Value>| {
        let (status, text) = http(address, method, path, body.as_ref());
        seen.push_str(&text);
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let (status, made) = ask(
        &first,
        "POST",
        "/api/v1/pipelines",
        Some(json!({ "name": "p", "source_id": 1, "destination_ids": [2] })),
    );
    assert_eq!((status, &made["id"]), (201, &json!(1)));
    let path = "/api/v1/pipelines/1/preview";
    let asked =
        json!({ "sql": null, "source_id": 1, "destination_id": 2, "table_name": "people", "filter_sql": null });
    let (status, answer) = ask(&first, "POST", path, Some(asked.clone()));
    assert_eq!((status, &answer["data"]), (200, &json!([{ "id": 1, "name": "ann" }])));
    assert_eq!((&answer["error"], &answer["column_types"]), (&Value::Null, &json!(["number", "text"])));

    let (status, task) = ask(&second, "POST", path, Some(asked));
    let id = task["task_id"].as_str().unwrap().to_owned();
    assert_eq!((status, &task), (200, &json!({ "task_id": id, "state": "PENDING", "status": "queued" })));
    let began = Instant::now();
    let mut told = Value::Null;
    while told["state"] != "SUCCESS" && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
        told = ask(&second, "GET", &format!("{path}/{id}"), None).1;
    }
    assert_eq!((&told["status"], &told["result"]["row_count"]), (&json!("completed"), &json!(2)));
    let cancelled = ask(&second, "DELETE", &format!("{path}/{id}"), None).1;
    assert_eq!(cancelled, json!({ "task_id": id, "cancelled": false }));
    let unknown = ask(&second, "GET", &format!("{path}/x"), None).1;
    assert_eq!(unknown, json!({ "task_id": "x", "state": "PENDING", "status": "queued" }));

    for (method, path, body, expected) in [
        ("GET", "/api/v1/connections", None, 200),
        ("GET", "/api/v1/connections/bad", None, 200),
        ("GET", "/api/v1/connections/none", None, 404),
        ("POST", "/api/v1/connections/bad/test", None, 200),
        (
            "POST",
            "/api/v1/connections",
            Some(json!({ "name": "x", "kind": "postgres", "settings": { "password": WRONG } })),
            400,
        ),
        ("PATCH", "/api/v1/connections/bad", Some(json!({ "set": { "password": WRONG, "port": "no" } })), 400),
        ("PATCH", "/api/v1/connections/bad", Some(json!({ "set": { "password": WRONG } })), 200),
        (
            "POST",
            "/api/v1/sql",
            Some(json!({ "sql": format!("ALTER CONNECTION bad SET PASSWORD = '{WRONG}'") })),
            200,
        ),
        (
            "POST",
            "/api/v1/sql",
            Some(json!({ "sql": format!("ALTER CONNECTION bad SET PASSWORD = '{WRONG}' x") })),
            400,
        ),
        ("DELETE", "/api/v1/connections/crm", None, 409),
        (
            "POST",
            "/api/v1/pipelines/1/preview",
            Some(json!({ "source_id": 2, "destination_id": 2, "table_name": "people" })),
            403,
        ),
        (
            "POST",
            "/api/v1/pipelines/9/preview",
            Some(json!({ "source_id": 1, "destination_id": 2, "table_name": "people" })),
            400,
        ),
        ("GET", "/api/v1/previews/stats", None, 200),
        ("GET", "/health/worker", None, 200),
    ] {
        assert_eq!(ask(&first, method, path, body).0, expected, "{method} {path}");
    }
    for running in [&at_once, &queueing, &worker] {
        seen.push_str(&running.said.lock().unwrap());
    }
    drop((at_once, queueing, worker));

    // Another key opens what was sealed once the old one is named, and then without it.
    let with = |key: &str, old: &str, arguments: &[&str]| {
        let mut command = program.command(arguments);
        command.env("CREDENTIAL_ENCRYPTION_KEY", key).env("CREDENTIAL_ENCRYPTION_OLD_KEYS", old);
        finish(command.spawn().unwrap())
    };
    let lost = with(OTHER_KEY, "", &["connection", "test", "crm"]);
    assert!(lost.code == 1 && lost.stderr.contains("which is not here"), "{}", lost.stderr);
    let rotated = with(OTHER_KEY, KEY, &["connection", "rotate", "--format", "json"]);
    assert!(rotated.stdout.replace(' ', "").contains("\"renewed\":2"), "{} {}", rotated.stdout, rotated.stderr);
    assert_eq!(with(OTHER_KEY, "", &["connection", "test", "crm"]).code, 0);

    for password in [PASSWORD, WRONG, "s3cr3t%40Pass"] {
        assert!(!seen.contains(password), "{password} is in {seen}");
        for file in files(program.path()) {
            let bytes = std::fs::read(&file).unwrap();
            let holds = bytes.windows(password.len()).any(|part| part == password.as_bytes());
            assert!(!holds, "{password} is in {}", file.display());
        }
    }
    assert!(!seen.contains(KEY) && !seen.contains(OTHER_KEY));
}
