//! Figures about every column of the rows that a preview shows.

use error::Result;
use lake::Sandbox;
use serde_json::{Map, Value, json};

use crate::compose::label;

/// Where the rows are kept while they are looked at, their columns called `c1`, `c2`, ...
pub(crate) const TABLE: &str = "preview_rows";
/// More columns than these are not looked at.
const MOST_COLUMNS: usize = 200;
/// So many of the most frequent values are named.
const TOP: usize = 10;

/// The figures as a JSON list, an object per column.
pub(crate) fn of(sandbox: &Sandbox, names: &[String], columns: &[(String, String)], rows: u64) -> Result<String> {
    let mut profile = Vec::new();
    for ((name, (_, kind)), number) in names.iter().zip(columns).zip(1..).take(MOST_COLUMNS) {
        profile.push(one(sandbox, name, kind, &format!("c{number}"), rows)?);
    }
    Ok(Value::from(profile).to_string())
}

fn one(sandbox: &Sandbox, name: &str, kind: &str, column: &str, rows: u64) -> Result<Value> {
    let from = format!("(SELECT {column} FROM {TABLE} LIMIT {rows})");
    let is_number = label(kind) == "number";
    let figures = match is_number {
        true => {
            let double = format!("TRY_CAST({column} AS DOUBLE)");
            format!(
                "min({double}), max({double}), avg({double}), \
                 CASE WHEN count({double}) > 1 THEN stddev_samp({double}) END, approx_quantile({double}, 0.5)"
            )
        }
        false => format!("min({column}::VARCHAR), max({column}::VARCHAR), NULL, NULL, NULL"),
    };
    let asked = format!("SELECT count(*), count({column}), count(DISTINCT {column}::VARCHAR), {figures} FROM {from}");
    let figures = sandbox.texts(&asked)?.into_iter().next().unwrap_or_default();
    let figure = |index: usize| figures.get(index).cloned().flatten();
    let count = |index: usize| figure(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let (total, filled, distinct) = (count(0), count(1), count(2));
    let value = |index: usize| match (figure(index), is_number) {
        (Some(text), true) => text.parse::<f64>().map_or(Value::from(text), Value::from),
        (Some(text), false) => Value::from(text),
        (None, _) => Value::Null,
    };
    let top = sandbox.texts(&format!(
        "SELECT {column}::VARCHAR, count(*) FROM {from} WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TOP}"
    ))?;
    let top = top.into_iter().map(|row| {
        let count = row.get(1).cloned().flatten().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        json!({ "value": row.first().cloned().flatten(), "count": count, "percent": percent(count, total) })
    });
    let mut profile = Map::new();
    for (key, figure) in [
        ("column", Value::from(name)),
        ("type", Value::from(kind)),
        ("total", Value::from(total)),
        ("null_count", Value::from(total - filled.min(total))),
        ("null_percent", percent(total - filled.min(total), total)),
        ("distinct_count", Value::from(distinct)),
        ("distinct_percent", percent(distinct, total)),
        ("min", value(3)),
        ("max", value(4)),
        ("mean", value(5)),
        ("std_dev", value(6)),
        ("median", value(7)),
        ("top_values", top.collect()),
    ] {
        profile.insert(key.to_owned(), figure);
    }
    Ok(Value::from(profile))
}

/// A share in percent with two digits.
fn percent(part: u64, of: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a share of few rows")]
    let share = if of == 0 { 0.0 } else { (part as f64 / of as f64 * 10_000.0).round() / 100.0 };
    Value::from(share)
}
