//! What a query gives, by DuckDB alone: the query's own text over plain copies of the tables, in memory, without a
//! lake, time travel or any rule of ours.

use std::time::Duration;

use error::{Code, Error, Result};
use lake::Rows;
use testkit::lake::ThrowAway;

use crate::limit::within;

/// Evaluates queries over copies of the tables of a lake.
pub struct Oracle<'a> {
    lake: &'a ThrowAway,
    copied: bool,
    tables: Vec<String>,
    dynamic: Vec<String>,
    /// Dynamic tables that are read by others: to the oracle they are their queries.
    upstream: Vec<(String, String)>,
}

/// No result has more rows at first: joins of joins of dynamic tables may have millions.
const MOST_ROWS: u64 = 5_000;

/// No query takes longer: what multiplies its tables with each other says no more than a smaller one.
const LONGEST: Duration = Duration::from_secs(20);

const LAKE: &str = "USE lake.main";
const MEMORY: &str = "USE memory.main";

impl<'a> Oracle<'a> {
    /// An oracle for a lake.
    pub const fn new(lake: &'a ThrowAway) -> Self {
        Self { lake, copied: false, tables: Vec::new(), dynamic: Vec::new(), upstream: Vec::new() }
    }

    /// The tables have changed.
    pub const fn forget(&mut self) {
        self.copied = false;
    }

    /// A view that the lake has.
    pub fn view(&mut self, statement: &str) -> Result<()> {
        self.copy()?;
        self.in_memory(|session| session.execute(statement).map(drop))
    }

    /// The name of a dynamic table, which is nothing to copy.
    pub fn dynamic(&mut self, name: &str) {
        self.dynamic.push(name.to_owned());
    }

    /// A dynamic table that others may read.
    pub fn upstream(&mut self, name: &str, query: &str) {
        self.upstream.push((name.to_owned(), query.to_owned()));
        self.copied = false;
    }

    /// The rows that a query must give.
    pub fn rows(&mut self, query: &str) -> Result<Rows> {
        self.copy()?;
        self.in_memory(|session| session.query(query))
    }

    /// Whether the query can be run at all: where the engine cannot, over the copies or over the lake itself, nothing
    /// can be asked of the product.
    pub fn evaluable(&mut self, query: &str) -> Result<()> {
        self.rows(query)?;
        limited(&self.lake.others, |session| session.query(query).map(drop))
    }

    /// Whether a query binds, and gives few enough rows to be compared again and again.
    pub fn is_suitable(&mut self, query: &str) -> Result<()> {
        self.copy()?;
        let rows = self.in_memory(|session| {
            session.describe(query)?;
            let some = format!("SELECT count(*) FROM (SELECT 1 FROM ({query}\n) LIMIT {})", MOST_ROWS + 1);
            Ok(session.counts(&some).map_or(0, |counts| counts.first().copied().unwrap_or_default()))
        })?;
        if rows > MOST_ROWS {
            return Err(Error::new(Code::Resource, "the result is too large to be compared again and again"));
        }
        Ok(())
    }

    /// Puts the rows of the copies into another order, which must make no difference to a query with one answer.
    pub fn shuffle(&mut self, salt: usize) -> Result<()> {
        self.copy()?;
        self.copied = false;
        for table in &self.tables {
            self.lake.others.execute(&format!(
                "CREATE OR REPLACE TABLE memory.main.{table} AS FROM lake.main.{table} ORDER BY hash({salt}, {table})"
            ))?;
        }
        self.copied = true;
        Ok(())
    }

    fn copy(&mut self) -> Result<()> {
        if self.copied {
            return Ok(());
        }
        let session = &self.lake.others;
        let names = session.query(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = 'main' ORDER BY ALL",
        )?;
        self.tables = names.rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        self.tables.retain(|name| !self.dynamic.contains(name));
        for table in &self.tables {
            session.execute(&format!("CREATE OR REPLACE TABLE memory.main.{table} AS FROM lake.main.{table}"))?;
        }
        self.copied = true;
        self.in_memory(|session| {
            for (name, query) in &self.upstream {
                // One that no longer binds is missed by its readers, as it should be.
                drop(session.execute(&format!("CREATE OR REPLACE VIEW {name} AS {query}")));
            }
            Ok(())
        })
    }

    fn in_memory<T>(&self, run: impl FnOnce(&lake::Session) -> Result<T>) -> Result<T> {
        self.lake.others.execute(MEMORY)?;
        let result = limited(&self.lake.others, run);
        self.lake.others.execute(LAKE)?;
        result
    }
}

fn limited<T>(session: &lake::Session, run: impl FnOnce(&lake::Session) -> Result<T>) -> Result<T> {
    let handle = session.interrupt_handle();
    within(LONGEST, move || handle.interrupt(), || run(session))
}
