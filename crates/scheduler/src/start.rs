//! When tables have to start so that what is published together ends in time.
//!
//! Knows deadlines, expected durations and who comes along with whom; it does not know what keeps a table from being
//! refreshed.
//!
//! A refresh group is computed one table after the other and published in one commit, so that a table is as late as the
//! whole of its group. The tables are therefore gone through in the order of their deadlines, each with all that comes
//! along with it. What would have to start before tables that hang together with it have ended joins them in a
//! *cluster*: otherwise it would have to wait until their group has been published. A cluster ends by its first deadline.
//!
//! Where it is known how many batches run at a time, clusters make room for each other as well: when one change makes
//! hundreds of tables due at the same time, the first of them start before they would have to for themselves.
//!
//! Every table and every edge is looked at once for that, whatever the graph looks like.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;

use crate::chain::Chains;
use crate::lag::EffectiveLag;
use crate::schedule::Schedule;

/// A cluster takes at most one part in this many of the lag of its first table. What takes longer is started table by
/// table: the durations are estimates, and where they are too long the tables of a cluster are refreshed this many times
/// as often as they need to be, at most. For the same reason no table starts before this part of its lag has passed to
/// make room for others.
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
    /// Half-way through its lag: not before this for the sake of other tables.
    halfway: Timestamp,
    /// Its effective lag.
    lag: Duration,
}

impl Aim {
    pub(crate) fn new(data_timestamp: Timestamp, lag: Duration, poll_interval: Duration) -> Self {
        let margin = poll_interval.min(lag / 10);
        let deadline = later(data_timestamp, lag.saturating_sub(margin));
        let halfway = later(data_timestamp, lag / SHARE_OF_LAG);
        Self { deadline, earliest: later(data_timestamp, margin), halfway, lag }
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
    batches_at_a_time: Option<usize>,
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
    let mut clusters = Clusters {
        schedule,
        nodes: Vec::with_capacity(sharing.len()),
        parts: Vec::with_capacity(sharing.len()),
        met: vec![None; standings.len()],
    };
    for (_, table, aim) in &sharing {
        clusters.add(*table, *aim, &mut chains, &comes_along);
    }
    // From the newest cluster to those that it absorbed: they start with it, unless they start earlier.
    for node in (0..clusters.nodes.len()).rev() {
        if let Some(newer) = clusters.nodes[node].absorbed_by {
            clusters.nodes[node].start = clusters.nodes[node].start.min(clusters.nodes[newer].start);
        }
        starts[sharing[node].1] = Some(clusters.nodes[node].start);
    }
    if let Some(at_a_time) = batches_at_a_time.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0)
    {
        clusters.make_room(&sharing, at_a_time, &mut starts);
    }
    starts
}

/// The clusters as they grow. Each table that is added gets a number, in the order in which they are.
struct Clusters<'a, K> {
    schedule: &'a Schedule<K>,
    nodes: Vec<Node>,
    parts: Vec<Part>,
    /// With which table each one was first met.
    met: Vec<Option<usize>>,
}

/// A cluster right after a table was added.
struct Node {
    /// The table that made it part of a bigger cluster.
    absorbed_by: Option<usize>,
    /// Its first deadline, and the lag of the table that has it.
    end: Timestamp,
    lag: Duration,
    /// When the first of its tables may start.
    earliest: Timestamp,
    /// When it starts.
    start: Timestamp,
    /// How long those take that were met with the table that was added.
    added: Duration,
}

/// Tables that hang together through those that were met so far.
struct Part {
    /// A part that it belongs to, at last itself.
    belongs_to: usize,
    /// How long all take together, each counted once.
    work: Duration,
    /// The clusters by their ends.
    clusters: BinaryHeap<(Timestamp, usize)>,
}

impl<K: Clone + Eq + Hash> Clusters<'_, K> {
    /// Adds a table, the deadline of which is not before that of any other so far, and all that comes along.
    fn add(&mut self, table: usize, aim: Aim, chains: &mut Chains<'_, K>, comes_along: &impl Fn(usize) -> bool) {
        let own = self.nodes.len();
        let Aim { deadline: end, earliest, lag, .. } = aim;
        let mut node = Node { absorbed_by: None, end, lag, earliest, start: end, added: Duration::ZERO };
        self.parts.push(Part { belongs_to: own, work: Duration::ZERO, clusters: BinaryHeap::new() });
        let mut part = own;
        let mut waiting = vec![table];
        while let Some(found) = waiting.pop() {
            if let Some(known) = self.met[found] {
                part = self.join(known, part);
                continue;
            }
            self.met[found] = Some(own);
            node.added = node.added.saturating_add(self.schedule.tables()[found].expected_duration);
            waiting.extend(self.schedule.taken_along_at(found));
            let readers = self.schedule.graph().downstream_at(found).iter().copied();
            waiting.extend(readers.filter(|reader| self.met[*reader].is_none() && comes_along(*reader)));
        }
        let Part { work, clusters, .. } = &mut self.parts[part];
        *work = work.saturating_add(node.added);
        if fits(*work, lag) {
            // It would become due while these are refreshed.
            while let Some((end, other)) = clusters.peek().copied()
                && end > earlier(node.end, *work)
                && fits(*work, self.nodes[other].lag)
            {
                clusters.pop();
                let other = &mut self.nodes[other];
                other.absorbed_by = Some(own);
                node.end = end;
                node.lag = other.lag;
                node.earliest = node.earliest.min(other.earliest);
            }
            node.start = earlier(node.end, *work).max(node.earliest);
        } else {
            node.start = aim.start(chains.of(table));
        }
        clusters.push((node.end, own));
        self.nodes.push(node);
    }

    /// Makes one part of two; returns it.
    fn join(&mut self, known: usize, other: usize) -> usize {
        let (known, other) = (self.part_of(known), self.part_of(other));
        if known == other {
            return known;
        }
        let is_bigger = self.parts[known].clusters.len() >= self.parts[other].clusters.len();
        let (bigger, smaller) = if is_bigger { (known, other) } else { (other, known) };
        self.parts[smaller].belongs_to = bigger;
        let work = self.parts[smaller].work;
        let clusters = std::mem::take(&mut self.parts[smaller].clusters);
        let part = &mut self.parts[bigger];
        part.work = part.work.saturating_add(work);
        part.clusters.extend(clusters);
        bigger
    }

    fn part_of(&mut self, mut part: usize) -> usize {
        while self.parts[part].belongs_to != part {
            let next = self.parts[part].belongs_to;
            self.parts[part].belongs_to = self.parts[next].belongs_to;
            part = next;
        }
        part
    }

    /// Starts tables earlier where so many have to end at about the same time that they do not fit beside each other.
    fn make_room(&self, sharing: &[(Timestamp, usize, Aim)], at_a_time: u32, starts: &mut [Option<Timestamp>]) {
        let mut before = Duration::ZERO;
        let mut latest: Vec<Timestamp> = Vec::with_capacity(sharing.len());
        for ((deadline, _, _), node) in sharing.iter().zip(&self.nodes) {
            latest.push(earlier(*deadline, node.added.saturating_add(before / at_a_time)));
            before = before.saturating_add(node.added);
        }
        let mut all_behind = Timestamp::MAX;
        for ((_, table, aim), latest) in sharing.iter().zip(latest).rev() {
            all_behind = all_behind.min(latest);
            starts[*table] = starts[*table].map(|start| start.min(all_behind.max(aim.halfway)));
        }
    }
}

/// Whether so much work may be done together for a table of this lag.
fn fits(work: Duration, lag: Duration) -> bool {
    work <= lag / SHARE_OF_LAG
}

#[cfg(test)]
mod tests;
