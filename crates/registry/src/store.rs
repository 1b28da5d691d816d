//! The one place where the two databases are told apart: connections, transactions, and the clock that limits them.
//!
//! Everything above this is written once, in SQL that both understand.

use std::time::Duration;

use error::{Code, Error, Result};
use sqlx::postgres::{PgPool, Postgres};
use sqlx::sqlite::{Sqlite, SqlitePool};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::failure::translate;
use crate::location::Location;
use crate::row::Row;
use crate::statement::Statement;
use crate::{postgres, sqlite};

/// No operation takes longer; a connection that the network swallowed would otherwise block for ever.
const OPERATION_LIMIT: Duration = Duration::from_secs(30);

/// An open registry. Blocks the calling thread; the runtime inside is its own.
pub(crate) struct Store {
    pool: Pool,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// A transaction, rolled back unless it is committed.
pub(crate) enum Transaction {
    Postgres(sqlx::Transaction<'static, Postgres>),
    Sqlite(sqlx::Transaction<'static, Sqlite>),
}

impl Store {
    pub(crate) fn open(location: &Location) -> Result<Self> {
        // One thread beside the callers: it drives timers and connections while nobody waits for them.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(|cause| Error::new(Code::Resource, format!("no thread for the registry: {cause}")))?;
        let opening = async {
            Ok(match location {
                Location::Postgres(options) => Pool::Postgres(postgres::open((**options).clone()).await?),
                Location::File(path) => Pool::Sqlite(sqlite::open_file(path).await?),
                Location::Memory => Pool::Sqlite(sqlite::open_memory().await?),
            })
        };
        let pool = runtime.block_on(limited(opening))?;
        Ok(Self { pool, runtime: Some(runtime) })
    }

    /// The expression that gives a table's sources as JSON.
    pub(crate) fn sources_expression(&self) -> &'static str {
        match self.pool {
            Pool::Postgres(_) => postgres::SOURCES,
            Pool::Sqlite(_) => sqlite::SOURCES,
        }
    }

    /// Runs one query by itself.
    pub(crate) fn fetch(&self, statement: Statement) -> Result<Vec<Row>> {
        self.block_on(async {
            Ok(match &self.pool {
                Pool::Postgres(pool) => {
                    let rows = postgres::query(statement).fetch_all(pool).await.map_err(translate)?;
                    rows.into_iter().map(Row::Postgres).collect()
                }
                Pool::Sqlite(pool) => {
                    let rows = sqlite::query(statement).fetch_all(pool).await.map_err(translate)?;
                    rows.into_iter().map(Row::Sqlite).collect()
                }
            })
        })
    }

    /// Runs one changing statement by itself; the number of rows it changed.
    pub(crate) fn execute(&self, statement: Statement) -> Result<u64> {
        self.transaction(async |transaction| transaction.execute(statement).await)
    }

    /// Does all of `work` or nothing.
    pub(crate) fn transaction<T>(&self, work: impl AsyncFnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        self.block_on(async {
            let mut transaction = match &self.pool {
                Pool::Postgres(pool) => Transaction::Postgres(pool.begin().await.map_err(translate)?),
                // A transaction that began by reading could not become a writing one while another one writes.
                Pool::Sqlite(pool) => {
                    Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await.map_err(translate)?)
                }
            };
            let result = work(&mut transaction).await?;
            match transaction {
                Transaction::Postgres(transaction) => transaction.commit().await,
                Transaction::Sqlite(transaction) => transaction.commit().await,
            }
            .map_err(translate)?;
            Ok(result)
        })
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(limited(work)),
            None => Err(Error::new(Code::Internal, "the registry is closed")),
        }
    }
}

async fn limited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(OPERATION_LIMIT, work).await {
        Ok(result) => result,
        Err(_) => Err(postgres::no_answer(OPERATION_LIMIT)),
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // Closing tells the server, and lets SQLite tidy up its journal. Inside another runtime blocking is not
        // allowed; there the connections simply end.
        if Handle::try_current().is_err() {
            let closing = async {
                match &self.pool {
                    Pool::Postgres(pool) => pool.close().await,
                    Pool::Sqlite(pool) => pool.close().await,
                }
                Ok(())
            };
            let _ = runtime.block_on(limited(closing));
        }
        runtime.shutdown_background();
    }
}

impl Transaction {
    /// Runs a statement; the number of rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64> {
        self.attempt(statement).await.map_err(translate)
    }

    /// The same, for callers that know what a violated constraint means.
    pub(crate) async fn attempt(&mut self, statement: Statement) -> sqlx::Result<u64> {
        Ok(match self {
            Self::Postgres(transaction) => {
                postgres::query(statement).execute(&mut **transaction).await?.rows_affected()
            }
            Self::Sqlite(transaction) => sqlite::query(statement).execute(&mut **transaction).await?.rows_affected(),
        })
    }
}
