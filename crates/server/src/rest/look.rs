//! Looking at dynamic tables: the list, one of them, its history, how it is refreshed, how fresh it has been.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use error::Result;
use jiff::Timestamp;
use refresh::{DynamicTables, Explanation, HistoryRequest, StatusRequest, drawing};
use serde::Deserialize;
use sql::names::ObjectName;
use utoipa::IntoParams;

use crate::body::{Asked, Name, bad};
use crate::problem::{Failure, Problem};
use crate::rest::listed::List;
use crate::rest::view::{Explained, Lag, PastRefresh, Table, TableDetails};
use crate::shared::Shared;

/// Refreshes that are listed unless more are asked for.
const USUAL_HISTORY: u32 = 100;
/// More refreshes are not listed.
const MOST_HISTORY: u32 = 10_000;
/// How far back the lag is looked at unless somebody says.
const USUAL_STRETCH: &str = "24 hours";

/// Which dynamic tables.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only those whose name contains this, in whatever case.
    contains: Option<String>,
    /// Only those in this state: `RUNNING`, `SUSPENDED` or `PENDING_INIT`.
    state: Option<String>,
}

/// All dynamic tables, ordered by name. Not older than 250 ms, and never older than what this server has changed.
#[utoipa::path(get, path = "/api/v1/dynamic-tables", tag = "dynamic tables",
    params(Wanted, ("If-None-Match" = Option<String>, Header, description = "An ETag: nothing is sent if it is still right")),
    responses(
        (status = 200, body = [Table], headers(("ETag" = String, description = "What tells this list from any other"))),
        (status = 304, description = "It is the list that the client has"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let list = shared.listed.get(&shared).await?;
    if wanted.contains.is_none() && wanted.state.is_none() {
        return whole(&list, &headers).await;
    }
    let part = wanted.contains.unwrap_or_default().to_lowercase();
    let fits = |table: &&Table| {
        wanted.state.as_deref().is_none_or(|state| table.scheduling_state.eq_ignore_ascii_case(state))
            && format!("{}.{}", table.schema, table.name).to_lowercase().contains(&part)
    };
    let tables: Vec<&Table> = list.tables.iter().filter(fits).collect();
    Ok(Json(tables).into_response())
}

/// All of a list: not again to whoever has it, and compressed for whoever takes that.
async fn whole(list: &List, headers: &HeaderMap) -> Result<Response, Failure> {
    let lists = |name| {
        let values = headers.get_all(name).into_iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim)
    };
    let described = [(header::ETAG, list.tag.clone()), (header::VARY, header::ACCEPT_ENCODING.to_string())];
    let is_same = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == list.tag;
    if lists(header::IF_NONE_MATCH).any(is_same) {
        return Ok((StatusCode::NOT_MODIFIED, described).into_response());
    }
    let takes_gzip = lists(header::ACCEPT_ENCODING).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = quality.trim().strip_prefix("q=").map(str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(quality, Some(Ok(0.0) | Err(_)))
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    if takes_gzip {
        let coding = [(header::CONTENT_ENCODING, "gzip")];
        return Ok((described, json, coding, list.zipped().await?).into_response());
    }
    Ok((described, json, list.json.clone()).into_response())
}

/// Everything about one dynamic table.
#[utoipa::path(get, path = "/api/v1/dynamic-tables/{name}", tag = "dynamic tables",
    params(("name" = String, Path, description = "`name`, `schema.name` or `lake.schema.name`")),
    responses((status = 200, body = TableDetails), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get(State(shared): State<Arc<Shared>>, Name(name): Name) -> Result<Json<TableDetails>, Failure> {
    let found = shared.look(move |tables| known(tables, &name, || tables.describe(&name))).await?;
    Ok(Json(TableDetails::from(&found?)))
}

/// What `ask` answers about a table, or that there is no such table.
pub(crate) fn known<T>(
    tables: &DynamicTables,
    name: &ObjectName,
    ask: impl FnOnce() -> Result<T>,
) -> Result<Result<T, Failure>> {
    match tables.registry().get(&tables.resolve(name)?)? {
        Some(_) => ask().map(Ok),
        None => Ok(Err(Failure::not_found(&format!("dynamic table {name}")))),
    }
}

/// Which refreshes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Past {
    /// Not more than these; 100 unless said, and never more than 10,000.
    limit: Option<u64>,
    /// Only those that began since then: a moment, or how long ago (`2 hours`).
    since: Option<String>,
    /// Only those that failed, or were not tried since what they read had failed.
    only_failures: Option<bool>,
}

impl Past {
    fn request(self, name: Option<ObjectName>) -> Result<HistoryRequest, Failure> {
        Ok(HistoryRequest {
            name,
            only_failures: self.only_failures.unwrap_or(false),
            since: self.since.as_deref().map(since).transpose()?,
            limit: self
                .limit
                .map_or(USUAL_HISTORY, |limit| u32::try_from(limit).unwrap_or(MOST_HISTORY).min(MOST_HISTORY)),
        })
    }
}

/// A moment, or a moment so long ago.
fn since(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let span: Option<jiff::SignedDuration> =
        text.parse().ok().filter(|span: &jiff::SignedDuration| !span.is_negative());
    span.and_then(|span| Timestamp::now().checked_sub(span).ok())
        .ok_or_else(|| bad(&format!("{text:?} is neither a moment nor a stretch of time such as '2 hours'")))
}

/// The past refreshes of one dynamic table, the newest first. Reaches tables that were dropped.
#[utoipa::path(get, path = "/api/v1/dynamic-tables/{name}/history", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table"), Past),
    responses((status = 200, body = [PastRefresh]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn table_history(
    State(shared): State<Arc<Shared>>,
    Name(name): Name,
    Asked(past): Asked<Past>,
) -> Result<Json<Vec<PastRefresh>>, Failure> {
    let request = past.request(Some(name))?;
    let refreshes = shared.look(move |tables| tables.history(&request)).await.map_err(|error| {
        let unknown = error.code() == error::Code::Query && error.message().ends_with("does not exist");
        if unknown { Failure::new(axum::http::StatusCode::NOT_FOUND, error) } else { error.into() }
    })?;
    Ok(Json(refreshes.iter().map(PastRefresh::from).collect()))
}

/// The past refreshes of all dynamic tables, the newest first.
#[utoipa::path(get, path = "/api/v1/history", tag = "dynamic tables", params(Past),
    responses((status = 200, body = [PastRefresh]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(shared): State<Arc<Shared>>,
    Asked(past): Asked<Past>,
) -> Result<Json<Vec<PastRefresh>>, Failure> {
    let request = past.request(None)?;
    let refreshes = shared.look(move |tables| tables.history(&request)).await?;
    Ok(Json(refreshes.iter().map(PastRefresh::from).collect()))
}

/// What makes a picture.
type Draw = fn(&Explanation) -> String;

/// In which form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drawn {
    /// `json` unless said; `dot` or `svg` for the operators as a picture.
    format: Option<String>,
}

/// How a dynamic table is refreshed, and why so.
#[utoipa::path(get, path = "/api/v1/dynamic-tables/{name}/explain", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table"), Drawn),
    responses((status = 200, description = "The explanation, or its operators as a picture",
        content((Explained = "application/json"), (String = "text/vnd.graphviz"), (String = "image/svg+xml"))), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn explain(
    State(shared): State<Arc<Shared>>,
    Name(name): Name,
    Asked(drawn): Asked<Drawn>,
) -> Result<Response, Failure> {
    let draw: Option<(Draw, &str)> = match drawn.format.as_deref() {
        None | Some("json") => None,
        Some("dot") => Some((drawing::dot, "text/vnd.graphviz")),
        Some("svg") => Some((drawing::svg, "image/svg+xml")),
        Some(other) => {
            return Err(bad(&format!("there is no format {other:?}")).with_hint("There are json, dot, svg."));
        }
    };
    let found = shared.look(move |tables| known(tables, &name, || tables.explain(&name))).await??;
    let Some((draw, media_type)) = draw else { return Ok(Json(Explained::from(&found)).into_response()) };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        // The picture brings its own style, and can do nothing.
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'")),
    ];
    Ok((headers, draw(&found)).into_response())
}

/// Over which stretch of time.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stretch {
    /// A moment, or how long ago (`7 days`); 24 hours unless said.
    since: Option<String>,
}

/// How fresh one dynamic table has been.
#[utoipa::path(get, path = "/api/v1/dynamic-tables/{name}/lag", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table"), Stretch),
    responses((status = 200, body = Lag), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn table_lag(
    State(shared): State<Arc<Shared>>,
    Name(name): Name,
    Asked(stretch): Asked<Stretch>,
) -> Result<Json<Lag>, Failure> {
    let lag_since = Some(since(stretch.since.as_deref().unwrap_or(USUAL_STRETCH))?);
    let found = shared
        .look(move |tables| {
            let request = StatusRequest { names: vec![name.clone()], lag_since };
            known(tables, &name, || tables.statuses(&request))
        })
        .await??;
    let lag = found.first().map(Lag::from).ok_or_else(|| Failure::not_found("the dynamic table"))?;
    Ok(Json(lag))
}

/// How fresh all dynamic tables have been.
#[utoipa::path(get, path = "/api/v1/lag", tag = "dynamic tables", params(Stretch),
    responses((status = 200, body = [Lag]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn lag(
    State(shared): State<Arc<Shared>>,
    Asked(stretch): Asked<Stretch>,
) -> Result<Json<Vec<Lag>>, Failure> {
    let lag_since = Some(since(stretch.since.as_deref().unwrap_or(USUAL_STRETCH))?);
    let request = StatusRequest { names: Vec::new(), lag_since };
    let statuses = shared.look(move |tables| tables.statuses(&request)).await?;
    Ok(Json(statuses.iter().map(Lag::from).collect()))
}
