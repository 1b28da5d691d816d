//! The description of the interface, generated from the code that answers.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::rest::{change, connections, look, overview, preview, tasks, work};
use crate::{health, metrics, query};

#[derive(OpenApi)]
#[openapi(
    info(title = "dynamic-tables", description = "Dynamic tables over a DuckLake, their tasks, and SQL."),
    modifiers(&Token),
    security((), ("token" = [])),
    paths(
        look::list, look::get, look::table_history, look::history, look::explain, look::table_lag, look::lag,
        work::create, work::refresh_one, work::refresh, work::verify_one, work::verify, work::dry_run,
        change::alter, change::suspend, change::resume, change::drop_table,
        overview::graph, overview::sources, overview::tables, overview::workers,
        tasks::list, tasks::get, tasks::cancel, tasks::events,
        connections::list, connections::get, connections::create, connections::alter, connections::drop_connection,
        connections::test, connections::pipelines, connections::pipeline, connections::create_pipeline, connections::drop_pipeline,
        preview::start, preview::look, preview::cancel, preview::stats, preview::worker_health,
        query::run, metrics::get, health::health, health::alive, health::ready,
    )
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi.components.get_or_insert_default().add_security_scheme("token", token);
    }
}

/// The description.
pub(crate) async fn get() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}
