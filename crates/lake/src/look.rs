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
}

impl Session {
    /// Begins to look at the newest snapshot. The session must not be in a transaction.
    ///
    /// # Errors
    /// What the engine says when no transaction can begin.
    pub fn look(&self) -> Result<Look<'_>> {
        self.execute("BEGIN")?;
        Ok(Look { session: self })
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
        if self.session.execute("SELECT 1").is_err() {
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
        self.end();
    }
}
