//! Previews through the registry: asked for in one process, carried out in another, and told in the shape that programs of
//! existing installations know.

use std::sync::Arc;
use std::time::Duration;

use connection::ExposeSecret as _;
use error::{Code, Error, Result};
use jiff::Timestamp;
use registry::{Task, TaskState};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::{Answer, Asked};
use crate::service::Previews;

/// What a task of a preview is called.
pub(crate) const KIND: &str = "worker.preview.execute";
/// The queue of previews.
pub const QUEUE: &str = "preview";
/// More do not wait.
const MOST_WAITING: u64 = 1_000;
/// What came of a task is kept so long.
pub(crate) const KEPT: Duration = Duration::from_secs(3_600);

/// Previews that a worker carries out.
#[derive(Clone, Debug)]
pub struct PreviewTasks {
    previews: Arc<Previews>,
}

/// Where a preview is.
#[derive(Clone, Debug, Serialize)]
pub struct PreviewStatus {
    /// The task.
    pub task_id: String,
    /// `PENDING`, `STARTED`, `SUCCESS`, `FAILURE`, `REVOKED`, or `UNKNOWN` if the registry does not answer.
    pub state: &'static str,
    /// The same for people.
    pub status: &'static str,
    /// What is being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Why nothing came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl PreviewTasks {
    /// Over these previews' registry and keys.
    #[must_use]
    pub const fn new(previews: Arc<Previews>) -> Self {
        Self { previews }
    }

    /// Puts a preview of a pipeline into the queue.
    pub fn submit(&self, pipeline: i64, asked: &Asked, requested_by: Option<String>) -> Result<PreviewStatus> {
        self.previews.check(asked)?;
        self.previews.authorize(pipeline, asked)?;
        let payload = serde_json::to_value(asked)
            .map_err(|cause| Error::new(Code::Internal, "a preview cannot be written").with_source(cause))?;
        let task = Task {
            id: Uuid::now_v7(),
            queue: QUEUE.to_owned(),
            kind: KIND.to_owned(),
            subject: pipeline.to_string(),
            requested_by,
            state: TaskState::Pending,
            payload,
            result: None,
            error: None,
            is_cancelled: false,
            attempts: 0,
            created_at: Timestamp::now(),
        };
        self.previews.registry().add_task(&task, MOST_WAITING)?;
        Ok(PreviewStatus::pending(task.id.to_string()))
    }

    /// Where a preview of a pipeline is. One that is not there, or is somebody else's, looks like one that waits.
    #[must_use]
    pub fn look(&self, pipeline: i64, id: &str, caller: Option<&str>) -> PreviewStatus {
        let task = match self.own(pipeline, id, caller) {
            Ok(Some(task)) => task,
            Ok(None) => return PreviewStatus::pending(id.to_owned()),
            Err(error) => {
                let status = PreviewStatus::pending(id.to_owned());
                return PreviewStatus { state: "UNKNOWN", status: "error", error: Some(error.to_string()), ..status };
            }
        };
        let mut status = PreviewStatus::pending(task.id.to_string());
        status.state = task.state.as_str();
        match task.state {
            TaskState::Pending => {}
            TaskState::Started => {
                status.status = "running";
                status.meta = Some(json!({ "status": "executing", "table_name": task.payload["table_name"] }));
            }
            TaskState::Success => {
                status.status = "completed";
                match self.result(&task) {
                    Ok(result) => status.result = Some(result),
                    Err(error) => {
                        status.state = TaskState::Failure.as_str();
                        status.status = "failed";
                        status.error = Some(error.to_string());
                    }
                }
            }
            TaskState::Failure => {
                status.status = "failed";
                status.error = task.error;
            }
            TaskState::Revoked => status.status = "cancelled",
        }
        status
    }

    /// Stops a preview of a pipeline; whether there was anything to stop.
    pub fn cancel(&self, pipeline: i64, id: &str, caller: Option<&str>) -> Result<bool> {
        match self.own(pipeline, id, caller)? {
            Some(task) => self.previews.registry().cancel_task(task.id),
            None => Ok(false),
        }
    }

    fn own(&self, pipeline: i64, id: &str, caller: Option<&str>) -> Result<Option<Task>> {
        let Ok(id) = id.parse::<Uuid>() else { return Ok(None) };
        let task = self.previews.registry().task(id)?;
        Ok(task.filter(|task| {
            task.kind == KIND && task.subject == pipeline.to_string() && task.requested_by.as_deref() == caller
        }))
    }

    fn result(&self, task: &Task) -> Result<Box<RawValue>> {
        let kept = task.result.as_deref().unwrap_or_default();
        let unreadable = |_| Error::new(Code::Internal, "the result of a preview cannot be read");
        // Sealed wherever there is a key to seal with.
        if kept.starts_with('{') {
            return RawValue::from_string(kept.to_owned()).map_err(unreadable);
        }
        let keyring = self.previews.connections().chain().keyring();
        let opened = keyring.open(kept, &binding(task.id))?;
        RawValue::from_string(opened.expose_secret().to_owned()).map_err(unreadable)
    }
}

impl PreviewStatus {
    fn pending(task_id: String) -> Self {
        Self { task_id, state: "PENDING", status: "queued", meta: None, result: None, error: None }
    }
}

/// The result of a task as the registry keeps it.
pub(crate) fn sealed(previews: &Previews, id: Uuid, answer: &Answer) -> Result<String> {
    let text = serde_json::to_string(answer)
        .map_err(|cause| Error::new(Code::Internal, "an answer cannot be written").with_source(cause))?;
    let keyring = previews.connections().chain().keyring();
    if keyring.is_empty() { Ok(text) } else { keyring.seal(&text, &binding(id)) }
}

fn binding(id: Uuid) -> String {
    format!("task/{id}/result")
}
