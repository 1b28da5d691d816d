//! Reading the change feed of a catalog that can be committed to in the middle of a statement.
//!
//! The engine reads every table of an SQLite catalog over a connection of its own. DuckLake's feed of deletions joins the
//! catalog's list of delete files with itself: the newest file of each data file, and the one that was there before the window.
//! A later deletion replaces such a file by one that holds its rows too. If that is committed between the two reads, both
//! are other files than each other, and all that the one lists is taken for deleted before: rows that went are missing, without
//! an error. Found by `make faults`, once in some 1,500 refreshes beside a writer that never stops.
//!
//! Tables read at a snapshot are right all the same: both files say the same of it. But maintenance moves rows from one table
//! of the catalog to another, or from files to others, and whoever reads beside it, at whatever snapshot, may see them in
//! neither: 53 of 1,405 reads beside a flush did.

use error::Result;
use sql::names::TableName;

use crate::catalog::CatalogKind;
use crate::{Happened, Session, SnapshotId, Window, WindowRule};

/// So often the feed is read again before all rows are compared.
const READINGS: usize = 6;

/// The newest list of deleted rows that a window looks at, and how many lists there are.
type Mark = (Option<i64>, i64);

impl Session {
    /// Whether tables of the catalog that one statement reads can be of different commits.
    pub(crate) fn reads_catalog_apart(&self) -> bool {
        self.lake.kind == CatalogKind::Sqlite
    }

    /// What `read` makes of a window, where nobody deleted rows of the table while it read. It is called again until then, and
    /// if that takes too long, with a window that needs no peace. A call must leave nothing behind that the next one does not
    /// replace.
    ///
    /// # Errors
    /// Those of `read`, and of the catalog.
    pub fn read_in_peace<T>(&self, window: &Window, mut read: impl FnMut(&Window) -> Result<T>) -> Result<T> {
        let by_deletions = matches!(window.rule, WindowRule::DistinctFeed | WindowRule::CandidateRowIds);
        let Some(table) = window.table_id.filter(|_| by_deletions && self.reads_catalog_apart()) else {
            return read(window);
        };
        let mut before = self.mark(table, window.to)?;
        for _ in 0..READINGS {
            let found = read(window)?;
            let after = self.mark(table, window.to)?;
            if after == before {
                return Ok(found);
            }
            tracing::debug!(table = %window.table, "rows were deleted while the change was read, reading it again");
            before = after;
        }
        read(&Window { rule: WindowRule::BothEnds, ..window.clone() })
    }

    /// Whether whoever read these tables since a snapshot read all their rows: no maintenance of theirs was committed since.
    pub(crate) fn is_whole(
        &self,
        happened: &Happened,
        since: SnapshotId,
        tables: impl FnOnce() -> Vec<TableName>,
    ) -> Result<bool> {
        let maintained: Vec<Option<i64>> = happened.maintained_after(since).collect();
        if maintained.is_empty() {
            return Ok(true);
        }
        let mut read = self.table_ids(&tables())?.into_iter().flatten();
        Ok(!maintained.contains(&None) && !read.any(|id| maintained.contains(&Some(id))))
    }

    fn mark(&self, table: i64, to: SnapshotId) -> Result<Mark> {
        let deletes = self.metadata("ducklake_delete_file");
        let sql = format!(
            "SELECT max(delete_file_id)::BIGINT, count(*) FROM {deletes} WHERE table_id = {table} AND begin_snapshot <= {to}"
        );
        let marks = self.rows(&sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(marks.into_iter().next().unwrap_or_default())
    }
}
