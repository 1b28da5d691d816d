//! Our statements: `CREATE DYNAMIC TABLE` and its relatives. Anything else in a text is passed on to DuckDB unread.
//!
//! ```text
//! CREATE [OR REPLACE | OR ALTER] DYNAMIC TABLE [IF NOT EXISTS] name [(property [, ...])] property [[,] property ...] AS query
//! ALTER DYNAMIC TABLE [IF EXISTS] name
//!     SET property [[,] ...] | UNSET property name [[,] ...] | CLUSTER BY (column [, ...]) | DROP CLUSTERING KEY |
//!     SUSPEND | RESUME | REFRESH [FULL] | RENAME TO name
//! DROP DYNAMIC TABLE [IF EXISTS] name [CASCADE | RESTRICT]
//! SHOW DYNAMIC TABLES [LIKE 'pattern']
//! DESC[RIBE] DYNAMIC TABLE name
//! EXPLAIN DYNAMIC TABLE name
//! ```
//! A property is `NAME = value`, the value a string, a word or a number, or `CLUSTER BY (column [, ...])`. Statements about
//! connections are in `connection`, those about sources and exports in `transfer`.

use std::fmt;

use error::{Code, Error, Result, Span};

use crate::cursor::Cursor;
use crate::names::ObjectName;
use crate::properties::{Properties, Property, PropertyName};
use crate::token::{Kind, Token, tokenize};

mod connection;
mod grammar;
mod transfer;

pub use connection::{ConnectionChange, ConnectionSetting, ConnectionStatement};
pub use transfer::{
    CreateTransfer, Direction, Lookback, OutsideName, TransferAction, TransferChange, TransferProperties,
    TransferStatement,
};

/// A statement and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The statement.
    pub value: T,
    /// Where it begins in the text it was read from, in bytes.
    pub offset: usize,
    /// Its own text, from its first word to its last, without comments around it and without the `;`.
    pub text: String,
}

/// What to do if the table of a `CREATE` exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// Fail (or do nothing, with `IF NOT EXISTS`).
    Create,
    /// Put the new definition in its place. What the content has of the new result already is kept.
    OrReplace,
    /// Change what differs: the same as [`CreateMode::OrReplace`] in other words.
    OrAlter,
}

/// `CREATE DYNAMIC TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateDynamicTable {
    /// What to do if it exists.
    pub mode: CreateMode,
    /// Whether an existing table is left alone.
    pub if_not_exists: bool,
    /// The table.
    pub name: ObjectName,
    /// Its properties, checked, defaults filled in.
    pub properties: Properties,
    /// The text of the query, from its first word to its last.
    pub query: String,
    /// Where the query begins in the text the statement was read from, in bytes.
    pub query_offset: usize,
}

/// What an `ALTER DYNAMIC TABLE` does.
#[derive(Clone, Debug, PartialEq)]
pub enum AlterAction {
    /// Puts properties in force, in this order; each is there once.
    Set(Vec<Property>),
    /// Puts properties back to their defaults.
    Unset(Vec<PropertyName>),
    /// Stops scheduled refreshes.
    Suspend,
    /// Starts them again.
    Resume,
    /// Refreshes now.
    Refresh {
        /// From scratch, whatever the query allows.
        full: bool,
    },
    /// Gives the table another name.
    RenameTo(ObjectName),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `CREATE DYNAMIC TABLE`
    Create(CreateDynamicTable),
    /// `ALTER DYNAMIC TABLE`
    Alter {
        /// The table.
        name: ObjectName,
        /// Whether a missing table is no error.
        if_exists: bool,
        /// What is done to it.
        action: AlterAction,
    },
    /// `DROP DYNAMIC TABLE`
    Drop {
        /// The table.
        name: ObjectName,
        /// Whether a missing table is no error.
        if_exists: bool,
        /// Whether the dynamic tables that read it go too.
        cascade: bool,
    },
    /// `SHOW DYNAMIC TABLES`
    Show {
        /// The pattern of `LIKE`.
        like: Option<String>,
    },
    /// `DESCRIBE DYNAMIC TABLE`
    Describe {
        /// The table.
        name: ObjectName,
    },
    /// `EXPLAIN DYNAMIC TABLE`
    Explain {
        /// The table.
        name: ObjectName,
    },
    /// A statement about connections.
    Connection(ConnectionStatement),
    /// A statement about sources or exports.
    Transfer(TransferStatement),
    /// Any other statement, for DuckDB: its text.
    Other(String),
}

/// Reads all statements of a text. Errors point into the whole text; a text without any statement is one.
pub fn parse_statements(text: &str) -> Result<Vec<Located<Statement>>> {
    let read = read_statements(text);
    if connection::may_hold_secrets(text) { read.map_err(connection::without_strings) } else { read }
}

fn read_statements(text: &str) -> Result<Vec<Located<Statement>>> {
    let tokens = tokenize(text)?;
    let is_end = |token: &Token| token.kind == Kind::Symbol(';');
    let mut statements = Vec::new();
    for own in tokens.split(is_end) {
        let (Some(first), Some(last)) = (own.first(), own.last()) else {
            continue;
        };
        let own_text = &text[first.start..last.end];
        let cursor = Cursor::new(text, own, last.end);
        if connection::is_ours(&cursor) {
            let value = Statement::Connection(connection::parse(cursor)?);
            // Where a statement is shown, no string of this one is.
            let text = own_text.split(['\'', '$', '=']).next().unwrap_or_default().to_owned();
            statements.push(Located { value, offset: first.start, text });
            continue;
        }
        if let Some(direction) = transfer::direction(&cursor) {
            let value = Statement::Transfer(transfer::parse(cursor, direction)?);
            statements.push(Located { value, offset: first.start, text: own_text.to_owned() });
            continue;
        }
        let value = match grammar::parse(cursor)? {
            Some(statement) => statement,
            None => Statement::Other(own_text.to_owned()),
        };
        statements.push(Located { value, offset: first.start, text: own_text.to_owned() });
    }
    if statements.is_empty() {
        return Err(Error::new(Code::Query, "there is no statement in the text")
            .with_hint("Write a statement such as CREATE DYNAMIC TABLE name TARGET_LAG = '5 minutes' AS SELECT ...")
            .with_span(Span::new(text, 0, 0)));
    }
    Ok(statements)
}

/// Whether the text needs no further line: every string and comment in it is closed and every statement ends with `;`.
#[must_use]
pub fn is_complete(text: &str) -> bool {
    tokenize(text).is_ok_and(|tokens| tokens.last().is_none_or(|last| last.kind == Kind::Symbol(';')))
}

impl fmt::Display for CreateDynamicTable {
    /// The statement in its usual form, with the properties that are not at their default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            CreateMode::Create => "CREATE DYNAMIC TABLE ",
            CreateMode::OrReplace => "CREATE OR REPLACE DYNAMIC TABLE ",
            CreateMode::OrAlter => "CREATE OR ALTER DYNAMIC TABLE ",
        })?;
        if self.if_not_exists {
            f.write_str("IF NOT EXISTS ")?;
        }
        writeln!(f, "{}", self.name)?;
        for property in self.properties.not_default() {
            writeln!(f, "  {property}")?;
        }
        write!(f, "AS\n{}", self.query)
    }
}

#[cfg(test)]
mod tests;
