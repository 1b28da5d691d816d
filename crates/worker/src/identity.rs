//! Who a worker is, and which of the refreshes that count as running nobody can be running any more.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use registry::{Abandoned, Claim, HistoryFilter, RefreshState, Registry, WorkerRecord, WorkerState};
use rustix::process::getpid;
use uuid::Uuid;

/// A refresh of which nobody can tell whether its process lives counts as abandoned after this time. If it does run
/// after all, its end still writes the truth over that.
const LONGEST_REFRESH: Duration = Duration::from_secs(3_600);

/// More than can run at the same time.
const MOST_EXECUTING: u32 = 10_000;

/// The name of a worker: given by its operator, or `place:process id:random part`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    id: String,
    place: String,
    process: i32,
}

impl Identity {
    pub(crate) fn new(name: Option<String>) -> Self {
        let place = refresh::place();
        let process = getpid().as_raw_nonzero().get();
        let random = Uuid::now_v7().simple().to_string().split_off(24);
        let id = name.unwrap_or_else(|| format!("{place}:{process}:{random}"));
        Self { id, place, process }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.id
    }

    /// Whether the worker of this name, which is not running in this process, is certainly gone: its name is ours, its
    /// process id is ours (a process of a former life), or no process of this place has its id.
    fn outlives(&self, other: &str) -> bool {
        if other == self.id {
            return true;
        }
        let ours = format!("{}:{}:", self.place, self.process);
        other.starts_with(&ours) || refresh::is_gone(other)
    }

    /// What a worker of this name says of itself.
    pub(crate) fn record(&self, queues: Vec<String>, concurrency: usize, state: WorkerState) -> WorkerRecord {
        WorkerRecord {
            id: self.id.clone(),
            host: refresh::host(),
            process: u32::try_from(self.process).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queues,
            concurrency: u32::try_from(concurrency).unwrap_or(u32::MAX),
            state,
        }
    }

    /// Gives back what this worker still claims though it refreshes nothing: the registry was away when it should have.
    pub(crate) fn give_back(&self, registry: &Registry) -> Result<()> {
        release_of(registry, &|worker| worker == self.id)
    }

    /// Gives back what processes had claimed that are certainly gone, and ends the refreshes in the history that died
    /// with their process. How many refreshes those were.
    pub(crate) fn bury_the_dead(&self, registry: &Registry) -> Result<u64> {
        release_of(registry, &|worker| self.is_gone(worker))?;
        Ok(registry.reap_orphans()? + self.bury_unclaimed(registry)?)
    }

    /// Whether the process of a worker of this host does not exist any more. Of ours and of others nobody can tell by a name.
    fn is_gone(&self, other: &str) -> bool {
        other != self.id && refresh::is_gone(other)
    }

    fn bury_unclaimed(&self, registry: &Registry) -> Result<u64> {
        let executing = HistoryFilter { state: Some(RefreshState::Executing), ..HistoryFilter::default() };
        let executing = registry.history(&executing, MOST_EXECUTING)?;
        if executing.is_empty() {
            return Ok(0);
        }
        let workers: BTreeSet<String> = executing
            .into_iter()
            .filter(|refresh| refresh.claim.is_none())
            .filter_map(|refresh| refresh.worker)
            .collect();
        let now = Timestamp::now();
        let mut ended = 0;
        for worker in workers.into_iter().filter(|worker| self.outlives(worker)) {
            ended += registry.reap_executing(&Abandoned { worker: Some(worker), started_before: now })?;
        }
        let long_ago = now.checked_sub(LONGEST_REFRESH).unwrap_or(Timestamp::MIN);
        ended += registry.reap_executing(&Abandoned { worker: None, started_before: long_ago })?;
        Ok(ended)
    }
}

/// Gives back what the meant workers claim.
fn release_of(registry: &Registry, is_meant: &dyn Fn(&str) -> bool) -> Result<()> {
    let mut claims: HashMap<Uuid, Claim> = HashMap::new();
    for taken in registry.claims()?.into_iter().filter(|taken| taken.is_live && is_meant(&taken.worker)) {
        let empty = || Claim { id: taken.claim, worker: taken.worker.clone(), tables: Vec::new() };
        claims.entry(taken.claim).or_insert_with(empty).tables.push(taken.table);
    }
    for claim in claims.values() {
        tracing::info!(
            worker = claim.worker,
            tables = claim.tables.len(),
            "gave back what nobody refreshes any more"
        );
        registry.release(claim)?;
    }
    Ok(())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The greatest process id there can be is greater than any that Linux gives.
    const NOBODY: i32 = i32::MAX;

    #[test]
    fn an_identity_is_given_or_made_up() {
        assert_eq!(Identity::new(Some("blue".to_owned())).as_str(), "blue");
        let (one, two) = (Identity::new(None), Identity::new(None));
        assert_ne!(one, two);
        assert_eq!(one.as_str().rsplit(':').nth(1).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn only_those_are_dead_that_nobody_can_be() {
        let me = Identity::new(None);
        let place = &me.place;
        let mine = std::process::id();
        assert!(me.outlives(&format!("{place}:{NOBODY}:0a0a0a0a")));
        assert!(me.outlives(&format!("{place}:{mine}:0a0a0a0a")));
        assert!(!me.outlives(&format!("{place}:1:0a0a0a0a")), "process 1 lives");
        assert!(!me.outlives(&format!("not-{place}:{NOBODY}:0a0a0a0a")));
        assert!(!me.outlives("blue"));
        assert!(!me.outlives("x:y:z"));
        assert!(Identity::new(Some("blue".to_owned())).outlives("blue"));
    }
}
