//! The one line in the log for each refresh.

use std::time::Duration;

use refresh::RefreshReport;
use registry::RefreshState;

/// Says how a refresh ended: at INFO if well, at WARN if it is not the table's own fault or will pass, else at ERROR.
pub(crate) fn log(report: &RefreshReport) {
    let table = report.name.to_string();
    let target_lag = report.target_lag.map(|lag| lag.to_string());
    let target_lag = target_lag.as_deref();
    let duration_ms = u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX);
    let lag_s = report.lag.map(seconds);
    let data_version = report.data_version;
    let Some(error) = &report.error else {
        tracing::info!(
            table,
            action = report.action.map(|action| action.as_str()),
            reason = report.reason,
            rows_read = report.rows_read,
            rows_inserted = report.rows_inserted,
            rows_deleted = report.rows_deleted,
            duration_ms,
            data_version,
            lag_s,
            target_lag,
            "refreshed"
        );
        return;
    };
    let code = error.code().as_str();
    let transient = error.is_transient();
    let hint = error.hint();
    let retry_at = report.retry_at.map(|at| at.to_string());
    let retry_at = retry_at.as_deref();
    let error = error.message();
    match report.state {
        RefreshState::UpstreamFailed => {
            tracing::warn!(table, code, error, data_version, lag_s, target_lag, "not refreshed");
        }
        RefreshState::Cancelled => {
            tracing::warn!(table, code, error, duration_ms, data_version, lag_s, target_lag, "refresh cancelled");
        }
        _ if transient => tracing::warn!(
            table,
            code,
            error,
            hint,
            transient,
            retry_at,
            duration_ms,
            data_version,
            lag_s,
            target_lag,
            "refresh failed"
        ),
        _ => tracing::error!(
            table,
            code,
            error,
            hint,
            transient,
            retry_at,
            duration_ms,
            data_version,
            lag_s,
            target_lag,
            "refresh failed"
        ),
    }
}

/// Seconds with three decimals.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}
