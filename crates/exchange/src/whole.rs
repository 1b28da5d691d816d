//! Reading tables of the lake beside somebody's maintenance, which over some catalogs hides rows for a moment. What is read, and
//! what for, it does not know.

use error::{Code, Error, Result};
use lake::Session;
use sql::names::TableName;

/// So often something is read again before it is given up.
pub(crate) const READINGS: usize = 5;

/// What `read` makes of a table of the lake, read again where maintenance came in between. A call must leave nothing behind that
/// the next one does not replace.
pub(crate) fn whole<T>(session: &Session, table: &TableName, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..READINGS {
        let since = session.current_snapshot()?.id;
        let found = read()?;
        if session.reading_holds(&[], since, || vec![table.clone()])? {
            return Ok(found);
        }
        tracing::debug!(%table, "it was maintained while it was read, reading it again");
    }
    Err(maintained())
}

/// That it was given up.
pub(crate) fn maintained() -> Error {
    Error::new(Code::Conflict, "maintenance of the lake came in between again and again")
}
