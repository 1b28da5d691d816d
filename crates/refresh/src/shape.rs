//! The lake's tables and views as the analysis of a query asks for them.

use error::{Code, Error, Result};
use incremental::{Catalog, Column, Relation};
use lake::{Lake, Session};
use sql::names::{ObjectName, TableName};
use sql::query::Parser;

use crate::rehearsal::Rehearsal;

/// Schemas that start so belong to this product.
pub(crate) const RESERVED_SCHEMA_PREFIX: &str = "__";

/// The shape of the lake as it stands.
pub(crate) struct Shape<'a> {
    pub lake: &'a Lake,
    pub session: &'a Session,
    /// What stands in place of some of its tables.
    pub rehearsed: Option<Rehearsed<'a>>,
}

/// Tables with the columns that they would have.
pub(crate) struct Rehearsed<'a> {
    pub rehearsal: &'a Rehearsal,
    pub parser: &'a Parser,
}

impl Catalog for Shape<'_> {
    fn relation(&self, name: &ObjectName, default_schema: &str) -> Result<Option<Relation>> {
        let resolved = name.resolve(self.lake.alias(), default_schema)?;
        if resolved.schema.starts_with(RESERVED_SCHEMA_PREFIX) {
            return Err(Error::new(Code::Query, format!("{resolved} belongs to the bookkeeping of dynamic tables"))
                .with_hint("It changes with every refresh. `dynamic-tables status` shows what it says."));
        }
        if let Some(columns) = self.rehearsed.as_ref().and_then(|known| known.rehearsal.columns(&resolved)) {
            let column = |(name, data_type): &(String, String)| Column {
                name: name.clone(),
                data_type: data_type.clone(),
                nullable: true,
            };
            return Ok(Some(Relation::Table { name: resolved, columns: columns.iter().map(column).collect() }));
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
        let redirected = match &self.rehearsed {
            Some(known) => known.rehearsal.redirected(select, known.parser, self.lake.alias())?,
            None => select.to_owned(),
        };
        self.session.describe(&redirected).map_err(|error| match error.code() {
            // What does not bind is the query's fault, whatever the engine calls it.
            Code::Schema => Error::new(Code::Query, error.message().to_owned()),
            _ => error,
        })
    }
}
