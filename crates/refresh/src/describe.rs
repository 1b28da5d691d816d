//! Everything about one dynamic table.

use error::Result;
use sql::names::{ObjectName, TableName};
use sql::properties::PropertyName;
use sql::statement::{CreateDynamicTable, CreateMode};

use crate::course::graph;
use crate::status::Status;
use crate::tables::DynamicTables;

/// Everything about one dynamic table.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its state.
    pub status: Status,
    /// Its columns as (name, type).
    pub columns: Vec<(String, String)>,
    /// Its properties as (name, value).
    pub properties: Vec<(String, String)>,
    /// What it reads: name and kind.
    pub sources: Vec<(TableName, String)>,
    /// The dynamic tables that read it.
    pub readers: Vec<TableName>,
    /// Its query.
    pub query: String,
    /// The statement that creates it.
    pub statement: String,
}

impl DynamicTables {
    /// Everything about one dynamic table.
    ///
    /// # Errors
    /// `QUERY` when it does not exist.
    pub fn describe(&self, name: &ObjectName) -> Result<Description> {
        let table = self.find(name)?;
        let tables = self.load_all()?;
        let status = self.status(Some(name))?.swap_remove(0);
        let readers = graph(&tables)?.downstream(&table.definition.id);
        let readers = tables.iter().filter(|other| readers.contains(&other.definition.id));
        let definition = &table.definition;
        let statement = CreateDynamicTable {
            mode: CreateMode::Create,
            if_not_exists: false,
            name: ObjectName {
                catalog: None,
                schema: Some(definition.name.schema.clone()),
                name: definition.name.name.clone(),
                offset: 0,
                length: 0,
            },
            properties: definition.properties.clone(),
            query: definition.query.clone(),
            query_offset: 0,
        };
        let value = |name: PropertyName| definition.properties.get(name).map(|property| property.value_sql());
        Ok(Description {
            status,
            columns: definition.columns.clone(),
            properties: PropertyName::ALL
                .into_iter()
                .map(|name| (name.as_str().to_owned(), value(name).unwrap_or_else(|| "-".to_owned())))
                .collect(),
            sources: table
                .sources
                .iter()
                .map(|source| (source.name.clone(), source.kind.as_str().to_owned()))
                .collect(),
            readers: readers.map(|reader| reader.definition.name.clone()).collect(),
            query: definition.query.clone(),
            statement: format!("{statement};"),
        })
    }
}
