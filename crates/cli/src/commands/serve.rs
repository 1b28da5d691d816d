//! `serve`: answers over HTTP until told to stop.

use error::Result;
use registry::Registry;
use server::{Limits, Options, Server, Shutdown};

use crate::commands::Context;
use crate::commands::sandbox::sandbox_options;
use crate::config::Config;

/// Runs until a signal comes.
pub fn run(context: &mut Context<'_>) -> Result<()> {
    context.check_lake()?;
    let shutdown = Shutdown::new();
    let server = open(context.config)?;
    shutdown.on_signals()?;
    server.run(&shutdown);
    Ok(())
}

/// Opens a server as it is configured; it listens from here on.
pub fn open(config: &Config) -> Result<Server> {
    let told = &config.server;
    let options = Options {
        flight: told.flight,
        audit: told.audit.clone(),
        tls: told.tls.clone(),
        tokens: told.tokens.clone(),
        limits: Limits {
            queries: told.queries,
            query_time: told.query_time,
            requests_per_second: told.requests_per_second,
            ..Limits::default()
        },
        grace_period: config.worker.grace_period,
        previews: sandbox_options(config)?,
        preview_worker: config.preview.worker,
        ..Options::new(told.listen)
    };
    Server::open(options, &config.lake, Registry::open(&config.registry)?)
}
