//! When tables have to start so that what is published together ends in time.
//!
//! Knows deadlines, expected durations and who comes along with whom; it does not know what keeps a table from being
//! refreshed.
//!
//! A refresh group is computed one table after the other and published in one commit, so that a table is as late as the
//! whole of its group. The tables are therefore gone through in the order of their deadlines, each with all that comes
//! along with it, and what hangs together by then is one *cluster*. A cluster ends by its first deadline. What would
//! have to start before that end joins it: it would have to wait for the group that is running otherwise.
//!
//! Every table and every edge is looked at once for that, whatever the graph looks like.

use std::cmp::Ordering;
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;

use crate::chain::Chains;
use crate::lag::EffectiveLag;
use crate::schedule::Schedule;

/// A cluster takes at most one part in this many of the lag of its first table. What takes longer is started table by
/// table: the durations are estimates, and where they are too long the tables of a cluster are refreshed this many times
/// as often as they need to be, at most.
const SHARE_OF_LAG: u32 = 2;

/// What a table aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    /// When its next refresh has to be published: its data timestamp and its lag, less a margin for the worker's being
    /// busy or asleep. The margin is the poll interval, but at most a tenth of the lag: a worker sleeps no longer than
    /// until the next table is due.
    pub(crate) deadline: Timestamp,
    /// It never starts before this, however long it takes: the margin after its data timestamp. A table that takes
    /// longer than its lag is due when its refresh has ended, but not all the time while nothing changes.
    pub(crate) earliest: Timestamp,
    /// Its effective lag.
    pub(crate) lag: Duration,
}

impl Aim {
    pub(crate) fn new(data_timestamp: Timestamp, lag: Duration, poll_interval: Duration) -> Self {
        let margin = poll_interval.min(lag / 10);
        let deadline = later(data_timestamp, lag.saturating_sub(margin));
        Self { deadline, earliest: later(data_timestamp, margin), lag }
    }

    /// When the work has to start that ends by the deadline.
    fn start(&self, work: Duration) -> Timestamp {
        earlier(self.deadline, work).max(self.earliest)
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// How a table stands to the clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has a turn of its own and shares it with others.
    Shares(Aim),
    /// It has a turn of its own, but nobody starts earlier for it: it is hindered, or its last refresh failed.
    Alone(Aim),
    /// It comes along with others or not at all.
    None,
}

/// When each table that has a turn of its own has to start. A table that is hindered comes along with nobody.
pub(crate) fn starts<K: Clone + Eq + Hash>(
    schedule: &Schedule<K>,
    standings: &[Standing],
    is_hindered: impl Fn(usize) -> bool,
) -> Vec<Option<Timestamp>> {
    let mut chains = Chains::new(schedule);
    let mut starts: Vec<Option<Timestamp>> = vec![None; standings.len()];
    let mut sharing: Vec<(Timestamp, usize, Aim)> = Vec::new();
    for (table, standing) in standings.iter().enumerate() {
        match standing {
            Standing::Shares(aim) => sharing.push((aim.deadline, table, *aim)),
            Standing::Alone(aim) => starts[table] = Some(aim.start(chains.of(table))),
            Standing::None => {}
        }
    }
    sharing.sort_unstable_by(|one, other| match one.0.cmp(&other.0) {
        Ordering::Equal => one.1.cmp(&other.1),
        unequal => unequal,
    });
    let comes_along =
        |table: usize| matches!(schedule.lags()[table], EffectiveLag::Follows { .. }) && !is_hindered(table);
    let mut clusters =
        Clusters { schedule, nodes: Vec::with_capacity(sharing.len()), met: vec![None; standings.len()] };
    for (_, table, aim) in &sharing {
        clusters.add(*table, *aim, &mut chains, &comes_along);
    }
    // From the newest cluster to those that it absorbed: they all start with it, unless they start earlier.
    let mut shared: Vec<Option<Timestamp>> = vec![None; clusters.nodes.len()];
    for node in (0..clusters.nodes.len()).rev() {
        let Node { absorbed_by, start, shares, .. } = &clusters.nodes[node];
        let inherited = absorbed_by.and_then(|newer| shared[newer]);
        shared[node] = [inherited, shares.then_some(*start)].into_iter().flatten().min();
        starts[sharing[node].1] = [inherited, Some(*start)].into_iter().flatten().min();
    }
    starts
}

/// The clusters as they grow, one node for each table that was added.
struct Clusters<'a, K> {
    schedule: &'a Schedule<K>,
    nodes: Vec<Node>,
    /// The node with which each table was first met.
    met: Vec<Option<usize>>,
}

/// A cluster right after a table was added.
struct Node {
    /// The node of the table that made it part of a bigger cluster.
    absorbed_by: Option<usize>,
    /// A node that it is part of, at last the newest one.
    part_of: usize,
    /// The first of the tables that have a turn.
    first: Aim,
    /// When the first of them may start.
    earliest: Timestamp,
    /// How long all take together, each counted once.
    work: Duration,
    /// When the table that was added has to start.
    start: Timestamp,
    /// Whether all of the cluster starts then.
    shares: bool,
}

impl<K: Clone + Eq + Hash> Clusters<'_, K> {
    /// Adds a table, the deadline of which is not before that of any other so far, and all that comes along.
    fn add(&mut self, table: usize, aim: Aim, chains: &mut Chains<'_, K>, comes_along: &impl Fn(usize) -> bool) {
        let own = self.nodes.len();
        self.nodes.push(Node {
            absorbed_by: None,
            part_of: own,
            first: aim,
            earliest: aim.earliest,
            work: Duration::ZERO,
            start: aim.deadline,
            shares: false,
        });
        let mut waiting = vec![table];
        while let Some(found) = waiting.pop() {
            if let Some(known) = self.met[found] {
                self.absorb(known, own);
                continue;
            }
            self.met[found] = Some(own);
            let work = &mut self.nodes[own].work;
            *work = work.saturating_add(self.schedule.tables()[found].expected_duration);
            waiting.extend(self.schedule.taken_along_at(found));
            let readers = self.schedule.graph().downstream_at(found).iter().copied();
            waiting.extend(readers.filter(|reader| self.met[*reader].is_none() && comes_along(*reader)));
        }
        let node = &mut self.nodes[own];
        if node.work > node.first.lag / SHARE_OF_LAG {
            node.start = aim.start(chains.of(table));
            return;
        }
        node.start = aim.start(node.work);
        // It would become due while the cluster is refreshed, and would have to wait.
        if earlier(aim.deadline, node.work) < node.first.deadline {
            node.start = earlier(node.first.deadline, node.work).max(node.earliest);
            node.shares = true;
        }
    }

    fn absorb(&mut self, known: usize, into: usize) {
        let newest = self.newest(known);
        if newest == into {
            return;
        }
        self.nodes[newest].absorbed_by = Some(into);
        self.nodes[newest].part_of = into;
        let Node { first, earliest, work, .. } = self.nodes[newest];
        let node = &mut self.nodes[into];
        node.work = node.work.saturating_add(work);
        node.earliest = node.earliest.min(earliest);
        if first.deadline < node.first.deadline {
            node.first = first;
        }
    }

    fn newest(&mut self, mut node: usize) -> usize {
        while self.nodes[node].part_of != node {
            let next = self.nodes[node].part_of;
            self.nodes[node].part_of = self.nodes[next].part_of;
            node = next;
        }
        node
    }
}

#[cfg(test)]
mod tests;
