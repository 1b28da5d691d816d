//! Long work that a request starts and does not wait for: its states, how far it is, what came of it, and how it is
//! stopped. Knows no more of the work itself than that it runs over the dynamic tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use error::{Code, Error, Result};
use jiff::Timestamp;
use refresh::{DynamicTables, Interrupter};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::audit::{Audit, Deed, Outcome};
use crate::pool::{Pool, blocking};
use crate::problem::{Failure, Problem};

/// Tasks that have ended are remembered up to this number, the newest.
const REMEMBERED: usize = 1_000;
/// More tasks than this do not wait.
const MOST_WAITING: usize = 1_000;
/// Changes that a listener may lag behind by before it misses some.
const UNHEARD: usize = 1_024;
/// Work is many statements, and an interruption between two of them stops neither.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);
/// A task waits for a place as long as it takes.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// It waits for a place.
    Pending,
    /// It runs.
    Started,
    /// It runs, and has said how far it is.
    Progress,
    /// It has ended well.
    Success,
    /// It has failed.
    Failure,
    /// It was cancelled.
    Revoked,
}

impl TaskState {
    /// Whether it stays so.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Creates dynamic tables.
    Create,
    /// Refreshes dynamic tables.
    Refresh,
    /// Compares dynamic tables with their queries.
    Verify,
    /// Says what a refresh would do.
    DryRun,
}

/// Long work that was asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Task {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// What it does.
    pub kind: TaskKind,
    /// The dynamic tables that it is about; empty means all.
    pub tables: Vec<String>,
    /// Where it is in its life.
    pub state: TaskState,
    /// What it is at.
    pub step: Option<String>,
    /// How much of it is done, from 0 to 1.
    pub progress: Option<f64>,
    /// Whose token asked for it.
    pub requested_by: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// What came of it.
    pub result: Option<Value>,
    /// What it failed with.
    pub error: Option<Problem>,
}

struct Entry {
    task: Task,
    cancelled: Arc<AtomicBool>,
    interrupter: Option<Interrupter>,
    /// What the audit log is told of when it has ended.
    deed: Option<Deed>,
}

/// All tasks of this process.
pub(crate) struct Tasks {
    entries: Mutex<BTreeMap<Uuid, Entry>>,
    changed: broadcast::Sender<Task>,
    runners: Arc<Pool<DynamicTables>>,
    audit: Arc<Audit>,
}

/// What is asked for.
pub(crate) struct Request {
    pub kind: TaskKind,
    pub tables: Vec<String>,
    pub requested_by: Option<String>,
    /// What the audit log is told, if it changes something.
    pub deed: Option<Deed>,
}

/// How work says how far it is, and hears that it shall stop.
pub(crate) struct Course {
    id: Uuid,
    tasks: Arc<Tasks>,
    cancelled: Arc<AtomicBool>,
}

impl Course {
    /// Says what comes next. An error once the task is cancelled.
    pub fn step(&self, done: usize, of: usize, what: impl Into<String>) -> Result<()> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(Error::new(Code::Resource, "cancelled"));
        }
        let what = what.into();
        self.tasks.change(self.id, |entry| {
            entry.task.state = TaskState::Progress;
            entry.task.step = Some(what);
            #[expect(clippy::cast_precision_loss, reason = "a share of few things")]
            let share = done as f64 / of.max(1) as f64;
            entry.task.progress = Some(share);
        });
        Ok(())
    }
}

impl Tasks {
    pub fn new(runners: Arc<Pool<DynamicTables>>, audit: Arc<Audit>) -> Arc<Self> {
        let (changed, _) = broadcast::channel(UNHEARD);
        Arc::new(Self { entries: Mutex::default(), changed, runners, audit })
    }

    /// Begins a task as soon as there is a place for it; the task as it is now.
    pub fn start(
        self: &Arc<Self>,
        request: Request,
        work: impl FnOnce(&DynamicTables, &Course) -> Result<Value> + Send + 'static,
    ) -> Result<Task, Failure> {
        let task = Task {
            id: Uuid::now_v7(),
            kind: request.kind,
            tables: request.tables,
            state: TaskState::Pending,
            step: None,
            progress: None,
            requested_by: request.requested_by,
            created_at: Timestamp::now(),
            started_at: None,
            completed_at: None,
            result: None,
            error: None,
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        let deed = request.deed.map(|deed| deed.with_task(task.id));
        {
            let mut entries = self.entries();
            let waiting = entries.values().filter(|entry| entry.task.state == TaskState::Pending).count();
            if waiting >= MOST_WAITING {
                return Err(Failure::busy("too many tasks are waiting already"));
            }
            if let Some(deed) = &deed {
                self.audit.record(deed, Outcome::Started, None);
            }
            let cancelled = Arc::clone(&cancelled);
            let entry = Entry { task: task.clone(), cancelled, interrupter: None, deed };
            entries.insert(task.id, entry);
            forget_oldest(&mut entries);
        }
        // Nobody need listen.
        let _ = self.changed.send(task.clone());
        let (tasks, id) = (Arc::clone(self), task.id);
        let course = Course { id, tasks: Arc::clone(self), cancelled };
        tokio::spawn(async move {
            let result = tasks.run(course, work).await;
            tasks.finish(id, result);
        });
        Ok(task)
    }

    async fn run(
        self: &Arc<Self>,
        course: Course,
        work: impl FnOnce(&DynamicTables, &Course) -> Result<Value> + Send + 'static,
    ) -> Result<Value> {
        let lent = self.runners.take(FOR_EVER).await?;
        let tasks = Arc::clone(self);
        blocking(move || {
            let id = course.id;
            let interrupter = lent.get()?.interrupter();
            let begun = tasks.change(id, |entry| {
                if entry.task.state == TaskState::Pending {
                    entry.task.state = TaskState::Started;
                    entry.task.started_at = Some(Timestamp::now());
                    entry.interrupter = Some(interrupter);
                }
            });
            if begun.is_none_or(|task| task.state.is_final()) {
                return Err(Error::new(Code::Resource, "cancelled"));
            }
            let result = work(lent.get()?, &course);
            // From here on an interruption would hit whoever gets these tables next.
            tasks.change(id, |entry| entry.interrupter = None);
            if course.cancelled.load(Ordering::SeqCst) {
                lent.throw_away();
            }
            result
        })
        .await
    }

    fn finish(&self, id: Uuid, result: Result<Value>) {
        self.change(id, |entry| {
            entry.interrupter = None;
            if entry.task.state.is_final() {
                return;
            }
            entry.task.completed_at = Some(Timestamp::now());
            match result {
                Ok(value) => {
                    entry.task.state = TaskState::Success;
                    entry.task.progress = Some(1.0);
                    entry.task.result = Some(value);
                }
                Err(_) if entry.cancelled.load(Ordering::SeqCst) => entry.task.state = TaskState::Revoked,
                Err(error) => {
                    entry.task.state = TaskState::Failure;
                    entry.task.error = Some(Problem::of(&error));
                }
            }
            self.tell(entry);
        });
    }

    /// Tells the audit log how a task has ended, once.
    fn tell(&self, entry: &mut Entry) {
        let Some(deed) = entry.deed.take() else { return };
        let outcome = match entry.task.state {
            TaskState::Success => Outcome::Success,
            TaskState::Revoked => Outcome::Revoked,
            _ => Outcome::Failure,
        };
        let failed = entry.task.error.as_ref().map(|problem| (problem.code.as_str(), problem.detail.as_str()));
        self.audit.record(&deed, outcome, failed);
    }

    /// Stops a task: at once if it waits, as soon as what runs has rolled back if it runs.
    pub fn cancel(self: &Arc<Self>, id: Uuid) -> Result<Task, Failure> {
        let mut is_final = false;
        let task = self.change(id, |entry| {
            is_final = entry.task.state.is_final();
            if is_final {
                return;
            }
            entry.cancelled.store(true, Ordering::SeqCst);
            if entry.task.state == TaskState::Pending {
                entry.task.state = TaskState::Revoked;
                entry.task.completed_at = Some(Timestamp::now());
                self.tell(entry);
            }
        });
        let task = task.ok_or_else(|| Failure::not_found(&format!("task {id}")))?;
        if is_final {
            let error = Error::new(Code::Conflict, "the task has ended already").with_transient(false);
            return Err(Failure::new(StatusCode::CONFLICT, error));
        }
        if !task.state.is_final() {
            let tasks = Arc::clone(self);
            tokio::spawn(async move {
                while tasks.interrupt(id) {
                    tokio::time::sleep(INTERRUPT_INTERVAL).await;
                }
            });
        }
        Ok(task)
    }

    /// Interrupts what a task runs; whether it ran.
    fn interrupt(&self, id: Uuid) -> bool {
        let entries = self.entries();
        let interrupter = entries.get(&id).and_then(|entry| entry.interrupter.as_ref());
        interrupter.map(Interrupter::interrupt).is_some()
    }

    /// Stops all tasks.
    pub fn cancel_all(self: &Arc<Self>) {
        let ids: Vec<Uuid> =
            self.entries().values().filter(|entry| !entry.task.state.is_final()).map(|entry| entry.task.id).collect();
        for id in ids {
            // One that has just ended needs no cancelling.
            let _ = self.cancel(id);
        }
    }

    /// How many tasks have not ended.
    pub fn unfinished(&self) -> usize {
        self.entries().values().filter(|entry| !entry.task.state.is_final()).count()
    }

    /// How many tasks there are of each kind and state.
    pub fn counts(&self) -> HashMap<TaskState, usize> {
        let mut counts = HashMap::new();
        for entry in self.entries().values() {
            *counts.entry(entry.task.state).or_default() += 1;
        }
        counts
    }

    pub fn get(&self, id: Uuid) -> Option<Task> {
        self.entries().get(&id).map(|entry| entry.task.clone())
    }

    /// All tasks that are remembered, the newest first.
    pub fn list(&self) -> Vec<Task> {
        self.entries().values().rev().map(|entry| entry.task.clone()).collect()
    }

    /// Hears of every change of a task from now on.
    pub fn listen(&self) -> broadcast::Receiver<Task> {
        self.changed.subscribe()
    }

    /// Changes a task and tells of it; the task as it is then, if there is one.
    fn change(&self, id: Uuid, change: impl FnOnce(&mut Entry)) -> Option<Task> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&id)?;
        let before = (entry.task.state, entry.task.step.clone());
        change(entry);
        let task = entry.task.clone();
        drop(entries);
        if before != (task.state, task.step.clone()) {
            let _ = self.changed.send(task.clone());
        }
        Some(task)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(entries: &mut BTreeMap<Uuid, Entry>) {
    let ended: Vec<Uuid> =
        entries.iter().filter(|(_, entry)| entry.task.state.is_final()).map(|(id, _)| *id).collect();
    for id in ended.iter().take(ended.len().saturating_sub(REMEMBERED)) {
        entries.remove(id);
    }
}
