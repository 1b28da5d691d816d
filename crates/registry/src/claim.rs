//! Claims: which worker refreshes which tables at present.
//!
//! A claim keeps two workers from doing the same work. Who waits for tables with priority, as a person does who refreshes
//! them by hand, says so by a wish: others then claim none of them. A claim does not keep the second of two from publishing: a worker
//! that was stopped for longer than its lease still believes in its claim, and the watermark in the lake refuses it.

use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use sql::names::TableName;
use uuid::Uuid;

use crate::Registry;
use crate::catalog::{ids, one_of};
use crate::failure::newer_registry;
use crate::lease::{is_live, milliseconds};
use crate::migrations;
use crate::news::tell_release;
use crate::record::read_name;
use crate::row::Row;
use crate::statement::Statement;
use crate::store::Transaction;

/// Tables that are one worker's to refresh, as long as it renews the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// New with every claim.
    pub id: Uuid,
    /// Who holds it.
    pub worker: String,
    /// The tables' ids, in their order.
    pub tables: Vec<Uuid>,
}

/// A table that somebody claims, or has claimed and never released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedTable {
    /// The table's id.
    pub table: Uuid,
    /// What it is called.
    pub name: TableName,
    /// Who claims it.
    pub worker: String,
    /// The claim's id.
    pub claim: Uuid,
    /// Since when, by the database's clock.
    pub claimed_at: Timestamp,
    /// When it was last renewed, by the database's clock.
    pub heartbeat_at: Timestamp,
    /// Whether the claim counts. If not, anybody may take the table over.
    pub is_live: bool,
}

impl Registry {
    /// Claims tables for a worker for as long as `lease` (a day at most): all, or none if somebody else, or another
    /// claim of the same worker, holds a live claim on one of them, if somebody waits for one of them with priority, or if
    /// one of them does not exist.
    ///
    /// Refused with [`error::Code::Configuration`] if a newer program has migrated the registry meanwhile: this one may
    /// not understand what it would work on.
    pub fn claim(&self, worker: &str, tables: &[Uuid], lease: Duration) -> Result<Option<Claim>> {
        self.claim_by_rank(worker, tables, lease, Rank::Worker)
    }

    /// As [`Registry::claim`], whoever else waits for the tables with priority. What comes of it is held by the same name
    /// as the wishes of [`Registry::wish`], which are fulfilled by it.
    pub fn claim_with_priority(&self, worker: &str, tables: &[Uuid], lease: Duration) -> Result<Option<Claim>> {
        self.claim_by_rank(worker, tables, lease, Rank::Priority)
    }

    /// Lets nobody but those with priority claim these tables for as long as `lease`, however long those take who hold
    /// them already. To be said again before that time has passed.
    pub fn wish(&self, worker: &str, tables: &[Uuid], lease: Duration) -> Result<()> {
        let dialect = self.store.dialect();
        let insert = format!(
            "INSERT INTO refresh_wish (table_id, worker, expires_at, lease_ms) SELECT id, {{}}, {}, {{}} \
             FROM dynamic_table",
            (dialect.later)("{}"),
        );
        let statement = Statement::new("")
            .append(&insert, [worker.into(), milliseconds(lease), milliseconds(lease)])
            .filter(&one_of("id", tables.len()), ids(tables))
            .append(&format!(" ORDER BY id{}", dialect.lock_to_refer), [])
            .append(
                " ON CONFLICT (table_id, worker) DO UPDATE SET expires_at = excluded.expires_at, \
                 lease_ms = excluded.lease_ms",
                [],
            );
        let expired = format!("NOT {}", is_live(dialect, "refresh_wish"));
        self.store.transaction(async |transaction| {
            // Those of processes that died are in nobody's way, but they stay.
            transaction.execute(Statement::new("DELETE FROM refresh_wish").filter(&expired, [])).await?;
            transaction.execute(statement).await.map(drop)
        })
    }

    /// Takes a wish back, and wakes those who were kept waiting by it.
    pub fn withdraw_wish(&self, worker: &str, tables: &[Uuid]) -> Result<()> {
        self.store.transaction(async |transaction| match transaction.execute(fulfilled(worker, tables)).await? {
            0 => Ok(()),
            _ => tell_release(transaction).await,
        })
    }

    /// The tables that no worker can claim now: somebody refreshes them, or waits for them with priority.
    pub fn taken(&self) -> Result<Vec<Uuid>> {
        let dialect = self.store.dialect();
        let statement = Statement::new(format!(
            "SELECT table_id FROM refresh_claim c WHERE {} UNION SELECT table_id FROM refresh_wish w WHERE {}",
            is_live(dialect, "c"),
            is_live(dialect, "w"),
        ));
        self.store.fetch(statement)?.iter().map(|row| row.get("table_id")).collect()
    }

    fn claim_by_rank(&self, worker: &str, tables: &[Uuid], lease: Duration, rank: Rank) -> Result<Option<Claim>> {
        let mut tables = tables.to_vec();
        // In one order for all claimers: two of them then wait for each other in one direction only.
        tables.sort_unstable();
        tables.dedup();
        let claim = Claim { id: Uuid::now_v7(), worker: worker.to_owned(), tables };
        if claim.tables.is_empty() {
            return Ok(Some(claim));
        }
        self.store.transaction_or_none(async |transaction| {
            let claimed = transaction.execute(self.claim_statement(&claim, lease, rank)).await?;
            if claimed < claim.tables.len() as u64 {
                refuse_newer(transaction).await?;
                return Ok(None);
            }
            if rank == Rank::Priority {
                transaction.execute(fulfilled(worker, &claim.tables)).await?;
            }
            Ok(Some(claim))
        })
    }

    /// Keeps a claim for another `lease`, also one that has expired and that nobody has taken over. False: one of its
    /// tables is not held any more, since it was taken over, dropped, or edited by hand; the others are kept.
    pub fn renew(&self, claim: &Claim, lease: Duration) -> Result<bool> {
        let dialect = self.store.dialect();
        let renewal = self
            .held(claim)
            .append(
                &format!(
                    "UPDATE refresh_claim SET heartbeat_at = {}, expires_at = {}, lease_ms = {{}}",
                    dialect.now,
                    (dialect.later)("{}"),
                ),
                [milliseconds(lease), milliseconds(lease)],
            )
            .append(HELD, []);
        Ok(self.store.execute(renewal)? == claim.tables.len() as u64)
    }

    /// Gives the tables of a claim back, and wakes those who wait for it. What is not held any more stays as it is.
    pub fn release(&self, claim: &Claim) -> Result<()> {
        self.store.transaction(async |transaction| {
            let release = self.held(claim).append("DELETE FROM refresh_claim", []).append(HELD, []);
            match transaction.execute(release).await? {
                0 => Ok(()),
                _ => tell_release(transaction).await,
            }
        })
    }

    /// Who claims what, ordered by the tables' names; also claims that do not count any more and that nobody has
    /// taken over.
    pub fn claims(&self) -> Result<Vec<ClaimedTable>> {
        let statement = Statement::new(format!(
            "SELECT c.table_id, t.schema_name, t.name, c.worker, c.claim_id, c.claimed_at, c.heartbeat_at, \
             {} AS is_live FROM refresh_claim c JOIN dynamic_table t ON t.id = c.table_id \
             ORDER BY t.schema_name, t.name",
            is_live(self.store.dialect(), "c")
        ));
        let rows = self.store.fetch(statement)?;
        let read = |row| {
            Ok(ClaimedTable {
                table: Row::get(row, "table_id")?,
                name: read_name(row, "schema_name", "name")?,
                worker: row.get("worker")?,
                claim: row.get("claim_id")?,
                claimed_at: row.get("claimed_at")?,
                heartbeat_at: row.get("heartbeat_at")?,
                is_live: row.get("is_live")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Claims what can be claimed of the tables, in one statement.
    fn claim_statement(&self, claim: &Claim, lease: Duration, rank: Rank) -> Statement {
        let dialect = self.store.dialect();
        let columns = format!(
            "INSERT INTO refresh_claim (table_id, claim_id, worker, claimed_at, heartbeat_at, expires_at, lease_ms) \
             SELECT id, {{}}, {{}}, {now}, {now}, {later}, {{}} FROM dynamic_table",
            now = dialect.now,
            later = (dialect.later)("{}"),
        );
        let values = [claim.id.into(), claim.worker.as_str().into(), milliseconds(lease), milliseconds(lease)];
        let take_over = format!(
            " ON CONFLICT (table_id) DO UPDATE SET claim_id = excluded.claim_id, worker = excluded.worker, \
             claimed_at = excluded.claimed_at, heartbeat_at = excluded.heartbeat_at, \
             expires_at = excluded.expires_at, lease_ms = excluded.lease_ms WHERE NOT {}",
            is_live(dialect, "refresh_claim")
        );
        let wanted =
            Statement::new("").append(&columns, values).filter(&one_of("id", claim.tables.len()), ids(&claim.tables));
        let free = match rank {
            Rank::Priority => wanted,
            Rank::Worker => {
                let wished = is_live(dialect, "w");
                let nobody_waits = format!(
                    "NOT EXISTS (SELECT 1 FROM refresh_wish w WHERE w.table_id = dynamic_table.id AND {wished})"
                );
                wanted.filter(&nobody_waits, [])
            }
        };
        free.filter(
            &format!("NOT EXISTS (SELECT 1 FROM {} WHERE version > {{}})", migrations::TABLE),
            [migrations::newest().into()],
        )
        // A table that is being dropped is waited for, and is then not there.
        .append(&format!(" ORDER BY id{}", dialect.lock_to_refer), [])
        .append(&take_over, [])
    }

    /// The rows of a claim that are still its own, locked in the order of those who would take them over: to be
    /// continued with a change of those rows, and [`HELD`].
    fn held(&self, claim: &Claim) -> Statement {
        Statement::new("WITH held AS (SELECT table_id FROM refresh_claim")
            .filter("claim_id = {} AND worker = {}", [claim.id.into(), claim.worker.as_str().into()])
            .append(&format!(" ORDER BY table_id{}) ", self.store.dialect().lock_to_change), [])
    }
}

/// Who claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Somebody who can do something else meanwhile.
    Worker,
    /// Somebody who waits for it.
    Priority,
}

/// Deletes the wishes of a worker.
fn fulfilled(worker: &str, tables: &[Uuid]) -> Statement {
    Statement::new("DELETE FROM refresh_wish")
        .filter("worker = {}", [worker.into()])
        .filter(&one_of("table_id", tables.len()), ids(tables))
}

const HELD: &str = " WHERE table_id IN (SELECT table_id FROM held)";

/// Fails if a newer program has migrated the registry.
async fn refuse_newer(transaction: &mut Transaction) -> Result<()> {
    let newest = Statement::new(format!("SELECT max(version) AS version FROM {}", migrations::TABLE));
    let rows = transaction.fetch(newest).await?;
    let version: Option<i64> = rows.first().map(|row| row.optional("version")).transpose()?.flatten();
    match version {
        Some(version) if version > migrations::newest() => Err(newer_registry(version)
            .with_hint("Stop this worker, and install the version of the program that the others have.")),
        _ => Ok(()),
    }
}
