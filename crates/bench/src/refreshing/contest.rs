//! The same table in three modes and once by hand over one lake, refreshed after the same changes.

use std::cell::Cell;
use std::time::Duration;

use error::{Code, Error, Result};
use lake::SnapshotId;
use refresh::AutoPolicy;
use testkit::lake::ThrowAway;

use crate::figures::{median, ratio, timed};
use crate::refreshing::data::{Change, Layout, Size, change, make};
use crate::refreshing::floor::keep;
use crate::refreshing::shapes::{SHAPES, Shape};

/// After so many refreshes AUTO has to know.
const FINDING_OUT: u64 = 3;
/// So many are measured.
const ROUNDS: u64 = 5;

const MODES: [&str; 3] = ["FULL", "INCREMENTAL", "AUTO"];

/// The one who keeps it by hand.
const BY_HAND: &str = "BY_HAND";

pub(crate) struct Contest {
    lake: ThrowAway,
    size: Size,
    /// How often the sources were changed.
    round: Cell<u64>,
    /// The snapshot that the tables kept by hand are at.
    by_hand_at: Cell<SnapshotId>,
    measured: u64,
}

/// What the refreshes of one shape took.
pub(crate) struct Outcome {
    pub shape: &'static str,
    pub query: Vec<Duration>,
    pub floor: Vec<Duration>,
    pub full: Vec<Duration>,
    pub incremental: Vec<Duration>,
    pub auto: Vec<Duration>,
    /// Which way AUTO went in the end.
    pub auto_went: String,
}

impl Outcome {
    /// How many times as long AUTO took as the better of the two others.
    pub(crate) fn regret(&self) -> f64 {
        ratio(median(&self.auto), median(&self.full).min(median(&self.incremental)))
    }

    /// How many times as long the incremental refresh took as the same by hand.
    pub(crate) fn above_floor(&self) -> f64 {
        ratio(median(&self.incremental), median(&self.floor))
    }
}

impl Contest {
    /// Makes the sources and the tables.
    pub(crate) fn begin(size: Size, layout: Layout, measured: Option<u64>) -> Result<Self> {
        let lake = ThrowAway::new()?;
        lake.tables.set_auto(AutoPolicy::default());
        make(&lake, size, layout)?;
        for (number, shape) in SHAPES.iter().enumerate() {
            for mode in MODES {
                for (table, query) in names(number, mode, shape).iter().zip(queries(number, mode, shape)) {
                    lake.run(&format!(
                        "CREATE DYNAMIC TABLE {table} TARGET_LAG = '1 day' REFRESH_MODE = {mode} AS {query}"
                    ))?;
                }
            }
        }
        make_by_hand(&lake)?;
        let by_hand_at = Cell::new(lake.others.current_snapshot()?.id);
        Ok(Self { lake, size, round: Cell::new(0), by_hand_at, measured: measured.unwrap_or(ROUNDS) })
    }

    /// Changes the sources again and again, and refreshes every table after each change.
    pub(crate) fn play(&self, kind: Change, share: f64) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = SHAPES.iter().map(none).collect();
        for turn in 0..FINDING_OUT + self.measured {
            let round = self.round.replace(self.round.get() + 1);
            change(&self.lake, self.size, kind, share, round)?;
            let changed_at = self.lake.others.current_snapshot()?.id;
            for (number, (shape, outcome)) in SHAPES.iter().zip(&mut outcomes).enumerate() {
                let counts = turn >= FINDING_OUT;
                if counts {
                    outcome.query.push(self.query(number, shape)?);
                }
                let contestants = [BY_HAND, MODES[0], MODES[1], MODES[2]];
                for place in 0..contestants.len() {
                    // Each of them is first now and then.
                    #[expect(clippy::cast_possible_truncation, reason = "it is less than ten")]
                    let mode = contestants[(place + turn as usize) % contestants.len()];
                    let tables = names(number, mode, shape);
                    let (took, went) = match mode {
                        BY_HAND => {
                            let from = self.by_hand_at.get();
                            (keep(&self.lake.others, shape.floors, &tables, from)?, String::new())
                        }
                        _ => self.refresh(&tables)?,
                    };
                    match mode {
                        _ if !counts => {}
                        BY_HAND => outcome.floor.push(took),
                        "FULL" => outcome.full.push(took),
                        "INCREMENTAL" => outcome.incremental.push(took),
                        _ => {
                            outcome.auto.push(took);
                            outcome.auto_went = went;
                        }
                    }
                }
            }
            self.by_hand_at.set(changed_at);
        }
        Ok(outcomes)
    }

    /// Compares every table with its query.
    pub(crate) fn verify(&self) -> Result<()> {
        self.lake.verify()?;
        verify_by_hand(&self.lake)
    }

    fn refresh(&self, tables: &[String]) -> Result<(Duration, String)> {
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let (reports, took) = timed(|| self.lake.refresh(&tables))?;
        let action = reports.last().and_then(|report| report.action);
        let action = action.ok_or_else(|| Error::new(Code::Internal, format!("nothing was done for {tables:?}")))?;
        Ok((took, action.as_str().to_owned()))
    }

    /// What computing the results takes without writing them anywhere but to memory.
    fn query(&self, number: usize, shape: &Shape) -> Result<Duration> {
        let queries = queries(number, BY_HAND, shape);
        let (_, took) = timed(|| {
            queries.iter().try_for_each(|query| {
                self.lake.others.execute(&format!("CREATE OR REPLACE TEMP TABLE __bench AS {query}")).map(drop)
            })
        })?;
        Ok(took)
    }
}

/// Makes the tables that are kept by hand.
fn make_by_hand(lake: &ThrowAway) -> Result<()> {
    for (number, shape) in SHAPES.iter().enumerate() {
        for (table, query) in names(number, BY_HAND, shape).iter().zip(queries(number, BY_HAND, shape)) {
            lake.others.execute(&format!("CREATE TABLE lake.{table} AS {query}"))?;
        }
    }
    Ok(())
}

/// Compares every table that is kept by hand with its query.
fn verify_by_hand(lake: &ThrowAway) -> Result<()> {
    for (number, shape) in SHAPES.iter().enumerate() {
        for (table, query) in names(number, BY_HAND, shape).iter().zip(queries(number, BY_HAND, shape)) {
            let wrong = format!(
                "SELECT count(*) FROM ((FROM lake.{table} EXCEPT ALL ({query})) UNION ALL (({query}) EXCEPT ALL FROM lake.{table}))"
            );
            if lake.others.counts(&wrong)? != [0] {
                let message = format!("what was kept by hand of {:?} differs from its query", shape.name);
                return Err(Error::new(Code::Internal, message));
            }
        }
    }
    Ok(())
}

fn none(shape: &Shape) -> Outcome {
    let (query, floor, full, incremental, auto) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Outcome { shape: shape.name, query, floor, full, incremental, auto, auto_went: String::new() }
}

/// The names of a shape's tables.
fn names(number: usize, mode: &str, shape: &Shape) -> Vec<String> {
    (0..shape.queries.len()).map(|place| format!("t{number}_{place}_{}", mode.to_lowercase())).collect()
}

fn queries(number: usize, mode: &str, shape: &Shape) -> Vec<String> {
    let names = names(number, mode, shape);
    let before = |place: usize| place.checked_sub(1).map_or("", |before| names[before].as_str());
    shape.queries.iter().enumerate().map(|(place, query)| query.replace("{before}", before(place))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A floor that is wrong would be no floor.
    #[test]
    fn what_is_kept_by_hand_is_right() {
        let lake = ThrowAway::new().unwrap();
        let size = Size { orders: 3_000 };
        make(&lake, size, Layout::OneFile).unwrap();
        make_by_hand(&lake).unwrap();
        let mut from = lake.others.current_snapshot().unwrap().id;
        for (round, kind) in [Change::Scattered, Change::Recent, Change::Skewed].into_iter().enumerate() {
            change(&lake, size, kind, 0.05, round as u64).unwrap();
            let changed_at = lake.others.current_snapshot().unwrap().id;
            for (number, shape) in SHAPES.iter().enumerate() {
                keep(&lake.others, shape.floors, &names(number, BY_HAND, shape), from).unwrap();
            }
            from = changed_at;
        }
        verify_by_hand(&lake).unwrap();
    }
}
