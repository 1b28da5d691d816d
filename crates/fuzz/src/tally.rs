//! What a run of the tester amounts to: how many cases, how many of them incremental, and which operators are not.

use std::collections::BTreeMap;
use std::fmt;

use crate::round::Case;
use crate::run::Verdict;

/// Counts over the cases of a run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cases that were judged.
    pub cases: u64,
    /// Of these: maintained incrementally.
    pub incremental: u64,
    /// Of these: asked for INCREMENTAL and refused.
    pub refused: u64,
    /// Not counted as cases: the query cannot be evaluated.
    pub invalid: u64,
    /// Not counted as cases: the query has several right answers.
    pub unstable: u64,
    /// Cases that are wrong.
    pub mismatches: u64,
    actions: BTreeMap<&'static str, u64>,
    /// By operator: cases, and how many of them were refused.
    operators: BTreeMap<&'static str, (u64, u64)>,
    reasons: BTreeMap<String, u64>,
    causes: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a case.
    pub fn count(&mut self, case: &Case, verdict: &Verdict) {
        if let Some(cause) = &verdict.invalid {
            self.invalid += 1;
            *self.causes.entry(cause.lines().next().unwrap_or_default().chars().take(110).collect()).or_default() +=
                1;
            return;
        }
        if verdict.unstable {
            self.unstable += 1;
            return;
        }
        self.cases += 1;
        self.incremental += u64::from(verdict.incremental);
        self.mismatches += u64::from(verdict.wrong.is_some());
        for operator in &case.operators {
            let counts = self.operators.entry(operator).or_default();
            counts.0 += 1;
            counts.1 += u64::from(verdict.refused.is_some());
        }
        if let Some(reason) = &verdict.refused {
            self.refused += 1;
            let reason = reason.trim_start_matches("the query cannot be refreshed incrementally: ");
            *self.reasons.entry(reason.to_owned()).or_default() += 1;
        }
        for (action, count) in &verdict.actions {
            *self.actions.entry(action).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "operator                          cases  refused INCREMENTAL")?;
        for (operator, (cases, refused)) in &self.operators {
            writeln!(f, "{operator:32}  {cases:5}  {refused:5}")?;
        }
        for (title, counts) in
            [("why INCREMENTAL was refused:", &self.reasons), ("why nothing could be said:", &self.causes)]
        {
            let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
            sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            if !sorted.is_empty() {
                writeln!(f, "{title}")?;
            }
            for (text, count) in sorted.into_iter().take(25) {
                writeln!(f, "{count:5}  {text}")?;
            }
        }
        let actions: Vec<String> = self.actions.iter().map(|(action, count)| format!("{count} {action}")).collect();
        writeln!(f, "refreshes: {}", actions.join(", "))?;
        write!(
            f,
            "{} incremental, {} refused INCREMENTAL; not counted: {} queries that cannot be evaluated, {} with several right answers",
            self.incremental, self.refused, self.invalid, self.unstable
        )
    }
}
