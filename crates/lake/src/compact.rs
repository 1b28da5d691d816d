//! Keeping the files of a table few: what the catalog says of them, and rewriting them in commits that change no row.
//!
//! This crate does not know when it is time for that.

use std::collections::HashMap;

use error::{Code, Error, Result};
use sql::names::{TableName, quote_literal};

use crate::table::list;
use crate::{Provenance, Session};

/// How the rows of a table lie, by the catalog alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Data files.
    pub files: u64,
    /// Rows in them, deleted ones included.
    pub rows: u64,
    /// Of these, rows that delete files take away.
    pub deleted: u64,
    /// Of these, rows in files that are small beside the largest.
    pub in_small_files: u64,
    /// Of these, rows in files that are older than the order in which the table's rows are written now.
    pub unsorted: u64,
    /// Rows in the catalog itself, those that went included: both are read with every scan.
    pub inlined: u64,
}

/// What is done to the files of a table, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Rows leave the catalog for a file.
    pub flush: bool,
    /// Files that have lost rows are written again without them, and small ones are written as one.
    pub rewrite: bool,
}

/// A file holds few rows if the largest holds so many times as many.
const SMALL: u64 = 10;

impl Session {
    /// How the rows of tables lie, in the order of their names; `None` where there is no such table.
    pub fn stored(&self, names: &[TableName]) -> Result<Vec<Option<Stored>>> {
        let ids = self.table_ids(names)?;
        let known: Vec<i64> = ids.iter().copied().flatten().collect();
        if known.is_empty() {
            return Ok(vec![None; names.len()]);
        }
        let (files, deletes) = (self.metadata("ducklake_data_file"), self.metadata("ducklake_delete_file"));
        // A merged file begins where the oldest of its parts began, but its number is a new one.
        let (sorts, snapshots) = (self.metadata("ducklake_sort_info"), self.metadata("ducklake_snapshot"));
        let known_listed = list(&known);
        // A flush leaves delete files also for data files that are no part of the table any more.
        let sql = format!(
            "SELECT f.table_id::BIGINT, count(*)::BIGINT, sum(f.record_count)::BIGINT, \
               coalesce(sum(d.gone), 0)::BIGINT, \
               coalesce(sum(f.record_count) FILTER (f.record_count * {SMALL} < l.largest), 0)::BIGINT, \
               coalesce(sum(f.record_count) FILTER (f.begin_snapshot < s.since AND f.data_file_id < s.next_file), 0)::BIGINT \
             FROM {files} AS f \
             JOIN (SELECT table_id, max(record_count) AS largest FROM {files} \
                   WHERE table_id IN ({known_listed}) AND end_snapshot IS NULL GROUP BY table_id) AS l \
               ON l.table_id = f.table_id \
             LEFT JOIN (SELECT data_file_id, max(delete_count) AS gone FROM {deletes} \
                   WHERE table_id IN ({known_listed}) AND end_snapshot IS NULL GROUP BY data_file_id) AS d \
               ON d.data_file_id = f.data_file_id \
             LEFT JOIN (SELECT i.table_id, i.begin_snapshot AS since, n.next_file_id AS next_file FROM {sorts} AS i \
                   JOIN {snapshots} AS n ON n.snapshot_id = i.begin_snapshot \
                   WHERE i.table_id IN ({known_listed}) AND i.end_snapshot IS NULL) AS s \
               ON s.table_id = f.table_id \
             WHERE f.table_id IN ({known_listed}) AND f.end_snapshot IS NULL GROUP BY f.table_id"
        );
        let counts = self.rows(&sql, |row| {
            let count = |index: usize| row.get::<_, i64>(index).map(|count| u64::try_from(count).unwrap_or_default());
            let stored = Stored {
                files: count(1)?,
                rows: count(2)?,
                deleted: count(3)?,
                in_small_files: count(4)?,
                unsorted: count(5)?,
                inlined: 0,
            };
            Ok((row.get(0)?, stored))
        })?;
        let counts: HashMap<i64, Stored> = counts.into_iter().collect();
        let inlined = self.count_inlined(&known, ["true"])?;
        let of = |id: i64| {
            let [inlined] = inlined.get(&id).copied().unwrap_or([0]);
            let inlined = u64::try_from(inlined).unwrap_or_default();
            Stored { inlined, ..counts.get(&id).copied().unwrap_or_default() }
        };
        Ok(ids.into_iter().map(|id| id.map(of)).collect())
    }

    /// Flushes and rewrites the files of a table, in commits of their own that say they changed no row. Versions from before
    /// stay what they are: no snapshot and no file that one of them reads goes.
    ///
    /// # Errors
    /// What the lake says, mostly that somebody else wrote meanwhile. What was committed before that stays.
    pub fn compact(&self, table: &TableName, compaction: Compaction) -> Result<()> {
        let (alias, schema, name) =
            (quote_literal(&self.lake.alias), quote_literal(&table.schema), quote_literal(&table.name));
        let compacting = format!("compact {table}");
        // Each in a commit of its own: one sees only what was committed before it.
        if compaction.flush {
            self.in_commit(
                table,
                &compacting,
                &format!("CALL ducklake_flush_inlined_data({alias}, schema_name => {schema}, table_name => {name})"),
            )?;
        }
        if !compaction.rewrite {
            return Ok(());
        }
        let before = self.column_statistics(table)?;
        let rewrite =
            format!("CALL ducklake_rewrite_data_files({alias}, {name}, schema => {schema}, delete_threshold => 0)");
        let committed = self.in_commit(table, &compacting, &rewrite)?;
        if committed {
            self.widen_statistics(table, &before)?;
        }
        let merge = format!("CALL ducklake_merge_adjacent_files({alias}, {name}, schema => {schema})");
        self.in_commit(table, &compacting, &merge)?;
        Ok(())
    }

    /// Runs a statement that changes how a table lies and none of its rows, in a commit that says so. Whether something was
    /// committed meanwhile, by it or by others.
    pub(crate) fn in_commit(&self, table: &TableName, message: &str, statement: &str) -> Result<bool> {
        let before = self.current_snapshot()?.id;
        let extra_info = Provenance { refreshes: Vec::new(), compacted: vec![table.to_string()] }.to_json()?;
        let work = || -> Result<()> {
            self.execute("BEGIN")?;
            self.say_what_the_commit_is(message, &extra_info)?;
            self.execute(statement)?;
            self.execute("COMMIT")?;
            Ok(())
        };
        work().inspect_err(|_| self.roll_back())?;
        Ok(self.current_snapshot()?.id > before)
    }

    /// Gives the statistics of a table's columns back the bounds that they had before its files were rewritten. The engine has
    /// one set of them for all versions of a table, and rewriting narrows it to the rows that are left: a reader of an older
    /// version would then miss rows (decision 6). Wider bounds are always right.
    fn widen_statistics(&self, table: &TableName, before: &[ColumnStatistics]) -> Result<()> {
        let (columns, tables) = (self.metadata("ducklake_table_column_stats"), self.metadata("ducklake_table_stats"));
        let now = self.column_statistics(table)?;
        for old in before {
            let Some(new) = now.iter().find(|new| new.id == old.id && *new != old) else { continue };
            // Whoever inserted rows meanwhile has given them row ids, and may have widened the bounds elsewhere.
            let sql = format!(
                "UPDATE {columns} SET contains_null = {}, contains_nan = {}, min_value = {}, max_value = {} \
                 WHERE table_id = {} AND column_id = {} \
                   AND (SELECT max(next_row_id) FROM {tables} WHERE table_id = {}) = {}",
                literal(old.contains_null.as_deref()),
                literal(old.contains_nan.as_deref()),
                literal(old.min.as_deref()),
                literal(old.max.as_deref()),
                old.id.0,
                old.id.1,
                old.id.0,
                old.next_row,
            );
            if new.next_row != old.next_row || self.execute(&sql)? == 0 {
                let what = format!("somebody wrote to {table} while its files were rewritten");
                return Err(Error::new(Code::Conflict, what).with_transient(true));
            }
        }
        Ok(())
    }

    fn column_statistics(&self, table: &TableName) -> Result<Vec<ColumnStatistics>> {
        let Some(id) = self.table_ids(std::slice::from_ref(table))?.pop().flatten() else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT c.table_id::BIGINT, c.column_id::BIGINT, t.next_row_id::BIGINT, c.contains_null::VARCHAR, \
             c.contains_nan::VARCHAR, c.min_value::VARCHAR, c.max_value::VARCHAR \
             FROM {} AS c JOIN {} AS t ON t.table_id = c.table_id WHERE c.table_id = {id} AND t.table_id = {id}",
            self.metadata("ducklake_table_column_stats"),
            self.metadata("ducklake_table_stats")
        );
        self.rows(&sql, |row| {
            Ok(ColumnStatistics {
                id: (row.get(0)?, row.get(1)?),
                next_row: row.get(2)?,
                contains_null: row.get(3)?,
                contains_nan: row.get(4)?,
                min: row.get(5)?,
                max: row.get(6)?,
            })
        })
    }
}

/// What the catalog says of a column over all rows, in the catalog's own spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ColumnStatistics {
    /// Table and column.
    id: (i64, i64),
    /// The row id that the table gives next.
    next_row: i64,
    contains_null: Option<String>,
    contains_nan: Option<String>,
    min: Option<String>,
    max: Option<String>,
}

fn literal(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), quote_literal)
}
