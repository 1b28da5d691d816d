//! The tester itself: its queries bind, its cases agree, and the cases that were kept stay right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use fuzz::round::{CASES_PER_ROUND, Round};
use fuzz::rules;
use fuzz::run::run;
use fuzz::script::{Script, Step};
use testkit::lake::{CatalogKind, ThrowAway};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nearly_all_queries_bind() {
    let (mut queries, mut failures) = (0, Vec::new());
    for number in 0..number("ROUNDS").unwrap_or(6) {
        let lake = ThrowAway::with(CatalogKind::DuckDb, "threads=1").unwrap();
        let round = Round::random(77, number);
        for statement in &round.setup {
            lake.others.execute(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        for case in &round.cases {
            queries += 1;
            match lake.others.describe(&case.query.sql) {
                Ok(_) => drop(lake.others.execute(&format!("CREATE VIEW {} AS {}", case.name, case.query.sql))),
                // It reads one that does not bind.
                Err(error) if error.message().contains("table with name q") => {}
                Err(error) => failures.push(format!("{error}\n  {}", case.query.sql)),
            }
        }
    }
    assert!(
        failures.len() * 50 <= queries,
        "{} of {queries} queries do not bind:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_case_is_the_same_every_time_and_reads_back_from_its_file() {
    let script = Round::random(5, 2).script(Some(2 * CASES_PER_ROUND + 3));
    assert_eq!(script, Round::random(5, 2).script(Some(2 * CASES_PER_ROUND + 3)));
    let read = Script::parse(&script.to_string()).unwrap();
    assert_eq!(read.tables(), script.tables());
    assert_eq!(read.to_string(), script.to_string());
}

/// `FUZZ_CASES=n` runs more of them, `FUZZ_SECONDS=n` for longer.
#[test]
fn tables_equal_their_queries_over_random_changes() {
    let until = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(120));
    let rounds = number("FUZZ_CASES").unwrap_or(48).div_ceil(CASES_PER_ROUND);
    let mut judged = 0;
    for number in 0..rounds {
        if Instant::now() > until {
            break;
        }
        let round = Round::random(1_000, number);
        let verdicts = run(&round.script(None), CatalogKind::DuckDb).unwrap();
        for case in &round.cases {
            let verdict = &verdicts[&case.name];
            judged += u64::from(verdict.invalid.is_none() && !verdict.unstable);
            if let Some(wrong) = &verdict.wrong {
                panic!("make fuzz SEED=1000 CASE={}: {wrong}\n{}", case.number, case.query.sql);
            }
        }
    }
    assert!(judged > 10, "only {judged} cases could be judged");
}

/// `FUZZ_RULES=n` runs more of them, `FUZZ_SECONDS=n` for longer.
fn rules_hold(seed: u64) {
    let until = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(240));
    let rounds = number("FUZZ_RULES").unwrap_or(720).div_ceil(CASES_PER_ROUND);
    let (mut judged, mut incremental) = (0, 0);
    for number in (0..rounds).take_while(|_| Instant::now() < until) {
        let round = Round::of_rules(seed, number);
        let verdicts = rules::run(&round, None).unwrap();
        for case in &round.cases {
            let verdict = &verdicts[&case.name];
            judged += u64::from(verdict.invalid.is_none() && !verdict.unstable);
            incremental += u64::from(verdict.incremental);
            if let Some(wrong) = &verdict.wrong {
                panic!("make fuzz RULES=1 SEED={seed} CASE={}: {wrong}\n{}", case.number, case.query.sql);
            }
        }
    }
    assert!(judged > 10 && incremental > 10, "only {judged} cases could be judged, {incremental} were incremental");
}

// Several seeds, since tests run side by side.

#[test]
fn rules_hold_over_random_queries() {
    rules_hold(2_000);
}

#[test]
fn rules_hold_over_other_random_queries() {
    rules_hold(2_010);
}

#[test]
fn rules_hold_over_yet_other_random_queries() {
    rules_hold(2_020);
}

#[test]
fn the_cases_that_were_kept_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "sql")) {
        let script = Script::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(script.steps.iter().any(|step| matches!(step, Step::Refresh(_))), "{}", path.display());
        for (name, verdict) in run(&script, CatalogKind::DuckDb).unwrap() {
            assert_eq!(verdict.wrong, None, "{}: {name}", path.display());
            assert_eq!(verdict.invalid, None, "{}: {name}", path.display());
        }
    }
}
