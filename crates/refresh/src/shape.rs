//! The lake's tables and views as the analysis of a query asks for them.

use error::{Code, Error, Result};
use incremental::{Catalog, Column, Relation};
use lake::{Lake, Session};
use sql::names::{ObjectName, TableName};

/// Schemas that start so belong to this product.
pub(crate) const RESERVED_SCHEMA_PREFIX: &str = "__";

/// The shape of the lake as it stands.
pub(crate) struct Shape<'a> {
    pub lake: &'a Lake,
    pub session: &'a Session,
}

impl Catalog for Shape<'_> {
    fn relation(&self, name: &ObjectName, default_schema: &str) -> Result<Option<Relation>> {
        let resolved = name.resolve(self.lake.alias(), default_schema)?;
        if resolved.schema.starts_with(RESERVED_SCHEMA_PREFIX) {
            return Err(Error::new(Code::Query, format!("{resolved} belongs to the bookkeeping of dynamic tables"))
                .with_hint("It changes with every refresh. `dynamic-tables status` shows what it says."));
        }
        if let Some(table) = self.session.table(&resolved, None)? {
            let columns = table.columns.into_iter();
            let columns = columns
                .map(|column| Column { name: column.name, data_type: column.data_type, nullable: column.nullable })
                .collect();
            return Ok(Some(Relation::Table { name: table.name, columns }));
        }
        let view = self.session.view(&resolved)?;
        Ok(view.map(|query| Relation::View { name: resolved, query }))
    }

    fn names(&self) -> Result<Vec<TableName>> {
        let visible = |table: &lake::Table| !table.name.schema.starts_with(RESERVED_SCHEMA_PREFIX);
        Ok(self.session.tables()?.into_iter().filter(visible).map(|table| table.name).collect())
    }

    fn describe(&self, select: &str) -> Result<Vec<(String, String)>> {
        self.session.describe(select).map_err(|error| match error.code() {
            // What does not bind is the query's fault, whatever the engine calls it.
            Code::Schema => Error::new(Code::Query, error.message().to_owned()),
            _ => error,
        })
    }
}
