//! `worker`: keeps all dynamic tables fresh until told to stop.

use error::{Code, Error, Result};

use crate::args::WorkerArgs;
use crate::commands::Context;

/// Runs until a signal comes.
pub fn run(context: &mut Context<'_>, args: &WorkerArgs) -> Result<()> {
    let settings = &context.config.worker;
    Err(Error::new(Code::Internal, format!("no worker yet {settings:?} {}", args.once)))
}
