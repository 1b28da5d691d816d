//! Tasks: what somebody asks for, waits in a queue, and is carried out by a worker. One that its worker is lost with is carried
//! out by another one, once.

use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Registry;
use crate::lease::milliseconds;
use crate::row::Row;
use crate::statement::{Statement, Value, placeholders};
use crate::words::words;

words! {
    /// Where a task is in its life.
    TaskState {
        /// It waits.
        Pending = "PENDING",
        /// A worker is at it.
        Started = "STARTED",
        /// It has ended, and its result says how.
        Success = "SUCCESS",
        /// It could not be carried out.
        Failure = "FAILURE",
        /// It was cancelled.
        Revoked = "REVOKED",
    }
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub id: Uuid,
    /// Which workers carry it out.
    pub queue: String,
    /// What is to be done.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Whose token asked for it.
    pub requested_by: Option<String>,
    /// Where it is.
    pub state: TaskState,
    /// How it is to be done.
    pub payload: serde_json::Value,
    /// What came of it.
    pub result: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether it is to stop.
    pub is_cancelled: bool,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// Whether a worker may go on with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It may.
    Held,
    /// It is to stop, since nobody wants it any more.
    Cancelled,
    /// It belongs to another worker, or is gone.
    Lost,
}

/// How many tasks there are, by state and age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Waiting.
    pub pending: u64,
    /// Being carried out.
    pub started: u64,
}

/// A task is begun so often.
const MOST_ATTEMPTS: i64 = 2;
/// So often another worker may be faster than this one before it looks again later.
const MOST_RACES: usize = 16;

const COLUMNS: &str =
    "id, queue, kind, subject, requested_by, state, payload, result, error, is_cancelled, attempts, created_at";

impl Registry {
    /// Puts a task into its queue, unless `most` wait there already.
    pub fn add_task(&self, task: &Task, most: u64) -> Result<()> {
        let row = vec![
            ("id", task.id.into()),
            ("queue", task.queue.as_str().into()),
            ("kind", task.kind.as_str().into()),
            ("subject", task.subject.as_str().into()),
            ("requested_by", task.requested_by.clone().into()),
            ("state", TaskState::Pending.as_str().into()),
            ("payload", task.payload.clone().into()),
            ("is_cancelled", false.into()),
            ("attempts", 0_u32.into()),
            ("created_at", task.created_at.into()),
        ];
        self.store.transaction(async |transaction| {
            let waiting = Statement::new("SELECT count(*) AS waiting FROM task")
                .filter("state = 'PENDING' AND queue = {}", [task.queue.as_str().into()]);
            let waiting: u64 = transaction.fetch(waiting).await?.first().map_or(Ok(0), |row| row.get("waiting"))?;
            if waiting >= most {
                return Err(Error::new(Code::Resource, format!("the queue {} is full", task.queue))
                    .with_transient(true)
                    .with_hint("Try again a little later, or start more workers that serve it."));
            }
            transaction.execute(Statement::insert("task", row)).await.map(drop)
        })
    }

    /// A task as it is now.
    pub fn task(&self, id: Uuid) -> Result<Option<Task>> {
        let statement = Statement::new(format!("SELECT {COLUMNS} FROM task")).filter("id = {}", [id.into()]);
        self.store.fetch(statement)?.first().map(read).transpose()
    }

    /// Takes the oldest task that waits in one of these queues, or that its worker was lost with, for as long as `lease`.
    pub fn claim_task(&self, worker: &str, queues: &[&str], lease: Duration) -> Result<Option<Task>> {
        if queues.is_empty() {
            return Ok(None);
        }
        let dialect = self.store.dialect();
        let served = format!("queue IN ({})", placeholders(queues.len()));
        let served_queues = || queues.iter().map(|queue| Value::from(*queue));
        let free = format!("(state = 'PENDING' OR state = 'STARTED' AND expires_at < {})", dialect.now);
        for _ in 0..MOST_RACES {
            let candidate = Statement::new(format!("SELECT {COLUMNS} FROM task"))
                .filter(&served, served_queues())
                .filter(&free, [])
                .append(" ORDER BY created_at, id LIMIT 1", []);
            let Some(task) = self.store.fetch(candidate)?.first().map(read).transpose()? else { return Ok(None) };
            let unchanged = |statement: Statement| {
                statement
                    .filter("id = {} AND attempts = {}", [task.id.into(), i64::from(task.attempts).into()])
                    .filter(&free, [])
            };
            if i64::from(task.attempts) >= MOST_ATTEMPTS || task.is_cancelled {
                let (state, error) = match task.is_cancelled {
                    true => (TaskState::Revoked, None),
                    false => (TaskState::Failure, Some("the workers that were at it were lost".to_owned())),
                };
                let row = vec![("state", state.as_str().into()), ("error", error.into())];
                let end = Statement::update("task", row).append(&format!(", completed_at = {}", dialect.now), []);
                self.store.execute(unchanged(end))?;
                continue;
            }
            let row = vec![
                ("state", "STARTED".into()),
                ("worker", worker.into()),
                ("attempts", (task.attempts + 1).into()),
            ];
            let until = format!(", started_at = {}, expires_at = {}", dialect.now, (dialect.later)("{}"));
            let take = Statement::update("task", row).append(&until, [milliseconds(lease)]);
            if self.store.execute(unchanged(take))? == 1 {
                return Ok(Some(Task { state: TaskState::Started, attempts: task.attempts + 1, ..task }));
            }
        }
        Ok(None)
    }

    /// Says that a worker is still at a task; whether it shall be.
    pub fn renew_task(&self, id: Uuid, worker: &str, lease: Duration) -> Result<Renewal> {
        let until = format!("UPDATE task SET expires_at = {}", (self.store.dialect().later)("{}"));
        let renew = Statement::new("")
            .append(&until, [milliseconds(lease)])
            .filter("id = {} AND worker = {} AND state = 'STARTED'", [id.into(), worker.into()]);
        if self.store.execute(renew)? == 0 {
            return Ok(Renewal::Lost);
        }
        Ok(match self.task(id)? {
            Some(task) if task.is_cancelled => Renewal::Cancelled,
            Some(_) => Renewal::Held,
            None => Renewal::Lost,
        })
    }

    /// Ends a task that a worker is at; whether it was still its.
    pub fn finish_task(
        &self,
        id: Uuid,
        worker: &str,
        state: TaskState,
        result: Option<String>,
        error: Option<String>,
    ) -> Result<bool> {
        let row = vec![("state", state.as_str().into()), ("result", result.into()), ("error", error.into())];
        let end = Statement::update("task", row)
            .append(&format!(", completed_at = {}", self.store.dialect().now), [])
            .filter("id = {} AND worker = {} AND state = 'STARTED'", [id.into(), worker.into()]);
        Ok(self.store.execute(end)? == 1)
    }

    /// Gives a task that a worker is at back to its queue, as if it had never been begun; whether it was still its.
    pub fn release_task(&self, id: Uuid, worker: &str) -> Result<bool> {
        let release = Statement::new(
            "UPDATE task SET state = 'PENDING', worker = NULL, expires_at = NULL, started_at = NULL, attempts = attempts - 1",
        )
        .filter("id = {} AND worker = {} AND state = 'STARTED'", [id.into(), worker.into()]);
        Ok(self.store.execute(release)? == 1)
    }

    /// Stops a task: at once if it waits, as soon as its worker hears of it if it is at it. Whether there was anything to stop.
    pub fn cancel_task(&self, id: Uuid) -> Result<bool> {
        let now = self.store.dialect().now;
        self.store.transaction(async |transaction| {
            let revoke = Statement::new(format!(
                "UPDATE task SET state = 'REVOKED', is_cancelled = true, completed_at = {now}"
            ))
            .filter("id = {} AND state = 'PENDING'", [id.into()]);
            if transaction.execute(revoke).await? == 1 {
                return Ok(true);
            }
            let stop = Statement::new("UPDATE task SET is_cancelled = true")
                .filter("id = {} AND state = 'STARTED'", [id.into()]);
            Ok(transaction.execute(stop).await? == 1)
        })
    }

    /// Forgets tasks that ended longer ago than this; how many.
    pub fn forget_tasks(&self, age: Duration) -> Result<u64> {
        let before = format!("completed_at < {}", (self.store.dialect().later)("{}"));
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        self.store.execute(Statement::new("DELETE FROM task").filter(&before, [(-age).into()]))
    }

    /// How many tasks wait and run.
    pub fn task_counts(&self) -> Result<TaskCounts> {
        let statement =
            Statement::new("SELECT state, count(*) AS tasks FROM task WHERE completed_at IS NULL GROUP BY state");
        let mut counts = TaskCounts::default();
        for row in self.store.fetch(statement)? {
            match row.word("state")? {
                TaskState::Pending => counts.pending = row.get("tasks")?,
                TaskState::Started => counts.started = row.get("tasks")?,
                _ => {}
            }
        }
        Ok(counts)
    }
}

fn read(row: &Row) -> Result<Task> {
    Ok(Task {
        id: row.get("id")?,
        queue: row.get("queue")?,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        requested_by: row.optional("requested_by")?,
        state: row.word("state")?,
        payload: row.get("payload")?,
        result: row.optional("result")?,
        error: row.optional("error")?,
        is_cancelled: row.get("is_cancelled")?,
        attempts: row.get("attempts")?,
        created_at: row.get("created_at")?,
    })
}
