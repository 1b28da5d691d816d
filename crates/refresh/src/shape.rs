//! The lake's tables and views as the analysis of a query asks for them.

use std::cell::RefCell;
use std::collections::HashMap;

use error::{Code, Error, Result};
use incremental::{Catalog, Column, Relation};
use lake::{Lake, Look, Session};
use sql::names::{ObjectName, TableName};
use sql::query::Parser;

use crate::unpublished::Unpublished;

/// Schemas that start so belong to this product.
pub(crate) const RESERVED_SCHEMA_PREFIX: &str = "__";

/// The shape of the lake at one snapshot, the newest when this value was made.
pub(crate) struct Shape<'a> {
    lake: &'a Lake,
    session: &'a Session,
    look: Look<'a>,
    /// What stands in place of some of its tables.
    coming: Option<Coming<'a>>,
    /// A name that the lake has another one for.
    renamed: Option<(&'a TableName, &'a TableName)>,
    /// The relations that were asked for; a query names a table more than once.
    known: RefCell<HashMap<TableName, Option<Relation>>>,
}

/// Tables with the columns that they would have.
pub(crate) struct Coming<'a> {
    pub unpublished: &'a Unpublished,
    pub parser: &'a Parser,
}

impl<'a> Shape<'a> {
    pub fn new(lake: &'a Lake, session: &'a Session, coming: Option<Coming<'a>>) -> Result<Self> {
        Ok(Self { lake, session, look: session.look()?, coming, renamed: None, known: RefCell::default() })
    }

    /// The same, where `old` means what the lake calls `new`.
    pub fn with_renamed(self, old: &'a TableName, new: &'a TableName) -> Self {
        Self { renamed: Some((old, new)), ..self }
    }

    fn read_relation(&self, name: &TableName) -> Result<Option<Relation>> {
        let name = self.renamed.filter(|(old, _)| *old == name).map_or(name, |(_, new)| new);
        if let Some(columns) = self.coming.as_ref().and_then(|known| known.unpublished.columns(name)) {
            let column = |(name, data_type): &(String, String)| Column {
                name: name.clone(),
                data_type: data_type.clone(),
                nullable: true,
            };
            let columns = columns.iter().map(column).collect();
            return Ok(Some(Relation::Table { name: name.clone(), columns }));
        }
        if let Some(table) = self.session.shape(name, None)? {
            let columns = table.columns.into_iter();
            let columns = columns
                .map(|column| Column { name: column.name, data_type: column.data_type, nullable: column.nullable })
                .collect();
            return Ok(Some(Relation::Table { name: table.name, columns }));
        }
        let view = self.session.view(name)?;
        Ok(view.map(|query| Relation::View { name: name.clone(), query }))
    }
}

impl Catalog for Shape<'_> {
    fn relation(&self, name: &ObjectName, default_schema: &str) -> Result<Option<Relation>> {
        let resolved = name.resolve(self.lake.alias(), default_schema)?;
        if resolved.schema.starts_with(RESERVED_SCHEMA_PREFIX) {
            return Err(Error::new(Code::Query, format!("{resolved} belongs to the bookkeeping of dynamic tables"))
                .with_hint("It changes with every refresh. `dynamic-tables status` shows what it says."));
        }
        if let Some(known) = self.known.borrow().get(&resolved) {
            return Ok(known.clone());
        }
        let relation = self.read_relation(&resolved)?;
        self.known.borrow_mut().insert(resolved, relation.clone());
        Ok(relation)
    }

    fn names(&self) -> Result<Vec<TableName>> {
        let visible = |table: &lake::Table| !table.name.schema.starts_with(RESERVED_SCHEMA_PREFIX);
        Ok(self.session.tables()?.into_iter().filter(visible).map(|table| table.name).collect())
    }

    fn describe(&self, select: &str) -> Result<Vec<(String, String)>> {
        let redirected = match &self.coming {
            Some(known) => known.unpublished.redirected(select, known.parser, self.lake.alias())?,
            None => select.to_owned(),
        };
        self.look.describe(&redirected).map_err(|error| match error.code() {
            // What does not bind is the query's fault, whatever the engine calls it.
            Code::Schema => Error::new(Code::Query, error.message().to_owned()),
            _ => error,
        })
    }
}
