//! What the registry knows of one dynamic table: what the user said, what it reads, and how far it is.

use jiff::Timestamp;
use serde::Deserialize;
use sql::names::TableName;
use sql::properties::Properties;
use uuid::Uuid;

use crate::graph::GraphInput;
use crate::history::{RefreshAction, RefreshState};
use crate::words::words;

/// A dynamic table as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicTable {
    /// What the user said.
    pub definition: Definition,
    /// What its query reads, in the order in which it names them.
    pub sources: Vec<Source>,
    /// How far it is.
    pub progress: Progress,
}

/// What the user said, and what follows from it alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Stays the same through every change and renaming.
    pub id: Uuid,
    /// The table in the lake.
    pub name: TableName,
    /// The SELECT.
    pub query: String,
    /// The schema that unqualified names in the query mean, whoever refreshes it.
    pub default_schema: String,
    /// The properties in force.
    pub properties: Properties,
    /// Tells two definitions apart that give different content.
    pub fingerprint: String,
    /// Counts the changes of the definition, from 1; see [`crate::Registry::alter`].
    pub revision: i64,
    /// Whether it is refreshed.
    pub state: SchedulingState,
    /// Why it is refreshed in full, or incrementally.
    pub refresh_mode_reason: Option<String>,
    /// Whether the query may give another result though nothing it reads has changed: by the time, or at every evaluation.
    pub time_dependent: bool,
    /// Whether it is refreshed incrementally: what `REFRESH_MODE` comes to for this query.
    pub incremental: bool,
    /// Names and types of its columns.
    pub columns: Vec<(String, String)>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its definition changed last.
    pub updated_at: Timestamp,
}

/// Whether a dynamic table is refreshed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchedulingState {
    /// It is.
    Running,
    /// It is not.
    Suspended {
        /// At whose will. Only what was not suspended by hand is resumed along with its upstream tables.
        by: SuspendedBy,
        /// In words, for people.
        reason: Option<String>,
        /// Since when.
        since: Timestamp,
    },
}

impl SchedulingState {
    /// Whether it is refreshed.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }

    /// The word for it: `RUNNING` or `SUSPENDED`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Suspended { .. } => "SUSPENDED",
        }
    }
}

words! {
    /// At whose will a dynamic table is suspended.
    SuspendedBy {
        /// A user said so for this table.
        User = "USER",
        /// A table that it reads was suspended.
        Upstream = "UPSTREAM",
        /// Too many refreshes failed in a row.
        Failures = "FAILURES",
    }
}

words! {
    /// What a source is.
    SourceKind {
        /// A table of the lake.
        Table = "TABLE",
        /// A view of the lake; what it reads is listed besides it.
        View = "VIEW",
        /// Another dynamic table.
        DynamicTable = "DYNAMIC_TABLE",
    }
}

/// Something that a dynamic table reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What it is called.
    pub name: TableName,
    /// What it is.
    pub kind: SourceKind,
    /// Which table of the lake that name was at the last refresh. None for a view.
    pub lake_table_id: Option<i64>,
    /// The dynamic table's id, if it is one. It cannot be dropped then.
    pub upstream: Option<Uuid>,
    /// Names and types of the columns that are used, as they were at the last refresh.
    pub columns: Vec<(String, String)>,
}

/// How far a dynamic table is. The lake's watermark is the truth; this follows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The lake's snapshot whose sources the content equals. None: it has no content yet.
    pub data_version: Option<i64>,
    /// When that snapshot was made; lag is counted from here.
    pub data_timestamp: Option<Timestamp>,
    /// The snapshot that published the content.
    pub snapshot: Option<i64>,
    /// The refresh that published it.
    pub refresh_id: Option<String>,
    /// The fencing number of the watermark.
    pub fence: i64,
    /// Which table of the lake holds the content.
    pub target_table_id: Option<i64>,
    /// How the last refresh ended.
    pub last_refresh: Option<LastRefresh>,
    /// Refreshes that failed since the last that did not.
    pub consecutive_failures: u32,
    /// After failures: not again before.
    pub retry_at: Option<Timestamp>,
    /// Rows in the table.
    pub rows: Option<u64>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// How long its refreshes take, as a moving average.
    pub mean_refresh_seconds: Option<f64>,
}

/// How the last refresh ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRefresh {
    /// Well or not.
    pub state: RefreshState,
    /// What it did.
    pub action: Option<RefreshAction>,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// What went wrong.
    pub error: Option<String>,
}

/// A changed definition, for [`crate::Registry::alter`].
#[derive(Clone, Debug, PartialEq)]
pub struct Alteration {
    /// As it shall be, with the revision that was read. Its state is not written: only
    /// [`crate::Registry::set_state`] does that.
    pub definition: Definition,
    /// What it reads.
    pub sources: Vec<Source>,
    /// If the content begins anew: how far it is. Its earlier publications are forgotten then.
    pub progress: Option<Progress>,
}

/// A data version that needed no refresh, since no source has changed; for [`crate::Registry::advance`].
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// The dynamic table.
    pub table: Uuid,
    /// The refresh whose content is known to be still right; if another one has published since, nothing is advanced.
    pub refresh_id: Option<String>,
    /// Where to.
    pub data_version: i64,
    /// When that snapshot was made.
    pub data_timestamp: Timestamp,
}

/// A source as the one query of [`crate::Registry::load_all`] gives it.
#[derive(Deserialize)]
pub(crate) struct SourceDocument {
    schema_name: String,
    name: String,
    kind: SourceKind,
    lake_table_id: Option<i64>,
    upstream_id: Option<Uuid>,
    columns: Vec<(String, String)>,
}

impl From<SourceDocument> for Source {
    fn from(document: SourceDocument) -> Self {
        Self {
            name: TableName::new(document.schema_name, document.name),
            kind: document.kind,
            lake_table_id: document.lake_table_id,
            upstream: document.upstream_id,
            columns: document.columns,
        }
    }
}

impl From<SourceDocument> for GraphInput {
    fn from(document: SourceDocument) -> Self {
        Self { schema: document.schema_name, name: document.name, kind: document.kind }
    }
}
