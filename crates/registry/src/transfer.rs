//! Sources and exports: what they are, when they last ran, who is at them, and how each run went. What a definition says is not
//! known here.

use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;
use sql::names::TableName;
use uuid::Uuid;

use crate::Registry;
use crate::failure::{is_foreign_key_violation, is_unique_violation, translate};
use crate::lease::milliseconds;
use crate::record::read_name;
use crate::row::Row;
use crate::statement::{Statement, Value};
use crate::words::words;

words! {
    /// In which direction rows go.
    TransferKind {
        /// From a connection into the lake.
        Source = "SOURCE",
        /// From the lake to a connection.
        Export = "EXPORT",
    }
}

words! {
    /// Why a run was begun.
    RunTrigger {
        /// It was due.
        Schedule = "SCHEDULE",
        /// Somebody asked for it.
        Manual = "MANUAL",
        /// It was just made.
        Creation = "CREATION",
    }
}

/// A source or an export, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Stays when it is changed.
    pub id: Uuid,
    /// Which of the two it is.
    pub kind: TransferKind,
    /// The table of the lake that a source fills; of an export, its name.
    pub name: TableName,
    /// The number of the connection.
    pub connection: i64,
    /// What is read, what is written, and how. No secrets.
    pub definition: serde_json::Value,
    /// How stale it may become; none if it only runs by hand.
    pub schedule: Option<Duration>,
    /// Whether its schedule is stopped.
    pub is_suspended: bool,
    /// Why, unless somebody did it.
    pub suspended_reason: Option<String>,
    /// From 1, one more with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// How far it is.
    pub progress: TransferProgress,
}

/// How far a source or an export is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferProgress {
    /// As of when its rows are: the beginning of the last run that succeeded.
    pub fresh_at: Option<Timestamp>,
    /// As of when all rows were last compared.
    pub compared_at: Option<Timestamp>,
    /// How long the last run took that succeeded.
    pub duration_ms: Option<u64>,
    /// How often it has failed since then.
    pub failures: u32,
    /// When it may be tried again.
    pub retry_at: Option<Timestamp>,
    /// Why it failed last.
    pub last_error: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRun {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub transfer: Uuid,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// `EXECUTING`, `SUCCEEDED` or `FAILED`.
    pub state: String,
    /// Why it was begun.
    pub trigger: RunTrigger,
    /// Who did it.
    pub worker: Option<String>,
    /// What came of it.
    pub outcome: RunOutcome,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// What was done, in a word.
    pub action: Option<String>,
    /// Why this and not something cheaper.
    pub reason: Option<String>,
    /// Rows read.
    pub rows_read: Option<u64>,
    /// Rows that came.
    pub rows_inserted: Option<u64>,
    /// Rows that went.
    pub rows_deleted: Option<u64>,
    /// The snapshot of the lake that it made or read.
    pub snapshot: Option<i64>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// The code of why it failed.
    pub error_code: Option<String>,
    /// Why it failed.
    pub error_message: Option<String>,
}

const COLUMNS: &str = "id, kind, schema_name, name, connection, definition, schedule_seconds, is_suspended, \
    suspended_reason, revision, created_at, updated_at, fresh_at, compared_at, duration_ms, failures, retry_at, last_error";

const RUN_COLUMNS: &str = "id, transfer_id, started_at, completed_at, state, run_trigger, worker, action, reason, rows_read, \
    rows_inserted, rows_deleted, snapshot, duration_ms, error_code, error_message";

/// So many runs of each are kept.
const RUNS_KEPT: i64 = 1_000;

impl Registry {
    /// All of a kind by name.
    pub fn transfers(&self, kind: TransferKind) -> Result<Vec<Transfer>> {
        let statement = Statement::new(format!("SELECT {COLUMNS} FROM transfer"))
            .filter("kind = {}", [kind.into()])
            .append(" ORDER BY schema_name, name", []);
        self.store.fetch(statement)?.iter().map(read).collect()
    }

    /// The one of this kind and name.
    pub fn transfer(&self, kind: TransferKind, name: &TableName) -> Result<Option<Transfer>> {
        let statement = Statement::new(format!("SELECT {COLUMNS} FROM transfer"))
            .filter("kind = {}", [kind.into()])
            .filter("lower(schema_name) = {}", [name.schema.to_ascii_lowercase().into()])
            .filter("lower(name) = {}", [name.name.to_ascii_lowercase().into()]);
        self.store.fetch(statement)?.first().map(read).transpose()
    }

    /// Records a new one.
    pub fn create_transfer(&self, transfer: &Transfer) -> Result<()> {
        let mut row = columns(transfer);
        row.extend([
            ("id", transfer.id.into()),
            ("kind", transfer.kind.into()),
            ("revision", Some(transfer.revision).into()),
            ("created_at", transfer.created_at.into()),
            ("failures", transfer.progress.failures.into()),
        ]);
        self.store.transaction(async |transaction| {
            let inserted = transaction.attempt(Statement::insert("transfer", row)).await;
            inserted.map(drop).map_err(|cause| {
                if is_unique_violation(&cause) {
                    return Error::new(Code::Query, format!("{} exists already", shown(transfer)));
                }
                match is_foreign_key_violation(&cause) {
                    true => Error::new(Code::Conflict, "the connection was dropped meanwhile"),
                    false => translate(cause),
                }
            })
        })
    }

    /// Changes one: connection, definition, schedule, whether it is suspended. Its revision must be the one that is stored, and is
    /// one more afterwards; else it is a conflict. What it failed with before counts no more.
    pub fn alter_transfer(&self, transfer: &Transfer) -> Result<()> {
        let mut row = columns(transfer);
        row.extend([
            ("revision", Some(transfer.revision + 1).into()),
            ("failures", 0_u32.into()),
            ("retry_at", None::<Timestamp>.into()),
        ]);
        let statement = Statement::update("transfer", row)
            .filter("id = {}", [transfer.id.into()])
            .filter("revision = {}", [Some(transfer.revision).into()]);
        match self.store.execute(statement)? {
            0 => {
                Err(Error::new(Code::Conflict, format!("{} was changed by somebody else meanwhile", shown(transfer))))
            }
            _ => Ok(()),
        }
    }

    /// Says that everything has to be compared with the next run, as nothing that was known before counts.
    pub fn forget_transfer_progress(&self, id: Uuid) -> Result<()> {
        let row = vec![("compared_at", None::<Timestamp>.into()), ("fresh_at", None::<Timestamp>.into())];
        self.store.execute(Statement::update("transfer", row).filter("id = {}", [id.into()])).map(drop)
    }

    /// Forgets one and its runs; whether it was there.
    pub fn drop_transfer(&self, id: Uuid) -> Result<bool> {
        let statement = Statement::new("DELETE FROM transfer").filter("id = {}", [id.into()]);
        Ok(self.store.execute(statement)? == 1)
    }

    /// Takes one for as long as `lease`, unless another one is at it; whether it did.
    pub fn claim_transfer(&self, id: Uuid, worker: &str, lease: Duration) -> Result<bool> {
        let dialect = self.store.dialect();
        let until = format!(", expires_at = {}", (dialect.later)("{}"));
        let take = Statement::update("transfer", vec![("worker", worker.into())])
            .append(&until, [milliseconds(lease)])
            .filter("id = {}", [id.into()])
            .filter(
                &format!("(expires_at IS NULL OR expires_at < {} OR worker = {{}})", dialect.now),
                [worker.into()],
            );
        Ok(self.store.execute(take)? == 1)
    }

    /// Says that a worker is still at one; whether it shall be.
    pub fn renew_transfer(&self, id: Uuid, worker: &str, lease: Duration) -> Result<bool> {
        let until = format!("UPDATE transfer SET expires_at = {}", (self.store.dialect().later)("{}"));
        let renew = Statement::new("")
            .append(&until, [milliseconds(lease)])
            .filter("id = {} AND worker = {}", [id.into(), worker.into()]);
        Ok(self.store.execute(renew)? == 1)
    }

    /// Gives one back.
    pub fn release_transfer(&self, id: Uuid, worker: &str) -> Result<()> {
        let row = vec![("worker", None::<String>.into()), ("expires_at", None::<Timestamp>.into())];
        let release =
            Statement::update("transfer", row).filter("id = {} AND worker = {}", [id.into(), worker.into()]);
        self.store.execute(release).map(drop)
    }

    /// Records that a run has begun. Runs of the same that have not ended died with their process, as only one at a time runs.
    pub fn begin_transfer_run(&self, run: &TransferRun) -> Result<()> {
        let row = vec![
            ("id", run.id.into()),
            ("transfer_id", run.transfer.into()),
            ("started_at", run.started_at.into()),
            ("state", "EXECUTING".into()),
            ("run_trigger", run.trigger.into()),
            ("worker", run.worker.clone().into()),
        ];
        let died = vec![
            ("state", "FAILED".into()),
            ("completed_at", run.started_at.into()),
            ("error_code", Code::Internal.as_str().into()),
            ("error_message", "its process ended before it did".into()),
        ];
        self.store.transaction(async |transaction| {
            let bury = Statement::update("transfer_run", died)
                .filter("transfer_id = {} AND state = 'EXECUTING'", [run.transfer.into()]);
            transaction.execute(bury).await?;
            let prune = Statement::new("DELETE FROM transfer_run").filter(
                "transfer_id = {} AND started_at < (SELECT started_at FROM transfer_run WHERE transfer_id = {} \
                 ORDER BY started_at DESC LIMIT 1 OFFSET {})",
                [run.transfer.into(), run.transfer.into(), RUNS_KEPT.into()],
            );
            transaction.execute(prune).await?;
            transaction.execute(Statement::insert("transfer_run", row)).await.map(drop)
        })
    }

    /// Records how a run has ended, and how far its source or export is by that. With `suspended`, its schedule is stopped for this
    /// reason.
    pub fn finish_transfer_run(
        &self,
        run: &TransferRun,
        progress: &TransferProgress,
        suspended: Option<&str>,
    ) -> Result<()> {
        let outcome = run.outcome.clone();
        let state = if outcome.error_code.is_some() { "FAILED" } else { "SUCCEEDED" };
        let row = vec![
            ("state", state.into()),
            ("completed_at", run.completed_at.into()),
            ("action", outcome.action.into()),
            ("reason", outcome.reason.into()),
            ("rows_read", outcome.rows_read.into()),
            ("rows_inserted", outcome.rows_inserted.into()),
            ("rows_deleted", outcome.rows_deleted.into()),
            ("snapshot", outcome.snapshot.into()),
            ("duration_ms", outcome.duration_ms.into()),
            ("error_code", outcome.error_code.into()),
            ("error_message", outcome.error_message.into()),
        ];
        let mut reached: Vec<(&'static str, Value)> = vec![
            ("fresh_at", progress.fresh_at.into()),
            ("compared_at", progress.compared_at.into()),
            ("duration_ms", progress.duration_ms.into()),
            ("failures", progress.failures.into()),
            ("retry_at", progress.retry_at.into()),
            ("last_error", progress.last_error.clone().into()),
        ];
        if let Some(reason) = suspended {
            reached.extend([("is_suspended", true.into()), ("suspended_reason", reason.into())]);
        }
        self.store.transaction(async |transaction| {
            let end = Statement::update("transfer_run", row).filter("id = {}", [run.id.into()]);
            transaction.execute(end).await?;
            let move_on = Statement::update("transfer", reached).filter("id = {}", [run.transfer.into()]);
            transaction.execute(move_on).await.map(drop)
        })
    }

    /// The last runs, the newest first.
    pub fn transfer_runs(&self, id: Uuid, most: u32) -> Result<Vec<TransferRun>> {
        let statement = Statement::new(format!("SELECT {RUN_COLUMNS} FROM transfer_run"))
            .filter("transfer_id = {}", [id.into()])
            .append(" ORDER BY started_at DESC, id DESC LIMIT {}", [most.into()]);
        self.store.fetch(statement)?.iter().map(read_run).collect()
    }
}

fn shown(transfer: &Transfer) -> String {
    let kind = match transfer.kind {
        TransferKind::Source => "the source",
        TransferKind::Export => "the export",
    };
    format!("{kind} {}", transfer.name)
}

fn columns(transfer: &Transfer) -> Vec<(&'static str, Value)> {
    vec![
        ("schema_name", transfer.name.schema.as_str().into()),
        ("name", transfer.name.name.as_str().into()),
        ("connection", transfer.connection.into()),
        ("definition", transfer.definition.clone().into()),
        ("schedule_seconds", transfer.schedule.map(|schedule| schedule.as_secs()).into()),
        ("is_suspended", transfer.is_suspended.into()),
        ("suspended_reason", transfer.suspended_reason.clone().into()),
        ("updated_at", transfer.updated_at.into()),
    ]
}

fn read(row: &Row) -> Result<Transfer> {
    let schedule: Option<u64> = row.optional("schedule_seconds")?;
    Ok(Transfer {
        id: row.get("id")?,
        kind: row.word("kind")?,
        name: read_name(row, "schema_name", "name")?,
        connection: row.get("connection")?,
        definition: row.get("definition")?,
        schedule: schedule.map(Duration::from_secs),
        is_suspended: row.get("is_suspended")?,
        suspended_reason: row.optional("suspended_reason")?,
        revision: row.get("revision")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        progress: TransferProgress {
            fresh_at: row.optional("fresh_at")?,
            compared_at: row.optional("compared_at")?,
            duration_ms: row.optional("duration_ms")?,
            failures: row.get("failures")?,
            retry_at: row.optional("retry_at")?,
            last_error: row.optional("last_error")?,
        },
    })
}

fn read_run(row: &Row) -> Result<TransferRun> {
    Ok(TransferRun {
        id: row.get("id")?,
        transfer: row.get("transfer_id")?,
        started_at: row.get("started_at")?,
        completed_at: row.optional("completed_at")?,
        state: row.get("state")?,
        trigger: row.word("run_trigger")?,
        worker: row.optional("worker")?,
        outcome: RunOutcome {
            action: row.optional("action")?,
            reason: row.optional("reason")?,
            rows_read: row.optional("rows_read")?,
            rows_inserted: row.optional("rows_inserted")?,
            rows_deleted: row.optional("rows_deleted")?,
            snapshot: row.optional("snapshot")?,
            duration_ms: row.optional("duration_ms")?,
            error_code: row.optional("error_code")?,
            error_message: row.optional("error_message")?,
        },
    })
}
