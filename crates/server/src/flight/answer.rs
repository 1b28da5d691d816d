//! Answering statements: what one is, which columns it would answer with, and its rows. All that is done is done where it is
//! done for HTTP.

use std::str::FromStr;
use std::sync::Arc;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_schema::SchemaRef;
use axum::body::Bytes;
use error::{Code, Error, Result};
use lake::RecordBatch;
use sql::statement::Statement;
use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::access::{Caller, Role};
use crate::flight::prepared::{Prepared, Statements};
use crate::flight::rows::{self, Sent, single};
use crate::flight::status::refusal;
use crate::flight::{own, parameters};
use crate::problem::Failure;
use crate::query::Query;
use crate::query::own::{changing, ours};
use crate::query::run::{Opened, Reader};
use crate::shared::{PATIENCE, Shared};

/// The service.
pub(super) struct Flight {
    pub shared: Arc<Shared>,
    pub statements: Statements,
}

/// What a statement is, and so where it is done.
pub(super) enum Kind {
    /// A query of the lake.
    Query(Box<Opened>),
    /// One of ours.
    Ours(Box<Statement>),
    /// One that changes the lake.
    Change(String),
}

impl Flight {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, statements: Statements::default() }
    }

    /// Counts a failure and tells it.
    pub(super) fn refuse(&self, failure: impl Into<Failure>) -> Status {
        let failure = failure.into();
        self.shared.metrics.failed(failure.error.code());
        refusal(&failure)
    }

    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let found = request.extensions().get::<Caller>().cloned();
        found.ok_or_else(|| self.refuse(Error::new(Code::Permission, "this takes a token")))
    }

    pub(super) async fn kind(&self, query: &Query) -> Result<Kind, Failure> {
        let statement = query.statement()?;
        let text = match statement.value {
            Statement::Other(text) => text,
            ours => return Ok(Kind::Ours(Box::new(ours))),
        };
        if query.write {
            let asked = text.clone();
            let is_query = move |reader: &Reader| Ok(reader.parser.parse_with_parameters(&asked).is_ok());
            if !self.shared.readers.run(PATIENCE, is_query).await? {
                return Ok(Kind::Change(text));
            }
        }
        let opened = query.plan(text, &self.shared)?.open(&self.shared).await;
        opened.map(|opened| Kind::Query(Box::new(opened))).map_err(|error| placed(query, statement.offset, error))
    }

    /// The columns of what the statement would answer, and the data version that it would read; nothing is run.
    pub(super) async fn describe(&self, caller: &Caller, query: &Query) -> Result<(SchemaRef, Option<i64>), Failure> {
        Ok(match self.kind(query).await? {
            Kind::Query(opened) => {
                let data_version = opened.data_version;
                let columns = opened.columns().await.map_err(|error| placed(query, offset(query), error))?;
                (rows::as_sent(&columns, data_version), data_version)
            }
            Kind::Ours(statement) => (own::columns(&statement), None),
            Kind::Change(_) => {
                caller.may(Role::Admin)?;
                (own::count_column(), None)
            }
        })
    }

    /// Runs the statement.
    pub(super) async fn run(&self, caller: &Caller, query: &Query) -> Result<Sent, Status> {
        match self.kind(query).await.map_err(|failure| self.refuse(failure))? {
            Kind::Query(opened) => rows::stream(&self.shared, *opened).await.map_err(|mut failure| {
                // Those of the query itself are counted where they happen.
                failure.error = failure.error.within(&query.sql, offset(query));
                refusal(&failure)
            }),
            Kind::Ours(statement) => {
                let columns = own::columns(&statement);
                let patience = query.timeout(&self.shared).map_err(|failure| self.refuse(failure))?;
                let done = ours(&self.shared, caller, *statement, &query.sql).await;
                let done = done.map_err(|failure| self.refuse(failure))?;
                Ok(single(own::rows(&self.shared, done, &columns, patience).await?))
            }
            Kind::Change(text) => {
                let changed = self.change(caller, query, text).await?;
                let count = serde_json::json!({ "Count": changed });
                let batch = own::batch(&own::count_column(), &[count]).map_err(|error| self.refuse(error))?;
                Ok(single(batch))
            }
        }
    }

    /// Runs a statement that changes the lake; how many rows it has changed.
    async fn change(&self, caller: &Caller, query: &Query, text: String) -> Result<Option<i64>, Status> {
        let run = async {
            if query.parameters.is_some() {
                let error = Error::new(Code::Query, "a statement that changes the lake takes no parameters");
                return Err(Failure::from(error).with_hint("Write the values into the statement."));
            }
            changing(&self.shared, caller, text, query.timeout(&self.shared)?).await
        };
        run.await.map(|rows| own::count(&rows)).map_err(|failure| self.refuse(failure))
    }

    /// Runs a statement of which nobody wants the rows; how many it has changed.
    pub(super) async fn update(&self, caller: &Caller, mut query: Query) -> Result<i64, Status> {
        // Whoever asks for an update has said that something is to change.
        query.write = true;
        match self.kind(&query).await.map_err(|failure| self.refuse(failure))? {
            Kind::Change(text) => Ok(self.change(caller, &query, text).await?.unwrap_or(0)),
            Kind::Ours(_) => {
                // What it says of it is not asked for.
                drop(self.run(caller, &query).await?);
                Ok(0)
            }
            Kind::Query(_) => {
                let error = Error::new(Code::Query, "a query changes nothing");
                Err(self.refuse(error.with_hint("Ask for its rows.")))
            }
        }
    }

    pub(super) fn prepared(&self, caller: &Caller, handle: &Bytes) -> Result<Prepared, Status> {
        self.statements.get(handle, caller.name.as_deref()).map_err(|error| self.refuse(error))
    }

    /// The values that a client sends for a prepared statement, one list for each row.
    pub(super) async fn values(
        &self,
        prepared: &Prepared,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<Vec<Vec<serde_json::Value>>, Status> {
        let limits = &self.shared.options.limits;
        let reading = async {
            let parts = request.into_inner().map(|part| part.map_err(|status| FlightError::Tonic(Box::new(status))));
            let mut batches = FlightRecordBatchStream::new_from_flight_data(parts);
            let mut rows = Vec::new();
            let mut bytes = 0;
            while let Some(batch) = batches.next().await {
                let batch: RecordBatch = batch.map_err(Status::from)?;
                bytes += batch.get_array_memory_size();
                if bytes > limits.body_bytes {
                    let error = Error::new(Code::Resource, "the parameters are too long").with_transient(false);
                    return Err(self.refuse(error));
                }
                for row in 0..batch.num_rows() {
                    let values = parameters::values(&batch, row, &prepared.parameters);
                    rows.push(values.map_err(|error| self.refuse(error))?);
                }
            }
            Ok(rows)
        };
        tokio::time::timeout(limits.arrival, reading)
            .await
            .map_err(|_| Status::deadline_exceeded("the parameters did not arrive in time"))?
    }
}

pub(super) fn offset(query: &Query) -> usize {
    query.statement().map_or(0, |statement| statement.offset)
}

pub(super) fn placed(query: &Query, offset: usize, error: Error) -> Failure {
    error.within(&query.sql, offset).into()
}

/// A statement as it is asked for, with what the request's metadata say of how to run it.
pub(super) fn asked(sql: String, metadata: &MetadataMap) -> Result<Query> {
    Ok(Query {
        sql,
        data_version: said(metadata, "x-data-version")?,
        consistent: said(metadata, "x-consistent")?.unwrap_or(false),
        timeout_seconds: said(metadata, "x-timeout-seconds")?,
        write: said(metadata, "x-write")?.unwrap_or(false),
        ..Query::default()
    })
}

fn said<T: FromStr>(metadata: &MetadataMap, key: &str) -> Result<Option<T>> {
    let Some(value) = metadata.get(key) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    parsed.map(Some).ok_or_else(|| {
        Error::new(Code::Query, format!("the header {key} is not what is expected")).with_hint(
            "x-data-version is a number, x-timeout-seconds too, x-consistent and x-write are true or false.",
        )
    })
}
