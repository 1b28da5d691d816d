//! The program: reads what was asked, opens the lake and the registry, does it, and says how it went.
//!
//! What can be asked is in `args`, what is in force in `config`, what a verb does in `commands/<verb>.rs`; everything
//! that is printed goes through `printer`.

mod args;
mod cancellation;
mod commands;
mod config;
mod input;
mod listing;
mod logging;
mod printer;
mod since;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use error::{Code, Error, Result};

use crate::args::{Cli, Command};
use crate::cancellation::Cancellation;
use crate::commands::Context;
use crate::config::Config;
use crate::printer::{Format, Printer};

/// The exit code of a command line that cannot be understood: the user's error.
const USAGE: u8 = 1;

/// Runs the program with the arguments and the environment of this process; what it exits with.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    if let Err(error) = failpoint::arm() {
        Printer::new(Format::Table).error(&error);
        return ExitCode::from(error.code().exit_code());
    }
    // Before anything of the user's is read: a sandbox knows nothing but what it is told.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(commands::sandbox::VERB) {
        return preview::sandbox_main(arguments.next().as_deref());
    }
    let parsed = Cli::command().try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(usage) => {
            let asked_for = matches!(usage.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if !asked_for && wants_json() {
                Printer::new(Format::Json).error(&usage_error(&usage));
            } else {
                // A reader that went away has nothing more to be told.
                let _ = usage.print();
            }
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let mut printer = Printer::new(config::format_of(&matches));
    let cancellation = Cancellation::new();
    let mut worst = 0;
    match run(cli.command, &matches, &mut printer, &cancellation) {
        Ok(code) => worst = worst.max(code),
        Err(error) => {
            printer.error(&error);
            worst = worst.max(error.code().exit_code());
        }
    }
    if let Err(error) = printer.finish() {
        printer.error(&error);
        worst = worst.max(error.code().exit_code());
    }
    if worst != 0 && cancellation.is_cancelled() {
        return ExitCode::from(cancellation::EXIT_CODE);
    }
    ExitCode::from(worst)
}

/// Whether a command line that could not be understood still says that the answer shall be JSON.
fn wants_json() -> bool {
    let words: Vec<String> = std::env::args().collect();
    let is_json = |value: &str| value.parse() == Ok(Format::Json);
    words.windows(2).any(|pair| pair[0] == "--format" && is_json(&pair[1]))
        || words.iter().any(|word| word.strip_prefix("--format=").is_some_and(is_json))
        || std::env::var("DYNAMIC_TABLES_FORMAT").is_ok_and(|value| is_json(&value))
}

/// What clap says, as an error of ours: its first line is what is wrong.
fn usage_error(usage: &clap::Error) -> Error {
    let text = usage.render().to_string();
    let problem = text.lines().next().unwrap_or_default();
    Error::new(Code::Configuration, problem.strip_prefix("error: ").unwrap_or(problem))
        .with_hint("--help shows what can be said.")
}

/// Refuses a picture of what is none.
fn check_picture(format: Format, command: &Command) -> Result<()> {
    let refused = match (format, command) {
        (Format::Dot | Format::Svg, Command::Explain(args)) if !args.analyze => return Ok(()),
        (Format::Dot, Command::Graph(_)) => return Ok(()),
        (Format::Dot, _) => "only a graph and an explanation can be printed as dot",
        (Format::Svg, _) => "only an explanation can be printed as svg",
        (Format::Table | Format::Json | Format::Csv, _) => return Ok(()),
    };
    Err(Error::new(Code::Configuration, refused).with_hint("Give --format table, json or csv."))
}

/// Does what was asked; the result is the exit code of failures that were reported already.
fn run(command: Command, matches: &ArgMatches, printer: &mut Printer, cancellation: &Cancellation) -> Result<u8> {
    if let Command::Completions(args) = &command {
        commands::completions::run(args, printer);
        return Ok(0);
    }
    let config = Config::resolve(matches)?;
    check_picture(config.format, &command)?;
    *printer = Printer::new(config.format);
    logging::start(&config, matches!(command, Command::Worker(_) | Command::Serve(_)));
    for warning in &config.warnings {
        printer.warning(warning);
    }
    let mut context = Context::new(&config, printer, cancellation);
    commands::run(&mut context, &command)?;
    Ok(context.exit_code())
}
