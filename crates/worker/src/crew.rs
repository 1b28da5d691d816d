//! The threads of a worker: each refreshes what it is handed, over connections of its own to one lake with one limit of
//! memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use error::{Code, Error, Result};
use refresh::{Done, DynamicTables, Interrupter, RefreshReport, Work};

use crate::{Shutdown, report};

/// What wakes the worker.
pub(crate) enum Event {
    /// A thread has come to an end with its work.
    Finished {
        /// Which one.
        runner: usize,
        /// What came of it.
        result: Result<Done>,
    },
    /// The registry has changed, or somebody gave tables back.
    News,
    /// The worker is to stop.
    Shutdown,
}

/// All threads.
pub(crate) struct Crew {
    runners: Vec<Runner>,
    /// No further group of tables shall be begun.
    over: Arc<AtomicBool>,
}

struct Runner {
    /// Where its work comes from; none once it is to end.
    jobs: Option<Sender<Work>>,
    is_busy: bool,
    interrupter: Interrupter,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// Opens the connections and starts the threads.
    pub(crate) fn hire(
        tables: &DynamicTables,
        size: usize,
        worker: &str,
        shutdown: &Shutdown,
        events: &Sender<Event>,
    ) -> Result<Self> {
        let mut runners = Vec::new();
        let over = Arc::new(AtomicBool::new(false));
        for number in 0..size.max(1) {
            let twin = tables.twin()?;
            let interrupter = twin.interrupter();
            let (jobs, received) = channel();
            let (worker, shutdown, events) = (worker.to_owned(), shutdown.clone(), events.clone());
            let over = Arc::clone(&over);
            let thread = std::thread::spawn(move || {
                let stop = || shutdown.is_requested() || over.load(Ordering::SeqCst);
                run(&twin, number, &worker, &stop, &received, &events);
            });
            runners.push(Runner { jobs: Some(jobs), is_busy: false, interrupter, thread: Some(thread) });
        }
        Ok(Self { runners, over })
    }

    /// Lets no further group of tables begin.
    pub(crate) fn wind_up(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// What stops all that runs.
    pub(crate) fn interrupters(&self) -> Vec<Interrupter> {
        self.runners.iter().map(|runner| runner.interrupter.clone()).collect()
    }

    /// Whether a thread has nothing to do.
    pub(crate) fn has_idle(&self) -> bool {
        self.runners.iter().any(|runner| !runner.is_busy)
    }

    /// Whether no thread has anything to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.runners.iter().all(|runner| !runner.is_busy)
    }

    /// Hands work to an idle thread; back if there is none.
    pub(crate) fn hand_out(&mut self, work: Work) -> Option<Work> {
        let idle = self.runners.iter_mut().find(|runner| !runner.is_busy && runner.jobs.is_some());
        let Some(runner) = idle else { return Some(work) };
        runner.is_busy = true;
        // A thread that ended has said so by an event.
        runner.jobs.as_ref().and_then(|jobs| jobs.send(work).err()).map(|unsent| unsent.0)
    }

    /// A thread has reported.
    pub(crate) fn is_back(&mut self, runner: usize) {
        if let Some(runner) = self.runners.get_mut(runner) {
            runner.is_busy = false;
        }
    }
}

impl Drop for Crew {
    /// Waits for what still runs.
    fn drop(&mut self) {
        for runner in &mut self.runners {
            runner.jobs = None;
        }
        for thread in self.runners.iter_mut().filter_map(|runner| runner.thread.take()) {
            drop(thread.join());
        }
    }
}

fn run(
    tables: &DynamicTables,
    number: usize,
    worker: &str,
    stop: &dyn Fn() -> bool,
    jobs: &Receiver<Work>,
    events: &Sender<Event>,
) {
    for work in jobs {
        let mut observe = |refreshed: &RefreshReport| report::log(refreshed);
        let carried_out = catch_unwind(AssertUnwindSafe(|| tables.carry_out(&work, worker, stop, &mut observe)));
        // A panic of one refresh must not leave the worker waiting for it: everything is opened anew.
        let result = carried_out.unwrap_or_else(|_| Err(Error::new(Code::Internal, "a refresh panicked")));
        // Nobody listens any more when the worker itself has ended.
        if events.send(Event::Finished { runner: number, result }).is_err() {
            return;
        }
    }
}
