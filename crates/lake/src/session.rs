//! One connection to the lake: running SQL, with failures in the product's terms.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::types::{TimeUnit, Value, ValueRef};
use duckdb::{Connection, Row};
use error::{Code, Error, Result};
use sql::names::quote_identifier;

use crate::attach::Shared;
use crate::failure::translate;
use crate::scans::Watched;

/// The result of a query, every value as DuckDB renders it as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Name and type of each column.
    pub columns: Vec<(String, String)>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// One connection to the lake. Temporary tables belong to their session; unqualified names mean the lake's schema.
pub struct Session {
    pub(crate) connection: Connection,
    pub(crate) lake: Arc<Shared>,
    /// Whether a transaction is open; `None` where that is the user's business.
    pub(crate) transaction: Option<Cell<bool>>,
    pub(crate) scans: Watched,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("lake", &self.lake.alias).finish_non_exhaustive()
    }
}

/// Stops what a session is doing, from any thread.
#[derive(Clone)]
pub struct InterruptHandle {
    handle: Arc<duckdb::InterruptHandle>,
}

impl InterruptHandle {
    pub(crate) fn of(connection: &Connection) -> Self {
        Self { handle: connection.interrupt_handle() }
    }

    /// Makes the statement that the session is running fail. Without one, or after the session's end, it does
    /// nothing.
    pub fn interrupt(&self) {
        self.handle.interrupt();
    }
}

impl fmt::Debug for InterruptHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterruptHandle").finish_non_exhaustive()
    }
}

const DESCRIBE: &str = "DESCRIBE ";

impl Session {
    /// The name under which the lake is attached.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.lake.alias
    }

    /// Runs one or several statements; the result is how many rows the last one changed.
    pub fn execute(&self, sql: &str) -> Result<u64> {
        self.notice_inlining_options(sql);
        self.executed(sql)
    }

    pub(crate) fn executed(&self, sql: &str) -> Result<u64> {
        let word = first_word(sql);
        let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
        let result = match is(&["create", "drop", "select", "with", "insert", "update", "delete"]) {
            true => traced(sql, || self.planned_once(|| self.run(sql))),
            false => traced(sql, || self.run(sql)),
        };
        if let Some(open) = &self.transaction {
            // A COMMIT that fails ends its transaction as well.
            open.set(open.get() && !is(&["commit", "rollback"]) || result.is_ok() && is(&["begin"]));
        }
        if result.is_err() && self.transaction.is_some() && is(&["begin", "commit", "rollback"]) {
            self.end_for_sure();
        }
        result.map_err(|failure| translate(failure, sql, 0))
    }

    /// Leaves no transaction open: a COMMIT or ROLLBACK that is interrupted before it does anything ends none.
    fn end_for_sure(&self) {
        // As a rule there is none, and this fails.
        self.connection.execute_batch("ROLLBACK").ok();
    }

    /// Prepares and runs a statement in one transaction. Without one that holds both, what is prepared is planned once more
    /// when it runs, and to plan is what costs: the lake's catalog is asked for the files of every table.
    fn planned_once<T>(&self, work: impl FnOnce() -> duckdb::Result<T>) -> duckdb::Result<T> {
        match &self.transaction {
            Some(open) if !open.get() => {}
            _ => return work().inspect(|_| self.follow_scans()),
        }
        if let Err(failure) = self.connection.execute_batch("BEGIN") {
            self.end_for_sure();
            return Err(failure);
        }
        let result = work().inspect(|_| self.follow_scans());
        let end = self.connection.execute_batch(if result.is_ok() { "COMMIT" } else { "ROLLBACK" });
        if end.is_err() {
            self.end_for_sure();
        }
        result.and_then(|result| end.map(|()| result))
    }

    fn run(&self, sql: &str) -> duckdb::Result<u64> {
        if first_word(sql).eq_ignore_ascii_case("call") {
            // What a maintenance function bound when it was prepared, it cannot use in the transaction that runs it.
            return self.connection.execute_batch(sql).map(|()| 0);
        }
        let mut statement = self.connection.prepare(sql)?;
        let changed = statement.execute([])?;
        Ok(u64::try_from(changed).unwrap_or_default())
    }

    /// Runs one statement and collects its rows.
    pub fn query(&self, sql: &str) -> Result<Rows> {
        self.notice_inlining_options(sql);
        let sql = sql.trim().trim_end_matches(';').trim_end();
        // DuckDB renders the values itself wherever the statement can be a subquery; what cannot (SHOW, CALL,
        // EXPLAIN, INSERT ... RETURNING) gives plain values that are rendered here.
        if can_be_subquery(sql)
            && let Ok(columns) = self.describe(sql)
        {
            match self.query_as_text(sql, columns) {
                // A second statement or a comment after the semicolon.
                Err(failure) if failure.message().starts_with("syntax error") => {}
                result => return result,
            }
        }
        if first_word(sql).eq_ignore_ascii_case("call") {
            return self.query_in_transaction(sql);
        }
        self.query_as_values(sql)
    }

    /// Preparing and running in one transaction, as DuckLake's maintenance functions need it.
    fn query_in_transaction(&self, sql: &str) -> Result<Rows> {
        if self.is_in_transaction()? {
            return self.query_as_values(sql);
        }
        self.execute("BEGIN")?;
        let result = self.query_as_values(sql);
        let end = self.execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" });
        match (result, end) {
            (Ok(_), Err(failure)) => Err(failure),
            (result, _) => result,
        }
    }

    /// Whether the session is in a transaction. A BEGIN that is one too many would abort it, and a COMMIT after that says that
    /// all was well; so it is asked by what stays the same within a transaction only.
    fn is_in_transaction(&self) -> Result<bool> {
        let transaction = || -> Result<Rows> { self.query_as_values("SELECT epoch_us(now())") };
        Ok(transaction()?.rows == transaction()?.rows)
    }

    fn query_as_text(&self, sql: &str, columns: Vec<(String, String)>) -> Result<Rows> {
        let list: Vec<String> = (1..=columns.len()).map(|number| format!("#{number}::VARCHAR")).collect();
        let head = format!("SELECT {} FROM (", list.join(", "));
        // The line break ends a comment that ends the user's text.
        let wrapped = format!("{head}{sql}\n)");
        let width = columns.len();
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(&wrapped)?;
            let rows = statement.query_map([], |row| (0..width).map(|index| row.get(index)).collect())?;
            rows.collect::<duckdb::Result<Vec<Vec<Option<String>>>>>()
        };
        let rows =
            traced(&wrapped, || self.planned_once(read)).map_err(|failure| translate(failure, sql, head.len()))?;
        Ok(Rows { columns, rows })
    }

    fn query_as_values(&self, sql: &str) -> Result<Rows> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(sql)?;
            let mut result = statement.query([])?;
            let mut rows = Vec::new();
            let mut width = None;
            while let Some(row) = result.next()? {
                let statement: &duckdb::Statement<'_> = row.as_ref();
                let width = *width.get_or_insert_with(|| statement.column_count());
                rows.push((0..width).map(|index| Ok(render(row.get_ref(index)?))).collect::<duckdb::Result<_>>()?);
            }
            let columns = result.as_ref().map_or_else(Vec::new, |statement| {
                let names = statement.column_names();
                names.into_iter().enumerate().map(|(i, name)| (name, statement.column_type(i).to_string())).collect()
            });
            Ok(Rows { columns, rows })
        };
        traced(sql, || self.planned_once(read)).map_err(|failure| translate(failure, sql, 0))
    }

    /// The one row of a statement whose columns are all BIGINT; NULL and what is negative count as 0.
    pub fn counts(&self, sql: &str) -> Result<Vec<u64>> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(sql)?;
            let mut result = statement.query([])?;
            let mut counts = Vec::new();
            if let Some(row) = result.next()? {
                let width = row.as_ref().column_count();
                for column in 0..width {
                    let value: Option<i64> = row.get(column)?;
                    counts.push(value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default());
                }
            }
            Ok(counts)
        };
        traced(sql, || self.planned_once(read)).map_err(|failure| translate(failure, sql, 0))
    }

    /// Runs a statement that makes a table of a SELECT; the result is how many rows that has. The engine says so in the one row
    /// of the statement's result, not where it counts changed rows.
    pub fn create_as(&self, sql: &str) -> Result<u64> {
        Ok(self.counts(sql)?.first().copied().unwrap_or_default())
    }

    /// The first column of a statement that gives texts: a VARCHAR needs no rendering, and so no look at the types.
    pub fn texts(&self, sql: &str) -> Result<Vec<Option<String>>> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        traced(sql, || self.planned_once(read)).map_err(|failure| translate(failure, sql, 0))
    }

    /// Names and types of what a SELECT gives, without running it.
    pub fn describe(&self, select: &str) -> Result<Vec<(String, String)>> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(&format!("{DESCRIBE}{select}"))?;
            let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            columns.collect()
        };
        traced(select, || self.planned_once(read)).map_err(|failure| translate(failure, select, DESCRIBE.len()))
    }

    /// A handle that stops what this session is doing.
    #[must_use]
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle::of(&self.connection)
    }

    /// The rows of a statement of this crate's own, which is why no place in it is reported.
    pub(crate) fn rows<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> duckdb::Result<T>) -> Result<Vec<T>> {
        let collect = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], read)?;
            rows.collect()
        };
        traced(sql, || self.planned_once(collect)).map_err(|failure| translate(failure, "", 0))
    }

    /// The one row of a statement of this crate's own.
    pub(crate) fn row<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> duckdb::Result<T>) -> Result<T> {
        let row = self.rows(sql, read)?.into_iter().next();
        row.ok_or_else(|| Error::new(Code::Internal, "the lake's catalog gave no row where there is always one"))
    }

    /// A table of DuckLake's metadata, for use in FROM.
    pub(crate) fn metadata(&self, table: &str) -> String {
        format!("{}.{table}", self.lake.metadata)
    }

    /// The lake's alias as an identifier.
    pub(crate) fn quoted_alias(&self) -> String {
        quote_identifier(&self.lake.alias)
    }
}

/// What statements to the lake have taken of a thread's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How long they took.
    pub time: Duration,
    /// How many they were.
    pub statements: u64,
}

thread_local! {
    static SPENT: Cell<Spent> = const { Cell::new(Spent { time: Duration::ZERO, statements: 0 }) };
}

/// What all statements of this thread to any lake have taken so far. Of value is the difference of two of these.
#[must_use]
pub fn spent() -> Spent {
    SPENT.get()
}

/// Runs something that is one statement to the engine, and says in the log how long it took.
fn traced<T>(sql: &str, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = run();
    let took = began.elapsed();
    let before = SPENT.get();
    SPENT.set(Spent { time: before.time + took, statements: before.statements + 1 });
    if tracing::enabled!(tracing::Level::TRACE) {
        let shown = if may_hold_secrets(sql) { first_word(sql) } else { sql };
        tracing::trace!(ms = took.as_secs_f64() * 1e3, sql = shown, "statement");
    }
    result
}

fn may_hold_secrets(sql: &str) -> bool {
    ["attach", "set", "pragma"].iter().any(|word| first_word(sql).eq_ignore_ascii_case(word))
        || sql.to_ascii_lowercase().contains("secret")
}

/// Whether a statement begins like one that may stand in FROM (...).
fn can_be_subquery(sql: &str) -> bool {
    let word = first_word(sql);
    ["(", "select", "from", "with", "values", "table"].iter().any(|start| word.eq_ignore_ascii_case(start))
}

/// The word (or opening parenthesis) that a statement begins with, after comments.
fn first_word(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after).trim_start();
        } else {
            break;
        }
    }
    if rest.starts_with('(') {
        return &rest[..1];
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    &rest[..end]
}

/// A value of a statement that DuckDB does not render itself.
fn render(value: ValueRef<'_>) -> Option<String> {
    let value = match value {
        ValueRef::Null => return None,
        ValueRef::Timestamp(unit, count) => return Some(render_timestamp(unit, count)),
        other => Value::from(other),
    };
    Some(match value {
        Value::Boolean(value) => value.to_string(),
        Value::TinyInt(value) => value.to_string(),
        Value::SmallInt(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::BigInt(value) => value.to_string(),
        Value::HugeInt(value) => value.to_string(),
        Value::UTinyInt(value) => value.to_string(),
        Value::USmallInt(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::UBigInt(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Text(text) | Value::Enum(text) => text,
        Value::Blob(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => format!("{other:?}"),
    })
}

fn render_timestamp(unit: TimeUnit, count: i64) -> String {
    let micros = match unit {
        TimeUnit::Second => count.saturating_mul(1_000_000),
        TimeUnit::Millisecond => count.saturating_mul(1_000),
        TimeUnit::Microsecond => count,
        TimeUnit::Nanosecond => count / 1_000,
    };
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| count.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S%.f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_from() {
        for sql in ["SELECT 1", "-- x\n from t", "/* a */ with x as (select 1) from x", "(select 1)", "values(1)"] {
            assert!(can_be_subquery(sql), "{sql}");
        }
        for sql in ["SHOW TABLES", "call x()", "insert into t values (1)", "", "t", "selected"] {
            assert!(!can_be_subquery(sql), "{sql}");
        }
    }

    #[test]
    fn secrets_are_not_logged() {
        for sql in [
            "ATTACH 'ducklake:postgres:password=x' AS lake",
            "set s3_secret_access_key = 'x'",
            "CREATE OR REPLACE Secret s (x)",
        ] {
            assert!(may_hold_secrets(sql), "{sql}");
        }
        assert!(!may_hold_secrets("SELECT settle FROM t"));
    }

    #[test]
    fn timestamps_render_like_duckdb_does() {
        assert_eq!(render_timestamp(TimeUnit::Microsecond, 1_500_000), "1970-01-01 00:00:01.5");
        assert_eq!(render_timestamp(TimeUnit::Second, 0), "1970-01-01 00:00:00");
    }
}
