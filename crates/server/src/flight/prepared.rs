//! Prepared statements: what a client has named, with the values that it has given. Bounded in number, and each its owner's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use error::{Code, Error, Result};
use uuid::Uuid;

use crate::query::Query;

/// More are not kept: those that were not used for longest go.
const MOST: usize = 1_000;

/// A statement that was prepared.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// Whose token it is.
    pub owner: Option<String>,
    /// The statement, and the values if it has them already.
    pub query: Query,
    /// The names of its parameters.
    pub parameters: Vec<String>,
    /// When it was last used.
    pub used_at: Instant,
}

/// All prepared statements.
#[derive(Default)]
pub(super) struct Statements {
    by_handle: Mutex<HashMap<Bytes, Prepared>>,
}

impl Statements {
    /// Keeps a statement; its handle.
    pub fn keep(&self, prepared: Prepared) -> Bytes {
        let mut statements = self.statements();
        while statements.len() >= MOST {
            let oldest = statements.iter().min_by_key(|(_, prepared)| prepared.used_at);
            let Some(oldest) = oldest.map(|(handle, _)| handle.clone()) else { break };
            statements.remove(&oldest);
        }
        let handle = Bytes::copy_from_slice(Uuid::now_v7().as_bytes());
        statements.insert(handle.clone(), prepared);
        handle
    }

    /// A statement of this owner.
    pub fn get(&self, handle: &Bytes, owner: Option<&str>) -> Result<Prepared> {
        self.change(handle, owner, |_| {})
    }

    /// Changes a statement of this owner; as it is then.
    pub fn change(
        &self,
        handle: &Bytes,
        owner: Option<&str>,
        change: impl FnOnce(&mut Prepared),
    ) -> Result<Prepared> {
        let mut statements = self.statements();
        let found = statements.get_mut(handle).filter(|prepared| prepared.owner.as_deref() == owner);
        let Some(prepared) = found else {
            return Err(Error::new(Code::Query, "there is no such prepared statement")
                .with_hint(format!("Prepare it again: {MOST} are kept, those that were used last.")));
        };
        prepared.used_at = Instant::now();
        change(prepared);
        Ok(prepared.clone())
    }

    /// Forgets a statement of this owner.
    pub fn forget(&self, handle: &Bytes, owner: Option<&str>) {
        self.statements().retain(|known, prepared| known != handle || prepared.owner.as_deref() != owner);
    }

    fn statements(&self) -> MutexGuard<'_, HashMap<Bytes, Prepared>> {
        self.by_handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn prepared(owner: &str) -> Prepared {
        let query = Query { sql: "SELECT 1".to_owned(), ..Query::default() };
        Prepared { owner: Some(owner.to_owned()), query, parameters: Vec::new(), used_at: Instant::now() }
    }

    #[test]
    fn a_statement_is_its_owners_and_the_oldest_go() {
        let statements = Statements::default();
        let first = statements.keep(prepared("ann"));
        assert!(statements.get(&first, Some("ann")).is_ok());
        assert!(statements.get(&first, Some("bob")).is_err() && statements.get(&first, None).is_err());
        statements.forget(&first, Some("bob"));
        assert!(statements.get(&first, Some("ann")).is_ok());
        let kept: Vec<Bytes> = (0..MOST).map(|_| statements.keep(prepared("bob"))).collect();
        assert!(statements.get(&first, Some("ann")).is_err());
        assert!(statements.get(&kept[0], Some("bob")).is_ok());
        statements.forget(&kept[0], Some("bob"));
        assert!(statements.get(&kept[0], Some("bob")).is_err());
    }
}
