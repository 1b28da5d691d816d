//! Previews over HTTP, in the shapes that programs of existing installations know: at once, or as a task that a worker carries
//! out and that is looked at until it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use error::Code;
use jiff::Timestamp;
use preview::{Asked, PreviewStatus, PreviewTasks};
use serde_json::{Value, json};

use crate::access::{Caller, Role};
use crate::body::{InPath, Text};
use crate::pool::blocking;
use crate::problem::{Failure, Problem};
use crate::shared::Shared;

/// Tries a query on the source of a pipeline. Without a worker for previews the answer is the result, else a task.
#[utoipa::path(post, path = "/api/v1/pipelines/{id}/preview", tag = "previews",
    params(("id" = i64, Path, description = "The number of the pipeline")), request_body = Object,
    responses((status = 200, description = "`{columns, column_types, data, error, ...}`, or `{task_id, state, status}`", body = Object),
        (status = 503, description = "`{detail}`: the registry does not take the task", body = Object),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn start(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(pipeline): InPath<i64>,
    body: Text,
) -> Result<Response, Failure> {
    caller.may(Role::Operate)?;
    body.expect(&["application/json"])?;
    let asked: Asked = body.json()?;
    if shared.options.preview_worker {
        return submit(&shared, caller, pipeline, asked).await;
    }
    let previews = Arc::clone(&shared.previews);
    let gone = Arc::new(AtomicBool::new(false));
    // Whoever stops waiting for the answer stops the query.
    let _guard = Gone(Arc::clone(&gone));
    let answer = blocking(move || {
        previews.authorize(pipeline, &asked)?;
        Ok(previews.run(&asked, &mut || !gone.load(Ordering::Relaxed)))
    });
    match answer.await? {
        Some(answer) => Ok(Json(answer).into_response()),
        None => Err(Failure::busy("the preview was cancelled")),
    }
}

struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn submit(shared: &Arc<Shared>, caller: Caller, pipeline: i64, asked: Asked) -> Result<Response, Failure> {
    let tasks = PreviewTasks::new(Arc::clone(&shared.previews));
    let submitted = blocking(move || Ok(tasks.submit(pipeline, &asked, caller.name))).await?;
    match submitted {
        Ok(status) => Ok(Json(status).into_response()),
        // Not tried here instead: that is what the worker is for.
        Err(error) if matches!(error.code(), Code::Connection | Code::Resource) => {
            tracing::warn!(%error, "a preview could not be put into its queue");
            let detail = format!("Worker service unavailable. {}", error.message());
            Ok((StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "detail": detail }))).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Where a preview is. One that is not there, or is somebody else's, looks like one that waits.
#[utoipa::path(get, path = "/api/v1/pipelines/{id}/preview/{task_id}", tag = "previews",
    params(("id" = i64, Path, description = "The number of the pipeline"), ("task_id" = String, Path, description = "The task")),
    responses((status = 200, description = "`{task_id, state, status, meta?, result?, error?}`", body = Object),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn look(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath((pipeline, task)): InPath<(i64, String)>,
) -> Result<Json<PreviewStatus>, Failure> {
    caller.may(Role::Operate)?;
    let tasks = PreviewTasks::new(Arc::clone(&shared.previews));
    Ok(Json(blocking(move || Ok(tasks.look(pipeline, &task, caller.name.as_deref()))).await?))
}

/// Cancels a preview: `{task_id, cancelled}`.
#[utoipa::path(delete, path = "/api/v1/pipelines/{id}/preview/{task_id}", tag = "previews",
    params(("id" = i64, Path, description = "The number of the pipeline"), ("task_id" = String, Path, description = "The task")),
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath((pipeline, task)): InPath<(i64, String)>,
) -> Result<Json<Value>, Failure> {
    caller.may(Role::Operate)?;
    let tasks = PreviewTasks::new(Arc::clone(&shared.previews));
    let (id, name) = (task.clone(), caller.name);
    let cancelled = blocking(move || tasks.cancel(pipeline, &task, name.as_deref())).await?;
    Ok(Json(json!({ "task_id": id, "cancelled": cancelled })))
}

/// How the places for previews of this process are used.
#[utoipa::path(get, path = "/api/v1/previews/stats", tag = "previews",
    responses((status = 200, description = "`{total_acquired, total_released, total_waited, slots_in_use, slots}`", body = Object),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn stats(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let figures = shared.previews.figures();
    Json(json!({
        "total_acquired": figures.acquired,
        "total_released": figures.released,
        "total_waited": figures.waited,
        "slots_in_use": figures.in_use,
        "slots": shared.previews.options().concurrency,
    }))
}

/// How the workers for previews are, in the shape that programs of existing installations know.
#[utoipa::path(get, path = "/health/worker", tag = "health",
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn worker_health(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let enabled = shared.options.preview_worker;
    let asked = shared.look(|tables| {
        let workers = tables.activity()?.workers.into_iter().filter(|worker| worker.is_live).count();
        Ok((workers, tables.registry().task_counts()?))
    });
    let now = Timestamp::now().to_string();
    Json(match asked.await {
        Ok((workers, counts)) => json!({
            "enabled": enabled,
            "healthy": workers > 0,
            "active_workers": workers,
            "active_tasks": counts.started,
            "reserved_tasks": counts.pending,
            "last_check": now,
            "age_seconds": 0,
        }),
        Err(error) => {
            tracing::warn!(%error, "the workers cannot be asked for");
            json!({
                "enabled": enabled,
                "healthy": false,
                "active_workers": 0,
                "active_tasks": 0,
                "reserved_tasks": 0,
                "last_check": now,
                "age_seconds": 0,
                "error": format!("{}: the registry does not answer", error.code()),
            })
        }
    })
}
