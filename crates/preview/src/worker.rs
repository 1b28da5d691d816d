//! A worker for previews: takes them from the registry, runs them, and says what came of them. One that dies loses none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use error::Result;
use registry::{Renewal, Task, TaskState};

use crate::answer::{Answer, Asked};
use crate::service::Previews;
use crate::tasks::{KEPT, sealed};

/// What one is told.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Its name.
    pub name: String,
    /// The queues that it serves.
    pub queues: Vec<String>,
    /// How long a task stays its own without a sign of life.
    pub lease: Duration,
}

/// How often it looks for tasks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// After a registry that did not answer.
const OUTAGE_INTERVAL: Duration = Duration::from_secs(2);
/// How often it forgets what was kept long enough.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// Threads that carry out previews until they are told to stop.
#[derive(Debug)]
pub struct PreviewWorker {
    stops: Arc<AtomicBool>,
    gives_up: Arc<AtomicBool>,
    active: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl PreviewWorker {
    /// Starts as many threads as previews may run at the same time.
    #[must_use]
    pub fn start(previews: &Arc<Previews>, options: &WorkerOptions) -> Self {
        let (stops, gives_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let active = Arc::new(AtomicUsize::new(0));
        let threads = (0..previews.options().concurrency.max(1))
            .map(|number| {
                let thread = Thread {
                    previews: Arc::clone(previews),
                    name: format!("{}-{number}", options.name),
                    queues: options.queues.clone(),
                    lease: options.lease,
                    stops: Arc::clone(&stops),
                    gives_up: Arc::clone(&gives_up),
                    active: Arc::clone(&active),
                };
                std::thread::spawn(move || thread.run(number == 0))
            })
            .collect();
        Self { stops, gives_up, active, threads }
    }

    /// How many previews it is at.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Takes no further task, lets those that run come to their end within this time, and gives the others back to their queue.
    pub fn stop(self, grace_period: Duration) {
        self.stops.store(true, Ordering::Relaxed);
        let began = Instant::now();
        while self.active() > 0 && began.elapsed() < grace_period {
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.gives_up.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread for previews panicked");
            }
        }
    }
}

struct Thread {
    previews: Arc<Previews>,
    name: String,
    queues: Vec<String>,
    lease: Duration,
    stops: Arc<AtomicBool>,
    gives_up: Arc<AtomicBool>,
    active: Arc<AtomicUsize>,
}

impl Thread {
    fn run(&self, forgets: bool) {
        let queues: Vec<&str> = self.queues.iter().map(String::as_str).collect();
        let registry = self.previews.registry();
        let mut forgot = Instant::now();
        while !self.stops.load(Ordering::Relaxed) {
            if forgets && forgot.elapsed() >= FORGET_INTERVAL {
                forgot = Instant::now();
                if let Err(error) = registry.forget_tasks(KEPT) {
                    tracing::debug!(%error, "old tasks stay");
                }
            }
            let pause = match registry.claim_task(&self.name, &queues, self.lease) {
                Ok(Some(task)) => {
                    self.active.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = self.carry_out(&task) {
                        tracing::warn!(%error, task = %task.id, "what came of a preview is not recorded");
                    }
                    self.active.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                Ok(None) => LOOK_INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "the registry does not say which previews wait");
                    OUTAGE_INTERVAL
                }
            };
            std::thread::sleep(pause);
        }
    }

    fn carry_out(&self, task: &Task) -> Result<()> {
        let registry = self.previews.registry();
        let asked: Asked = match serde_json::from_value(task.payload.clone()) {
            Ok(asked) => asked,
            Err(_) => {
                let why = Some("the task cannot be read; it was made by another version".to_owned());
                return registry.finish_task(task.id, &self.name, TaskState::Failure, None, why).map(drop);
            }
        };
        let mut renewed = Instant::now();
        let every = self.lease / 4;
        // Cancelling is heard of sooner than the lease asks for.
        let look = every.min(Duration::from_millis(250));
        let mut looked = Instant::now();
        let mut goes_on = || {
            if self.gives_up.load(Ordering::Relaxed) {
                return false;
            }
            if looked.elapsed() < look {
                return true;
            }
            looked = Instant::now();
            match registry.renew_task(task.id, &self.name, self.lease) {
                Ok(Renewal::Held) => {
                    renewed = Instant::now();
                    true
                }
                Ok(Renewal::Cancelled | Renewal::Lost) => false,
                // Still its own as long as the lease lasts.
                Err(_) => renewed.elapsed() < self.lease,
            }
        };
        // What the pipeline was when it was asked for may have changed since.
        let pipeline = task.subject.parse().unwrap_or_default();
        let answer = match self.previews.authorize(pipeline, &asked) {
            Ok(()) => self.previews.run(&asked, &mut goes_on),
            Err(error) => Some(Answer::failed(&error)),
        };
        match answer {
            Some(answer) => {
                let result = sealed(&self.previews, task.id, &answer)?;
                registry.finish_task(task.id, &self.name, TaskState::Success, Some(result), None).map(drop)
            }
            None if self.gives_up.load(Ordering::Relaxed) => registry.release_task(task.id, &self.name).map(drop),
            None => registry.finish_task(task.id, &self.name, TaskState::Revoked, None, None).map(drop),
        }
    }
}
