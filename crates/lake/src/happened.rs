//! What happened in the lake, snapshot by snapshot, and what follows from it for the reading of a window. Looks at nothing
//! itself.

use sql::names::TableName;

use crate::snapshot::Made;
use crate::window::{Break, Window, WindowRule};
use crate::{ChangeKind, SnapshotId};

/// What happened in the lake, snapshot by snapshot, as far as a window needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The first snapshot that was looked at.
    pub(crate) since: SnapshotId,
    /// (snapshot, what it did), in order.
    pub(crate) snapshots: Vec<(SnapshotId, Vec<Made>)>,
    pub(crate) current: SnapshotId,
}

impl Happened {
    /// Whether every snapshot from `from` to `to` still exists: ids have no gaps unless something was expired.
    pub(crate) fn complete(&self, from: SnapshotId, to: SnapshotId) -> bool {
        let within = self.snapshots.iter().filter(|(id, _)| (from..=to).contains(id)).count();
        i64::try_from(within).is_ok_and(|within| within == to - from + 1)
    }

    /// Whether a table was created, or got this name, after a snapshot.
    pub(crate) fn is_named_anew(&self, table: &TableName, after: SnapshotId) -> bool {
        let named =
            |made: &Made| made.name.as_ref().is_some_and(|(schema, name)| TableName::new(schema, name) == *table);
        self.snapshots.iter().filter(|(id, _)| *id > after).any(|(_, made)| made.iter().any(named))
    }

    pub(crate) fn of_table(
        &self,
        table: i64,
        after: SnapshotId,
        to: SnapshotId,
    ) -> impl Iterator<Item = (SnapshotId, &Made)> {
        self.snapshots
            .iter()
            .filter(move |(id, _)| *id > after && *id <= to)
            .flat_map(|(id, made)| made.iter().map(|made| (*id, made)))
            .filter(move |(_, made)| made.table_id == Some(table))
    }
}

/// One life of a table under one name.
pub(crate) struct Life {
    pub(crate) id: i64,
    pub(crate) begin: SnapshotId,
    pub(crate) end: Option<SnapshotId>,
    pub(crate) name: TableName,
}

impl Life {
    pub(crate) fn holds(&self, at: SnapshotId) -> bool {
        self.begin <= at && self.end.is_none_or(|end| end > at)
    }
}

impl Happened {
    /// The last snapshot up to which nothing happened to a table but that its files were rewritten.
    pub(crate) fn silent_until(&self, table: i64, from: SnapshotId, to: SnapshotId) -> SnapshotId {
        let until = self.of_table(table, from, to).find(|(_, made)| made.kind != ChangeKind::Compacted);
        // What one snapshot did counts as a whole.
        let until = until.map_or(to, |(snapshot, _)| snapshot - 1);
        let last = self.of_table(table, from, until).last();
        last.map_or(from, |(snapshot, _)| snapshot)
    }

    /// The tables whose files were maintained after a snapshot; `None` stands for any.
    pub(crate) fn maintained_after(&self, after: SnapshotId) -> impl Iterator<Item = Option<i64>> {
        let made = self.snapshots.iter().filter(move |(id, _)| *id > after).flat_map(|(_, made)| made);
        made.filter(|made| made.kind == ChangeKind::Compacted).map(|made| made.table_id)
    }

    /// The snapshots of a window that did nothing but maintenance.
    pub(crate) fn maintenance(&self, from: SnapshotId, to: SnapshotId) -> Vec<SnapshotId> {
        let within = self.snapshots.iter().filter(|(id, _)| *id > from && *id <= to);
        let only = within.filter(|(_, made)| {
            let inserts = made.iter().any(|made| made.kind == ChangeKind::Inserted);
            !inserts && made.iter().any(|made| made.kind == ChangeKind::Compacted)
        });
        only.map(|(id, _)| *id).collect()
    }
}

/// The id of the table at both ends of the window and now, or why there is no one such table.
pub(crate) fn find_break(
    table: &TableName,
    window: &Window,
    happened: &Happened,
    lives: &[Life],
) -> std::result::Result<i64, Break> {
    let named = |at: SnapshotId| lives.iter().find(|life| life.name == *table && life.holds(at)).map(|life| life.id);
    let Some(after) = named(window.to) else { return Err(Break::Dropped) };
    // The feed goes by the name that the table has now.
    match named(happened.current) {
        None => return Err(Break::Dropped),
        Some(now) if now != after => return Err(Break::Replaced),
        Some(_) => {}
    }
    if named(window.from) != Some(after) {
        return Err(Break::Replaced);
    }
    if !happened.complete(window.from, window.to) {
        return Err(Break::Expired);
    }
    Ok(after)
}

pub(crate) fn choose(id: i64, window: &Window, happened: &Happened) -> WindowRule {
    let within = |kind: ChangeKind| happened.of_table(id, window.from, window.to).any(|(_, made)| made.kind == kind);
    let deletions = within(ChangeKind::Deleted);
    if !deletions && !within(ChangeKind::Inserted) {
        return WindowRule::Unchanged;
    }
    // What cannot be seen because its snapshot was expired may have been maintenance.
    let undisturbed = happened.complete(window.from, happened.current)
        && happened.of_table(id, window.silent_until, happened.current).all(|(_, made)| !disturbs(made.kind));
    match (undisturbed, deletions) {
        (false, _) => WindowRule::CandidateRowIds,
        (true, true) => WindowRule::DistinctFeed,
        (true, false) => WindowRule::Insertions,
    }
}

/// Whether the feed of an older window may be wrong after this: maintenance makes it name rows that did not change,
/// and it shows the columns as they are called now.
pub(crate) fn disturbs(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Compacted | ChangeKind::Altered | ChangeKind::Dropped)
}
