//! Many small questions about one snapshot of the lake.
//!
//! A statement outside a transaction has DuckLake read its newest snapshot first, which takes several times as long as
//! binding a query does.

use error::Result;

use crate::session::Session;

/// A transaction of a session in which queries are bound and nothing is written. It ends with this value.
#[derive(Debug)]
pub struct Look<'a> {
    session: &'a Session,
    /// The transaction is this value's own: there was none when it began.
    own: bool,
}

impl Session {
    /// Begins to look at the newest snapshot; within a transaction, at what it sees.
    #[must_use]
    pub fn look(&self) -> Look<'_> {
        Look { session: self, own: self.execute("BEGIN").is_ok() }
    }
}

impl Look<'_> {
    /// Names and types of what a SELECT gives, without running it.
    ///
    /// # Errors
    /// As [`Session::describe`].
    pub fn describe(&self, select: &str) -> Result<Vec<(String, String)>> {
        let result = self.session.describe(select);
        if result.is_err() {
            self.go_on();
        }
        result
    }

    /// Begins again if what did not bind has spoilt the transaction, as most of what does not bind has not: a pattern that is
    /// none, a file that is not there.
    fn go_on(&self) {
        if self.own && self.session.execute("SELECT 1").is_err() {
            self.end();
            // If it fails, the questions that follow are transactions of their own.
            self.session.execute("BEGIN").ok();
        }
    }

    fn end(&self) {
        // There is nothing to roll back but the transaction itself, and none if the last beginning failed.
        self.session.execute("ROLLBACK").ok();
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if self.own {
            self.end();
        }
    }
}
