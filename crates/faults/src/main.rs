//! `make faults`: lets faults happen to real workers, keeps what failing rounds leave behind, and ends with
//! `N faults: L lost, D doubled, T torn, H hanging`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use error::Result;
use faults::plan::{Deck, Fixed, Kind, Round};
use faults::program::Program;
use faults::round::run;
use faults::tally::Tally;

/// Injects faults at every step of a refresh, and looks whether anything was lost, doubled, torn, or hangs.
#[derive(Parser)]
struct Arguments {
    /// Where everything random comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many faults to inject, at least.
    #[arg(long, default_value_t = 300)]
    faults: u64,
    /// Run this round alone.
    #[arg(long)]
    round: Option<u64>,
    /// Begin no further round after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many workers: 1 to 4. Without it a random number.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=4))]
    workers: Option<u8>,
    /// How many threads each of them computes with. Without it one or two.
    #[arg(long)]
    threads: Option<usize>,
    /// The catalog of the lake. Without it both by turns.
    #[arg(long)]
    catalog: Option<Kind>,
    /// The registry. Without it both by turns.
    #[arg(long)]
    registry: Option<Kind>,
    /// Keep what failing rounds leave behind there: logs, lake and registry, as far as they are files.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The program with fail points. Without it the one that was built along with this.
    #[arg(long)]
    program: Option<PathBuf>,
}

fn main() -> ExitCode {
    match inject(&Arguments::parse()) {
        Ok(tally) if tally.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn inject(arguments: &Arguments) -> Result<Tally> {
    let start = Instant::now();
    let program = Program::find(arguments.program.as_deref())?;
    let fixed = Fixed {
        catalog: arguments.catalog,
        registry: arguments.registry,
        workers: arguments.workers.map(usize::from),
        threads: arguments.threads,
    };
    let mut deck = Deck::new(arguments.seed);
    let mut tally = Tally::default();
    let late = || arguments.seconds.is_some_and(|limit| start.elapsed() >= Duration::from_secs(limit));
    for number in arguments.round.unwrap_or(0).. {
        if tally.number() >= arguments.faults || (late() && tally.number() > 0) {
            break;
        }
        let mut round = Round::draw(arguments.seed, number, fixed);
        round.faults = round.faults.min(arguments.faults - tally.number());
        let started = Instant::now();
        let outcome = run(&program, &round, &mut deck, arguments.keep.as_deref())
            .map_err(|error| error.with_context("round", number.to_string()))?;
        say(&format!(
            "round {number} ({:?} lake, {:?} registry, {} workers with {} threads, lag {} s) in {:.0} s: {}; {} commits, {} looks, {} comparisons\n",
            round.catalog,
            round.registry,
            round.workers,
            round.threads,
            round.lag_seconds,
            started.elapsed().as_secs_f64(),
            outcome.tally,
            outcome.written.commits,
            outcome.seen.looks,
            outcome.seen.comparisons
        ));
        for problem in &outcome.tally.problems {
            say(&format!("  {problem}\n"));
        }
        tally.add(&outcome.tally);
        if arguments.round.is_some() {
            break;
        }
    }
    say(&format!("{}\n{:.0} seconds\n", tally.table(), start.elapsed().as_secs_f64()));
    say(&format!("{tally}\n"));
    Ok(tally)
}

/// Output that may go nowhere: a closed pipe is no failure of a round.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
