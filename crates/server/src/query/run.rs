//! Running a query of somebody who may only read, whatever becomes of its rows: looked at, pinned to a data version if that
//! is wanted, and computed by a closed engine on a thread of its own, until it ends, takes too long, or nobody waits for
//! it any more. Knows nothing of formats and protocols.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use error::{Code, Error, Result};
use lake::{Parameters, RecordBatch, SchemaRef, Session, Take};
use sql::query::Parser;

use crate::pool::{Lent, blocking};
use crate::query::check::{Checked, check};
use crate::shared::{Ended, PATIENCE, Running, Shared};

/// How often a query that is to stop is interrupted until it has.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);

/// A session of the closed engine, and what looks at queries before it gets them.
pub(crate) struct Reader {
    pub session: Session,
    pub parser: Parser,
}

/// A query and how it is to be run.
pub(crate) struct Plan {
    pub text: String,
    pub parameters: Parameters,
    pub timeout: Duration,
    /// Whether all is read at one data version.
    pub pinned: bool,
    /// At which; the newest that all tables have had if none is said.
    pub data_version: Option<i64>,
}

/// A query that may be run, and the session that will run it.
pub(crate) struct Opened {
    plan: Plan,
    lent: Lent<Reader>,
    checked: Checked,
    /// The data version that it is pinned to.
    pub data_version: Option<i64>,
}

/// A query that runs.
pub(crate) struct Source<'a> {
    pub reader: &'a Reader,
    /// What is run: the query as it was looked at.
    pub sql: String,
    pub parameters: &'a Parameters,
    running: Arc<Running<lake::InterruptHandle>>,
}

impl Plan {
    /// Waits for a session, looks at the query, and pins it.
    pub async fn open(self, shared: &Arc<Shared>) -> Result<Opened> {
        let lent = shared.readers.take(PATIENCE).await?;
        let (text, (alias, schema)) = (self.text.clone(), shared.lake.clone());
        let (lent, mut checked) = blocking(move || {
            let checked = check(&lent.get()?.parser, &text, &alias, &schema)?;
            Ok((lent, checked))
        })
        .await?;
        let mut data_version = None;
        if self.pinned {
            let (names, wanted) = (checked.relations.clone(), self.data_version);
            let pin = shared.look(move |tables| tables.pin(&names, wanted)).await?;
            checked.pin(|name| pin.snapshots.get(name).copied().unwrap_or(pin.data_version));
            data_version = Some(pin.data_version);
        }
        Ok(Opened { plan: self, lent, checked, data_version })
    }
}

impl Opened {
    /// Runs the query on a thread of its own: `work` takes its rows, `end` hears what it failed with when the session is
    /// somebody else's already. The query stops when the guard goes.
    pub fn start(
        self,
        work: impl FnOnce(&Source<'_>) -> Result<()> + Send + 'static,
        end: impl FnOnce(Option<&Error>) + Send + 'static,
    ) -> Result<Guard> {
        let Self { plan, lent, checked, .. } = self;
        let running = Running::new(lent.get()?.session.interrupt_handle());
        let timeout = plan.timeout;
        let panicked = Error::new(Code::Internal, "the query panicked");
        let failure = Arc::new(Mutex::new(Some(panicked)));
        let guard = Guard { running: Arc::clone(&running), failure: Arc::clone(&failure) };
        tokio::spawn(stop_after(timeout, Arc::clone(&running)));
        tokio::task::spawn_blocking(move || {
            let result = lent.get().and_then(|reader| {
                let sql = checked.to_sql(&reader.parser)?;
                let source = Source { reader, sql, parameters: &plan.parameters, running: Arc::clone(&running) };
                work(&source).map_err(|error| in_own_words(reader, &plan.text, error))
            });
            let why = running.end();
            drop(lent);
            let failed = result.err().map(|error| match why {
                Ended::TooLate => {
                    let message = format!("the query took longer than {} seconds", timeout.as_secs_f64());
                    Error::new(Code::Resource, message)
                        .with_hint("Give it more time with timeout_seconds, or let it read less.")
                }
                _ => error,
            });
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = failed;
            end(failure.as_ref());
        });
        Ok(guard)
    }

    /// The columns of the result, without computing it.
    pub async fn columns(self) -> Result<SchemaRef> {
        blocking(move || {
            let reader = self.lent.get()?;
            let sql = self.checked.without_rows(&reader.parser)?;
            let mut columns = Columns(None);
            let streamed = reader.session.stream(&sql, &self.plan.parameters, &mut columns);
            streamed.map_err(|error| in_own_words(reader, &self.plan.text, error))?;
            columns.0.ok_or_else(|| Error::new(Code::Internal, "a query has no columns"))
        })
        .await
    }

    /// The names of the query's parameters, in the order of their values.
    pub async fn parameters(self) -> Result<(Vec<String>, Self)> {
        blocking(move || {
            let reader = self.lent.get()?;
            let names = reader.session.parameters(&self.checked.to_sql(&reader.parser)?);
            let names = names.map_err(|error| in_own_words(reader, &self.plan.text, error))?;
            Ok((names, self))
        })
        .await
    }

    /// The same query with these values.
    pub fn with_parameters(mut self, parameters: Parameters) -> Self {
        self.plan.parameters = parameters;
        self
    }
}

impl Source<'_> {
    /// Hands over the rows as they are computed.
    pub fn stream(&self, take: &mut dyn Take) -> Result<()> {
        self.reader.session.stream(&self.sql, self.parameters, take)
    }

    /// Says whether the query is still wanted.
    pub fn is_wanted(&self) -> impl Fn() -> bool + Send + 'static {
        let running = Arc::clone(&self.running);
        move || running.state() == Ended::No
    }
}

/// An error about the text that was run, as one about the text that was sent.
fn in_own_words(reader: &Reader, text: &str, error: Error) -> Error {
    if error.code() != Code::Query {
        return error;
    }
    match reader.session.describe(text) {
        Err(own) if own.code() == Code::Query && own.message() == error.message() => own,
        _ => error.without_span(),
    }
}

/// Takes the columns and no rows.
pub(crate) struct Columns(pub Option<SchemaRef>);

impl Take for Columns {
    fn schema(&mut self, schema: &SchemaRef) -> Result<ControlFlow<()>> {
        self.0 = Some(Arc::clone(schema));
        Ok(ControlFlow::Break(()))
    }

    fn batch(&mut self, _batch: &RecordBatch) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Break(()))
    }
}

/// Stops the query when it goes.
pub(crate) struct Guard {
    running: Arc<Running<lake::InterruptHandle>>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Guard {
    /// What the query failed with, once it has ended. A result that ends is whole only if there is nothing here: where
    /// a client reads slowly there may have been no room to say it earlier.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.running.stop(Ended::Abandoned);
    }
}

/// Stops what takes too long, and whatever else is to stop until it has.
async fn stop_after(timeout: Duration, running: Arc<Running<lake::InterruptHandle>>) {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        tokio::time::sleep(INTERRUPT_INTERVAL.min(timeout)).await;
        match running.state() {
            Ended::Done => return,
            Ended::No if tokio::time::Instant::now() < deadline => {}
            Ended::No => running.stop(Ended::TooLate),
            why => running.stop(why),
        }
    }
}
