//! Where each source of a table is read: which snapshots are its old and new state, and what changed in between.
//!
//! A plain table is read at the data version itself. A dynamic table is read at the snapshot that published its
//! content of that data version, which is later than the data version.

use error::{Code, Error, Result};
use incremental::render::SourceState;
use incremental::{Plan, apply};
use lake::{Break, SnapshotId, Window, WindowRule};
use registry::DynamicTable;
use sql::names::{TableName, quote_identifier};

use crate::pass::is_isolated;
use crate::tables::DynamicTables;

/// The snapshots between which a source is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub table: TableName,
    /// `None`: there is no old state that could be continued.
    pub from: Option<SnapshotId>,
    pub to: SnapshotId,
}

/// What changed in the sources, in temporary tables of the session.
#[derive(Debug, Default)]
pub(crate) struct SourceChanges {
    pub states: Vec<SourceState>,
    /// Rows that came and rows that went, over all sources.
    pub came: u64,
    pub went: u64,
    pub windows: Vec<Window>,
}

/// Whether the changes of all sources can be told.
pub(crate) enum Told {
    Windows(Vec<Window>),
    /// Why not; the table has to be initialised again.
    Broken(String),
}

/// The temporary table with the change of a source.
fn delta_table(source: usize) -> String {
    format!("__dt_delta{source}")
}

impl DynamicTables {
    /// Where the sources of `plan` are read to bring a table from data version `from` to `to`.
    pub(crate) fn spans(
        &self,
        plan: &Plan,
        from: Option<SnapshotId>,
        to: SnapshotId,
        tables: &[DynamicTable],
    ) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for source in &plan.sources {
            let upstream = tables.iter().find(|table| table.definition.name == source.name && !is_isolated(table));
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
                        Some(from) => self.registry.publication_at(upstream.definition.id, from)?,
                        None => None,
                    };
                    // A newer data version than wanted is read at the publication that holds the wanted one.
                    let new = if version == to {
                        Some(snapshot)
                    } else {
                        self.registry.publication_at(upstream.definition.id, to)?
                    };
                    Span { table, from: old, to: new.unwrap_or(snapshot) }
                }
            });
        }
        Ok(spans)
    }

    /// The windows of all sources, or why one of them cannot be had. Sources that are looked at between the same
    /// snapshots, which is all plain tables, cost as much as one.
    pub(crate) fn windows(&self, spans: &[Span]) -> Result<Told> {
        let mut windows: Vec<Option<Window>> = vec![None; spans.len()];
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
                .filter(|other| spans[*other].from == span.from && spans[*other].to == span.to)
                .collect();
            let tables: Vec<TableName> = alike.iter().map(|other| spans[*other].table.clone()).collect();
            for (other, window) in alike.into_iter().zip(self.session.windows(&tables, from, span.to)?) {
                if let WindowRule::Broken(cause) = window.rule {
                    return broken(&window.table, from, cause).map(Told::Broken);
                }
                windows[other] = Some(window);
            }
        }
        Ok(Told::Windows(windows.into_iter().flatten().collect()))
    }

    /// Reads what changed into temporary tables.
    pub(crate) fn read_changes(&self, plan: &Plan, spans: &[Span], windows: Vec<Window>) -> Result<SourceChanges> {
        let mut changes = SourceChanges::default();
        for (number, (source, (span, window))) in plan.sources.iter().zip(spans.iter().zip(&windows)).enumerate() {
            let mut state = state_of(span);
            if window.rule != WindowRule::Unchanged {
                let columns: Vec<String> = source.used.iter().map(|column| column.name.clone()).collect();
                let (came, went) = self.read_change(number, window, &columns)?;
                state.came = (came > 0).then(|| view(number, "came"));
                state.went = (went > 0).then(|| view(number, "went"));
                changes.came += came;
                changes.went += went;
            }
            changes.states.push(state);
        }
        changes.windows = windows;
        Ok(changes)
    }

    fn read_change(&self, number: usize, window: &Window, columns: &[String]) -> Result<(u64, u64)> {
        let delta = delta_table(number);
        let change = window.delta_sql(columns, apply::WEIGHT);
        self.work(&format!("CREATE OR REPLACE TEMP TABLE {delta} AS {change}"))?;
        let weight = quote_identifier(apply::WEIGHT);
        for (name, sign) in [("came", ">"), ("went", "<")] {
            self.work(&format!(
                "CREATE OR REPLACE TEMP VIEW {} AS SELECT {} FROM temp.main.{delta} WHERE {weight} {sign} 0",
                view(number, name),
                apply::column_list(columns),
            ))?;
        }
        let counts = self.session.query(&format!(
            "SELECT count(*) FILTER ({weight} > 0), count(*) FILTER ({weight} < 0) FROM temp.main.{delta}"
        ))?;
        Ok((counted(&counts, 0), counted(&counts, 1)))
    }

    /// Drops the temporary tables of a refresh, so that their memory and disk are free again.
    pub(crate) fn forget_temporaries(&self) -> Result<()> {
        let rows = self.session.query(
            "SELECT 'VIEW', view_name FROM duckdb_views() WHERE temporary AND starts_with(view_name, '__dt_') \
             UNION ALL SELECT 'TABLE', table_name FROM duckdb_tables() WHERE temporary AND starts_with(table_name, '__dt_')",
        )?;
        let drops = rows.rows.iter().filter_map(|row| match row.as_slice() {
            [Some(kind), Some(name)] => Some(format!("DROP {kind} IF EXISTS temp.main.{}", quote_identifier(name))),
            _ => None,
        });
        let drops: Vec<String> = drops.collect();
        if !drops.is_empty() {
            self.work(&drops.join("; "))?;
        }
        Ok(())
    }
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
    SourceState { table: span.table.clone(), old: span.from, new: Some(span.to), came: None, went: None }
}

fn view(source: usize, what: &str) -> String {
    format!("__dt_{what}{source}")
}

/// A number from the first row of a result.
pub(crate) fn counted(rows: &lake::Rows, column: usize) -> u64 {
    let value = rows.rows.first().and_then(|row| row.get(column)).and_then(Option::as_deref);
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
