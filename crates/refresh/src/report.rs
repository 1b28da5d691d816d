//! What the operations of [`crate::DynamicTables`] are asked and answer.

use std::time::Duration;

use error::Error;
use jiff::Timestamp;
use lake::Rows;
use registry::{RefreshAction, RefreshState, RefreshTrigger};
use sql::names::{ObjectName, TableName};
use sql::properties::TargetLag;

use crate::steps::Step;

/// Which tables to refresh, and how.
#[derive(Clone, Debug)]
pub struct RefreshRequest {
    /// The tables; empty means all. What they read of other dynamic tables is refreshed with them.
    pub names: Vec<ObjectName>,
    /// Compute the named tables in full whatever would be cheaper.
    pub full: bool,
    /// Why.
    pub trigger: RefreshTrigger,
    /// Who, for the history.
    pub worker: Option<String>,
}

/// How the refresh of one table ended.
#[derive(Debug)]
pub struct RefreshReport {
    /// The table.
    pub name: TableName,
    /// How it ended.
    pub state: RefreshState,
    /// What was done; `None` when it did not come to that.
    pub action: Option<RefreshAction>,
    /// Why that was done, or why nothing was.
    pub reason: String,
    /// Changed rows of the sources that were read; of a full refresh, the rows of the result.
    pub rows_read: u64,
    /// Rows inserted into the table.
    pub rows_inserted: u64,
    /// Rows deleted from the table.
    pub rows_deleted: u64,
    /// How long it took, publishing included.
    pub duration: Duration,
    /// The data version the table now has.
    pub data_version: Option<i64>,
    /// The commit time of that data version.
    pub data_timestamp: Option<Timestamp>,
    /// How stale the table was just before.
    pub lag_before: Option<Duration>,
    /// How stale the table is now.
    pub lag: Option<Duration>,
    /// How stale the table may be, as it was set.
    pub target_lag: Option<TargetLag>,
    /// After a failure: when it is tried again.
    pub retry_at: Option<Timestamp>,
    /// Where the time went, step by step.
    pub steps: Vec<Step>,
    /// What went wrong.
    pub error: Option<Error>,
}

/// What a refresh would do.
#[derive(Debug)]
pub struct DryRun {
    /// The table.
    pub name: TableName,
    /// What would be done; `None` when it would not come to that.
    pub action: Option<RefreshAction>,
    /// Why.
    pub reason: String,
    /// Rows that would come.
    pub rows_inserted: u64,
    /// Rows that would go.
    pub rows_deleted: u64,
    /// Some of them, with a first column `change`: `+` or `-`.
    pub sample: Rows,
    /// What would go wrong.
    pub error: Option<Error>,
}

/// Whether a table is what its query says at its data version.
#[derive(Debug)]
pub struct Verification {
    /// The table.
    pub name: TableName,
    /// The data version it was compared at.
    pub data_version: Option<i64>,
    /// The rows of the query's result.
    pub rows: u64,
    /// Rows of the query that the table lacks.
    pub missing: u64,
    /// Rows of the table that the query does not give.
    pub surplus: u64,
    /// Rows that differ in nothing but the last digits of floating-point values, which depend on the order in which
    /// sums are taken. Not counted as missing or surplus.
    pub float_noise: u64,
    /// Rows of its state table that are not what folding needs. The table itself can be right all the same.
    pub wrong_state_rows: u64,
    /// Some of the rows that differ, with a first column `difference`: `missing` or `surplus`.
    pub sample: Rows,
    /// Why nothing was compared.
    pub skipped: Option<String>,
    /// What the comparison failed with; `skipped` says it in words.
    pub error: Option<Error>,
}

impl Verification {
    /// Whether the comparison took place and found the table equal to its query.
    #[must_use]
    pub const fn equal(&self) -> bool {
        self.skipped.is_none() && self.missing == 0 && self.surplus == 0 && self.wrong_state_rows == 0
    }
}

/// What CREATE did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateAction {
    /// The table is new.
    Created,
    /// It was there and holds the new query's result now.
    Replaced,
    /// Its properties changed, its query did not.
    Altered,
    /// It was there, exactly so.
    Unchanged,
    /// IF NOT EXISTS, and it was there.
    AlreadyExists,
}

/// The result of CREATE.
#[derive(Debug)]
pub struct Created {
    /// The table.
    pub name: TableName,
    /// What was done.
    pub action: CreateAction,
    /// Whether it will be maintained incrementally.
    pub incremental: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Its first refresh.
    pub refresh: Option<RefreshReport>,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// The result of ALTER.
#[derive(Debug)]
pub struct Altered {
    /// The table, by its new name if it was renamed.
    pub name: TableName,
    /// What was done, as a sentence for a person.
    pub message: String,
    /// Other tables that were suspended or resumed along.
    pub affected: Vec<TableName>,
    /// What was refreshed, for ALTER ... REFRESH.
    pub refreshes: Vec<RefreshReport>,
}

/// One check of a definition.
#[derive(Debug)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// What is fine about it, or what is not.
    pub result: Result<String, Error>,
}
