//! Values for the parameters of a statement, from Arrow to what a request over HTTP would have said.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, types};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use error::{Code, Error, Result};
use lake::RecordBatch;
use serde_json::Value;

/// The values of the one row, in the order of the names if the columns have them, or else as they stand.
pub(super) fn values(batch: &RecordBatch, row: usize, names: &[String]) -> Result<Vec<Value>> {
    let by_name: Option<Vec<_>> = names.iter().map(|name| batch.column_by_name(name)).collect();
    let is_named = names.iter().any(|name| name.parse::<usize>().is_err());
    match by_name {
        Some(columns) if is_named => columns.iter().map(|column| value(column.as_ref(), row)).collect(),
        _ => batch.columns().iter().map(|column| value(column.as_ref(), row)).collect(),
    }
}

fn value(column: &dyn Array, row: usize) -> Result<Value> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let text = || {
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column, &options).map_err(unreadable)?;
        formatter.value(row).try_to_string().map_err(unreadable)
    };
    Ok(match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Float64 => number(column.as_primitive::<types::Float64Type>().value(row)),
        DataType::Float32 => number(column.as_primitive::<types::Float32Type>().value(row).into()),
        kind if kind.is_integer() => {
            let text = text()?;
            text.parse::<i64>().map_or(Value::String(text), Value::from)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text()?.into(),
        DataType::Dictionary(_, _) => text()?.into(),
        kind if kind.is_temporal() => text()?.into(),
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => text()?.into(),
        kind => {
            return Err(Error::new(Code::Query, format!("a value of the type {kind} cannot be a parameter"))
                .with_hint("Write it as text, and cast it in the statement: $1::INTEGER[]."));
        }
    })
}

/// JSON has no infinity.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
}

fn unreadable(cause: arrow_schema::ArrowError) -> Error {
    Error::new(Code::Query, "a parameter cannot be read").with_source(cause)
}
