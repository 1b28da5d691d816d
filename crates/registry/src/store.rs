//! The one place where the two databases are told apart: connections, transactions, and the clock that limits them.
//!
//! Everything above this is written once, in SQL that both understand.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use failpoint::fail_point;
use sqlx::postgres::{PgPool, Postgres};
use sqlx::sqlite::{Sqlite, SqlitePool};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::dialect::Dialect;
use crate::failure::translate;
use crate::location::Location;
use crate::row::Row;
use crate::statement::Statement;
use crate::{postgres, sqlite};

/// No operation takes longer; a connection that the network swallowed would otherwise block for ever.
const OPERATION_LIMIT: Duration = Duration::from_secs(30);
/// How often a file is looked at by those who wait for news.
const LOOK_INTERVAL: Duration = Duration::from_millis(150);

/// An open registry. Blocks the calling thread; the runtime inside is its own.
pub(crate) struct Store {
    pool: Pool,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

enum Pool {
    Postgres {
        pool: PgPool,
        /// Kept between two calls that wait for news, so that it hears what is said in between.
        listener: Mutex<Option<postgres::Listener>>,
    },
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
                Location::Postgres(options) => {
                    Pool::Postgres { pool: postgres::open((**options).clone()).await?, listener: Mutex::new(None) }
                }
                Location::File(path) => Pool::Sqlite(sqlite::open_file(path).await?),
                Location::Memory => Pool::Sqlite(sqlite::open_memory().await?),
            })
        };
        let pool = runtime.block_on(limited(opening))?;
        Ok(Self { pool, runtime: Some(runtime) })
    }

    /// What this database says in words of its own.
    pub(crate) const fn dialect(&self) -> &'static Dialect {
        match self.pool {
            Pool::Postgres { .. } => &postgres::DIALECT,
            Pool::Sqlite(_) => &sqlite::DIALECT,
        }
    }

    /// Runs one query by itself.
    pub(crate) fn fetch(&self, statement: Statement) -> Result<Vec<Row>> {
        self.block_on(async {
            Ok(match &self.pool {
                Pool::Postgres { pool, .. } => {
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
        let done = self.transaction_or_none(async |transaction| work(transaction).await.map(Some))?;
        done.ok_or_else(|| Error::new(Code::Internal, "a transaction of the registry came to nothing"))
    }

    /// Does all of `work`, or nothing if it comes to none.
    pub(crate) fn transaction_or_none<T>(
        &self,
        work: impl AsyncFnOnce(&mut Transaction) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        self.block_on(async {
            let mut transaction = match &self.pool {
                Pool::Postgres { pool, .. } => Transaction::Postgres(pool.begin().await.map_err(translate)?),
                // A transaction that began by reading could not become a writing one while another one writes.
                Pool::Sqlite(pool) => {
                    Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await.map_err(translate)?)
                }
            };
            let result = work(&mut transaction).await?;
            fail_point!("registry-commit");
            match (transaction, &result) {
                (Transaction::Postgres(transaction), Some(_)) => transaction.commit().await,
                (Transaction::Postgres(transaction), None) => transaction.rollback().await,
                (Transaction::Sqlite(transaction), Some(_)) => transaction.commit().await,
                (Transaction::Sqlite(transaction), None) => transaction.rollback().await,
            }
            .map_err(translate)?;
            fail_point!("registry-committed");
            Ok(result)
        })
    }

    /// Asks until the answer is `ready`, whenever there may be another one, but not longer than `limit`: whether it
    /// became so.
    pub(crate) fn wait(
        &self,
        limit: Duration,
        question: &Statement,
        mut ready: impl FnMut(&Row) -> Result<bool>,
    ) -> Result<bool> {
        let deadline = Instant::now().checked_add(limit);
        let left = || deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        let mut is_ready = |rows: Vec<Row>| rows.first().map_or(Ok(false), &mut ready);
        let Pool::Postgres { pool, listener: kept } = &self.pool else {
            while !is_ready(self.fetch(question.clone())?)? {
                match left() {
                    Duration::ZERO => return Ok(false),
                    left => std::thread::sleep(left.min(LOOK_INTERVAL)),
                }
            }
            return Ok(true);
        };
        self.runtime()?.block_on(async {
            // Taken away from the others while it is used: another thread that waits gets one of its own.
            let connected = lock(kept).take();
            let mut listener = match connected {
                Some(listener) => listener,
                None => limited(postgres::Listener::connect((*pool.connect_options()).clone())).await?,
            };
            let in_time = loop {
                // Asked after it listens: what happens between this answer and the next wait is heard.
                let rows = limited(listener.fetch(question.clone())).await?;
                if is_ready(rows.into_iter().map(Row::Postgres).collect())? {
                    break true;
                }
                match tokio::time::timeout(left(), listener.heard()).await {
                    Ok(heard) => heard?,
                    Err(_) => break false,
                }
            };
            *lock(kept) = Some(listener);
            Ok(in_time)
        })
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let result = self.runtime()?.block_on(limited(work));
        SPENT.set(SPENT.get() + began.elapsed());
        result
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().ok_or_else(|| Error::new(Code::Internal, "the registry is closed"))
    }
}

thread_local! {
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// How long this thread has waited for answers of any registry so far. Of value is the difference of two of these.
#[must_use]
pub fn spent() -> Duration {
    SPENT.get()
}

/// What a thread has put in is whole, also if another one has panicked since.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
                    Pool::Postgres { pool, listener } => {
                        let listener = lock(listener).take();
                        if let Some(listener) = listener {
                            listener.close().await;
                        }
                        pool.close().await;
                    }
                    Pool::Sqlite(pool) => pool.close().await,
                }
                Ok(())
            };
            let _ = runtime.block_on(limited(closing));
        }
        if let Pool::Postgres { listener, .. } = &self.pool {
            // It says goodbye in a task, which belongs to its own runtime and not to the one that this may be dropped in.
            let _inside = runtime.enter();
            drop(lock(listener).take());
        }
        runtime.shutdown_background();
    }
}

impl Transaction {
    /// Runs a statement; the number of rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64> {
        self.attempt(statement).await.map_err(translate)
    }

    /// Runs a query in the transaction.
    pub(crate) async fn fetch(&mut self, statement: Statement) -> Result<Vec<Row>> {
        Ok(match self {
            Self::Postgres(transaction) => {
                let rows = postgres::query(statement).fetch_all(&mut **transaction).await.map_err(translate)?;
                rows.into_iter().map(Row::Postgres).collect()
            }
            Self::Sqlite(transaction) => {
                let rows = sqlite::query(statement).fetch_all(&mut **transaction).await.map_err(translate)?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
        })
    }

    /// What this database says in words of its own.
    pub(crate) const fn dialect(&self) -> &'static Dialect {
        match self {
            Self::Postgres(_) => &postgres::DIALECT,
            Self::Sqlite(_) => &sqlite::DIALECT,
        }
    }

    /// As [`Transaction::execute`], for callers that know what a violated constraint means.
    pub(crate) async fn attempt(&mut self, statement: Statement) -> sqlx::Result<u64> {
        Ok(match self {
            Self::Postgres(transaction) => {
                postgres::query(statement).execute(&mut **transaction).await?.rows_affected()
            }
            Self::Sqlite(transaction) => sqlite::query(statement).execute(&mut **transaction).await?.rows_affected(),
        })
    }
}
