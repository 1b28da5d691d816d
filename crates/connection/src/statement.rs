//! What the statements about connections do, wherever they come from.

use error::{Code, Error, Result};
use sql::statement::{ConnectionChange, ConnectionSetting, ConnectionStatement};

use crate::{Connections, Described, Kind, NewConnection, Setting};

/// What a statement about connections came to.
#[derive(Clone, Debug)]
pub enum Done {
    /// A connection was made or changed, or left alone, as the word says.
    Changed(Box<Described>, &'static str),
    /// A connection was dropped, or was not there.
    Dropped(String, bool),
    /// A connection that was to be changed was not there, which was no error.
    Missing(String),
    /// What was asked for.
    Listed(Vec<Described>),
    /// This connection is to be tested, which takes whoever can open it.
    Test(String),
}

impl Connections {
    /// Does what a statement says.
    pub fn run(&self, statement: ConnectionStatement) -> Result<Done> {
        Ok(match statement {
            ConnectionStatement::Create { name, kind, settings: said, or_replace, if_not_exists } => {
                let kind = Kind::read(&kind)?;
                let new = NewConnection { name, kind, settings: settings(said), or_replace, if_not_exists };
                let (described, is_new) = self.create(&new)?;
                let word = if is_new { "created" } else { "exists already" };
                Done::Changed(Box::new(described), word)
            }
            ConnectionStatement::Alter { name, if_exists: true, .. } if self.is_missing(&name)? => {
                Done::Missing(name)
            }
            ConnectionStatement::Alter { name, change, .. } => match change {
                ConnectionChange::Set(set) => {
                    Done::Changed(Box::new(self.alter(&name, &settings(set), &[])?), "altered")
                }
                ConnectionChange::Unset(names) => Done::Changed(Box::new(self.alter(&name, &[], &names)?), "altered"),
                ConnectionChange::RenameTo(to) => Done::Changed(Box::new(self.rename(&name, &to)?), "renamed"),
            },
            ConnectionStatement::Drop { name, if_exists } => {
                let was_there = self.drop(&name, if_exists)?;
                Done::Dropped(name, was_there)
            }
            ConnectionStatement::Show => Done::Listed(self.list()?),
            ConnectionStatement::Describe { name } => Done::Listed(vec![self.get(&name)?]),
            ConnectionStatement::Test { name } => Done::Test(name),
        })
    }

    fn is_missing(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            Ok(_) => Ok(false),
            Err(error) if error.code() == Code::Query => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn settings(said: Vec<ConnectionSetting>) -> Vec<Setting> {
    said.into_iter().map(|ConnectionSetting { name, value }| Setting { name, value }).collect()
}

/// Whether a statement changes connections rather than looking at them.
#[must_use]
pub fn is_change(statement: &ConnectionStatement) -> bool {
    !matches!(
        statement,
        ConnectionStatement::Show | ConnectionStatement::Describe { .. } | ConnectionStatement::Test { .. }
    )
}

/// What somebody is told who tests a connection of a kind that nothing reads yet.
#[must_use]
pub fn not_read_yet(kind: Kind) -> Error {
    Error::new(
        Code::Query,
        format!("connections of the kind {} can be kept, but nothing reads them yet", kind.as_str()),
    )
}
