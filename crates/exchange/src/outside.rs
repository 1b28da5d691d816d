//! The other end of a connection, opened for one run and closed with it. What is told of it holds no secret.

use std::time::{SystemTime, UNIX_EPOCH};

use connection::{Kind, Resolved};
use error::{Code, Error, Result};
use lake::Session;
use preview::Place;

/// An open connection. It is closed when this is dropped.
pub(crate) struct Outside<'a> {
    session: &'a Session,
    place: Place,
    pub kind: Kind,
    /// Under this name it is attached; of files, so is the key to them.
    pub alias: String,
    /// The folder of files.
    pub root: String,
}

/// What the database at the other end is told about who asks.
const APPLICATION: &str = "dynamic-tables";

impl<'a> Outside<'a> {
    /// Opens it. Where nothing is written, the other end is told that nothing may be.
    pub fn open(session: &'a Session, connection: &Resolved, writes: bool) -> Result<Self> {
        // Several runs of one process are attached at the same time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let alias = format!("__outside_{}_{now:x}", connection.number);
        let place = Place::new(alias.clone(), connection);
        let mut outside = Self { session, place, kind: connection.kind, alias, root: String::new() };
        let opened = match connection.kind {
            Kind::Postgres => {
                // Values come in one form, whatever the database's defaults are; and the server notices when nobody is there any more.
                let mut settings = vec![
                    ("client_connection_check_interval", "500".to_owned()),
                    ("TimeZone", "UTC".to_owned()),
                    ("extra_float_digits", "3".to_owned()),
                ];
                if !writes {
                    settings.push(("default_transaction_read_only", "on".to_owned()));
                }
                let place = outside.place.postgres(APPLICATION, settings)?;
                session.attach_postgres(&outside.alias, &place, !writes)
            }
            Kind::Files if writes => Err(Error::new(Code::Query, "rows are exported to PostgreSQL only")
                .with_hint("COPY ... TO writes files of a table or a query.")),
            Kind::Files => {
                let (root, storage) = outside.place.files()?;
                outside.root = root;
                session.open_files(&outside.alias, &outside.root, &storage)
            }
            Kind::DuckLake | Kind::IcebergRest => Err(Error::new(
                Code::Query,
                format!(
                    "a connection of the kind {} is neither a source nor takes exports",
                    connection.kind.as_str()
                ),
            )
            .with_hint("Sources are PostgreSQL databases and files; exports go to PostgreSQL.")),
        };
        opened.map_err(|error| outside.told(error))?;
        Ok(outside)
    }

    /// The schema of names without one.
    pub fn schema(&self) -> String {
        self.place.schema()
    }

    /// A failure as it may be told: without secrets, and without our own statements.
    pub fn told(&self, error: Error) -> Error {
        let error = error.without_span();
        let mut told = match said_by_postgres(error.message()) {
            Some((code, said)) => Error::new(code, self.place.scrub(&said)),
            None => Error::new(error.code(), self.place.scrub(error.message())).with_transient(error.is_transient()),
        };
        for (key, value) in error.context() {
            told = told.with_context(key, self.place.scrub(value));
        }
        // What the engine advises is about a statement that nobody wrote.
        match error.hint().filter(|_| error.code() == told.code()) {
            Some(hint) => told.with_hint(self.place.scrub(hint)),
            None => told,
        }
    }
}

/// What PostgreSQL said, without the statement that it said it of, and what kind of failure that is.
fn said_by_postgres(message: &str) -> Option<(Code, String)> {
    let (_, said) = message.split_once("ERROR:  ")?;
    let has = |what: &str| said.contains(what);
    let code = if has("could not serialize") || has("deadlock detected") {
        Code::Conflict
    } else if has("permission denied") || has("must be owner") {
        Code::Permission
    } else if has("terminating connection") || has("the database system is") || has("too many connections") {
        Code::Connection
    } else {
        Code::Query
    };
    Some((code, said.trim().to_owned()))
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        let closed = match self.kind {
            Kind::Postgres => self.session.detach(&self.alias),
            _ => self.session.close_files(&self.alias),
        };
        // What was never opened cannot be closed.
        if let Err(error) = closed {
            tracing::debug!(error = %self.told(error), "an outside connection was not open");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_is_not_told_with_what_was_said_of_it() {
        let told = |message: &str| said_by_postgres(message);
        let denied = "failed to execute query \"COPY (SELECT ...\": ERROR:  permission denied for table t\n";
        assert_eq!(told(denied), Some((Code::Permission, "permission denied for table t".to_owned())));
        let lost = "failed to execute query \"x\": ERROR:  could not serialize access due to concurrent update";
        assert_eq!(told(lost).map(|(code, _)| code), Some(Code::Conflict));
        assert_eq!(told("connection refused"), None);
    }
}
