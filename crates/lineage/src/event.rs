//! A refresh as the events of OpenLineage: pure, values in, JSON out.

use jiff::Timestamp;
use registry::{DynamicTable, Refresh, RefreshState, Source};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Who says it, as a URI.
const PRODUCER: &str = concat!("urn:dynamic-tables:", env!("CARGO_PKG_VERSION"));
const EVENT_SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
/// Of our own facets: what the specification says of any.
const ANY_RUN_FACET: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet";
/// The job of which the refreshes that were claimed together are parts.
const GROUP_JOB: &str = "refresh";

/// What is known of the table that a refresh is of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Its definition and sources; none once it was dropped.
    pub table: Option<DynamicTable>,
    /// The columns of the dynamic tables that it reads, in the order of its sources; of others they are not in the registry.
    pub source_columns: Vec<Option<Vec<(String, String)>>>,
}

/// How a refresh has ended, in the specification's words; none while it runs.
pub(crate) const fn end_of(state: RefreshState) -> Option<&'static str> {
    match state {
        RefreshState::Executing => None,
        RefreshState::Succeeded => Some("COMPLETE"),
        RefreshState::Failed => Some("FAIL"),
        RefreshState::Cancelled | RefreshState::UpstreamFailed | RefreshState::Skipped => Some("ABORT"),
    }
}

/// The event that a refresh has begun.
pub(crate) fn start(refresh: &Refresh, known: &Known, namespace: &str) -> Value {
    event("START", refresh.started_at, refresh, known, namespace)
}

/// The event that it has ended; none while it runs.
pub(crate) fn end(refresh: &Refresh, known: &Known, namespace: &str) -> Option<Value> {
    let kind = end_of(refresh.state)?;
    Some(event(kind, refresh.completed_at.unwrap_or(refresh.started_at), refresh, known, namespace))
}

fn event(kind: &str, at: Timestamp, refresh: &Refresh, known: &Known, namespace: &str) -> Value {
    let has_ended = kind != "START";
    let sources = known.table.as_ref().map(|table| table.sources.as_slice()).unwrap_or_default();
    let inputs = sources.iter().enumerate().map(|(position, source)| {
        let columns = known.source_columns.get(position).and_then(Option::as_deref);
        input(source, columns, refresh.data_version.filter(|_| has_ended), namespace)
    });
    json!({
        "eventType": kind,
        "eventTime": at.to_string(),
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA,
        "run": { "runId": refresh.id, "facets": run_facets(refresh, has_ended, namespace) },
        "job": { "namespace": namespace, "name": refresh.name.to_string(), "facets": job_facets(known) },
        "inputs": inputs.collect::<Vec<_>>(),
        "outputs": [output(refresh, known, has_ended, namespace)],
    })
}

fn facet(schema: &str, mut content: Value) -> Value {
    if let Value::Object(fields) = &mut content {
        fields.insert("_producer".to_owned(), PRODUCER.into());
        fields.insert("_schemaURL".to_owned(), schema.into());
    }
    content
}

/// A facet of the specification, by its version and name.
fn standard(version: &str, name: &str, content: Value) -> Value {
    facet(&format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"), content)
}

fn run_facets(refresh: &Refresh, has_ended: bool, namespace: &str) -> Value {
    let mut facets = Map::new();
    let engine =
        json!({ "name": "DuckDB", "version": DUCKDB, "openlineageAdapterVersion": env!("CARGO_PKG_VERSION") });
    facets.insert("processing_engine".to_owned(), standard("1-1-1", "ProcessingEngineRunFacet", engine));
    if let Some(claim) = refresh.claim {
        facets.insert("parent".to_owned(), parent(claim, namespace));
    }
    if let Some(message) = refresh.error_message.as_ref().filter(|_| has_ended) {
        let error = json!({ "message": message, "programmingLanguage": "SQL" });
        facets.insert("errorMessage".to_owned(), standard("1-0-1", "ErrorMessageRunFacet", error));
    }
    facets.insert("dynamicTables_refresh".to_owned(), facet(ANY_RUN_FACET, statistics(refresh)));
    Value::Object(facets)
}

/// The engine that everything is computed by: the version that this program is built for.
const DUCKDB: &str = "1.5.5";

fn parent(claim: Uuid, namespace: &str) -> Value {
    let parent = json!({ "run": { "runId": claim }, "job": { "namespace": namespace, "name": GROUP_JOB } });
    standard("1-2-0", "ParentRunFacet", parent)
}

/// What the history says, without what is not known.
fn statistics(refresh: &Refresh) -> Value {
    let all = json!({
        "state": refresh.state.as_str(),
        "trigger": refresh.trigger.as_str(),
        "action": refresh.action.map(|action| action.as_str()),
        "reason": refresh.reason,
        "dataVersion": refresh.data_version,
        "dataTimestamp": refresh.data_timestamp.map(|at| at.to_string()),
        "snapshot": refresh.snapshot,
        "rowsRead": refresh.rows_read,
        "rowsInserted": refresh.rows_inserted,
        "rowsDeleted": refresh.rows_deleted,
        "durationMs": refresh.duration_ms,
        "lagBeforeSeconds": refresh.lag_before_seconds,
        "lagAfterSeconds": refresh.lag_after_seconds,
        "steps": refresh.steps,
        "errorCode": refresh.error_code.map(|code| code.as_str()),
        "worker": refresh.worker,
    });
    match all {
        Value::Object(fields) => Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

fn job_facets(known: &Known) -> Value {
    let kind = json!({ "processingType": "BATCH", "integration": "DYNAMIC_TABLES", "jobType": "REFRESH" });
    let mut facets = Map::new();
    facets.insert("jobType".to_owned(), standard("2-0-4", "JobTypeJobFacet", kind));
    if let Some(table) = &known.table {
        let query = json!({ "query": table.definition.query, "dialect": "duckdb" });
        facets.insert("sql".to_owned(), standard("1-1-0", "SQLJobFacet", query));
    }
    Value::Object(facets)
}

/// All sources are read at one version of the lake.
fn input(source: &Source, columns: Option<&[(String, String)]>, version: Option<i64>, namespace: &str) -> Value {
    let mut facets = Map::new();
    if let Some(columns) = columns {
        facets.insert("schema".to_owned(), schema(columns));
    }
    if let Some(version) = version {
        facets.insert("version".to_owned(), dataset_version(version));
    }
    json!({ "namespace": namespace, "name": source.name.to_string(), "facets": facets })
}

fn output(refresh: &Refresh, known: &Known, has_ended: bool, namespace: &str) -> Value {
    let mut facets = Map::new();
    if let Some(table) = &known.table {
        facets.insert("schema".to_owned(), schema(&table.definition.columns));
    }
    if let Some(snapshot) = refresh.snapshot.filter(|_| has_ended) {
        facets.insert("version".to_owned(), dataset_version(snapshot));
    }
    let mut output = json!({ "namespace": namespace, "name": refresh.name.to_string(), "facets": facets });
    if let Some(rows) = refresh.rows_inserted.filter(|_| has_ended && refresh.state == RefreshState::Succeeded) {
        let written = standard("1-0-2", "OutputStatisticsOutputDatasetFacet", json!({ "rowCount": rows }));
        output["outputFacets"] = json!({ "outputStatistics": written });
    }
    output
}

fn schema(columns: &[(String, String)]) -> Value {
    let fields = columns.iter().map(|(name, kind)| json!({ "name": name, "type": kind }));
    standard("1-2-0", "SchemaDatasetFacet", json!({ "fields": fields.collect::<Vec<_>>() }))
}

/// A version of a dataset is a snapshot of the lake.
fn dataset_version(snapshot: i64) -> Value {
    standard("1-0-1", "DatasetVersionDatasetFacet", json!({ "datasetVersion": snapshot.to_string() }))
}
