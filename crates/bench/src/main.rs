//! `make bench`: runs the benchmarks, prints their tables and writes them down.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bench::gate::Comparison;
use bench::machine::Machine;
use bench::page::Page;
use bench::report::{Report, Scene};
use bench::{aging, refreshing, scheduling};
use clap::Parser;
use error::{Code, Error, Result};
use serde_json::Value;
use testkit::lake::ThrowAway;

/// Measures whole refreshes and whole workers over real lakes.
#[derive(Parser)]
struct Arguments {
    /// Take smaller lakes and fewer rounds: minutes in place of an hour.
    #[arg(long)]
    quick: bool,
    /// How many orders the sources of the scene `refresh` have, in place of the usual sizes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..))]
    orders: Option<u64>,
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the figures there, as JSON.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Write benchmarks.md and its charts into this folder.
    #[arg(long, value_name = "FOLDER")]
    page: Option<PathBuf>,
    /// Compare the ratios with those of an earlier run's --output, and fail if one is more than 20 % worse.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Measure nothing, but take the figures of an earlier run's --output, for --page or --baseline.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "orders", "only", "output"])]
    from: Option<PathBuf>,
}

type Run = fn(&Arguments) -> Result<Scene>;

const SCENES: [(&str, Run); 6] = [
    ("refresh", |arguments| refreshing::run(arguments.quick, arguments.orders)),
    ("aging", |arguments| aging::run(arguments.quick)),
    ("poll", |arguments| scheduling::poll::run(arguments.quick)),
    ("many", |arguments| scheduling::many::run(arguments.quick)),
    ("workers", |arguments| scheduling::workers::run(arguments.quick)),
    ("lag", |arguments| scheduling::lag::run(arguments.quick)),
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
    // Before an hour is spent on measuring.
    let baseline = arguments.baseline.as_deref().map(read_report).transpose()?;
    if let Some(from) = &arguments.from {
        let report = read_report(from)?;
        if let Some(folder) = &arguments.page {
            Page::of(&report)?.write(folder)?;
        } else if baseline.is_none() {
            return Err(Error::new(Code::Configuration, "nothing is to be done with the figures")
                .with_hint("Say --page or --baseline."));
        }
        return baseline.map_or(Ok(()), |baseline| hold_against(&baseline, &report));
    }
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
        let scene = scene(arguments)?;
        say(&scene.markdown())?;
        let _ = writeln!(std::io::stderr(), "{name}: measured in {:.0} s", began.elapsed().as_secs_f64());
        report.scenes.push(scene);
    }
    let (met, all) = report.met();
    say(&format!("{met} of {all} bounds met"))?;
    let in_json = |cause| Error::new(Code::Internal, format!("the figures cannot be written as JSON: {cause}"));
    if let Some(path) = &arguments.output {
        let json = serde_json::to_string_pretty(&report).map_err(in_json)?;
        std::fs::write(path, json)
            .map_err(|cause| Error::new(Code::Resource, format!("{}: {cause}", path.display())))?;
    }
    let report = serde_json::to_value(&report).map_err(in_json)?;
    if let Some(folder) = &arguments.page {
        Page::of(&report)?.write(folder)?;
    }
    baseline.map_or(Ok(()), |baseline| hold_against(&baseline, &report))
}

/// The figures that an earlier run wrote down.
fn read_report(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Error::new(Code::Configuration, format!("{}: {cause}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|cause| Error::new(Code::Configuration, format!("{} is no report: {cause}", path.display())))
}

/// Prints what moved since an earlier run, and fails if something got worse.
fn hold_against(baseline: &Value, report: &Value) -> Result<()> {
    let comparison = Comparison::of(baseline, report)?;
    say(&comparison.markdown())?;
    match comparison.regressions() {
        0 => Ok(()),
        count => Err(Error::new(Code::Resource, format!("{count} ratios are worse than in the earlier run"))),
    }
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
