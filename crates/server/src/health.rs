//! Whether the server lives, whether it can answer, and how the workers are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use error::{Code, Error};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::problem::{Failure, Problem};
use crate::shared::Shared;

/// An answer about the workers is given again for so long; a failure is not.
const KEPT: Duration = Duration::from_secs(3);
/// Who cannot ask the lake within this time is not ready.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// How the workers are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, `degraded` without a live worker, or `unhealthy` when registry or lake cannot be asked.
    pub status: String,
    /// Whether it is `healthy`.
    pub healthy: bool,
    /// Workers that live.
    pub active_workers: usize,
    /// Refreshes, tasks and previews that run.
    pub active_tasks: usize,
    /// Tasks and previews that wait, and dynamic tables that are claimed and not yet begun.
    pub reserved_tasks: usize,
    /// When that was so.
    pub timestamp: String,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The last answer.
pub(crate) type Last = Mutex<Option<(Instant, Health)>>;

/// Whether this process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = String)))]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Whether requests can be answered: the lake and the registry are there, and the server is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = String), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Result<&'static str, Failure> {
    if shared.is_stopping() {
        return Err(Failure::busy("the server is stopping"));
    }
    let asked = shared.look(|tables| {
        tables.registry().news()?;
        tables.session().current_snapshot()
    });
    match tokio::time::timeout(READY_WITHIN, asked).await {
        Ok(Ok(_)) => Ok("ready\n"),
        Ok(Err(error)) => {
            // Whoever asks this need not show a token: what it is in detail is in the log.
            tracing::warn!(%error, "not ready");
            let told = Error::new(error.code(), "the lake or the registry does not answer");
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, told))
        }
        Err(_) => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Error::new(Code::Resource, "too busy to answer in time"),
        )),
    }
}

/// How the workers are. An answer is given again for three seconds.
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(crate) async fn health(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Health>) {
    let mut last = shared.health.lock().await;
    if let Some((at, health)) = &*last
        && at.elapsed() < KEPT
    {
        return (StatusCode::OK, Json(health.clone()));
    }
    let asked = shared.look(|tables| Ok((tables.activity()?, tables.registry().task_counts()?))).await;
    let unfinished = shared.tasks.unfinished();
    let running = shared.running();
    let mut health = Health {
        status: "healthy".to_owned(),
        healthy: true,
        active_workers: 0,
        active_tasks: running,
        reserved_tasks: unfinished.saturating_sub(running),
        timestamp: Timestamp::now().to_string(),
        note: None,
        error: None,
    };
    match asked {
        Ok((activity, previews)) => {
            health.active_workers = activity.workers.iter().filter(|worker| worker.is_live).count();
            health.active_tasks = activity.running.len().max(running);
            let claimed = activity.claims.iter().filter(|claim| claim.is_live).count();
            health.reserved_tasks += claimed.saturating_sub(activity.running.len());
            health.active_tasks += usize::try_from(previews.started).unwrap_or(usize::MAX);
            health.reserved_tasks += usize::try_from(previews.pending).unwrap_or(usize::MAX);
            if health.active_workers == 0 {
                health.status = "degraded".to_owned();
                health.healthy = false;
                health.note = Some("no worker lives: nothing is refreshed by itself".to_owned());
            }
            *last = Some((Instant::now(), health.clone()));
            (StatusCode::OK, Json(health))
        }
        Err(error) => {
            tracing::warn!(%error, "unhealthy");
            health.status = "unhealthy".to_owned();
            health.healthy = false;
            health.error = Some(format!("{}: the lake or the registry does not answer", error.code()));
            (StatusCode::SERVICE_UNAVAILABLE, Json(health))
        }
    }
}
