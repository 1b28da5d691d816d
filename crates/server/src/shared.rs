//! What all requests share: the dynamic tables, the closed readers of the lake, the tasks, and the limits.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connection::{Chain, Connections};
use error::{Code, Error, Result};
use lake::Lake;
use preview::Previews;
use refresh::{DynamicTables, Interrupter};
use registry::Registry;
use sql::query::Parser;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt as _};

use crate::Options;
use crate::audit::{Audit, Deed};
use crate::limit::Rates;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::problem::Failure;
use crate::query::run::Reader;
use crate::rest::listed::Listed;
use crate::task::Tasks;

/// How many requests look at the dynamic tables at the same time.
const LOOKERS: usize = 4;
/// How long a request waits for its turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Things that come one after the other.
pub(crate) type Items<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// What all requests share.
pub(crate) struct Shared {
    pub options: Options,
    /// For what is answered at once.
    pub lookers: Arc<Pool<DynamicTables>>,
    /// For queries of people who may only read.
    pub readers: Arc<Pool<Reader>>,
    pub tasks: Arc<Tasks>,
    pub audit: Arc<Audit>,
    pub listed: Listed,
    pub rates: Rates,
    pub metrics: Metrics,
    pub health: crate::health::Last,
    /// The name of the lake in SQL, and the schema of names without one.
    pub lake: (String, String),
    /// Previews, and the connections that they are of.
    pub previews: Arc<Previews>,
    /// Where results are put that are made as files.
    pub results: TempDir,
    /// Whether the server is to stop.
    stopping: watch::Sender<bool>,
    /// For tasks.
    runners: Arc<Pool<DynamicTables>>,
}

impl Shared {
    /// Opens everything. Blocks.
    pub fn open(options: Options, place: &lake::Options, registry: Registry) -> Result<Arc<Self>> {
        let audit = Arc::new(Audit::open(options.audit.as_deref())?);
        let results = tempfile::Builder::new()
            .prefix("dynamic-tables-results-")
            .tempdir()
            .map_err(|cause| Error::new(Code::Resource, format!("no folder for results: {cause}")))?;
        let lake = Lake::open(place)?;
        let name = (lake.alias().to_owned(), lake.schema().to_owned());
        let connections = Connections::new(registry.clone(), Chain::of_process()?);
        let first = DynamicTables::open(lake, registry)?;
        let sessions = Lake::open_closed(place, options.limits.queries.max(1), results.path())?.into_iter();
        let readers =
            sessions.map(|session| Ok(Reader { session, parser: Parser::new()? })).collect::<Result<_>>()?;
        let runners = twins(&first, options.limits.tasks.max(1))?;
        let lookers = twins(&first, LOOKERS)?;
        let readers = Pool::new(readers, || {
            // A session of the closed engine cannot be made later, and none is ever thrown away.
            Err(Error::new(Code::Internal, "a reader of the lake was lost; start the server anew"))
        });
        Ok(Arc::new(Self {
            tasks: Tasks::new(Arc::clone(&runners), Arc::clone(&audit)),
            audit,
            rates: Rates::new(options.limits.requests_per_second),
            listed: Listed::default(),
            metrics: Metrics::new(),
            health: crate::health::Last::default(),
            lake: name,
            previews: Previews::new(connections, options.previews.clone()),
            options,
            lookers,
            readers,
            results,
            stopping: watch::Sender::new(false),
            runners,
        }))
    }

    /// Asks the dynamic tables something that is answered at once.
    pub async fn look<R: Send + 'static>(
        &self,
        question: impl FnOnce(&DynamicTables) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.lookers.run(PATIENCE, question).await
    }

    /// Does something of which the audit log tells.
    pub async fn audited<T>(&self, deed: Deed, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let result = work.await;
        self.audit.ended(&deed, result.as_ref().err().map(|failure| &failure.error));
        result
    }

    /// Tasks that run at this moment.
    pub fn running(&self) -> usize {
        self.runners.lent()
    }

    /// Ends what would go on for ever.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether the server is to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// The items until the server is to stop.
    pub fn until_stop<T: Send + 'static>(&self, items: Items<T>) -> Items<T> {
        let stops = WatchStream::new(self.stopping.subscribe()).filter(|stops| *stops).map(|_| None);
        Box::pin(items.map(Some).merge(stops).take_while(Option::is_some).filter_map(|item| item))
    }

    /// Takes on nothing more.
    pub fn close(&self) {
        for pool in [&self.lookers, &self.runners] {
            pool.close();
        }
        self.readers.close();
    }
}

/// A pool of so many views of the same dynamic tables.
fn twins(first: &DynamicTables, count: usize) -> Result<Arc<Pool<DynamicTables>>> {
    let twins = (0..count).map(|_| first.twin()).collect::<Result<Vec<_>>>()?;
    let original = Mutex::new(first.twin()?);
    Ok(Pool::new(twins, move || original.lock().unwrap_or_else(PoisonError::into_inner).twin()))
}

/// What runs for a request, to be stopped when nobody waits for it any more, when it takes too long, or when the server
/// stops.
pub(crate) struct Running<H> {
    handle: H,
    state: Mutex<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Not yet.
    No,
    /// Nobody waits any more.
    Abandoned,
    /// It took too long.
    TooLate,
    /// By itself.
    Done,
}

/// What can be interrupted.
pub(crate) trait Interrupt: Send + Sync {
    fn interrupt(&self);
}

impl Interrupt for lake::InterruptHandle {
    fn interrupt(&self) {
        self.interrupt();
    }
}

impl Interrupt for Interrupter {
    fn interrupt(&self) {
        self.interrupt();
    }
}

impl<H: Interrupt> Running<H> {
    pub fn new(handle: H) -> Arc<Self> {
        Arc::new(Self { handle, state: Mutex::new(Ended::No) })
    }

    /// Stops it for this reason; not if it has ended, since the session may be somebody else's by then.
    pub fn stop(&self, why: Ended) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == Ended::No {
            *state = why;
        }
        if *state != Ended::Done {
            self.handle.interrupt();
        }
    }

    /// It has ended by itself, or hears now that it was stopped.
    pub fn end(&self) -> Ended {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *state, Ended::Done)
    }

    /// Why it was to stop.
    pub fn state(&self) -> Ended {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
