//! At which snapshots to read several tables so that what is read is one consistent cut.
//!
//! A data version is one number for everything: a plain table has it at the snapshot of that number, a dynamic table at
//! the snapshot in which it was published. Not every dynamic table has had every data version.

use std::collections::{HashMap, HashSet};

use error::{Code, Error, Result};
use lake::Change;
use registry::DynamicTable;
use sql::names::TableName;

use crate::registered::Registered;
use crate::tables::DynamicTables;

/// Where each of several tables is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The data version of the cut; also the snapshot of the tables that are no dynamic tables.
    pub data_version: i64,
    /// The snapshots of the dynamic tables.
    pub snapshots: HashMap<TableName, i64>,
}

impl DynamicTables {
    /// Where to read tables so that all of them are at one data version: the newest that all dynamic tables among them
    /// have had, or the one that is wanted.
    ///
    /// # Errors
    /// `DEPENDENCY` when one of the dynamic tables has never had that data version, or when there is none that all
    /// have had.
    pub fn pin(&self, names: &[TableName], wanted: Option<i64>) -> Result<Pin> {
        let registered = self.load_all()?;
        let tables: Vec<&DynamicTable> = names.iter().filter_map(|name| registered.named(name)).collect();
        if let Some(empty) = tables.iter().find(|table| table.progress.data_version.is_none()) {
            let name = &empty.definition.name;
            return Err(Error::new(Code::Dependency, format!("{name} has not been refreshed yet"))
                .with_hint("Refresh it first."));
        }
        let mut version = match wanted {
            Some(wanted) => wanted,
            None => self.session.current_snapshot()?.id,
        };
        'search: loop {
            let mut snapshots = HashMap::new();
            for table in &tables {
                let name = &table.definition.name;
                match self.had(table, version, &registered)? {
                    Some((had, snapshot)) if had == version => drop(snapshots.insert(name.clone(), snapshot)),
                    Some((had, _)) if wanted.is_none() => {
                        version = had;
                        continue 'search;
                    }
                    found => return Err(never_had(name, version, found.map(|(had, _)| had))),
                }
            }
            return Ok(Pin { data_version: version, snapshots });
        }
    }

    /// The greatest data version not above `version` that a table is known to have had, and the snapshot that holds it.
    fn had(&self, table: &DynamicTable, version: i64, tables: &Registered) -> Result<Option<(i64, i64)>> {
        let Some((published, snapshot)) = self.registry.publication_before(table.definition.id, version)? else {
            return Ok(None);
        };
        // Since its last publication no source has changed up to its data version, so it has had all of those between.
        let is_last = table.progress.snapshot == Some(snapshot);
        let reached = table.progress.data_version.filter(|_| is_last).unwrap_or(published);
        if reached >= version {
            return Ok(Some((version, snapshot)));
        }
        Ok(Some((reached.max(self.right_up_to(table, published, version, tables)?), snapshot)))
    }

    /// Up to which version what a table held at `published` is its query's result: until something was done to what it
    /// reads, directly or through other dynamic tables.
    fn right_up_to(&self, table: &DynamicTable, published: i64, version: i64, tables: &Registered) -> Result<i64> {
        let Some(sources) = plain_sources(table, tables) else {
            return Ok(published);
        };
        let changes = self.session.changes_since(published)?;
        let is_news = |change: &&Change| change.table_id.is_none_or(|id| sources.contains(&id)) && !change.ours;
        let first = changes.changes.iter().find(is_news).map_or(changes.current.id + 1, |change| change.snapshot);
        Ok(version.min(first - 1).max(published))
    }
}

/// The tables of the lake that a table reads in the end; none if not all of them are known, or if it reads one as it stands.
fn plain_sources(table: &DynamicTable, tables: &Registered) -> Option<HashSet<i64>> {
    let mut plain = HashSet::new();
    let mut waiting = vec![table];
    let mut seen = HashSet::from([table.definition.id]);
    while let Some(reader) = waiting.pop() {
        for source in &reader.sources {
            match source.upstream {
                Some(upstream) if tables.is_isolated(upstream) => return None,
                Some(upstream) if seen.insert(upstream) => waiting.push(tables.with_id(upstream)?),
                Some(_) => {}
                None => drop(plain.insert(source.lake_table_id?)),
            }
        }
        if reader.definition.time_dependent {
            return None;
        }
    }
    Some(plain)
}

fn never_had(name: &TableName, version: i64, before: Option<i64>) -> Error {
    let error = Error::new(Code::Dependency, format!("{name} has never had the data version {version}"));
    match before {
        Some(before) => error.with_hint(format!("The newest before it is {before}.")),
        None => error.with_hint("It has none before it either."),
    }
}
