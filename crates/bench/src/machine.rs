//! On what a run was made: without it no figure means anything.

use std::fs::read_to_string;
use std::process::Command;

use serde::Serialize;

/// The machine, the versions and the date of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name, as the system tells it.
    pub processor: String,
    /// How many of its threads this process may use.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// The system.
    pub system: String,
    /// The engine's version.
    pub duckdb: String,
    /// This program's version.
    pub version: String,
    /// The commit of the clone that it was run in, `+` behind it if files had been changed.
    pub commit: String,
    /// When it began.
    pub date: String,
    /// Whether it was compiled for use.
    pub release: bool,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here(duckdb: String) -> Self {
        let information = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = after(&memory, "MemTotal:").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let changed = said("git", &["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
        let commit = said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
        Self {
            processor: after(&information, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            memory_gib: (kilobytes.unwrap_or_default() + (1 << 19)) >> 20,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            duckdb,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: format!("{commit}{}", if changed { "+" } else { "" }),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            release: !cfg!(debug_assertions),
        }
    }

    /// In one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "{} ({} cores, {} GiB, {}), DuckDB {}, dynamic-tables {} at {}{}, {}",
            self.processor,
            self.cores,
            self.memory_gib,
            self.system,
            self.duckdb,
            self.version,
            self.commit,
            if self.release { "" } else { " NOT A RELEASE BUILD" },
            self.date
        )
    }
}

fn after(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line[key.len()..].trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
