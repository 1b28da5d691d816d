//! Compactions: when the files of which dynamic table were rewritten, and what came of it. One row each, written when it is over.

use error::{Code, Result};
use jiff::Timestamp;
use sql::names::TableName;
use uuid::Uuid;

use crate::Registry;
use crate::record::read_code;
use crate::row::Row;
use crate::statement::Statement;

/// One compaction of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Its own id, made in the order of time.
    pub id: Uuid,
    /// The dynamic table; it may be gone.
    pub table: Uuid,
    /// What that was called then.
    pub name: TableName,
    /// Whether it was the state table beside it.
    pub is_state: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// The data files before.
    pub files_before: u64,
    /// The data files afterwards; `None` if it failed.
    pub files_after: Option<u64>,
    /// The rows in files before, deleted ones included.
    pub rows_before: u64,
    /// Of these, the deleted ones.
    pub deleted_before: u64,
    /// The rows in the lake's catalog before.
    pub inlined_before: u64,
    /// What kind of failure it was.
    pub error_code: Option<Code>,
    /// What it failed with.
    pub error_message: Option<String>,
    /// The worker that did it.
    pub worker: Option<String>,
}

/// Which compactions to list. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactionFilter {
    /// Only of this table.
    pub table: Option<Uuid>,
    /// Only those that failed.
    pub only_failures: bool,
    /// Only what began at that time or later.
    pub since: Option<Timestamp>,
}

impl Registry {
    /// Writes down a compaction.
    pub fn record_compaction(&self, compaction: &Compaction) -> Result<()> {
        let row = vec![
            ("id", compaction.id.into()),
            ("table_id", compaction.table.into()),
            ("schema_name", compaction.name.schema.as_str().into()),
            ("name", compaction.name.name.as_str().into()),
            ("is_state", compaction.is_state.into()),
            ("started_at", compaction.started_at.into()),
            ("duration_ms", Some(compaction.duration_ms).into()),
            ("files_before", Some(compaction.files_before).into()),
            ("files_after", compaction.files_after.into()),
            ("rows_before", Some(compaction.rows_before).into()),
            ("deleted_before", Some(compaction.deleted_before).into()),
            ("inlined_before", Some(compaction.inlined_before).into()),
            ("error_code", compaction.error_code.map(|code| code.as_str().to_owned()).into()),
            ("error_message", compaction.error_message.clone().into()),
            ("worker", compaction.worker.clone().into()),
        ];
        self.store.execute(Statement::insert("compaction_history", row)).map(|_| ())
    }

    /// The last `limit` compactions that the filter lets through, the newest first.
    pub fn compactions(&self, filter: &CompactionFilter, limit: u32) -> Result<Vec<Compaction>> {
        let mut statement = Statement::new("SELECT * FROM compaction_history");
        if let Some(table) = filter.table {
            statement = statement.filter("table_id = {}", [table.into()]);
        }
        if filter.only_failures {
            statement = statement.filter("error_code IS NOT NULL", []);
        }
        if let Some(since) = filter.since {
            statement = statement.filter("started_at >= {}", [since.into()]);
        }
        let statement = statement.append(" ORDER BY started_at DESC, id DESC LIMIT {}", [limit.into()]);
        self.store.fetch(statement)?.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<Compaction> {
    Ok(Compaction {
        id: row.get("id")?,
        table: row.get("table_id")?,
        name: TableName::new(row.get::<String>("schema_name")?, row.get::<String>("name")?),
        is_state: row.get("is_state")?,
        started_at: row.get("started_at")?,
        duration_ms: row.get("duration_ms")?,
        files_before: row.get("files_before")?,
        files_after: row.optional("files_after")?,
        rows_before: row.get("rows_before")?,
        deleted_before: row.get("deleted_before")?,
        inlined_before: row.get("inlined_before")?,
        error_code: read_code(row)?,
        error_message: row.optional("error_message")?,
        worker: row.optional("worker")?,
    })
}
