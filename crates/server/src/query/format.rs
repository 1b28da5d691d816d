//! The forms in which a result is given: which is asked for, and writing rows in it as they come.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatchOptions, TimestampMicrosecondArray};
use arrow_ipc::writer::StreamWriter;
use arrow_json::writer::{JsonArray, LineDelimited, WriterBuilder};
use arrow_schema::Schema;
use error::{Code, Error, Result};
use lake::{RecordBatch, SchemaRef, Take};

/// The one time zone of what is written as text.
const UTC: &str = "+00:00";

/// A form in which a result is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object with the columns and the rows.
    Json,
    /// One JSON object per row, one per line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
    /// Arrow's stream of batches.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Json, Self::JsonLines, Self::Csv, Self::Arrow, Self::Parquet];

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "jsonl" | "ndjson" => Self::JsonLines,
            "csv" => Self::Csv,
            "arrow" => Self::Arrow,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    /// The one that an Accept header likes best; of those that it likes alike the first that it names.
    pub fn accepted(accept: &str) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            let format = match media_type.as_str() {
                "*/*" | "application/*" | "" => Some(Self::Json),
                "text/*" => Some(Self::Csv),
                "application/jsonl" | "application/jsonlines" => Some(Self::JsonLines),
                _ => Self::ALL.into_iter().find(|format| format.media_type() == media_type),
            };
            if let Some(format) = format
                && weight > 0.0
                && best.is_none_or(|(known, _)| weight > known)
            {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format)
    }
}

/// Writes the rows of a result, at most so many, as they come.
pub(crate) struct Rows<W: Write> {
    format: Format,
    left: Option<u64>,
    rows: u64,
    truncated: bool,
    /// None before the columns are known, and once all is written.
    form: Option<Form<W>>,
    /// Where to, until the columns are known.
    out: Option<W>,
    /// Whether to go on.
    go_on: Box<dyn Fn() -> bool>,
}

enum Form<W: Write> {
    Json(Box<arrow_json::writer::Writer<W, JsonArray>>),
    JsonLines(Box<arrow_json::writer::Writer<W, LineDelimited>>),
    Csv(Box<arrow_csv::Writer<W>>),
    Arrow(Box<StreamWriter<W>>),
}

impl<W: Write> Rows<W> {
    /// Writes to `out` as long as `go_on` says so.
    pub fn new(format: Format, limit: Option<u64>, out: W, go_on: impl Fn() -> bool + 'static) -> Self {
        let go_on = Box::new(go_on);
        Self { format, left: limit, rows: 0, truncated: false, form: None, out: Some(out), go_on }
    }

    /// Writes the end; where it was written to.
    pub fn finish(mut self) -> Result<Option<W>> {
        let Some(form) = self.form.take() else { return Ok(self.out) };
        Ok(Some(match form {
            Form::Json(mut writer) => {
                writer.finish().map_err(unwritten)?;
                let mut out = writer.into_inner();
                let tail = format!(",\"row_count\":{},\"truncated\":{}}}\n", self.rows, self.truncated);
                out.write_all(tail.as_bytes()).map_err(gone)?;
                out
            }
            Form::JsonLines(mut writer) => {
                writer.finish().map_err(unwritten)?;
                writer.into_inner()
            }
            Form::Csv(writer) => writer.into_inner(),
            Form::Arrow(writer) => writer.into_inner().map_err(unwritten)?,
        }))
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let in_utc;
        let batch = match self.format {
            Format::Arrow => batch,
            _ => {
                in_utc = in_utc_offset(batch)?;
                &in_utc
            }
        };
        match &mut self.form {
            Some(Form::Json(writer)) => writer.write(batch),
            Some(Form::JsonLines(writer)) => writer.write(batch),
            Some(Form::Csv(writer)) => writer.write(batch),
            Some(Form::Arrow(writer)) => writer.write(batch),
            None => Ok(()),
        }
        .map_err(unwritten)
    }
}

impl<W: Write> Take for Rows<W> {
    fn schema(&mut self, schema: &SchemaRef) -> Result<ControlFlow<()>> {
        let Some(mut out) = self.out.take() else { return Ok(ControlFlow::Break(())) };
        self.form = Some(match self.format {
            Format::Json => {
                let columns: Vec<serde_json::Value> = schema
                    .fields()
                    .iter()
                    .map(|field| {
                        serde_json::json!({ "name": field.name(), "type": field.data_type().to_string(), "nullable": field.is_nullable() })
                    })
                    .collect();
                let head = format!("{{\"columns\":{},\"rows\":", serde_json::Value::from(columns));
                out.write_all(head.as_bytes()).map_err(gone)?;
                Form::Json(Box::new(WriterBuilder::new().with_explicit_nulls(true).build(out)))
            }
            Format::JsonLines => Form::JsonLines(Box::new(WriterBuilder::new().with_explicit_nulls(true).build(out))),
            Format::Csv => {
                let mut writer = arrow_csv::WriterBuilder::new().with_header(true).build(out);
                // The header is there though no row may come.
                let none = in_utc_offset(&RecordBatch::new_empty(Arc::clone(schema)))?;
                writer.write(&none).map_err(unwritten)?;
                Form::Csv(Box::new(writer))
            }
            Format::Arrow => Form::Arrow(Box::new(StreamWriter::try_new(out, schema).map_err(unwritten)?)),
            Format::Parquet => return Err(Error::new(Code::Internal, "a Parquet file is not written row by row")),
        });
        Ok(ControlFlow::Continue(()))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>> {
        if !(self.go_on)() {
            return Err(Error::new(Code::Resource, "the query was cancelled"));
        }
        let rows = batch.num_rows();
        let wanted = self.left.map_or(rows, |left| usize::try_from(left).unwrap_or(usize::MAX).min(rows));
        if wanted < rows {
            self.truncated = true;
            self.write(&batch.slice(0, wanted))?;
        } else {
            self.write(batch)?;
        }
        self.rows += wanted as u64;
        if let Some(left) = &mut self.left {
            *left -= wanted as u64;
        }
        Ok(if self.truncated { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// The same moments with an offset in place of the name of a time zone, which what writes text does not know.
fn in_utc_offset(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let moments = column.as_any().downcast_ref::<TimestampMicrosecondArray>();
        match moments.filter(|moments| moments.timezone().is_some()) {
            Some(moments) => {
                let moments = moments.clone().with_timezone(UTC);
                let kind = moments.data_type().clone();
                fields.push(Arc::new(field.as_ref().clone().with_data_type(kind)));
                columns.push(Arc::new(moments) as ArrayRef);
            }
            None => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(unwritten)
}

/// Rows that cannot be written in this form, or that nobody reads any more.
fn unwritten(cause: arrow_schema::ArrowError) -> Error {
    match cause {
        arrow_schema::ArrowError::IoError(_, cause) => gone(cause),
        other => Error::new(Code::Schema, format!("the result cannot be written in this form: {other}"))
            .with_hint("Ask for another format, or cast the column to VARCHAR."),
    }
}

fn gone(cause: std::io::Error) -> Error {
    Error::new(Code::Connection, "nobody reads the result any more").with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_given() {
        for (accept, expected) in [
            ("*/*", Some(Format::Json)),
            ("text/csv, application/json;q=0.5", Some(Format::Csv)),
            ("application/json;q=0.1, application/vnd.apache.arrow.stream", Some(Format::Arrow)),
            ("application/x-ndjson", Some(Format::JsonLines)),
            ("image/png, */*;q=0.1", Some(Format::Json)),
            ("image/png", None),
            ("text/csv;q=0", None),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }
}
