//! What a server is told: where it listens, who may do what, and how much of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use error::{Code, Error, Result};

use crate::access::Tokens;
use crate::tls::Tls;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it listens for Arrow Flight, if it does.
    pub flight: Option<SocketAddr>,
    /// With which certificate it speaks TLS on both addresses, if it does.
    pub tls: Option<Tls>,
    /// Where lines go about every statement that changes something, besides the log.
    pub audit: Option<PathBuf>,
    /// Who may do what; with none, whoever can reach a loopback address may do everything.
    pub tokens: Tokens,
    /// How much of it.
    pub limits: Limits,
    /// How long requests and tasks that run may still take once the server is to stop.
    pub grace_period: Duration,
    /// How previews are run.
    pub previews: preview::Options,
    /// Whether previews are carried out by workers that serve their queue, rather than by this process.
    pub preview_worker: bool,
}

/// How much a server takes on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest body of a request, in bytes.
    pub body_bytes: usize,
    /// Connections that are open at the same time; further ones wait.
    pub connections: usize,
    /// Requests that are worked on at the same time; further ones are told to come again.
    pub requests: usize,
    /// Requests per second of one client; ten times as many may come at once.
    pub requests_per_second: u32,
    /// How long the head and the body of a request may take to arrive.
    pub arrival: Duration,
    /// How long a client may take to read the next part of a result.
    pub stall: Duration,
    /// How long a query may take if the client does not say.
    pub query_time: Duration,
    /// How long a query may take whatever the client says.
    pub longest_query: Duration,
    /// Queries that run at the same time; further ones wait.
    pub queries: usize,
    /// Tasks that run at the same time; further ones wait.
    pub tasks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            connections: 1_024,
            requests: 512,
            requests_per_second: 200,
            arrival: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            query_time: Duration::from_secs(60),
            longest_query: Duration::from_secs(3_600),
            queries: 4,
            tasks: 2,
        }
    }
}

impl Options {
    /// The given address, everybody on loopback, and the usual limits.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        // The same program is a sandbox; where it cannot be found, a preview says so.
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            listen,
            flight: None,
            tls: None,
            audit: None,
            tokens: Tokens::default(),
            limits: Limits::default(),
            grace_period: Duration::from_secs(30),
            previews: preview::Options::new(program, vec!["sandbox".to_owned()]),
            preview_worker: false,
        }
    }

    /// Refuses what would let strangers in.
    pub(crate) fn check(&self) -> Result<()> {
        let open = [Some(self.listen), self.flight].into_iter().flatten().find(|address| !address.ip().is_loopback());
        let (Some(open), true) = (open, self.tokens.is_empty()) else { return Ok(()) };
        Err(Error::new(
            Code::Configuration,
            format!("without tokens everybody who reaches {open} could change everything"),
        )
        .with_hint("Give tokens (--tokens, or DYNAMIC_TABLES_TOKENS), or listen on a loopback address such as 127.0.0.1:8642."))
    }
}
