//! The rows of a query of somebody who may only read, as a response: written to the client in the form that it wants, part
//! by part. Nothing but the batch at hand is kept.

use std::io::{self, Read as _, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use error::{Code, Error, Result};
use lake::{RecordBatch, SchemaRef, Take};
use sql::names::quote_literal;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::problem::{Failure, Problem};
use crate::query::format::{Format, Rows};
use crate::query::run::{Plan, Source};
use crate::shared::Shared;

/// So much of a result is sent at once.
const PART_BYTES: usize = 64 * 1024;
/// So many parts wait for a client that reads slowly.
const PARTS: usize = 4;

/// A query, and what its result shall be.
pub(crate) struct Reading {
    pub plan: Plan,
    pub limit: Option<u64>,
    pub format: Format,
}

type Parts = mpsc::Sender<Bytes>;

impl Reading {
    /// Runs the query; the response begins with the first rows.
    pub async fn run(self, shared: &Arc<Shared>) -> Result<Response, Failure> {
        let opened = self.plan.open(shared).await?;
        let data_version = opened.data_version;
        let (parts, received) = mpsc::channel(PARTS);
        let (begun, begins) = oneshot::channel();
        let out = Out {
            parts,
            begun: Arc::new(Mutex::new(Some(begun))),
            stall: shared.options.limits.stall,
            runtime: Handle::current(),
        };
        let writing = Writing { limit: self.limit, format: self.format, shared: Arc::clone(shared), out };
        let ending = writing.clone();
        // From here on, whoever stops waiting for the response stops the query.
        let guard = opened.start(move |source| writing.write(source), move |failed| ending.end(failed))?;
        if begins.await.is_err()
            && let Some(error) = guard.failure()
        {
            return Err(error.into());
        }
        // The guard goes with the stream, when all is sent or nobody reads any more.
        let end = std::iter::once_with(move || guard.failure().map(|_| Err(io::Error::other("the query failed"))));
        let stream = ReceiverStream::new(received).map(|part| Some(Ok(part))).chain(tokio_stream::iter(end));
        let stream = stream.filter_map(|part: Option<io::Result<Bytes>>| part);
        let mut response = Response::new(Body::from_stream(stream));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.format.media_type()));
        if self.format == Format::Parquet {
            let attachment = HeaderValue::from_static("attachment; filename=\"result.parquet\"");
            headers.insert(header::CONTENT_DISPOSITION, attachment);
        }
        if let Some(version) = data_version {
            headers.insert("x-data-version", HeaderValue::from(version));
        }
        Ok(response)
    }
}

/// Writing a result, and saying how that ended.
#[derive(Clone)]
struct Writing {
    limit: Option<u64>,
    format: Format,
    shared: Arc<Shared>,
    out: Out,
}

impl Writing {
    /// Says how it ended; a response that has begun ends before its end.
    fn end(&self, failed: Option<&Error>) {
        let Some(error) = failed else { return self.out.begin() };
        tracing::debug!(%error, "a query failed");
        self.shared.metrics.failed(error.code());
        if self.format == Format::JsonLines && self.out.has_begun() {
            let line = serde_json::json!({ "error": Problem::of(error) });
            // Nobody may be there to read it.
            let _ = self.out.send(format!("{line}\n").into_bytes());
        }
    }

    fn write(&self, source: &Source<'_>) -> Result<()> {
        if self.format == Format::Parquet {
            return self.write_parquet(source);
        }
        let out = PartWriter { out: self.out.clone(), part: Vec::with_capacity(PART_BYTES) };
        let mut rows = Rows::new(self.format, self.limit, out, source.is_wanted());
        source.stream(&mut rows)?;
        rows.finish()?.map_or(Ok(()), |mut out| out.send().map_err(unread))
    }

    fn write_parquet(&self, source: &Source<'_>) -> Result<()> {
        let unwritten =
            |cause: io::Error| Error::new(Code::Resource, "the file could not be made").with_source(cause);
        let file = tempfile::Builder::new().suffix(".parquet").tempfile_in(self.shared.results.path());
        let file = file.map_err(unwritten)?;
        let limit = self.limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
        let path = quote_literal(&file.path().display().to_string());
        let copy =
            format!("COPY (SELECT * FROM ({}){limit}) TO {path} (FORMAT parquet, USE_TMP_FILE false)", source.sql);
        source.reader.session.stream(&copy, source.parameters, &mut Ignored)?;
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
    /// Told when the response can begin; gone without a word when it cannot.
    begun: Arc<Mutex<Option<oneshot::Sender<()>>>>,
    stall: Duration,
    runtime: Handle,
}

impl Out {
    fn begin(&self) {
        if let Some(begun) = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody may wait for it any more.
            let _ = begun.send(());
        }
    }

    fn has_begun(&self) -> bool {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Waits until the client has room for it, but not for ever.
    fn send(&self, part: Vec<u8>) -> io::Result<()> {
        self.begin();
        let sending = tokio::time::timeout(self.stall, self.parts.send(part.into()));
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
