//! Who a worker is, and which of the refreshes that count as running nobody can be running any more.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use registry::{Abandoned, HistoryFilter, RefreshState, Registry};
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};
use uuid::Uuid;

/// A refresh of which nobody can tell whether its process lives counts as abandoned after this time. If it does run
/// after all, its end still writes the truth over that.
const LONGEST_REFRESH: Duration = Duration::from_secs(3_600);

/// More than can run at the same time.
const MOST_EXECUTING: u32 = 10_000;

/// The name of a worker: given by its operator, or `host:process id:random part`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    id: String,
    host: String,
    process: i32,
}

impl Identity {
    pub(crate) fn new(name: Option<String>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let process = getpid().as_raw_nonzero().get();
        let random = Uuid::now_v7().simple().to_string().split_off(24);
        let id = name.unwrap_or_else(|| format!("{host}:{process}:{random}"));
        Self { id, host, process }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.id
    }

    /// Whether the worker of this name, which is not running in this process, is certainly gone: its name is ours, its
    /// process id is ours (a container that was started again), or no process of this host has its id.
    fn outlives(&self, other: &str) -> bool {
        if other == self.id {
            return true;
        }
        let mut parts = other.rsplitn(3, ':');
        let (_, process, host) = (parts.next(), parts.next(), parts.next());
        let process = process.and_then(|process| process.parse::<i32>().ok()).and_then(Pid::from_raw);
        match (host, process) {
            (Some(host), Some(process)) if host == self.host => {
                process.as_raw_nonzero().get() == self.process || test_kill_process(process) == Err(Errno::SRCH)
            }
            _ => false,
        }
    }

    /// Ends the refreshes in the history that died with their process. Their number. Called while this worker itself
    /// refreshes nothing.
    pub(crate) fn bury_the_dead(&self, registry: &Registry) -> Result<u64> {
        let executing = HistoryFilter { state: Some(RefreshState::Executing), ..HistoryFilter::default() };
        let executing = registry.history(&executing, MOST_EXECUTING)?;
        if executing.is_empty() {
            return Ok(0);
        }
        let workers: BTreeSet<String> = executing.into_iter().filter_map(|refresh| refresh.worker).collect();
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
        let host = &me.host;
        let mine = std::process::id();
        assert!(me.outlives(&format!("{host}:{NOBODY}:0a0a0a0a")));
        assert!(me.outlives(&format!("{host}:{mine}:0a0a0a0a")));
        assert!(!me.outlives(&format!("{host}:1:0a0a0a0a")), "process 1 lives");
        assert!(!me.outlives(&format!("not-{host}:{NOBODY}:0a0a0a0a")));
        assert!(!me.outlives("blue"));
        assert!(!me.outlives("x:y:z"));
        assert!(Identity::new(Some("blue".to_owned())).outlives("blue"));
    }
}
