//! SQLite: how a file is opened, and how our values become what it can hold.

use std::path::Path;
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use sqlx::migrate::Migrator;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::dialect::Dialect;
use crate::failure::{is_busy, translate, translate_migration};
use crate::location::Location;
use crate::migrations;
use crate::statement::{Statement, Value};

/// How long a writer waits for another one.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: u32 = 4;
/// Switching a new file to its journal does not wait for others, so it is tried again.
const OPEN_ATTEMPTS: u32 = 40;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

pub(crate) const DIALECT: Dialect = Dialect {
    sources: "(SELECT json_group_array(json_object('schema_name', s.schema_name, \
         'name', s.name, 'kind', s.kind, 'lake_table_id', s.lake_table_id, 'upstream_id', s.upstream_id, \
         'columns', json(s.columns)) ORDER BY s.position) FROM dynamic_table_source s WHERE s.table_id = t.id)",
    // Written as times of ours are, so that the texts compare as times do.
    now: "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
    later,
    // Those who wait look every now and then.
    notify: "",
    // There is one writer at a time.
    lock_to_refer: "",
    lock_to_change: "",
    lock_to_delete: "",
};

fn later(milliseconds: &str) -> String {
    format!("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', printf('%+.3f seconds', ({milliseconds}) / 1000.0))")
}

/// Opens or makes the file, brings its tables up to date, and gives the pool.
pub(crate) async fn open_file(path: &Path) -> Result<SqlitePool> {
    Location::check_folder(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_LIMIT)
        .foreign_keys(true)
        .disable_statement_logging();
    let mut connection = connect(&options).await?;
    migrate(&mut connection).await?;
    connection.close().await.map_err(translate)?;
    Ok(SqlitePoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(BUSY_LIMIT + BUSY_LIMIT)
        // On a full disk SQLite rolls back by itself. The driver's rollback then fails, and it believes for ever that the
        // connection is in a transaction.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .connect_lazy_with(options))
}

/// A registry in memory: one connection, kept for ever, since it *is* the database.
pub(crate) async fn open_memory() -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true).disable_statement_logging();
    let only_one =
        SqlitePoolOptions::new().min_connections(1).max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = only_one.connect_with(options).await.map_err(translate)?;
    migrate(&mut *pool.acquire().await.map_err(translate)?).await?;
    Ok(pool)
}

async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection> {
    let mut attempt = 1;
    loop {
        match options.connect().await {
            Err(cause) if is_busy(&cause) && attempt < OPEN_ATTEMPTS => tokio::time::sleep(OPEN_PAUSE).await,
            result => return result.map_err(translate),
        }
        attempt += 1;
    }
}

/// All migrations in one transaction that excludes other writers from its beginning: sqlx has no lock of its own for
/// SQLite, and two processes may open a new file at once.
async fn migrate(connection: &mut SqliteConnection) -> Result<()> {
    let migrator: Migrator = migrations::sqlite();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(translate)?;
    migrator.run_direct(None, &mut *transaction, false).await.map_err(translate_migration)?;
    transaction.commit().await.map_err(translate)
}

/// The statement with its values, ready to run.
pub(crate) fn query(statement: Statement) -> Query<'static, Sqlite, SqliteArguments> {
    // Only names of ours are in the text; what users give are values.
    let mut query = sqlx::query(AssertSqlSafe(statement.sql));
    for value in statement.values {
        query = match value {
            Value::Text(value) => query.bind(value),
            Value::Integer(value) => query.bind(value),
            Value::Real(value) => query.bind(value),
            Value::Boolean(value) => query.bind(value),
            Value::Time(value) => query.bind(value.map(time_text)),
            Value::Id(value) => query.bind(value.map(|id| id.to_string())),
            Value::Json(value) => query.bind(value.map(Json)),
        };
    }
    query
}

/// Always with six decimals, so that texts are ordered as times are.
fn time_text(time: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    PRINTER.timestamp_to_string(&time)
}
