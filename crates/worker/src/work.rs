//! The loop of a worker.

use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use jiff::Timestamp;
use refresh::{DynamicTables, Pass};

use crate::identity::Identity;
use crate::outage::Outage;
use crate::shutdown::Running;
use crate::{Options, Shutdown, report};

/// The pause after a look at which something was refreshed: a reason to look again at once, but not to spin.
const BREATH: Duration = Duration::from_millis(20);

/// The shortest pause after a look at which nothing was refreshed, however short the lags are.
const SHORTEST_SLEEP: Duration = Duration::from_millis(250);

/// How often refreshes that died with their process are looked for.
const BURIAL_INTERVAL: Duration = Duration::from_secs(3_600);

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

    /// Works until the shutdown is requested.
    ///
    /// # Errors
    /// What opening the dynamic tables for the first time fails with; later failures are waited out. With
    /// [`Options::once`], also what the only look fails with.
    pub fn run(&self, shutdown: &Shutdown) -> Result<Summary> {
        let (grace_period, running) = (self.options.grace_period, &self.running);
        std::thread::scope(|scope| {
            scope.spawn(move || shutdown.limit(grace_period, running));
            // Also at a panic, or the scope would wait for that thread for ever.
            let _end = shutdown.ends_here();
            self.work(shutdown)
        })
    }

    fn work(&self, shutdown: &Shutdown) -> Result<Summary> {
        let mut tables = Some(self.start()?);
        let mut summary = Summary::default();
        let mut outage: Option<Outage> = None;
        let mut buried_at = Instant::now();
        while !shutdown.is_requested() {
            let pass = match &tables {
                Some(tables) => self.look(tables, &mut summary, shutdown),
                None => self
                    .open(Opening::Again)
                    .and_then(|opened| self.look(tables.insert(opened), &mut summary, shutdown)),
            };
            let pause = match pass {
                Ok(pass) if self.options.once => {
                    log_pass(&pass);
                    break;
                }
                Err(error) if self.options.once => return Err(error),
                Ok(pass) => {
                    if let Some(outage) = outage.take() {
                        outage.end();
                    }
                    log_pass(&pass);
                    if let Some(tables) = tables.as_ref().filter(|_| buried_at.elapsed() > BURIAL_INTERVAL) {
                        self.tidy_up(tables);
                        buried_at = Instant::now();
                    }
                    if pass.refreshed > 0 {
                        BREATH
                    } else {
                        pass.sleep.max(SHORTEST_SLEEP.min(self.options.poll_interval))
                    }
                }
                Err(error) => {
                    // Whatever it was, connections and caches may be spoilt by it. Closed before they are opened
                    // again: some catalogs take one opener at a time.
                    tables = None;
                    self.running.set(None);
                    match &mut outage {
                        Some(outage) => outage.goes_on(&error),
                        None => outage = Some(Outage::begin(&error)),
                    }
                    outage.as_mut().map_or(BREATH, Outage::pause)
                }
            };
            shutdown.sleep(pause);
        }
        tracing::info!(worker = %self.identity, refreshed = summary.refreshed, failed = summary.failed, "worker stopped");
        Ok(summary)
    }

    fn start(&self) -> Result<DynamicTables> {
        let tables = self.open(Opening::First)?;
        tracing::info!(
            worker = %self.identity,
            version = env!("CARGO_PKG_VERSION"),
            registry = tables.registry().address(),
            poll_interval_s = self.options.poll_interval.as_secs_f64(),
            grace_period_s = self.options.grace_period.as_secs_f64(),
            "worker started"
        );
        self.tidy_up(&tables);
        Ok(tables)
    }

    fn open(&self, opening: Opening) -> Result<DynamicTables> {
        let tables = (self.open)(opening)?;
        self.running.set(Some(tables.interrupter()));
        Ok(tables)
    }

    /// One look at what is due, and refreshing it.
    fn look(&self, tables: &DynamicTables, summary: &mut Summary, shutdown: &Shutdown) -> Result<Pass> {
        let stop = || shutdown.is_requested();
        let mut observe = |refreshed: &refresh::RefreshReport| {
            summary.refreshed += 1;
            summary.failed += u64::from(refreshed.error.is_some());
            report::log(refreshed);
        };
        tables.run_due(Timestamp::now(), self.options.poll_interval, self.identity.as_str(), &stop, &mut observe)
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
            .and_then(|refreshes| Ok((refreshes, tables.prune_publications()?)));
        match pruned {
            Ok((refreshes, publications)) => tracing::debug!(refreshes, publications, "forgot what is out of reach"),
            Err(error) => tracing::warn!(code = error.code().as_str(), %error, "could not prune the history"),
        }
    }
}

fn log_pass(pass: &Pass) {
    tracing::debug!(
        tables = pass.tables,
        refreshed = pass.refreshed,
        unchanged = pass.advanced,
        failed = pass.failed,
        sleep_ms = u64::try_from(pass.sleep.as_millis()).unwrap_or(u64::MAX),
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
