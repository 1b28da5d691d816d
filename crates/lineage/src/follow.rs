//! Following the history of one worker, and sending what is new in it.
//!
//! The history is the queue: what has not been sent yet is still there. What is remembered besides is which runs are open, and
//! which ended lately. A catalog that is away for longer than [`Follower::send`] tries costs the event, which is counted, and
//! never a refresh.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender as Channel, channel};
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use registry::{HistoryFilter, Refresh, Registry};
use uuid::Uuid;

use crate::event::{self, Known, end_of};
use crate::target::{Sender, Target};

/// How often the history is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Of more refreshes at one look the older ones are not told of.
const MOST: u32 = 1_000;
/// Rows of the history become visible this much after the time that they say, at most: a clock that is behind, a slow commit.
const OVERLAP: Duration = Duration::from_secs(10);
/// The pauses before an event is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// At the end, what is left is sent within this time.
const LAST: Duration = Duration::from_secs(5);

static SENT: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// What this process has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Events that were taken.
    pub sent: u64,
    /// Events that were given up: the target did not take them, or there were too many at once.
    pub dropped: u64,
}

/// What this process has sent since it began.
#[must_use]
pub fn counts() -> Counts {
    Counts { sent: SENT.load(Ordering::Relaxed), dropped: DROPPED.load(Ordering::Relaxed) }
}

/// Tells of the refreshes of one worker until it is ended.
pub struct Lineage {
    end: Channel<()>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Lineage {
    /// Begins to tell of refreshes that begin from now on. Jobs and datasets get this namespace.
    #[must_use]
    pub fn follow(registry: Registry, worker: &str, target: &Target, namespace: &str) -> Self {
        let (end, asked) = channel();
        let (alive, ended) = channel();
        let mut follower = Follower {
            registry,
            worker: worker.to_owned(),
            namespace: namespace.to_owned(),
            sender: target.sender(),
            since: Timestamp::now(),
            open: HashMap::new(),
            told: HashSet::new(),
            is_away: false,
        };
        std::thread::spawn(move || {
            let _alive: Channel<()> = alive;
            follower.run(&asked);
        });
        Self { end, ended }
    }

    /// Sends what is left. Waits for that no longer than five seconds: whatever is being tried then is lost with the process.
    pub fn end(self) {
        drop(self.end);
        if self.ended.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last events of lineage are lost: they are not taken in time");
        }
    }
}

struct Follower {
    registry: Registry,
    worker: String,
    namespace: String,
    sender: Sender,
    /// Refreshes that began earlier are all told of.
    since: Timestamp,
    /// Runs of which the beginning was told and the end not yet, and when they began.
    open: HashMap<Uuid, Timestamp>,
    /// Runs that are told of to the end and may be seen once more.
    told: HashSet<Uuid>,
    /// Whether the last event was not taken.
    is_away: bool,
}

impl Follower {
    fn run(&mut self, asked: &Receiver<()>) {
        loop {
            let is_over = asked.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
            if let Err(error) = self.look() {
                tracing::debug!(%error, "the history cannot be read for lineage");
            }
            if is_over {
                return;
            }
        }
    }

    fn look(&mut self) -> Result<()> {
        let looked_at = Timestamp::now();
        let filter = HistoryFilter { since: Some(self.since), ..HistoryFilter::default() };
        let mut refreshes = self.registry.history(&filter, MOST)?;
        let seen: HashSet<Uuid> = refreshes.iter().map(|refresh| refresh.id).collect();
        let is_all = refreshes.len() < MOST as usize;
        let oldest = refreshes.last().map(|refresh| refresh.started_at);
        refreshes.reverse();
        refreshes
            .retain(|refresh| refresh.worker.as_deref() == Some(&self.worker) && !self.told.contains(&refresh.id));
        for refresh in &refreshes {
            self.tell(refresh)?;
        }
        if !is_all && let Some(oldest) = oldest {
            // What is older than the newest thousand is out of sight: nobody will hear how it ended.
            let lost = self.open.values().filter(|started_at| **started_at < oldest).count();
            self.open.retain(|_, started_at| *started_at >= oldest);
            drop_events(lost as u64);
        }
        self.told.retain(|id| seen.contains(id));
        // A refresh that runs is looked at until it has ended.
        let settled = looked_at.checked_sub(OVERLAP).unwrap_or(looked_at);
        let open = self.open.values().min().copied();
        self.since = self.since.max(open.map_or(settled, |open| open.min(settled)));
        Ok(())
    }

    fn tell(&mut self, refresh: &Refresh) -> Result<()> {
        let is_open = self.open.contains_key(&refresh.id);
        let end = end_of(refresh.state);
        if is_open && end.is_none() {
            return Ok(());
        }
        // What was not tried at all is no run, unless its beginning was told.
        if !is_open && end == Some("ABORT") && refresh.action.is_none() && refresh.duration_ms.is_none() {
            self.told.insert(refresh.id);
            return Ok(());
        }
        let known = self.known(refresh)?;
        if !is_open {
            self.send(&event::start(refresh, &known, &self.namespace));
            self.open.insert(refresh.id, refresh.started_at);
        }
        if let Some(event) = event::end(refresh, &known, &self.namespace) {
            self.send(&event);
            self.open.remove(&refresh.id);
            self.told.insert(refresh.id);
        }
        Ok(())
    }

    fn known(&self, refresh: &Refresh) -> Result<Known> {
        let Some(table) = self.registry.get(&refresh.name)? else { return Ok(Known::default()) };
        let columns = |source: &registry::Source| match source.upstream {
            Some(_) => Ok(self.registry.get(&source.name)?.map(|upstream| upstream.definition.columns)),
            None => Ok(None),
        };
        let source_columns = table.sources.iter().map(columns).collect::<Result<_>>()?;
        Ok(Known { table: Some(table), source_columns })
    }

    /// Sends an event, again if that may help, or counts that it was not taken. While the target is away, each is tried once.
    fn send(&mut self, event: &serde_json::Value) {
        let pauses = if self.is_away { &[][..] } else { &PAUSES[..] };
        let mut pauses = pauses.iter();
        loop {
            match self.sender.send(event) {
                Ok(()) => {
                    SENT.fetch_add(1, Ordering::Relaxed);
                    if std::mem::take(&mut self.is_away) {
                        tracing::info!("events of lineage are taken again");
                    }
                    return;
                }
                Err(error) => match pauses.next().filter(|_| error.is_transient()) {
                    Some(pause) => std::thread::sleep(*pause),
                    None => {
                        if !std::mem::replace(&mut self.is_away, true) {
                            tracing::warn!(%error, "events of lineage are lost until they are taken again");
                        }
                        return drop_events(1);
                    }
                },
            }
        }
    }
}

fn drop_events(count: u64) {
    DROPPED.fetch_add(count, Ordering::Relaxed);
}
