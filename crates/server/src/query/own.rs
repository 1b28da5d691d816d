//! Statements that are no queries: ours, done by the product, and those that change the lake, for who may.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use error::{Code, Error, Result};
use refresh::Interrupter;
use serde_json::{Value, json};
use sql::query::Parser;
use sql::statement::{AlterAction, Statement};

use crate::access::{Caller, Role};
use crate::audit::Deed;
use crate::pool::blocking;
use crate::problem::Failure;
use crate::rest::listed::List;
use crate::rest::view::{Explained, Table, TableDetails};
use crate::rest::{connections, work};
use crate::shared::{Ended, PATIENCE, Running, Shared};
use crate::task::Task;

/// What came of one of our statements.
pub(crate) enum Done {
    /// It takes longer.
    Task(Box<Task>),
    /// All dynamic tables.
    List(Arc<List>),
    /// What was found or done.
    Value(Value),
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        match self {
            Self::Task(task) => work::accepted(&task),
            Self::List(list) => Json(list.tables.iter().collect::<Vec<&Table>>()).into_response(),
            Self::Value(value) => Json(value).into_response(),
        }
    }
}

/// Runs one of our statements: what takes long is answered with its task. The audit log tells of those that change something.
pub(crate) async fn ours(
    shared: &Arc<Shared>,
    caller: &Caller,
    statement: Statement,
    text: &str,
) -> Result<Done, Failure> {
    let deed = match &statement {
        Statement::Alter { action: AlterAction::Refresh { .. }, if_exists: false, .. } => None,
        Statement::Alter { name, .. } => Some(Deed::new(caller, "ALTER", vec![name.to_string()])),
        Statement::Drop { name, .. } => Some(Deed::new(caller, "DROP", vec![name.to_string()])),
        // Tasks tell of themselves.
        _ => None,
    };
    let doing = run(shared, caller, statement, text);
    match deed {
        Some(deed) => shared.audited(deed.with_statement(text), doing).await,
        None => doing.await,
    }
}

async fn run(shared: &Arc<Shared>, caller: &Caller, statement: Statement, text: &str) -> Result<Done, Failure> {
    match statement {
        Statement::Create(create) => {
            let tables = vec![create.name.to_string()];
            let task = work::start_create(shared, caller, tables, vec![create], text.to_owned())?;
            Ok(Done::Task(Box::new(task)))
        }
        Statement::Alter { name, if_exists: false, action: AlterAction::Refresh { full } } => {
            Ok(Done::Task(Box::new(work::start_refresh(shared, caller, vec![name], full)?)))
        }
        Statement::Alter { name, if_exists, action } => {
            caller.may(match action {
                AlterAction::Suspend | AlterAction::Resume | AlterAction::Refresh { .. } => Role::Operate,
                _ => Role::Admin,
            })?;
            let altered = shared.look(move |tables| tables.alter(&name, if_exists, &action)).await?;
            let affected: Vec<String> = altered.affected.iter().map(ToString::to_string).collect();
            let name = altered.name.to_string();
            Ok(Done::Value(json!({ "name": name, "done": [altered.message], "affected": affected })))
        }
        Statement::Drop { name, if_exists, cascade } => {
            caller.may(Role::Admin)?;
            let dropped = shared.look(move |tables| tables.drop(&name, if_exists, cascade)).await?;
            let dropped: Vec<String> = dropped.iter().map(ToString::to_string).collect();
            Ok(Done::Value(json!({ "dropped": dropped })))
        }
        Statement::Show { like } => {
            if like.is_some() {
                let error = Error::new(Code::Query, "LIKE is not answered here");
                return Err(error.with_hint("GET /api/v1/dynamic-tables?contains=... looks for names.").into());
            }
            Ok(Done::List(shared.listed.get(shared).await?))
        }
        Statement::Describe { name } => {
            let description = shared.look(move |tables| tables.describe(&name)).await?;
            Ok(Done::Value(shown(&TableDetails::from(&description))?))
        }
        Statement::Explain { name } => {
            let explanation = shared.look(move |tables| tables.explain(&name)).await?;
            Ok(Done::Value(shown(&Explained::from(&explanation))?))
        }
        Statement::Connection(statement) => Ok(Done::Value(connections::run(shared, caller, statement).await?)),
        Statement::Transfer(_) => {
            let error =
                Error::new(Code::Query, "statements about sources and exports are not carried out by the server");
            Err(error.with_hint("Give them to `dynamic-tables sql`; the worker keeps to their schedules.").into())
        }
        Statement::Other(_) => Err(Error::new(Code::Internal, "a statement of DuckDB's is none of ours").into()),
    }
}

fn shown(view: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(view)
        .map_err(|cause| Error::new(Code::Internal, "what was found cannot be shown").with_source(cause))
}

/// Runs a statement that changes the lake; what the engine answers.
pub(crate) async fn changing(
    shared: &Arc<Shared>,
    caller: &Caller,
    text: String,
    timeout: Duration,
) -> Result<lake::Rows, Failure> {
    let deed = Deed::new(caller, "SQL", Vec::new()).with_statement(&text);
    shared.audited(deed, change(shared, caller, text, timeout)).await
}

async fn change(
    shared: &Arc<Shared>,
    caller: &Caller,
    text: String,
    timeout: Duration,
) -> Result<lake::Rows, Failure> {
    caller.may(Role::Admin)?;
    let lent = shared.lookers.take(PATIENCE).await?;
    let running: Arc<Running<Interrupter>> = Running::new(lent.get()?.interrupter());
    let working = Arc::clone(&running);
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
    Ok(rows)
}
