//! What keeps sources and exports fresh by their schedules: threads that look what is due, and run it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use connection::Connections;
use error::{Code, Result};
use jiff::Timestamp;
use lake::Lake;
use registry::{RunTrigger, Transfer, TransferKind};

use crate::{Exchange, Stop};

/// What one is told.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Its name in the history.
    pub name: String,
    /// How many run at the same time.
    pub concurrency: usize,
}

/// Where a keeper finds the lake that its process has open, while it has.
#[derive(Clone, Default)]
pub struct LakeSlot {
    lake: Arc<Mutex<Option<Lake>>>,
}

impl LakeSlot {
    /// Puts in the lake that was opened; `None` before it is opened anew.
    pub fn put(&self, lake: Option<Lake>) {
        *self.lake.lock().unwrap_or_else(PoisonError::into_inner) = lake;
    }

    fn get(&self) -> Option<Lake> {
        self.lake.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The shortest and the longest pause between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Threads that run what is due until they are told to stop.
pub struct Keeper {
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// Starts them.
    #[must_use]
    pub fn start(connections: &Connections, lake: &LakeSlot, options: &KeeperOptions) -> Self {
        let stop = Stop::default();
        let threads = (0..options.concurrency.max(1))
            .map(|_| {
                let (connections, lake, stop) = (connections.clone(), lake.clone(), stop.clone());
                let name = options.name.clone();
                std::thread::spawn(move || keep(&connections, &lake, &name, &stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Interrupts what runs, which leaves nothing behind, and waits for the threads.
    pub fn stop(self) {
        self.stop.request();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread for sources panicked");
            }
        }
    }
}

fn keep(connections: &Connections, slot: &LakeSlot, name: &str, stop: &Stop) {
    while !stop.is_requested() {
        let pause = match slot.get() {
            None => SHORTEST_PAUSE,
            Some(lake) => {
                let exchange = Exchange::new(lake, connections.clone());
                exchange.run_next(name, stop).unwrap_or_else(|error| {
                    tracing::warn!(%error, "the registry does not say which sources are due");
                    LONGEST_PAUSE
                })
            }
        };
        let mut slept = Duration::ZERO;
        while slept < pause && !stop.is_requested() {
            std::thread::sleep(SHORTEST_PAUSE);
            slept += SHORTEST_PAUSE;
        }
    }
}

impl Exchange {
    /// Runs what is due, one after the other; how many, and how many of them failed.
    pub fn run_due(&self, worker: &str, stop: &Stop) -> Result<(usize, usize)> {
        let (mut ran, mut failed) = (0, 0);
        for transfer in self.scheduled()? {
            if stop.is_requested() || due_in(&transfer, Timestamp::now()) > Duration::ZERO {
                continue;
            }
            ran += 1;
            failed += usize::from(!self.run_logged(&transfer, worker, stop));
        }
        Ok((ran, failed))
    }

    /// Runs the first that is due and free; when to look again.
    fn run_next(&self, worker: &str, stop: &Stop) -> Result<Duration> {
        let mut next = LONGEST_PAUSE;
        for transfer in self.scheduled()? {
            let due_in = due_in(&transfer, Timestamp::now());
            if due_in > Duration::ZERO {
                next = next.min(due_in);
                continue;
            }
            if stop.is_requested() || self.run_logged(&transfer, worker, stop) {
                return Ok(SHORTEST_PAUSE);
            }
        }
        Ok(next.max(SHORTEST_PAUSE))
    }

    fn scheduled(&self) -> Result<Vec<Transfer>> {
        let mut all = self.registry().transfers(TransferKind::Source)?;
        all.extend(self.registry().transfers(TransferKind::Export)?);
        all.retain(|transfer| transfer.schedule.is_some() && !transfer.is_suspended);
        let now = Timestamp::now();
        all.sort_by_key(|transfer| due_in(transfer, now));
        Ok(all)
    }

    /// Runs one and says in the log how it went; whether it went well.
    fn run_logged(&self, transfer: &Transfer, worker: &str, stop: &Stop) -> bool {
        match self.run(transfer, RunTrigger::Schedule, false, worker, stop) {
            Ok(ran) => {
                tracing::info!(
                    kind = transfer.kind.as_str(),
                    name = %ran.name,
                    action = ran.outcome.action,
                    rows_read = ran.outcome.rows_read,
                    rows_inserted = ran.outcome.rows_inserted,
                    rows_deleted = ran.outcome.rows_deleted,
                    ms = ran.outcome.duration_ms,
                    "carried out"
                );
                true
            }
            // Another worker is at it.
            Err(error) if error.code() == Code::Conflict => {
                tracing::debug!(name = %transfer.name, %error, "left to another worker");
                false
            }
            Err(error) => {
                let code = error.code().as_str();
                tracing::warn!(kind = transfer.kind.as_str(), name = %transfer.name, code, %error, "a run failed");
                false
            }
        }
    }
}

/// In how long it has to begin so that its rows become no staler than they may: as long before that as it takes.
fn due_in(transfer: &Transfer, now: Timestamp) -> Duration {
    let Some(schedule) = transfer.schedule else { return Duration::MAX };
    let progress = &transfer.progress;
    let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO);
    if let Some(retry_at) = progress.retry_at {
        return until(retry_at);
    }
    let Some(fresh_at) = progress.fresh_at else { return Duration::ZERO };
    // Not more than half of the time is spent on it, however long it takes.
    let takes = Duration::from_millis(progress.duration_ms.unwrap_or_default()).min(schedule / 2);
    fresh_at.checked_add(schedule.saturating_sub(takes)).map_or(Duration::MAX, until)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use registry::TransferProgress;
    use sql::names::TableName;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn it_begins_early_enough_to_end_in_time() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let of = |schedule: Option<u64>, progress: TransferProgress| {
            let transfer = Transfer {
                id: Uuid::nil(),
                kind: TransferKind::Source,
                name: TableName::new("main", "t"),
                connection: 1,
                definition: serde_json::Value::Null,
                schedule: schedule.map(Duration::from_secs),
                is_suspended: false,
                suspended_reason: None,
                revision: 1,
                created_at: now,
                updated_at: now,
                progress,
            };
            due_in(&transfer, now)
        };
        let fresh = |ago: u64, takes: u64| TransferProgress {
            fresh_at: Some(now - Duration::from_secs(ago)),
            duration_ms: Some(takes * 1_000),
            ..TransferProgress::default()
        };
        assert_eq!(of(Some(600), TransferProgress::default()), Duration::ZERO);
        assert_eq!(of(None, TransferProgress::default()), Duration::MAX);
        assert_eq!(of(Some(600), fresh(0, 60)), Duration::from_secs(540));
        assert_eq!(of(Some(600), fresh(100, 6_000)), Duration::from_secs(200));
        assert_eq!(of(Some(600), fresh(900, 1)), Duration::ZERO);
        let failed = TransferProgress { retry_at: Some(now + Duration::from_secs(7)), ..fresh(900, 1) };
        assert_eq!(of(Some(600), failed), Duration::from_secs(7));
    }
}
