//! PostgreSQL: how it is opened, and how our values become its own types.

use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::migrate::Migrator;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgRow, PgTypeInfo,
    PgValueRef, Postgres,
};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Decode, Encode, PgConnection, Row as _, Type};

use crate::dialect::Dialect;
use crate::failure::{translate, translate_migration};
use crate::migrations;
use crate::statement::{Statement, Value};

/// How long an unreachable server is waited for.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const MAX_CONNECTIONS: u32 = 4;

pub(crate) const DIALECT: Dialect = Dialect {
    sources: "(SELECT coalesce(jsonb_agg(jsonb_build_object('schema_name', s.schema_name, \
         'name', s.name, 'kind', s.kind, 'lake_table_id', s.lake_table_id, 'upstream_id', s.upstream_id, \
         'columns', s.columns) ORDER BY s.position), '[]') FROM dynamic_table_source s WHERE s.table_id = t.id)",
    now: "clock_timestamp()",
    later,
    notify: " RETURNING pg_notify('dynamic_tables_' || 'registry_state'::regclass::oid, '')",
    lock_to_refer: " FOR KEY SHARE",
    lock_to_change: " FOR NO KEY UPDATE",
    lock_to_delete: " FOR UPDATE",
};

/// The channel of notifications. Several registries may share a database, each with tables of its own.
const CHANNEL: &str = "SELECT 'dynamic_tables_' || 'registry_state'::regclass::oid";

fn later(milliseconds: &str) -> String {
    format!("clock_timestamp() + ({milliseconds}) * interval '1 millisecond'")
}

/// Connects, brings the tables up to date, and gives the pool.
pub(crate) async fn open(options: PgConnectOptions) -> Result<PgPool> {
    let options = options.disable_statement_logging();
    // The pool would hide why it cannot connect; a first connection of our own says it. It is closed afterwards, and
    // with it the migration lock, whatever happened.
    let connecting = tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(&options));
    let mut connection = connecting.await.map_err(|_| no_answer(CONNECT_LIMIT))?.map_err(translate)?;
    let migrated = migrate(&mut connection).await;
    let closed = connection.close().await;
    migrated?;
    closed.map_err(translate)?;
    Ok(PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(CONNECT_LIMIT)
        .connect_lazy_with(options))
}

async fn migrate(connection: &mut PgConnection) -> Result<()> {
    let migrator: Migrator = migrations::postgres();
    // That tables exist already is no news; sqlx would log it.
    sqlx::query("SET client_min_messages = warning").execute(&mut *connection).await.map_err(translate)?;
    migrator.run_direct(None, connection, false).await.map_err(translate_migration)
}

/// A connection that hears of news. It has a pool of its own, so that it takes no connection from the others.
pub(crate) struct Listener {
    pool: PgPool,
    listener: PgListener,
}

impl Listener {
    pub(crate) async fn connect(options: PgConnectOptions) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_LIMIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await.map_err(translate)?;
        // What is said while it is away would be lost: whoever listens has to know.
        listener.eager_reconnect(false);
        let row = sqlx::query(CHANNEL).fetch_one(&mut listener).await.map_err(translate)?;
        let channel: String = row.try_get(0).map_err(translate)?;
        listener.listen(&channel).await.map_err(translate)?;
        Ok(Self { pool, listener })
    }

    /// Asks over the same connection.
    pub(crate) async fn fetch(&mut self, statement: Statement) -> Result<Vec<PgRow>> {
        query(statement).fetch_all(&mut self.listener).await.map_err(translate)
    }

    /// Until somebody says that there is news; also news from before that nobody has waited for.
    pub(crate) async fn heard(&mut self) -> Result<()> {
        match self.listener.try_recv().await.map_err(translate)? {
            Some(_) => Ok(()),
            None => Err(Error::new(Code::Connection, "the connection to the registry was lost")),
        }
    }

    pub(crate) async fn close(self) {
        drop(self.listener);
        self.pool.close().await;
    }
}

/// The error for a database that does not say anything.
pub(crate) fn no_answer(limit: Duration) -> Error {
    Error::new(Code::Connection, format!("the registry did not answer within {} seconds", limit.as_secs()))
        .with_hint("Check that the database runs and that host and port in the registry's URL are right.")
}

/// The statement with its values, ready to run.
pub(crate) fn query(statement: Statement) -> Query<'static, Postgres, PgArguments> {
    // Only names of ours are in the text; what users give are values.
    let mut query = sqlx::query(AssertSqlSafe(statement.sql));
    for value in statement.values {
        query = match value {
            Value::Text(value) => query.bind(value),
            Value::Integer(value) => query.bind(value),
            Value::Real(value) => query.bind(value),
            Value::Boolean(value) => query.bind(value),
            Value::Time(value) => query.bind(value.map(Instant)),
            Value::Id(value) => query.bind(value),
            Value::Json(value) => query.bind(value.map(Json)),
        };
    }
    query
}

/// A time as `timestamptz`: microseconds since the year 2000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant(pub(crate) Timestamp);

const TIMESTAMPTZ: Oid = Oid(1184);
const YEAR_2000_IN_MICROSECONDS: i64 = 946_684_800_000_000;

impl Type<Postgres> for Instant {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Instant {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> std::result::Result<IsNull, BoxDynError> {
        let microseconds = self.0.as_microsecond() - YEAR_2000_IN_MICROSECONDS;
        Encode::<Postgres>::encode(microseconds, buffer)
    }
}

impl Decode<'_, Postgres> for Instant {
    fn decode(value: PgValueRef<'_>) -> std::result::Result<Self, BoxDynError> {
        let microseconds = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let since_1970 = microseconds.checked_add(YEAR_2000_IN_MICROSECONDS).ok_or("the time is infinite")?;
        Ok(Self(Timestamp::from_microsecond(since_1970)?))
    }
}
