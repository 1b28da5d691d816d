//! `make fuzz`: runs random cases, keeps the failing ones as files, and ends with `N cases, M mismatches`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fuzz::round::{CASES_PER_ROUND, Round};
use fuzz::run::run;
use fuzz::shrink::{file, shrink};
use fuzz::tally::Tally;
use testkit::lake::CatalogKind;

/// Compares dynamic tables over random queries and changes with what their queries give.
#[derive(Parser)]
struct Arguments {
    /// Where everything random comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cases to run.
    #[arg(long, default_value_t = 500)]
    cases: u64,
    /// Run this case alone.
    #[arg(long)]
    case: Option<u64>,
    /// Stop after so many seconds, with the round that is running then.
    #[arg(long)]
    seconds: Option<u64>,
    /// Spend so many seconds on making a failing case smaller.
    #[arg(long, default_value_t = 90)]
    shrink_seconds: u64,
    /// Keep failing cases there.
    #[arg(long, default_value = "crates/fuzz/cases")]
    keep: PathBuf,
    /// Only print the script of the case.
    #[arg(long, requires = "case")]
    show: bool,
}

fn main() -> ExitCode {
    match fuzz(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Every other round on an SQLite catalog, the product's default.
const fn catalog(round: u64) -> CatalogKind {
    if round % 8 == 7 { CatalogKind::Sqlite } else { CatalogKind::DuckDb }
}

fn fuzz(arguments: &Arguments) -> Result<u64, Box<dyn std::error::Error>> {
    let start = Instant::now();
    let mut out = std::io::stdout();
    let mut tally = Tally::default();
    let mut number = arguments.case.map_or(0, |case| case / CASES_PER_ROUND);
    loop {
        let round = Round::random(arguments.seed, number);
        let script = round.script(arguments.case);
        if arguments.show {
            write!(out, "{script}")?;
            return Ok(0);
        }
        let verdicts = run(&script, catalog(number))?;
        for case in &round.cases {
            let done = tally.cases >= arguments.cases;
            let Some(verdict) = verdicts.get(&case.name).filter(|_| !done) else { continue };
            if arguments.case.is_some_and(|wanted| wanted != case.number) {
                continue;
            }
            tally.count(case, verdict);
            let Some(wrong) = &verdict.wrong else { continue };
            writeln!(out, "case {} of seed {} ({}): {wrong}\n  {}", case.number, arguments.seed, case.name, case.query.sql)?;
            if arguments.shrink_seconds > 0 {
                let time = Duration::from_secs(arguments.shrink_seconds);
                let shrunk = shrink(&round, case, catalog(number), wrong, time);
                std::fs::create_dir_all(&arguments.keep)?;
                let path = arguments.keep.join(format!("seed{}_case{}.sql", arguments.seed, case.number));
                std::fs::write(&path, file(&shrunk, arguments.seed, case))?;
                writeln!(out, "  kept as {}", path.display())?;
            }
        }
        number += 1;
        let late = arguments.seconds.is_some_and(|limit| start.elapsed() >= Duration::from_secs(limit));
        if arguments.case.is_some() || tally.cases >= arguments.cases || late {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out, "{tally}\n{seconds:.0} seconds")?;
    writeln!(out, "{} cases, {} mismatches", tally.cases, tally.mismatches)?;
    Ok(tally.mismatches)
}
