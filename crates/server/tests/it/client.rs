//! A server over a throw-away lake, and a client that says exactly what it is told over a plain connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use registry::Registry;
use serde_json::Value;
use server::{Handle, Options, Server, Shutdown, Tokens};
use testkit::lake::ThrowAway;

/// A server, the lake that it serves, and where.
pub struct Served {
    pub lake: ThrowAway,
    pub client: Client,
    /// Where it speaks Arrow Flight.
    pub flight: SocketAddr,
    shutdown: Shutdown,
    handle: Option<Handle>,
}

/// Who asks a server.
#[derive(Clone, Copy)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<&'static str>,
}

impl std::ops::Deref for Served {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}\n{}", self.head, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// The code of a problem, after checking that it is one.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type").as_deref(), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

pub const ORDERS: &str =
    "CREATE TABLE orders AS SELECT i AS id, i % 10 AS day, i % 7 AS amount FROM range(1000) r(i)";
pub const DAILY: &str =
    "CREATE DYNAMIC TABLE daily TARGET_LAG = '1 hour' AS SELECT day, sum(amount) AS amount FROM orders GROUP BY day";

impl Served {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With the table `orders` and the dynamic table `daily` over it.
    pub fn with_daily() -> Self {
        let served = Self::new();
        served.lake.run(&format!("{ORDERS}; {DAILY}")).unwrap();
        served
    }

    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        let lake = ThrowAway::new().unwrap();
        let mut options = Options::new("127.0.0.1:0".parse().unwrap());
        options.flight = Some("127.0.0.1:0".parse().unwrap());
        options.grace_period = Duration::from_secs(5);
        change(&mut options);
        let registry = Registry::open(lake.registry_url()).unwrap();
        let server = Server::open(options, lake.options(), registry).unwrap();
        let (address, flight, shutdown) = (server.address(), server.flight_address().unwrap(), Shutdown::new());
        let handle = Some(server.start(&shutdown));
        Self { lake, client: Client { address, token: None }, flight, shutdown, handle }
    }

    pub fn with_tokens(tokens: &str) -> Self {
        let tokens = Tokens::parse(tokens).unwrap();
        Self::with(|options| options.tokens = tokens)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> Duration {
        let began = Instant::now();
        self.shutdown.request();
        self.handle.take().unwrap().wait();
        began.elapsed()
    }
}

impl Client {
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Runs SQL; the answer.
    pub fn sql(&self, body: &Value) -> Answer {
        self.post("/api/v1/sql", body)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        let given = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !given("host") {
            head.push_str(&format!("host: {}\r\n", self.address));
        }
        if let Some(token) = self.token.filter(|_| !given("authorization")) {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // Who refuses by the head need not read the body.
        let _ = stream.write_all(body);
        read(&mut stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Waits for the end of the task that was answered.
    #[track_caller]
    pub fn finish(&self, accepted: &Answer) -> Value {
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        let path = accepted.header("location").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let task = self.get(&path).json();
            if !matches!(task["state"].as_str(), Some("PENDING" | "STARTED" | "PROGRESS")) {
                return task;
            }
            assert!(Instant::now() < deadline, "{task}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Some(handle) = self.handle.take() {
            handle.wait();
        }
    }
}

/// Reads an answer to its end; chunks are put together.
pub fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A connection that was cut shows in what is missing.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").map_or(bytes.len(), |position| position + 4);
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes[end..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body }
}

/// The chunks, with `CUT` at the end if the last one is missing.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|part| part == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            return body;
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + length) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + length..).unwrap_or_default();
    }
    body.extend_from_slice(b"CUT");
    body
}
