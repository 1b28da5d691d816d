//! How long a table takes together with all that it reads.

use std::hash::Hash;
use std::time::Duration;

use crate::schedule::Schedule;

/// How many tables may be walked through for each table of the schedule, all in all.
const STEPS_PER_TABLE: usize = 64;

/// The expected durations of chains: of a table and of all dynamic tables that come along because it reads them,
/// directly or not, each counted once.
///
/// Where no table reads more than one other, that takes one step per table. Elsewhere the tables behind each table that
/// is asked for have to be walked through; after 64 steps for each table of the schedule the answer is the longest path
/// instead, which is never more than the chain.
pub(crate) struct Chains<'a, K> {
    schedule: &'a Schedule<K>,
    /// The longest path that ends at each table, and whether it is the whole chain.
    path: Vec<(Duration, bool)>,
    /// What was walked through before.
    walked: Vec<Option<Duration>>,
    /// The walk in which each table was met last.
    met: Vec<usize>,
    walks: usize,
    steps_left: usize,
}

impl<'a, K: Clone + Eq + Hash> Chains<'a, K> {
    pub(crate) fn new(schedule: &'a Schedule<K>) -> Self {
        let count = schedule.tables().len();
        let mut path: Vec<(Duration, bool)> = Vec::with_capacity(count);
        for (position, table) in schedule.tables().iter().enumerate() {
            let (mut longest, mut whole, mut reads) = (Duration::ZERO, true, 0);
            for upstream in schedule.taken_along_at(position) {
                longest = longest.max(path[upstream].0);
                whole &= path[upstream].1;
                reads += 1;
            }
            path.push((longest.saturating_add(table.expected_duration), whole && reads <= 1));
        }
        let steps_left = count.saturating_mul(STEPS_PER_TABLE);
        Self { schedule, path, walked: vec![None; count], met: vec![0; count], walks: 0, steps_left }
    }

    /// The chain of the table at this position.
    pub(crate) fn of(&mut self, table: usize) -> Duration {
        let (longest, whole) = self.path[table];
        if whole || self.steps_left == 0 {
            return longest;
        }
        if let Some(walked) = self.walked[table] {
            return walked;
        }
        self.walks += 1;
        let mut chain = Duration::ZERO;
        let mut waiting = vec![table];
        self.met[table] = self.walks;
        while let Some(found) = waiting.pop() {
            if self.steps_left == 0 {
                return longest;
            }
            self.steps_left -= 1;
            chain = chain.saturating_add(self.schedule.tables()[found].expected_duration);
            for upstream in self.schedule.taken_along_at(found) {
                if self.met[upstream] != self.walks {
                    self.met[upstream] = self.walks;
                    waiting.push(upstream);
                }
            }
        }
        self.walked[table] = Some(chain);
        chain
    }
}

#[cfg(test)]
mod tests;
