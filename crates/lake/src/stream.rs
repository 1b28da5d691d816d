//! The result of a query batch by batch, as the engine computes it: nothing but the batch at hand is kept.

use std::ops::ControlFlow;

use duckdb::Connection;
use duckdb::arrow::array::RecordBatch;
use duckdb::arrow::datatypes::SchemaRef;
use duckdb::params_from_iter;
use duckdb::types::Value;
use error::{Code, Error, Result};

use crate::Session;
use crate::failure::translate;

/// A value for a parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Double(f64),
    /// Text, also of dates and whatever else can be written as text.
    Text(String),
}

/// The values for the parameters of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    /// For `?` and `$1`, in order.
    Positional(Vec<Parameter>),
    /// For `$name`.
    Named(Vec<(String, Parameter)>),
}

impl Default for Parameters {
    fn default() -> Self {
        Self::Positional(Vec::new())
    }
}

/// Who takes a result, batch by batch. To break is to have enough.
pub trait Take {
    /// The columns; before any batch.
    fn schema(&mut self, schema: &SchemaRef) -> Result<ControlFlow<()>>;
    /// Some rows.
    fn batch(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>>;
}

impl Session {
    /// Runs one query and hands over its rows as they are computed, all of one snapshot. The session must not be in a
    /// transaction.
    ///
    /// # Errors
    /// What the engine says of the statement, with its place in `sql`; `QUERY` for parameters that do not fit; and what
    /// `take` fails with.
    pub fn stream(&self, sql: &str, parameters: &Parameters, take: &mut dyn Take) -> Result<()> {
        self.connection.execute_batch("BEGIN").map_err(|failure| translate(failure, "", 0))?;
        let result = self.stream_within(sql, parameters, take);
        // Nothing was written: how it ends makes no difference, and after a failure only this end is possible.
        if let Err(failure) = self.connection.execute_batch("ROLLBACK") {
            tracing::debug!(%failure, "a transaction that only read had ended already");
        }
        result
    }

    /// The names of a statement's parameters in the order of their values: `1`, `2` for `?` and `$1`, or as they are named.
    ///
    /// # Errors
    /// What the engine says of the statement, with its place in `sql`.
    pub fn parameters(&self, sql: &str) -> Result<Vec<String>> {
        let statement = self.connection.prepare(sql).map_err(|failure| translate(failure, sql, 0))?;
        named(&statement)
    }

    fn stream_within(&self, sql: &str, parameters: &Parameters, take: &mut dyn Take) -> Result<()> {
        stream_rows(&self.connection, sql, parameters, take)
    }
}

/// Runs one query on a connection and hands over its rows as they are computed.
pub(crate) fn stream_rows(
    connection: &Connection,
    sql: &str,
    parameters: &Parameters,
    take: &mut dyn Take,
) -> Result<()> {
    let failed = |failure| translate(failure, sql, 0);
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let values = ordered(&statement, parameters)?;
    let schema = statement.stream_arrow(params_from_iter(values)).map_err(failed)?.get_schema();
    if take.schema(&schema)?.is_break() {
        return Ok(());
    }
    // Not the iterator of the result, which panics where a row cannot be computed.
    while let Some(rows) = statement.step().map_err(failed)? {
        if take.batch(&RecordBatch::from(&rows))?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// The values in the order of the statement's parameters.
fn ordered(statement: &duckdb::Statement<'_>, parameters: &Parameters) -> Result<Vec<Value>> {
    let count = statement.parameter_count();
    match parameters {
        Parameters::Positional(values) if values.len() == count => Ok(values.iter().map(value).collect()),
        Parameters::Positional(values) => {
            Err(wrong(format!("the statement has {count} parameters, and {} values were given", values.len())))
        }
        Parameters::Named(values) => {
            let names = named(statement)?;
            if let Some((unknown, _)) = values.iter().find(|(name, _)| !names.contains(name)) {
                return Err(wrong(format!("the statement has no parameter ${unknown}")));
            }
            let found = |name: &String| values.iter().find(|(given, _)| given == name).map(|(_, given)| value(given));
            names.iter().map(|name| found(name).ok_or_else(|| wrong(format!("no value for ${name}")))).collect()
        }
    }
}

fn named(statement: &duckdb::Statement<'_>) -> Result<Vec<String>> {
    let name = |position| statement.parameter_name(position).map_err(|failure| translate(failure, "", 0));
    (1..=statement.parameter_count()).map(name).collect()
}

fn wrong(message: String) -> Error {
    Error::new(Code::Query, message)
        .with_hint("Give one value for each parameter: a list for ? and $1, an object for $name.")
}

fn value(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::Null => Value::Null,
        Parameter::Boolean(value) => Value::Boolean(*value),
        Parameter::Integer(value) => Value::BigInt(*value),
        Parameter::Double(value) => Value::Double(*value),
        Parameter::Text(value) => Value::Text(value.clone()),
    }
}
