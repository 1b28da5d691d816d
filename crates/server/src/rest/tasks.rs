//! Tasks: looking at them, cancelling them, and hearing of their changes as they happen.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;
use uuid::Uuid;

use crate::access::{Caller, Role};
use crate::audit::Deed;
use crate::body::{InPath, bad};
use crate::problem::{Failure, Problem};
use crate::shared::{Items, Shared};
use crate::task::Task;

/// How often a listener hears that nothing has happened.
const SILENCE: Duration = Duration::from_secs(15);

/// The tasks of this server, the newest first.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "tasks",
    responses((status = 200, body = [Task]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<Task>> {
    Json(shared.tasks.list())
}

/// One task.
#[utoipa::path(get, path = "/api/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The id of the task")),
    responses((status = 200, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    InPath(id): InPath<String>,
) -> Result<Json<Task>, Failure> {
    let task = shared.tasks.get(parse(&id)?);
    task.map(Json).ok_or_else(|| Failure::not_found(&format!("task {id}")))
}

/// Cancels a task: at once if it waits, as soon as what runs has rolled back if it runs.
#[utoipa::path(delete, path = "/api/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The id of the task")),
    responses((status = 200, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Json<Task>, Failure> {
    let id = parse(&id)?;
    let deed = Deed::new(&caller, "CANCEL", Vec::new()).with_task(id);
    let cancelling = async {
        caller.may(Role::Operate)?;
        shared.tasks.cancel(id)
    };
    shared.audited(deed, cancelling).await.map(Json)
}

fn parse(id: &str) -> Result<Uuid, Failure> {
    id.parse().map_err(|_| bad(&format!("{id:?} is no id of a task")))
}

/// Tasks as they change, as server-sent events of the name `task`.
#[utoipa::path(get, path = "/api/v1/events", tag = "tasks",
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn events(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    // Who falls behind misses some changes, and sees the state of a task at the next one.
    let changes = BroadcastStream::new(shared.tasks.listen()).filter_map(Result::ok);
    let events: Items<Result<Event, Infallible>> =
        Box::pin(changes.filter_map(|task| Event::default().event("task").json_data(task).ok().map(Ok)));
    Sse::new(shared.until_stop(events)).keep_alive(KeepAlive::new().interval(SILENCE))
}
