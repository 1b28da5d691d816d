//! Rows as JSON, value by value and exactly: what is a number keeps all its digits, what is none in JSON is text.
//!
//! | type | JSON |
//! |---|---|
//! | BOOLEAN | truth value |
//! | integers of every width, DECIMAL, BIGNUM | number with all digits; as text where that is asked for and a double would lose some |
//! | FLOAT, DOUBLE | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | DATE, TIME, TIMESTAMP | ISO 8601; years beyond 9999 with a sign; `"infinity"`, `"-infinity"` |
//! | BLOB | base64 |
//! | UUID, ENUM, BIT, INTERVAL, UNION, VARCHAR, JSON | text |
//! | LIST, ARRAY | list |
//! | STRUCT | object |
//! | MAP | object where keys are text, else a list of `{"key", "value"}` |

use std::fmt::Write as _;
use std::ops::ControlFlow;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef, StructArray, make_array};
use arrow_schema::{DataType, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use error::{Code, Error, Result};
use lake::{RecordBatch, SchemaRef, Take};

use crate::answer::{Numbers, RowForm};
use crate::compose::is_number_as_text;

/// Beyond this a double does not hold every integer.
const LARGEST_EXACT: u64 = 1 << 53;

/// Writes the rows of a result into one text.
pub(crate) struct Rows<'a> {
    /// The names of the columns, each once.
    pub names: &'a [String],
    /// The types of the columns as the engine calls them.
    pub kinds: Vec<&'a str>,
    pub form: RowForm,
    pub numbers: Numbers,
    /// Not more rows than these are written.
    pub most_rows: u64,
    /// Not more bytes than these.
    pub most_bytes: usize,
    pub text: String,
    pub rows: u64,
    /// Whether there were more rows.
    pub truncated: bool,
}

impl Rows<'_> {
    /// The rows as a JSON list.
    pub fn finish(mut self) -> (String, u64, bool) {
        self.text.push_str(if self.rows == 0 { "[]" } else { "]" });
        (self.text, self.rows, self.truncated)
    }

    fn row(&mut self, columns: &[ArrayRef], row: usize) -> Result<()> {
        self.text.push(if self.rows == 0 { '[' } else { ',' });
        self.text.push(if self.form == RowForm::Objects { '{' } else { '[' });
        for (position, column) in columns.iter().enumerate() {
            if position > 0 {
                self.text.push(',');
            }
            if self.form == RowForm::Objects {
                string(&mut self.text, self.names.get(position).map(String::as_str).unwrap_or_default());
                self.text.push(':');
            }
            let is_number = self.kinds.get(position).is_some_and(|kind| is_number_as_text(kind));
            match column.as_string_opt::<i32>().filter(|texts| is_number && !texts.is_null(row)) {
                Some(texts) => number(&mut self.text, texts.value(row), self.numbers),
                None => value(&mut self.text, column.as_ref(), row, self.numbers)?,
            }
            if self.text.len() > self.most_bytes {
                let megabytes = self.most_bytes / 1_048_576;
                return Err(Error::new(Code::Resource, format!("the result is larger than {megabytes} MiB"))
                    .with_hint("Select fewer or shorter columns, or fewer rows."));
            }
        }
        self.text.push(if self.form == RowForm::Objects { '}' } else { ']' });
        self.rows += 1;
        Ok(())
    }
}

impl Take for Rows<'_> {
    fn schema(&mut self, _schema: &SchemaRef) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>> {
        for row in 0..batch.num_rows() {
            if self.rows >= self.most_rows {
                self.truncated = true;
                return Ok(ControlFlow::Break(()));
            }
            self.row(batch.columns(), row)?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Writes a text as JSON.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// Writes digits as a number or, where that is asked for and a double would lose some, as text.
fn number(out: &mut String, digits: &str, numbers: Numbers) {
    let is_exact = digits.parse::<i64>().is_ok_and(|whole| whole.unsigned_abs() <= LARGEST_EXACT);
    if numbers == Numbers::Text && !is_exact {
        string(out, digits);
    } else {
        out.push_str(digits);
    }
}

/// The digits of a decimal.
fn decimal(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn double(out: &mut String, value: f64, shortest: &str) {
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else {
        out.push_str(shortest);
    }
}

/// Writes to a text cannot fail.
macro_rules! put {
    ($out:expr, $($what:tt)*) => { let _ = write!($out, $($what)*); };
}

fn value(out: &mut String, array: &dyn Array, row: usize, numbers: Numbers) -> Result<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    macro_rules! integer {
        ($kind:ty) => {
            number(out, &array.as_primitive::<$kind>().value(row).to_string(), numbers)
        };
    }
    match array.data_type() {
        DataType::Null => out.push_str("null"),
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(row);
            double(out, f64::from(number), &format!("{number:?}"));
        }
        DataType::Float64 => {
            let number = array.as_primitive::<Float64Type>().value(row);
            double(out, number, &format!("{number:?}"));
        }
        DataType::Decimal128(_, scale) => {
            // Not as Arrow writes it: a HUGEINT comes as one with a digit more than a decimal may have.
            let unscaled = array.as_primitive::<Decimal128Type>().value(row);
            number(out, &decimal(unscaled, usize::try_from(*scale).unwrap_or_default()), numbers);
        }
        DataType::Utf8 => string(out, array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => string(out, array.as_string::<i64>().value(row)),
        DataType::Utf8View => string(out, array.as_string_view().value(row)),
        DataType::Binary => string(out, &STANDARD.encode(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => string(out, &STANDARD.encode(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => string(out, &STANDARD.encode(array.as_binary_view().value(row))),
        DataType::FixedSizeBinary(_) => string(out, &STANDARD.encode(array.as_fixed_size_binary().value(row))),
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            match days {
                0x7FFF_FFFF => out.push_str("\"infinity\""),
                -0x7FFF_FFFF => out.push_str("\"-infinity\""),
                _ => {
                    put!(out, "\"{}\"", date(days));
                }
            }
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
            put!(out, "\"{}\"", time(micros.saturating_mul(1_000)));
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            let nanos = array.as_primitive::<Time64NanosecondType>().value(row);
            put!(out, "\"{}\"", time(nanos));
        }
        DataType::Timestamp(unit, zone) => {
            let (count, per_second) = match unit {
                TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1),
                TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1_000),
                TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000),
                TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000),
            };
            timestamp(out, count, per_second, zone.is_some());
        }
        DataType::Duration(_) => integer!(DurationMicrosecondType),
        DataType::Interval(_) => {
            let (months, days, nanos) =
                IntervalMonthDayNanoType::to_parts(array.as_primitive::<IntervalMonthDayNanoType>().value(row));
            put!(out, "\"{months} months {days} days {} microseconds\"", nanos / 1_000);
        }
        DataType::List(_) => list(out, &array.as_list::<i32>().value(row), numbers)?,
        DataType::LargeList(_) => list(out, &array.as_list::<i64>().value(row), numbers)?,
        DataType::FixedSizeList(_, _) => list(out, &array.as_fixed_size_list().value(row), numbers)?,
        DataType::Struct(_) => structure(out, array.as_struct(), row, numbers)?,
        DataType::Map(_, _) => map(out, &array.as_map().value(row), numbers)?,
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or_default();
            value(out, dictionary.values().as_ref(), key, numbers)?;
        }
        DataType::Union(_, _) => {
            let inner = make_array(array.to_data()).as_union().value(row);
            value(out, inner.as_ref(), 0, numbers)?;
        }
        other => {
            return Err(Error::new(Code::Schema, format!("values of the type {other} cannot be shown"))
                .with_hint("Cast the column to VARCHAR."));
        }
    }
    Ok(())
}

fn list(out: &mut String, items: &ArrayRef, numbers: Numbers) -> Result<()> {
    out.push('[');
    for item in 0..items.len() {
        if item > 0 {
            out.push(',');
        }
        value(out, items.as_ref(), item, numbers)?;
    }
    out.push(']');
    Ok(())
}

fn structure(out: &mut String, fields: &StructArray, row: usize, numbers: Numbers) -> Result<()> {
    out.push('{');
    for (position, (field, column)) in fields.fields().iter().zip(fields.columns()).enumerate() {
        if position > 0 {
            out.push(',');
        }
        string(out, field.name());
        out.push(':');
        value(out, column.as_ref(), row, numbers)?;
    }
    out.push('}');
    Ok(())
}

fn map(out: &mut String, entries: &StructArray, numbers: Numbers) -> Result<()> {
    let (Some(keys), Some(values)) = (entries.columns().first(), entries.columns().get(1)) else {
        out.push_str("null");
        return Ok(());
    };
    let by_text = matches!(keys.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    out.push(if by_text { '{' } else { '[' });
    for entry in 0..entries.len() {
        if entry > 0 {
            out.push(',');
        }
        out.push_str(if by_text { "" } else { "{\"key\":" });
        value(out, keys.as_ref(), entry, numbers)?;
        out.push_str(if by_text { ":" } else { ",\"value\":" });
        value(out, values.as_ref(), entry, numbers)?;
        out.push_str(if by_text { "" } else { "}" });
    }
    out.push(if by_text { '}' } else { ']' });
    Ok(())
}

/// A day in ISO 8601, by the calendar that reaches beyond what others hold.
fn date(days_since_1970: i64) -> String {
    // Howard Hinnant's civil_from_days, over eras of 400 years that begin in March.
    let days = days_since_1970 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        0..=9_999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{}{:06}-{month:02}-{day:02}", if year < 0 { '-' } else { '+' }, year.unsigned_abs()),
    }
}

/// A time of day in ISO 8601, with as many digits behind the seconds as it has.
fn time(nanos: i64) -> String {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{hours:02}:{minutes:02}:{rest:02}");
    if fraction > 0 {
        let digits =
            if fraction % 1_000 == 0 { format!("{:06}", fraction / 1_000) } else { format!("{fraction:09}") };
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

fn timestamp(out: &mut String, count: i64, per_second: i64, has_zone: bool) {
    match count {
        i64::MAX => out.push_str("\"infinity\""),
        count if count == -i64::MAX => out.push_str("\"-infinity\""),
        _ => {
            let per_day = per_second * 86_400;
            let nanos = count.rem_euclid(per_day) * (1_000_000_000 / per_second);
            let zone = if has_zone { "+00:00" } else { "" };
            put!(out, "\"{}T{}{zone}\"", date(count.div_euclid(per_day)), time(nanos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+010000-01-01"),
            (-719_528, "0000-01-01"),
            (-719_529, "-000001-12-31"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn moments_have_the_digits_that_they_have() {
        let written = |count, per_second, zone| {
            let mut out = String::new();
            timestamp(&mut out, count, per_second, zone);
            out
        };
        assert_eq!(written(0, 1, false), "\"1970-01-01T00:00:00\"");
        assert_eq!(written(-1, 1_000_000, true), "\"1969-12-31T23:59:59.999999+00:00\"");
        assert_eq!(written(1_500, 1_000, false), "\"1970-01-01T00:00:01.5\"");
        assert_eq!(written(1, 1_000_000_000, false), "\"1970-01-01T00:00:00.000000001\"");
        assert_eq!(written(i64::MAX, 1_000_000, false), "\"infinity\"");
    }

    #[test]
    fn numbers_lose_nothing() {
        let written = |digits, numbers| {
            let mut out = String::new();
            number(&mut out, digits, numbers);
            out
        };
        assert_eq!(written("9007199254740993", Numbers::Exact), "9007199254740993");
        assert_eq!(written("9007199254740993", Numbers::Text), "\"9007199254740993\"");
        assert_eq!(written("9007199254740992", Numbers::Text), "9007199254740992");
        assert_eq!(written("1.10", Numbers::Text), "\"1.10\"");
    }
}
