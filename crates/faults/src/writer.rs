//! A writer that never stops: inserts, updates, updates of keys, deletes, some of them together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use error::Result;
use lake::Session;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::broken;

/// How long the last change may be tried.
const LAST_TRIES: Duration = Duration::from_secs(30);

/// What a writer did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// How many changes.
    pub commits: u64,
    /// How many did not come about, since somebody else committed.
    pub conflicts: u64,
    /// The newest snapshot of the lake after the last change.
    pub last: i64,
}

/// Makes random changes.
struct Changes {
    random: StdRng,
    accounts: i64,
    events: i64,
}

/// Writes until it is told to stop, then once more to all sources.
///
/// # Errors
/// When the last change does not come about.
pub fn write(session: &Session, seed: u64, stop: &AtomicBool) -> Result<Written> {
    let mut changes = Changes { random: StdRng::seed_from_u64(seed), accounts: 2_000, events: 3_000 };
    let mut written = Written::default();
    while !stop.load(Ordering::SeqCst) {
        let statements = changes.next();
        if commit(session, &statements).is_ok() {
            written.commits += 1;
        } else {
            written.conflicts += 1;
        }
        std::thread::sleep(Duration::from_millis(changes.random.random_range(100..400)));
    }
    let last = [changes.insert_accounts(3), changes.insert_events(3)];
    let deadline = Instant::now() + LAST_TRIES;
    loop {
        match commit(session, &last) {
            Ok(()) => break,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    written.commits += 1;
    written.last = newest_snapshot(session)?;
    Ok(written)
}

/// The newest snapshot of the lake.
///
/// # Errors
/// What the lake says.
pub fn newest_snapshot(session: &Session) -> Result<i64> {
    let rows = session.query("SELECT id FROM lake.current_snapshot()")?.rows;
    let newest = rows.first().and_then(|row| row[0].as_ref()?.parse().ok());
    newest.ok_or_else(|| broken("no snapshot", "the lake names none"))
}

fn commit(session: &Session, statements: &[String]) -> Result<()> {
    let attempt = || -> Result<()> {
        session.execute("BEGIN")?;
        for statement in statements {
            session.execute(statement)?;
        }
        session.execute("COMMIT").map(drop)
    };
    let result = attempt();
    if result.is_err() {
        // A COMMIT that failed has ended the transaction already.
        let _ = session.execute("ROLLBACK");
    }
    result
}

impl Changes {
    fn next(&mut self) -> Vec<String> {
        let number = if self.random.random_bool(0.25) { 3 } else { 1 };
        (0..number).map(|_| self.statement()).collect()
    }

    fn statement(&mut self) -> String {
        // Some changes are small enough for the catalog, others make files.
        let rows = if self.random.random_bool(0.5) {
            self.random.random_range(1..8)
        } else {
            self.random.random_range(12..60)
        };
        match self.random.random_range(0..10) {
            0..=2 => self.insert_events(rows),
            3 | 4 => self.insert_accounts(rows),
            5 | 6 => {
                format!("UPDATE lake.main.accounts SET balance = balance + 1.25 WHERE {}", self.some(&[29, 101, 401]))
            }
            7 => format!("UPDATE lake.main.accounts SET grp = (grp + 5) % 23 WHERE {}", self.some(&[61, 211])),
            8 => format!(
                "UPDATE lake.main.accounts SET grp = {0}, balance = {0} WHERE {1}",
                rows % 23,
                self.some(&[97, 307])
            ),
            _ => format!("DELETE FROM lake.main.accounts WHERE {}", self.some(&[149, 251])),
        }
    }

    fn insert_accounts(&mut self, rows: i64) -> String {
        let from = self.accounts;
        self.accounts += rows;
        format!(
            "INSERT INTO lake.main.accounts SELECT i, (i % 23)::INTEGER, (i % 977)::DECIMAL(18, 2) FROM range({from}, {}) t(i)",
            self.accounts
        )
    }

    fn insert_events(&mut self, rows: i64) -> String {
        let from = self.events;
        self.events += rows;
        format!(
            "INSERT INTO lake.main.events SELECT i, (i * 17) % {}, i % 90 FROM range({from}, {}) t(i)",
            self.accounts, self.events
        )
    }

    fn some(&mut self, moduli: &[i64]) -> String {
        let modulus = moduli[self.random.random_range(0..moduli.len())];
        format!("id % {modulus} = {}", self.random.random_range(0..modulus))
    }
}
