//! Operations on connections: create, change, drop, find. What a kind needs, and what sealed texts hold, is not known here.

use std::collections::BTreeMap;

use error::{Code, Error, Result};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Registry;
use crate::failure::{is_foreign_key_violation, is_unique_violation, translate};
use crate::row::Row;
use crate::statement::{Statement, Value};

/// A named way to data outside of the lake, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The number by which programs name it. Given by the registry.
    pub number: i64,
    /// What its secrets are bound to. Stays when it is renamed.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What kind of system it leads to.
    pub kind: String,
    /// How to get there. No secrets.
    pub settings: BTreeMap<String, String>,
    /// Its secrets by name, each sealed.
    pub secrets: BTreeMap<String, String>,
    /// From 1, one more with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

const COLUMNS: &str = "number, id, name, kind, settings, secrets, revision, created_at, updated_at";

/// The condition under which names are equal.
const NAMED: &str = "replace(lower(name), '-', '_') = {}";

impl Registry {
    /// All connections by name.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        let statement = Statement::new(format!("SELECT {COLUMNS} FROM connection ORDER BY name"));
        self.store.fetch(statement)?.iter().map(read).collect()
    }

    /// The connection of this name, regardless of case and of `-` or `_`.
    pub fn connection(&self, name: &str) -> Result<Option<Connection>> {
        let statement = Statement::new(format!("SELECT {COLUMNS} FROM connection"));
        self.store.fetch(statement.filter(NAMED, [folded(name).into()]))?.first().map(read).transpose()
    }

    /// The connection of this number.
    pub fn connection_by_number(&self, number: i64) -> Result<Option<Connection>> {
        let statement = Statement::new(format!("SELECT {COLUMNS} FROM connection"));
        self.store.fetch(statement.filter("number = {}", [number.into()]))?.first().map(read).transpose()
    }

    /// Records a new connection and gives its number; the one in `connection` counts for nothing.
    pub fn create_connection(&self, connection: &Connection) -> Result<i64> {
        let mut row = columns(connection)?;
        row.extend([("id", connection.id.into()), ("created_at", connection.created_at.into())]);
        self.store.transaction(async |transaction| {
            let inserted = transaction.attempt(Statement::insert("connection", row)).await;
            inserted.map_err(|cause| name_taken(cause, "connection", &connection.name))?;
            let number = Statement::new("SELECT number FROM connection").filter("id = {}", [connection.id.into()]);
            let rows = transaction.fetch(number).await?;
            rows.first().map_or_else(|| Err(gone(&connection.name)), |row| row.get("number"))
        })
    }

    /// Changes a connection. Its revision must be the one that is stored, and is one more afterwards; else it is a conflict.
    pub fn alter_connection(&self, connection: &Connection) -> Result<()> {
        let mut row = columns(connection)?;
        let next = connection.revision + 1;
        row.retain(|(name, _)| *name != "revision");
        row.push(("revision", Some(next).into()));
        self.store.transaction(async |transaction| {
            let statement = Statement::update("connection", row)
                .filter("id = {}", [connection.id.into()])
                .filter("revision = {}", [Some(connection.revision).into()]);
            let changed = transaction.attempt(statement).await;
            match changed.map_err(|cause| name_taken(cause, "connection", &connection.name))? {
                0 => Err(Error::new(
                    Code::Conflict,
                    format!("the connection {} was changed by somebody else meanwhile", connection.name),
                )),
                _ => Ok(()),
            }
        })
    }

    /// Forgets a connection; whether it was there. Refused while a pipeline, a source or an export leads from or to it.
    pub fn drop_connection(&self, id: Uuid) -> Result<bool> {
        self.store.transaction(async |transaction| {
            let statement = Statement::new("DELETE FROM connection").filter("id = {}", [id.into()]);
            let dropped =
                transaction.attempt(statement).await.map_err(|cause| match is_foreign_key_violation(&cause) {
                    true => Error::new(
                        Code::Dependency,
                        "cannot drop a connection that a pipeline, a source or an export uses",
                    )
                    .with_hint("Drop that first; SHOW SOURCES and SHOW EXPORTS name their connections."),
                    false => translate(cause),
                })?;
            Ok(dropped > 0)
        })
    }
}

/// The form in which names are compared.
pub(crate) fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

pub(crate) fn name_taken(cause: sqlx::Error, what: &str, name: &str) -> Error {
    if is_unique_violation(&cause) {
        return Error::new(Code::Query, format!("a {what} of the name {name} exists already"))
            .with_hint("Names are equal regardless of case, and - is the same as _.");
    }
    translate(cause)
}

fn gone(name: &str) -> Error {
    Error::new(Code::Conflict, format!("the connection {name} is gone again"))
}

fn columns(connection: &Connection) -> Result<Vec<(&'static str, Value)>> {
    Ok(vec![
        ("name", connection.name.as_str().into()),
        ("kind", connection.kind.as_str().into()),
        ("settings", json(&connection.settings)?.into()),
        ("secrets", json(&connection.secrets)?.into()),
        ("revision", Some(connection.revision).into()),
        ("updated_at", connection.updated_at.into()),
    ])
}

fn json(map: &BTreeMap<String, String>) -> Result<serde_json::Value> {
    serde_json::to_value(map)
        .map_err(|cause| Error::new(Code::Internal, "a connection cannot be written").with_source(cause))
}

fn read(row: &Row) -> Result<Connection> {
    Ok(Connection {
        number: row.get("number")?,
        id: row.get("id")?,
        name: row.get("name")?,
        kind: row.get("kind")?,
        settings: row.json("settings")?,
        secrets: row.json("secrets")?,
        revision: row.get("revision")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}
