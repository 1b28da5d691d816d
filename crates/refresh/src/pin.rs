//! At which snapshots to read several tables so that what is read is one consistent cut.
//!
//! A data version is one number for everything: a plain table has it at the snapshot of that number, a dynamic table at
//! the snapshot in which it was published. Not every dynamic table has had every data version.

use std::collections::HashMap;

use error::{Code, Error, Result};
use registry::DynamicTable;
use sql::names::TableName;

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
        let mut version = match wanted {
            Some(wanted) => wanted,
            None => match tables.iter().map(|table| table.progress.data_version).min() {
                Some(Some(least)) => least,
                Some(None) => return Err(self.never_published(&tables)),
                None => self.session.current_snapshot()?.id,
            },
        };
        'search: loop {
            let mut snapshots = HashMap::new();
            for table in &tables {
                let name = &table.definition.name;
                match self.had(table, version)? {
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
    fn had(&self, table: &DynamicTable, version: i64) -> Result<Option<(i64, i64)>> {
        let Some((published, snapshot)) = self.registry.publication_before(table.definition.id, version)? else {
            return Ok(None);
        };
        // Since its last publication no source has changed up to its data version, so it has had all of those between.
        let is_last = table.progress.snapshot == Some(snapshot);
        let reached = table.progress.data_version.filter(|_| is_last).unwrap_or(published);
        Ok(Some((reached.min(version), snapshot)))
    }

    fn never_published(&self, tables: &[&DynamicTable]) -> Error {
        let empty = tables.iter().find(|table| table.progress.data_version.is_none());
        let name = empty.map_or_else(String::new, |table| table.definition.name.to_string());
        Error::new(Code::Dependency, format!("{name} has not been refreshed yet")).with_hint("Refresh it first.")
    }
}

fn never_had(name: &TableName, version: i64, before: Option<i64>) -> Error {
    let error = Error::new(Code::Dependency, format!("{name} has never had the data version {version}"));
    match before {
        Some(before) => error.with_hint(format!("The newest before it is {before}.")),
        None => error.with_hint("It has none before it either."),
    }
}
