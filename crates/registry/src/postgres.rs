//! PostgreSQL: how it is opened, and how our values become its own types.

use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::migrate::Migrator;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgTypeInfo, PgValueRef, Postgres,
};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Decode, Encode, PgConnection, Type};

use crate::failure::{translate, translate_migration};
use crate::migrations;
use crate::statement::{Statement, Value};

/// How long an unreachable server is waited for.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const MAX_CONNECTIONS: u32 = 4;

/// A source document, for the one query that loads everything.
pub(crate) const SOURCES: &str = "(SELECT coalesce(jsonb_agg(jsonb_build_object('schema_name', s.schema_name, \
     'name', s.name, 'kind', s.kind, 'lake_table_id', s.lake_table_id, 'upstream_id', s.upstream_id, \
     'columns', s.columns) ORDER BY s.position), '[]') FROM dynamic_table_source s WHERE s.table_id = t.id)";

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
    migrator
        .run_direct(None, connection, false)
        .await
        .map_err(|cause| translate_migration(cause, migrations::newest(&migrator)))
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
