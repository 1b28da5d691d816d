//! The property itself.

use std::collections::HashSet;

use incremental::clock::Clock;
use incremental::render::Reading;
use incremental::{Plan, apply};

use testkit::rules::{STORED, Way, World, changes, stages};

use super::data::{Data, fill, world};

/// How many changes each query is tried with, unless the environment says `ROUNDS`.
const ROUNDS: u64 = 6;

/// Checks `old + change = new` for each query, and that all of `ways` were gone.
pub fn holds(queries: &[&str], ways: &[Way]) {
    let world = world();
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    for (number, query) in queries.iter().enumerate() {
        let plan = world.plan(query).unwrap();
        let mut gone = HashSet::new();
        let mut data = Data::new(number as u64);
        for round in 0..rounds {
            gone.extend(one_round(&world, &plan, query, &mut data, round));
        }
        for way in ways {
            assert!(gone.contains(way), "{query}: {way:?} was never gone, only {gone:?}; {:?}", plan.operators);
        }
    }
}

/// Checks that a query has no rule, for a reason that says this.
pub fn is_refused(query: &str, because: &str) {
    let plan = world().plan(query).unwrap();
    assert!(!plan.incremental(), "{query}: {:?}", plan.operators);
    assert!(plan.reasons.iter().any(|reason| reason.text.contains(because)), "{query}: {:?}", plan.reasons);
}

fn one_round(world: &World, plan: &Plan, query: &str, data: &mut Data, round: u64) -> Vec<Way> {
    let (old_rows, new_rows) = data.round(round);
    fill(world, &old_rows, &new_rows);
    // The time moves by what the values of `seen` are apart, and now and then not at all.
    let day = |day: u64| format!("2024-01-0{} 06:00:00+00", 1 + day % 3);
    let clock = Clock { old: Some(day(round)), new: day(round + u64::from(round % 4 != 3)) };
    let mut state = world.state(plan, clock).unwrap();
    let whole = |reading| plan.whole(&world.renderer(plan, &state), reading).unwrap();
    let (old, new) = (whole(Reading::Old), whole(Reading::New));
    world.keep(STORED, &old).unwrap();
    stages(world, plan, &mut state).unwrap();
    let columns: Vec<String> = plan.output.iter().map(|(name, _)| name.clone()).collect();
    let list = apply::column_list(&columns);
    let mut gone = Vec::new();
    for (way, mut terms) in changes(world, plan, &state).unwrap() {
        let sql = terms.iter().map(|(came, term)| format!("{came} {term}")).collect::<Vec<_>>().join("\n");
        terms.push((true, format!("SELECT {list} FROM temp.main.{STORED}")));
        terms.push((false, new.clone()));
        let wrong = apply::net(&apply::weighted(&terms), &columns);
        if world.keep("wrong", &wrong).unwrap() > 0 {
            panic!(
                "round {round}, {way:?}: {query}\ntoo many (+) and missing (-):\n{}\nold:\n{}\nnew:\n{}\n\
                 {old_rows:?}\n{new_rows:?}\n{sql}",
                shown(world, "SELECT * FROM wrong"),
                shown(world, &old),
                shown(world, &new),
            );
        }
        gone.push(way);
    }
    gone
}

/// The rows of a SELECT, for a person.
fn shown(world: &World, select: &str) -> String {
    let rows = world.rows(select).unwrap();
    rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>().join("\n")
}
