//! What can be said about connections.

use clap::{Args, Subcommand};

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
