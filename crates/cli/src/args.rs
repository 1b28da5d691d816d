//! What can be said on the command line: the verbs, their options, and the help that teaches them.
//!
//! Only types; what a verb does is in `commands/<verb>.rs`. Every option that is a *setting* (it can also come from
//! the environment or the configuration file) is a plain text here: `config` resolves and checks it, so that a wrong
//! value is reported the same way wherever it came from. The long name of the option, with `DYNAMIC_TABLES_` in front
//! and in capitals, is its name in the environment, and without the dashes its key in the file.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

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

/// Arguments of `connection`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables connection create crm --kind postgres --set host=db --set database=crm --set user=reader \\
      --secret-stdin password < /run/secrets/crm
  dynamic-tables connection test crm
  dynamic-tables connection list
  dynamic-tables connection rotate                          # after a change of the encryption key")]
pub struct ConnectionArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ConnectionCommand,
}

/// What can be done with connections.
#[derive(Debug, Subcommand)]
pub enum ConnectionCommand {
    /// List the connections, without their secrets
    List,
    /// Show one connection, without its secrets
    Describe {
        /// The connection
        name: String,
    },
    /// Make a connection
    Create(CreateConnectionArgs),
    /// Forget a connection
    Drop {
        /// The connection
        name: String,
        /// A connection that is not there is no error
        #[arg(long)]
        if_exists: bool,
    },
    /// See whether what is at the other end can be reached
    Test {
        /// The connection
        name: String,
    },
    /// Seal every secret anew that was sealed with an old key or in the old form
    Rotate,
}

/// Arguments of `connection create`.
#[derive(Debug, Args)]
pub struct CreateConnectionArgs {
    /// Its name
    pub name: String,
    /// What it leads to: postgres, files (or s3), ducklake or iceberg-rest
    #[arg(long, value_name = "KIND")]
    pub kind: String,
    /// A setting; may be given several times. Rather not a secret: arguments are seen by others on the machine
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// The secret whose value is read from standard input
    #[arg(long, value_name = "NAME")]
    pub secret_stdin: Option<String>,
    /// Replace one of the name
    #[arg(long, conflicts_with = "if_not_exists")]
    pub or_replace: bool,
    /// Leave one of the name alone
    #[arg(long)]
    pub if_not_exists: bool,
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(after_help = "\
A file holds one or more CREATE DYNAMIC TABLE statements, each ended by a semicolon:

    -- how late flights are, per day
    CREATE DYNAMIC TABLE delays
      TARGET_LAG = '5 minutes'          -- or '1 hour', '1 day', DOWNSTREAM
      REFRESH_MODE = AUTO               -- or INCREMENTAL, FULL
      INITIALIZE = ON_CREATE            -- or ON_SCHEDULE
      COMMENT = 'mean delay per day'
    AS
      SELECT day, avg(delay) AS delay FROM flights GROUP BY day;

CREATE OR REPLACE, CREATE OR ALTER and IF NOT EXISTS make a file safe to run again. Every statement is checked
before the first one runs.

Examples:
  dynamic-tables create -f delays.sql
  dynamic-tables create -f delays.sql -f carriers.sql
  generate-sql | dynamic-tables create -f -")]
pub struct CreateArgs {
    /// A file of statements, or `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub files: Vec<String>,
}

/// Arguments of `validate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables validate -f delays.sql
  dynamic-tables validate -f delays.sql --format json      # for CI; exit code 1 if a check failed")]
pub struct ValidateArgs {
    /// A file of statements, or `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub files: Vec<String>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables list
  dynamic-tables list --like 'daily_%'
  dynamic-tables list --lag --since 7d                     # how well the target lags were kept
  dynamic-tables list --format json | jq '.[] | select(.scheduling_state != \"RUNNING\")'")]
pub struct ListArgs {
    /// Only tables whose name is like this; % stands for any text, _ for any one character
    #[arg(long, value_name = "PATTERN")]
    pub like: Option<String>,
    /// Show how far the content lay back over a stretch of time, instead of how the last refresh went
    #[arg(long)]
    pub lag: bool,
    /// How far back the lag is looked at: `90 minutes`, `7d`, or a moment such as 2026-01-31T08:00Z
    #[arg(long, value_name = "WHEN", default_value = DAY, requires = "lag")]
    pub since: String,
}

/// The stretch of time that lag is looked at over, if nobody says another.
const DAY: &str = "24 hours";

/// Arguments of `describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The dynamic table: `name`, `schema.name` or `lake.schema.name`
    pub name: String,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables status
  dynamic-tables status daily
  dynamic-tables status daily --since 7d
  dynamic-tables status --format csv")]
pub struct StatusArgs {
    /// The dynamic tables; without a name all
    pub names: Vec<String>,
    /// How far back the lag is looked at: `90 minutes`, `7d`, or a moment such as 2026-01-31T08:00Z
    #[arg(long, value_name = "WHEN", default_value = DAY)]
    pub since: String,
}

/// Arguments of `alter`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables alter daily --set TARGET_LAG='1 hour'
  dynamic-tables alter daily --set \"COMMENT=orders per day\" --set CARDINALITY_THRESHOLD=0.5
  dynamic-tables alter daily --unset COMMENT")]
pub struct AlterArgs {
    /// The dynamic table
    pub name: String,
    /// A property and its value; may be given several times
    #[arg(long, value_name = "PROPERTY=VALUE", required_unless_present = "unset")]
    pub set: Vec<String>,
    /// A property to set back to its default; may be given several times
    #[arg(long, value_name = "PROPERTY")]
    pub unset: Vec<String>,
}

/// Arguments of `refresh`.
#[derive(Debug, Args)]
#[command(after_help = "\
The dynamic tables that the named ones read are refreshed with them, so that all show one version of the lake.

Examples:
  dynamic-tables refresh                    # all
  dynamic-tables refresh daily carriers
  dynamic-tables refresh daily --full       # compute everything again
  dynamic-tables refresh daily --dry-run    # show what would change, change nothing")]
pub struct RefreshArgs {
    /// The dynamic tables; without a name all
    pub names: Vec<String>,
    /// Compute the whole result again instead of its change
    #[arg(long)]
    pub full: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of verbs that take one or more dynamic tables.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// The dynamic tables
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// Arguments of `drop`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables drop daily
  dynamic-tables drop flights_wide --cascade   # and every dynamic table that reads it")]
pub struct DropArgs {
    /// The dynamic tables
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Say nothing if there is no such dynamic table
    #[arg(long)]
    pub if_exists: bool,
    /// Also drop the dynamic tables that read them
    #[arg(long)]
    pub cascade: bool,
}

/// Arguments of `rename`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dynamic-tables rename daily daily_orders")]
pub struct RenameArgs {
    /// The dynamic table
    pub name: String,
    /// Its new name
    pub new_name: String,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables history
  dynamic-tables history daily --limit 50
  dynamic-tables history --errors --since 7d
  dynamic-tables history daily --format json | jq '.[0]'")]
pub struct HistoryArgs {
    /// The dynamic table; without a name all
    pub name: Option<String>,
    /// How many refreshes at most, the latest first
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true)]
    pub limit: u32,
    /// Only those that failed, or were not tried since what they read had failed
    #[arg(long)]
    pub errors: bool,
    /// Only those that began since: `90 minutes`, `7d`, or a moment such as 2026-01-31T08:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
}

/// Arguments of `graph`.
#[derive(Debug, Args)]
#[command(after_help = "\
Under each table stand those that read it. One that reads several is described where it is named first.

Examples:
  dynamic-tables graph
  dynamic-tables graph daily                        # what it reads and what reads it, however far away
  dynamic-tables graph --format dot | dot -Tsvg > graph.svg
  dynamic-tables graph --format json
  dynamic-tables graph daily --history              # what it was when")]
pub struct GraphArgs {
    /// Only what this table or dynamic table reads, directly or not, and what reads it
    pub name: Option<String>,
    /// Show what the dynamic tables were when instead, the latest first
    #[arg(long)]
    pub history: bool,
    /// How many periods of the history at most
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true, requires = "history")]
    pub limit: u32,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal it is looked at again every second, until q is pressed. Where there is none it is printed once.

Examples:
  dynamic-tables top
  dynamic-tables top --once
  dynamic-tables top --format json | jq '.tables[] | select(.activity == \"DUE\")'")]
pub struct TopArgs {
    /// Print it once
    #[arg(long)]
    pub once: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The dynamic table
    pub name: String,
    /// Also print the SQL that a refresh runs
    #[arg(long)]
    pub sql: bool,
    /// Refresh it now, and show where the time of that goes
    #[arg(long, conflicts_with = "sql")]
    pub analyze: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with exit code 2 if a dynamic table differs from its query.

Examples:
  dynamic-tables verify
  dynamic-tables verify daily")]
pub struct VerifyArgs {
    /// The dynamic tables; without a name all
    pub names: Vec<String>,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the table reads is copied into a lake of its own, as it was before its last changes, and these are made to it again,
forth and back. After each the copy of the table is refreshed in full, incrementally and as AUTO chooses. The table, its
sources and the registry stay as they are; the copy is removed at the end, also after Ctrl-C (once).

Examples:
  dynamic-tables bench daily
  dynamic-tables bench daily --rounds 9 --folder /mnt/scratch --format json")]
pub struct BenchArgs {
    /// The dynamic table
    pub name: String,
    /// How many refreshes of each way are measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Where the copy is made [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Arguments of `sql`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables sql                                        # a shell; .help shows what it knows
  dynamic-tables sql -c 'SELECT count(*) FROM orders'
  dynamic-tables sql -c 'SHOW DYNAMIC TABLES' --format json
  dynamic-tables sql -f changes.sql
  dynamic-tables sql < changes.sql")]
pub struct SqlArgs {
    /// Statements to run; may be given several times
    #[arg(short, long = "command", value_name = "SQL")]
    pub commands: Vec<String>,
    /// A file of statements to run, or `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<String>,
}

/// Arguments of `worker`.
#[derive(Debug, Args)]
#[command(after_help = "\
The worker looks at least every poll interval what is due, refreshes it in dependency order, and logs one
line per refresh. SIGTERM or Ctrl-C lets the refresh that runs finish within the grace period; a second
signal ends it at once.

Examples:
  dynamic-tables worker
  dynamic-tables worker --pg-url postgresql://localhost:5432/metadata \\
      --duckdb-path /data/lake.ducklake --poll-interval 30 \\
      --duckdb-settings \"threads=8;memory_limit='12GB'\"
  DYNAMIC_TABLES_LOG_LEVEL=DEBUG dynamic-tables worker --log-format json")]
pub struct WorkerArgs {
    /// Settings of the worker.
    #[command(flatten)]
    pub settings: WorkerSettingArgs,
    /// Refresh once what is due, then end
    #[arg(long, conflicts_with = "serve")]
    pub once: bool,
    /// Answer over HTTP besides, as `serve` does; its settings come from the environment and the file
    #[arg(long)]
    pub serve: bool,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dynamic-tables serve                                      # then look at http://127.0.0.1:8642
  curl -d 'SELECT * FROM daily' -H 'Content-Type: application/sql' http://127.0.0.1:8642/api/v1/sql
  DYNAMIC_TABLES_TOKENS='ann=read:...;ci=admin:...' dynamic-tables serve --listen 0.0.0.0:8642
  dynamic-tables worker --serve                             # one process that refreshes and answers")]
pub struct ServeArgs {
    /// Settings of the server.
    #[command(flatten)]
    pub settings: ServeSettingArgs,
}

/// Settings that only the server understands.
#[derive(Debug, Args)]
pub struct ServeSettingArgs {
    /// Where to listen. Any other address than a loopback one takes tokens
    #[arg(long, value_name = "ADDRESS", env = "DYNAMIC_TABLES_LISTEN", hide_env_values = true)]
    #[arg(default_value = "127.0.0.1:8642")]
    pub listen: Option<String>,

    /// Where to listen for Arrow Flight SQL [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "DYNAMIC_TABLES_FLIGHT", hide_env_values = true)]
    pub flight: Option<String>,

    /// The file of a certificate in PEM: HTTP and Flight then speak TLS
    #[arg(long, value_name = "FILE", env = "DYNAMIC_TABLES_TLS_CERTIFICATE", hide_env_values = true)]
    pub tls_certificate: Option<String>,

    /// The file of the certificate's key in PEM
    #[arg(long, value_name = "FILE", env = "DYNAMIC_TABLES_TLS_KEY", hide_env_values = true)]
    pub tls_key: Option<String>,

    /// A file for one line of JSON about every statement that changes something [default: only the log]
    #[arg(long, value_name = "FILE", env = "DYNAMIC_TABLES_AUDIT_LOG", hide_env_values = true)]
    pub audit_log: Option<String>,

    /// Who may do what: `name=role:token`, separated by `;`, with `@` and a date if it expires. Roles are read, operate
    /// and admin; instead of a token `sha256:` and its hash may stand. Rather in the environment or the file than here
    #[arg(long, value_name = "TOKENS", env = "DYNAMIC_TABLES_TOKENS", hide_env_values = true)]
    pub tokens: Option<String>,

    /// How many queries run at the same time
    #[arg(long, value_name = "NUMBER", env = "DYNAMIC_TABLES_MAX_QUERIES", hide_env_values = true)]
    #[arg(default_value = "4", allow_hyphen_values = true)]
    pub max_queries: Option<String>,

    /// Seconds that a query may take unless its client says otherwise
    #[arg(long, value_name = "SECONDS", env = "DYNAMIC_TABLES_QUERY_TIMEOUT", hide_env_values = true)]
    #[arg(default_value = "60", allow_hyphen_values = true)]
    pub query_timeout: Option<String>,

    /// How many requests per second one client may make
    #[arg(long, value_name = "NUMBER", env = "DYNAMIC_TABLES_REQUESTS_PER_SECOND", hide_env_values = true)]
    #[arg(default_value = "200", allow_hyphen_values = true)]
    pub requests_per_second: Option<String>,

    /// Whether previews are carried out by workers that serve the queue `preview`, rather than by the server itself
    #[arg(long, value_name = "BOOL", env = "DYNAMIC_TABLES_PREVIEW_WORKER", hide_env_values = true)]
    #[arg(default_value = "false", hide_short_help = true)]
    pub preview_worker: Option<String>,

    /// Seconds after which a preview is interrupted
    #[arg(long, value_name = "SECONDS", env = "DYNAMIC_TABLES_PREVIEW_SOFT_LIMIT", hide_env_values = true)]
    #[arg(default_value = "120", allow_hyphen_values = true, hide_short_help = true)]
    pub preview_soft_limit: Option<String>,

    /// Seconds after which the process of a preview is killed
    #[arg(long, value_name = "SECONDS", env = "DYNAMIC_TABLES_PREVIEW_HARD_LIMIT", hide_env_values = true)]
    #[arg(default_value = "180", allow_hyphen_values = true, hide_short_help = true)]
    pub preview_hard_limit: Option<String>,

    /// How many rows a preview shows unless it is asked for others
    #[arg(long, value_name = "NUMBER", env = "DYNAMIC_TABLES_PREVIEW_ROW_LIMIT", hide_env_values = true)]
    #[arg(default_value = "100", allow_hyphen_values = true, hide_short_help = true)]
    pub preview_row_limit: Option<String>,

    /// How much memory one preview may take
    #[arg(long, value_name = "SIZE", env = "DYNAMIC_TABLES_PREVIEW_MEMORY", hide_env_values = true)]
    #[arg(default_value = "1GB", hide_short_help = true)]
    pub preview_memory: Option<String>,

    /// How many previews run at the same time; others wait
    #[arg(long, value_name = "NUMBER", env = "DYNAMIC_TABLES_PREVIEW_CONCURRENCY", hide_env_values = true)]
    #[arg(default_value = "4", allow_hyphen_values = true, hide_short_help = true)]
    pub preview_concurrency: Option<String>,
}

/// Settings that only the worker understands.
#[derive(Debug, Args)]
pub struct WorkerSettingArgs {
    /// Seconds between two looks at what is due
    #[arg(long, value_name = "SECONDS", env = "DYNAMIC_TABLES_POLL_INTERVAL", hide_env_values = true)]
    #[arg(default_value = "60", allow_hyphen_values = true)]
    pub poll_interval: Option<String>,

    /// Seconds that a refresh that runs may take after the signal to stop
    #[arg(long, value_name = "SECONDS", env = "DYNAMIC_TABLES_GRACE_PERIOD", hide_env_values = true)]
    #[arg(default_value = "30", allow_hyphen_values = true)]
    pub grace_period: Option<String>,

    /// The name of this worker in history and logs [default: host name and process id]
    #[arg(long, value_name = "NAME", env = "DYNAMIC_TABLES_WORKER_NAME", hide_env_values = true)]
    pub worker_name: Option<String>,

    /// How many refreshes run at the same time
    #[arg(long, value_name = "NUMBER", env = "DYNAMIC_TABLES_CONCURRENCY", hide_env_values = true)]
    #[arg(default_value = "2", allow_hyphen_values = true)]
    pub concurrency: Option<String>,

    /// The queues whose tables are refreshed, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", env = "DYNAMIC_TABLES_QUEUES", hide_env_values = true)]
    pub queues: Option<String>,

    /// Seconds without a sign of life after which other workers take over what this one refreshes
    #[arg(long, value_name = "SECONDS", env = "DYNAMIC_TABLES_LEASE", hide_env_values = true)]
    #[arg(default_value = "300", allow_hyphen_values = true)]
    pub lease: Option<String>,

    /// Seconds between two signs of life
    #[arg(long, value_name = "SECONDS", env = "DYNAMIC_TABLES_HEARTBEAT_INTERVAL", hide_env_values = true)]
    #[arg(default_value = "30", allow_hyphen_values = true)]
    pub heartbeat_interval: Option<String>,

    /// Whether the files of tables that were refreshed are compacted when they need it: on or off
    #[arg(long, value_name = "on|off", env = "DYNAMIC_TABLES_COMPACTION", hide_env_values = true)]
    #[arg(default_value = "on")]
    pub compaction: Option<String>,
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
