//! Running a query of somebody who may only read: looked at, pinned to a data version if that is wanted, computed by a closed
//! engine on a thread of its own, and written to the client batch by batch. Nothing but the batch at hand is kept, and
//! nothing is computed for a client that is gone.

use std::io::{self, Read as _, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use error::{Code, Error, Result};
use lake::{Parameters, RecordBatch, SchemaRef, Session, Take};
use sql::names::quote_literal;
use sql::query::Parser;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::pool::{Lent, blocking};
use crate::problem::{Failure, Problem};
use crate::query::check::{Checked, check};
use crate::query::format::{Format, Rows};
use crate::shared::{Ended, PATIENCE, Running, Shared};

/// So much of a result is sent at once.
const PART_BYTES: usize = 64 * 1024;
/// So many parts wait for a client that reads slowly.
const PARTS: usize = 4;
/// How often a query that is to stop is interrupted until it has.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);

/// A session of the closed engine, and what looks at queries before it gets them.
pub(crate) struct Reader {
    pub session: Session,
    pub parser: Parser,
}

/// A query and how it is to be run.
pub(crate) struct Reading {
    pub text: String,
    pub parameters: Parameters,
    pub limit: Option<u64>,
    pub timeout: Duration,
    pub format: Format,
    pub pinned: bool,
    pub data_version: Option<i64>,
}

type Parts = mpsc::Sender<io::Result<Bytes>>;

impl Reading {
    /// Runs the query; the response begins with the first rows.
    pub async fn run(self, shared: &Arc<Shared>) -> Result<Response, Failure> {
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
        let mut response = self.start(shared, lent, checked).await?;
        if let Some(version) = data_version {
            response.headers_mut().insert("x-data-version", HeaderValue::from(version));
        }
        Ok(response)
    }

    async fn start(self, shared: &Arc<Shared>, lent: Lent<Reader>, checked: Checked) -> Result<Response, Failure> {
        let running = Running::new(lent.get()?.session.interrupt_handle());
        let (parts, received) = mpsc::channel(PARTS);
        let (begun, begins) = oneshot::channel();
        let (format, timeout) = (self.format, self.timeout);
        let out = Out {
            parts,
            begun: Arc::new(Mutex::new(Some(begun))),
            stall: shared.options.limits.stall,
            runtime: Handle::current(),
        };
        let work = Work { reading: self, shared: Arc::clone(shared), running: Arc::clone(&running), out };
        // From here on, whoever stops waiting for the response stops the query.
        let guard = Guard(Arc::clone(&running));
        tokio::task::spawn_blocking(move || work.run(lent, &checked));
        tokio::spawn(stop_after(timeout, running));
        match begins.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(Error::new(Code::Internal, "the query panicked").into()),
        }
        let stream = ReceiverStream::new(received).map(move |part| {
            // Dropped with the stream, when all is sent or nobody reads any more.
            let _ = &guard;
            part
        });
        let mut response = Response::new(Body::from_stream(stream));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        if format == Format::Parquet {
            let attachment = HeaderValue::from_static("attachment; filename=\"result.parquet\"");
            headers.insert(header::CONTENT_DISPOSITION, attachment);
        }
        Ok(response)
    }
}

/// Stops the query when it goes.
struct Guard(Arc<Running<lake::InterruptHandle>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.stop(Ended::Abandoned);
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

struct Work {
    reading: Reading,
    shared: Arc<Shared>,
    running: Arc<Running<lake::InterruptHandle>>,
    out: Out,
}

impl Work {
    fn run(self, lent: Lent<Reader>, checked: &Checked) {
        let result = lent.get().and_then(|reader| self.write(reader, checked));
        // The session is somebody else's from here on.
        let why = self.running.end();
        drop(lent);
        match result {
            Ok(()) => self.out.begin(Ok(())),
            Err(error) => self.fail(match why {
                Ended::TooLate => {
                    let seconds = self.reading.timeout.as_secs_f64();
                    Error::new(Code::Resource, format!("the query took longer than {seconds} seconds"))
                        .with_hint("Give it more time with timeout_seconds, or let it read less.")
                }
                _ => error,
            }),
        }
    }

    /// Says that it failed: as the response itself, or, where that has begun, by ending it before its end.
    fn fail(&self, error: Error) {
        tracing::debug!(%error, "a query failed");
        self.shared.metrics.failed(error.code());
        if self.out.has_begun() {
            if self.reading.format == Format::JsonLines {
                let line = serde_json::json!({ "error": Problem::of(&error) });
                // Nobody may be there to read it.
                let _ = self.out.send(format!("{line}\n").into_bytes());
            }
            let _ = self.out.parts.try_send(Err(io::Error::other("the query failed")));
        } else {
            self.out.begin(Err(error));
        }
    }

    fn write(&self, reader: &Reader, checked: &Checked) -> Result<()> {
        let (reading, running) = (&self.reading, Arc::clone(&self.running));
        let sql = checked.to_sql(&reader.parser)?;
        let result = match reading.format {
            Format::Parquet => self.write_parquet(reader, &sql),
            format => {
                let out = PartWriter { out: self.out.clone(), part: Vec::with_capacity(PART_BYTES) };
                let mut rows = Rows::new(format, reading.limit, out, move || running.state() == Ended::No);
                reader.session.stream(&sql, &reading.parameters, &mut rows).and_then(|()| {
                    let end = rows.finish()?;
                    end.map_or(Ok(()), |mut out| out.send().map_err(unread))
                })
            }
        };
        result.map_err(|error| self.in_own_words(reader, error))
    }

    /// An error about the text that was run, as one about the text that was sent.
    fn in_own_words(&self, reader: &Reader, error: Error) -> Error {
        if error.code() != Code::Query {
            return error;
        }
        match reader.session.describe(&self.reading.text) {
            Err(own) if own.code() == Code::Query && own.message() == error.message() => own,
            _ => error.without_span(),
        }
    }

    fn write_parquet(&self, reader: &Reader, sql: &str) -> Result<()> {
        let unwritten =
            |cause: io::Error| Error::new(Code::Resource, "the file could not be made").with_source(cause);
        let file = tempfile::Builder::new().suffix(".parquet").tempfile_in(self.shared.results.path());
        let file = file.map_err(unwritten)?;
        let limit = self.reading.limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
        let path = quote_literal(&file.path().display().to_string());
        let copy = format!("COPY (SELECT * FROM ({sql}){limit}) TO {path} (FORMAT parquet, USE_TMP_FILE false)");
        reader.session.stream(&copy, &self.reading.parameters, &mut Ignored)?;
        let mut file = std::fs::File::open(file.path()).map_err(unwritten)?;
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let read = (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).map_err(unwritten)?;
            if read == 0 {
                return Ok(());
            }
            self.out.send(part).map_err(unread)?;
        }
    }
}

/// The rows of a statement that writes its result elsewhere.
struct Ignored;

impl Take for Ignored {
    fn schema(&mut self, _schema: &SchemaRef) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    fn batch(&mut self, _batch: &RecordBatch) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

fn unread(cause: io::Error) -> Error {
    Error::new(Code::Connection, "nobody reads the result any more").with_source(cause)
}

/// The way to the client.
#[derive(Clone)]
struct Out {
    parts: Parts,
    /// Told once when the response can begin, or that it cannot.
    begun: Arc<Mutex<Option<oneshot::Sender<Result<()>>>>>,
    stall: Duration,
    runtime: Handle,
}

impl Out {
    fn begin(&self, how: Result<()>) {
        if let Some(begun) = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody may wait for it any more.
            let _ = begun.send(how);
        }
    }

    fn has_begun(&self) -> bool {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Waits until the client has room for it, but not for ever.
    fn send(&self, part: Vec<u8>) -> io::Result<()> {
        self.begin(Ok(()));
        let sending = tokio::time::timeout(self.stall, self.parts.send(Ok(part.into())));
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Collects what is written into parts.
struct PartWriter {
    out: Out,
    part: Vec<u8>,
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    /// Does nothing in between: parts are sent when they are full. See [`PartWriter::send`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartWriter {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART_BYTES));
        self.out.send(part)
    }
}
