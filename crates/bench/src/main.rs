//! `make bench`: runs the benchmarks, prints their tables and writes them down.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bench::machine::Machine;
use bench::report::{Report, Scene};
use bench::{aging, refreshing, scheduling};
use clap::Parser;
use error::{Code, Error, Result};
use testkit::lake::ThrowAway;

/// Measures whole refreshes and whole workers over real lakes.
#[derive(Parser)]
struct Arguments {
    /// Take smaller lakes and fewer rounds: minutes in place of an hour.
    #[arg(long)]
    quick: bool,
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the figures there, as JSON.
    #[arg(long)]
    output: Option<PathBuf>,
}

type Run = fn(bool) -> Result<Scene>;

const SCENES: [(&str, Run); 6] = [
    ("refresh", refreshing::run),
    ("aging", aging::run),
    ("poll", scheduling::poll::run),
    ("many", scheduling::many::run),
    ("workers", scheduling::workers::run),
    ("lag", scheduling::lag::run),
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let known = |name: &String| SCENES.iter().any(|(known, _)| known == name);
    if let Some(unknown) = arguments.only.iter().find(|name| !known(name)) {
        let names: Vec<&str> = SCENES.iter().map(|(name, _)| *name).collect();
        return Err(Error::new(
            Code::Configuration,
            format!("there is no benchmark {unknown:?}, but {}", names.join(", ")),
        ));
    }
    let mut report = Report { machine: Machine::here(engine()?), quick: arguments.quick, scenes: Vec::new() };
    say(&format!("{}\n", report.machine.sentence()))?;
    for (name, scene) in SCENES {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let began = Instant::now();
        let scene = scene(arguments.quick)?;
        say(&scene.markdown())?;
        let _ = writeln!(std::io::stderr(), "{name}: measured in {:.0} s", began.elapsed().as_secs_f64());
        report.scenes.push(scene);
    }
    let (met, all) = report.met();
    say(&format!("{met} of {all} bounds met"))?;
    if let Some(path) = &arguments.output {
        let json = serde_json::to_string_pretty(&report)
            .map_err(|cause| Error::new(Code::Internal, format!("the figures cannot be written as JSON: {cause}")))?;
        std::fs::write(path, json)
            .map_err(|cause| Error::new(Code::Resource, format!("{}: {cause}", path.display())))?;
    }
    Ok(())
}

/// The version of the engine that is linked.
fn engine() -> Result<String> {
    let rows = ThrowAway::new()?.rows("SELECT version()")?;
    Ok(rows.into_iter().flatten().flatten().next().unwrap_or_default())
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")
        .map_err(|cause| Error::new(Code::Resource, format!("cannot print: {cause}")))
}
