//! Asking a worker to stop, and what happens when it takes too long.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use refresh::Interrupter;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a signal that ends a process adds to its number to make the exit code, as shells have it.
const SIGNALLED: i32 = 128;

/// How often a refresh that outlasted the grace period is interrupted: it is many statements, and an interruption
/// between two of them stops neither.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);

/// How long an interrupted refresh may take to roll back before the process ends without it.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(10);

/// The exit code of a worker that had to leave a refresh behind: that of a process ended by SIGTERM.
const LEFT_BEHIND: i32 = 143;

/// A cheap handle that asks a worker to stop. Clones ask the same one.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Running,
    Requested,
    /// The worker has ended.
    Ended,
}

impl Shutdown {
    /// Not requested yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the first SIGTERM or SIGINT requests it, and a second one ends the process at once. Nothing is
    /// half-done then either: the lake's transaction ends with its process. Once per process.
    ///
    /// # Errors
    /// `INTERNAL` when signals cannot be listened to.
    pub fn on_signals(&self) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|cause| Error::new(Code::Internal, "cannot listen for signals").with_source(cause))?;
        let shutdown = self.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if shutdown.is_requested() {
                    std::process::exit(SIGNALLED + signal);
                }
                tracing::info!(signal, "stopping");
                shutdown.request();
            }
        });
        Ok(())
    }

    /// Asks the worker to stop: no further refresh begins, the one that runs may end within the grace period.
    pub fn request(&self) {
        self.advance(Stage::Requested);
    }

    /// Waits until it is requested.
    pub fn wait_for_request(&self) {
        self.wait(Stage::Requested, None);
    }

    /// Whether it was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.stage() >= Stage::Requested
    }

    /// Waits for the request, tells of it, grants the grace period, then stops what still runs.
    pub(crate) fn limit(&self, grace_period: Duration, running: &Running, requested: impl FnOnce()) {
        self.wait(Stage::Requested, None);
        requested();
        if self.wait(Stage::Ended, Some(grace_period)) {
            return;
        }
        tracing::warn!("the grace period is over, rolling back the refresh that runs");
        let interrupted_at = Instant::now();
        while interrupted_at.elapsed() < ROLLBACK_LIMIT {
            running.interrupt();
            if self.wait(Stage::Ended, Some(INTERRUPT_INTERVAL)) {
                return;
            }
        }
        // A transaction of the lake ends with its process: nothing half-done remains.
        tracing::error!("the refresh that runs cannot be interrupted, ending without it");
        std::process::exit(LEFT_BEHIND);
    }

    /// The worker ends where this value does.
    pub(crate) fn ends_here(&self) -> End<'_> {
        End(self)
    }

    /// Sleeps, but no longer than until it is requested. Whether it is.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        self.wait(Stage::Requested, Some(time))
    }

    /// Waits for a stage or a later one. Whether it was reached in time.
    fn wait(&self, stage: Stage, time: Option<Duration>) -> bool {
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        let mut reached = self.stage();
        while *reached < stage {
            let changed = &self.shared.changed;
            reached = match deadline {
                None => changed.wait(reached).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    changed.wait_timeout(reached, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    fn advance(&self, stage: Stage) {
        let mut reached = self.stage();
        *reached = stage.max(*reached);
        self.shared.changed.notify_all();
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the worker.
pub(crate) struct End<'a>(&'a Shutdown);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.advance(Stage::Ended);
    }
}

/// What stops the refreshes that are running.
#[derive(Default)]
pub(crate) struct Running {
    interrupters: Mutex<Vec<Interrupter>>,
}

impl Running {
    pub(crate) fn set(&self, interrupters: Vec<Interrupter>) {
        *self.interrupters.lock().unwrap_or_else(PoisonError::into_inner) = interrupters;
    }

    fn interrupt(&self) {
        self.interrupters.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Interrupter::interrupt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_wakes_the_sleeper() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.sleep(Duration::from_millis(5)));
        let other = shutdown.clone();
        let sleeper = std::thread::spawn(move || other.sleep(Duration::from_secs(60)));
        shutdown.request();
        assert!(matches!(sleeper.join(), Ok(true)));
        assert!(!shutdown.wait(Stage::Ended, Some(Duration::ZERO)));
        drop(shutdown.ends_here());
        shutdown.request();
        assert!(shutdown.wait(Stage::Ended, Some(Duration::ZERO)) && shutdown.is_requested());
    }
}
