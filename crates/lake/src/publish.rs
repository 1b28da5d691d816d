//! Publishing: one short lake transaction that moves rows and watermarks, all or nothing.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use failpoint::fail_point;
use sql::names::{TableName, quote_identifier, quote_literal};

use crate::failure::translate;
use crate::snapshot::{TIME, read_snapshot};
use crate::{Provenance, Session, Snapshot, SnapshotId};

/// What the lake itself says about a dynamic table; moved by compare and set in the publishing transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The definition's id.
    pub table_id: String,
    /// The snapshot of which the content is the query's result.
    pub data_version: SnapshotId,
    /// The definition's fingerprint.
    pub fingerprint: String,
    /// The refresh that published it.
    pub refresh_id: String,
    /// The fencing number of who published it.
    pub fence: i64,
}

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
    /// The rows that come go to a file however few they are: see [`loses_in_catalog`].
    pub to_file: bool,
}

/// Whether DuckLake changes values of a type when it keeps them in its catalog, as it does with few rows: texts within a
/// STRUCT lose their quotes there (DuckLake 1.0).
#[must_use]
pub fn loses_in_catalog(data_type: &str) -> bool {
    let data_type = data_type.to_ascii_uppercase();
    data_type.contains("STRUCT(") && ["VARCHAR", "BLOB", "JSON", "ENUM"].iter().any(|text| data_type.contains(text))
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

/// One watermark's move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkMove {
    /// What must stand there; `None`: nothing.
    pub expected: Option<Watermark>,
    /// What shall stand there; `None`: nothing.
    pub new: Option<Watermark>,
}

/// The schema of what dynamic tables need besides themselves. It exists once anything was published.
pub const BOOKKEEPING_SCHEMA: &str = "__dynamic_tables";

/// Schema and table of the watermarks.
const SCHEMA: &str = BOOKKEEPING_SCHEMA;
const TABLE: &str = "watermarks";

/// A row that every publisher of a first watermark updates. Insertions alone never conflict, so without it two
/// publishers that both find no watermark would both commit.
const FIRST: &str = "";

/// The option of a lake, a schema or a table that says up to how many rows go to the catalog.
const OPTION: &str = "data_inlining_row_limit";

/// The watermarks stay in the catalog itself as long as there are no more than these: moving one costs no file then.
const INLINED_WATERMARKS: u32 = 10_000;

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
        let extra_info = publication.provenance.to_json()?;
        for change in publication.changes.iter().filter(|change| change.to_file && change.insert.is_some()) {
            self.keep_out_of_catalog(change)
                .map_err(|failure| NotPublished::Change { table: change.table.clone(), failure })?;
        }
        let mut changes = Vec::with_capacity(publication.changes.len());
        let before: SnapshotId = match self.publish_in_transaction(publication, &extra_info, &mut changes) {
            Ok(before) => before,
            Err(reason) => {
                self.roll_back();
                // Whoever dropped the table of watermarks meanwhile: the next attempt looks again.
                self.lake.watermarks_exist.store(false, Ordering::Relaxed);
                self.lake.watermarks_inlined.store(false, Ordering::Relaxed);
                return Err(reason);
            }
        };
        let snapshot = self.published_after(before, &extra_info)?;
        let commit = began.elapsed().saturating_sub(changes.iter().sum());
        Ok(Receipt { snapshot, changes, commit })
    }

    /// The watermarks in the lake; empty if there never was one.
    pub fn watermarks(&self) -> Result<Vec<Watermark>> {
        if self.watermarks_exist()? { self.read_watermarks("true") } else { Ok(Vec::new()) }
    }

    fn read_watermarks(&self, condition: &str) -> Result<Vec<Watermark>> {
        let sql = format!(
            "SELECT {} FROM {} WHERE table_id <> {} AND {condition} ORDER BY table_id",
            COLUMNS.join(", "),
            self.watermark_table(),
            quote_literal(FIRST)
        );
        self.rows(&sql, |row| {
            Ok(Watermark {
                table_id: row.get(0)?,
                data_version: row.get(1)?,
                fingerprint: row.get(2)?,
                refresh_id: row.get(3)?,
                fence: row.get(4)?,
            })
        })
    }

    /// The result is the snapshot on which the transaction stood.
    fn publish_in_transaction(
        &self,
        publication: &Publication,
        extra_info: &str,
        took: &mut Vec<Duration>,
    ) -> std::result::Result<SnapshotId, NotPublished> {
        self.execute("BEGIN")?;
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
        self.execute(&format!(
            "CALL {}.set_commit_message({}, {}, extra_info => {})",
            self.quoted_alias(),
            quote_literal(AUTHOR),
            quote_literal(&publication.message),
            quote_literal(extra_info)
        ))?;
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
                self.execute(&format!("DELETE FROM {table}"))?;
            }
            Delete::RowIds(select) => {
                self.execute(&format!("DELETE FROM {table} WHERE rowid IN ({select}\n)"))?;
            }
        }
        fail_point!("rows-deleted");
        if let Some(select) = &change.insert {
            // By name: somebody may have altered the table since the rows were computed.
            let columns: Vec<String> = change.columns.iter().map(|column| quote_identifier(column)).collect();
            let insert = format!("INSERT INTO {table} ({}) {select}", columns.join(", "));
            if change.to_file {
                self.execute_without_inlining(&insert)?
            } else {
                self.execute(&insert)?
            };
        }
        fail_point!("rows-inserted");
        Ok(())
    }

    /// Where the lake has an option of its own for how many rows go to the catalog, the default says nothing: a table that must
    /// not have its rows there gets an option, too. One that does not exist yet cannot have any.
    fn keep_out_of_catalog(&self, change: &TableChange) -> Result<()> {
        let (options, schemas) = (self.metadata("ducklake_metadata"), self.metadata("ducklake_schema"));
        let is_made = change.statements.iter().any(|statement| statement.starts_with("CREATE"));
        let id = self.table_ids(std::slice::from_ref(&change.table))?.pop().flatten().filter(|_| !is_made);
        // The nearest option counts.
        let sql = format!(
            "SELECT value FROM {options} WHERE key = '{OPTION}' AND (scope IS NULL \
             OR scope = 'table' AND scope_id = {} OR scope = 'schema' AND scope_id IN (SELECT schema_id FROM {schemas} \
             WHERE end_snapshot IS NULL AND lower(schema_name) = {})) \
             ORDER BY CASE scope WHEN 'table' THEN 0 WHEN 'schema' THEN 1 ELSE 2 END LIMIT 1",
            id.unwrap_or(-1),
            quote_literal(&change.table.schema.to_ascii_lowercase())
        );
        let limits: Vec<String> = self.rows(&sql, |row| row.get(0))?;
        if limits.iter().all(|limit| limit == "0") {
            return Ok(());
        }
        match id {
            Some(_) => self
                .execute(&format!(
                    "CALL {}.set_option('{OPTION}', 0, schema => {}, table_name => {})",
                    self.quoted_alias(),
                    quote_literal(&change.table.schema),
                    quote_literal(&change.table.name)
                ))
                .map(|_| ()),
            None => {
                let message = format!(
                    "the lake keeps rows in its catalog by its option {OPTION}, where texts in a STRUCT lose their quotes"
                );
                let hint = format!(
                    "Say CALL {0}.set_option('{OPTION}', 0, schema => {1}), or CALL {0}.set_option('{OPTION}', 0).",
                    self.lake.alias,
                    quote_literal(&change.table.schema)
                );
                Err(Error::new(Code::Configuration, message).with_hint(hint))
            }
        }
    }

    /// Runs an INSERT whose rows go to a file. The limit is one for the whole instance: others meanwhile write files, too, which
    /// is as good, and nobody may set it back too early.
    fn execute_without_inlining(&self, insert: &str) -> Result<u64> {
        const LIMIT: &str = "ducklake_default_data_inlining_row_limit";
        let _only = self.lake.without_inlining.lock().unwrap_or_else(PoisonError::into_inner);
        let before: String = self.row(&format!("SELECT current_setting('{LIMIT}')::VARCHAR"), |row| row.get(0))?;
        // Over another connection: it has to be set back also where the insertion has spoilt this transaction.
        let set = |limit: &str| {
            let instance = self.lake.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let sql = format!("SET GLOBAL {LIMIT} = {limit}");
            instance.execute_batch(&sql).map_err(|failure| translate(failure, &sql, 0))
        };
        set("0")?;
        let result = self.execute(insert);
        set(&before)?;
        result
    }

    /// Moves all watermarks by compare and set, with as few statements as there are kinds of moves: each costs
    /// milliseconds, however many rows it touches.
    fn move_watermarks(&self, moves: &[WatermarkMove]) -> std::result::Result<(), NotPublished> {
        let (mut first, mut gone, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for watermark in moves {
            match (&watermark.expected, &watermark.new) {
                (None, None) => {}
                (None, Some(new)) => first.push(new),
                (Some(expected), None) => gone.push(expected),
                (Some(expected), Some(new)) => {
                    if new.table_id != expected.table_id {
                        let what = "a watermark cannot move from one table to another";
                        return Err(Error::new(Code::Internal, what).into());
                    }
                    if new.fence < expected.fence {
                        return Err(NotPublished::Overtaken(vec![expected.table_id.clone()]));
                    }
                    moved.push((expected, new));
                }
            }
        }
        let table = self.watermark_table();
        if !moved.is_empty() {
            let rows: Vec<String> = moved
                .iter()
                .map(|(expected, new)| format!("({}, {})", values(new).join(", "), values(expected)[1..].join(", ")))
                .collect();
            let expected: Vec<String> = COLUMNS[1..].iter().map(|column| format!("expected_{column}")).collect();
            let set: Vec<String> = COLUMNS[1..].iter().map(|column| format!("{column} = __dt_v.{column}")).collect();
            let is_expected: Vec<String> =
                COLUMNS[1..].iter().map(|column| format!("__dt_w.{column} = __dt_v.expected_{column}")).collect();
            let updated = self.execute(&format!(
                "UPDATE {table} AS __dt_w SET {} FROM (VALUES {}) AS __dt_v({}, {}) \
                 WHERE __dt_w.table_id = __dt_v.table_id AND {}",
                set.join(", "),
                rows.join(", "),
                COLUMNS.join(", "),
                expected.join(", "),
                is_expected.join(" AND ")
            ))?;
            if updated != moved.len() as u64 {
                return Err(self.overtaken(moved.iter().map(|(_, new)| *new))?);
            }
        }
        if !gone.is_empty() {
            let expected: Vec<String> = gone.iter().map(|expected| format!("({})", is(expected))).collect();
            let deleted = self.execute(&format!("DELETE FROM {table} WHERE {}", expected.join(" OR ")))?;
            if deleted != gone.len() as u64 {
                return Err(NotPublished::Overtaken(gone.iter().map(|mark| mark.table_id.clone()).collect()));
            }
        }
        if !first.is_empty() {
            let ids: Vec<String> = first.iter().map(|new| quote_literal(&new.table_id)).collect();
            let present = self.read_watermarks(&format!("table_id IN ({})", ids.join(", ")))?;
            if !present.is_empty() {
                return Err(NotPublished::Overtaken(present.into_iter().map(|mark| mark.table_id).collect()));
            }
            self.execute(&format!("UPDATE {table} SET fence = fence + 1 WHERE table_id = {}", quote_literal(FIRST)))?;
            let rows: Vec<String> = first.iter().map(|new| format!("({})", values(new).join(", "))).collect();
            self.execute(&format!("INSERT INTO {table} VALUES {}", rows.join(", ")))?;
        }
        Ok(())
    }

    /// Which of the tables were published by somebody else: those of which the transaction could not move the watermark.
    fn overtaken<'a>(&self, wanted: impl Iterator<Item = &'a Watermark>) -> Result<NotPublished> {
        let now = self.read_watermarks("true")?;
        let lost = wanted.filter(|new| !now.contains(new)).map(|new| new.table_id.clone());
        Ok(NotPublished::Overtaken(lost.collect()))
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

    pub(crate) fn roll_back(&self) {
        // A failed COMMIT has ended the transaction already; then there is nothing to roll back, which is no trouble.
        if let Err(failure) = self.execute("ROLLBACK")
            && !failure.message().contains("no transaction is active")
        {
            tracing::warn!(%failure, "rollback failed");
        }
    }

    fn watermark_table(&self) -> String {
        TableName::new(SCHEMA, TABLE).quoted(&self.lake.alias)
    }

    fn watermarks_exist(&self) -> Result<bool> {
        if self.lake.watermarks_exist.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let (tables, schemas) = (self.metadata("ducklake_table"), self.metadata("ducklake_schema"));
        let sql = format!(
            "SELECT count(*) FROM {tables} AS t JOIN {schemas} AS s ON s.schema_id = t.schema_id \
             WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND t.table_name = {} AND s.schema_name = {}",
            quote_literal(TABLE),
            quote_literal(SCHEMA)
        );
        let exist = self.row(&sql, |row| row.get::<_, i64>(0))? > 0;
        self.lake.watermarks_exist.store(exist, Ordering::Relaxed);
        Ok(exist)
    }

    /// Creates the table of watermarks if there is none, in a commit of its own, and has it keep its rows in the catalog.
    fn ensure_watermarks(&self) -> Result<()> {
        if !self.watermarks_exist()?
            && let Err(failure) = self.create_watermarks()
        {
            self.roll_back();
            // Somebody else may have created it at the same moment.
            if !self.watermarks_exist()? {
                return Err(failure);
            }
        }
        self.keep_watermarks_in_catalog()
    }

    /// Options belong to no transaction: a process may have died before it gave the table its own.
    fn keep_watermarks_in_catalog(&self) -> Result<()> {
        if self.lake.watermarks_inlined.load(Ordering::Relaxed) {
            return Ok(());
        }
        let [options, tables, schemas] =
            ["ducklake_metadata", "ducklake_table", "ducklake_schema"].map(|table| self.metadata(table));
        let (schema, table) = (quote_literal(SCHEMA), quote_literal(TABLE));
        let known = format!(
            "SELECT count(*) FROM {options} AS o JOIN {tables} AS t ON t.table_id = o.scope_id \
             JOIN {schemas} AS s ON s.schema_id = t.schema_id WHERE o.key = '{OPTION}' AND o.scope = 'table' \
             AND t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND t.table_name = {table} AND s.schema_name = {schema}"
        );
        if self.row(&known, |row| row.get::<_, i64>(0))? == 0 {
            self.execute(&format!(
                "CALL {}.set_option('{OPTION}', {INLINED_WATERMARKS}, schema => {schema}, table_name => {table})",
                self.quoted_alias()
            ))?;
        }
        self.lake.watermarks_inlined.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn create_watermarks(&self) -> Result<()> {
        let (alias, table) = (self.quoted_alias(), self.watermark_table());
        self.execute("BEGIN")?;
        self.execute(&format!("CREATE SCHEMA IF NOT EXISTS {alias}.{}", quote_identifier(SCHEMA)))?;
        self.execute(&format!(
            "CREATE TABLE {table} (table_id VARCHAR, data_version BIGINT, fingerprint VARCHAR, refresh_id VARCHAR, fence BIGINT)"
        ))?;
        self.execute(&format!("INSERT INTO {table} VALUES ({}, 0, '', '', 0)", quote_literal(FIRST)))?;
        self.execute(&format!(
            "CALL {alias}.set_commit_message({}, 'create the table of watermarks', extra_info => {})",
            quote_literal(AUTHOR),
            quote_literal(&Provenance::default().to_json()?)
        ))?;
        self.execute("COMMIT")?;
        fail_point!("watermarks-created");
        tracing::debug!(table = TABLE, schema = SCHEMA, "table of watermarks created");
        Ok(())
    }
}

/// Who our commits say made them.
pub(crate) const AUTHOR: &str = "dynamic-tables";

const COLUMNS: [&str; 5] = ["table_id", "data_version", "fingerprint", "refresh_id", "fence"];

/// A watermark's values as SQL, in the order of [`COLUMNS`].
fn values(watermark: &Watermark) -> [String; 5] {
    [
        quote_literal(&watermark.table_id),
        watermark.data_version.to_string(),
        quote_literal(&watermark.fingerprint),
        quote_literal(&watermark.refresh_id),
        watermark.fence.to_string(),
    ]
}

/// The condition that a row is exactly this watermark.
fn is(watermark: &Watermark) -> String {
    let terms: Vec<String> =
        COLUMNS.iter().zip(values(watermark)).map(|(column, value)| format!("{column} = {value}")).collect();
    terms.join(" AND ")
}
