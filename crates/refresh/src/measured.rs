//! What a table's own refreshes have taken, by the way they went, and what the next one may take.
//!
//! Pure but for the cache: it does not know where refreshes are recorded or what they did.

use std::collections::HashMap;

use registry::{Refresh, RefreshAction};
use serde_json::Value;
use uuid::Uuid;

/// How many refreshes of a table are looked back at.
pub(crate) const LOOKED_BACK: u32 = 40;

/// After so many refreshes in full the other way is tried again.
const RETRIED_AFTER: usize = 20;

/// How many refreshes of a kind an estimate is made from.
const SAMPLES: usize = 5;

/// A computation in full is preferred if the other way is expected to take so many times as long...
const CLEARLY_SLOWER: f64 = 2.0;

/// ... and at least so many milliseconds longer: less than that is noise.
const WORTH_IT: f64 = 500.0;

/// How many times as much a changed row is taken to cost as a row of a computation in full.
const DEARER: f64 = 3.0;

/// Fewer refreshes of a change than this say nothing: the first ones read and plan what later ones find prepared.
const FEWEST: usize = 3;

/// What one refresh took.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    full: bool,
    milliseconds: f64,
    /// Rows of the sources if it was full, rows that had changed otherwise.
    rows: f64,
}

/// What the refreshes of a table took, the newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured(Vec<Sample>);

/// What the next refresh is expected to take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expected {
    pub full: f64,
    pub incremental: f64,
}

impl Expected {
    /// Whether computing everything is clearly faster.
    pub fn prefers_full(self) -> bool {
        self.incremental > CLEARLY_SLOWER * self.full && self.incremental - self.full > WORTH_IT
    }
}

impl Measured {
    /// From the history of a table, the newest first.
    pub fn of(history: &[Refresh]) -> Self {
        let mut measured = Self::default();
        for refresh in history.iter().rev() {
            measured.add(refresh);
        }
        measured
    }

    /// Adds a refresh that has ended.
    pub fn add(&mut self, refresh: &Refresh) {
        let (Some(action), Some(milliseconds)) = (refresh.action, refresh.duration_ms) else { return };
        let figure = |name: &str| refresh.choice.as_ref().and_then(|choice| choice[name].as_u64());
        let (full, rows) = match action {
            RefreshAction::NoData => return,
            RefreshAction::Incremental => (false, figure("changed_rows")),
            RefreshAction::Full => (true, figure("source_rows")),
            RefreshAction::Reinitialize => {
                // Another query, or other sources: what was before says nothing of it.
                self.0.clear();
                (true, figure("source_rows"))
            }
        };
        if let Some(rows) = rows {
            self.0.push(Sample { full, milliseconds: as_float(milliseconds), rows: as_float(rows.max(1)) });
        }
    }

    /// What a refresh with these figures may take both ways; `None` as long as one of them was not measured, or not for
    /// long.
    pub fn expect(&self, source_rows: u64, changed_rows: u64) -> Option<Expected> {
        let since_incremental = self.0.iter().rev().take_while(|sample| sample.full).count();
        if since_incremental >= RETRIED_AFTER || self.0.iter().filter(|sample| !sample.full).count() < FEWEST {
            return None;
        }
        // A computation in full grows with its sources. One of a change has fixed costs: a smaller change is not taken to be
        // faster, and more rows to cost a few times what they cost in full.
        let full = self.best(true, |sample| sample.milliseconds * as_float(source_rows.max(1)) / sample.rows)?;
        let further = DEARER * full / as_float(source_rows.max(1));
        let incremental = self
            .best(false, |sample| sample.milliseconds + (as_float(changed_rows) - sample.rows).max(0.0) * further)?;
        Some(Expected { full, incremental })
    }

    /// The least of the newest: what else the machine did at the time makes a refresh slower, never faster.
    fn best(&self, full: bool, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        let newest = self.0.iter().rev().filter(|sample| sample.full == full).take(SAMPLES);
        newest.map(value).min_by(f64::total_cmp)
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 52 bits")]
fn as_float(number: u64) -> f64 {
    number as f64
}

/// What is known of the tables that this process refreshes.
#[derive(Debug, Default)]
pub(crate) struct MeasuredTables(HashMap<Uuid, Measured>);

impl MeasuredTables {
    /// What is known of a table.
    pub fn get(&self, table: Uuid) -> Option<&Measured> {
        self.0.get(&table)
    }

    /// Keeps what was read of a table.
    pub fn keep(&mut self, table: Uuid, measured: Measured) -> &Measured {
        self.0.entry(table).insert_entry(measured).into_mut()
    }

    /// Follows a refresh that has ended, of a table that is known.
    pub fn follow(&mut self, refresh: &Refresh) {
        if let Some(known) = self.0.get_mut(&refresh.table) {
            known.add(refresh);
        }
    }
}

impl Expected {
    /// As it is stored in the history.
    pub fn to_json(self) -> Value {
        serde_json::json!({ "full_ms": self.full.round(), "incremental_ms": self.incremental.round() })
    }
}

#[cfg(test)]
mod tests {
    use registry::RefreshTrigger;
    use sql::names::TableName;

    use super::*;

    fn refresh(action: RefreshAction, milliseconds: u64, source_rows: u64, changed_rows: u64) -> Refresh {
        let mut refresh = Refresh::begin(Uuid::nil(), TableName::new("main", "t"), RefreshTrigger::Scheduled, None);
        refresh.action = Some(action);
        refresh.duration_ms = Some(milliseconds);
        refresh.choice = Some(serde_json::json!({ "source_rows": source_rows, "changed_rows": changed_rows }));
        refresh
    }

    fn measured(refreshes: &[Refresh]) -> Measured {
        let newest_first: Vec<Refresh> = refreshes.iter().rev().cloned().collect();
        Measured::of(&newest_first)
    }

    #[test]
    fn nothing_is_expected_of_what_was_not_measured() {
        let full = refresh(RefreshAction::Reinitialize, 100, 1_000, 0);
        let incremental = refresh(RefreshAction::Incremental, 900, 1_000, 10);
        assert_eq!(measured(&[full.clone(), incremental.clone(), incremental.clone()]).expect(1_000, 10), None);
        let slower = refresh(RefreshAction::Incremental, 5_000, 1_000, 10);
        let both = measured(&[full, incremental.clone(), slower, incremental]);
        assert_eq!(both.expect(1_000, 10), Some(Expected { full: 100.0, incremental: 900.0 }));
        assert!(both.expect(1_000, 10).is_some_and(Expected::prefers_full));
        // The source has grown: it would take half as long.
        assert!(!both.expect(4_500, 10).is_some_and(Expected::prefers_full));
        assert_eq!(both.expect(1_000, 30), Some(Expected { full: 100.0, incremental: 906.0 }));
        assert_eq!(both.expect(1_000, 1), Some(Expected { full: 100.0, incremental: 900.0 }));
    }

    #[test]
    fn a_little_slower_is_no_reason() {
        assert!(!Expected { full: 10.0, incremental: 100.0 }.prefers_full());
        assert!(!Expected { full: 1_000.0, incremental: 1_900.0 }.prefers_full());
    }

    #[test]
    fn what_was_given_up_is_tried_again() {
        let mut refreshes = vec![refresh(RefreshAction::Incremental, 900, 1_000, 10); 3];
        refreshes.extend(vec![refresh(RefreshAction::Full, 100, 1_000, 10); 19]);
        assert!(measured(&refreshes).expect(1_000, 10).is_some());
        refreshes.push(refresh(RefreshAction::Full, 100, 1_000, 10));
        assert!(measured(&refreshes).expect(1_000, 10).is_none());
    }

    #[test]
    fn another_query_begins_anew() {
        let mut refreshes = vec![refresh(RefreshAction::Incremental, 900, 1_000, 10); 5];
        refreshes.push(refresh(RefreshAction::Reinitialize, 100, 1_000, 0));
        assert_eq!(measured(&refreshes).expect(1_000, 10), None);
    }
}
