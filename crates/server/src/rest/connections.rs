//! Connections and pipelines over HTTP: made, changed, shown without their secrets, tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use connection::{Connections, Described, Done, NewConnection, Setting, is_name};
use error::{Code, Result};
use jiff::Timestamp;
use registry::Pipeline;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sql::statement::ConnectionStatement;
use utoipa::ToSchema;

use crate::access::{Caller, Role};
use crate::audit::Deed;
use crate::body::{InPath, JsonBody, bad};
use crate::pool::blocking;
use crate::problem::{Failure, Problem};
use crate::shared::Shared;

/// A connection. Its secrets are named, with the place that each comes from, and never shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConnectionView {
    /// Its number, by which pipelines and previews name it.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What kind of system it leads to.
    pub kind: String,
    /// How to get there.
    pub settings: BTreeMap<String, String>,
    /// Its secrets: `environment`, `file` or `registry`.
    #[schema(value_type = BTreeMap<String, String>)]
    pub secrets: BTreeMap<String, &'static str>,
    /// One more with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

impl From<Described> for ConnectionView {
    fn from(described: Described) -> Self {
        Self {
            id: described.number,
            name: described.name,
            kind: described.kind,
            settings: described.settings,
            secrets: described.secrets,
            revision: described.revision,
            created_at: described.created_at.to_string(),
            updated_at: described.updated_at.to_string(),
        }
    }
}

/// A connection to be made.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    /// Its name.
    name: String,
    /// `postgres`, `files`, `ducklake` or `iceberg-rest`.
    kind: String,
    /// Settings and secrets.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// Whether one of the name is replaced.
    #[serde(default)]
    or_replace: bool,
}

/// What to change of a connection. A new name is given last.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alter {
    /// Settings and secrets to set.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Settings and secrets to take away.
    #[serde(default)]
    unset: Vec<String>,
    /// The new name.
    rename_to: Option<String>,
}

/// A pipeline: which connection is read, and which ones it goes to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PipelineView {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The number of the connection that it reads.
    pub source_id: i64,
    /// The numbers of the connections that it goes to.
    pub destination_ids: Vec<i64>,
    /// When it was made.
    pub created_at: String,
}

impl From<Pipeline> for PipelineView {
    fn from(pipeline: Pipeline) -> Self {
        Self {
            id: pipeline.number,
            name: pipeline.name,
            source_id: pipeline.source,
            destination_ids: pipeline.destinations,
            created_at: pipeline.created_at.to_string(),
        }
    }
}

/// A pipeline to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePipeline {
    /// Its name.
    name: String,
    /// The number of the connection that it reads.
    source_id: i64,
    /// The numbers of the connections that it goes to.
    destination_ids: Vec<i64>,
}

/// What the audit log is told: what was done to which connection or pipeline, but no text of anybody's, which may hold secrets.
fn deed(caller: &Caller, action: &'static str, what: &str, name: &str) -> Deed {
    Deed::new(caller, action, Vec::new()).with_statement(&format!("{action} {what} {name}"))
}

/// Asks the connections something, where it may block.
async fn ask<T: Send + 'static>(
    shared: &Arc<Shared>,
    question: impl FnOnce(&Connections) -> Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let connections = shared.previews.connections().clone();
    blocking(move || question(&connections)).await.map_err(Failure::from)
}

fn settings(said: BTreeMap<String, String>) -> Vec<Setting> {
    said.into_iter().map(|(name, value)| Setting { name, value }).collect()
}

/// All connections by name.
#[utoipa::path(get, path = "/api/v1/connections", tag = "connections",
    responses((status = 200, body = [ConnectionView]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Vec<ConnectionView>>, Failure> {
    caller.may(Role::Operate)?;
    let all = ask(&shared, Connections::list).await?;
    Ok(Json(all.into_iter().map(ConnectionView::from).collect()))
}

/// One connection.
#[utoipa::path(get, path = "/api/v1/connections/{name}", tag = "connections",
    params(("name" = String, Path, description = "The connection")),
    responses((status = 200, body = ConnectionView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Json<ConnectionView>, Failure> {
    caller.may(Role::Operate)?;
    let found = ask(&shared, move |connections| connections.get(&name)).await.map_err(missing)?;
    Ok(Json(found.into()))
}

/// Makes a connection. Nothing is reached for it; `/test` does that.
#[utoipa::path(post, path = "/api/v1/connections", tag = "connections", request_body = Create,
    responses((status = 201, body = ConnectionView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(create): JsonBody<Create>,
) -> Result<Response, Failure> {
    caller.may(Role::Admin)?;
    let kind = connection::Kind::read(&create.kind)?;
    let new = NewConnection {
        name: create.name,
        kind,
        settings: settings(create.settings),
        or_replace: create.or_replace,
        if_not_exists: false,
    };
    let deed = deed(&caller, "CREATE", "CONNECTION", &new.name);
    let (made, _) = shared.audited(deed, ask(&shared, move |connections| connections.create(&new))).await?;
    Ok((StatusCode::CREATED, Json(ConnectionView::from(made))).into_response())
}

/// Changes a connection.
#[utoipa::path(patch, path = "/api/v1/connections/{name}", tag = "connections",
    params(("name" = String, Path, description = "The connection")), request_body = Alter,
    responses((status = 200, body = ConnectionView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn alter(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(name): InPath<String>,
    JsonBody(change): JsonBody<Alter>,
) -> Result<Json<ConnectionView>, Failure> {
    caller.may(Role::Admin)?;
    if change.set.is_empty() && change.unset.is_empty() && change.rename_to.is_none() {
        return Err(bad("there is nothing to change").with_hint("Say set, unset or rename_to."));
    }
    let deed = deed(&caller, "ALTER", "CONNECTION", &name);
    let changed = ask(&shared, move |connections| {
        let mut changed = connections.get(&name)?;
        if !change.set.is_empty() || !change.unset.is_empty() {
            changed = connections.alter(&name, &settings(change.set), &change.unset)?;
        }
        match change.rename_to {
            Some(to) => connections.rename(&name, &to),
            None => Ok(changed),
        }
    });
    let changed = shared.audited(deed, changed).await.map_err(missing)?;
    Ok(Json(changed.into()))
}

/// Forgets a connection. Refused while a pipeline uses it.
#[utoipa::path(delete, path = "/api/v1/connections/{name}", tag = "connections",
    params(("name" = String, Path, description = "The connection")),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn drop_connection(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Failure> {
    caller.may(Role::Admin)?;
    let deed = deed(&caller, "DROP", "CONNECTION", &name);
    let dropping = ask(&shared, move |connections| connections.drop(&name, false));
    shared.audited(deed, dropping).await.map_err(missing)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a connection can be reached with its secrets: `{"ok": true}`, or why not.
#[utoipa::path(post, path = "/api/v1/connections/{name}/test", tag = "connections",
    params(("name" = String, Path, description = "The connection")),
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn test(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Json<serde_json::Value>, Failure> {
    caller.may(Role::Operate)?;
    test_one(&shared, name).await
}

async fn test_one(shared: &Arc<Shared>, name: String) -> Result<Json<serde_json::Value>, Failure> {
    ask(shared, {
        let name = name.clone();
        move |connections| connections.get(&name)
    })
    .await
    .map_err(missing)?;
    let previews = Arc::clone(&shared.previews);
    let tested = blocking(move || Ok(previews.test(&name))).await?;
    Ok(Json(match tested {
        Ok(()) => json!({ "ok": true }),
        Err(error) => json!({ "ok": false, "error": Problem::of(&error) }),
    }))
}

/// Runs a statement about connections.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    caller: &Caller,
    statement: ConnectionStatement,
) -> Result<serde_json::Value, Failure> {
    caller.may(if connection::is_change(&statement) { Role::Admin } else { Role::Operate })?;
    let deed = match &statement {
        ConnectionStatement::Create { name, .. } => Some(deed(caller, "CREATE", "CONNECTION", name)),
        ConnectionStatement::Alter { name, .. } => Some(deed(caller, "ALTER", "CONNECTION", name)),
        ConnectionStatement::Drop { name, .. } => Some(deed(caller, "DROP", "CONNECTION", name)),
        _ => None,
    };
    let doing = ask(shared, move |connections| connections.run(statement));
    let done = match deed {
        Some(deed) => shared.audited(deed, doing).await?,
        None => doing.await?,
    };
    Ok(match done {
        Done::Changed(described, done) => json!({ "done": done, "connection": ConnectionView::from(*described) }),
        Done::Dropped(name, was_there) => json!({ "dropped": if was_there { vec![name] } else { Vec::new() } }),
        Done::Missing(name) => json!({ "done": "nothing", "missing": name }),
        Done::Listed(all) => all.into_iter().map(|described| json!(ConnectionView::from(described))).collect(),
        Done::Test(name) => test_one(shared, name).await?.0,
    })
}

/// What is not there is told as that.
fn missing(failure: Failure) -> Failure {
    let is_missing =
        failure.error.code() == Code::Query && failure.error.message().starts_with("there is no connection");
    if is_missing { Failure { status: StatusCode::NOT_FOUND, ..failure } } else { failure }
}

/// All pipelines by name.
#[utoipa::path(get, path = "/api/v1/pipelines", tag = "connections",
    responses((status = 200, body = [PipelineView]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn pipelines(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Vec<PipelineView>>, Failure> {
    caller.may(Role::Operate)?;
    let all = ask(&shared, |connections| connections.registry().pipelines()).await?;
    Ok(Json(all.into_iter().map(PipelineView::from).collect()))
}

/// One pipeline.
#[utoipa::path(get, path = "/api/v1/pipelines/{id}", tag = "connections",
    params(("id" = i64, Path, description = "The number of the pipeline")),
    responses((status = 200, body = PipelineView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn pipeline(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(id): InPath<i64>,
) -> Result<Json<PipelineView>, Failure> {
    caller.may(Role::Operate)?;
    let found = ask(&shared, move |connections| connections.registry().pipeline(id)).await?;
    found.map(|pipeline| Json(pipeline.into())).ok_or_else(|| Failure::not_found(&format!("pipeline {id}")))
}

/// Makes a pipeline.
#[utoipa::path(post, path = "/api/v1/pipelines", tag = "connections", request_body = CreatePipeline,
    responses((status = 201, body = PipelineView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create_pipeline(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(create): JsonBody<CreatePipeline>,
) -> Result<Response, Failure> {
    caller.may(Role::Admin)?;
    if !is_name(&create.name) {
        return Err(bad(&format!("{:?} cannot be the name of a pipeline", create.name))
            .with_hint("A name has letters, digits, - and _, at most 63."));
    }
    if create.destination_ids.is_empty() {
        return Err(bad("a pipeline goes somewhere").with_hint("Give at least one of destination_ids."));
    }
    let deed = deed(&caller, "CREATE", "PIPELINE", &create.name);
    let made = ask(&shared, move |connections| {
        let mut pipeline = Pipeline {
            number: 0,
            name: create.name,
            source: create.source_id,
            destinations: create.destination_ids,
            created_at: Timestamp::now(),
        };
        pipeline.destinations.sort_unstable();
        pipeline.destinations.dedup();
        pipeline.number = connections.registry().create_pipeline(&pipeline)?;
        Ok(pipeline)
    });
    let made = shared.audited(deed, made).await?;
    Ok((StatusCode::CREATED, Json(PipelineView::from(made))).into_response())
}

/// Forgets a pipeline.
#[utoipa::path(delete, path = "/api/v1/pipelines/{id}", tag = "connections",
    params(("id" = i64, Path, description = "The number of the pipeline")),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn drop_pipeline(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    InPath(id): InPath<i64>,
) -> Result<StatusCode, Failure> {
    caller.may(Role::Admin)?;
    let deed = deed(&caller, "DROP", "PIPELINE", &id.to_string());
    let dropping = ask(&shared, move |connections| connections.registry().drop_pipeline(id));
    match shared.audited(deed, dropping).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Failure::not_found(&format!("pipeline {id}"))),
    }
}
