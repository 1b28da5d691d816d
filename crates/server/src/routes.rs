//! Which path leads where.

use std::sync::Arc;

use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Router, middleware};
use error::{Code, Error};

use crate::gate::gate;
use crate::problem::Failure;
use crate::rest::{change, connections, look, overview, preview, tasks, work};
use crate::shared::Shared;
use crate::{health, metrics, openapi, page, query};

/// All routes, behind the gate.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let api = Router::new()
        .route("/dynamic-tables", get(look::list).post(work::create))
        .route("/dynamic-tables/{name}", get(look::get).patch(change::alter).delete(change::drop_table))
        .route("/dynamic-tables/{name}/suspend", post(change::suspend))
        .route("/dynamic-tables/{name}/resume", post(change::resume))
        .route("/dynamic-tables/{name}/refresh", post(work::refresh_one))
        .route("/dynamic-tables/{name}/verify", post(work::verify_one))
        .route("/dynamic-tables/{name}/dry-run", post(work::dry_run))
        .route("/dynamic-tables/{name}/history", get(look::table_history))
        .route("/dynamic-tables/{name}/explain", get(look::explain))
        .route("/dynamic-tables/{name}/lag", get(look::table_lag))
        .route("/refresh", post(work::refresh))
        .route("/verify", post(work::verify))
        .route("/history", get(look::history))
        .route("/lag", get(look::lag))
        .route("/graph", get(overview::graph))
        .route("/sources", get(overview::sources))
        .route("/tables", get(overview::tables))
        .route("/workers", get(overview::workers))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::get).delete(tasks::cancel))
        .route("/events", get(tasks::events))
        .route("/connections", get(connections::list).post(connections::create))
        .route(
            "/connections/{name}",
            get(connections::get).patch(connections::alter).delete(connections::drop_connection),
        )
        .route("/connections/{name}/test", post(connections::test))
        .route("/pipelines", get(connections::pipelines).post(connections::create_pipeline))
        .route("/pipelines/{id}", get(connections::pipeline).delete(connections::drop_pipeline))
        .route("/pipelines/{id}/preview", post(preview::start))
        .route("/pipelines/{id}/preview/{task_id}", get(preview::look).delete(preview::cancel))
        .route("/previews/stats", get(preview::stats))
        .route("/sql", post(query::run))
        .route("/openapi.json", get(openapi::get));
    Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(metrics::get))
        .route("/health", get(health::health))
        .route("/health/worker", get(preview::worker_health))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(page::routes())
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), gate))
        .with_state(shared)
}

async fn nothing(uri: Uri) -> Failure {
    let error = Error::new(Code::Query, format!("there is nothing at {}", uri.path()));
    Failure::new(StatusCode::NOT_FOUND, error.with_hint("/api/v1/openapi.json says what there is."))
}

async fn wrong_method(uri: Uri) -> Failure {
    let error = Error::new(Code::Query, format!("{} does not answer this method", uri.path()));
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, error.with_hint("/api/v1/openapi.json says which it answers."))
}
