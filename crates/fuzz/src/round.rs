//! A round: one random lake, one script of changes, and many queries over it, each of which is a case.

use std::collections::BTreeSet;

use sql::properties::RefreshMode;

use crate::changes::Changes;
use crate::draw::Draw;
use crate::grammar::{Grammar, Kind, Query, Relation};
use crate::schema::Schema;
use crate::script::{Script, Step};

/// How many cases share a lake.
pub const CASES_PER_ROUND: u64 = 16;

/// A query of a round.
#[derive(Clone, Debug)]
pub struct Case {
    /// The number of the case, counted over all rounds.
    pub number: u64,
    /// The dynamic table.
    pub name: String,
    /// How it is to be refreshed.
    pub mode: RefreshMode,
    /// Its query.
    pub query: Query,
    /// The operators of the query.
    pub operators: BTreeSet<&'static str>,
    /// The choices that the query was made of.
    pub choices: Vec<usize>,
    /// What could stand in FROM.
    pub relations: Vec<Relation>,
}

/// A lake, its queries and what happens to it.
#[derive(Clone, Debug)]
pub struct Round {
    /// Tables, rows and views.
    pub setup: Vec<String>,
    /// The queries.
    pub cases: Vec<Case>,
    /// Changes, refreshes and explanations.
    pub steps: Vec<Step>,
    /// Doubles may be cast to text.
    pub text_of_floats: bool,
}

impl Round {
    /// The round of a seed.
    #[must_use]
    pub fn random(seed: u64, number: u64) -> Self {
        let mut draw = Draw::seeded(seed, &[number, 0]);
        let mut schema = Schema::random(&mut draw);
        let mut setup = schema.create(&mut draw, true);
        let mut relations = schema.relations();
        let text_of_floats = !schema.negative_zero;
        for view in 0..draw.below(3) {
            let (query, _) = Grammar::new(&mut draw, relations.clone(), text_of_floats).query();
            let name = format!("v{view}");
            setup.push(format!("CREATE VIEW {name} AS {}", query.sql));
            relations.extend(relation(&name, &query));
        }
        let mut cases: Vec<Case> = Vec::new();
        for position in 0..CASES_PER_ROUND {
            let mut draw = Draw::seeded(seed, &[number, 2, position]);
            let mode = [RefreshMode::Incremental, RefreshMode::Auto, RefreshMode::Full][draw.weighted(&[80, 12, 8])];
            let mut within = relations.clone();
            // Now and then over an earlier dynamic table of the round; drawn often, so that it is used.
            if draw.chance(20) && !cases.is_empty() {
                let upstream = &cases[draw.below(cases.len())];
                for _ in 0..relations.len() {
                    within.extend(relation(&upstream.name, &upstream.query));
                }
            }
            let mut draw = Draw::seeded(seed, &[number, 3, position]);
            let (query, operators) = Grammar::new(&mut draw, within.clone(), text_of_floats).query();
            cases.push(Case {
                number: number * CASES_PER_ROUND + position,
                name: format!("q{position}"),
                mode,
                query,
                operators,
                choices: draw.into_taken(),
                relations: within,
            });
        }
        let mut draw = Draw::seeded(seed, &[number, 1]);
        let steps = steps(&mut schema, &mut draw, &cases);
        Self { setup, cases, steps, text_of_floats }
    }

    /// The round of a seed for the rules alone: tables and rows, no views, and no dynamic table that reads another.
    #[must_use]
    pub fn of_rules(seed: u64, number: u64) -> Self {
        let mut draw = Draw::seeded(seed, &[number, 4]);
        let mut schema = Schema::random(&mut draw);
        let setup = schema.create(&mut draw, false);
        let (relations, text_of_floats) = (schema.relations(), !schema.negative_zero);
        let cases = (0..CASES_PER_ROUND).map(|position| {
            let mut draw = Draw::seeded(seed, &[number, 5, position]);
            let (query, operators) = Grammar::new(&mut draw, relations.clone(), text_of_floats).query();
            Case {
                number: number * CASES_PER_ROUND + position,
                name: format!("q{position}"),
                mode: RefreshMode::Incremental,
                query,
                operators,
                choices: draw.into_taken(),
                relations: relations.clone(),
            }
        });
        let cases: Vec<Case> = cases.collect();
        let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
        let mut steps = Vec::new();
        for _ in 0..draw.between(2, 5) {
            steps.extend(Changes::of_rows(&mut schema, &mut draw).step().into_iter().map(Step::Sql));
            steps.push(Step::Refresh(names.clone()));
        }
        Self { setup, cases, steps, text_of_floats }
    }

    /// The script of some of the cases and of what they read.
    #[must_use]
    pub fn script(&self, wanted: Option<u64>) -> Script {
        let mut kept: Vec<&Case> = Vec::new();
        for case in self.cases.iter().rev() {
            let asked = wanted.is_none_or(|number| number == case.number);
            if asked || kept.iter().any(|reader| mentions(&reader.query.sql, &case.name)) {
                kept.push(case);
            }
        }
        kept.reverse();
        let mut steps: Vec<Step> = self.setup.iter().cloned().map(Step::Sql).collect();
        steps.extend(kept.iter().map(|case| Step::Create {
            name: case.name.clone(),
            mode: case.mode,
            query: case.query.sql.clone(),
        }));
        steps.extend(self.steps.iter().cloned());
        let mut script = Script { steps };
        script.forget_missing();
        script
    }
}

fn steps(schema: &mut Schema, draw: &mut Draw, cases: &[Case]) -> Vec<Step> {
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let mut steps = Vec::new();
    for _ in 0..draw.between(2, 6) {
        steps.extend(Changes::new(schema, draw, &names).step().into_iter().map(Step::Sql));
        for name in &names {
            if draw.chance(12) {
                steps.push(Step::Explain(name.clone()));
            }
        }
        // Sometimes only some, so that the others have more to catch up with.
        let refreshed = if draw.chance(25) { draw.some(&names, 50) } else { names.clone() };
        steps.push(Step::Refresh(refreshed));
    }
    steps.push(Step::Refresh(names));
    steps
}

/// A query as something to read from, unless nobody may build on its values.
fn relation(name: &str, query: &Query) -> Option<Relation> {
    let usable = query.columns.iter().all(|(_, kind)| *kind != Kind::Noisy);
    usable.then(|| Relation { name: name.to_owned(), columns: query.columns.clone() })
}

/// Whether a word stands in a text.
#[must_use]
pub fn mentions(text: &str, word: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|other| other == word)
}
