//! A fixed number of things, each lent to one request at a time; whoever comes when all are lent waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use error::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type Make<T> = Box<dyn Fn() -> Result<T> + Send + Sync>;

/// The things.
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
    permits: Arc<Semaphore>,
    size: usize,
    /// Makes one in place of one that was thrown away.
    make: Make<T>,
}

/// One of the things; back in the pool when this goes.
pub(crate) struct Lent<T> {
    item: Option<T>,
    pool: Arc<Pool<T>>,
    _permit: OwnedSemaphorePermit,
}

impl<T> Pool<T> {
    /// A pool of these.
    pub fn new(items: Vec<T>, make: impl Fn() -> Result<T> + Send + Sync + 'static) -> Arc<Self> {
        let size = items.len();
        let permits = Arc::new(Semaphore::new(size));
        Arc::new(Self { idle: Mutex::new(items), permits, size, make: Box::new(make) })
    }

    /// How many are lent at this moment.
    pub fn lent(&self) -> usize {
        self.size.saturating_sub(self.permits.available_permits())
    }

    /// Waits for one, but not longer than `limit`.
    pub async fn take(self: &Arc<Self>, limit: Duration) -> Result<Lent<T>> {
        let permit = match tokio::time::timeout(limit, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::new(Code::Resource, "the server is stopping").with_transient(true)),
            Err(_) => {
                return Err(Error::new(Code::Resource, "the server is busy with other requests")
                    .with_transient(true)
                    .with_hint("Try again a little later."));
            }
        };
        let idle = self.idle().pop();
        let item = match idle {
            Some(item) => item,
            None => (self.make)()?,
        };
        Ok(Lent { item: Some(item), pool: Arc::clone(self), _permit: permit })
    }

    /// Lends nothing any more.
    pub fn close(&self) {
        self.permits.close();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Pool<T> {
    /// Does something with one on a thread that may block.
    pub async fn run<R: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        work: impl FnOnce(&T) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let lent = self.take(limit).await?;
        blocking(move || lent.get().and_then(work)).await
    }
}

impl<T> Lent<T> {
    /// The thing itself.
    pub fn get(&self) -> Result<&T> {
        self.item.as_ref().ok_or_else(|| Error::new(Code::Internal, "what was lent is gone"))
    }

    /// Does not give it back: the next one who comes gets a new one.
    pub fn throw_away(mut self) {
        self.item = None;
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        // What a panic has left halfway is not used again.
        if let Some(item) = self.item.take().filter(|_| !std::thread::panicking()) {
            self.pool.idle().push(item);
        }
    }
}

/// Does something that blocks, on a thread for that.
pub(crate) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(Code::Internal, "the work on a request panicked")),
    }
}
