//! Snapshots, and what happened in them.

use std::time::Duration;

use duckdb::Row;
use error::{Code, Error, Result};
use jiff::Timestamp;

use crate::happened::Happened;
use crate::{Provenance, Session};

/// The id of a state of the whole lake; one sequence for all tables.
pub type SnapshotId = i64;

/// A state of the whole lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// When it was committed.
    pub time: Timestamp,
}

/// What happened in the lake after some snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The snapshot up to which this tells.
    pub current: Snapshot,
    /// The oldest snapshot that still exists.
    pub oldest: SnapshotId,
    /// What happened, in the order of snapshots.
    pub changes: Vec<Change>,
    /// The same as windows want it; see [`Session::windows_known`]. `None`: nobody has looked.
    pub happened: Option<Happened>,
}

impl Changes {
    /// Of a lake of which nothing but the newest snapshot is known.
    #[must_use]
    pub const fn none(current: Snapshot) -> Self {
        Self { current, oldest: 0, changes: Vec::new(), happened: None }
    }
}

/// One thing that one snapshot did to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The snapshot that did it.
    pub snapshot: SnapshotId,
    /// When it was committed.
    pub time: Timestamp,
    /// The table, where DuckLake names it by id (everything but creation).
    pub table_id: Option<i64>,
    /// Schema and name, where DuckLake names it so (creation and renaming).
    pub name: Option<(String, String)>,
    /// What was done.
    pub kind: ChangeKind,
    /// Whether the commit carries our provenance.
    pub ours: bool,
}

/// What was done to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Rows came.
    Inserted,
    /// Rows went.
    Deleted,
    /// A table was created, or got this name (DuckLake records a renaming as this).
    Created,
    /// It was dropped.
    Dropped,
    /// Its columns, partitioning or comment changed.
    Altered,
    /// Its files were rewritten; no row came or went. Moving inlined rows into files may be recorded with a
    /// [`ChangeKind::Deleted`] besides: the window tells that nothing was.
    Compacted,
    /// Something that is not about a table: schemas, views, macros.
    Other,
    /// Snapshots up to this one were expired. What they did, to whatever table, is not known any more.
    Forgotten,
}

impl Session {
    /// The newest snapshot.
    pub fn current_snapshot(&self) -> Result<Snapshot> {
        let snapshots = self.metadata("ducklake_snapshot");
        let sql =
            format!("SELECT snapshot_id::BIGINT, {TIME} FROM {snapshots} AS s ORDER BY s.snapshot_id DESC LIMIT 1");
        self.row(&sql, read_snapshot)?.time()
    }

    /// The newest snapshot, where one is known that was the newest before: what is older is not read again.
    pub fn newest_snapshot(&self, known: SnapshotId) -> Result<Snapshot> {
        let sql = format!(
            "SELECT snapshot_id::BIGINT, {TIME} FROM {} AS s WHERE snapshot_id >= {known} ORDER BY snapshot_id DESC LIMIT 1",
            self.metadata("ducklake_snapshot")
        );
        match self.rows(&sql, read_snapshot)?.pop() {
            Some(found) => found.time(),
            // The lake was put back to an older state.
            None => self.current_snapshot(),
        }
    }

    /// A snapshot, or `None` if there is none of that id (any more).
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>> {
        let snapshots = self.metadata("ducklake_snapshot");
        let sql = format!("SELECT snapshot_id::BIGINT, {TIME} FROM {snapshots} AS s WHERE s.snapshot_id = {id}");
        self.rows(&sql, read_snapshot)?.pop().map(|found| found.time()).transpose()
    }

    /// The rows of a query that joins snapshots with what they changed, each with whether that was found. Where the catalog is
    /// SQLite's, the engine reads both tables over connections of their own: a commit between the two gives a snapshot that
    /// seems to have changed nothing. Then both are read again.
    pub(crate) fn rows_at_rest<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row<'_>) -> duckdb::Result<(T, bool)>,
    ) -> Result<Vec<T>> {
        let mut tries = 0;
        loop {
            let rows = self.rows(sql, &read)?;
            // A snapshot that another kind of writer never described stays as it is.
            if rows.iter().all(|(_, described)| *described) || tries == READINGS {
                return Ok(rows.into_iter().map(|(row, _)| row).collect());
            }
            tries += 1;
            std::thread::sleep(REST);
        }
    }

    /// Everything that happened after `since`, in one metadata query.
    pub fn changes_since(&self, since: SnapshotId) -> Result<Changes> {
        let (snapshots, changes) = (self.metadata("ducklake_snapshot"), self.metadata("ducklake_snapshot_changes"));
        // `since` itself is read too, so that there is a row where nothing happened. It may have been expired and
        // be the newest (nothing else was committed): then the newest snapshot is asked for.
        let sql = format!(
            "SELECT s.snapshot_id::BIGINT, {TIME}, c.changes_made::VARCHAR, c.commit_extra_info::VARCHAR, \
                    (SELECT min(snapshot_id)::BIGINT FROM {snapshots}), c.snapshot_id IS NOT NULL \
             FROM {snapshots} AS s LEFT JOIN {changes} AS c ON c.snapshot_id = s.snapshot_id \
             WHERE s.snapshot_id >= {since} ORDER BY s.snapshot_id"
        );
        let rows = self.rows_at_rest(&sql, |row| {
            let made: Option<String> = row.get(2)?;
            let extra_info: Option<String> = row.get(3)?;
            let found = (read_snapshot(row)?, made.unwrap_or_default(), extra_info, row.get::<_, SnapshotId>(4)?);
            Ok((found, row.get(5)?))
        })?;
        let Some((newest, _, _, oldest)) = rows.last() else {
            let current = self.current_snapshot()?;
            return Ok(Changes { oldest: current.id, ..Changes::none(current) });
        };
        let (current, oldest) = (newest.time()?, *oldest);
        let mut changes = Vec::new();
        let mut snapshots = Vec::with_capacity(rows.len());
        let mut before = since;
        for (snapshot, made, extra_info, _) in &rows {
            let made = changes_made(made, extra_info.as_deref());
            if snapshot.id == since {
                snapshots.push((snapshot.id, made));
                continue;
            }
            let time = snapshot.time()?.time;
            // Ids have no gaps unless something was expired.
            if snapshot.id > before + 1 {
                let (snapshot, kind) = (snapshot.id - 1, ChangeKind::Forgotten);
                changes.push(Change { snapshot, time, table_id: None, name: None, kind, ours: false });
            }
            before = snapshot.id;
            let ours = extra_info.as_deref().is_some_and(|text| Provenance::parse(text).is_some());
            changes.extend(made.iter().map(|made| Change {
                snapshot: snapshot.id,
                time,
                table_id: made.table_id,
                name: made.name.clone(),
                kind: made.kind,
                ours,
            }));
            snapshots.push((snapshot.id, made));
        }
        let happened = Happened { since, snapshots, current: current.id };
        Ok(Changes { current, oldest, changes, happened: Some(happened) })
    }
}

/// The commit time in microseconds. SQLite keeps it as text; `s` is the snapshot table.
pub(crate) const TIME: &str = "epoch_us(s.snapshot_time::TIMESTAMPTZ)";

/// A snapshot as the catalog gives it.
pub(crate) struct Found {
    pub(crate) id: SnapshotId,
    micros: i64,
}

impl Found {
    pub(crate) fn time(&self) -> Result<Snapshot> {
        let time = Timestamp::from_microsecond(self.micros).map_err(|failure| {
            Error::new(Code::Internal, format!("snapshot {} has no valid time", self.id)).with_source(failure)
        })?;
        Ok(Snapshot { id: self.id, time })
    }
}

/// How often, and after which pause, a snapshot is read again of which it is not known what it changed.
const READINGS: u32 = 20;
const REST: Duration = Duration::from_millis(25);

/// Reads the id from the first and the time from the second column.
pub(crate) fn read_snapshot(row: &Row<'_>) -> duckdb::Result<Found> {
    Ok(Found { id: row.get(0)?, micros: row.get(1)? })
}

/// One item of DuckLake's `changes_made`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) kind: ChangeKind,
    pub(crate) table_id: Option<i64>,
    pub(crate) name: Option<(String, String)>,
    /// Whether the rows are kept in the catalog itself.
    pub(crate) inlined: bool,
}

/// Reads `changes_made`, such as `inserted_into_table:3,created_table:"main"."a, ""b"""`.
pub(crate) fn parse_changes(made: &str) -> Vec<Made> {
    split_items(made).into_iter().filter_map(parse_item).collect()
}

/// What a commit did. One of ours that compacted says so itself: rows that it moves out of the catalog look as if some of them
/// had been deleted.
pub(crate) fn changes_made(made: &str, extra_info: Option<&str>) -> Vec<Made> {
    let mut made = parse_changes(made);
    let provenance = extra_info.and_then(Provenance::parse);
    if provenance.is_some_and(|provenance| !provenance.compacted.is_empty()) {
        made.retain(|made| made.kind == ChangeKind::Compacted);
    }
    made
}

/// The items between the commas that stand outside quotes.
fn split_items(made: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (index, character) in made.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                items.push(&made[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    items.push(&made[start..]);
    items
}

fn parse_item(item: &str) -> Option<Made> {
    let (word, subject) = item.trim().split_once(':')?;
    let kind = match word {
        "inserted_into_table" | "inlined_insert" => ChangeKind::Inserted,
        "deleted_from_table" | "inlined_delete" => ChangeKind::Deleted,
        "created_table" => ChangeKind::Created,
        "dropped_table" => ChangeKind::Dropped,
        "altered_table" => ChangeKind::Altered,
        // The spellings of different versions of DuckLake.
        "inline_flush" | "flushed_inlined" | "merge_adjacent" | "rewrite_delete" | "compacted_table" => {
            ChangeKind::Compacted
        }
        _ => ChangeKind::Other,
    };
    let number = subject.parse().ok();
    Some(Made {
        kind,
        // Views and macros have ids of the same sequence, but are no tables.
        table_id: number.filter(|_| kind != ChangeKind::Other),
        name: if number.is_none() { parse_name(subject) } else { None },
        inlined: word.starts_with("inlined_"),
    })
}

/// Reads `"schema"."name"`, quotes doubled within.
fn parse_name(subject: &str) -> Option<(String, String)> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut characters = subject.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            other => part.push(other),
        }
    }
    parts.push(part);
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => Some((schema, name)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    type Item = (ChangeKind, Option<i64>, Option<(String, String)>);

    fn made(text: &str) -> Vec<Item> {
        parse_changes(text).into_iter().map(|made| (made.kind, made.table_id, made.name)).collect()
    }

    #[test]
    fn the_tokens_that_ducklake_writes() {
        let name = |schema: &str, name: &str| Some((schema.to_owned(), name.to_owned()));
        assert_eq!(made(""), []);
        assert_eq!(
            made("created_table:\"main\".\"ctas\",inserted_into_table:4"),
            [(ChangeKind::Created, None, name("main", "ctas")), (ChangeKind::Inserted, Some(4), None)]
        );
        assert_eq!(
            made("created_table:\"odd, \"\"s\"\" x\".\"a. \"\"b\"\"\",inlined_insert:3"),
            [(ChangeKind::Created, None, name("odd, \"s\" x", "a. \"b\"")), (ChangeKind::Inserted, Some(3), None)]
        );
        assert_eq!(
            made("deleted_from_table:1,inline_flush:1"),
            [(ChangeKind::Deleted, Some(1), None), (ChangeKind::Compacted, Some(1), None)]
        );
        assert_eq!(
            made("dropped_table:1,created_view:\"main\".\"v\",dropped_view:7,altered_table:2,created_schema:\"s\""),
            [
                (ChangeKind::Dropped, Some(1), None),
                (ChangeKind::Other, None, name("main", "v")),
                (ChangeKind::Other, None, None),
                (ChangeKind::Altered, Some(2), None),
                (ChangeKind::Other, None, None),
            ]
        );
        assert!(parse_changes("inlined_delete:1")[0].inlined);
    }
}
