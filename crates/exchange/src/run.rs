//! One run of a source or an export from the claim to the history: who is at it, how it ended, and when it may be tried again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::InterruptHandle;
use registry::{RunOutcome, RunTrigger, Transfer, TransferKind, TransferProgress, TransferRun};
use sql::names::TableName;
use uuid::Uuid;

use crate::definition::{self, SourceDefinition};
use crate::exchange::{Exchange, stoppable};
use crate::export;
use crate::load::{self, Asked, Mode};
use crate::outside::Outside;
use crate::relation::Relation;

/// What came of a run that succeeded.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Which source or export.
    pub name: TableName,
    /// What came of it.
    pub outcome: RunOutcome,
}

/// How a run is held, and given up when nobody renews it.
const LEASE: Duration = Duration::from_secs(60);
/// How often a run that is to stop is interrupted: it is many statements.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);
/// The first pause after a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// After so many failures in a row that trying again does not mend, a schedule is stopped.
const MOST_FAILURES: u32 = 5;

/// Ends what runs, from any thread.
#[derive(Clone, Default)]
pub struct Stop {
    shared: Arc<Stopping>,
}

#[derive(Default)]
struct Stopping {
    is_requested: AtomicBool,
    running: Mutex<Vec<InterruptHandle>>,
}

impl Stop {
    /// Ends what runs, and whatever begins from here on.
    pub fn request(&self) {
        self.shared.is_requested.store(true, Ordering::SeqCst);
        self.interrupt();
    }

    /// Whether that was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.shared.is_requested.load(Ordering::SeqCst)
    }

    pub(crate) fn interrupt(&self) {
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().for_each(InterruptHandle::interrupt);
    }

    pub(crate) fn watch(&self, handle: InterruptHandle) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        // To interrupt what has ended does nothing; only the last ones can still run.
        const WATCHED: usize = 64;
        if running.len() >= WATCHED {
            running.remove(0);
        }
        running.push(handle);
    }
}

/// What is known of a source when a load of it is decided.
pub(crate) fn asked(source: &Transfer, told: &SourceDefinition, full: bool) -> Asked {
    let compared_lately = source.progress.compared_at.is_some_and(|compared| match told.compare_seconds {
        None => true,
        Some(seconds) => {
            Timestamp::now().duration_since(compared).as_secs() < i64::try_from(seconds).unwrap_or(i64::MAX)
        }
    });
    Asked { full, compared_lately }
}

impl Exchange {
    /// Runs one, unless another process is at it, and records how it went.
    ///
    /// # Errors
    /// A transient `CONFLICT` if somebody else is at it, and what the run fails with.
    pub fn run(
        &self,
        transfer: &Transfer,
        trigger: RunTrigger,
        full: bool,
        worker: &str,
        stop: &Stop,
    ) -> Result<Ran> {
        let registry = self.registry();
        let me = format!("{worker}-{}-{}", std::process::id(), Uuid::now_v7());
        if !registry.claim_transfer(transfer.id, &me, LEASE)? {
            return Err(Error::new(Code::Conflict, format!("{} is being refreshed by somebody else", transfer.name))
                .with_hint("Wait for it; a process that died is taken for dead after a minute."));
        }
        let result = self.run_claimed(transfer, trigger, full, &me, stop);
        if let Err(error) = registry.release_transfer(transfer.id, &me) {
            tracing::warn!(%error, name = %transfer.name, "a claim stays until it ends by itself");
        }
        result
    }

    fn run_claimed(
        &self,
        transfer: &Transfer,
        trigger: RunTrigger,
        full: bool,
        me: &str,
        stop: &Stop,
    ) -> Result<Ran> {
        // As it is now that nobody else can be at it.
        let transfer = self.registry().transfer(transfer.kind, &transfer.name)?.filter(|now| now.id == transfer.id);
        let Some(transfer) = transfer else { return Err(Error::new(Code::Conflict, "it was dropped meanwhile")) };
        let mut run = TransferRun {
            id: Uuid::now_v7(),
            transfer: transfer.id,
            started_at: Timestamp::now(),
            completed_at: None,
            state: "EXECUTING".to_owned(),
            trigger,
            worker: Some(me.to_owned()),
            outcome: RunOutcome::default(),
        };
        self.registry().begin_transfer_run(&run)?;
        let began = Instant::now();
        let result = self.held(&transfer, me, stop, || self.carry_out(&transfer, full, run.id, stop));
        run.completed_at = Some(Timestamp::now());
        let took = u64::try_from(began.elapsed().as_millis()).ok();
        let mut progress = transfer.progress.clone();
        let mut suspended = None;
        match &result {
            Ok(outcome) => {
                run.outcome = RunOutcome { duration_ms: took, ..outcome.clone() };
                let is_complete = outcome.action.as_deref() != Some(Mode::Cursor.as_str());
                progress = TransferProgress {
                    fresh_at: Some(run.started_at),
                    compared_at: if is_complete { Some(run.started_at) } else { progress.compared_at },
                    duration_ms: took,
                    ..TransferProgress::default()
                };
            }
            Err(error) => {
                run.outcome.duration_ms = took;
                run.outcome.error_code = Some(error.code().as_str().to_owned());
                run.outcome.error_message = Some(error.to_string());
                progress.last_error = Some(error.to_string());
                // That it was stopped says nothing about it.
                if !stop.is_requested() {
                    progress.failures += 1;
                    progress.retry_at = Timestamp::now().checked_add(pause(progress.failures)).ok();
                    if progress.failures >= MOST_FAILURES && !error.is_transient() && transfer.schedule.is_some() {
                        suspended = Some(format!("it failed {} times in a row: {error}", progress.failures));
                    }
                }
            }
        }
        self.registry().finish_transfer_run(&run, &progress, suspended.as_deref())?;
        match result {
            Ok(_) => Ok(Ran { name: transfer.name.clone(), outcome: run.outcome }),
            Err(error) => Err(error.with_context("name", transfer.name.to_string())),
        }
    }

    fn carry_out(&self, transfer: &Transfer, full: bool, run: Uuid, stop: &Stop) -> Result<RunOutcome> {
        let session = stoppable(&self.lake, stop)?;
        let connection = self.connection_of(transfer)?;
        match transfer.kind {
            TransferKind::Source => {
                let told: SourceDefinition = definition::read(transfer)?;
                let outside = Outside::open(&session, &connection, false)?;
                let relation = Relation::look(&session, &outside, told.schema.as_deref(), &told.table)?;
                let plan = load::plan(&session, transfer, &relation, asked(transfer, &told, full))?;
                tracing::debug!(source = %transfer.name, mode = plan.mode.as_str(), reason = plan.reason, "loading");
                load::load(&session, &outside, transfer, &relation, plan, run)
            }
            TransferKind::Export => {
                let outside = Outside::open(&session, &connection, true)?;
                let plan = export::plan(&session, &outside, transfer, full)?;
                tracing::debug!(export = %transfer.name, mode = plan.mode.as_str(), reason = plan.reason, "exporting");
                export::export(&session, &outside, transfer, plan, run)
            }
        }
    }

    /// Does something, renewing the claim meanwhile; it is interrupted when that is lost, and when it is to stop.
    fn held(
        &self,
        transfer: &Transfer,
        me: &str,
        stop: &Stop,
        work: impl FnOnce() -> Result<RunOutcome>,
    ) -> Result<RunOutcome> {
        let (done, ended) = channel::<()>();
        let lost = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            let lost = &lost;
            scope.spawn(move || {
                let mut renewed = Instant::now();
                loop {
                    match ended.recv_timeout(INTERRUPT_INTERVAL) {
                        Err(RecvTimeoutError::Timeout) => {}
                        _ => return,
                    }
                    if stop.is_requested() || lost.load(Ordering::Relaxed) {
                        stop.interrupt();
                    } else if renewed.elapsed() > LEASE / 4 {
                        match self.registry().renew_transfer(transfer.id, me, LEASE) {
                            Ok(true) => renewed = Instant::now(),
                            Ok(false) => lost.store(true, Ordering::Relaxed),
                            // What was published after all, the lake's watermark keeps right.
                            Err(error) => tracing::debug!(%error, "a claim was not renewed"),
                        }
                    }
                }
            });
            let result = work();
            drop(done);
            result
        });
        match result {
            Err(_) if stop.is_requested() => Err(Error::new(Code::Resource, "it was stopped").with_transient(true)),
            Err(_) if lost.load(Ordering::Relaxed) => {
                Err(Error::new(Code::Conflict, "somebody else has taken it over").with_transient(true))
            }
            result => result,
        }
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}
