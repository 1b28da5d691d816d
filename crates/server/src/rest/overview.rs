//! What is around the dynamic tables: the graph, the sources, the workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use registry::SourceKind;
use serde::{Deserialize, Serialize};
use sql::names::ObjectName;
use utoipa::{IntoParams, ToSchema};

use crate::body::Asked;
use crate::problem::{Failure, Problem};
use crate::rest::view::{TableGraph, Worker};
use crate::shared::Shared;

/// Which part of the graph.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Around {
    /// Only this table, what it reads and what reads it, directly or not.
    name: Option<String>,
}

/// Who reads what, with the state of each dynamic table.
#[utoipa::path(get, path = "/api/v1/graph", tag = "overview", params(Around),
    responses((status = 200, body = TableGraph), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn graph(
    State(shared): State<Arc<Shared>>,
    Asked(around): Asked<Around>,
) -> Result<Json<TableGraph>, Failure> {
    let name = around.name.as_deref().map(ObjectName::parse).transpose()?;
    let graph = shared.look(move |tables| tables.graph(name.as_ref())).await?;
    Ok(Json(TableGraph::from(&graph)))
}

/// A table or view that dynamic tables read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReadTable {
    /// Its name.
    pub name: String,
    /// `TABLE` or `VIEW`.
    pub kind: String,
    /// The dynamic tables that read it.
    pub readers: Vec<String>,
}

/// The tables and views that dynamic tables read.
#[utoipa::path(get, path = "/api/v1/sources", tag = "overview",
    responses((status = 200, body = [ReadTable]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn sources(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<ReadTable>>, Failure> {
    let all = shared.look(|tables| tables.registry().load_all()).await?;
    let mut sources: BTreeMap<String, ReadTable> = BTreeMap::new();
    for table in &all {
        for source in table.sources.iter().filter(|source| source.kind != SourceKind::DynamicTable) {
            let name = source.name.to_string();
            let read = sources.entry(name.clone()).or_insert_with(|| ReadTable {
                name,
                kind: source.kind.as_str().to_owned(),
                readers: Vec::new(),
            });
            read.readers.push(table.definition.name.to_string());
        }
    }
    Ok(Json(sources.into_values().collect()))
}

/// The workers that have reported.
#[utoipa::path(get, path = "/api/v1/workers", tag = "overview",
    responses((status = 200, body = [Worker]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn workers(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Worker>>, Failure> {
    let (workers, claims) =
        shared.look(|tables| Ok((tables.registry().workers()?, tables.registry().claims()?))).await?;
    Ok(Json(workers.iter().map(|worker| Worker::new(worker, &claims)).collect()))
}

/// What can be queried.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Queryable {
    /// The schema.
    pub schema: String,
    /// The name in the schema.
    pub name: String,
    /// The columns and their types.
    pub columns: Vec<crate::rest::view::Column>,
}

/// The tables of the lake, for completion.
#[utoipa::path(get, path = "/api/v1/tables", tag = "overview",
    responses((status = 200, body = [Queryable]), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn tables(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Queryable>>, Failure> {
    let tables = shared.look(|tables| tables.session().tables()).await?;
    let shown = tables.into_iter().filter(|table| table.name.schema != lake::BOOKKEEPING_SCHEMA);
    let shown = shown.map(|table| Queryable {
        schema: table.name.schema,
        name: table.name.name,
        columns: table
            .columns
            .into_iter()
            .map(|column| crate::rest::view::Column { name: column.name, data_type: column.data_type })
            .collect(),
    });
    Ok(Json(shown.collect()))
}
