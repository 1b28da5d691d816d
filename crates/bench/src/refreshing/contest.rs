//! The same table in three modes over one lake, refreshed after the same changes.

use std::cell::Cell;
use std::time::Duration;

use error::{Code, Error, Result};
use refresh::AutoPolicy;
use testkit::lake::ThrowAway;

use crate::figures::{median, ratio, timed};
use crate::refreshing::data::{Change, Layout, Size, change, make};
use crate::refreshing::shapes::{SHAPES, Shape};

/// After so many refreshes AUTO has to know.
const FINDING_OUT: u64 = 3;
/// So many are measured.
const ROUNDS: u64 = 5;

const MODES: [&str; 3] = ["FULL", "INCREMENTAL", "AUTO"];

pub(crate) struct Contest {
    lake: ThrowAway,
    size: Size,
    /// How often the sources were changed.
    round: Cell<u64>,
}

/// What the refreshes of one shape took.
pub(crate) struct Outcome {
    pub shape: &'static str,
    pub query: Vec<Duration>,
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
}

impl Contest {
    /// Makes the sources and the tables.
    pub(crate) fn begin(size: Size, layout: Layout) -> Result<Self> {
        let lake = ThrowAway::new()?;
        lake.tables.set_auto(AutoPolicy::default());
        make(&lake, size, layout)?;
        for (number, shape) in SHAPES.iter().enumerate() {
            for mode in MODES {
                lake.run(&format!(
                    "CREATE DYNAMIC TABLE {} TARGET_LAG = '1 day' REFRESH_MODE = {mode} AS {}",
                    table(number, mode),
                    shape.query
                ))?;
            }
        }
        Ok(Self { lake, size, round: Cell::new(0) })
    }

    /// Changes the sources again and again, and refreshes every table after each change.
    pub(crate) fn play(&self, kind: Change, share: f64) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = SHAPES.iter().map(none).collect();
        for turn in 0..FINDING_OUT + ROUNDS {
            let round = self.round.replace(self.round.get() + 1);
            change(&self.lake, self.size, kind, share, round)?;
            for (number, (shape, outcome)) in SHAPES.iter().zip(&mut outcomes).enumerate() {
                let counts = turn >= FINDING_OUT;
                if counts {
                    outcome.query.push(self.query(shape)?);
                }
                for place in 0..MODES.len() {
                    // Each of them is first now and then.
                    #[expect(clippy::cast_possible_truncation, reason = "it is less than ten")]
                    let mode = MODES[(place + turn as usize) % MODES.len()];
                    let (took, went) = self.refresh(&table(number, mode))?;
                    if !counts {
                        continue;
                    }
                    match mode {
                        "FULL" => outcome.full.push(took),
                        "INCREMENTAL" => outcome.incremental.push(took),
                        _ => {
                            outcome.auto.push(took);
                            outcome.auto_went = went;
                        }
                    }
                }
            }
        }
        Ok(outcomes)
    }

    /// Compares every table with its query.
    pub(crate) fn verify(&self) -> Result<()> {
        self.lake.verify()
    }

    fn refresh(&self, name: &str) -> Result<(Duration, String)> {
        let (reports, took) = timed(|| self.lake.refresh(&[name]))?;
        let action = reports.first().and_then(|report| report.action);
        let action = action.ok_or_else(|| Error::new(Code::Internal, format!("nothing was done for {name}")))?;
        Ok((took, action.as_str().to_owned()))
    }

    fn query(&self, shape: &Shape) -> Result<Duration> {
        let sql = format!("CREATE OR REPLACE TEMP TABLE __bench AS {}", shape.query);
        Ok(timed(|| self.lake.others.execute(&sql))?.1)
    }
}

fn none(shape: &Shape) -> Outcome {
    let (query, full, incremental, auto) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Outcome { shape: shape.name, query, full, incremental, auto, auto_went: String::new() }
}

fn table(number: usize, mode: &str) -> String {
    format!("t{number}_{}", mode.to_lowercase())
}
