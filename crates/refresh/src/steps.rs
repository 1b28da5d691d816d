//! Where the time of a refresh goes: its steps, and of each how long the lake and the registry were waited for. What is left is
//! our own. This module does not know which steps there are.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A step of a refresh, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub name: Cow<'static, str>,
    /// What it took.
    pub cost: Cost,
}

/// What some work took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From beginning to end.
    pub took: Duration,
    /// Of that, statements to the lake.
    pub lake: Duration,
    /// How many statements these were.
    pub statements: u64,
    /// Of that, questions to the registry and what it was told.
    pub registry: Duration,
}

impl Cost {
    /// What neither lake nor registry took.
    #[must_use]
    pub fn own(&self) -> Duration {
        self.took.saturating_sub(self.lake + self.registry)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            took: self.took + other.took,
            lake: self.lake + other.lake,
            statements: self.statements + other.statements,
            registry: self.registry + other.registry,
        }
    }

    /// This without statements of which it is known how long they took.
    pub(crate) fn without_lake(self, took: Duration) -> Self {
        Self { took: self.took.saturating_sub(took), lake: self.lake.saturating_sub(took), ..self }
    }

    /// The part of one of so many.
    pub(crate) fn share(self, of: usize) -> Self {
        let parts = u32::try_from(of).unwrap_or(u32::MAX).max(1);
        Self {
            took: self.took / parts,
            lake: self.lake / parts,
            statements: self.statements / u64::from(parts),
            registry: self.registry / parts,
        }
    }
}

/// Measures what work takes from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    since: Instant,
    lake: lake::Spent,
    registry: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { since: Instant::now(), lake: lake::spent(), registry: registry::spent() }
    }

    pub fn cost(&self) -> Cost {
        let lake = lake::spent();
        Cost {
            took: self.since.elapsed(),
            lake: lake.time.saturating_sub(self.lake.time),
            statements: lake.statements.saturating_sub(self.lake.statements),
            registry: registry::spent().saturating_sub(self.registry),
        }
    }
}

/// Measures the steps of a refresh.
#[derive(Debug)]
pub(crate) struct Steps {
    pub done: Vec<Step>,
    watch: Stopwatch,
}

impl Steps {
    pub fn start() -> Self {
        Self { done: Vec::new(), watch: Stopwatch::start() }
    }

    /// Ends a step and begins the next.
    pub fn end(&mut self, name: &'static str) {
        self.add(name, self.watch.cost());
    }

    /// Adds a step that somebody else has measured, and begins the next.
    pub fn add(&mut self, name: &'static str, cost: Cost) {
        match self.done.iter_mut().find(|step| step.name == name) {
            Some(step) => step.cost = step.cost.and(cost),
            None => self.done.push(Step { name: Cow::Borrowed(name), cost }),
        }
        self.watch = Stopwatch::start();
    }

    /// As the history keeps them.
    pub fn to_json(&self) -> Value {
        let step = |Step { name, cost }: &Step| {
            json!({
                "step": name, "ms": milliseconds(cost.took), "lake_ms": milliseconds(cost.lake),
                "registry_ms": milliseconds(cost.registry), "statements": cost.statements,
            })
        };
        self.done.iter().map(step).collect()
    }
}

/// The steps that the history has of a refresh. Earlier versions did not write down what of them was the lake's.
pub(crate) fn from_json(steps: &Value) -> Vec<Step> {
    let time = |step: &Value, name: &str| {
        let milliseconds = step[name].as_f64().unwrap_or_default();
        Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default()
    };
    let step = |step: &Value| {
        let cost = Cost {
            took: time(step, "ms"),
            lake: time(step, "lake_ms"),
            statements: step["statements"].as_u64().unwrap_or_default(),
            registry: time(step, "registry_ms"),
        };
        Some(Step { name: Cow::Owned(step["step"].as_str()?.to_owned()), cost })
    };
    steps.as_array().into_iter().flatten().filter_map(step).collect()
}

/// Microseconds tell enough.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_kept_as_they_were_measured() {
        let mut steps = Steps::start();
        let cost = |took: u64, lake: u64| Cost {
            took: Duration::from_millis(took),
            lake: Duration::from_millis(lake),
            statements: 2,
            registry: Duration::from_millis(1),
        };
        steps.add("decide", cost(10, 7));
        steps.add("compute", cost(100, 100));
        steps.add("decide", cost(5, 3));
        assert_eq!(steps.done[0].cost, Cost { statements: 4, registry: Duration::from_millis(2), ..cost(15, 10) });
        assert_eq!(steps.done[0].cost.own(), Duration::from_millis(3));
        assert_eq!(steps.done[1].cost.own(), Duration::ZERO);
        assert_eq!(from_json(&steps.to_json()), steps.done);
        let old = json!([{ "step": "decide", "ms": 3.5 }, { "ms": 1 }]);
        let known: Vec<Duration> = from_json(&old).iter().map(|step| step.cost.took).collect();
        assert_eq!(known, [Duration::from_micros(3_500)]);
    }

    #[test]
    fn what_several_share_is_borne_by_all() {
        let cost = Cost {
            took: Duration::from_millis(90),
            lake: Duration::from_millis(70),
            statements: 9,
            ..Cost::default()
        };
        let share = cost.without_lake(Duration::from_millis(60)).share(3);
        assert_eq!(
            (share.took, share.lake, share.statements),
            (Duration::from_millis(10), Duration::from_micros(3_333) + Duration::from_nanos(333), 3)
        );
    }
}
