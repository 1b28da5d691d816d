//! All registered dynamic tables as they were read at one moment, found by id and by name whatever their number.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use registry::DynamicTable;
use sql::names::TableName;
use uuid::Uuid;

use crate::course::is_isolated;

/// The tables, in the order in which they were read. What they are called and who they are stays as it was then; how far
/// they are may be changed in place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registered {
    tables: Vec<DynamicTable>,
    by_id: HashMap<Uuid, usize>,
    by_name: HashMap<TableName, usize>,
}

impl Registered {
    pub fn new(tables: Vec<DynamicTable>) -> Self {
        let positions = || tables.iter().enumerate();
        let by_id = positions().map(|(position, table)| (table.definition.id, position)).collect();
        let by_name = positions().map(|(position, table)| (table.definition.name.clone(), position)).collect();
        Self { by_id, by_name, tables }
    }

    pub fn position(&self, id: Uuid) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub fn with_id(&self, id: Uuid) -> Option<&DynamicTable> {
        self.position(id).map(|position| &self.tables[position])
    }

    pub fn named(&self, name: &TableName) -> Option<&DynamicTable> {
        self.by_name.get(name).map(|position| &self.tables[*position])
    }

    /// Whether that is a dynamic table that its readers read as it stands.
    pub fn is_isolated(&self, id: Uuid) -> bool {
        self.with_id(id).is_some_and(is_isolated)
    }
}

impl From<Vec<DynamicTable>> for Registered {
    fn from(tables: Vec<DynamicTable>) -> Self {
        Self::new(tables)
    }
}

impl Deref for Registered {
    type Target = [DynamicTable];

    fn deref(&self) -> &[DynamicTable] {
        &self.tables
    }
}

impl DerefMut for Registered {
    fn deref_mut(&mut self) -> &mut [DynamicTable] {
        &mut self.tables
    }
}
