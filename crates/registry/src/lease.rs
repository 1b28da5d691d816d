//! Rows that count only for a while unless they are renewed: claims and workers. The database's clock decides, since
//! those of the workers differ.

use std::time::Duration;

use crate::dialect::Dialect;
use crate::statement::Value;

/// As the tables limit it. A longer lease is taken for a day.
const LONGEST: Duration = Duration::from_hours(24);

/// A lease as the tables keep it.
pub(crate) fn milliseconds(lease: Duration) -> Value {
    let milliseconds = lease.clamp(Duration::from_millis(1), LONGEST).as_millis();
    // At most a day: it always fits.
    Value::Integer(i64::try_from(milliseconds).ok())
}

/// The condition that a row of that name counts. One that reaches further into the future than any lease was edited
/// by hand, or the clock went back: it must not last for ever.
pub(crate) fn is_live(dialect: &Dialect, row: &str) -> String {
    let furthest = (dialect.later)(&format!("2 * {row}.lease_ms"));
    format!("({row}.expires_at > {now} AND {row}.expires_at <= {furthest})", now = dialect.now)
}
