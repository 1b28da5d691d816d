//! How the values of the domain become rows, and rows values: the only place that names the columns.

use error::Result;
use sql::names::TableName;
use uuid::Uuid;

use crate::definition::{
    Definition, DynamicTable, LastRefresh, Progress, SchedulingState, Source, SourceDocument, SuspendedBy,
};
use crate::history::{Refresh, RefreshState};
use crate::row::Row;
use crate::statement::{Statement, Value};

type Columns = Vec<(&'static str, Value)>;

/// Selects dynamic tables as a whole, `t` being the definition: to be filtered and ordered.
pub(crate) fn select_tables(sources_expression: &str) -> Statement {
    Statement::new(format!(
        "SELECT t.*, p.*, {sources_expression} AS sources \
         FROM dynamic_table t JOIN dynamic_table_progress p ON p.table_id = t.id"
    ))
}

/// What a change of the definition writes: everything but its state and its revision.
pub(crate) fn definition_columns(definition: &Definition) -> Result<Columns> {
    Ok(vec![
        ("schema_name", definition.name.schema.as_str().into()),
        ("name", definition.name.name.as_str().into()),
        ("query", definition.query.as_str().into()),
        ("properties", json(&definition.properties)?),
        ("default_schema", definition.default_schema.as_str().into()),
        ("fingerprint", definition.fingerprint.as_str().into()),
        ("incremental", definition.incremental.into()),
        ("time_dependent", definition.time_dependent.into()),
        ("refresh_mode_reason", definition.refresh_mode_reason.clone().into()),
        ("columns", json(&definition.columns)?),
        ("updated_at", definition.updated_at.into()),
    ])
}

pub(crate) fn state_columns(state: &SchedulingState) -> Columns {
    let (by, reason, since) = match state {
        SchedulingState::Running => (None, None, None),
        SchedulingState::Suspended { by, reason, since } => (Some(*by), reason.clone(), Some(*since)),
    };
    vec![
        ("scheduling_state", state.as_str().into()),
        ("suspended_by", by.map(|by| by.as_str().to_owned()).into()),
        ("suspended_reason", reason.into()),
        ("suspended_since", since.into()),
    ]
}

pub(crate) fn progress_columns(progress: &Progress) -> Columns {
    let last = progress.last_refresh.as_ref();
    vec![
        ("data_version", progress.data_version.into()),
        ("data_timestamp", progress.data_timestamp.into()),
        ("snapshot", progress.snapshot.into()),
        ("refresh_id", progress.refresh_id.clone().into()),
        ("fence", progress.fence.into()),
        ("target_table_id", progress.target_table_id.into()),
        ("last_refresh_state", last.map(|last| last.state.as_str().to_owned()).into()),
        ("last_refresh_action", last.and_then(|last| last.action).map(|action| action.as_str().to_owned()).into()),
        ("last_refresh_time", last.map(|last| last.at).into()),
        ("last_refresh_duration_ms", last.and_then(|last| last.duration_ms).into()),
        ("last_error", last.and_then(|last| last.error.clone()).into()),
        ("consecutive_failures", progress.consecutive_failures.into()),
        ("retry_at", progress.retry_at.into()),
        ("rows", progress.rows.into()),
        ("bytes", progress.bytes.into()),
        ("mean_refresh_seconds", progress.mean_refresh_seconds.into()),
    ]
}

pub(crate) fn source_columns(table: Uuid, position: i64, source: &Source) -> Result<Columns> {
    Ok(vec![
        ("table_id", table.into()),
        ("position", position.into()),
        ("schema_name", source.name.schema.as_str().into()),
        ("name", source.name.name.as_str().into()),
        ("kind", source.kind.into()),
        ("lake_table_id", source.lake_table_id.into()),
        ("upstream_id", source.upstream.into()),
        ("columns", json(&source.columns)?),
    ])
}

/// What the end of a refresh writes; its beginning writes it too.
pub(crate) fn refresh_columns(refresh: &Refresh) -> Columns {
    vec![
        ("state", refresh.state.into()),
        ("refresh_trigger", refresh.trigger.into()),
        ("refresh_action", refresh.action.map(|action| action.as_str().to_owned()).into()),
        ("reason", refresh.reason.clone().into()),
        ("completed_at", refresh.completed_at.into()),
        ("duration_ms", refresh.duration_ms.into()),
        ("data_version", refresh.data_version.into()),
        ("data_timestamp", refresh.data_timestamp.into()),
        ("snapshot", refresh.snapshot.into()),
        ("rows_inserted", refresh.rows_inserted.into()),
        ("rows_deleted", refresh.rows_deleted.into()),
        ("rows_read", refresh.rows_read.into()),
        ("lag_before_seconds", refresh.lag_before_seconds.into()),
        ("lag_after_seconds", refresh.lag_after_seconds.into()),
        ("error_code", refresh.error_code.map(|code| code.as_str().to_owned()).into()),
        ("error_message", refresh.error_message.clone().into()),
        ("choice", refresh.choice.clone().into()),
        ("steps", refresh.steps.clone().into()),
    ]
}

/// What only the beginning of a refresh writes.
pub(crate) fn refresh_identity_columns(refresh: &Refresh) -> Columns {
    vec![
        ("id", refresh.id.into()),
        ("table_id", refresh.table.into()),
        ("schema_name", refresh.name.schema.as_str().into()),
        ("name", refresh.name.name.as_str().into()),
        ("started_at", refresh.started_at.into()),
        ("worker", refresh.worker.clone().into()),
        ("claim_id", refresh.claim.into()),
    ]
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<Value> {
    let value = serde_json::to_value(value).map_err(|cause| {
        error::Error::new(error::Code::Internal, format!("a definition cannot be written as JSON: {cause}"))
    })?;
    Ok(value.into())
}

pub(crate) fn read_table(row: &Row) -> Result<DynamicTable> {
    let sources: Vec<SourceDocument> = row.json("sources")?;
    Ok(DynamicTable {
        definition: read_definition(row)?,
        sources: sources.into_iter().map(Source::from).collect(),
        progress: read_progress(row)?,
    })
}

fn read_definition(row: &Row) -> Result<Definition> {
    Ok(Definition {
        id: row.get("id")?,
        name: read_name(row, "schema_name", "name")?,
        query: row.get("query")?,
        properties: row.json("properties")?,
        default_schema: row.get("default_schema")?,
        fingerprint: row.get("fingerprint")?,
        revision: row.get("revision")?,
        state: read_state(row)?,
        refresh_mode_reason: row.optional("refresh_mode_reason")?,
        incremental: row.get("incremental")?,
        time_dependent: row.get("time_dependent")?,
        columns: row.json("columns")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

pub(crate) fn read_name(row: &Row, schema: &str, name: &str) -> Result<TableName> {
    Ok(TableName::new(row.get::<String>(schema)?, row.get::<String>(name)?))
}

fn read_state(row: &Row) -> Result<SchedulingState> {
    let by: Option<SuspendedBy> = row.optional_word("suspended_by")?;
    Ok(match by {
        None => SchedulingState::Running,
        Some(by) => SchedulingState::Suspended {
            by,
            reason: row.optional("suspended_reason")?,
            since: row.get("suspended_since")?,
        },
    })
}

fn read_progress(row: &Row) -> Result<Progress> {
    let last_state: Option<RefreshState> = row.optional_word("last_refresh_state")?;
    let last_refresh = match last_state {
        None => None,
        Some(state) => Some(LastRefresh {
            state,
            action: row.optional_word("last_refresh_action")?,
            at: row.get("last_refresh_time")?,
            duration_ms: row.optional("last_refresh_duration_ms")?,
            error: row.optional("last_error")?,
        }),
    };
    Ok(Progress {
        data_version: row.optional("data_version")?,
        data_timestamp: row.optional("data_timestamp")?,
        snapshot: row.optional("snapshot")?,
        refresh_id: row.optional("refresh_id")?,
        fence: row.get("fence")?,
        target_table_id: row.optional("target_table_id")?,
        last_refresh,
        consecutive_failures: row.get("consecutive_failures")?,
        retry_at: row.optional("retry_at")?,
        rows: row.optional("rows")?,
        bytes: row.optional("bytes")?,
        mean_refresh_seconds: row.optional("mean_refresh_seconds")?,
    })
}

pub(crate) fn read_refresh(row: &Row) -> Result<Refresh> {
    Ok(Refresh {
        id: row.get("id")?,
        table: row.get("table_id")?,
        name: read_name(row, "schema_name", "name")?,
        started_at: row.get("started_at")?,
        completed_at: row.optional("completed_at")?,
        state: row.word("state")?,
        trigger: row.word("refresh_trigger")?,
        action: row.optional_word("refresh_action")?,
        reason: row.optional("reason")?,
        data_version: row.optional("data_version")?,
        data_timestamp: row.optional("data_timestamp")?,
        snapshot: row.optional("snapshot")?,
        rows_inserted: row.optional("rows_inserted")?,
        rows_deleted: row.optional("rows_deleted")?,
        rows_read: row.optional("rows_read")?,
        duration_ms: row.optional("duration_ms")?,
        lag_before_seconds: row.optional("lag_before_seconds")?,
        lag_after_seconds: row.optional("lag_after_seconds")?,
        choice: row.optional("choice")?,
        steps: row.optional("steps")?,
        error_code: read_code(row)?,
        error_message: row.optional("error_message")?,
        worker: row.optional("worker")?,
        claim: row.optional("claim_id")?,
    })
}

/// A code that only a newer program knows is still a failure of some kind.
pub(crate) fn read_code(row: &Row) -> Result<Option<error::Code>> {
    let text: Option<String> = row.optional("error_code")?;
    Ok(text.map(|text| serde_json::from_value(text.into()).unwrap_or(error::Code::Internal)))
}
