//! What columns the table functions have, what they take, and how JSON becomes their rows.

use serde_json::{Map, Value};

use super::Function;

const TIME: &str = "TIMESTAMP WITH TIME ZONE";
const TEXT: &str = "VARCHAR";
const WHOLE: &str = "BIGINT";
const NUMBER: &str = "DOUBLE";

/// The state of a dynamic table, as Snowflake's object of that name.
const STATE: &str =
    "STRUCT(state VARCHAR, reason_code VARCHAR, reason_message VARCHAR, suspended_on TIMESTAMP WITH TIME ZONE)";
const STATISTICS: &str = "STRUCT(\"executionTimeMs\" BIGINT, \"numInsertedRows\" BIGINT, \"numDeletedRows\" BIGINT, \"numReadRows\" BIGINT)";

/// Snowflake's columns first, then ours.
const TABLES: &[(&str, &str)] = &[
    ("name", TEXT),
    ("schema_name", TEXT),
    ("database_name", TEXT),
    ("qualified_name", TEXT),
    ("target_lag_sec", WHOLE),
    ("target_lag_type", TEXT),
    ("scheduling_state", STATE),
    ("mean_lag_sec", NUMBER),
    ("maximum_lag_sec", NUMBER),
    ("time_above_target_lag_sec", NUMBER),
    ("time_within_target_lag_ratio", NUMBER),
    ("latest_data_timestamp", TIME),
    ("last_completed_refresh_state", TEXT),
    ("last_completed_refresh_state_message", TEXT),
    ("executing_refresh_query_id", TEXT),
    ("target_lag", TEXT),
    ("effective_lag", TEXT),
    ("current_lag_sec", NUMBER),
    ("lag_since", TIME),
    ("lag_measured_sec", NUMBER),
    ("refresh_mode", TEXT),
    ("refresh_mode_reason", TEXT),
    ("data_version", WHOLE),
    ("last_refresh_time", TIME),
    ("last_refresh_action", TEXT),
    ("rows", WHOLE),
    ("bytes", WHOLE),
    ("comment", TEXT),
];

const REFRESH_HISTORY: &[(&str, &str)] = &[
    ("name", TEXT),
    ("schema_name", TEXT),
    ("database_name", TEXT),
    ("qualified_name", TEXT),
    ("state", TEXT),
    ("state_code", TEXT),
    ("state_message", TEXT),
    ("query_id", TEXT),
    ("data_timestamp", TIME),
    ("refresh_start_time", TIME),
    ("refresh_end_time", TIME),
    ("completion_target", TIME),
    ("refresh_action", TEXT),
    ("refresh_trigger", TEXT),
    ("target_lag_sec", WHOLE),
    ("graph_history_valid_from", TIME),
    ("reinit_reason", TEXT),
    ("statistics", STATISTICS),
    ("reason", TEXT),
    ("data_version", WHOLE),
    ("snapshot", WHOLE),
    ("lag_before_sec", NUMBER),
    ("lag_after_sec", NUMBER),
    ("worker", TEXT),
];

const GRAPH_HISTORY: &[(&str, &str)] = &[
    ("name", TEXT),
    ("schema_name", TEXT),
    ("database_name", TEXT),
    ("qualified_name", TEXT),
    ("inputs", "STRUCT(\"name\" VARCHAR, kind VARCHAR)[]"),
    ("target_lag_type", TEXT),
    ("target_lag_sec", WHOLE),
    ("query_text", TEXT),
    ("valid_from", TIME),
    ("valid_to", TIME),
    ("scheduling_state", "STRUCT(state VARCHAR, reason_message VARCHAR)"),
    ("alter_trigger", "VARCHAR[]"),
    ("scheduler", TEXT),
    ("refresh_mode", TEXT),
    ("queue", TEXT),
];

/// Names and types of the columns.
pub(super) const fn of(function: Function) -> &'static [(&'static str, &'static str)] {
    match function {
        Function::Tables => TABLES,
        Function::RefreshHistory => REFRESH_HISTORY,
        Function::GraphHistory => GRAPH_HISTORY,
    }
}

/// What `from_json` makes rows of: an array of objects with these types.
pub(super) fn json_structure(columns: &[(&str, &str)]) -> String {
    let row: Map<String, Value> =
        columns.iter().map(|(name, data_type)| ((*name).to_owned(), (*data_type).into())).collect();
    Value::from(vec![Value::from(row)]).to_string()
}

const IS_NAMED: &str = "(\"name\" IS NULL OR lower(\"name\") IN (lower(d.\"name\"), lower(d.schema_name || '.' || d.\"name\"), lower(d.qualified_name)))";

/// The parameters of the macro, and the rows `d` that they let through.
pub(super) fn parameters(function: Function) -> (&'static str, String) {
    match function {
        Function::Tables => ("\"name\" := NULL", IS_NAMED.to_owned()),
        Function::RefreshHistory => (
            "\"name\" := NULL, name_prefix := NULL, error_only := false, data_timestamp_start := NULL, \
             data_timestamp_end := NULL, result_limit := NULL",
            format!(
                "{IS_NAMED} AND (name_prefix IS NULL OR starts_with(lower(d.qualified_name), lower(name_prefix))) \
                 AND (NOT error_only OR d.state IN ('FAILED', 'UPSTREAM_FAILED')) \
                 AND (data_timestamp_start IS NULL OR d.data_timestamp >= data_timestamp_start) \
                 AND (data_timestamp_end IS NULL OR d.data_timestamp <= data_timestamp_end) \
                 QUALIFY result_limit IS NULL OR row_number() OVER (ORDER BY d.refresh_start_time DESC, d.query_id DESC) <= result_limit"
            ),
        ),
        Function::GraphHistory => (
            "\"name\" := NULL, as_of := NULL, history_start := NULL, history_end := NULL",
            format!(
                "{IS_NAMED} AND (as_of IS NULL OR (d.valid_from <= as_of AND (d.valid_to IS NULL OR d.valid_to > as_of))) \
                 AND (history_start IS NULL OR d.valid_to IS NULL OR d.valid_to > history_start) \
                 AND (history_end IS NULL OR d.valid_from <= history_end)"
            ),
        ),
    }
}
