//! The worker: looks at what is due, has it refreshed, and survives.
//!
//! A [`Worker`] is told by its [`Options`] how, opens the dynamic tables itself (again, when the lake or the registry
//! was away), and runs until its [`Shutdown`] is requested. It knows time, signals and processes; what a refresh is,
//! which tables are due, and every line of SQL belong to [`refresh`].

mod crew;
mod ear;
mod identity;
mod outage;
mod report;
mod shutdown;
mod work;

use std::time::Duration;

pub use refresh::Lease;
pub use shutdown::Shutdown;
pub use work::{Opening, Summary, Worker};

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest time between two looks at what is due.
    pub poll_interval: Duration,
    /// How long the refresh that runs may still take once the shutdown is requested.
    pub grace_period: Duration,
    /// The worker's name in history and logs, which no other worker of the same registry may have. Without one it is
    /// made of host, process and a random part.
    pub name: Option<String>,
    /// Refresh once what is due, then end.
    pub once: bool,
    /// How many refreshes run at the same time.
    pub concurrency: usize,
    /// The queues whose tables it refreshes; none means all.
    pub queues: Vec<String>,
    /// How it holds what it has taken.
    pub lease: Lease,
    /// Whether the files of tables that it refreshed are compacted when they need it.
    pub compaction: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(60),
            grace_period: Duration::from_secs(30),
            name: None,
            once: false,
            concurrency: 2,
            queues: Vec::new(),
            lease: Lease::default(),
            compaction: true,
        }
    }
}
