//! The loop of a worker.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use jiff::Timestamp;
use refresh::{DynamicTables, Look, Poll, Work};
use registry::WorkerState;

use crate::crew::{Crew, Event};
use crate::ear::{Ear, Voice};
use crate::identity::Identity;
use crate::outage::Outage;
use crate::shutdown::Running;
use crate::{Options, Shutdown};

/// The shortest pause between two looks: what happens is a reason to look again at once, but not to spin.
const BREATH: Duration = Duration::from_millis(20);

/// The shortest pause while nothing happens, however short the lags are.
const SHORTEST_SLEEP: Duration = Duration::from_millis(250);

/// How often what is out of reach is forgotten.
const TIDYING_INTERVAL: Duration = Duration::from_secs(3_600);

/// How long refreshes stay in the history.
const HISTORY_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Which time the dynamic tables are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// At the start, when something wrong is an error of whoever started the worker.
    First,
    /// After an outage, when nothing that is missing may be made anew: it will come back.
    Again,
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tables refreshed, well or not.
    pub refreshed: u64,
    /// Of these, not well.
    pub failed: u64,
}

/// Keeps all dynamic tables of a lake fresh.
pub struct Worker<Open> {
    options: Options,
    identity: Identity,
    open: Open,
    running: Running,
}

impl<Open: Fn(Opening) -> Result<DynamicTables>> Worker<Open> {
    /// A worker over the dynamic tables that `open` opens.
    pub fn new(options: Options, open: Open) -> Self {
        let identity = Identity::new(options.name.clone());
        Self { options, identity, open, running: Running::default() }
    }

    /// Its name in history and logs.
    pub fn name(&self) -> &str {
        self.identity.as_str()
    }

    /// Works until the shutdown is requested.
    ///
    /// # Errors
    /// What opening the dynamic tables for the first time fails with; later failures are waited out. With
    /// [`Options::once`], also what the only look fails with.
    pub fn run(&self, shutdown: &Shutdown) -> Result<Summary> {
        let (grace_period, running) = (self.options.grace_period, &self.running);
        let (events, received) = channel();
        std::thread::scope(|scope| {
            let wake = events.clone();
            scope.spawn(move || {
                shutdown.limit(grace_period, running, || drop(wake.send(Event::Shutdown)));
            });
            // Also at a panic, or the scope would wait for that thread for ever.
            let _end = shutdown.ends_here();
            self.work(shutdown, &events, &received)
        })
    }

    fn work(&self, shutdown: &Shutdown, events: &Sender<Event>, received: &Receiver<Event>) -> Result<Summary> {
        let mut summary = Summary::default();
        let mut outage: Option<Outage> = None;
        let mut opening = Opening::First;
        while !shutdown.is_requested() {
            let opened = (self.open)(opening);
            let may_wait = !self.options.once && (opening == Opening::Again || opened.is_ok());
            let shift = opened.and_then(|tables| {
                if opening == Opening::First {
                    self.greet(&tables);
                }
                self.shift(&tables, shutdown, events, received, &mut summary, &mut outage)
            });
            self.running.set(Vec::new());
            match shift {
                Ok(()) => break,
                Err(error) if !may_wait => return Err(error),
                Err(error) => {
                    match &mut outage {
                        Some(outage) => outage.goes_on(&error),
                        None => outage = Some(Outage::begin(&error)),
                    }
                    let pause = outage.as_mut().map_or(BREATH, Outage::pause);
                    shutdown.sleep(pause);
                }
            }
            opening = Opening::Again;
        }
        tracing::info!(worker = %self.identity, refreshed = summary.refreshed, failed = summary.failed, "worker stopped");
        Ok(summary)
    }

    /// Works until the shutdown is requested or something fails that is no table's own failure. Then connections and caches
    /// may be spoilt, and all of them are closed: some catalogs take one opener at a time.
    fn shift(
        &self,
        tables: &DynamicTables,
        shutdown: &Shutdown,
        events: &Sender<Event>,
        received: &Receiver<Event>,
        summary: &mut Summary,
        outage: &mut Option<Outage>,
    ) -> Result<()> {
        tables.set_lease(self.options.lease);
        tables.set_compaction(self.options.compaction);
        self.identity.give_back(tables.registry())?;
        self.tidy_up(tables);
        // What was left of an earlier shift.
        while received.try_recv().is_ok() {}
        let record =
            self.identity.record(self.options.queues.clone(), self.options.concurrency, WorkerState::Running);
        let voice = Voice::new(record, self.identity.clone(), self.options.lease);
        let ear = Ear::listen(tables.registry(), voice, events.clone())?;
        let mut crew = Crew::hire(tables, self.options.concurrency, self.identity.as_str(), shutdown, events)?;
        self.running.set(crew.interrupters());
        let worked = self.look_and_hand_out(tables, &mut crew, shutdown, received, summary, outage);
        crew.wind_up();
        if worked.is_ok() && !crew.is_idle() {
            ear.drain();
        }
        let drained = drain(&mut crew, received, summary);
        drop(ear);
        worked.and(drained)
    }

    fn look_and_hand_out(
        &self,
        tables: &DynamicTables,
        crew: &mut Crew,
        shutdown: &Shutdown,
        received: &Receiver<Event>,
        summary: &mut Summary,
        outage: &mut Option<Outage>,
    ) -> Result<()> {
        let poll = Poll { interval: self.options.poll_interval, queues: self.options.queues.clone(), now: None };
        let mut tidied_at = Instant::now();
        let mut work: VecDeque<Work> = VecDeque::new();
        let mut looked = false;
        while !shutdown.is_requested() {
            if crew.has_idle() && !(self.options.once && looked) {
                let began = Instant::now();
                let look = tables.look(&poll)?;
                if let Some(outage) = outage.take() {
                    outage.end();
                }
                log_look(&look);
                looked = true;
                work = look.work.into();
                hand_out(crew, &mut work);
                if tidied_at.elapsed() > TIDYING_INTERVAL {
                    self.tidy_up(tables);
                    tidied_at = Instant::now();
                }
                let sleep = look.sleep.max(SHORTEST_SLEEP.min(self.options.poll_interval));
                if !self.options.once {
                    wait(crew, received, sleep, summary)?;
                    // Not more time than half for looking: everything that changes wakes the worker.
                    shutdown.sleep(BREATH.max(began.elapsed() / 4).min(SHORTEST_SLEEP));
                }
            } else {
                hand_out(crew, &mut work);
                if self.options.once && work.is_empty() && crew.is_idle() {
                    break;
                }
                wait(crew, received, self.options.poll_interval, summary)?;
            }
        }
        Ok(())
    }

    fn greet(&self, tables: &DynamicTables) {
        tracing::info!(
            worker = %self.identity,
            version = env!("CARGO_PKG_VERSION"),
            registry = tables.registry().address(),
            poll_interval_s = self.options.poll_interval.as_secs_f64(),
            grace_period_s = self.options.grace_period.as_secs_f64(),
            concurrency = self.options.concurrency,
            "worker started"
        );
    }

    /// That the history is not tidied up stops no refresh.
    fn tidy_up(&self, tables: &DynamicTables) {
        match self.identity.bury_the_dead(tables.registry()) {
            Ok(0) => {}
            Ok(refreshes) => tracing::warn!(refreshes, "ended refreshes in the history that died with their process"),
            Err(error) => tracing::warn!(code = error.code().as_str(), %error, "could not tidy up the history"),
        }
        let too_old = Timestamp::now().checked_sub(HISTORY_KEPT).unwrap_or(Timestamp::MIN);
        let pruned = tables
            .registry()
            .prune_history(too_old)
            .and_then(|refreshes| Ok((refreshes, tables.prune_publications()?)))
            .and_then(|pruned| tables.registry().prune_workers().map(|_| pruned));
        match pruned {
            Ok((refreshes, publications)) => tracing::debug!(refreshes, publications, "forgot what is out of reach"),
            Err(error) => tracing::warn!(code = error.code().as_str(), %error, "could not prune the history"),
        }
    }
}

fn hand_out(crew: &mut Crew, work: &mut VecDeque<Work>) {
    while crew.has_idle()
        && let Some(next) = work.pop_front()
    {
        if let Some(unsent) = crew.hand_out(next) {
            work.push_front(unsent);
            break;
        }
    }
}

/// Waits until something happens, at most so long.
fn wait(crew: &mut Crew, received: &Receiver<Event>, limit: Duration, summary: &mut Summary) -> Result<()> {
    let Ok(event) = received.recv_timeout(limit) else { return Ok(()) };
    take_note(crew, event, summary)?;
    // What came together is looked at together.
    while let Ok(event) = received.try_recv() {
        take_note(crew, event, summary)?;
    }
    Ok(())
}

fn take_note(crew: &mut Crew, event: Event, summary: &mut Summary) -> Result<()> {
    let Event::Finished { runner, result } = event else { return Ok(()) };
    crew.is_back(runner);
    let done = result?;
    summary.refreshed += done.refreshed as u64;
    summary.failed += done.failed as u64;
    tracing::debug!(
        refreshed = done.refreshed,
        unchanged = done.advanced,
        failed = done.failed,
        compacted = done.compacted,
        taken = done.taken,
        "carried out"
    );
    Ok(())
}

/// Waits for what still runs.
fn drain(crew: &mut Crew, received: &Receiver<Event>, summary: &mut Summary) -> Result<()> {
    let mut first = Ok(());
    while !crew.is_idle() {
        let Ok(event) = received.recv() else { break };
        first = first.and(take_note(crew, event, summary));
    }
    first
}

fn log_look(look: &Look) {
    tracing::debug!(
        tables = look.tables,
        due = look.work.iter().map(Work::len).sum::<usize>(),
        unchanged = look.advanced,
        sleep_ms = u64::try_from(look.sleep.as_millis()).unwrap_or(u64::MAX),
        "looked at what is due"
    );
}

impl Summary {
    /// An error if a refresh failed, for a worker that was to work once and could not do all of it.
    ///
    /// # Errors
    /// `DEPENDENCY` naming how many failed; the log says which and why.
    pub fn check(&self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            failed => Err(Error::new(Code::Dependency, format!("{failed} of {} refreshes failed", self.refreshed))
                .with_hint("The log above and `dynamic-tables history` say why.")),
        }
    }
}
