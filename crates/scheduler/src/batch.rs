//! What a worker takes as one unit: refresh groups of one queue, the most urgent first.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;

use crate::due::{Decision, Moment, Reason};
use crate::schedule::Schedule;

/// A group joins a batch only if it is at least this urgent, as a share of the first group of the batch: what is barely
/// due is not done along with what is overdue, which would then be published later.
const LIKE_URGENCY: f64 = 0.5;

/// How urgent a table is whose data timestamp lies in the future: as if its lag were just used up.
const UNKNOWN_AGE: f64 = 1.0;

/// How much is put into one batch. A single refresh group may exceed both limits, as a group is never torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most tables.
    pub most_tables: usize,
    /// The longest that the tables are expected to take, one after the other.
    pub longest: Duration,
}

/// One or several whole refresh groups of one queue, to be refreshed and published together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<K> {
    /// Each behind all it reads.
    pub tables: Vec<K>,
    /// Whose workers take it.
    pub queue: String,
    /// The share of the effective lag that its most urgent table has used up: 1 when it is as stale as it may be.
    pub urgency: f64,
    /// How long all its tables are expected to take.
    pub expected: Duration,
}

/// A refresh group: connected tables that are due.
struct Group {
    /// Positions in the graph, ascending.
    tables: Vec<usize>,
    /// The position of the most urgent table that is due by itself.
    leader: usize,
    urgency: f64,
    expected: Duration,
}

/// A batch that is being filled.
struct Filling {
    tables: Vec<usize>,
    leader: usize,
    urgency: f64,
    expected: Duration,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// The due tables in the units in which they are taken, the most urgent first; those of equal urgency in the order
    /// of the graph.
    ///
    /// A group of which a table is taken already is left out as a whole: it is due again at the next look. Groups of one
    /// queue and of like urgency share a batch, so that many small tables cost few commits. A batch is filled in the
    /// order of urgency, so that no group gets in front of a more urgent one by being small.
    ///
    /// The urgency of a table that is due by itself is the age of its content as a share of its effective lag, and that
    /// of a group is the highest of its tables. Two kinds of tables are urgent in another way:
    /// - one that never had any content, as if it had used up its lag when it was asked for: see
    ///   [`crate::Table::wanted_since`];
    /// - one whose last refresh failed, and one that reads such a table, by the time since it may be tried again: however
    ///   long it keeps failing, it makes no table wait that has used up a bigger share of its lag than that.
    pub fn batches(
        &self,
        decision: &Decision<K>,
        moment: &Moment,
        limits: &Limits,
        is_taken: &dyn Fn(&K) -> bool,
    ) -> Vec<Batch<K>> {
        let mut groups = self.free_groups(decision, moment, is_taken);
        groups.sort_by(|one, other| match other.urgency.total_cmp(&one.urgency) {
            Ordering::Equal => one.tables.first().cmp(&other.tables.first()),
            unequal => unequal,
        });
        let mut batches: Vec<Filling> = Vec::new();
        let mut open: HashMap<&str, usize> = HashMap::new();
        for group in groups {
            let queue = self.tables()[group.leader].queue.as_str();
            let batch = open.get(queue).map(|batch| &mut batches[*batch]);
            if let Some(batch) = batch
                && batch.has_room(&group, limits)
            {
                batch.tables.extend(group.tables);
                batch.expected = batch.expected.saturating_add(group.expected);
                continue;
            }
            if group.is_within(limits) {
                open.insert(queue, batches.len());
            }
            let Group { tables, leader, urgency, expected } = group;
            batches.push(Filling { tables, leader, urgency, expected });
        }
        batches.into_iter().map(|batch| self.batch(batch)).collect()
    }

    fn batch(&self, filled: Filling) -> Batch<K> {
        let Filling { mut tables, leader, urgency, expected } = filled;
        tables.sort_unstable();
        Batch {
            tables: tables.into_iter().map(|position| self.tables()[position].id.clone()).collect(),
            queue: self.tables()[leader].queue.clone(),
            urgency,
            expected,
        }
    }

    /// The refresh groups of which no table is taken.
    fn free_groups(&self, decision: &Decision<K>, moment: &Moment, is_taken: &dyn Fn(&K) -> bool) -> Vec<Group> {
        let failing = self.failing_since();
        let mut urgencies: Vec<Option<f64>> = vec![None; self.tables().len()];
        let mut positions: Vec<usize> = Vec::with_capacity(decision.due.len());
        for due in &decision.due {
            let Some(position) = self.graph().position(&due.id) else { continue };
            positions.push(position);
            urgencies[position] = self.urgency(position, &due.reason, failing[position], moment);
        }
        let groups = self.graph().groups_at(positions).into_iter().filter_map(|tables| {
            if tables.iter().any(|position| is_taken(&self.tables()[*position].id)) {
                return None;
            }
            let mut most_urgent: Option<(usize, f64)> = None;
            let mut expected = Duration::ZERO;
            for position in &tables {
                expected = expected.saturating_add(self.tables()[*position].expected_duration);
                if let Some(urgency) = urgencies[*position]
                    && most_urgent.is_none_or(|(_, highest)| urgency > highest)
                {
                    most_urgent = Some((*position, urgency));
                }
            }
            let (leader, urgency) = most_urgent?;
            Some(Group { tables, leader, urgency, expected })
        });
        groups.collect()
    }

    /// How urgent a table is by itself; none if it only comes along.
    fn urgency(
        &self,
        position: usize,
        reason: &Reason<K>,
        failing_since: Option<Timestamp>,
        moment: &Moment,
    ) -> Option<f64> {
        let table = &self.tables()[position];
        let lag = self.lags()[position].duration()?;
        let share = |since: Timestamp| share_of(lag, since, moment.now);
        let urgency = match reason {
            Reason::Initialize => 1.0 + table.wanted_since.map_or(0.0, share),
            Reason::Lag { .. } | Reason::Retry => table.data_timestamp.map_or(UNKNOWN_AGE, share),
            Reason::ClockPutBack => UNKNOWN_AGE,
            Reason::Needed { .. } | Reason::Follows { .. } => return None,
        };
        Some(failing_since.map_or(urgency, |since| urgency.min(share(since))))
    }
}

/// The time since then as a share of the lag; nothing if it lies ahead.
fn share_of(lag: Duration, since: Timestamp, now: Timestamp) -> f64 {
    let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    age.as_secs_f64() / lag.as_secs_f64().max(f64::MIN_POSITIVE)
}

impl Group {
    fn is_within(&self, limits: &Limits) -> bool {
        self.tables.len() <= limits.most_tables && self.expected <= limits.longest
    }
}

impl Filling {
    fn has_room(&self, group: &Group, limits: &Limits) -> bool {
        group.urgency >= LIKE_URGENCY * self.urgency
            && self.tables.len() + group.tables.len() <= limits.most_tables
            && self.expected.saturating_add(group.expected) <= limits.longest
    }
}

#[cfg(test)]
mod tests;
