//! Comparing the ratios of a run with those of an earlier one, both as they were written down. Times are not compared: another
//! machine, or another hour, has others.

use error::{Code, Error, Result};
use serde_json::Value;

/// A ratio may get worse by so much.
const TOLERANCE: f64 = 0.2;

/// A time that moved by fewer milliseconds than this says nothing, whatever it is the ratio of.
const NOISE_MS: f64 = 5.0;

/// What tells the rows of a scene apart, by its name.
const PLACES: [(&str, &[&str]); 3] = [
    ("refresh", &["shape", "orders", "files", "change", "share"]),
    ("aging", &["table", "compaction", "refreshes"]),
    ("many", &["catalog", "tables"]),
];

/// The ratios that are better when they are greater, each with the time that makes it worse; of all others it is the time
/// before the stroke, and less is better.
const GREATER_IS_BETTER: [(&str, &str); 2] = [("full / incremental", "incremental"), ("gain", "each of them")];

/// A ratio that was measured in both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Scene and place.
    pub place: String,
    /// Which ratio.
    pub ratio: String,
    /// As it was.
    pub before: f64,
    /// As it is.
    pub now: f64,
    /// By what share it is worse; less than nothing if it is better.
    pub worse_by: f64,
}

/// Two runs beside each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// How many ratios were measured in both.
    pub compared: usize,
    /// How many were measured in the earlier run only.
    pub missing: usize,
    /// Those that moved by more than the tolerance, the worst first.
    pub moved: Vec<Moved>,
}

/// A ratio of one run.
struct Ratio {
    place: String,
    name: String,
    value: f64,
    greater_is_better: bool,
    /// The time in milliseconds that makes it worse, where it stands beside it.
    time: Option<f64>,
}

impl Comparison {
    /// Compares two reports.
    ///
    /// # Errors
    /// `CONFIGURATION` if one of them is no report, or if they have no ratio in common.
    pub fn of(before: &Value, now: &Value) -> Result<Self> {
        let (before, now) = (ratios(before)?, ratios(now)?);
        let mut comparison = Self::default();
        for old in &before {
            let Some(new) = now.iter().find(|new| new.place == old.place && new.name == old.name) else {
                comparison.missing += 1;
                continue;
            };
            comparison.compared += 1;
            let worse_by = match old.greater_is_better {
                true => old.value / new.value.max(f64::MIN_POSITIVE) - 1.0,
                false => new.value / old.value.max(f64::MIN_POSITIVE) - 1.0,
            };
            let is_noise = old.time.zip(new.time).is_some_and(|(old, new)| (new - old).abs() < NOISE_MS);
            let better_by = 1.0 / (1.0 + worse_by) - 1.0;
            if !is_noise && (worse_by > TOLERANCE || better_by > TOLERANCE) {
                let (place, ratio) = (old.place.clone(), old.name.clone());
                comparison.moved.push(Moved { place, ratio, before: old.value, now: new.value, worse_by });
            }
        }
        comparison.moved.sort_by(|left, right| right.worse_by.total_cmp(&left.worse_by));
        match comparison.compared {
            0 => Err(Error::new(Code::Configuration, "the two runs have no ratio in common")
                .with_hint("Compare runs of the same benchmarks over sources of the same size.")),
            _ => Ok(comparison),
        }
    }

    /// How many ratios are worse than is tolerated.
    #[must_use]
    pub fn regressions(&self) -> usize {
        self.moved.iter().filter(|moved| moved.worse_by > TOLERANCE).count()
    }

    /// What moved, as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let percent = TOLERANCE * 100.0;
        let mut lines = vec![
            "## against the earlier run".to_owned(),
            String::new(),
            format!(
                "{} ratios were measured in both runs, {} in the earlier one only. {} are more than {percent} % worse, {} as much better.",
                self.compared,
                self.missing,
                self.regressions(),
                self.moved.len() - self.regressions()
            ),
        ];
        if !self.moved.is_empty() {
            let head = ["", "| place | ratio | before | now | |", "|---|---|---|---|---|"];
            lines.extend(head.map(str::to_owned));
            lines.extend(self.moved.iter().map(|moved| {
                let Moved { place, ratio, before, now, worse_by } = moved;
                let verdict = match *worse_by > TOLERANCE {
                    true => format!("**{:.0} % worse**", worse_by * 100.0),
                    false => format!("{:.0} % better", (1.0 / (1.0 + worse_by) - 1.0) * 100.0),
                };
                format!("| {place} | {ratio} | {before:.2} | {now:.2} | {verdict} |")
            }));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// All ratios of a report: columns of its tables, and bounds on multiples.
fn ratios(report: &Value) -> Result<Vec<Ratio>> {
    let wrong = || Error::new(Code::Configuration, "what is compared is no report of a run");
    let mut ratios = Vec::new();
    for scene in report["scenes"].as_array().ok_or_else(wrong)? {
        let name = scene["name"].as_str().ok_or_else(wrong)?;
        let columns: Vec<&str> =
            scene["columns"].as_array().ok_or_else(wrong)?.iter().filter_map(Value::as_str).collect();
        for row in scene["rows"].as_array().ok_or_else(wrong)? {
            ratios.extend(ratios_of_row(name, &columns, row));
        }
        for bound in scene["bounds"].as_array().ok_or_else(wrong)? {
            let (what, value) = (bound["what"].as_str().ok_or_else(wrong)?, bound["value"].as_f64());
            let greater_is_better = bound["kind"] == "AtLeast";
            if let Some(value) = value.filter(|_| what.contains("as a multiple of")) {
                ratios.push(Ratio {
                    place: name.to_owned(),
                    name: what.to_owned(),
                    value,
                    greater_is_better,
                    time: None,
                });
            }
        }
    }
    Ok(ratios)
}

fn ratios_of_row(scene: &str, columns: &[&str], row: &Value) -> Vec<Ratio> {
    let text = |column: &str| {
        let position = columns.iter().position(|known| *known == column)?;
        row[position].as_str()
    };
    let figure = |column: &str| text(column)?.parse::<f64>().ok();
    let keys = PLACES.iter().find(|(name, _)| *name == scene).map_or(&[][..], |(_, keys)| *keys);
    let place: Vec<&str> = std::iter::once(scene).chain(keys.iter().filter_map(|key| text(key))).collect();
    let ratio = |column: &&str| {
        let greater = GREATER_IS_BETTER.iter().find(|(name, _)| name == column);
        let time = match (greater, column.split_once(" / ")) {
            (Some((_, time)), _) => time,
            (None, Some((time, _))) => time,
            (None, None) => return None,
        };
        Some(Ratio {
            place: place.join(" · "),
            name: (*column).to_owned(),
            value: figure(column)?,
            greater_is_better: greater.is_some(),
            time: figure(time),
        })
    };
    columns.iter().filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    /// A report of one shape: what full, incremental and AUTO took, and the worst regret.
    fn report(full: f64, incremental: f64, auto: f64) -> Value {
        let better = full.min(incremental);
        json!({ "scenes": [
            { "name": "refresh",
              "columns": ["shape", "orders", "files", "change", "share", "full", "incremental", "AUTO", "full / incremental", "AUTO / better"],
              "rows": [["fold", "1000", "one", "recent", "1 %", full.to_string(), incremental.to_string(), auto.to_string(),
                        format!("{:.2}", full / incremental), format!("{:.2}", auto / better)]],
              "bounds": [{ "what": "AUTO as a multiple of the better forced mode", "value": auto / better, "limit": 1.1, "kind": "AtMost" },
                         { "what": "a quiet look in ms", "value": auto, "limit": 1.1, "kind": "AtMost" }] },
            { "name": "lag", "columns": ["commits"], "rows": [["12"]], "bounds": [] },
        ] })
    }

    fn compared(before: &Value, now: &Value) -> Comparison {
        Comparison::of(before, now).unwrap()
    }

    #[test]
    fn the_same_run_has_no_regressions_and_times_are_not_compared() {
        let run = report(400.0, 100.0, 100.0);
        let same = compared(&run, &run);
        assert_eq!((same.compared, same.missing, same.moved.len()), (3, 0, 0));
        let slower_machine = report(1_200.0, 300.0, 300.0);
        assert_eq!(compared(&run, &slower_machine).moved, []);
    }

    #[test]
    fn a_ratio_that_got_worse_is_one_whichever_way_is_better() {
        let run = report(400.0, 100.0, 100.0);
        // The incremental refresh takes half as long again: its gain goes, and AUTO follows it without regret.
        let slower = compared(&run, &report(400.0, 150.0, 150.0));
        let names: Vec<&str> = slower.moved.iter().map(|moved| moved.ratio.as_str()).collect();
        assert_eq!((names, slower.regressions()), (vec!["full / incremental"], 1));
        assert!((slower.moved[0].worse_by - 0.5).abs() < 0.01, "{slower:?}");
        assert!(slower.markdown().contains(
            "| refresh · fold · 1000 · one · recent · 1 % | full / incremental | 4.00 | 2.67 | **50 % worse** |"
        ));
        // The other way round it is a gain.
        let faster = compared(&report(400.0, 150.0, 150.0), &run);
        assert_eq!((faster.moved.len(), faster.regressions()), (1, 0));
        assert!(faster.markdown().contains("50 % better"), "{}", faster.markdown());
        // AUTO takes the wrong way: in its row, and at the worst place.
        let regret = compared(&run, &report(400.0, 100.0, 130.0));
        assert_eq!(regret.regressions(), 2);
        assert_eq!(compared(&run, &report(400.0, 100.0, 119.0)).regressions(), 0, "a fifth is tolerated");
    }

    #[test]
    fn milliseconds_that_are_noise_are_no_regression() {
        let moved = compared(&report(8.0, 8.0, 8.0), &report(8.0, 8.0, 11.0)).moved;
        // The bound says it without its times.
        assert!(moved.iter().all(|moved| moved.place == "refresh"), "{moved:?}");
    }

    #[test]
    fn only_what_was_measured_in_both_is_compared() {
        let run = report(400.0, 100.0, 100.0);
        let mut other = run.clone();
        other["scenes"][0]["rows"][0][1] = json!("2000");
        let comparison = compared(&run, &other);
        assert_eq!((comparison.compared, comparison.missing), (1, 2));
        other["scenes"][0]["bounds"] = json!([]);
        assert!(Comparison::of(&run, &other).is_err());
        assert!(Comparison::of(&run, &json!({})).is_err());
    }
}
