//! `make fuzz`: runs random cases, keeps the failing ones as files, and ends with `N cases, M mismatches`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use error::{Code, Error, Result};
use fuzz::round::{CASES_PER_ROUND, Case, Round};
use fuzz::rules;
use fuzz::run::run;
use fuzz::script::Script;
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
    /// Run so many rounds at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Spend so many seconds on making a failing case smaller.
    #[arg(long, default_value_t = 90)]
    shrink_seconds: u64,
    /// Keep failing cases there.
    #[arg(long, default_value = "crates/fuzz/cases")]
    keep: PathBuf,
    /// Only the rules, over plain tables in memory: many times as many cases in the same time.
    #[arg(long)]
    rules: bool,
    /// Run this file in place of random cases.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Say which queries cannot be evaluated.
    #[arg(long)]
    verbose: bool,
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

fn round(arguments: &Arguments, number: u64) -> Round {
    if arguments.rules { Round::of_rules(arguments.seed, number) } else { Round::random(arguments.seed, number) }
}

/// Some rounds on an SQLite catalog, the product's default.
const fn catalog(round: u64) -> CatalogKind {
    if round % 8 == 7 { CatalogKind::Sqlite } else { CatalogKind::DuckDb }
}

fn fuzz(arguments: &Arguments) -> Result<u64> {
    let start = Instant::now();
    if let (true, Some(case)) = (arguments.show, arguments.case) {
        say(&round(arguments, case / CASES_PER_ROUND).script(arguments.case).to_string());
        return Ok(0);
    }
    if let Some(path) = &arguments.replay {
        return replay(path);
    }
    let run = Run {
        arguments,
        tally: Mutex::new(Tally::default()),
        next: AtomicU64::new(arguments.case.map_or(0, |case| case / CASES_PER_ROUND)),
        until: arguments.seconds.map(|limit| start + Duration::from_secs(limit)),
    };
    let jobs = if arguments.case.is_some() { 1 } else { arguments.jobs.max(1) };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(|| run.rounds())).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| Error::new(Code::Internal, "a round panicked"))?)
    })?;
    let tally = run.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!("{tally}\n{:.0} seconds\n", start.elapsed().as_secs_f64()));
    say(&format!("{} cases, {} mismatches\n", tally.cases, tally.mismatches));
    Ok(tally.mismatches)
}

/// Runs a kept case and says what came of each table.
fn replay(path: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Error::new(Code::Resource, format!("cannot read {}: {cause}", path.display())))?;
    let script = Script::parse(&text)?;
    let verdicts = run(&script, CatalogKind::DuckDb)?;
    let mut mismatches = 0;
    for name in script.tables() {
        let Some(verdict) = verdicts.get(&name) else { continue };
        let found = match (&verdict.wrong, &verdict.invalid) {
            (Some(wrong), _) => wrong,
            (None, Some(cause)) => cause,
            (None, None) if verdict.unstable => "the query has several right answers",
            (None, None) => "right",
        };
        mismatches += u64::from(verdict.wrong.is_some());
        let actions: Vec<&str> = verdict.actions.keys().copied().collect();
        say(&format!("{name}: {found} ({})\n", actions.join(", ")));
    }
    say(&format!("{} cases, {mismatches} mismatches\n", verdicts.len()));
    Ok(mismatches)
}

/// What the threads of a run share.
struct Run<'a> {
    arguments: &'a Arguments,
    tally: Mutex<Tally>,
    next: AtomicU64,
    until: Option<Instant>,
}

impl Run<'_> {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one round after the other until there are enough cases.
    fn rounds(&self) -> Result<()> {
        loop {
            let late = self.until.is_some_and(|until| Instant::now() >= until);
            if late || self.tally().cases >= self.arguments.cases {
                return Ok(());
            }
            self.round(self.next.fetch_add(1, Ordering::Relaxed))?;
            if self.arguments.case.is_some() {
                return Ok(());
            }
        }
    }

    fn round(&self, number: u64) -> Result<()> {
        let round = round(self.arguments, number);
        let verdicts = match self.arguments.rules {
            true => rules::run(&round, self.arguments.case),
            false => run(&round.script(self.arguments.case), catalog(number)),
        };
        let verdicts = verdicts.map_err(|error| error.with_context("round", number.to_string()))?;
        for case in &round.cases {
            if self.arguments.case.is_some_and(|wanted| wanted != case.number) {
                continue;
            }
            let Some(verdict) = verdicts.get(&case.name) else { continue };
            {
                let mut tally = self.tally();
                if tally.cases >= self.arguments.cases {
                    return Ok(());
                }
                tally.count(case, verdict);
            }
            if let Some(cause) = verdict.invalid.as_ref().filter(|_| self.arguments.verbose) {
                say(&format!("case {} says nothing: {cause}\n  {}\n", case.number, case.query.sql));
            }
            if let Some(wrong) = &verdict.wrong {
                self.keep(&round, number, case, wrong)?;
            }
        }
        Ok(())
    }

    fn keep(&self, round: &Round, number: u64, case: &Case, wrong: &str) -> Result<()> {
        let Arguments { seed, shrink_seconds, keep, .. } = self.arguments;
        say(&format!("case {} of seed {seed} ({}): {wrong}\n  {}\n", case.number, case.name, case.query.sql));
        if *shrink_seconds == 0 {
            return Ok(());
        }
        let shrunk = shrink(round, case, catalog(number), wrong, Duration::from_secs(*shrink_seconds));
        let path = keep.join(format!("seed{seed}_case{}.sql", case.number));
        let written = std::fs::create_dir_all(keep).and_then(|()| std::fs::write(&path, file(&shrunk, *seed, case)));
        written.map_err(|cause| Error::new(Code::Resource, format!("cannot write {}: {cause}", path.display())))?;
        say(&format!("  kept as {}\n", path.display()));
        Ok(())
    }
}

/// Output that may go nowhere: a closed pipe is no failure of a case.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
