//! What is in force: flag > environment > file > default, and where each value came from.
//!
//! The settings are those of `args`: a setting's long option is also its key in the file, so there is one list of
//! them. Values are checked here, once, whatever they came from.

mod file;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _};
use error::{Code, Error, Result};
use lake::mask;

use crate::args::Cli;
use crate::printer::Format;

use file::read_file;
use values::{
    format, lease, lineage, listen, log_format, log_level, memory, number, on_or_off, queues, seconds, tls, tokens,
    truth,
};

/// The lake without any setting: an SQLite catalog in the current directory, with [`DEFAULT_DATA_FOLDER`] beside it.
pub const DEFAULT_LAKE: &str = "ducklake:sqlite:lake.sqlite";
const DEFAULT_DATA_FOLDER: &str = "lake_data";
/// The configuration file that is read without `--config`.
const DEFAULT_FILE: &str = "dynamic-tables.toml";
/// The registry's file where no registry is named.
const REGISTRY_FILE: &str = "dynamic_tables.sqlite";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The option on the command line.
    Flag(String),
    /// The variable of the environment.
    Environment(String),
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting as it is in force.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name: the long option without dashes in front.
    pub key: String,
    /// Its value, unless there is none.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
}

impl Setting {
    /// The value as it may be shown.
    pub fn shown(&self) -> Option<String> {
        let value = self.value.as_deref()?;
        Some(if matches!(self.key.as_str(), "tokens" | "openlineage-api-key") {
            "***".to_owned()
        } else {
            mask(value)
        })
    }

    fn invalid(&self, problem: &str, hint: &str) -> Error {
        let value = self.shown().unwrap_or_default();
        Error::new(Code::Configuration, format!("invalid value \"{value}\" for --{}: {problem}", self.key))
            .with_context("from", self.origin.to_string())
            .with_hint(hint)
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Also every statement to the lake.
    Trace,
    /// Everything that may help to find out why.
    Debug,
    /// One line for everything that was done.
    Info,
    /// What somebody should look at.
    Warning,
    /// What failed.
    Error,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object per line.
    Json,
}

/// Settings of the worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// How long between two looks at what is due.
    pub poll_interval: Duration,
    /// How long the refresh that runs may still take after a signal.
    pub grace_period: Duration,
    /// The worker's name in history and logs, unless it shall make one up.
    pub name: Option<String>,
    /// How many refreshes run at the same time.
    pub concurrency: usize,
    /// The queues whose tables are refreshed; none means all.
    pub queues: Vec<String>,
    /// How it holds what it has taken.
    pub lease: worker::Lease,
    /// Whether the files of tables that were refreshed are compacted.
    pub compaction: bool,
    /// Where events of lineage go.
    pub lineage: Option<lineage::Target>,
    /// The namespace of jobs and datasets in them.
    pub lineage_namespace: String,
}

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it listens for Arrow Flight.
    pub flight: Option<SocketAddr>,
    /// Where it writes who has changed what.
    pub audit: Option<PathBuf>,
    /// With which certificate it speaks TLS.
    pub tls: Option<server::Tls>,
    /// Who may do what.
    pub tokens: server::Tokens,
    /// How many queries run at the same time.
    pub queries: usize,
    /// How long a query may take.
    pub query_time: Duration,
    /// How many requests per second one client may make.
    pub requests_per_second: u32,
}

/// Settings of previews.
#[derive(Clone, Debug)]
pub struct PreviewConfig {
    /// Whether workers carry them out.
    pub worker: bool,
    /// When one is interrupted.
    pub soft_limit: Duration,
    /// When its process is killed.
    pub hard_limit: Duration,
    /// How many rows one shows.
    pub row_limit: u64,
    /// How much memory one may take, as it was written and in bytes.
    pub memory: (String, u64),
    /// How many run at the same time.
    pub concurrency: usize,
}

/// Everything in force, checked.
#[derive(Debug)]
pub struct Config {
    /// Every setting with its origin, in the order of the help.
    pub settings: Vec<Setting>,
    /// How the lake is opened.
    pub lake: lake::Options,
    /// Where the registry is, in the form that the registry takes. May hold a password.
    pub registry: String,
    /// How much is logged, if anybody said.
    pub log_level: Option<LogLevel>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How results are printed.
    pub format: Format,
    /// Settings of the worker.
    pub worker: WorkerConfig,
    /// Settings of the server.
    pub server: ServerConfig,
    /// Settings of previews.
    pub preview: PreviewConfig,
    /// What was understood in another way than it was written.
    pub warnings: Vec<String>,
}

impl Config {
    /// Resolves and checks every setting. `matches` is the parsed command line.
    pub fn resolve(matches: &ArgMatches) -> Result<Self> {
        let settings = resolve_settings(matches)?;
        Self::check(settings)
    }

    fn check(mut settings: Vec<Setting>) -> Result<Self> {
        let lake_setting = required(&settings, "duckdb-path")?.clone();
        let lake_path = lake_setting.value.clone().unwrap_or_default();
        if lake_setting.origin == Origin::Default {
            fill(&mut settings, "data-path", || Ok(DEFAULT_DATA_FOLDER.to_owned()))?;
        }
        fill(&mut settings, "pg-url", || default_registry(&lake_path))?;

        let (duckdb_settings, warnings) = match text(&settings, "duckdb-settings") {
            Some(value) => lake::Settings::parse(&value)
                .map_err(|error| with_origin(error, find(&settings, "duckdb-settings")))?,
            None => (lake::Settings::default(), Vec::new()),
        };
        let defaults = lake::Options::default();
        let lake = lake::Options {
            path: lake_path,
            // The default is where a new lake's data goes; an existing lake knows its own and need not have that one.
            data_path: find(&settings, "data-path")
                .filter(|setting| setting.origin != Origin::Default)
                .and_then(|setting| setting.value.clone()),
            alias: text(&settings, "lake-alias").unwrap_or(defaults.alias),
            schema: text(&settings, "schema").unwrap_or(defaults.schema),
            metadata_schema: text(&settings, "metadata-schema"),
            settings: duckdb_settings,
            extension_directory: text(&settings, "extension-directory").map(PathBuf::from),
            ..lake::Options::default()
        };
        let worker = WorkerConfig {
            poll_interval: seconds(required(&settings, "poll-interval")?, 1)?,
            grace_period: seconds(required(&settings, "grace-period")?, 0)?,
            name: text(&settings, "worker-name"),
            concurrency: number(required(&settings, "concurrency")?, 64)?,
            queues: find(&settings, "queues").map(queues).transpose()?.unwrap_or_default(),
            lease: lease(required(&settings, "lease")?, required(&settings, "heartbeat-interval")?)?,
            compaction: on_or_off(required(&settings, "compaction")?)?,
            lineage: lineage(&settings)?,
            lineage_namespace: text(&settings, "openlineage-namespace").unwrap_or_default(),
        };
        let server = ServerConfig {
            listen: listen(required(&settings, "listen")?)?,
            flight: find(&settings, "flight").filter(|s| s.value.is_some()).map(listen).transpose()?,
            tls: tls(&settings)?,
            audit: text(&settings, "audit-log").filter(|path| !path.is_empty()).map(Into::into),
            tokens: find(&settings, "tokens").map(tokens).transpose()?.unwrap_or_default(),
            queries: number(required(&settings, "max-queries")?, 64)?,
            query_time: seconds(required(&settings, "query-timeout")?, 1)?,
            requests_per_second: number(required(&settings, "requests-per-second")?, 1_000_000)?,
        };
        let preview = preview(&settings)?;
        Ok(Self {
            lake,
            registry: text(&settings, "pg-url").unwrap_or_default(),
            log_level: find(&settings, "log-level").filter(|s| s.value.is_some()).map(log_level).transpose()?,
            log_format: log_format(required(&settings, "log-format")?)?,
            format: format(required(&settings, "format")?)?,
            worker,
            server,
            preview,
            warnings,
            settings,
        })
    }

    /// The setting of this name.
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        find(&self.settings, key)
    }
}

/// How errors shall be printed while the settings themselves are not known yet, or are wrong.
pub fn format_of(matches: &ArgMatches) -> Format {
    let said = matches.try_get_one::<String>("format").ok().flatten();
    said.and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn find<'a>(settings: &'a [Setting], key: &str) -> Option<&'a Setting> {
    settings.iter().find(|setting| setting.key == key)
}

fn required<'a>(settings: &'a [Setting], key: &str) -> Result<&'a Setting> {
    find(settings, key).ok_or_else(|| Error::new(Code::Internal, format!("there is no setting {key}")))
}

fn text(settings: &[Setting], key: &str) -> Option<String> {
    find(settings, key).and_then(|setting| setting.value.clone())
}

/// Gives a setting that nobody set the default that follows from other settings.
fn fill(settings: &mut [Setting], key: &str, default: impl FnOnce() -> Result<String>) -> Result<()> {
    if let Some(setting) = settings.iter_mut().find(|setting| setting.key == key && setting.value.is_none()) {
        setting.value = Some(default()?);
    }
    Ok(())
}

/// Every setting of the command line's definition, from the highest layer that has it.
fn resolve_settings(matches: &ArgMatches) -> Result<Vec<Setting>> {
    // These settings exist on a sub-command only; with any other one they come from the environment and the file.
    let command = Cli::command();
    let mut of_commands = Vec::new();
    for name in ["worker", "serve"] {
        let found = match matches.subcommand() {
            Some((said, found)) if said == name => found.clone(),
            _ => matches_from_environment(name)?,
        };
        of_commands.push((command.find_subcommand(name).cloned().unwrap_or_default(), found));
    }
    let file = read_file(matches)?;

    let mut settings = Vec::new();
    let all = std::iter::once((&command, matches)).chain(of_commands.iter().map(|(command, found)| (command, found)));
    for (arguments, found) in all {
        for argument in arguments.get_arguments() {
            let (Some(long), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
            if long == "config" {
                continue;
            }
            let id = argument.get_id().as_str();
            let value = found.try_get_one::<String>(id).ok().flatten().cloned();
            let default = argument.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
            // An empty value says nothing: that is how container files leave a variable unset.
            let said = value.filter(|value| !value.trim().is_empty());
            let (value, origin) = match (said, found.value_source(id)) {
                (Some(value), Some(ValueSource::CommandLine)) => (Some(value), Origin::Flag(format!("--{long}"))),
                (Some(value), Some(ValueSource::EnvVariable)) => {
                    (Some(value), Origin::Environment(variable.to_string_lossy().into_owned()))
                }
                _ => match (synonym(long), file.as_ref().and_then(|file| file.get(long))) {
                    (Some((variable, value)), _) => (Some(value), Origin::Environment(variable.to_owned())),
                    (None, Some((path, value))) => (Some(value), Origin::File(path)),
                    (None, None) => (default, Origin::Default),
                },
            };
            settings.push(Setting { key: long.to_owned(), value, origin });
        }
    }
    if let Some(file) = file {
        file.refuse_unknown(&settings)?;
    }
    Ok(settings)
}

/// Names that settings have elsewhere, in existing installations of preview workers and in other programs that send
/// lineage, in the order in which they count.
const SYNONYMS: [(&str, &[&str]); 10] = [
    ("openlineage-url", &["OPENLINEAGE_URL"]),
    ("openlineage-api-key", &["OPENLINEAGE_API_KEY"]),
    ("openlineage-namespace", &["OPENLINEAGE_NAMESPACE"]),
    ("preview-worker", &["WORKER_ENABLED"]),
    ("preview-soft-limit", &["WORKER_TASK_SOFT_TIME_LIMIT", "TASK_SOFT_TIME_LIMIT"]),
    ("preview-hard-limit", &["WORKER_TASK_HARD_TIME_LIMIT", "TASK_HARD_TIME_LIMIT"]),
    ("preview-row-limit", &["WORKER_PREVIEW_ROW_LIMIT", "PREVIEW_ROW_LIMIT"]),
    ("preview-memory", &["WORKER_DUCKDB_MEMORY_LIMIT", "DUCKDB_MEMORY_LIMIT"]),
    ("preview-concurrency", &["WORKER_CONCURRENCY"]),
    ("concurrency", &["WORKER_CONCURRENCY"]),
];

/// The variable of another name that says a setting, and its value.
fn synonym(key: &str) -> Option<(&'static str, String)> {
    let (_, variables) = SYNONYMS.iter().find(|(known, _)| *known == key)?;
    variables.iter().find_map(|variable| {
        let value = std::env::var(variable).ok().filter(|value| !value.trim().is_empty())?;
        Some((*variable, value))
    })
}

fn preview(settings: &[Setting]) -> Result<PreviewConfig> {
    let soft = required(settings, "preview-soft-limit")?;
    let hard = required(settings, "preview-hard-limit")?;
    let (soft_limit, hard_limit) = (seconds(soft, 1)?, seconds(hard, 1)?);
    if hard_limit < soft_limit {
        return Err(hard.invalid("it must not be shorter than --preview-soft-limit", "Give a longer one."));
    }
    Ok(PreviewConfig {
        worker: truth(required(settings, "preview-worker")?)?,
        soft_limit,
        hard_limit,
        row_limit: number(required(settings, "preview-row-limit")?, 10_000)?,
        memory: memory(required(settings, "preview-memory")?)?,
        concurrency: number(required(settings, "preview-concurrency")?, 64)?,
    })
}

fn matches_from_environment(name: &str) -> Result<ArgMatches> {
    let matches = Cli::command()
        .try_get_matches_from(["dynamic-tables", name])
        .map_err(|error| Error::new(Code::Configuration, error.to_string()))?;
    matches
        .subcommand_matches(name)
        .cloned()
        .ok_or_else(|| Error::new(Code::Internal, format!("the command line has no {name}")))
}

/// The registry beside a lake that is a local file.
fn default_registry(lake: &str) -> Result<String> {
    match local_catalog(lake) {
        Catalog::File(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(folder
                .map_or_else(|| PathBuf::from(REGISTRY_FILE), |folder| folder.join(REGISTRY_FILE))
                .display()
                .to_string())
        }
        Catalog::Memory => Ok(":memory:".to_owned()),
        Catalog::Remote => Err(Error::new(
            Code::Configuration,
            "a lake that is not a local file needs a registry to be named",
        )
        .with_context("lake", mask(lake))
        .with_hint(
            "Give --pg-url postgresql://user@host/database, or --pg-url sqlite:PATH if only this machine refreshes.",
        )),
    }
}

/// Where a lake's catalog is.
#[derive(Debug, PartialEq, Eq)]
pub enum Catalog {
    /// A file here.
    File(PathBuf),
    /// Nowhere: it ends with the process.
    Memory,
    /// A server or an object store.
    Remote,
}

/// Where the catalog is that `--duckdb-path` names.
pub fn local_catalog(lake: &str) -> Catalog {
    let strip = |text: &str, prefix: &str| {
        let head = text.get(..prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then(|| text[prefix.len()..].to_owned())
    };
    let name = strip(lake, "ducklake:").unwrap_or_else(|| lake.to_owned());
    let name = ["sqlite:", "duckdb:"].iter().find_map(|prefix| strip(&name, prefix)).unwrap_or(name);
    if name == ":memory:" || name.is_empty() {
        return Catalog::Memory;
    }
    if name.contains("://") || ["postgres:", "postgresql:", "mysql:", "md:"].iter().any(|p| strip(&name, p).is_some())
    {
        return Catalog::Remote;
    }
    Catalog::File(Path::new(&name).to_path_buf())
}

fn with_origin(error: Error, setting: Option<&Setting>) -> Error {
    match setting {
        Some(setting) => error.with_context("from", setting.origin.to_string()),
        None => error,
    }
}

#[cfg(test)]
mod tests;
