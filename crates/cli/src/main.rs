//! The program's entrance; everything is in the library, so that a test can build it with fail points.

use std::process::ExitCode;

fn main() -> ExitCode {
    dynamic_tables::main()
}
