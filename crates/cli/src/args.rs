//! What can be said on the command line: the verbs, their options, and the help that teaches them.
//!
//! Only types; what a verb does is in `commands/<verb>.rs`. Every option that is a *setting* (it can also come from
//! the environment or the configuration file) is a plain text here: `config` resolves and checks it, so that a wrong
//! value is reported the same way wherever it came from. The long name of the option, with `DYNAMIC_TABLES_` in front
//! and in capitals, is its name in the environment, and without the dashes its key in the file.

mod connection;
mod process;
mod table;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

pub use connection::*;
pub use process::*;
pub use table::*;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  Put a table into a new lake in this directory:
    dynamic-tables sql -c \"CREATE TABLE orders AS SELECT * FROM 'orders.parquet'\"

  Say what result you want and how old it may be:
    dynamic-tables sql -c \"CREATE DYNAMIC TABLE daily TARGET_LAG = '5 minutes' AS
        SELECT day, count(*) AS orders, sum(amount) AS amount
        FROM orders GROUP BY day\"

  Keep it fresh, by hand or by a worker:
    dynamic-tables refresh daily
    dynamic-tables worker

  Look around:
    dynamic-tables list
    dynamic-tables history daily
    dynamic-tables explain daily

Exit codes:
  0    done
  1    the input is wrong (statement, name, option)
  2    the system failed (lake, registry, disk, memory)
  130  cancelled with Ctrl-C";

/// Keeps the results of queries over a DuckLake fresh.
///
/// You write a SELECT and say how stale its result may be; a dynamic table holds the result and follows its
/// sources, reading only what changed where the query allows it.
#[derive(Debug, Parser)]
#[command(name = "dynamic-tables", bin_name = "dynamic-tables", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 118)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Where the lake and the registry are, and how to talk.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Settings that every verb understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings (flag > environment > file > default)")]
pub struct SettingArgs {
    /// The lake: a catalog file (`./lake.ducklake`), any `ducklake:` string (`ducklake:sqlite:lake.sqlite`,
    /// `ducklake:postgres:dbname=lake host=db`), or `:memory:` for trying things out
    #[arg(long, global = true, value_name = "LAKE", env = "DYNAMIC_TABLES_DUCKDB_PATH", hide_env_values = true)]
    #[arg(default_value = super::config::DEFAULT_LAKE)]
    pub duckdb_path: Option<String>,

    /// The folder of the lake's data files, local or `s3://`. An existing lake knows its own
    #[arg(long, global = true, value_name = "FOLDER", env = "DYNAMIC_TABLES_DATA_PATH", hide_env_values = true)]
    pub data_path: Option<String>,

    /// The name of the lake in SQL
    #[arg(long, global = true, value_name = "NAME", env = "DYNAMIC_TABLES_LAKE_ALIAS", hide_env_values = true)]
    #[arg(default_value = "lake", hide_short_help = true)]
    pub lake_alias: Option<String>,

    /// The schema of names written without one
    #[arg(long, global = true, value_name = "NAME", env = "DYNAMIC_TABLES_SCHEMA", hide_env_values = true)]
    #[arg(default_value = "main", hide_short_help = true)]
    pub schema: Option<String>,

    /// The schema of the catalog database that holds the lake's metadata
    #[arg(long, global = true, value_name = "NAME", env = "DYNAMIC_TABLES_METADATA_SCHEMA", hide_env_values = true)]
    #[arg(hide_short_help = true)]
    pub metadata_schema: Option<String>,

    /// The registry: `postgresql://user:password@host/database?sslmode=require` when several workers share it.
    /// Without it, a file `dynamic_tables.sqlite` beside the lake
    #[arg(long, global = true, value_name = "URL", env = "DYNAMIC_TABLES_PG_URL", hide_env_values = true)]
    pub pg_url: Option<String>,

    /// DuckDB settings and lake options, such as `threads=8;memory_limit='12GB'`
    #[arg(long, global = true, value_name = "K=V;...", env = "DYNAMIC_TABLES_DUCKDB_SETTINGS")]
    #[arg(hide_env_values = true, allow_hyphen_values = true)]
    pub duckdb_settings: Option<String>,

    /// Where DuckDB's extensions are; without it DuckDB's own folder
    #[arg(long, global = true, value_name = "FOLDER", env = "DYNAMIC_TABLES_EXTENSION_DIRECTORY")]
    #[arg(hide_env_values = true, hide_short_help = true)]
    pub extension_directory: Option<String>,

    /// How much is logged to stderr: TRACE, DEBUG, INFO, WARNING or ERROR [default: INFO for the worker, else WARNING]
    #[arg(long, global = true, value_name = "LEVEL", env = "DYNAMIC_TABLES_LOG_LEVEL", hide_env_values = true)]
    pub log_level: Option<String>,

    /// How a log line looks: text or json
    #[arg(long, global = true, value_name = "FORMAT", env = "DYNAMIC_TABLES_LOG_FORMAT", hide_env_values = true)]
    #[arg(default_value = "text", hide_short_help = true)]
    pub log_format: Option<String>,

    /// How results are printed: table, json or csv; a graph also as dot, an explanation as dot or svg
    #[arg(long, global = true, value_name = "FORMAT", env = "DYNAMIC_TABLES_FORMAT", hide_env_values = true)]
    #[arg(default_value = "table")]
    pub format: Option<String>,

    /// The configuration file; without it `dynamic-tables.toml` in the current directory, if there is one
    #[arg(long, global = true, value_name = "FILE", env = "DYNAMIC_TABLES_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create dynamic tables from files of SQL
    Create(CreateArgs),
    /// Check files of SQL without creating anything
    Validate(ValidateArgs),
    /// List the dynamic tables
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one dynamic table: columns, properties, sources, readers, its statement
    Describe(DescribeArgs),
    /// Show how fresh dynamic tables are and how their last refresh went
    Status(StatusArgs),
    /// Change properties of a dynamic table
    Alter(AlterArgs),
    /// Bring dynamic tables up to date now
    Refresh(RefreshArgs),
    /// Stop refreshing dynamic tables, and those that read them
    Suspend(NamesArgs),
    /// Refresh suspended dynamic tables again, and those that read them
    Resume(NamesArgs),
    /// Remove dynamic tables and what they hold
    Drop(DropArgs),
    /// Give a dynamic table another name
    Rename(RenameArgs),
    /// Show past refreshes
    History(HistoryArgs),
    /// Show which dynamic tables read what, with the state and lag of each
    Graph(GraphArgs),
    /// Watch workers, running refreshes and the most urgent dynamic tables
    Top(TopArgs),
    /// Show how a dynamic table is refreshed, and why so
    Explain(ExplainArgs),
    /// Compare dynamic tables with what their queries give at their data version
    Verify(VerifyArgs),
    /// Measure on a copy which way of refreshing a dynamic table is the quickest
    Bench(BenchArgs),
    /// Run SQL on the lake: our statements and DuckDB's; without input a shell
    Sql(SqlArgs),
    /// Keep all dynamic tables fresh until told to stop
    Worker(WorkerArgs),
    /// Answer over HTTP: tables, tasks, SQL, figures, and a page to look at
    Serve(ServeArgs),
    /// Watch it work: months of real flights, then day after day arrives
    Demo(DemoArgs),
    /// Keep named ways to data outside of the lake, and their secrets
    Connection(ConnectionArgs),
    /// Print the settings in force and where each came from
    Config,
    /// List or install the DuckDB extensions that are needed
    Extensions(ExtensionsArgs),
    /// Check engine, extensions, lake, registry, disk and memory, and say what to do about what is wrong
    Doctor,
    /// Print the completions for a shell
    #[command(hide = true)]
    Completions(CompletionsArgs),
    /// The process in which a preview runs
    #[command(hide = true)]
    Sandbox(SandboxArgs),
}

/// Arguments of `sandbox`.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// How much it may take, as JSON
    pub setup: String,
}

/// Arguments of `extensions`.
#[derive(Debug, Args)]
pub struct ExtensionsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ExtensionsCommand,
}

/// What can be done with extensions.
#[derive(Debug, Subcommand)]
pub enum ExtensionsCommand {
    /// List the extensions, whether each is installed, and where
    List,
    /// Install extensions: from DuckDB's repository, else from the Python package index that pip is set up for
    Install(InstallArgs),
}

/// Arguments of `extensions install`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables extensions install                     # those that are always needed
  dynamic-tables extensions install postgres_scanner httpfs
  dynamic-tables extensions install --repository https://mirror.example.com/duckdb")]
pub struct InstallArgs {
    /// The extensions; without a name all that the product uses
    pub names: Vec<String>,
    /// A mirror of DuckDB's repository: an address or a folder
    #[arg(long, value_name = "ADDRESS")]
    pub repository: Option<String>,
    /// A package index other than the one that pip is set up for
    #[arg(long, value_name = "URL")]
    pub package_index: Option<String>,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
The demo makes a lake of its own from the flights of 2013 and leaves it there to look around. Its dynamic
tables are those of examples/flights/dynamic_tables.sql. Ends with exit code 2 if one differs from its query.

Examples:
  dynamic-tables demo
  dynamic-tables demo --days 14
  dynamic-tables demo --data /data/flights --keep /tmp/flights-lake")]
pub struct DemoArgs {
    /// The folder with the flights: `examples/flights/data` of the sources
    #[arg(long, value_name = "DIR", default_value = "examples/flights/data")]
    pub data: PathBuf,
    /// The folder for the lake. That of an earlier demo is made anew; any other must be empty
    #[arg(long, value_name = "DIR", default_value = "demo-lake")]
    pub keep: PathBuf,
    /// How many days arrive
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub days: u32,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_named_the_same_in_the_environment() {
        let command = Cli::command();
        let [worker, serve] = ["worker", "serve"].map(|name| command.find_subcommand(name).unwrap().clone());
        let mut checked = 0;
        for argument in command.get_arguments().chain(worker.get_arguments()).chain(serve.get_arguments()) {
            let (Some(long), Some(env)) = (argument.get_long(), argument.get_env()) else { continue };
            let expected = format!("DYNAMIC_TABLES_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(env.to_str(), Some(expected.as_str()));
            assert!(argument.is_hide_env_values_set(), "--help must not print the value of {expected}");
            checked += 1;
        }
        assert!(checked >= 15, "{checked}");
    }
}
