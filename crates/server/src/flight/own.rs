//! What our statements answer, as rows with columns of their own: a client of Flight SQL knows nothing else.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use error::Result;
use lake::RecordBatch;
use serde_json::{Value, json};
use sql::statement::{AlterAction, ConnectionStatement, Statement};
use tonic::Status;

use crate::flight::status::{refusal, told, unwritten};
use crate::problem::Failure;
use crate::query::own::Done;
use crate::shared::Shared;
use crate::task::Task;

use DataType::{Float64, Int64, Utf8};

/// A field of what is answered, and the type of its column.
type Column = (&'static str, DataType);

const TABLE: [Column; 22] = [
    ("schema", Utf8),
    ("name", Utf8),
    ("scheduling_state", Utf8),
    ("suspended_reason", Utf8),
    ("suspended_by", Utf8),
    ("target_lag", Utf8),
    ("effective_lag", Utf8),
    ("target_lag_seconds", Float64),
    ("current_lag_seconds", Float64),
    ("refresh_mode", Utf8),
    ("refresh_mode_reason", Utf8),
    ("data_version", Int64),
    ("data_timestamp", Utf8),
    ("last_refresh_time", Utf8),
    ("last_refresh_status", Utf8),
    ("last_refresh_action", Utf8),
    ("last_error", Utf8),
    ("executing_refresh", Utf8),
    ("rows", Int64),
    ("bytes", Int64),
    ("comment", Utf8),
    ("id", Utf8),
];
/// What DESCRIBE says besides; lists are JSON.
const DETAILS: [Column; 6] = [
    ("columns", Utf8),
    ("properties", Utf8),
    ("sources", Utf8),
    ("readers", Utf8),
    ("query", Utf8),
    ("statement", Utf8),
];
const OPERATORS: [Column; 6] =
    [("depth", Int64), ("operator", Utf8), ("rule", Utf8), ("reason", Utf8), ("line", Int64), ("column", Int64)];
const CHANGE: [Column; 3] = [("name", Utf8), ("done", Utf8), ("affected", Utf8)];
const DROPPED: [Column; 1] = [("dropped", Utf8)];
const CONNECTION: [Column; 7] = [
    ("name", Utf8),
    ("kind", Utf8),
    ("settings", Utf8),
    ("secrets", Utf8),
    ("revision", Int64),
    ("created_at", Utf8),
    ("updated_at", Utf8),
];
const CONNECTION_CHANGE: [Column; 3] = [("done", Utf8), ("missing", Utf8), ("connection", Utf8)];
const CONNECTION_TEST: [Column; 2] = [("ok", Utf8), ("error", Utf8)];
const TASK: [Column; 4] = [("task", Utf8), ("kind", Utf8), ("state", Utf8), ("result", Utf8)];
const COUNT: [Column; 1] = [("Count", Int64)];

/// The columns of what a statement of ours answers.
pub(super) fn columns(statement: &Statement) -> SchemaRef {
    schema(&match statement {
        Statement::Show { .. } => TABLE.to_vec(),
        Statement::Describe { .. } => [TABLE.as_slice(), &DETAILS].concat(),
        Statement::Explain { .. } => OPERATORS.to_vec(),
        Statement::Create(_) | Statement::Alter { if_exists: false, action: AlterAction::Refresh { .. }, .. } => {
            TASK.to_vec()
        }
        Statement::Alter { .. } => CHANGE.to_vec(),
        Statement::Drop { .. } | Statement::Connection(ConnectionStatement::Drop { .. }) => DROPPED.to_vec(),
        Statement::Connection(ConnectionStatement::Show | ConnectionStatement::Describe { .. }) => {
            CONNECTION.to_vec()
        }
        Statement::Connection(ConnectionStatement::Create { .. } | ConnectionStatement::Alter { .. }) => {
            CONNECTION_CHANGE.to_vec()
        }
        Statement::Connection(ConnectionStatement::Test { .. }) => CONNECTION_TEST.to_vec(),
        Statement::Transfer(_) | Statement::Other(_) => COUNT.to_vec(),
    })
}

/// The column of what a statement answers that has changed the lake.
pub(super) fn count_column() -> SchemaRef {
    schema(&COUNT)
}

/// How many rows the engine says that it has changed.
pub(super) fn count(rows: &lake::Rows) -> Option<i64> {
    match (rows.columns.as_slice(), rows.rows.as_slice()) {
        ([(name, _)], [row]) if name == "Count" => row.first()?.as_ref()?.parse().ok(),
        _ => None,
    }
}

/// What was answered as rows of these columns. Waits for a task, but no longer than this: it goes on by itself.
pub(super) async fn rows(
    shared: &Shared,
    done: Done,
    columns: &SchemaRef,
    patience: Duration,
) -> Result<RecordBatch, Status> {
    let refused = |error| refusal(&Failure::from(error));
    let values = match done {
        Done::List(list) => {
            let tables = list.tables.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
            tables.map_err(|cause| refused(unwritten(cause)))?
        }
        Done::Task(task) => {
            let task = ended(shared, *task, patience).await;
            if let Some(problem) = &task.error {
                return Err(told(problem));
            }
            vec![json!({ "task": task.id, "kind": task.kind, "state": task.state, "result": task.result })]
        }
        Done::Value(mut value) => {
            if let Some(rows) = value.as_array_mut() {
                std::mem::take(rows)
            } else if let Some(operators) = value.get_mut("tree").and_then(Value::as_array_mut) {
                std::mem::take(operators)
            } else if let Some(dropped) = value.get("dropped").and_then(Value::as_array) {
                dropped.iter().map(|name| json!({ "dropped": name })).collect()
            } else {
                vec![value]
            }
        }
    };
    batch(columns, &values).map_err(refused)
}

/// Rows of these columns from objects with fields of these names; what is no single value is JSON.
pub(super) fn batch(columns: &SchemaRef, values: &[Value]) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let cells = values.iter().map(|value| &value[field.name().as_str()]);
        match field.data_type() {
            Int64 => Arc::new(cells.map(Value::as_i64).collect::<Int64Array>()),
            Float64 => Arc::new(cells.map(Value::as_f64).collect::<Float64Array>()),
            _ => Arc::new(cells.map(text).collect::<StringArray>()),
        }
    };
    RecordBatch::try_new(Arc::clone(columns), columns.fields().iter().map(column).collect()).map_err(unwritten)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn schema(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The task as it is when it has ended, or when patience has.
async fn ended(shared: &Shared, task: Task, patience: Duration) -> Task {
    let mut changes = shared.tasks.listen();
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let now = shared.tasks.get(task.id).unwrap_or_else(|| task.clone());
        // Any change is a reason to look again, also one that was missed.
        if now.state.is_final() || tokio::time::timeout_at(deadline, changes.recv()).await.is_err() {
            return now;
        }
    }
}
