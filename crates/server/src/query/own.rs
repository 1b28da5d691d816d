//! Statements that are no queries: ours, done by the product, and those that change the lake, for who may.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use error::{Code, Error, Result};
use refresh::Interrupter;
use serde_json::json;
use sql::query::Parser;
use sql::statement::{AlterAction, Statement};

use crate::access::{Caller, Role};
use crate::pool::blocking;
use crate::problem::Failure;
use crate::rest::view::{Explained, Table, TableDetails};
use crate::rest::{self, work};
use crate::shared::{Ended, PATIENCE, Running, Shared};

/// Runs one of our statements: what takes long is answered with its task.
pub(super) async fn ours(
    shared: &Arc<Shared>,
    caller: &Caller,
    statement: Statement,
    text: &str,
) -> Result<Response, Failure> {
    match statement {
        Statement::Create(create) => {
            caller.may(Role::Admin)?;
            work::start_create(shared, caller, vec![create.name.to_string()], vec![create], text.to_owned())
        }
        Statement::Alter { name, if_exists: false, action: AlterAction::Refresh { full } } => {
            caller.may(Role::Operate)?;
            work::start_refresh(shared, caller, vec![name], full)
        }
        Statement::Alter { name, if_exists, action } => {
            caller.may(match action {
                AlterAction::Suspend | AlterAction::Resume | AlterAction::Refresh { .. } => Role::Operate,
                _ => Role::Admin,
            })?;
            let altered = shared.look(move |tables| tables.alter(&name, if_exists, &action)).await?;
            let affected: Vec<String> = altered.affected.iter().map(ToString::to_string).collect();
            let name = altered.name.to_string();
            tracing::info!(by = caller.name, table = name, done = altered.message, "changed");
            Ok(Json(json!({ "name": name, "done": [altered.message], "affected": affected })).into_response())
        }
        Statement::Drop { name, if_exists, cascade } => {
            caller.may(Role::Admin)?;
            let dropped = shared.look(move |tables| tables.drop(&name, if_exists, cascade)).await?;
            let dropped: Vec<String> = dropped.iter().map(ToString::to_string).collect();
            tracing::info!(by = caller.name, tables = dropped.join(", "), "dropped");
            Ok(Json(json!({ "dropped": dropped })).into_response())
        }
        Statement::Show { like } => {
            if like.is_some() {
                let error = Error::new(Code::Query, "LIKE is not answered here");
                return Err(error.with_hint("GET /api/v1/dynamic-tables?contains=... looks for names.").into());
            }
            let list = shared.listed.get(shared).await?;
            Ok(Json(list.tables.iter().collect::<Vec<&Table>>()).into_response())
        }
        Statement::Describe { name } => {
            let description = shared.look(move |tables| tables.describe(&name)).await?;
            Ok(Json(TableDetails::from(&description)).into_response())
        }
        Statement::Explain { name } => {
            let explanation = shared.look(move |tables| tables.explain(&name)).await?;
            Ok(Json(Explained::from(&explanation)).into_response())
        }
        Statement::Connection(statement) => rest::connections::run(shared, caller, statement).await,
        Statement::Other(_) => Err(Error::new(Code::Internal, "a statement of DuckDB's is none of ours").into()),
    }
}

/// Runs a statement that changes the lake.
pub(super) async fn changing(
    shared: &Arc<Shared>,
    caller: &Caller,
    text: String,
    timeout: Duration,
) -> Result<Response, Failure> {
    caller.may(Role::Admin)?;
    let lent = shared.lookers.take(PATIENCE).await?;
    let running: Arc<Running<Interrupter>> = Running::new(lent.get()?.interrupter());
    let (working, shown) = (Arc::clone(&running), lake::mask(&text));
    let done = blocking(move || {
        // Its rows would be collected: queries go where they are streamed.
        if Parser::new()?.parse_with_parameters(&text).is_ok() {
            return Err(Error::new(Code::Query, "a query changes nothing").with_hint("Leave \"write\" out."));
        }
        let result = lent.get()?.query(&text);
        let session = lent.get()?.session();
        if session.execute("ROLLBACK").is_ok() && result.is_ok() {
            working.end();
            return Err(Error::new(Code::Query, "a transaction cannot be kept open from one request to the next")
                .with_hint("It was rolled back. Send statements one by one, each its own transaction."));
        }
        let ended = working.end();
        // What the statement has set in its session is nobody else's.
        lent.throw_away();
        match (ended, result) {
            (Ended::TooLate, Err(error)) => {
                let error = Error::new(Code::Resource, "the statement took too long").with_source(error);
                Err(error.with_hint("It was rolled back. Give it more time with timeout_seconds."))
            }
            (_, result) => result,
        }
    });
    let rows = {
        let done = std::pin::pin!(done);
        let mut done = done;
        loop {
            tokio::select! {
                done = &mut done => break done?,
                () = tokio::time::sleep(timeout) => running.stop(Ended::TooLate),
            }
        }
    };
    tracing::info!(by = caller.name, sql = shown, "ran");
    Ok(Json(rest::work::rows(&rows)).into_response())
}
