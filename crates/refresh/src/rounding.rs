//! Which values a lake's files do not give back as they were: HUGEINT and UHUGEINT are DOUBLE in Parquet.

use sql::names::quote_identifier;

/// From here on not every HUGEINT has a DOUBLE.
const EXACT: u64 = 1 << 53;

/// Whether values of a type are kept as DOUBLE.
pub(crate) fn is_kept_as_double(data_type: &str) -> bool {
    matches!(data_type, "HUGEINT" | "UHUGEINT")
}

/// The condition that a value of such a type may not be kept exactly.
pub(crate) fn is_beyond(expression: &str) -> String {
    format!("abs({expression}) >= {EXACT}")
}

/// The condition that some column of a row may not be kept exactly.
pub(crate) fn some_is_beyond(columns: &[(String, String)]) -> String {
    let wide = columns.iter().filter(|(_, data_type)| is_kept_as_double(data_type));
    let beyond: Vec<String> = wide.map(|(name, _)| is_beyond(&quote_identifier(name))).collect();
    if beyond.is_empty() { "false".to_owned() } else { beyond.join(" OR ") }
}
