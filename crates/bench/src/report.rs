//! What a run says: tables of figures, and bounds that were met or not. As JSON for programs, as Markdown for people.

use serde::Serialize;

use crate::machine::Machine;

/// One subject with its figures.
#[derive(Clone, Debug, Serialize)]
pub struct Scene {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What is measured, in a sentence.
    pub about: String,
    /// The columns of the table.
    pub columns: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
    /// What else there is to say.
    pub notes: Vec<String>,
    /// What it is held to.
    pub bounds: Vec<Bound>,
}

/// Something that a figure is held to.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// What is bounded, with its unit.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// The bound.
    pub limit: f64,
    /// Whether the figure has to stay below it, or reach it.
    pub kind: BoundKind,
}

/// On which side of its limit a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum BoundKind {
    /// At most the limit.
    AtMost,
    /// At least the limit.
    AtLeast,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it was made.
    pub machine: Machine,
    /// Whether it was a short one.
    pub quick: bool,
    /// What was measured, in its order.
    pub scenes: Vec<Scene>,
}

impl Bound {
    /// A figure that must not be greater.
    pub fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, kind: BoundKind::AtMost }
    }

    /// A figure that must not be smaller.
    pub fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, kind: BoundKind::AtLeast }
    }

    /// Whether it is as it should be.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.kind {
            BoundKind::AtMost => self.value <= self.limit,
            BoundKind::AtLeast => self.value >= self.limit,
        }
    }

    fn sentence(&self) -> String {
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let side = match self.kind {
            BoundKind::AtMost => "at most",
            BoundKind::AtLeast => "at least",
        };
        format!("- {verdict}: {} is {}, {side} {}", self.what, number(self.value), number(self.limit))
    }
}

impl Scene {
    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut lines = vec![format!("## {}", self.name), String::new(), self.about.clone(), String::new()];
        lines.push(format!("| {} |", self.columns.join(" | ")));
        lines.push(format!("|{}", " --- |".repeat(self.columns.len())));
        lines.extend(self.rows.iter().map(|row| format!("| {} |", row.join(" | "))));
        for note in &self.notes {
            lines.extend([String::new(), note.clone()]);
        }
        if !self.bounds.is_empty() {
            lines.push(String::new());
            lines.extend(self.bounds.iter().map(Bound::sentence));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

impl Report {
    /// How many bounds were met, of how many.
    #[must_use]
    pub fn met(&self) -> (usize, usize) {
        let bounds = || self.scenes.iter().flat_map(|scene| &scene.bounds);
        (bounds().filter(|bound| bound.is_met()).count(), bounds().count())
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e9 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_has_two_sides() {
        assert!(Bound::at_most("x", 1.0, 1.0).is_met() && !Bound::at_most("x", 1.1, 1.0).is_met());
        assert!(Bound::at_least("x", 1.0, 1.0).is_met() && !Bound::at_least("x", 0.9, 1.0).is_met());
        assert_eq!(Bound::at_most("x in ms", 1.25, 1.0).sentence(), "- MISSED: x in ms is 1.250, at most 1");
    }
}
