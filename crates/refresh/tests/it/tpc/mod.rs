//! The queries of TPC-H and TPC-DS as dynamic tables, under refresh streams of inserts, updates and deletes on every
//! base table: after every refresh each table equals its query, by the product's oracle and by one of its own.
//!
//! `make tpc` runs it for longer: `SCALE` is the scale factor, `ROUNDS` how many rounds of changes, `SEED` which ones.

mod benchmark;
mod oracle;
mod stream;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use registry::{RefreshAction, RefreshState};
use testkit::lake::{CatalogKind, ThrowAway};

use benchmark::{Benchmark, Query};
use oracle::{Oracle, Verdict};
use stream::Stream;

/// How many of the 22 queries of TPC-H have to be incremental.
const INCREMENTAL_OF_TPC_H: usize = 0;
/// How many of the 99 queries of TPC-DS have to be incremental.
const INCREMENTAL_OF_TPC_DS: usize = 0;

/// What became of one query.
#[derive(Default)]
struct Course {
    /// Why it is not incremental.
    reason: Option<String>,
    /// Rounds in which its rows changed.
    changed: usize,
    /// Rounds after which it had rows.
    filled: usize,
    /// Its most rows.
    rows: usize,
    /// Refreshes that were incremental, and how long they took together.
    incremental: (u32, Duration),
    /// Comparisons that found ties broken in another way.
    other_ties: usize,
}

struct Run {
    benchmark: Benchmark,
    scale: f64,
    rounds: usize,
    seed: u64,
}

impl Run {
    fn go(&self) -> usize {
        let lake = ThrowAway::with(CatalogKind::DuckDb, "threads=2").unwrap();
        let start = Instant::now();
        let tables = self.benchmark.load(&lake, self.scale);
        let queries = self.benchmark.queries(&lake);
        println!("{:?}: {} tables loaded in {:.1?}", self.benchmark, tables.len(), start.elapsed());
        let start = Instant::now();
        let mut courses: HashMap<String, Course> = HashMap::new();
        for query in &queries {
            courses.insert(query.name.clone(), Course { reason: create(&lake, query), ..Course::default() });
        }
        let incremental = courses.values().filter(|course| course.reason.is_none()).count();
        println!("{} tables created in {:.1?}, {incremental} of them incremental", queries.len(), start.elapsed());
        let oracles: Vec<Oracle> = queries.iter().map(|query| Oracle::new(&lake, query)).collect();
        check(&lake, &oracles, &mut courses, "as created");

        let mut stream = Stream::new(&lake, &tables, self.seed);
        for round in 0..self.rounds {
            let start = Instant::now();
            let done = stream.round(round % 2 == 1);
            let (changing, start) = (start.elapsed(), Instant::now());
            let reports = lake.refresh(&[]).unwrap_or_else(|error| panic!("round {round}: {error}\n{}", done.join(";\n")));
            let refreshing = start.elapsed();
            for report in &reports {
                assert_eq!(report.state, RefreshState::Succeeded, "{report:?}");
                let course = courses.get_mut(&report.name.name).unwrap();
                course.changed += usize::from(report.rows_inserted + report.rows_deleted > 0);
                if course.reason.is_some() {
                    continue;
                }
                match report.action {
                    Some(RefreshAction::Incremental) => {
                        course.incremental.0 += 1;
                        course.incremental.1 += report.duration;
                    }
                    Some(RefreshAction::NoData) => {}
                    _ => panic!("seed {}, round {round}: {report:?}", self.seed),
                }
            }
            let start = Instant::now();
            check(&lake, &oracles, &mut courses, &format!("seed {}, round {round}\n{}", self.seed, done.join(";\n")));
            println!("round {round}: changed in {changing:.1?}, refreshed in {refreshing:.1?}, compared in {:.1?}", start.elapsed());
        }
        self.print(&queries, &courses);
        incremental
    }

    fn print(&self, queries: &[Query], courses: &HashMap<String, Course>) {
        println!("{:5} {:>5} {:>6} {:>7} {:>5} {:>9}  rule", "query", "rows", "filled", "changed", "ties", "ms");
        for query in queries {
            let course = &courses[&query.name];
            let (count, time) = course.incremental;
            let mean = time.checked_div(count).unwrap_or_default().as_millis();
            let rule = course.reason.as_deref().unwrap_or("incremental");
            println!(
                "{:5} {:>5} {:>6} {:>7} {:>5} {:>9}  {rule}",
                query.name, course.rows, course.filled, course.changed, course.other_ties, mean
            );
        }
        let count = |is: fn(&Course) -> bool| courses.values().filter(|course| is(course)).count();
        println!(
            "{:?}: {} of {} incremental; {} had rows, {} had changes",
            self.benchmark,
            count(|course| course.reason.is_none()),
            queries.len(),
            count(|course| course.rows > 0),
            count(|course| course.changed > 0),
        );
    }
}

/// Creates a query's table, incremental if that is possible. Why it was not.
fn create(lake: &ThrowAway, query: &Query) -> Option<String> {
    let statement = |mode: &str| {
        format!("CREATE DYNAMIC TABLE {} TARGET_LAG = '1 hour' REFRESH_MODE = {mode} AS {}", query.name, query.text)
    };
    let Err(refused) = lake.run(&statement("INCREMENTAL")) else { return None };
    let reason = refused.message().strip_prefix("the query cannot be refreshed incrementally: ").map(str::to_owned);
    let reason = reason.unwrap_or_else(|| panic!("{}: {refused}", query.name));
    lake.run(&statement("AUTO")).unwrap_or_else(|error| panic!("{}: {error}\n{}", query.name, query.text));
    Some(reason)
}

/// Compares every table with its query, in both ways.
fn check(lake: &ThrowAway, oracles: &[Oracle], courses: &mut HashMap<String, Course>, when: &str) {
    let mut wrong = Vec::new();
    for verification in lake.tables.verify(&[]).unwrap() {
        let course = &courses[&verification.name.name];
        // A table that is computed in full may break ties in another way each time.
        if !verification.equal() && course.reason.is_none() {
            wrong.push(format!("{verification:?}"));
        }
    }
    for oracle in oracles {
        let course = courses.get_mut(&oracle.name).unwrap();
        match oracle.compare(lake) {
            Ok(verdict) => {
                let (Verdict::Equal(rows) | Verdict::OtherTies(rows)) = verdict;
                course.rows = course.rows.max(rows);
                course.filled += usize::from(rows > 0);
                course.other_ties += usize::from(matches!(verdict, Verdict::OtherTies(_)));
            }
            Err(difference) => wrong.push(difference),
        }
    }
    assert!(wrong.is_empty(), "{}\n{when}", wrong.join("\n"));
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_queries_of_tpc_h_follow_changes_of_every_table() {
    let run = Run {
        benchmark: Benchmark::TpcH,
        scale: setting("SCALE", 0.01),
        rounds: setting("ROUNDS", 4),
        seed: setting("SEED", 0),
    };
    assert!(run.go() >= INCREMENTAL_OF_TPC_H);
}

#[test]
fn the_queries_of_tpc_ds_follow_changes_of_every_table() {
    let run = Run {
        benchmark: Benchmark::TpcDs,
        scale: setting("SCALE", 0.01),
        rounds: setting("ROUNDS", 2),
        seed: setting("SEED", 0),
    };
    assert!(run.go() >= INCREMENTAL_OF_TPC_DS);
}
