//! The sandbox as a program by itself, as the tests of this crate start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    preview::sandbox_main(std::env::args().nth(1).as_deref())
}
