//! Log lines on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::EnvFilter;

use crate::config::{Config, LogFormat, LogLevel};

/// Starts logging as configured. The log of a worker or a server is its output, so it says more unless told otherwise.
pub fn start(config: &Config, is_service: bool) {
    let otherwise = if is_service { LogLevel::Info } else { LogLevel::Warning };
    let (own, foreign) = match config.log_level.unwrap_or(otherwise) {
        LogLevel::Trace => ("trace", "info"),
        LogLevel::Debug => ("debug", "info"),
        LogLevel::Info => ("info", "warn"),
        LogLevel::Warning => ("warn", "warn"),
        LogLevel::Error => ("error", "error"),
    };
    // Libraries (the registry's database driver above all) say at INFO what belongs to DEBUG here.
    let own_crates =
        ["dynamic_tables", "lake", "registry", "scheduler", "incremental", "refresh", "worker", "server"];
    let directives: Vec<String> = own_crates.iter().map(|name| format!("{name}={own}")).collect();
    // Its warnings show parameters of the URL with their values; the registry warns without them.
    let silent = "sqlx_postgres::options=off";
    let filter = EnvFilter::new(format!("{foreign},{silent},{}", directives.join(",")));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).init(),
    }
}
