//! Publishing: one short lake transaction that moves rows and watermarks, all or nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use failpoint::fail_point;
use sql::names::{TableName, quote_identifier, quote_literal};

use crate::snapshot::{TIME, read_snapshot};
use crate::watermarks::WatermarkMove;
use crate::{Provenance, Session, Snapshot, SnapshotId};

/// Everything that one lake transaction does.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    /// Statements that run first in the transaction, such as DROP TABLE.
    pub statements_before: Vec<String>,
    /// What happens to the rows of which table.
    pub changes: Vec<TableChange>,
    /// Which watermarks move.
    pub watermarks: Vec<WatermarkMove>,
    /// What the commit says about itself.
    pub provenance: Provenance,
    /// What the commit says about itself instead of its provenance, as JSON, where it is no refresh: to dynamic tables it is news.
    pub remark: Option<String>,
    /// The commit message.
    pub message: String,
    /// A snapshot that there was before, to look for the commit behind it. `None`: the transaction asks for the newest. That
    /// only costs time where the provenance names a refresh, as no other commit has the same.
    pub after: Option<SnapshotId>,
}

/// What happens to one table: statements first, then deletions, then insertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChange {
    /// The table.
    pub table: TableName,
    /// Statements that run before its rows are touched, such as CREATE TABLE.
    pub statements: Vec<String>,
    /// Which rows go.
    pub delete: Delete,
    /// The columns of the table, in the order in which `insert` gives their values.
    pub columns: Vec<String>,
    /// A SELECT giving the rows that come.
    pub insert: Option<String>,
    /// The rows that come go to a file however few they are: see [`loses_in_catalog`](crate::loses_in_catalog).
    pub to_file: bool,
}

/// Which rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// None.
    None,
    /// All.
    All,
    /// Those whose row ids this SELECT gives.
    RowIds(String),
}

/// What was published, and where the time of it went.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The snapshot that it made; if there was nothing to do, the newest one.
    pub snapshot: Snapshot,
    /// How long each of the changes took, in their order.
    pub changes: Vec<Duration>,
    /// How long everything else took: the watermarks, and the commit itself.
    pub commit: Duration,
}

/// Why nothing of a publication happened.
#[derive(Debug)]
pub enum NotPublished {
    /// The watermarks of these tables (ids of definitions) are others than expected: somebody else published them.
    Overtaken(Vec<String>),
    /// The change of one table could not be made.
    Change {
        /// That table.
        table: TableName,
        /// What the lake says.
        failure: Error,
    },
    /// Anything else. A transient [`Code::Conflict`] if somebody else committed something that conflicts: publish again.
    Failed(Error),
}

impl From<Error> for NotPublished {
    fn from(failure: Error) -> Self {
        Self::Failed(failure)
    }
}

impl From<NotPublished> for Error {
    fn from(reason: NotPublished) -> Self {
        match reason {
            NotPublished::Overtaken(tables) => {
                Self::new(Code::Conflict, "the table was published by somebody else meanwhile")
                    .with_context("table_id", tables.join(", "))
                    .with_transient(false)
            }
            NotPublished::Change { table, failure } => failure.with_context("table", table.to_string()),
            NotPublished::Failed(failure) => failure,
        }
    }
}

impl Session {
    /// Does all of it in one lake transaction, or nothing.
    ///
    /// # Errors
    /// Why nothing of it happened.
    pub fn publish(&self, publication: &Publication) -> std::result::Result<Receipt, NotPublished> {
        let began = Instant::now();
        if !publication.watermarks.is_empty() {
            self.ensure_watermarks()?;
        }
        let extra_info = match &publication.remark {
            Some(remark) => remark.clone(),
            None => publication.provenance.to_json()?,
        };
        for change in publication.changes.iter().filter(|change| change.to_file && change.insert.is_some()) {
            self.keep_out_of_catalog(change)
                .map_err(|failure| NotPublished::Change { table: change.table.clone(), failure })?;
        }
        let mut changes = Vec::with_capacity(publication.changes.len());
        let before: SnapshotId = match self.publish_in_transaction(publication, &extra_info, &mut changes) {
            Ok(before) => before,
            Err(reason) => {
                self.roll_back();
                if let Err(failure) = self.inline_again() {
                    tracing::warn!(%failure, "few rows will go to files in this session, too");
                }
                // Whoever dropped the table of watermarks meanwhile: the next attempt looks again.
                self.lake.watermarks.store(0, Ordering::Relaxed);
                self.lake.watermarks_have_option.store(false, Ordering::Relaxed);
                return Err(reason);
            }
        };
        let snapshot = self.published_after(before, &extra_info)?;
        let commit = began.elapsed().saturating_sub(changes.iter().sum());
        Ok(Receipt { snapshot, changes, commit })
    }

    /// The result is the snapshot on which the transaction stood.
    fn publish_in_transaction(
        &self,
        publication: &Publication,
        extra_info: &str,
        took: &mut Vec<Duration>,
    ) -> std::result::Result<SnapshotId, NotPublished> {
        self.begin_to_move(&publication.watermarks)?;
        fail_point!("transaction-begun");
        let before = match publication.after.filter(|_| !publication.provenance.refreshes.is_empty()) {
            Some(before) => before,
            None => {
                let alias = quote_literal(&self.lake.alias);
                let current = format!("SELECT id::BIGINT FROM ducklake_current_snapshot({alias})");
                self.row(&current, |row| row.get(0))?
            }
        };
        // Watermarks first: whoever lost the race writes no data files.
        self.move_watermarks(&publication.watermarks)?;
        fail_point!("watermarks-moved");
        for statement in &publication.statements_before {
            self.execute(statement)?;
        }
        for change in &publication.changes {
            let began = Instant::now();
            self.change_rows(change)
                .map_err(|failure| NotPublished::Change { table: change.table.clone(), failure })?;
            took.push(began.elapsed());
        }
        self.say_what_the_commit_is(&publication.message, extra_info)?;
        fail_point!("commit");
        self.execute("COMMIT")?;
        fail_point!("committed");
        Ok(before)
    }

    fn change_rows(&self, change: &TableChange) -> Result<()> {
        for statement in &change.statements {
            self.execute(statement)?;
        }
        let table = change.table.quoted(&self.lake.alias);
        match &change.delete {
            Delete::None => {}
            Delete::All => {
                self.delete_from(&change.table, &format!("DELETE FROM {table}"))?;
            }
            Delete::RowIds(select) => {
                self.delete_from(&change.table, &format!("DELETE FROM {table} WHERE rowid IN ({select}\n)"))?;
            }
        }
        fail_point!("rows-deleted");
        if let Some(select) = &change.insert {
            // By name: somebody may have altered the table since the rows were computed.
            let columns: Vec<String> = change.columns.iter().map(|column| quote_identifier(column)).collect();
            let insert = format!("INSERT INTO {table} ({}) {select}", columns.join(", "));
            if change.to_file {
                self.without_inlining(&insert)?
            } else {
                self.execute(&insert)?
            };
        }
        fail_point!("rows-inserted");
        Ok(())
    }

    /// The snapshot that our commit made, which is not always the newest.
    fn published_after(&self, before: SnapshotId, extra_info: &str) -> Result<Snapshot> {
        let (snapshots, changes) = (self.metadata("ducklake_snapshot"), self.metadata("ducklake_snapshot_changes"));
        let sql = format!(
            "SELECT s.snapshot_id::BIGINT, {TIME} FROM {snapshots} AS s JOIN {changes} AS c ON c.snapshot_id = s.snapshot_id \
             WHERE s.snapshot_id > {before} AND c.snapshot_id > {before} AND c.commit_extra_info = {} \
             ORDER BY s.snapshot_id LIMIT 1",
            quote_literal(extra_info)
        );
        match self.rows(&sql, read_snapshot)?.pop() {
            Some(found) => found.time(),
            // A transaction that changed nothing makes no snapshot.
            None => self.current_snapshot(),
        }
    }

    /// What the commit of the open transaction will say about itself.
    pub(crate) fn say_what_the_commit_is(&self, message: &str, extra_info: &str) -> Result<()> {
        self.execute(&format!(
            "CALL {}.set_commit_message({}, {}, extra_info => {})",
            self.quoted_alias(),
            quote_literal(AUTHOR),
            quote_literal(message),
            quote_literal(extra_info)
        ))
        .map(|_| ())
    }

    pub(crate) fn roll_back(&self) {
        // A failed COMMIT has ended the transaction already; then there is nothing to roll back, which is no trouble.
        if let Err(failure) = self.execute("ROLLBACK")
            && !failure.message().contains("no transaction is active")
        {
            tracing::warn!(%failure, "rollback failed");
        }
    }
}

/// Who our commits say made them.
const AUTHOR: &str = "dynamic-tables";
