//! SQL over HTTP: our statements, queries of the lake, and, for who may, statements that change it.
//!
//! A query goes to a closed engine that can do nothing but read the lake, and only after its tree was looked at (`check`);
//! its rows are written as they are computed (`run`, `read`, `format`). Everything else goes where the product does such things
//! itself (`own`).

mod check;
mod format;
pub(crate) mod own;
mod read;
pub(crate) mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use error::{Code, Error, Result, Span};
use lake::{Parameter, Parameters};
use serde::{Deserialize, Serialize};
use sql::statement::{Located, Statement, parse_statements};
use utoipa::ToSchema;

use crate::access::Caller;
use crate::body::{Text, bad};
use crate::problem::{Failure, Problem};
use crate::query::run::Plan;
use crate::rest::work;
use crate::shared::Shared;

use format::Format;

/// A statement and how it is to be run.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// One statement: one of ours, or one of DuckDB's.
    pub sql: String,
    /// Values for its parameters: a list for `?` and `$1`, an object for `$name`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Given>,
    /// Not more rows than these.
    pub limit: Option<u64>,
    /// Not longer than this; 60 seconds unless said.
    pub timeout_seconds: Option<f64>,
    /// What the result shall be, if not what `Accept` says: `json`, `jsonl`, `csv`, `arrow` or `parquet`.
    pub format: Option<String>,
    /// Read everything as it was at this data version.
    pub data_version: Option<i64>,
    /// Read the newest data version that all dynamic tables in the query have had.
    #[serde(default)]
    pub consistent: bool,
    /// Let a statement that is no query change the lake; takes the role admin.
    #[serde(default)]
    pub write: bool,
}

/// Values for parameters.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Given {
    Positional(Vec<serde_json::Value>),
    Named(BTreeMap<String, serde_json::Value>),
}

impl Query {
    /// The one statement that it is.
    pub fn statement(&self) -> Result<Located<Statement>, Failure> {
        let mut statements = parse_statements(&self.sql)?;
        match (statements.pop(), statements.first()) {
            (Some(statement), None) => Ok(statement),
            (_, first) => {
                let second = Span::new(self.sql.clone(), first.map_or(0, |first| first.offset), 0);
                let error = Error::new(Code::Query, "one request runs one statement").with_span(second);
                Err(error.with_hint("Send each statement by itself.").into())
            }
        }
    }

    /// How this text of it, a query, is to be run.
    pub fn plan(&self, text: String, shared: &Shared) -> Result<Plan, Failure> {
        Ok(Plan {
            text,
            parameters: self.parameters()?,
            timeout: self.timeout(shared)?,
            pinned: self.consistent || self.data_version.is_some(),
            data_version: self.data_version,
        })
    }

    pub fn parameters(&self) -> Result<Parameters, Failure> {
        Ok(match &self.parameters {
            None => Parameters::default(),
            Some(Given::Positional(values)) => {
                Parameters::Positional(values.iter().map(parameter).collect::<Result<_, _>>()?)
            }
            Some(Given::Named(values)) => {
                let named = values.iter().map(|(name, value)| Ok((name.clone(), parameter(value)?)));
                Parameters::Named(named.collect::<Result<_, Failure>>()?)
            }
        })
    }

    pub fn timeout(&self, shared: &Shared) -> Result<Duration, Failure> {
        let limits = &shared.options.limits;
        let Some(seconds) = self.timeout_seconds else { return Ok(limits.query_time) };
        let asked = Duration::try_from_secs_f64(seconds).ok().filter(|asked| !asked.is_zero());
        asked.map(|asked| asked.min(limits.longest_query)).ok_or_else(|| bad("timeout_seconds is no time"))
    }
}

fn parameter(value: &serde_json::Value) -> Result<Parameter, Failure> {
    use serde_json::Value;
    Ok(match value {
        Value::Null => Parameter::Null,
        Value::Bool(value) => Parameter::Boolean(*value),
        Value::String(value) => Parameter::Text(value.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Parameter::Integer(whole),
            (None, Some(value)) if !number.is_u64() => Parameter::Double(value),
            // What is too long for a number is exact as text.
            _ => Parameter::Text(number.to_string()),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err(bad("a parameter is a text, a number, a truth value or null")
                .with_hint("Write lists and structures as text and cast them: $1::INTEGER[]."));
        }
    })
}

/// Runs one statement. A query's rows are streamed as they are computed, in the form that `Accept` or `format` names; a
/// failure after the first rows ends the response before its end.
#[utoipa::path(post, path = "/api/v1/sql", tag = "sql",
    request_body(content((Query = "application/json"), (String = "application/sql"))),
    responses(
        (status = 200, description = "The result", content((Object = "application/json"), (String = "application/x-ndjson"),
            (String = "text/csv"), (String = "application/vnd.apache.arrow.stream"), (String = "application/vnd.apache.parquet"))),
        (status = 202, description = "One of our statements that takes longer: its task", body = crate::task::Task),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn run(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, Failure> {
    body.expect(&["application/json", "application/sql"])?;
    let query = if body.media_type == "application/json" {
        body.json::<Query>()?
    } else {
        Query { sql: body.text, ..Query::default() }
    };
    let statement = query.statement()?;
    let Statement::Other(text) = statement.value else {
        return Ok(own::ours(&shared, &caller, statement.value, &query.sql).await?.into_response());
    };
    if query.write {
        let rows = own::changing(&shared, &caller, text, query.timeout(&shared)?).await?;
        return Ok(Json(work::rows(&rows)).into_response());
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let format = match &query.format {
        Some(name) => Format::named(name).ok_or_else(|| bad(&format!("there is no format {name:?}")))?,
        None => Format::accepted(accept).ok_or_else(|| {
            let error = Error::new(Code::Query, "none of the formats that are accepted can be given");
            let error = error.with_hint(format!("There are {}.", Format::ALL.map(Format::media_type).join(", ")));
            Failure::new(StatusCode::NOT_ACCEPTABLE, error)
        })?,
    };
    let reading = read::Reading { plan: query.plan(text, &shared)?, limit: query.limit, format };
    let (whole, offset) = (query.sql, statement.offset);
    reading.run(&shared).await.map_err(|mut failure| {
        failure.error = failure.error.within(&whole, offset);
        failure
    })
}
