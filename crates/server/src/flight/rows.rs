//! The rows of a query as a stream of batches. Small batches are put together, and nothing is computed ahead of a client
//! that reads slowly.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_schema::{Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use error::{Code, Error, Result};
use lake::{RecordBatch, Take};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use crate::flight::status::{refusal, unwritten};
use crate::problem::Failure;
use crate::query::run::{Opened, Source};
use crate::shared::Shared;

/// Batches are put together up to so many rows,
const BATCH_ROWS: usize = 32 * 1024;
/// or so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// So many batches wait for a client that reads slowly.
const BATCHES: usize = 2;
/// Under this name the schema of a result says which data version was read.
pub(super) const DATA_VERSION: &str = "data_version";

/// What a client receives.
pub(super) type Sent = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// Runs a query; the stream begins once its columns are known.
pub(super) async fn stream(shared: &Arc<Shared>, opened: Opened) -> Result<Sent, Failure> {
    let (batches, received) = mpsc::channel(BATCHES);
    let (begun, begins) = oneshot::channel();
    let out = Out { batches, begun: Arc::new(Mutex::new(Some(begun))) };
    let data_version = opened.data_version;
    // Kept until it is known how the query ended: what begins is gone without a word if nothing does.
    let (ending, shared_then) = (out.clone(), Arc::clone(shared));
    let (stall, runtime) = (shared.options.limits.stall, Handle::current());
    let work = move |source: &Source<'_>| {
        let is_wanted = Box::new(source.is_wanted());
        let mut sending = Sending { out, is_wanted, schema: None, kept: Vec::new(), has_sent: false, stall, runtime };
        source.stream(&mut sending)?;
        sending.send()
    };
    let guard = opened.start(work, move |failed| {
        if let Some(error) = failed {
            tracing::debug!(%error, "a query failed");
            shared_then.metrics.failed(error.code());
        }
        drop(ending);
    })?;
    let Ok(schema) = begins.await else {
        let panicked = || Error::new(Code::Internal, "the query panicked");
        return Err(guard.failure().unwrap_or_else(panicked).into());
    };
    // The guard goes with the stream, when all is sent or nobody reads any more.
    let end = std::iter::once_with(move || {
        let status = refusal(&guard.failure()?.into());
        Some(Err(FlightError::Tonic(Box::new(status))))
    });
    let stream = ReceiverStream::new(received).map(|batch| Some(Ok(batch))).chain(tokio_stream::iter(end));
    Ok(encoded(as_sent(&schema, data_version), stream.filter_map(|batch| batch)))
}

/// The batches as they are sent.
pub(super) fn encoded(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Sent {
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    Box::pin(encoder.map(|data| data.map_err(Status::from)))
}

/// One batch as it is sent.
pub(super) fn single(batch: RecordBatch) -> Sent {
    encoded(batch.schema(), tokio_stream::once(Ok(batch)))
}

/// The columns as they are sent: ENUMs as texts, with the data version that was read.
pub(super) fn as_sent(schema: &SchemaRef, data_version: Option<i64>) -> SchemaRef {
    let nothing = tokio_stream::empty::<Result<RecordBatch, FlightError>>();
    let encoder = FlightDataEncoderBuilder::new().with_schema(Arc::clone(schema)).build(nothing);
    let sent = encoder.known_schema().unwrap_or_else(|| Arc::clone(schema));
    match data_version {
        Some(version) => {
            let metadata = HashMap::from([(DATA_VERSION.to_owned(), version.to_string())]);
            Arc::new(Schema::new_with_metadata(sent.fields().clone(), metadata))
        }
        None => sent,
    }
}

/// The way to the client.
#[derive(Clone)]
struct Out {
    batches: mpsc::Sender<RecordBatch>,
    begun: Arc<Mutex<Option<oneshot::Sender<SchemaRef>>>>,
}

impl Out {
    /// Says what the columns are.
    fn begin(&self, columns: SchemaRef) {
        if let Some(begun) = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody may wait for it any more.
            let _ = begun.send(columns);
        }
    }
}

/// Puts batches together and sends them.
struct Sending {
    out: Out,
    is_wanted: Box<dyn Fn() -> bool>,
    schema: Option<SchemaRef>,
    kept: Vec<RecordBatch>,
    /// The first rows are not kept waiting for others.
    has_sent: bool,
    stall: Duration,
    runtime: Handle,
}

impl Sending {
    fn send(&mut self) -> Result<()> {
        let (Some(schema), false) = (&self.schema, self.kept.is_empty()) else { return Ok(()) };
        let batch = concat_batches(schema, &self.kept).map_err(unwritten)?;
        self.kept.clear();
        self.has_sent = true;
        let sending = tokio::time::timeout(self.stall, self.out.batches.send(batch));
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::new(Code::Connection, "nobody reads the result any more")),
        }
    }
}

impl Take for Sending {
    fn schema(&mut self, schema: &SchemaRef) -> Result<ControlFlow<()>> {
        self.schema = Some(Arc::clone(schema));
        self.out.begin(Arc::clone(schema));
        Ok(ControlFlow::Continue(()))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>> {
        if !(self.is_wanted)() {
            return Err(Error::new(Code::Resource, "the query was cancelled"));
        }
        self.kept.push(batch.clone());
        let rows: usize = self.kept.iter().map(RecordBatch::num_rows).sum();
        let bytes: usize = self.kept.iter().map(RecordBatch::get_array_memory_size).sum();
        if !self.has_sent || rows >= BATCH_ROWS || bytes >= BATCH_BYTES {
            self.send()?;
        }
        Ok(ControlFlow::Continue(()))
    }
}
