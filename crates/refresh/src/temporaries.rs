//! The temporary tables of a refresh: made while it computes, gone when it is over. They are the session's own and spill
//! to disk when memory is short.

use error::Result;
use sql::names::quote_identifier;

use crate::tables::DynamicTables;

impl DynamicTables {
    /// Keeps the rows of a SELECT in a temporary table. How many there are.
    pub(crate) fn keep(&self, table: &str, select: &str) -> Result<u64> {
        self.temporaries.borrow_mut().push(format!("TABLE IF EXISTS temp.main.{}", quote_identifier(table)));
        let rows = self.work(&format!("CREATE OR REPLACE TEMP TABLE {table} AS {select}"))?;
        // DuckDB does not always say how many rows it wrote.
        if rows > 0 { Ok(rows) } else { self.count(table) }
    }

    /// Gives a SELECT over temporary tables a name.
    pub(crate) fn name(&self, view: &str, select: &str) -> Result<()> {
        // Before the tables that it reads.
        self.temporaries.borrow_mut().insert(0, format!("VIEW IF EXISTS temp.main.{}", quote_identifier(view)));
        self.work(&format!("CREATE OR REPLACE TEMP VIEW {view} AS {select}")).map(|_| ())
    }

    /// Runs a statement that works on temporary tables only.
    pub(crate) fn work(&self, sql: &str) -> Result<u64> {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.push(sql.to_owned());
        }
        self.session.execute(sql)
    }

    /// The rows of a temporary table.
    pub(crate) fn count(&self, table: &str) -> Result<u64> {
        self.counts(&format!("SELECT count(*) FROM temp.main.{table}")).map(|[rows]| rows)
    }

    /// The one row of a SELECT with `N` columns that are all BIGINT.
    pub(crate) fn counts<const N: usize>(&self, select: &str) -> Result<[u64; N]> {
        let mut counts = self.session.counts(select)?.into_iter();
        Ok(std::array::from_fn(|_| counts.next().unwrap_or_default()))
    }

    /// Drops the temporary tables, so that their memory and disk are free again.
    pub(crate) fn forget_temporaries(&self) -> Result<()> {
        let names = std::mem::take(&mut *self.temporaries.borrow_mut());
        if names.is_empty() {
            return Ok(());
        }
        let drops: Vec<String> = names.iter().map(|name| format!("DROP {name}")).collect();
        self.session.execute(&drops.join("; ")).map(|_| ())
    }
}
