//! What a table's own refreshes have taken, by the way they went, and what the next one may take.
//!
//! Pure but for the cache: it does not know where refreshes are recorded or what they did.

use std::collections::HashMap;
use std::time::Duration;

use registry::{Refresh, RefreshAction};
use serde_json::Value;
use uuid::Uuid;

/// How many refreshes of a table are looked back at.
pub(crate) const LOOKED_BACK: u32 = 40;

/// After so many refreshes in full the other way is tried again...
const RETRIED_AFTER: usize = 20;

/// ... unless it is expected to take so many times as long.
const HOPELESS: f64 = 3.0;

/// How many refreshes of a kind an estimate is made from.
const SAMPLES: usize = 5;

/// A way is preferred if the other one is expected to take so many times as long.
const CLEARLY_SLOWER: f64 = 1.1;

/// How many times as much a changed row is taken to cost as a row of a computation in full.
const DEARER: f64 = 3.0;

/// What a computation in full takes beside the query, as a share of that: its result is compared with what is stored. Only
/// until one was measured.
const COMPARING: f64 = 0.3;

/// What one refresh took.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    way: Way,
    milliseconds: f64,
    /// Rows of the sources if it was full, rows that had changed otherwise.
    rows: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The first content: what the query alone took is a hint at what a refresh in full would.
    First,
    Full,
    Incremental,
}

/// What the refreshes of a table took, the newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    samples: Vec<Sample>,
    /// How many refreshes in full there were since the last of a change.
    full_in_a_row: usize,
}

/// What the next refresh is expected to take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expected {
    pub full: f64,
    pub incremental: f64,
    /// Whether a refresh in full was ever measured, or is guessed at.
    pub tried: bool,
}

impl Expected {
    /// Whether computing everything is faster, by this at least.
    pub fn prefers_full(self, least_gain: Duration) -> bool {
        self.incremental > CLEARLY_SLOWER * self.full && self.incremental - self.full > least_gain.as_secs_f64() * 1e3
    }

    /// Why a refresh goes in full.
    pub fn reason(self) -> String {
        let Self { full, incremental, .. } = self;
        match self.tried {
            true => format!(
                "computing everything is expected to take {full:.0} ms, the change {incremental:.0} ms, by what earlier refreshes took"
            ),
            false => format!(
                "computing everything may take {full:.0} ms, by what the first content took, and the change {incremental:.0} ms: \
                 tried to know it"
            ),
        }
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
        let (way, rows) = match action {
            RefreshAction::NoData => return,
            RefreshAction::Incremental => (Way::Incremental, figure("changed_rows")),
            RefreshAction::Full => (Way::Full, figure("source_rows")),
            RefreshAction::Reinitialize => {
                // Another query, or other sources: what was before says nothing of it.
                self.samples.clear();
                (Way::First, figure("source_rows"))
            }
        };
        let milliseconds = match way {
            Way::First => step(refresh, "decide") + step(refresh, "compute") * (1.0 + COMPARING),
            Way::Full | Way::Incremental => as_float(milliseconds),
        };
        if let Some(rows) = rows {
            self.full_in_a_row = if way == Way::Full { self.full_in_a_row + 1 } else { 0 };
            self.samples.push(Sample { way, milliseconds, rows: as_float(rows.max(1)) });
            self.forget_oldest(way);
        }
    }

    /// What a refresh with these figures may take both ways; `None` as long as no change was measured, or not for long.
    pub fn expect(&self, source_rows: u64, changed_rows: u64) -> Option<Expected> {
        // A computation in full grows with its sources. One of a change has fixed costs: a smaller change is not taken to be
        // faster, and more rows to cost a few times what they cost in full.
        let grown = |sample: &Sample| sample.milliseconds * as_float(source_rows.max(1)) / sample.rows;
        let measured = self.best(Way::Full, grown);
        let full = measured.or_else(|| self.best(Way::First, grown))?;
        let further = DEARER * full / as_float(source_rows.max(1));
        let incremental = self.best(Way::Incremental, |sample| {
            sample.milliseconds + (as_float(changed_rows) - sample.rows).max(0.0) * further
        })?;
        let since_incremental = self.full_in_a_row;
        // Twice in a row: the first time may go to making anew what the other way needs.
        let is_forgotten = since_incremental >= RETRIED_AFTER && since_incremental % RETRIED_AFTER <= 1;
        if is_forgotten && incremental < HOPELESS * full {
            return None;
        }
        Some(Expected { full, incremental, tried: measured.is_some() })
    }

    /// Keeps no more of a kind than estimates are made from.
    fn forget_oldest(&mut self, way: Way) {
        let alike = || self.samples.iter().enumerate().filter(|(_, sample)| sample.way == way);
        if alike().count() > SAMPLES
            && let Some((oldest, _)) = alike().next()
        {
            self.samples.remove(oldest);
        }
    }

    /// The least of the newest: what else the machine did at the time makes a refresh slower, never faster.
    fn best(&self, way: Way, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        let newest = self.samples.iter().rev().filter(|sample| sample.way == way).take(SAMPLES);
        newest.map(value).min_by(f64::total_cmp)
    }
}

/// How long a step of a refresh took, in milliseconds. Of what is older than the steps in the history, all of it is taken.
fn step(refresh: &Refresh, name: &str) -> f64 {
    let steps = refresh.steps.as_ref().and_then(Value::as_array);
    let Some(steps) = steps else { return as_float(refresh.duration_ms.unwrap_or_default()) / 2.0 };
    let named = steps.iter().filter(|step| step["step"] == name);
    named.filter_map(|step| step["ms"].as_f64()).sum()
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
        serde_json::json!({ "full_ms": self.full.round(), "incremental_ms": self.incremental.round(), "tried": self.tried })
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

    fn first(compute: u64, source_rows: u64) -> Refresh {
        let mut first = refresh(RefreshAction::Reinitialize, 10 * compute, source_rows, 0);
        first.steps =
            Some(serde_json::json!([{ "step": "compute", "ms": compute }, { "step": "apply", "ms": 5_000 }]));
        first
    }

    const GAIN: Duration = Duration::from_millis(10);

    #[test]
    fn nothing_is_expected_of_what_was_not_measured() {
        assert_eq!(measured(&[]).expect(1_000, 10), None);
        assert_eq!(measured(&[first(100, 1_000)]).expect(1_000, 10), None);
        let incremental = refresh(RefreshAction::Incremental, 900, 1_000, 10);
        assert_eq!(measured(&[incremental]).expect(1_000, 10), None);
    }

    #[test]
    fn the_first_content_is_a_hint_to_try() {
        let incremental = refresh(RefreshAction::Incremental, 900, 1_000, 10);
        let hinted = Expected { full: 130.0, incremental: 900.0, tried: false };
        assert_eq!(measured(&[first(100, 1_000), incremental.clone()]).expect(1_000, 10), Some(hinted));
        assert!(hinted.prefers_full(GAIN) && hinted.reason().ends_with("tried to know it"));
        let no_hint = measured(&[first(1_000, 1_000), incremental]).expect(1_000, 10);
        assert!(no_hint.is_some_and(|expected| !expected.prefers_full(GAIN)));
    }

    #[test]
    fn the_faster_way_is_preferred_once_both_were_measured() {
        let full = refresh(RefreshAction::Full, 100, 1_000, 0);
        let incremental = refresh(RefreshAction::Incremental, 900, 1_000, 10);
        let slower = refresh(RefreshAction::Incremental, 5_000, 1_000, 10);
        let both = measured(&[first(1, 1_000), full, slower, incremental]);
        let expected = |full, incremental| Some(Expected { full, incremental, tried: true });
        assert_eq!(both.expect(1_000, 10), expected(100.0, 900.0));
        assert!(both.expect(1_000, 10).is_some_and(|expected| expected.prefers_full(GAIN)));
        // The source has grown: it would take as long.
        assert!(!both.expect(9_000, 10).is_some_and(|expected| expected.prefers_full(GAIN)));
        assert_eq!(both.expect(1_000, 30), expected(100.0, 906.0));
        assert_eq!(both.expect(1_000, 1), expected(100.0, 900.0));
    }

    #[test]
    fn a_little_slower_is_no_reason() {
        assert!(!Expected { full: 10.0, incremental: 19.0, tried: true }.prefers_full(GAIN));
        assert!(!Expected { full: 1_000.0, incremental: 1_090.0, tried: true }.prefers_full(GAIN));
    }

    #[test]
    fn what_was_given_up_is_tried_again_unless_it_is_hopeless() {
        for (incremental, tried_again) in [(250, true), (900, false)] {
            let mut refreshes = vec![first(100, 1_000), refresh(RefreshAction::Incremental, incremental, 1_000, 10)];
            refreshes.extend(vec![refresh(RefreshAction::Full, 100, 1_000, 10); 19]);
            assert!(measured(&refreshes).expect(1_000, 10).is_some());
            refreshes.push(refresh(RefreshAction::Full, 100, 1_000, 10));
            assert_eq!(measured(&refreshes).expect(1_000, 10).is_none(), tried_again);
        }
    }

    #[test]
    fn another_query_begins_anew() {
        let mut refreshes = vec![refresh(RefreshAction::Incremental, 900, 1_000, 10); 5];
        refreshes.push(first(100, 1_000));
        assert_eq!(measured(&refreshes).expect(1_000, 10), None);
    }
}
