//! The watermarks: a table of the lake that says of every dynamic table what it holds, moved by compare and set in the
//! transaction that publishes it. It does not know what else that transaction does.

use std::sync::atomic::Ordering;

use error::{Code, Error, Result};
use failpoint::fail_point;
use sql::names::{TableName, quote_identifier, quote_literal};

use crate::publish::NotPublished;
use crate::{Provenance, Session, SnapshotId};

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
pub(crate) const TABLE: &str = "watermarks";

/// A row that every publisher of a first watermark updates. Insertions alone never conflict, so without it two
/// publishers that both find no watermark would both commit.
const FIRST: &str = "";

/// The watermarks stay in the catalog itself as long as there are no more than these: moving one costs no file then.
const INLINED_WATERMARKS: &str = "10000";

/// So often watermarks are brought back from files before a publication fails.
const TRIES: usize = 3;

impl Session {
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

    /// Moves all watermarks by compare and set, with as few statements as there are kinds of moves: each costs
    /// milliseconds, however many rows it touches.
    pub(crate) fn move_watermarks(&self, moves: &[WatermarkMove]) -> std::result::Result<(), NotPublished> {
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

    fn watermark_table(&self) -> String {
        TableName::new(SCHEMA, TABLE).quoted(&self.lake.alias)
    }

    fn watermarks_exist(&self) -> Result<bool> {
        Ok(self.watermarks_id()?.is_some())
    }

    /// The id of the table of watermarks, if it exists.
    fn watermarks_id(&self) -> Result<Option<i64>> {
        match self.lake.watermarks.load(Ordering::Relaxed) {
            0 => {
                let found = self.table_ids(&[TableName::new(SCHEMA, TABLE)])?.pop().flatten();
                self.lake.watermarks.store(found.unwrap_or(0), Ordering::Relaxed);
                Ok(found)
            }
            known => Ok(Some(known)),
        }
    }

    /// Begins a transaction in which watermarks can be moved so that whoever else moves or rewrites them meanwhile conflicts:
    /// none of them lies in a file. They are there if somebody flushed them; then they are brought back first.
    pub(crate) fn begin_to_move(&self, moves: &[WatermarkMove]) -> Result<()> {
        for _ in 0..TRIES {
            self.execute("BEGIN")?;
            if moves.is_empty() || !self.watermarks_are_in_files()? {
                return Ok(());
            }
            self.execute("ROLLBACK")?;
            self.bring_watermarks_back()?;
        }
        Err(Error::new(Code::Conflict, "somebody moves the watermarks to files again and again").with_transient(true))
    }

    fn watermarks_are_in_files(&self) -> Result<bool> {
        let Some(table) = self.watermarks_id()? else { return Ok(false) };
        let files = self.metadata("ducklake_data_file");
        let sql = format!("SELECT count(*) FROM {files} WHERE table_id = {table} AND end_snapshot IS NULL");
        self.row(&sql, |row| Ok(row.get::<_, i64>(0)? > 0))
    }

    /// Brings all watermarks back from files to the catalog, in a commit of its own.
    fn bring_watermarks_back(&self) -> Result<()> {
        const KEPT: &str = "temp.main.__dt_watermarks";
        let (name, table) = (TableName::new(SCHEMA, TABLE), self.watermark_table());
        let work = || -> Result<()> {
            self.execute("BEGIN")?;
            self.execute(&format!("CREATE OR REPLACE TEMP TABLE __dt_watermarks AS FROM {table}"))?;
            self.set_inlining_option(&name, "0")?;
            self.execute(&format!("DELETE FROM {table}"))?;
            self.set_inlining_option(&name, INLINED_WATERMARKS)?;
            self.execute(&format!("INSERT INTO {table} FROM {KEPT}"))?;
            self.say_what_the_commit_is(
                "bring the watermarks back to the catalog",
                &Provenance::default().to_json()?,
            )?;
            self.execute(&format!("DROP TABLE {KEPT}"))?;
            self.execute("COMMIT")?;
            Ok(())
        };
        work().inspect_err(|_| self.roll_back())?;
        tracing::debug!(table = TABLE, schema = SCHEMA, "watermarks brought back to the catalog");
        Ok(())
    }

    /// Creates the table of watermarks if there is none, in a commit of its own.
    pub(crate) fn ensure_watermarks(&self) -> Result<()> {
        if self.watermarks_exist()? {
            return Ok(());
        }
        match self.create_watermarks() {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.roll_back();
                // Somebody else may have created it at the same moment.
                if self.watermarks_exist()? { Ok(()) } else { Err(failure) }
            }
        }
    }

    fn create_watermarks(&self) -> Result<()> {
        let (alias, table) = (self.quoted_alias(), self.watermark_table());
        self.execute("BEGIN")?;
        self.execute(&format!("CREATE SCHEMA IF NOT EXISTS {alias}.{}", quote_identifier(SCHEMA)))?;
        self.execute(&format!(
            "CREATE TABLE {table} (table_id VARCHAR, data_version BIGINT, fingerprint VARCHAR, refresh_id VARCHAR, fence BIGINT)"
        ))?;
        self.execute(&format!("INSERT INTO {table} VALUES ({}, 0, '', '', 0)", quote_literal(FIRST)))?;
        self.say_what_the_commit_is("create the table of watermarks", &Provenance::default().to_json()?)?;
        self.execute("COMMIT")?;
        fail_point!("watermarks-created");
        self.set_inlining_option(&TableName::new(SCHEMA, TABLE), INLINED_WATERMARKS)?;
        tracing::debug!(table = TABLE, schema = SCHEMA, "table of watermarks created");
        Ok(())
    }
}

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
