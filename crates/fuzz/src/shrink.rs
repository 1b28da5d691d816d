//! Making a failing case smaller while it still fails in the same way: fewer steps, fewer rows, a simpler query.

use std::time::{Duration, Instant};

use sql::properties::RefreshMode;
use testkit::lake::CatalogKind;

use crate::draw::Draw;
use crate::grammar::Grammar;
use crate::round::{Case, Round};
use crate::run::run;
use crate::script::{Script, Step};

/// A failing case as small as it could be made.
pub struct Shrunk {
    /// The script.
    pub script: Script,
    /// What is wrong with it.
    pub wrong: String,
}

struct Search<'a> {
    case: &'a Case,
    kind: CatalogKind,
    until: Instant,
    class: String,
    best: Shrunk,
}

/// What kind of failure it is; another kind is another case.
fn class_of(wrong: &str) -> String {
    wrong.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Shrinks a case of a round, for at most this long.
#[must_use]
pub fn shrink(round: &Round, case: &Case, kind: CatalogKind, wrong: &str, time: Duration) -> Shrunk {
    let whole = round.script(None);
    let mut search = Search {
        case,
        kind,
        until: Instant::now() + time,
        class: class_of(wrong),
        best: Shrunk { script: whole, wrong: wrong.to_owned() },
    };
    let alone = round.script(Some(case.number));
    search.holds(&alone);
    loop {
        let before = search.best.script.to_string().len();
        search.fewer_steps();
        search.simpler_query(round);
        search.fewer_rows();
        if search.best.script.to_string().len() >= before || Instant::now() > search.until {
            return search.best;
        }
    }
}

impl Search<'_> {
    /// Whether the failure is still there; then the script is the best so far.
    fn holds(&mut self, script: &Script) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        let Ok(mut verdicts) = run(script, self.kind) else { return false };
        let wrong = verdicts.remove(&self.case.name).and_then(|verdict| verdict.wrong);
        match wrong.filter(|wrong| class_of(wrong) == self.class) {
            Some(wrong) => {
                self.best = Shrunk { script: script.clone(), wrong };
                true
            }
            None => false,
        }
    }

    fn fewer_steps(&mut self) {
        let mut size = self.best.script.steps.len() / 2;
        while size > 0 {
            let mut at = self.best.script.steps.len();
            while at > 0 {
                at = at.saturating_sub(size);
                let end = (at + size).min(self.best.script.steps.len());
                let is_own = |step: &Step| matches!(step, Step::Create { name, .. } if *name == self.case.name);
                if self.best.script.steps[at..end].iter().any(is_own) && size > 1 {
                    continue;
                }
                if self.best.script.steps.get(at).is_some_and(is_own) {
                    continue;
                }
                let mut script = self.best.script.clone();
                script.steps.drain(at..end);
                script.forget_missing();
                self.holds(&script);
                if Instant::now() > self.until {
                    return;
                }
            }
            size /= 2;
        }
    }

    /// One row of an INSERT less at a time, or half of them.
    fn fewer_rows(&mut self) {
        for number in 0..self.best.script.steps.len() {
            let Some(Step::Sql(text)) = self.best.script.steps.get(number).cloned() else { continue };
            let Some((head, rows)) = text.split_once(" VALUES\n") else { continue };
            let mut rows: Vec<&str> = rows.split(",\n").collect();
            let mut size = rows.len() / 2;
            while size > 0 {
                let mut at = 0;
                while at + size <= rows.len() && rows.len() > size {
                    let mut fewer = rows.clone();
                    fewer.drain(at..at + size);
                    let mut script = self.best.script.clone();
                    script.steps[number] = Step::Sql(format!("{head} VALUES\n{}", fewer.join(",\n")));
                    if self.holds(&script) {
                        rows = fewer;
                    } else {
                        at += size;
                    }
                    if Instant::now() > self.until {
                        return;
                    }
                }
                size /= 2;
            }
        }
    }

    /// The query of fewer and smaller choices.
    fn simpler_query(&mut self, round: &Round) {
        let mut choices = self.case.choices.clone();
        if !self.with_query(round, &choices) {
            return;
        }
        let mut size = choices.len().div_ceil(2);
        while size > 0 {
            let mut at = choices.len();
            while at > 0 {
                at = at.saturating_sub(size);
                let end = (at + size).min(choices.len());
                let mut cut = choices.clone();
                cut.drain(at..end);
                let mut zeroed = choices.clone();
                zeroed[at..end].fill(0);
                for candidate in [cut, zeroed] {
                    if candidate != choices && self.with_query(round, &candidate) {
                        choices = candidate;
                        break;
                    }
                }
                if Instant::now() > self.until {
                    return;
                }
                at = at.min(choices.len());
            }
            size /= 2;
        }
    }

    fn with_query(&mut self, round: &Round, choices: &[usize]) -> bool {
        let mut draw = Draw::again(choices.to_vec());
        let (query, _) = Grammar::new(&mut draw, self.case.relations.clone(), round.text_of_floats).query();
        let mut script = self.best.script.clone();
        for step in &mut script.steps {
            if let Step::Create { name, query: text, .. } = step
                && *name == self.case.name
            {
                if *text == query.sql {
                    return true;
                }
                if query.sql.len() > text.len() {
                    return false;
                }
                text.clone_from(&query.sql);
            }
        }
        self.holds(&script)
    }
}

/// The text of the file that keeps a case.
#[must_use]
pub fn file(shrunk: &Shrunk, seed: u64, case: &Case) -> String {
    let wrong = shrunk.wrong.replace('\n', " ");
    let mode = if case.mode == RefreshMode::Incremental { "" } else { " (not asked for INCREMENTAL)" };
    format!(
        "-- Case {} of seed {seed}{mode}, made smaller.\n-- {}: {wrong}\n\n{}",
        case.number, case.name, shrunk.script
    )
}
