//! `serve` and `worker --serve` as their operator sees them: the address, who is refused, and the end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::Program;

/// A server that runs. Killed if a test forgets it.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(program: &Program, verb: &[&str]) -> Self {
        let mut command = program.command(verb);
        command.env("DYNAMIC_TABLES_LISTEN", "127.0.0.1:0").env("DYNAMIC_TABLES_LOG_FORMAT", "json");
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let event: serde_json::Value = serde_json::from_str(&line).ok()?;
                (event["message"] == "serving").then(|| event["address"].as_str().unwrap().to_owned())
            })
            .expect("it says where it listens");
        // What it says is read to its end, or it would block.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn end(mut self) -> Option<i32> {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn it_answers_until_it_is_told_to_stop() {
    let program = Program::with_daily();
    let serving = Serving::start(&program, &["serve"]);
    assert!(serving.get("/api/v1/dynamic-tables").contains("\"name\":\"daily\""));
    assert!(serving.get("/").contains("<title>dynamic-tables</title>"));
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn a_worker_serves_as_well() {
    let program = Program::with_daily();
    let serving = Serving::start(&program, &["worker", "--serve", "--poll-interval", "1"]);
    let mut health = String::new();
    for _ in 0..100 {
        health = serving.get("/health");
        if health.contains("\"active_workers\":1") {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(health.contains("\"status\":\"healthy\""), "{health}");
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn what_is_not_safe_is_refused() {
    let program = Program::with_daily();
    let refused = program.fails(1, &["serve", "--listen", "0.0.0.0:0"]);
    assert!(refused.contains("without tokens"), "{refused}");
    for listen in ["nowhere", "127.0.0.1", "127.0.0.1:99999"] {
        assert!(program.fails(1, &["serve", "--listen", listen]).contains("no address with a port"));
    }
    let short = program.fails(1, &["serve", "--tokens", "ann=read:geheim"]);
    assert!(short.contains("shorter than 16") && !short.contains("geheim"), "{short}");
    let shown =
        program.command(&["config"]).env("DYNAMIC_TABLES_TOKENS", "ann=read:geheimgeheimgeheim").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("tokens") && !shown.contains("geheim"), "{shown}");
    let missing = Program::new().fails(1, &["serve"]);
    assert!(missing.contains("there is no lake"), "{missing}");
}
