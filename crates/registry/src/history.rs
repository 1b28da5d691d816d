//! Refreshes: one row of history each, written when it begins and again when it ends.

use jiff::Timestamp;
use sql::names::TableName;
use uuid::Uuid;

use crate::definition::{Progress, Source};
use crate::words::words;

words! {
    /// Where a refresh is in its life.
    RefreshState {
        /// It runs, or the process that ran it has died.
        Executing = "EXECUTING",
        /// It ended well.
        Succeeded = "SUCCEEDED",
        /// It did not.
        Failed = "FAILED",
        /// It was stopped.
        Cancelled = "CANCELLED",
        /// It was not tried, since a table that it reads failed.
        UpstreamFailed = "UPSTREAM_FAILED",
        /// It was not tried, since the one before still ran.
        Skipped = "SKIPPED",
    }
}

words! {
    /// Why a refresh was started.
    RefreshTrigger {
        /// Its target lag asked for it.
        Scheduled = "SCHEDULED",
        /// A user did.
        Manual = "MANUAL",
        /// The table was created or replaced.
        Creation = "CREATION",
    }
}

words! {
    /// What a refresh did.
    RefreshAction {
        /// Nothing: no source has changed.
        NoData = "NO_DATA",
        /// It applied what changed.
        Incremental = "INCREMENTAL",
        /// It computed everything.
        Full = "FULL",
        /// It computed everything, since what was there could not be built upon.
        Reinitialize = "REINITIALIZE",
    }
}

/// One refresh of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Refresh {
    /// Also the refresh id in the lake's provenance.
    pub id: Uuid,
    /// The table's id; the table may be gone.
    pub table: Uuid,
    /// What it was called then.
    pub name: TableName,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Where it is in its life.
    pub state: RefreshState,
    /// Why it was started.
    pub trigger: RefreshTrigger,
    /// What it did.
    pub action: Option<RefreshAction>,
    /// Why it did that.
    pub reason: Option<String>,
    /// The data version it brought the table to.
    pub data_version: Option<i64>,
    /// When that snapshot was made.
    pub data_timestamp: Option<Timestamp>,
    /// The snapshot that published it.
    pub snapshot: Option<i64>,
    /// Rows written.
    pub rows_inserted: Option<u64>,
    /// Rows deleted.
    pub rows_deleted: Option<u64>,
    /// Changed rows of the sources that were read.
    pub rows_read: Option<u64>,
    /// How long it took by itself: computing the change, and its part of the commit that it shared with others. From
    /// beginning to end it may have waited for those.
    pub duration_ms: Option<u64>,
    /// How stale the table was.
    pub lag_before_seconds: Option<f64>,
    /// How stale it was afterwards.
    pub lag_after_seconds: Option<f64>,
    /// The figures behind the choice of the action.
    pub choice: Option<serde_json::Value>,
    /// Where the time went, in the order of the steps: `[{"step": "compute", "ms": 12.5, "lake_ms": 12.1, "registry_ms": 0.0, "statements": 7}]`.
    pub steps: Option<serde_json::Value>,
    /// What kind of failure it was.
    pub error_code: Option<error::Code>,
    /// What went wrong.
    pub error_message: Option<String>,
    /// The worker that ran it.
    pub worker: Option<String>,
    /// The claim under which it ran, if it needed one; see [`crate::Registry::reap_orphans`].
    pub claim: Option<Uuid>,
}

impl Refresh {
    /// A refresh that begins now.
    #[must_use]
    pub fn begin(table: Uuid, name: TableName, trigger: RefreshTrigger, worker: Option<String>) -> Self {
        Self {
            id: Uuid::now_v7(),
            table,
            name,
            started_at: Timestamp::now(),
            completed_at: None,
            state: RefreshState::Executing,
            trigger,
            action: None,
            reason: None,
            data_version: None,
            data_timestamp: None,
            snapshot: None,
            rows_inserted: None,
            rows_deleted: None,
            rows_read: None,
            duration_ms: None,
            lag_before_seconds: None,
            lag_after_seconds: None,
            choice: None,
            steps: None,
            error_code: None,
            error_message: None,
            worker,
            claim: None,
        }
    }
}

/// A refresh that has ended, for [`crate::Registry::finish_refreshes`].
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedRefresh {
    /// How it ended.
    pub refresh: Refresh,
    /// How far the table is now; none leaves it as it is.
    pub progress: Option<ProgressChange>,
    /// The sources as they were read, where that differs from what the registry says.
    pub sources: Option<Vec<Source>>,
}

/// A table's progress before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgressChange {
    /// As it was read. If data version, refresh id or fence are others by now, somebody else was faster: a conflict.
    pub before: Progress,
    /// As it shall be.
    pub after: Progress,
}

/// Which refreshes to list. The default: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryFilter {
    /// Only of this table.
    pub table: Option<Uuid>,
    /// Only of tables that had this name then; reaches those that are dropped.
    pub name: Option<TableName>,
    /// Only in this state.
    pub state: Option<RefreshState>,
    /// Only what began at that time or later.
    pub since: Option<Timestamp>,
}

/// Refreshes without a claim that still count as running although nobody can be running them, for [`crate::Registry::reap_executing`].
#[derive(Clone, Debug, PartialEq)]
pub struct Abandoned {
    /// Only those of this worker.
    pub worker: Option<String>,
    /// Only those that began before.
    pub started_before: Timestamp,
}
