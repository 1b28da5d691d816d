//! Which workers there are: what each says of itself from time to time. For people; nothing depends on it.

use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;

use crate::Registry;
use crate::lease::{is_live, milliseconds};
use crate::row::Row;
use crate::statement::{Statement, Value};
use crate::words::words;

words! {
    /// Whether a worker takes on work.
    WorkerState {
        /// It does.
        Running = "RUNNING",
        /// It finishes what it has begun, and ends.
        Draining = "DRAINING",
    }
}

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Tells it from all others; also the worker of its claims and refreshes.
    pub id: String,
    /// The computer it runs on.
    pub host: String,
    /// The number of its process there.
    pub process: u32,
    /// The version of the program.
    pub version: String,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// How many refreshes it runs at a time.
    pub concurrency: u32,
    /// Whether it takes on work.
    pub state: WorkerState,
}

/// A worker that has reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedWorker {
    /// What it last said.
    pub worker: WorkerRecord,
    /// When this process of it first reported, by the database's clock.
    pub started_at: Timestamp,
    /// When it last did.
    pub heartbeat_at: Timestamp,
    /// Whether it has reported within its lease; else it is gone, or the registry is out of its reach.
    pub is_live: bool,
}

/// How long a worker that is gone is still shown.
const KEPT: Duration = Duration::from_hours(24);

impl Registry {
    /// Says that a worker is there, for as long as `lease` (a day at most).
    pub fn report_worker(&self, worker: &WorkerRecord, lease: Duration) -> Result<()> {
        let dialect = self.store.dialect();
        let queues = serde_json::to_value(&worker.queues)
            .map_err(|cause| Error::new(Code::Internal, format!("queues cannot be written as JSON: {cause}")))?;
        let insert = format!(
            "INSERT INTO worker (id, host, process, version, queues, concurrency, state, lease_ms, \
             started_at, heartbeat_at, expires_at) \
             VALUES ({{}}, {{}}, {{}}, {{}}, {{}}, {{}}, {{}}, {{}}, {now}, {now}, {later})",
            now = dialect.now,
            later = (dialect.later)("{}"),
        );
        let values: [Value; 9] = [
            worker.id.as_str().into(),
            worker.host.as_str().into(),
            worker.process.into(),
            worker.version.as_str().into(),
            queues.into(),
            worker.concurrency.into(),
            worker.state.into(),
            milliseconds(lease),
            milliseconds(lease),
        ];
        let statement = Statement::new("").append(&insert, values).append(
            " ON CONFLICT (id) DO UPDATE SET version = excluded.version, queues = excluded.queues, \
             concurrency = excluded.concurrency, state = excluded.state, lease_ms = excluded.lease_ms, \
             heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at, \
             host = excluded.host, process = excluded.process, \
             started_at = CASE WHEN worker.host = excluded.host AND worker.process = excluded.process \
             THEN worker.started_at ELSE excluded.started_at END",
            [],
        );
        self.store.execute(statement)?;
        Ok(())
    }

    /// Says that a worker has ended.
    pub fn forget_worker(&self, id: &str) -> Result<()> {
        self.store.execute(Statement::new("DELETE FROM worker").filter("id = {}", [id.into()]))?;
        Ok(())
    }

    /// The workers that there are, and those that ended within the last day without saying so, ordered by their ids.
    pub fn workers(&self) -> Result<Vec<ReportedWorker>> {
        let live = is_live(self.store.dialect(), "w");
        let statement = Statement::new(format!("SELECT w.*, {live} AS is_live FROM worker w ORDER BY w.id"));
        self.store.fetch(statement)?.iter().map(read_worker).collect()
    }

    /// Forgets workers that have not reported for a day after their lease, and rows that no worker can have written.
    /// Their number.
    pub fn prune_workers(&self) -> Result<u64> {
        let later = self.store.dialect().later;
        let condition = format!(
            "(expires_at < {long_ago} OR expires_at > {never})",
            long_ago = later(&format!("-{}", KEPT.as_millis())),
            never = later("2 * lease_ms"),
        );
        self.store.execute(Statement::new("DELETE FROM worker").filter(&condition, []))
    }
}

fn read_worker(row: &Row) -> Result<ReportedWorker> {
    Ok(ReportedWorker {
        worker: WorkerRecord {
            id: row.get("id")?,
            host: row.get("host")?,
            process: row.get("process")?,
            version: row.get("version")?,
            queues: row.json("queues")?,
            concurrency: row.get("concurrency")?,
            state: row.word("state")?,
        },
        started_at: row.get("started_at")?,
        heartbeat_at: row.get("heartbeat_at")?,
        is_live: row.get("is_live")?,
    })
}
