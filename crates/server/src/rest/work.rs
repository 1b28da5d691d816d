//! Long work that is answered at once with a task: create, refresh, verify, dry run.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use error::{Code, Error, Result, Span};
use refresh::{CreateAction, DryRun, DynamicTables, RefreshReport, RefreshRequest, Verification};
use registry::RefreshTrigger;
use serde::Deserialize;
use serde_json::{Value, json};
use sql::names::ObjectName;
use sql::statement::{CreateDynamicTable, Statement, parse_statements};
use utoipa::ToSchema;

use crate::access::{Caller, Role};
use crate::audit::Deed;
use crate::body::{JsonBody, Name, Text};
use crate::problem::{Failure, Problem};
use crate::rest::look::known;
use crate::rest::view::{moment, seconds};
use crate::shared::Shared;
use crate::task::{Course, Request, Task, TaskKind};

/// Statements, for who sends JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    /// `CREATE DYNAMIC TABLE` statements.
    sql: String,
}

/// Creates dynamic tables from statements. Their text is checked before the answer, the rest is a task.
#[utoipa::path(post, path = "/api/v1/dynamic-tables", tag = "dynamic tables",
    request_body(content((String = "application/sql"), (Sql = "application/json"))),
    responses((status = 202, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Text,
) -> Result<Response, Failure> {
    body.expect(&["application/sql", "application/json"])?;
    let text = if body.media_type == "application/json" { body.json::<Sql>()?.sql } else { body.text };
    let statements = creating(&text)?;
    let tables = statements.iter().map(|statement| statement.name.to_string()).collect();
    Ok(accepted(&start_create(&shared, &caller, tables, statements, text)?))
}

/// Begins to create tables.
pub(crate) fn start_create(
    shared: &Arc<Shared>,
    caller: &Caller,
    tables: Vec<String>,
    statements: Vec<CreateDynamicTable>,
    text: String,
) -> Result<Task, Failure> {
    let deed = Deed::new(caller, "CREATE", tables.clone()).with_statement(&text);
    start(shared, caller, (Role::Admin, TaskKind::Create), tables, Some(deed), move |tables, course| {
        let mut created = Vec::new();
        for (number, statement) in statements.iter().enumerate() {
            course.step(number, statements.len(), format!("creating {}", statement.name))?;
            let result = tables.create(statement, &text)?;
            created.push(json!({
                "name": result.name.to_string(),
                "action": action_name(result.action),
                "refresh_mode": if result.incremental { "INCREMENTAL" } else { "FULL" },
                "reason": result.reason,
                "refresh": result.refresh.as_ref().map(refreshed),
                "notices": result.notices,
            }));
        }
        Ok(Value::from(created))
    })
}

/// The statements of a text, all of which must create dynamic tables.
fn creating(text: &str) -> Result<Vec<CreateDynamicTable>, Failure> {
    let mut statements = Vec::new();
    for located in parse_statements(text)? {
        let Statement::Create(create) = located.value else {
            let length = located.text.find(char::is_whitespace).unwrap_or(located.text.len());
            let error = Error::new(Code::Query, "only CREATE DYNAMIC TABLE can stand here")
                .with_span(Span::new(text, located.offset, length))
                .with_hint("Send other statements to /api/v1/sql.");
            return Err(error.into());
        };
        statements.push(create);
    }
    Ok(statements)
}

/// How to refresh one table.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// Compute it in full whatever would be cheaper.
    #[serde(default)]
    full: bool,
}

/// Which tables, and how.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The dynamic tables; empty means all.
    #[serde(default)]
    names: Vec<String>,
    /// Compute them in full whatever would be cheaper.
    #[serde(default)]
    full: bool,
}

/// Brings a dynamic table up to date now, and before it those that it reads.
#[utoipa::path(post, path = "/api/v1/dynamic-tables/{name}/refresh", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table")), request_body = Option<How>,
    responses((status = 202, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn refresh_one(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Name(name): Name,
    JsonBody(how): JsonBody<How>,
) -> Result<Response, Failure> {
    exists(&shared, &name).await?;
    Ok(accepted(&start_refresh(&shared, &caller, vec![name], how.full)?))
}

/// Brings dynamic tables up to date now.
#[utoipa::path(post, path = "/api/v1/refresh", tag = "dynamic tables", request_body = Option<Which>,
    responses((status = 202, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn refresh(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(which): JsonBody<Which>,
) -> Result<Response, Failure> {
    let names = all_exist(&shared, &which.names).await?;
    Ok(accepted(&start_refresh(&shared, &caller, names, which.full)?))
}

/// Begins to refresh tables; no name means all.
pub(crate) fn start_refresh(
    shared: &Arc<Shared>,
    caller: &Caller,
    names: Vec<ObjectName>,
    full: bool,
) -> Result<Task, Failure> {
    let deed = Deed::new(caller, "REFRESH", shown(&names));
    start(shared, caller, (Role::Operate, TaskKind::Refresh), shown(&names), Some(deed), move |tables, _| {
        let request = RefreshRequest { names, full, trigger: RefreshTrigger::Manual, worker: None };
        let mut reports = tables.refresh(&request)?;
        let failed = reports.iter().position(|report| report.error.is_some());
        match failed.and_then(|position| reports.swap_remove(position).error) {
            Some(error) => Err(error),
            None => Ok(reports.iter().map(refreshed).collect()),
        }
    })
}

/// Compares a dynamic table with what its query gives at its data version.
#[utoipa::path(post, path = "/api/v1/dynamic-tables/{name}/verify", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table")),
    responses((status = 202, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn verify_one(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Name(name): Name,
) -> Result<Response, Failure> {
    exists(&shared, &name).await?;
    Ok(accepted(&start_verify(&shared, &caller, vec![name])?))
}

/// Compares dynamic tables with what their queries give at their data versions.
#[utoipa::path(post, path = "/api/v1/verify", tag = "dynamic tables", request_body = Option<Which>,
    responses((status = 202, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn verify(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(which): JsonBody<Which>,
) -> Result<Response, Failure> {
    let mut names = all_exist(&shared, &which.names).await?;
    if names.is_empty() {
        let all = shared.look(|tables| tables.registry().load_all()).await?;
        let quoted = all.iter().map(|table| table.definition.name.quoted(&shared.lake.0));
        names = quoted.map(|name| ObjectName::parse(&name)).collect::<Result<_>>()?;
    }
    Ok(accepted(&start_verify(&shared, &caller, names)?))
}

fn start_verify(shared: &Arc<Shared>, caller: &Caller, names: Vec<ObjectName>) -> Result<Task, Failure> {
    start(shared, caller, (Role::Operate, TaskKind::Verify), shown(&names), None, move |tables, course| {
        let mut compared = Vec::new();
        for (number, name) in names.iter().enumerate() {
            course.step(number, names.len(), format!("comparing {name}"))?;
            compared.extend(tables.verify(std::slice::from_ref(name))?.iter().map(verified));
        }
        Ok(Value::from(compared))
    })
}

/// Says what a refresh of a dynamic table would do, to it and to what reads it. Nothing is written.
#[utoipa::path(post, path = "/api/v1/dynamic-tables/{name}/dry-run", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table")), request_body = Option<How>,
    responses((status = 202, body = Task), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn dry_run(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Name(name): Name,
    JsonBody(how): JsonBody<How>,
) -> Result<Response, Failure> {
    exists(&shared, &name).await?;
    let shown = vec![name.to_string()];
    let task = start(&shared, &caller, (Role::Operate, TaskKind::DryRun), shown, None, move |tables, _| {
        let (names, trigger) = (vec![name], RefreshTrigger::Manual);
        let runs = tables.dry_run(&RefreshRequest { names, full: how.full, trigger, worker: None })?;
        Ok(runs.iter().map(would_do).collect())
    })?;
    Ok(accepted(&task))
}

/// Begins a task, if the caller has the role for it.
fn start(
    shared: &Shared,
    caller: &Caller,
    (role, kind): (Role, TaskKind),
    tables: Vec<String>,
    deed: Option<Deed>,
    work: impl FnOnce(&DynamicTables, &Course) -> Result<Value> + Send + 'static,
) -> Result<Task, Failure> {
    let refused = deed.clone();
    let request = Request { kind, tables, requested_by: caller.name.clone(), deed };
    let started = caller.may(role).map_err(Failure::from).and_then(|()| shared.tasks.start(request, work));
    if let (Err(failure), Some(deed)) = (&started, refused) {
        shared.audit.ended(&deed, Some(&failure.error));
    }
    started
}

fn shown(names: &[ObjectName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn exists(shared: &Shared, name: &ObjectName) -> Result<(), Failure> {
    let name = name.clone();
    shared.look(move |tables| known(tables, &name, || Ok(()))).await?
}

async fn all_exist(shared: &Shared, names: &[String]) -> Result<Vec<ObjectName>, Failure> {
    let names = names.iter().map(|name| ObjectName::parse(name)).collect::<Result<Vec<_>>>()?;
    for name in &names {
        exists(shared, name).await?;
    }
    Ok(names)
}

/// The answer that something will be done.
pub(crate) fn accepted(task: &Task) -> Response {
    let location = [(header::LOCATION, format!("/api/v1/tasks/{}", task.id))];
    (StatusCode::ACCEPTED, location, Json(task)).into_response()
}

const fn action_name(action: CreateAction) -> &'static str {
    match action {
        CreateAction::Created => "created",
        CreateAction::Replaced => "replaced",
        CreateAction::Altered => "altered",
        CreateAction::Unchanged => "unchanged",
        CreateAction::AlreadyExists => "already exists",
    }
}

fn refreshed(report: &RefreshReport) -> Value {
    json!({
        "name": report.name.to_string(),
        "state": report.state.as_str(),
        "action": report.action.map(|action| action.as_str()),
        "reason": report.reason,
        "rows_read": report.rows_read,
        "rows_inserted": report.rows_inserted,
        "rows_deleted": report.rows_deleted,
        "duration_seconds": seconds(report.duration),
        "data_version": report.data_version,
        "data_timestamp": moment(report.data_timestamp),
        "lag_seconds": report.lag.map(seconds),
    })
}

fn verified(verification: &Verification) -> Value {
    json!({
        "name": verification.name.to_string(),
        "equal": verification.equal(),
        "data_version": verification.data_version,
        "rows": verification.rows,
        "missing": verification.missing,
        "surplus": verification.surplus,
        "float_noise": verification.float_noise,
        "wrong_state_rows": verification.wrong_state_rows,
        "skipped": verification.skipped,
        "sample": rows(&verification.sample),
    })
}

fn would_do(run: &DryRun) -> Value {
    json!({
        "name": run.name.to_string(),
        "action": run.action.map(|action| action.as_str()),
        "reason": run.reason,
        "rows_inserted": run.rows_inserted,
        "rows_deleted": run.rows_deleted,
        "sample": rows(&run.sample),
        "error": run.error.as_ref().map(Problem::of),
    })
}

/// Some rows as text.
pub(crate) fn rows(rows: &lake::Rows) -> Value {
    let columns = rows.columns.iter();
    json!({
        "columns": columns.map(|(name, kind)| json!({ "name": name, "type": kind })).collect::<Vec<_>>(),
        "rows": rows.rows,
    })
}
