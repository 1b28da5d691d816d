//! Asking the catalog how the change of tables between two snapshots is to be read.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use error::{Code, Error, Result};
use sql::names::{TableName, quote_literal};

use crate::happened::{Happened, Life, choose, disturbs, find_break};
use crate::snapshot::changes_made;
use crate::table::list;
use crate::window::{Break, Window, WindowRule};
use crate::{ChangeKind, Session, SnapshotId};

impl Session {
    /// How the change of `table` in `(from, to]` is read.
    pub fn window(&self, table: &TableName, from: SnapshotId, to: SnapshotId) -> Result<Window> {
        let windows = self.windows(std::slice::from_ref(table), from, to)?;
        windows.into_iter().next().ok_or_else(|| Error::new(Code::Internal, "a table without a window"))
    }

    /// The windows of several tables, in their order, for the price of one.
    pub fn windows(&self, tables: &[TableName], from: SnapshotId, to: SnapshotId) -> Result<Vec<Window>> {
        self.windows_known(tables, from, to, None)
    }

    /// The same, where it is known already what happened in the lake. That may be long ago: what came after it is
    /// looked at before anything is published, by [`Session::reading_holds`].
    pub fn windows_known(
        &self,
        tables: &[TableName],
        from: SnapshotId,
        to: SnapshotId,
        known: Option<&Happened>,
    ) -> Result<Vec<Window>> {
        if from > to {
            return Err(Error::new(Code::Internal, format!("a window from snapshot {from} back to {to}")));
        }
        let known = known.filter(|known| known.since <= from && to <= known.current);
        let happened =
            known.map_or_else(|| self.happened_since(from).map(Cow::Owned), |known| Ok(Cow::Borrowed(known)))?;
        let happened = &*happened;
        let lives = self.lives(tables, from)?;
        let mut windows: Vec<Window> = tables
            .iter()
            .map(|table| {
                let mut window = Window {
                    table: table.clone(),
                    from,
                    to,
                    rule: WindowRule::Unchanged,
                    inserted: 0,
                    deleted: 0,
                    seen: happened.current,
                    alias: self.lake.alias.clone(),
                    table_id: None,
                    silent_until: from,
                };
                match find_break(table, &window, happened, &lives) {
                    Ok(id) => {
                        window.table_id = Some(id);
                        window.silent_until = happened.silent_until(id, from, to);
                        window.rule = choose(id, &window, happened);
                    }
                    Err(broken) => window.rule = WindowRule::Broken(broken),
                }
                window
            })
            .collect();
        self.check_columns(&mut windows, happened)?;
        self.estimate(&mut windows, happened)?;
        Ok(windows)
    }

    /// Whether what was read of the lake is right. Of windows, whether the rules chosen for them still are: maintenance that ran since
    /// then makes the feed of an older window wrong, and a table that was replaced has another feed. Of tables, whether all their
    /// rows were there to be read since a snapshot: over a catalog that is [read table by table](crate::peace), none were while
    /// maintenance moved them. Ask after reading, before what was computed is published.
    ///
    /// # Errors
    /// Those of the catalog.
    pub fn reading_holds(
        &self,
        windows: &[&Window],
        since: SnapshotId,
        tables: impl FnOnce() -> Vec<TableName>,
    ) -> Result<bool> {
        let (seen, apart) = (earliest(windows), self.reads_catalog_apart());
        let Some(from) = seen.into_iter().chain(apart.then_some(since)).min() else { return Ok(true) };
        let happened = self.happened_since(from)?;
        if seen.is_some_and(|seen| !hold(windows, seen, &happened)) {
            return Ok(false);
        }
        Ok(!apart || self.is_whole(&happened, since, tables)?)
    }

    pub(crate) fn happened_since(&self, from: SnapshotId) -> Result<Happened> {
        let (snapshots, changes) = (self.metadata("ducklake_snapshot"), self.metadata("ducklake_snapshot_changes"));
        let sql = format!(
            "SELECT s.snapshot_id::BIGINT, c.changes_made::VARCHAR, c.commit_extra_info::VARCHAR, c.snapshot_id IS NOT NULL \
             FROM {snapshots} AS s LEFT JOIN {changes} AS c ON c.snapshot_id = s.snapshot_id \
             WHERE s.snapshot_id >= {from} ORDER BY s.snapshot_id"
        );
        let snapshots = self.rows_at_rest(&sql, |row| {
            let made: Option<String> = row.get(1)?;
            let extra_info: Option<String> = row.get(2)?;
            let made = changes_made(&made.unwrap_or_default(), extra_info.as_deref());
            Ok(((row.get::<_, SnapshotId>(0)?, made), row.get(3)?))
        })?;
        let current = snapshots.last().map_or(from, |(id, _)| *id);
        Ok(Happened { since: from, snapshots, current })
    }

    /// Everything that had one of these names since `from`.
    fn lives(&self, tables: &[TableName], from: SnapshotId) -> Result<Vec<Life>> {
        let (table, schemas) = (self.metadata("ducklake_table"), self.metadata("ducklake_schema"));
        let names: HashSet<String> =
            tables.iter().map(|table| quote_literal(&table.name.to_ascii_lowercase())).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = names.into_iter().collect();
        let sql = format!(
            "SELECT t.table_id::BIGINT, t.begin_snapshot::BIGINT, t.end_snapshot::BIGINT, s.schema_name, t.table_name \
             FROM {table} AS t JOIN {schemas} AS s ON s.schema_id = t.schema_id \
             WHERE (t.end_snapshot IS NULL OR t.end_snapshot > {from}) AND lower(t.table_name) IN ({})",
            names.join(", ")
        );
        self.rows(&sql, |row| {
            let (schema, name): (String, String) = (row.get(3)?, row.get(4)?);
            Ok(Life { id: row.get(0)?, begin: row.get(1)?, end: row.get(2)?, name: TableName::new(schema, name) })
        })
    }

    /// A column, or a field within one, that was dropped and added again under its name is another one: no feed tells
    /// the rows in which its value changed.
    fn check_columns(&self, windows: &mut [Window], happened: &Happened) -> Result<()> {
        let altered = |window: &Window| {
            let id = window.table_id?;
            let altered =
                happened.of_table(id, window.from, window.to).any(|(_, made)| made.kind == ChangeKind::Altered);
            altered.then_some(id)
        };
        let ids: Vec<i64> = windows.iter().filter_map(altered).collect();
        let Some(Window { from, to, .. }) = windows.first().filter(|_| !ids.is_empty()) else { return Ok(()) };
        let columns = self.metadata("ducklake_column");
        let sql = format!(
            "SELECT DISTINCT o.table_id::BIGINT FROM {columns} AS o JOIN {columns} AS n \
             ON n.table_id = o.table_id AND lower(n.column_name) = lower(o.column_name) AND n.column_id <> o.column_id \
             WHERE o.table_id IN ({}) AND o.parent_column IS NOT DISTINCT FROM n.parent_column \
               AND o.begin_snapshot <= {from} AND (o.end_snapshot IS NULL OR o.end_snapshot > {from}) \
               AND n.begin_snapshot <= {to} AND (n.end_snapshot IS NULL OR n.end_snapshot > {to})",
            list(&ids)
        );
        let redefined: HashSet<i64> = self.rows(&sql, |row| row.get(0))?.into_iter().collect();
        for window in windows.iter_mut() {
            if window.table_id.is_some_and(|id| redefined.contains(&id)) {
                window.rule = WindowRule::Broken(Break::Redefined);
            }
        }
        Ok(())
    }

    /// Fills in about how many rows came and went, from the catalog alone, and takes back the rule that there were
    /// insertions only where the catalog knows of deletions.
    fn estimate(&self, windows: &mut [Window], happened: &Happened) -> Result<()> {
        let reads = |window: &&Window| !matches!(window.rule, WindowRule::Unchanged | WindowRule::Broken(_));
        let ids: Vec<i64> = windows.iter().filter(reads).filter_map(|window| window.table_id).collect();
        let Some(&Window { from, to, .. }) = windows.first().filter(|_| !ids.is_empty()) else { return Ok(()) };
        let (files, deletes) = (self.metadata("ducklake_data_file"), self.metadata("ducklake_delete_file"));
        let ids_listed = list(&ids);
        // Files that maintenance wrote or ended hold no change.
        let maintained: Vec<SnapshotId> = happened.maintenance(from, to);
        let but_maintained = |column: &str| match maintained[..] {
            [] => String::new(),
            _ => format!(" AND {column} NOT IN ({})", list(&maintained)),
        };
        // A delete file replaces its file's earlier one and repeats its rows.
        let sql = format!(
            "SELECT table_id::BIGINT, sum(came)::BIGINT, sum(went)::BIGINT FROM ( \
               SELECT table_id, record_count AS came, 0 AS went FROM {files} WHERE table_id IN ({ids_listed}) \
                 AND begin_snapshot > {from} AND begin_snapshot <= {to}{} \
               UNION ALL SELECT table_id, 0, record_count FROM {files} WHERE table_id IN ({ids_listed}) \
                 AND end_snapshot > {from} AND end_snapshot <= {to} AND begin_snapshot <= {from}{} \
               UNION ALL SELECT table_id, 0, greatest(later - coalesce(earlier, 0), 0) FROM ( \
                 SELECT table_id, data_file_id, \
                   max(delete_count) FILTER (WHERE begin_snapshot > {from} OR partial_max > {from}) AS later, \
                   max(delete_count) FILTER (WHERE begin_snapshot <= {from} AND coalesce(partial_max, 0) <= {from}) AS earlier \
                 FROM {deletes} WHERE table_id IN ({ids_listed}) AND begin_snapshot <= {to} GROUP BY ALL) \
               WHERE later IS NOT NULL) GROUP BY table_id",
            but_maintained("begin_snapshot"),
            but_maintained("end_snapshot"),
        );
        let sizes = self.rows(&sql, |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        let mut sizes: HashMap<i64, (i64, i64)> = sizes.into_iter().collect();

        let inlines = |id: &i64| happened.of_table(*id, from, to).any(|(_, made)| made.inlined);
        let inlining: Vec<i64> = ids.iter().copied().filter(inlines).collect();
        if !inlining.is_empty() {
            let came = format!("begin_snapshot > {from} AND begin_snapshot <= {to}");
            let went = format!("end_snapshot > {from} AND end_snapshot <= {to}");
            for (id, [came, went]) in self.count_inlined(&inlining, [&came, &went])? {
                let size = sizes.entry(id).or_default();
                size.0 += came;
                size.1 += went;
            }
        }
        for window in windows {
            let Some((id, (came, went))) = window.table_id.and_then(|id| Some((id, *sizes.get(&id)?))) else {
                continue;
            };
            // Inlined deletions from files are few by nature; the catalog tells that there were some.
            let inlined_deletions = happened
                .of_table(id, from, to)
                .filter(|(_, made)| made.inlined && made.kind == ChangeKind::Deleted)
                .count();
            let at_least = u64::try_from(inlined_deletions).unwrap_or_default();
            window.inserted = u64::try_from(came).unwrap_or_default();
            window.deleted = u64::try_from(went).unwrap_or_default().max(at_least);
            // A transaction that inserts rows and then updates some of them says only that it inserted; its feed
            // has both versions of a row as insertions, and the first one as a deletion.
            if window.rule == WindowRule::Insertions && window.deleted > 0 {
                window.rule = WindowRule::DistinctFeed;
            }
        }
        Ok(())
    }
}

/// Whether anything was read by a window.
fn is_read(window: &Window) -> bool {
    !matches!(window.rule, WindowRule::Broken(_))
}

/// When the first of the rules was chosen.
fn earliest(windows: &[&Window]) -> Option<SnapshotId> {
    windows.iter().filter(|window| is_read(window)).map(|window| window.seen).min()
}

fn hold(windows: &[&Window], seen: SnapshotId, happened: &Happened) -> bool {
    let by_feed = |window: &Window| matches!(window.rule, WindowRule::Insertions | WindowRule::DistinctFeed);
    let holds = |window: &&&Window| {
        let id = window.table_id.unwrap_or_default();
        let mut since = happened.of_table(id, window.seen, happened.current);
        let disturbed =
            since.any(|(_, made)| by_feed(window) && disturbs(made.kind) || made.kind == ChangeKind::Dropped);
        !disturbed && !happened.is_named_anew(&window.table, window.seen)
    };
    let complete = !windows.iter().any(|window| by_feed(window)) || happened.complete(seen, happened.current);
    complete && windows.iter().filter(|window| is_read(window)).all(|window| holds(&window))
}
