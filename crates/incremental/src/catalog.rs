//! What the analysis of a query has to ask about the world, as an interface.

use error::Result;
use sql::names::{ObjectName, TableName};

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, in the case it was created with.
    pub name: String,
    /// Its type in DuckDB's spelling.
    pub data_type: String,
    /// Whether it can hold NULL.
    pub nullable: bool,
}

/// What a name in FROM stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A table of the lake with versions: a plain table or a dynamic table.
    Table {
        /// Its resolved name.
        name: TableName,
        /// Its columns in order.
        columns: Vec<Column>,
    },
    /// A view of the lake: it is replaced by its query.
    View {
        /// Its resolved name; unqualified names in its query are looked up in its schema.
        name: TableName,
        /// The SELECT behind it.
        query: String,
    },
}

/// The shape of the relations a query may read.
pub trait Catalog {
    /// What `name` is. A name without schema is looked up in `default_schema`.
    ///
    /// # Errors
    /// What the lake says when it cannot be asked, or when the name cannot belong to it.
    fn relation(&self, name: &ObjectName, default_schema: &str) -> Result<Option<Relation>>;

    /// The names of all tables and views, to suggest one for a name that does not exist.
    ///
    /// # Errors
    /// What the lake says when it cannot be asked.
    fn names(&self) -> Result<Vec<TableName>>;

    /// Binds a SELECT over the lake's tables: its output columns, in order, as (name, type).
    ///
    /// # Errors
    /// `QUERY` when it does not bind.
    fn describe(&self, select: &str) -> Result<Vec<(String, String)>>;
}
