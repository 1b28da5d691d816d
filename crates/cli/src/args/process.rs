//! What can be said to processes that stay: the worker and the server.

use clap::Args;

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

    /// Where OpenLineage events of refreshes go: an address, `file:PATH` or `console` [default: nowhere]
    #[arg(long, value_name = "TARGET", env = "DYNAMIC_TABLES_OPENLINEAGE_URL", hide_env_values = true)]
    pub openlineage_url: Option<String>,

    /// The key that is shown to the catalog of lineage. Rather in the environment or the file than here
    #[arg(long, value_name = "KEY", env = "DYNAMIC_TABLES_OPENLINEAGE_API_KEY", hide_env_values = true)]
    pub openlineage_api_key: Option<String>,

    /// The namespace of jobs and datasets in these events
    #[arg(long, value_name = "NAME", env = "DYNAMIC_TABLES_OPENLINEAGE_NAMESPACE", hide_env_values = true)]
    #[arg(default_value = "dynamic-tables")]
    pub openlineage_namespace: Option<String>,
}
