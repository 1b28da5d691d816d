//! Which way a refresh goes: no change, incremental, or full; with the figures and the reason.

use std::time::Duration;

use registry::RefreshAction;
use serde_json::{Value, json};
use sql::properties::{Properties, RefreshMode};

use crate::measured::Expected;

/// What AUTO goes by beside the properties of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AutoPolicy {
    /// Sources with fewer rows than this, all together, are read whole: the fixed costs of finding out what changed
    /// are more than it costs to compute everything.
    pub floor_rows: u64,
    /// Both ways are taken for equally fast if they differ by less than this.
    pub least_gain: Duration,
}

impl Default for AutoPolicy {
    fn default() -> Self {
        Self { floor_rows: 100_000, least_gain: Duration::from_millis(10) }
    }
}

/// What the choice is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Rows of all sources, from the catalog.
    pub source_rows: u64,
    /// Rows of the sources that came or went since the table's data version: an estimate from the catalog at first,
    /// the count afterwards.
    pub changed_rows: u64,
    /// Rows of the dynamic table.
    pub target_rows: Option<u64>,
    /// Groups that the change touches, where groups are recomputed.
    pub affected_groups: Option<u64>,
    /// What earlier refreshes make expect, once there were some.
    pub expected: Option<Expected>,
    /// What AUTO goes by.
    pub policy: AutoPolicy,
}

impl Figures {
    /// Whether AUTO goes in full by what earlier refreshes took.
    pub fn prefer_full(&self, properties: &Properties) -> bool {
        let by_measure =
            self.expected.filter(|expected| expected.tried && expected.prefers_full(self.policy.least_gain));
        properties.refresh_mode == RefreshMode::Auto && by_measure.is_some()
    }

    /// As they are stored in the history.
    pub fn to_json(&self, threshold: f64) -> Value {
        let mut figures = json!({
            "source_rows": self.source_rows, "changed_rows": self.changed_rows, "target_rows": self.target_rows,
            "affected_groups": self.affected_groups, "cardinality_threshold": threshold,
            "floor_rows": self.policy.floor_rows,
        });
        if let Some(expected) = self.expected {
            figures["expected"] = expected.to_json();
        }
        figures
    }
}

/// The chosen way and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub action: RefreshAction,
    pub reason: String,
}

/// Chooses between incremental and full for a query that could be either.
pub(crate) fn choose(properties: &Properties, figures: &Figures) -> Chosen {
    let incremental = |reason: String| Chosen { action: RefreshAction::Incremental, reason };
    let full = |reason: String| Chosen { action: RefreshAction::Full, reason };
    let Figures { source_rows, changed_rows, policy, .. } = figures;
    match properties.refresh_mode {
        RefreshMode::Full => full("REFRESH_MODE = FULL".to_owned()),
        RefreshMode::Incremental => incremental(format!("{changed_rows} of {source_rows} source rows changed")),
        RefreshMode::Auto if *source_rows < policy.floor_rows => {
            full(format!("the sources are small: {source_rows} rows, fewer than {}", policy.floor_rows))
        }
        RefreshMode::Auto if above(*changed_rows, *source_rows, properties.cardinality_threshold) => full(format!(
            "{changed_rows} of {source_rows} source rows changed, more than the threshold of {}",
            properties.cardinality_threshold
        )),
        RefreshMode::Auto => match figures.expected {
            Some(expected) if expected.prefers_full(policy.least_gain) => full(expected.reason()),
            _ => incremental(format!("{changed_rows} of {source_rows} source rows changed")),
        },
    }
}

/// Chooses again, once it is known how many groups would have to be recomputed. `None`: stay incremental.
pub(crate) fn too_many_groups(properties: &Properties, figures: &Figures) -> Option<Chosen> {
    let (groups, rows) = (figures.affected_groups?, figures.target_rows?);
    let over = properties.refresh_mode == RefreshMode::Auto && above(groups, rows, properties.cardinality_threshold);
    over.then(|| Chosen {
        action: RefreshAction::Full,
        reason: format!(
            "{groups} groups of {rows} rows are affected, more than the threshold of {}",
            properties.cardinality_threshold
        ),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share of row counts needs no more than 52 bits")]
fn above(part: u64, whole: u64, threshold: f64) -> bool {
    part as f64 > threshold * whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(source_rows: u64, changed_rows: u64) -> Figures {
        let policy = AutoPolicy { floor_rows: 1_000, ..AutoPolicy::default() };
        Figures { source_rows, changed_rows, policy, ..Figures::default() }
    }

    #[test]
    fn auto_goes_by_size_and_share() {
        let auto = Properties::default();
        assert_eq!(choose(&auto, &figures(500, 1)).action, RefreshAction::Full);
        assert_eq!(choose(&auto, &figures(10_000, 3_000)).action, RefreshAction::Incremental);
        assert_eq!(choose(&auto, &figures(10_000, 3_001)).action, RefreshAction::Full);
    }

    #[test]
    fn auto_goes_by_what_was_measured() {
        let mut slow = figures(10_000, 10);
        slow.expected = Some(Expected { full: 100.0, incremental: 3_000.0, tried: true });
        let chosen = choose(&Properties::default(), &slow);
        assert_eq!(chosen.action, RefreshAction::Full);
        assert!(chosen.reason.contains("100 ms, the change 3000 ms"), "{}", chosen.reason);
        let demanded = Properties { refresh_mode: RefreshMode::Incremental, ..Properties::default() };
        assert_eq!(choose(&demanded, &slow).action, RefreshAction::Incremental);
    }

    #[test]
    fn a_demanded_mode_is_kept() {
        let incremental = Properties { refresh_mode: RefreshMode::Incremental, ..Properties::default() };
        assert_eq!(choose(&incremental, &figures(10, 10)).action, RefreshAction::Incremental);
        let full = Properties { refresh_mode: RefreshMode::Full, ..Properties::default() };
        assert_eq!(choose(&full, &figures(1_000_000, 1)).action, RefreshAction::Full);
    }

    #[test]
    fn many_groups_turn_a_recompute_into_a_full_refresh() {
        let auto = Properties::default();
        let mut some = figures(1_000_000, 10);
        some.affected_groups = Some(50);
        some.target_rows = Some(100);
        assert!(too_many_groups(&auto, &some).is_some());
        some.affected_groups = Some(30);
        assert!(too_many_groups(&auto, &some).is_none());
    }
}
