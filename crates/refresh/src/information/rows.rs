//! The rows of the table functions, as JSON objects by the names of their columns.

use std::collections::HashMap;
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use registry::{GraphFilter, GraphPeriod, HistoryFilter, Refresh, RefreshAction};
use serde_json::{Value, json};
use sql::names::TableName;
use sql::properties::TargetLag;
use uuid::Uuid;

use crate::status::{Status, StatusRequest};
use crate::tables::DynamicTables;

/// Lag is looked at over this long, as in Snowflake.
const LAG_WINDOW: Duration = Duration::from_secs(86_400);

/// More rows than this are not given, the newest first.
const MOST_ROWS: u32 = 100_000;

impl DynamicTables {
    /// The dynamic tables, by name.
    pub(super) fn table_rows(&self) -> Result<Vec<Value>> {
        let lag_since = Timestamp::now().checked_sub(LAG_WINDOW).ok();
        let statuses = self.statuses(&StatusRequest { names: Vec::new(), lag_since })?;
        Ok(statuses.iter().map(|status| self.table_row(status)).collect())
    }

    fn table_row(&self, status: &Status) -> Value {
        let lag = status.lag_statistics;
        let mut row = json!({
            "target_lag_sec": status.measured_against.map(|lag| lag.as_secs()),
            "target_lag_type": lag_type(Some(status.target_lag.as_str())),
            "scheduling_state": {
                "state": status.scheduling_state,
                "reason_code": status.suspended_by,
                "reason_message": status.suspended_reason,
                "suspended_on": status.suspended_since,
            },
            "mean_lag_sec": lag.map(|lag| lag.mean.as_secs_f64()),
            "maximum_lag_sec": lag.map(|lag| lag.maximum.as_secs_f64()),
            "time_above_target_lag_sec": lag.and_then(|lag| lag.above_target).map(|above| above.as_secs_f64()),
            "time_within_target_lag_ratio": lag.and_then(|lag| lag.within_target_ratio),
            "latest_data_timestamp": status.data_timestamp,
            "last_completed_refresh_state": status.last_refresh_status,
            "last_completed_refresh_state_message": status.last_error,
            "executing_refresh_query_id": status.executing_refresh,
            "target_lag": Some(&status.target_lag).filter(|lag| *lag != "-"),
            "effective_lag": status.effective_lag,
            "current_lag_sec": status.lag.map(|lag| lag.as_secs_f64()),
            "lag_since": lag.map(|lag| lag.since),
            "lag_measured_sec": lag.map(|lag| lag.measured.as_secs_f64()),
            "refresh_mode": status.refresh_mode,
            "refresh_mode_reason": status.refresh_mode_reason,
            "data_version": status.data_version,
            "last_refresh_time": status.last_refresh_time,
            "last_refresh_action": status.last_refresh_action,
            "rows": status.rows,
            "bytes": status.bytes,
            "comment": status.comment,
        });
        self.add_name(&mut row, &status.name);
        row
    }

    /// The refreshes, the newest first.
    pub(super) fn refresh_rows(&self) -> Result<Vec<Value>> {
        let refreshes = self.registry.history(&HistoryFilter::default(), MOST_ROWS)?;
        let mut periods: HashMap<Uuid, Vec<GraphPeriod>> = HashMap::new();
        for period in self.registry.graph_history(&GraphFilter::default(), MOST_ROWS)? {
            periods.entry(period.table).or_default().push(period);
        }
        let row = |refresh: &Refresh| {
            let known = periods.get(&refresh.table).map_or(&[][..], Vec::as_slice);
            self.refresh_row(refresh, known.iter().find(|period| holds(period, refresh.started_at)))
        };
        Ok(refreshes.iter().map(row).collect())
    }

    fn refresh_row(&self, refresh: &Refresh, period: Option<&GraphPeriod>) -> Value {
        let target = period.and_then(|period| target_seconds(period.node.target_lag.as_deref()));
        // What it had to make up for began that long before.
        let completion_target = target.zip(refresh.lag_before_seconds).and_then(|(target, lag)| {
            let from_start = jiff::SignedDuration::try_from_secs_f64(-lag).ok()?;
            let missed = refresh.started_at.checked_add(from_start).ok()?;
            missed.checked_add(Duration::from_secs(target)).ok()
        });
        let reinitialized = refresh.action == Some(RefreshAction::Reinitialize);
        let mut row = json!({
            "state": refresh.state,
            "state_code": refresh.error_code.map(|code| code.as_str()),
            "state_message": refresh.error_message,
            "query_id": refresh.id,
            "data_timestamp": refresh.data_timestamp,
            "refresh_start_time": refresh.started_at,
            "refresh_end_time": refresh.completed_at,
            "completion_target": completion_target,
            "refresh_action": refresh.action,
            "refresh_trigger": refresh.trigger,
            "target_lag_sec": target,
            "graph_history_valid_from": period.map(|period| period.valid_from),
            "reinit_reason": refresh.reason.as_ref().filter(|_| reinitialized),
            "statistics": {
                "executionTimeMs": refresh.duration_ms,
                "numInsertedRows": refresh.rows_inserted,
                "numDeletedRows": refresh.rows_deleted,
                "numReadRows": refresh.rows_read,
            },
            "reason": refresh.reason,
            "data_version": refresh.data_version,
            "snapshot": refresh.snapshot,
            "lag_before_sec": refresh.lag_before_seconds,
            "lag_after_sec": refresh.lag_after_seconds,
            "worker": refresh.worker,
        });
        self.add_name(&mut row, &refresh.name);
        row
    }

    /// What the dynamic tables were when, in the registry's order.
    pub(super) fn graph_rows(&self) -> Result<Vec<Value>> {
        let periods = self.registry.graph_history(&GraphFilter::default(), MOST_ROWS)?;
        Ok(periods.iter().map(|period| self.graph_row(period)).collect())
    }

    fn graph_row(&self, period: &GraphPeriod) -> Value {
        let node = &period.node;
        let input = |input: &registry::GraphInput| {
            let name = self.qualified(&TableName::new(&input.schema, &input.name));
            json!({ "name": name, "kind": input.kind })
        };
        let mut row = json!({
            "inputs": node.inputs.iter().map(input).collect::<Vec<_>>(),
            "target_lag_type": lag_type(node.target_lag.as_deref()),
            "target_lag_sec": target_seconds(node.target_lag.as_deref()),
            "query_text": node.query,
            "valid_from": period.valid_from,
            "valid_to": period.valid_to,
            "scheduling_state": { "state": node.scheduling_state, "reason_message": node.suspended_reason },
            "alter_trigger": period.alter_trigger,
            "scheduler": node.scheduler,
            "refresh_mode": node.refresh_mode,
            "queue": node.queue,
        });
        self.add_name(&mut row, &node.name);
        row
    }

    fn add_name(&self, row: &mut Value, name: &TableName) {
        row["name"] = name.name.as_str().into();
        row["schema_name"] = name.schema.as_str().into();
        row["database_name"] = self.lake.alias().into();
        row["qualified_name"] = self.qualified(name).into();
    }

    fn qualified(&self, name: &TableName) -> String {
        format!("{}.{name}", sql::names::quote_identifier_if_needed(self.lake.alias()))
    }
}

fn holds(period: &GraphPeriod, at: Timestamp) -> bool {
    period.valid_from <= at && period.valid_to.is_none_or(|end| at < end)
}

/// Snowflake's words for where a target lag comes from; none without one.
fn lag_type(target_lag: Option<&str>) -> Option<&'static str> {
    match target_lag?.parse().ok()? {
        TargetLag::Duration(_) => Some("USER_DEFINED"),
        TargetLag::Downstream => Some("DOWNSTREAM"),
    }
}

fn target_seconds(target_lag: Option<&str>) -> Option<u64> {
    match target_lag?.parse().ok()? {
        TargetLag::Duration(lag) => Some(lag.as_secs()),
        TargetLag::Downstream => None,
    }
}
