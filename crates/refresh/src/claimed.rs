//! Holding a claim on the tables that are refreshed, so that nobody else does the same work meanwhile.
//!
//! A claim saves work: what keeps a table right when two believe in a claim is the watermark in the lake. Only a table that has
//! none yet, and may have been dropped meanwhile, is not published without asking for the claim again.

use std::fs::{read_link, read_to_string};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use registry::{Claim, ClaimedTable as Claimed, Registry};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use uuid::Uuid;

use crate::tables::DynamicTables;

/// How long a claim lasts without a sign of life, and how often there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// After this time without a sign of life others may take over.
    pub length: Duration,
    /// The time between two signs of life.
    pub heartbeat: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self { length: Duration::from_mins(5), heartbeat: Duration::from_secs(30) }
    }
}

/// How long a refresh that somebody asked for waits for one that runs already.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long it waits before it looks whether the other one has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long nobody else begins with tables that somebody waits for, unless that is said again.
const WISH: Duration = Duration::from_secs(15);

/// How long others are kept from what somebody waits for: not for as long as the longest refresh of one of many tables takes.
const PRIORITY: Duration = Duration::from_mins(1);

/// How soon it is tried again to give back a claim where the registry could not be written, at the latest.
const RELEASE_AGAIN: Duration = Duration::from_secs(1);

/// How often a claim may be refused although nobody is seen to hold one.
const TRIES: u32 = 20;

/// The name of this computer.
#[must_use]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where process ids mean what they mean here, for the made-up names of workers: the computer since it was started, and the
/// container if processes are numbered by themselves in it. Several of these may have one host name.
#[must_use]
pub fn place() -> String {
    let mut place = host();
    if let Ok(boot) = read_to_string("/proc/sys/kernel/random/boot_id")
        && let Some(begin) = boot.get(..8)
    {
        place = format!("{place}-{begin}");
    }
    let namespace = read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    match namespace.trim_start_matches("pid:[").trim_end_matches(']') {
        "" | OUTERMOST_NAMESPACE => place,
        inner => format!("{place}-{inner}"),
    }
}

/// The number that Linux gives the numbering of processes outside all containers.
const OUTERMOST_NAMESPACE: &str = "4026531836";

/// Whether a worker whose name was made up, `place:process id:something`, was a process of this [`place`] that does not exist
/// any more. Of others nobody can tell by their names.
#[must_use]
pub fn is_gone(worker: &str) -> bool {
    let mut parts = worker.rsplitn(3, ':');
    let (_, process, of) = (parts.next(), parts.next(), parts.next());
    let process = process.and_then(|process| process.parse().ok()).and_then(Pid::from_raw);
    of == Some(place().as_str()) && process.is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH))
}

/// A claim that is renewed until this value goes.
pub(crate) struct Held {
    registry: Arc<Registry>,
    claim: Claim,
    lease: Lease,
    lost: Arc<AtomicBool>,
    /// The other end hears when it goes.
    _end: Sender<()>,
}

impl Held {
    /// What the refreshes under it say of it.
    pub fn id(&self) -> Uuid {
        self.claim.id
    }

    /// Whether somebody else may have taken over.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Whether these tables are held still, as the registry says; renews what is.
    pub fn holds(&self, mut tables: impl Iterator<Item = Uuid>) -> Result<bool> {
        if self.registry.renew(&self.claim, self.lease.length)? {
            return Ok(true);
        }
        let claims = self.registry.claims()?;
        Ok(tables.all(|id| claims.iter().any(|claimed| claimed.table == id && claimed.claim == self.claim.id)))
    }

    fn keep(registry: &Arc<Registry>, claim: Claim, lease: Lease) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let (end, ended) = channel::<()>();
        let held =
            Self { registry: Arc::clone(registry), claim: claim.clone(), lease, lost: Arc::clone(&lost), _end: end };
        let registry = Arc::clone(registry);
        std::thread::spawn(move || {
            let mut renewed_at = Instant::now();
            while ended.recv_timeout(lease.heartbeat) == Err(RecvTimeoutError::Timeout) {
                match registry.renew(&claim, lease.length) {
                    Ok(true) => renewed_at = Instant::now(),
                    Ok(false) => {
                        lost.store(true, Ordering::SeqCst);
                        tracing::warn!(claim = %claim.id, "lost the claim on tables that are being refreshed");
                        break;
                    }
                    Err(error) => {
                        tracing::debug!(claim = %claim.id, %error, "could not renew a claim");
                        lost.store(renewed_at.elapsed() > lease.length, Ordering::SeqCst);
                    }
                }
            }
        });
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Err(error) = self.registry.release(&self.claim) else { return };
        tracing::warn!(claim = %self.claim.id, %error, "could not give back a claim, trying again until it expires");
        // Nobody waits for it here, and others would wait for the lease to end.
        let (registry, claim, Lease { length, heartbeat }) =
            (Arc::clone(&self.registry), self.claim.clone(), self.lease);
        std::thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed() < length {
                std::thread::sleep(heartbeat.min(RELEASE_AGAIN));
                if registry.release(&claim).is_ok() {
                    return;
                }
            }
        });
    }
}

impl DynamicTables {
    /// Claims tables; `None` if somebody else has claimed one of them, or waits for one with priority.
    pub(crate) fn hold(&self, worker: &str, tables: &[Uuid]) -> Result<Option<Held>> {
        let lease = self.lease.get();
        let claim = self.registry.claim(worker, tables, lease.length)?;
        Ok(claim.map(|claim| Held::keep(&self.registry, claim, lease)))
    }

    /// Claims tables for somebody who waits for them to be refreshed: as soon as nobody else refreshes one of them. Workers
    /// that are done with one of them begin with none of them again before.
    pub(crate) fn hold_patiently(&self, worker: Option<&str>, tables: &[Uuid]) -> Result<Held> {
        // As workers are called that have no other name, so that it shows when the process is gone.
        let by_hand = format!("{}:{}:by-hand-{}", place(), std::process::id(), Uuid::now_v7().simple());
        let worker = worker.unwrap_or(&by_hand);
        self.interrupted.store(false, Ordering::SeqCst);
        let held = self.hold_with_priority(worker, tables);
        if held.is_err()
            && let Err(error) = self.registry.withdraw_wish(worker, tables)
        {
            tracing::debug!(%error, "could not say that nobody waits for tables any more");
        }
        held
    }

    fn hold_with_priority(&self, worker: &str, tables: &[Uuid]) -> Result<Held> {
        let lease = self.lease.get();
        let began = Instant::now();
        let mut wished_at: Option<Instant> = None;
        let (mut told, mut missed) = (false, 0);
        loop {
            if let Some(claim) = self.registry.claim_with_priority(worker, tables, lease.length)? {
                return Ok(Held::keep(&self.registry, claim, lease));
            }
            if began.elapsed() < PRIORITY && wished_at.is_none_or(|at| at.elapsed() > WISH / 3) {
                self.registry.wish(worker, tables, WISH)?;
                wished_at = Some(Instant::now());
            }
            let claims = self.registry.claims()?;
            let Some(taken) = claims.into_iter().find(|taken| taken.is_live && tables.contains(&taken.table)) else {
                // Released just now, or one of them is no dynamic table any more.
                missed += 1;
                std::thread::sleep(LOOK_AGAIN / 10);
                if missed > TRIES {
                    return Err(Error::new(Code::Conflict, "a table that is to be refreshed was dropped meanwhile"));
                }
                continue;
            };
            missed = 0;
            if is_gone(&taken.worker) {
                tracing::info!(table = %taken.name, worker = taken.worker, "gave back what a dead process had claimed");
                let Claimed { claim, worker, table, .. } = taken;
                self.registry.release(&Claim { id: claim, worker, tables: vec![table] })?;
                continue;
            }
            if began.elapsed() > PATIENCE || self.interrupted.load(Ordering::SeqCst) {
                let message = format!("{} is being refreshed by {:?}", taken.name, taken.worker);
                return Err(Error::new(Code::Conflict, message)
                    .with_transient(true)
                    .with_hint("Wait until that has ended; `dynamic-tables history` shows it."));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(table = %taken.name, worker = taken.worker, "waiting for a refresh that runs already");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}
