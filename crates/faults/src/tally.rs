//! What a run has found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::plan::Fault;
use crate::reader::Wrong;

/// What was found in a round, or in a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The faults that happened, and how often each.
    pub faults: BTreeMap<(String, String), u64>,
    /// Tables that lacked rows, each counted once per round.
    pub lost: u64,
    /// Tables that had rows too many, each counted once per round.
    pub doubled: u64,
    /// Snapshots in which tables that move together were at different data versions.
    pub torn: u64,
    /// Tables that were not brought up, refreshes and processes that never ended.
    pub hanging: u64,
    /// Each of these in words.
    pub problems: Vec<String>,
    lost_tables: BTreeSet<String>,
    doubled_tables: BTreeSet<String>,
}

impl Tally {
    /// How many faults happened.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.torn + self.hanging == 0
    }

    /// A fault happened.
    pub fn happened(&mut self, fault: &Fault) {
        *self.faults.entry((fault.point.to_owned(), fault.action.to_owned())).or_default() += 1;
    }

    /// A table does not hold what its data version says.
    pub fn wrong(&mut self, wrong: &Wrong) {
        let Wrong { table, missing, surplus, version } = wrong;
        self.differs(
            table,
            *missing,
            *surplus,
            &format!("{table}: {missing} rows missing, {surplus} too many at data version {version}"),
        );
    }

    /// A table differs from its query.
    pub fn differs(&mut self, table: &str, missing: u64, surplus: u64, said: &str) {
        let mut is_new = false;
        if missing > 0 && self.lost_tables.insert(table.to_owned()) {
            self.lost += 1;
            is_new = true;
        }
        if surplus > 0 && self.doubled_tables.insert(table.to_owned()) {
            self.doubled += 1;
            is_new = true;
        }
        if is_new {
            self.problems.push(said.to_owned());
        }
    }

    /// Tables that move together were seen apart.
    pub fn torn(&mut self, said: String) {
        self.torn += 1;
        self.problems.push(format!("torn: {said}"));
    }

    /// Something never came to its end.
    pub fn hangs(&mut self, said: String) {
        self.hanging += 1;
        self.problems.push(format!("hanging: {said}"));
    }

    /// Adds what a round found.
    pub fn add(&mut self, round: &Self) {
        for (fault, times) in &round.faults {
            *self.faults.entry(fault.clone()).or_default() += times;
        }
        self.lost += round.lost;
        self.doubled += round.doubled;
        self.torn += round.torn;
        self.hanging += round.hanging;
    }

    /// Which faults happened at which step, as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let actions: BTreeSet<&str> = self.faults.keys().map(|(_, action)| action.as_str()).collect();
        let points: BTreeSet<&str> = self.faults.keys().map(|(point, _)| point.as_str()).collect();
        let mut text = format!("{:<20}", "step");
        for action in &actions {
            text.push_str(&format!("{action:>8}"));
        }
        for point in points {
            text.push_str(&format!("\n{point:<20}"));
            for action in &actions {
                let times = self.faults.get(&(point.to_owned(), (*action).to_owned()));
                text.push_str(&format!("{:>8}", times.map_or_else(String::new, u64::to_string)));
            }
        }
        text
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults: {} lost, {} doubled, {} torn, {} hanging",
            self.number(),
            self.lost,
            self.doubled,
            self.torn,
            self.hanging
        )
    }
}
