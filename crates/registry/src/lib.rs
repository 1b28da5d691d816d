//! The registry: what dynamic tables there are, what they read, how far each is, how every refresh went, and which
//! worker is at what.
//!
//! It is kept in PostgreSQL, where several workers share it, or in an SQLite file, so that a laptop needs no server:
//! the same tables, the same behaviour, the same tests. It knows nothing of DuckDB or of the lake, in which the truth
//! about a table's content lives; what it says of that follows the lake.
//!
//! Every operation is one transaction, blocks until it is done or has failed (never longer than half a minute, but for
//! [`Registry::wait_for_news`]), and may be called from several threads at once, but not from inside an async runtime. What two people change at the
//! same time fails for the second with [`error::Code::Conflict`]: a definition by its revision, progress by the
//! refresh that it is built on.

mod catalog;
mod claim;
mod compaction;
mod connection;
mod definition;
mod dialect;
mod failure;
mod graph;
mod history;
mod lease;
mod location;
mod migrations;
mod news;
mod periods;
mod pipeline;
mod postgres;
mod record;
mod refreshes;
mod row;
mod sqlite;
mod statement;
mod store;
mod task;
mod transfer;
mod words;
mod worker;

use std::fmt;
use std::sync::Arc;

use error::Result;

pub use claim::{Claim, ClaimedTable};
pub use compaction::{Compaction, CompactionFilter};
pub use connection::Connection;
pub use definition::{
    Advance, Alteration, Definition, DynamicTable, LastRefresh, Progress, SchedulingState, Source, SourceKind,
    SuspendedBy,
};
pub use graph::{AlterTrigger, GraphFilter, GraphInput, GraphNode, GraphPeriod};
pub use history::{
    Abandoned, FinishedRefresh, HistoryFilter, ProgressChange, Refresh, RefreshAction, RefreshState, RefreshTrigger,
};

pub use news::News;
pub use pipeline::Pipeline;
pub use store::spent;
pub use task::{Renewal, Task, TaskCounts, TaskState};
pub use transfer::{RunOutcome, RunTrigger, Transfer, TransferKind, TransferProgress, TransferRun};
pub use worker::{ReportedWorker, WorkerRecord, WorkerState};

use location::Location;
use news::Releases;
use store::Store;

/// An open registry. Clones share its connections.
///
/// Times are kept to the microsecond: [`jiff::Timestamp`]s with nanoseconds come back shorter.
#[derive(Clone)]
pub struct Registry {
    store: Arc<Store>,
    address: String,
    releases: Arc<Releases>,
}

impl Registry {
    /// Opens the registry at `postgresql://user:password@host:port/database?sslmode=...`, `sqlite:path` or a plain
    /// path (`:memory:` for one that is gone with the process), and makes or updates its tables.
    ///
    /// Fails within seconds if nothing answers there, and changes nothing if it is of a newer version.
    pub fn open(url: &str) -> Result<Self> {
        let address = location::mask(url);
        let opened = Location::parse(url).and_then(|location| Store::open(&location));
        match opened {
            Ok(store) => {
                tracing::debug!(registry = address, "registry opened");
                Ok(Self { store: Arc::new(store), address, releases: Arc::default() })
            }
            Err(error) if error.context().iter().any(|(key, _)| *key == "registry") => Err(error),
            Err(error) => Err(error.with_context("registry", address)),
        }
    }

    /// Where it is, without the password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("address", &self.address).finish_non_exhaustive()
    }
}
