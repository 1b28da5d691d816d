//! What can be said to verbs about dynamic tables and SQL.

use std::path::PathBuf;

use clap::Args;

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
    /// When files were rewritten in place of when tables were refreshed
    #[arg(long)]
    pub compactions: bool,
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
