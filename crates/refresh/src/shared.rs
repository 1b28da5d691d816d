//! What several tables of a course read of one source, read once: which way its change is told, the change itself, and the
//! whole of a small one. In temporary tables, until the course is over.

use std::collections::HashMap;

use error::Result;
use incremental::render::SourceState;
use lake::{SnapshotId, Window};
use sql::names::TableName;
use uuid::Uuid;

use crate::registered::Registered;
use crate::sources::Span;
use crate::tables::DynamicTables;

/// The scope of its temporary tables, in which no table is computed.
const SCOPE: usize = usize::MAX;

/// Reads of sources that more than one table of the course wants.
#[derive(Debug, Default)]
pub(crate) struct SharedReads {
    /// How many tables of the course read each source.
    readers: HashMap<TableName, usize>,
    windows: HashMap<(TableName, SnapshotId, SnapshotId), Window>,
    changes: HashMap<ChangeKey, ReadChange>,
    /// The ids of plain tables.
    ids: HashMap<TableName, i64>,
    /// Temporary tables with all rows.
    contents: HashMap<(TableName, SnapshotId), String>,
    made: usize,
}

/// The change of which columns of which table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChangeKey {
    pub table: TableName,
    pub from: SnapshotId,
    pub to: SnapshotId,
    pub columns: Vec<String>,
    /// Of these, those that are told apart by how they are written.
    pub apart: Vec<String>,
}

/// A change that was read.
#[derive(Clone, Debug)]
pub(crate) struct ReadChange {
    /// How many rows came, and the relation that has them.
    pub came: (u64, String),
    /// How many rows went, and the relation that has them.
    pub went: (u64, String),
}

impl SharedReads {
    /// Whether it pays to keep what is read of a source.
    pub fn is_wanted(&self, table: &TableName) -> bool {
        self.readers.get(table).is_some_and(|readers| *readers > 1)
    }

    pub fn window(&self, span: &Span) -> Option<Window> {
        self.windows.get(&(span.table.clone(), span.from?, span.to)).cloned()
    }

    pub fn keep_window(&mut self, window: &Window) {
        if self.is_wanted(&window.table) {
            self.windows.insert((window.table.clone(), window.from, window.to), window.clone());
        }
    }

    pub fn change(&self, key: &ChangeKey) -> Option<ReadChange> {
        self.changes.get(key).cloned()
    }

    pub fn keep_change(&mut self, key: ChangeKey, change: ReadChange) {
        self.changes.insert(key, change);
    }

    /// A name for another temporary table.
    pub fn name(&mut self) -> String {
        self.made += 1;
        format!("__dt_shared{}", self.made)
    }
}

impl DynamicTables {
    /// Counts who reads what in a course that begins.
    pub(crate) fn begin_sharing(&self, tables: &Registered, order: &[Uuid]) {
        let mut shared = SharedReads::default();
        for table in order.iter().filter_map(|id| tables.with_id(*id)) {
            for source in &table.sources {
                *shared.readers.entry(source.name.clone()).or_default() += 1;
            }
        }
        *self.shared.borrow_mut() = shared;
    }

    /// Forgets what was read; its temporary tables go with those of all scopes.
    pub(crate) fn end_sharing(&self) {
        *self.shared.borrow_mut() = SharedReads::default();
    }

    /// Does something whose temporary tables last as long as the course.
    pub(crate) fn in_shared_scope<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let scope = self.scope();
        self.enter_scope(SCOPE);
        let result = work();
        self.enter_scope(scope);
        result
    }

    /// The ids of tables in the lake now, in the order of their names. That of a plain table which several tables of the course
    /// read is asked once: should it be replaced meanwhile, the next look at the lake's changes shows that.
    pub(crate) fn source_ids(&self, names: &[TableName], tables: &Registered) -> Result<Vec<Option<i64>>> {
        let known = |name: &TableName| self.shared.borrow().ids.get(name).copied();
        let unknown: Vec<TableName> = names.iter().filter(|name| known(name).is_none()).cloned().collect();
        let asked = if unknown.is_empty() { Vec::new() } else { self.session.table_ids(&unknown)? };
        let asked: HashMap<TableName, i64> =
            unknown.into_iter().zip(asked).filter_map(|(name, id)| Some((name, id?))).collect();
        let ids = names.iter().map(|name| known(name).or_else(|| asked.get(name).copied())).collect();
        let shared = &mut *self.shared.borrow_mut();
        for (name, id) in asked {
            if shared.is_wanted(&name) && tables.named(&name).is_none() {
                shared.ids.insert(name, id);
            }
        }
        Ok(ids)
    }

    /// Reads small sources from a copy that several tables share, where nothing else says how they are read.
    pub(crate) fn share_contents(&self, states: &mut [SourceState]) -> Result<()> {
        for state in states.iter_mut().filter(|state| state.new_relation.is_none()) {
            let Some(version) = state.new else { continue };
            let small = self.known_source_rows(&state.table).is_some_and(|rows| rows < self.auto.get().floor_rows);
            if small && self.shared.borrow().is_wanted(&state.table) {
                state.new_relation = Some(self.shared_content(&state.table, version)?);
            }
        }
        Ok(())
    }

    fn shared_content(&self, table: &TableName, version: SnapshotId) -> Result<String> {
        let key = (table.clone(), version);
        if let Some(known) = self.shared.borrow().contents.get(&key) {
            return Ok(known.clone());
        }
        let name = self.shared.borrow_mut().name();
        let select = format!("SELECT * FROM {} AT (VERSION => {version})", table.quoted(self.lake.alias()));
        let relation = self.in_shared_scope(|| {
            self.keep(&name, &select)?;
            Ok(self.scoped(&name))
        })?;
        self.shared.borrow_mut().contents.insert(key, relation.clone());
        Ok(relation)
    }
}
