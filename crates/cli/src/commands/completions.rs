//! `completions`: what a shell needs to complete our command line.

use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs};
use crate::printer::Printer;

/// Prints the shell's script.
pub fn run(args: &CompletionsArgs, printer: &mut Printer) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dynamic-tables", &mut script);
    printer.text(String::from_utf8_lossy(&script).trim_end());
}
