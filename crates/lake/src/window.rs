//! The change of one table between two snapshots, read by the cheapest rule that is right.
//!
//! DuckLake's change feed is not always right (see [`WindowRule`]), without ever saying so. The rules and their
//! bounds come from experiments, which the differential test of this crate repeats: an engine upgrade that changes
//! one of them fails there.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use error::{Code, Error, Result};
use sql::names::{TableName, quote_identifier, quote_literal};

use crate::snapshot::{Made, changes_made};
use crate::table::list;
use crate::{ChangeKind, Session, SnapshotId};

/// How the change of one table between two snapshots is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The table.
    pub table: TableName,
    /// The change after this snapshot...
    pub from: SnapshotId,
    /// ...up to and with this one.
    pub to: SnapshotId,
    /// How it is read.
    pub rule: WindowRule,
    /// About how many rows came.
    pub inserted: u64,
    /// About how many rows went.
    pub deleted: u64,
    /// The newest snapshot that was looked at when the rule was chosen; see [`Session::windows_hold`].
    pub seen: SnapshotId,
    pub(crate) alias: String,
    pub(crate) table_id: Option<i64>,
    /// The last snapshot up to which nothing but maintenance happened to the table: what the feed tells begins behind it.
    pub(crate) silent_until: SnapshotId,
}

/// The ways of reading a change, from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowRule {
    /// Nothing changed.
    Unchanged,
    /// Nothing but insertions, no row of them touched again, and no maintenance: the feed's insertions.
    Insertions,
    /// No maintenance: the feed, except for the rows it names more than once in a snapshot, which are read at both
    /// ends. (A transaction that touches a row several times reports it several times: some versions are repeated,
    /// some are left out.)
    DistinctFeed,
    /// The rows of every row id the feed names, as they are at both ends. Always right: row ids are stable, and the
    /// feed never omits one that changed. (After maintenance it names rows that did not change.)
    CandidateRowIds,
    /// All rows as they are at both ends, where the feed could not be read in peace: see [`Session::read_in_peace`].
    BothEnds,
    /// The change cannot be told.
    Broken(Break),
}

/// Why a change cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The name means another table than at the start of the window.
    Replaced,
    /// A column of the same name is another column than at the start of the window.
    Redefined,
    /// A snapshot of the window was expired.
    Expired,
    /// The table is gone.
    Dropped,
}

impl Window {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.rule == WindowRule::Unchanged
    }

    /// A SELECT that gives `columns` and the weight: 1 for a row that came, -1 for one that went. A row that is
    /// the same in these columns at both ends is not given. The columns must exist, under these names, at both
    /// ends. For an unchanged or broken window it gives no rows.
    #[must_use]
    pub fn delta_sql(&self, columns: &[String], weight: &str) -> String {
        let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
        self.render(None, &columns, &[], &quote_identifier(weight))
    }

    /// The same, where a row is only taken for the same at both ends if the columns in `apart` are also written the
    /// same: there are types whose values can be equal and yet differ (an interval of 30 days is one of a month).
    #[must_use]
    pub fn delta_sql_telling_apart(&self, columns: &[String], apart: &[String], weight: &str) -> String {
        let quoted = |columns: &[String]| columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>();
        self.render(None, &quoted(columns), &quoted(apart), &quote_identifier(weight))
    }

    /// The same with the row id as first column.
    #[must_use]
    pub fn delta_with_row_id_sql(&self, row_id: &str, columns: &[String], weight: &str) -> String {
        let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
        self.render(Some(&quote_identifier(row_id)), &columns, &[], &quote_identifier(weight))
    }

    fn render(&self, row_id: Option<&str>, columns: &[String], apart: &[String], weight: &str) -> String {
        let table = self.table.quoted(&self.alias);
        let row = prefix_list(columns);
        let shown = |of: &str| row_id.map_or_else(|| row.clone(), |name| format!("{of} AS {name}, {row}"));
        let whole_end = |end: SnapshotId, sign: i8| {
            format!("SELECT rowid AS {ROW_ID}, {row}{sign} AS {WEIGHT} FROM {table} AT (VERSION => {end})")
        };
        // The rows of some row ids as they are at one end of the window.
        let at_end = |end: SnapshotId, sign: i8, row_ids: &str| {
            format!("{} WHERE rowid IN (SELECT {ROW_ID} FROM {row_ids})", whole_end(end, sign))
        };
        // Rows that are the same at both ends, or that came and went in between, cancel.
        let net = |parts: &[String]| {
            let written = apart.iter().map(|column| format!(", {column}::VARCHAR"));
            let group: String = columns.iter().map(|column| format!(", {column}")).chain(written).collect();
            format!(
                "SELECT {}sum({WEIGHT})::TINYINT AS {weight} FROM ({}) \
                 GROUP BY {ROW_ID}{group} HAVING sum({WEIGHT}) <> 0",
                shown(ROW_ID),
                parts.join(" UNION ALL ")
            )
        };
        match self.rule {
            WindowRule::Unchanged | WindowRule::Broken(_) => format!(
                "SELECT {}1::TINYINT AS {weight} FROM {table} AT (VERSION => {}) WHERE false",
                shown("rowid"),
                self.to
            ),
            WindowRule::Insertions => {
                format!("SELECT {}1::TINYINT AS {weight} FROM {}", shown("rowid"), self.feed("insertions"))
            }
            WindowRule::DistinctFeed => {
                let part = |feed: &str, sign: i8| {
                    let feed = self.feed(feed);
                    format!("SELECT snapshot_id, rowid AS {ROW_ID}, {row}{sign} AS {WEIGHT} FROM {feed}")
                };
                // A row that is named twice in one snapshot is either repeated or had several versions in it, which
                // the feed alone does not tell: such rows are read at both ends. There are none as a rule, and then
                // those reads end before they begin.
                let doubtful = format!(
                    "SELECT DISTINCT {ROW_ID} FROM (SELECT {ROW_ID} FROM {FEED} \
                     GROUP BY snapshot_id, {ROW_ID}, {WEIGHT} HAVING count(*) > 1)"
                );
                format!(
                    "WITH {FEED} AS MATERIALIZED ({} UNION ALL {}), {DOUBTFUL} AS MATERIALIZED ({doubtful}) {}",
                    part("insertions", 1),
                    part("deletions", -1),
                    net(&[
                        format!("SELECT {ROW_ID}, {row}{WEIGHT} FROM {FEED} ANTI JOIN {DOUBTFUL} USING ({ROW_ID})"),
                        at_end(self.to, 1, DOUBTFUL),
                        at_end(self.from, -1, DOUBTFUL),
                    ])
                )
            }
            WindowRule::CandidateRowIds => format!(
                "WITH {CANDIDATES} AS MATERIALIZED (SELECT rowid AS {ROW_ID} FROM {} UNION SELECT rowid FROM {}) {}",
                self.feed("insertions"),
                self.feed("deletions"),
                net(&[at_end(self.to, 1, CANDIDATES), at_end(self.from, -1, CANDIDATES)])
            ),
            WindowRule::BothEnds => net(&[whole_end(self.to, 1), whole_end(self.from, -1)]),
        }
    }

    fn feed(&self, feed: &str) -> String {
        format!(
            "ducklake_table_{feed}({}, {}, {}, {}, {})",
            quote_literal(&self.alias),
            quote_literal(&self.table.schema),
            quote_literal(&self.table.name),
            self.silent_until + 1,
            self.to
        )
    }
}

/// Names that no column of a user's has.
const WEIGHT: &str = "\"__weight\"";
const ROW_ID: &str = "\"__row_id\"";
const FEED: &str = "\"__feed\"";
const DOUBTFUL: &str = "\"__doubtful\"";
const CANDIDATES: &str = "\"__candidates\"";

/// `a, b, ` to put before another column, or nothing.
fn prefix_list(columns: &[String]) -> String {
    columns.iter().map(|column| format!("{column}, ")).collect()
}

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
    fn complete(&self, from: SnapshotId, to: SnapshotId) -> bool {
        let within = self.snapshots.iter().filter(|(id, _)| (from..=to).contains(id)).count();
        i64::try_from(within).is_ok_and(|within| within == to - from + 1)
    }

    /// Whether a table was created, or got this name, after a snapshot.
    fn is_named_anew(&self, table: &TableName, after: SnapshotId) -> bool {
        let named =
            |made: &Made| made.name.as_ref().is_some_and(|(schema, name)| TableName::new(schema, name) == *table);
        self.snapshots.iter().filter(|(id, _)| *id > after).any(|(_, made)| made.iter().any(named))
    }

    fn of_table(&self, table: i64, after: SnapshotId, to: SnapshotId) -> impl Iterator<Item = (SnapshotId, &Made)> {
        self.snapshots
            .iter()
            .filter(move |(id, _)| *id > after && *id <= to)
            .flat_map(|(id, made)| made.iter().map(|made| (*id, made)))
            .filter(move |(_, made)| made.table_id == Some(table))
    }
}

/// One life of a table under one name.
struct Life {
    id: i64,
    begin: SnapshotId,
    end: Option<SnapshotId>,
    name: TableName,
}

impl Life {
    fn holds(&self, at: SnapshotId) -> bool {
        self.begin <= at && self.end.is_none_or(|end| end > at)
    }
}

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
    /// looked at before anything is published, by [`Session::windows_hold`].
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

    /// Whether the rules chosen for these windows are still right: maintenance that ran since then makes the feed
    /// of an older window wrong, and a table that was replaced has another feed. Ask after the changes were read, before what
    /// was computed from them is published.
    pub fn windows_hold(&self, windows: &[&Window]) -> Result<bool> {
        let read = |window: &&&Window| !matches!(window.rule, WindowRule::Broken(_));
        let Some(seen) = windows.iter().filter(read).map(|window| window.seen).min() else { return Ok(true) };
        let happened = self.happened_since(seen)?;
        // Where one statement can see the catalog before and after maintenance, which moves rows, no read is right beside it.
        let torn = self.reads_catalog_apart();
        if torn
            && happened
                .snapshots
                .iter()
                .any(|(id, made)| *id > seen && made.iter().any(|made| made.kind == ChangeKind::Compacted))
        {
            return Ok(false);
        }
        let by_feed = |window: &Window| matches!(window.rule, WindowRule::Insertions | WindowRule::DistinctFeed);
        let holds = |window: &&Window| {
            let id = window.table_id.unwrap_or_default();
            let mut since = happened.of_table(id, window.seen, happened.current);
            let disturbed =
                since.any(|(_, made)| by_feed(window) && disturbs(made.kind) || made.kind == ChangeKind::Dropped);
            !disturbed && !happened.is_named_anew(&window.table, window.seen)
        };
        let complete = !windows.iter().any(|window| by_feed(window)) || happened.complete(seen, happened.current);
        Ok(complete && windows.iter().filter(|window| read(window)).all(holds))
    }

    fn happened_since(&self, from: SnapshotId) -> Result<Happened> {
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

impl Happened {
    /// The last snapshot up to which nothing happened to a table but that its files were rewritten.
    fn silent_until(&self, table: i64, from: SnapshotId, to: SnapshotId) -> SnapshotId {
        let until = self.of_table(table, from, to).find(|(_, made)| made.kind != ChangeKind::Compacted);
        // What one snapshot did counts as a whole.
        let until = until.map_or(to, |(snapshot, _)| snapshot - 1);
        let last = self.of_table(table, from, until).last();
        last.map_or(from, |(snapshot, _)| snapshot)
    }

    /// The snapshots of a window that did nothing but maintenance.
    fn maintenance(&self, from: SnapshotId, to: SnapshotId) -> Vec<SnapshotId> {
        let within = self.snapshots.iter().filter(|(id, _)| *id > from && *id <= to);
        let only = within.filter(|(_, made)| {
            let inserts = made.iter().any(|made| made.kind == ChangeKind::Inserted);
            !inserts && made.iter().any(|made| made.kind == ChangeKind::Compacted)
        });
        only.map(|(id, _)| *id).collect()
    }
}

/// The id of the table at both ends of the window and now, or why there is no one such table.
fn find_break(
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

fn choose(id: i64, window: &Window, happened: &Happened) -> WindowRule {
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
fn disturbs(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Compacted | ChangeKind::Altered | ChangeKind::Dropped)
}

/// `columns` of a table as of a snapshot, as a parenthesised relation; no columns means a column `one` to count.
#[must_use]
pub fn at_sql(alias: &str, table: &TableName, columns: &[String], snapshot: Option<SnapshotId>) -> String {
    let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
    let list = if columns.is_empty() { "1 AS one".to_owned() } else { columns.join(", ") };
    let version = snapshot.map_or_else(String::new, |snapshot| format!(" AT (VERSION => {snapshot})"));
    format!("(SELECT {list} FROM {}{version})", table.quoted(alias))
}
