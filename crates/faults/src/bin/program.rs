//! The program as it is, built with fail points.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
