//! Whether there is anything new: one row that every change of definitions, sources and progress counts in, so that an
//! idle worker need not look at all tables to see that nothing has changed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;

use crate::Registry;
use crate::row::Row;
use crate::statement::Statement;
use crate::store::Transaction;

/// What an idle worker asks for each time it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// How often definitions, sources and progress have changed. Another number than before: look again. It may also
    /// be smaller, after the registry was restored from a backup.
    pub changes: i64,
    /// What time it is, by the database's clock.
    pub now: Timestamp,
}

/// How often claims had been released when this process last cared.
pub(crate) struct Releases(AtomicI64);

const NEVER_CARED: i64 = -1;

impl Default for Releases {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER_CARED))
    }
}

impl Releases {
    fn begin(&self, releases: i64) {
        // Not again: what was released since must not be missed.
        let _ = self.0.compare_exchange(NEVER_CARED, releases, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn have_moved(&self, releases: i64) -> bool {
        let before = self.0.swap(releases, Ordering::Relaxed);
        before != NEVER_CARED && before != releases
    }
}

impl Registry {
    /// Whether anything has changed, and what time it is: one query that costs the same however many tables there are.
    pub fn news(&self) -> Result<News> {
        let rows = self.store.fetch(self.state())?;
        let row =
            rows.first().ok_or_else(|| Error::new(Code::Internal, "the registry does not say what time it is"))?;
        self.releases.begin(row.get("releases")?);
        Ok(News { changes: row.get("changes")?, now: row.get("now")? })
    }

    /// Waits until something has changed since [`News::changes`] was `since`, or a claim was released, but not
    /// longer than `limit`: whether it did. What was released between the first [`Registry::news`] and this, or between
    /// two calls of this, is not missed; so it may also have been released before the last [`Registry::news`].
    ///
    /// Fails with [`Code::Connection`] if the connection is lost. Meant for a thread of its own, one per registry.
    pub fn wait_for_news(&self, since: i64, limit: Duration) -> Result<bool> {
        self.store.wait(limit, &self.state(), |row: &Row| {
            let released = self.releases.have_moved(row.get("releases")?);
            let changes: i64 = row.get("changes")?;
            Ok(released || changes != since)
        })
    }

    fn state(&self) -> Statement {
        // One row, even if somebody has deleted that of the table; the next change makes it again.
        Statement::new(format!(
            "SELECT coalesce((SELECT changes FROM registry_state), 0) AS changes, \
             coalesce((SELECT releases FROM registry_state), 0) AS releases, {} AS now",
            self.store.dialect().now
        ))
    }
}

/// Says that definitions, sources or progress have changed. The last statement of a transaction: until its end, all
/// others that change something wait for it.
pub(crate) async fn tell_change(transaction: &mut Transaction) -> Result<()> {
    count(transaction, "changes").await
}

/// Says that a claim was released. The last statement of a transaction as well.
pub(crate) async fn tell_release(transaction: &mut Transaction) -> Result<()> {
    count(transaction, "releases").await
}

async fn count(transaction: &mut Transaction, counter: &'static str) -> Result<()> {
    let first = ["changes", "releases"].map(|column| (column, i64::from(column == counter).into()));
    let row = std::iter::once(("id", 1_i64.into())).chain(first).collect();
    let statement = Statement::insert("registry_state", row)
        .append(&format!(" ON CONFLICT (id) DO UPDATE SET {counter} = registry_state.{counter} + 1"), [])
        .append(transaction.dialect().notify, []);
    transaction.execute(statement).await?;
    Ok(())
}
