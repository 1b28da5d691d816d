//! What a source or an export is told, as the registry keeps it.

use std::time::Duration;

use error::{Code, Error, Result};
use registry::Transfer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sql::names::TableName;
use sql::statement::Lookback;

/// What a source is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDefinition {
    /// The schema at the other end, where one was named.
    pub schema: Option<String>,
    /// The table there.
    pub table: String,
    /// The columns that tell rows apart; none: rows are compared as a whole.
    pub key: Vec<String>,
    /// The column that grows with every change.
    pub cursor: Option<String>,
    /// How far behind the newest value of the cursor reading begins; none: as far as is usual for its type.
    pub lookback: Option<Lookback>,
    /// How often everything is compared where there is a cursor; none: never.
    pub compare_seconds: Option<u64>,
}

/// What an export is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportDefinition {
    /// The table of the lake.
    pub reads: TableName,
    /// The schema at the other end, where one was named.
    pub schema: Option<String>,
    /// The table there.
    pub table: String,
    /// The columns that tell rows apart; none: the table there is a multiset.
    pub key: Vec<String>,
}

/// How often a source with a cursor is compared as a whole, unless it is told.
pub(crate) const USUAL_COMPARISON: Duration = Duration::from_hours(24);

/// How far behind the newest time of a cursor reading begins, unless it is told: a transaction may commit so long after it has
/// taken the time.
pub(crate) const USUAL_LOOKBACK: Duration = Duration::from_mins(10);

/// The same for numbers.
pub(crate) const USUAL_LOOKBACK_COUNT: u64 = 1_000;

/// What a source or an export is told.
pub(crate) fn read<T: DeserializeOwned>(transfer: &Transfer) -> Result<T> {
    serde_json::from_value(transfer.definition.clone()).map_err(|cause| {
        Error::new(Code::Internal, format!("the definition of {} cannot be read", transfer.name))
            .with_hint("It was made by another version.")
            .with_source(cause)
    })
}

/// The same as the registry keeps it.
pub(crate) fn write(definition: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(definition)
        .map_err(|cause| Error::new(Code::Internal, "a definition cannot be written").with_source(cause))
}
