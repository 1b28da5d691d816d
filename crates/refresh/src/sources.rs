//! Where each source of a table is read: which snapshots are its old and new state, and what changed in between.
//!
//! A plain table is read at the data version itself. A dynamic table is read at the snapshot that published its
//! content of that data version, which is later than the data version.

use error::{Code, Error, Result};
use incremental::clock::Clock;
use incremental::render::{Inputs, SourceState};
use incremental::{Plan, StageChange, apply};
use lake::{Break, Change, ChangeKind, Changes, SnapshotId, Window, WindowRule};
use registry::DynamicTable;
use sql::names::{TableName, quote_identifier};

use crate::course::is_isolated;
use crate::registered::Registered;
use crate::shared::{ChangeKey, ReadChange};
use crate::tables::DynamicTables;
use crate::unpublished::{NewContent, Unpublished};

/// The snapshots between which a source is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub table: TableName,
    /// `None`: there is no old state that could be continued.
    pub from: Option<SnapshotId>,
    pub to: SnapshotId,
}

/// What changed in the sources, in temporary tables of the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceChanges {
    pub states: Vec<SourceState>,
    /// The change of each stage of the query, as far as they are computed.
    pub stages: Vec<StageChange>,
    /// Rows that came and rows that went, over all sources.
    pub came: u64,
    pub went: u64,
    pub windows: Vec<Window>,
    /// The data timestamps.
    pub clock: Clock,
}

impl SourceChanges {
    /// The states of everything that a query reads.
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { sources: &self.states, stages: &self.stages, clock: &self.clock }
    }
}

/// Whether the changes of all sources can be told.
pub(crate) enum Told {
    Windows(Vec<Window>),
    /// Why not; the table has to be initialised again.
    Broken(String),
}

impl DynamicTables {
    /// Where the sources of `plan` are read to bring a table from data version `from` to `to`. `unpublished` knows what
    /// dynamic tables among them will hold at `to`, `changes` what happened in the lake since `from`.
    pub(crate) fn spans(
        &self,
        plan: &Plan,
        from: Option<SnapshotId>,
        to: SnapshotId,
        tables: &Registered,
        unpublished: &Unpublished,
        changes: &[Change],
    ) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for source in &plan.sources {
            let upstream = tables.named(&source.name).filter(|table| !is_isolated(table));
            let table = source.name.clone();
            spans.push(match upstream {
                None => Span { table, from, to },
                Some(upstream) => {
                    let progress = &upstream.progress;
                    let (Some(version), Some(snapshot)) = (progress.data_version, progress.snapshot) else {
                        return Err(Error::new(Code::Dependency, format!("{table} has not been initialised yet"))
                            .with_hint(format!("Refresh {table} first: `dynamic-tables refresh {table}`.")));
                    };
                    if version < to {
                        return Err(Error::new(
                            Code::Dependency,
                            format!("{table} is at data version {version}, older than the {to} that is needed"),
                        ));
                    }
                    let old = match from {
                        Some(from) => self
                            .registry
                            .publication_at(upstream.definition.id, from)?
                            // What was computed from it did not have what somebody wrote before it was published.
                            .filter(|published| !is_disturbed(changes, upstream, from, *published)),
                        None => None,
                    };
                    // A newer data version than wanted is read at the publication that holds the wanted one.
                    let new = if version == to {
                        Some(snapshot)
                    } else {
                        self.registry.publication_at(upstream.definition.id, to)?
                    };
                    let new = new.unwrap_or(snapshot);
                    // What a publication holds stands unchanged until the next one: it is read as late as it may be,
                    // since the snapshot that published it may have been expired.
                    let to = new.max(to);
                    let stands = |old| old == new && !unpublished.restarts(&table);
                    let from = old.map(|old| if stands(old) { to } else { from.map_or(old, |from| old.max(from)) });
                    Span { table, from, to }
                }
            });
        }
        Ok(spans)
    }

    /// Refuses to bring a table to a data version that another process has brought its upstream tables past: whether one
    /// of them changed between its publication before that version and the version itself, nobody knows.
    pub(crate) fn refuse_overtaken(&self, plan: &Plan, to: SnapshotId, tables: &Registered) -> Result<()> {
        for source in &plan.sources {
            let upstream = tables.named(&source.name).filter(|table| !is_isolated(table));
            let Some(upstream) = upstream.filter(|table| table.progress.data_version > Some(to)) else { continue };
            let id = upstream.definition.id;
            let publication = self.registry.publication_at(id, to)?;
            let is_latest = publication.is_some() && publication == upstream.progress.snapshot;
            let is_of_this_version =
                publication.is_some() && self.registry.publication_at(id, to - 1)? != publication;
            if !is_latest && !is_of_this_version {
                let message = format!("{} was refreshed past data version {to} meanwhile", source.name);
                return Err(Error::new(Code::Conflict, message)
                    .with_transient(true)
                    .with_hint("Refresh again: that goes to the newest data version."));
            }
        }
        Ok(())
    }

    /// The data timestamps of a refresh: when the snapshots of the two data versions were made. Those of a snapshot that was
    /// expired are not known any more.
    pub(crate) fn clock(&self, plan: &Plan, from: Option<SnapshotId>, to: SnapshotId) -> Result<Clock> {
        if !plan.follows_time {
            return Ok(Clock::default());
        }
        let time = |version: SnapshotId| -> Result<Option<String>> {
            Ok(self.session.snapshot(version)?.map(|snapshot| snapshot.time.to_string()))
        };
        let new = time(to)?.ok_or_else(|| {
            Error::new(Code::Conflict, format!("snapshot {to}, whose time the query asks for, was expired"))
                .with_transient(true)
        })?;
        Ok(Clock { old: from.map(time).transpose()?.flatten(), new })
    }

    /// The windows of all sources, or why one of them cannot be had. Sources that are looked at between the same
    /// snapshots, which is all plain tables, cost as much as one. `changes` is what the course knows of the lake.
    pub(crate) fn windows(&self, spans: &[Span], changes: &Changes) -> Result<Told> {
        let mut windows: Vec<Option<Window>> = spans.iter().map(|span| self.shared.borrow().window(span)).collect();
        for position in 0..spans.len() {
            if windows[position].is_some() {
                continue;
            }
            let span = &spans[position];
            let Some(from) = span.from else {
                let reason = format!("the state of {} that the table was built from is not known", span.table);
                return Ok(Told::Broken(reason));
            };
            let alike: Vec<usize> = (position..spans.len())
                .filter(|other| windows[*other].is_none())
                .filter(|other| spans[*other].from == span.from && spans[*other].to == span.to)
                .collect();
            let tables: Vec<TableName> = alike.iter().map(|other| spans[*other].table.clone()).collect();
            let told = self.session.windows_known(&tables, from, span.to, changes.happened.as_ref())?;
            for (other, window) in alike.into_iter().zip(told) {
                if let WindowRule::Broken(cause) = window.rule {
                    return broken(&window.table, from, cause).map(Told::Broken);
                }
                self.shared.borrow_mut().keep_window(&window);
                windows[other] = Some(window);
            }
        }
        Ok(Told::Windows(windows.into_iter().flatten().collect()))
    }

    /// About how many rows the sources have at the newest snapshot, `version`. Asked of the catalog once and kept up by
    /// what changes since.
    pub(crate) fn source_rows(&self, plan: &Plan, version: SnapshotId) -> Result<u64> {
        let mut known = self.source_rows.borrow_mut();
        let mut rows = 0;
        for source in &plan.sources {
            rows += match known.get(&source.name) {
                Some((rows, _)) => *rows,
                None => {
                    let rows = self.session.row_count(std::slice::from_ref(&source.name))?;
                    known.insert(source.name.clone(), (rows, version));
                    rows
                }
            };
        }
        Ok(rows)
    }

    /// About how many rows a source has, if that was ever asked.
    pub(crate) fn known_source_rows(&self, table: &TableName) -> Option<u64> {
        self.source_rows.borrow().get(table).map(|(rows, _)| *rows)
    }

    /// Keeps the row counts up with what changed. A count that lies within a window is asked for again next time.
    pub(crate) fn follow_source_rows(&self, windows: &[Window]) {
        let mut known = self.source_rows.borrow_mut();
        for window in windows {
            let Some((rows, at)) = known.get_mut(&window.table).filter(|(_, at)| *at < window.to) else { continue };
            if window.from == *at {
                *rows = (*rows + window.inserted).saturating_sub(window.deleted);
                *at = window.to;
            } else {
                known.remove(&window.table);
            }
        }
    }

    /// Reads what changed into temporary tables.
    pub(crate) fn read_changes(
        &self,
        plan: &Plan,
        spans: &[Span],
        windows: Vec<Window>,
        unpublished: &Unpublished,
        clock: Clock,
    ) -> Result<SourceChanges> {
        let mut changes = SourceChanges { clock, ..SourceChanges::default() };
        for (number, (source, (span, window))) in plan.sources.iter().zip(spans.iter().zip(&windows)).enumerate() {
            let mut state = unpublished.state_of(span);
            let coming = unpublished.change_of(&span.table);
            if window.rule != WindowRule::Unchanged || coming.is_some() {
                let columns: Vec<String> = source.used.iter().map(|column| column.name.clone()).collect();
                let apart: Vec<String> = source
                    .used
                    .iter()
                    .filter(|column| has_equal_values_that_differ(&column.data_type))
                    .map(|column| column.name.clone())
                    .collect();
                let ReadChange { came, went } = self.read_change_once(number, window, coming, columns, apart)?;
                changes.came += came.0;
                changes.went += went.0;
                state.came = (came.0 > 0).then_some(came.1);
                state.went = (went.0 > 0).then_some(went.1);
            }
            changes.states.push(state);
        }
        changes.windows = windows;
        Ok(changes)
    }

    /// The change of a source; one that several tables of the course read is read once.
    fn read_change_once(
        &self,
        number: usize,
        window: &Window,
        coming: Option<&NewContent>,
        columns: Vec<String>,
        apart: Vec<String>,
    ) -> Result<ReadChange> {
        if coming.is_some() || !self.shared.borrow().is_wanted(&window.table) {
            return self.read_change(&format!("{number}"), window, coming, &columns, &apart);
        }
        let Window { ref table, from, to, .. } = *window;
        let key = ChangeKey { table: table.clone(), from, to, columns, apart };
        if let Some(known) = self.shared.borrow().change(&key) {
            return Ok(known);
        }
        let name = self.shared.borrow_mut().name();
        let change = self.in_shared_scope(|| self.read_change(&name, window, None, &key.columns, &key.apart))?;
        self.shared.borrow_mut().keep_change(key, change.clone());
        Ok(change)
    }

    fn read_change(
        &self,
        source: &str,
        window: &Window,
        coming: Option<&NewContent>,
        columns: &[String],
        apart: &[String],
    ) -> Result<ReadChange> {
        let delta = format!("__dt_delta{source}");
        let (came, went) = (format!("__dt_came{source}"), format!("__dt_went{source}"));
        let change = |came_rows: u64, went_rows: u64| ReadChange {
            came: (came_rows, self.scoped(&came)),
            went: (went_rows, self.scoped(&went)),
        };
        let rows = self.session.read_in_peace(window, |window| {
            let select = match coming {
                None => window.delta_sql_telling_apart(columns, apart, apply::WEIGHT),
                Some(coming) => coming.delta_sql(window, columns, apart),
            };
            self.keep(&delta, &select)
        })?;
        let delta = self.relation(&delta);
        let weight = quote_identifier(apply::WEIGHT);
        let list = apply::column_list(columns);
        for (name, sign) in [(&came, ">"), (&went, "<")] {
            self.name(name, &format!("SELECT {list} FROM {delta} WHERE {weight} {sign} 0"))?;
        }
        if window.rule == WindowRule::Insertions && coming.is_none() {
            return Ok(change(rows, 0));
        }
        let [came_rows] = self.counts(&format!("SELECT count(*) FILTER ({weight} > 0) FROM {delta}"))?;
        Ok(change(came_rows, rows - came_rows))
    }
}

/// Whether somebody else wrote to a dynamic table after a snapshot and not after another.
pub(crate) fn is_disturbed(changes: &[Change], table: &DynamicTable, after: SnapshotId, until: SnapshotId) -> bool {
    let target = table.progress.target_table_id;
    changes.iter().filter(|change| change.snapshot > after && change.snapshot <= until).any(|change| {
        let by_others = !change.ours && change.kind != ChangeKind::Compacted && change.table_id == target;
        // Of snapshots that were expired nobody knows what they did.
        target.is_some() && (by_others || change.kind == ChangeKind::Forgotten)
    })
}

/// Whether values of the type, or within it, can be equal and yet not the same to every function: 0.0 and -0.0, 30 days
/// and a month.
fn has_equal_values_that_differ(data_type: &str) -> bool {
    ["DOUBLE", "FLOAT", "INTERVAL"].iter().any(|inexact| data_type.contains(inexact))
}

/// Why a table whose source's change cannot be told has to be initialised again; an error if that cannot be done either.
fn broken(table: &TableName, from: SnapshotId, cause: Break) -> Result<String> {
    Ok(match cause {
        Break::Replaced => format!("{table} was dropped and created again, or replaced"),
        Break::Redefined => format!("a column of {table} was dropped and added again"),
        Break::Expired => format!("snapshot {from} of {table}, which its change starts from, was expired"),
        Break::Dropped => {
            return Err(Error::new(Code::Schema, format!("source {table} was dropped"))
                .with_hint("Create it again, or change or drop the dynamic table."));
        }
    })
}

/// A source read at both ends of its span, with no change known.
pub(crate) fn state_of(span: &Span) -> SourceState {
    SourceState {
        table: span.table.clone(),
        old: span.from,
        new: Some(span.to),
        new_relation: None,
        came: None,
        went: None,
    }
}
