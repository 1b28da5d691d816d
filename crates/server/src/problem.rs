//! Failures as RFC 9457 has them: a status, and a JSON object that says with our code what is wrong and what to do.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use error::{Code, Error};
use serde::Serialize;
use utoipa::ToSchema;

/// What is wrong, as RFC 9457 has it (`application/problem+json`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of failure: `urn:dynamic-tables:error:` and the code in small letters.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of failure in a few words.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// What failed, in one sentence.
    pub detail: String,
    /// The code, such as `QUERY`.
    pub code: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// On what it happened.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// Where in the SQL it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Whether the same request may succeed later.
    pub transient: bool,
}

/// A place in the SQL of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// In bytes from the start.
    pub offset: usize,
    /// How many bytes it covers.
    pub length: usize,
    /// The line with a caret below the place.
    pub excerpt: String,
}

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: StatusCode,
    pub error: Error,
    /// After how many seconds to come again.
    pub retry_after: Option<u64>,
}

impl Failure {
    /// A failure with a status of its own.
    pub fn new(status: StatusCode, error: Error) -> Self {
        Self { status, error, retry_after: None }
    }

    /// Adds what the reader can do about it.
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.error = self.error.with_hint(hint);
        self
    }

    /// What is not there.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Error::new(Code::Query, format!("{what} does not exist")))
    }

    /// What the server has no room for now.
    pub fn busy(message: &str) -> Self {
        let error = Error::new(Code::Resource, message).with_transient(true).with_hint("Try again a little later.");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error, retry_after: Some(1) }
    }

    /// The failure as it is told.
    pub fn problem(&self) -> Problem {
        Problem::with_status(&self.error, self.status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(status_of(error.code()), error)
    }
}

impl Problem {
    /// The failure as it is told.
    pub(crate) fn of(error: &Error) -> Self {
        Self::with_status(error, status_of(error.code()))
    }

    fn with_status(error: &Error, status: StatusCode) -> Self {
        let code = error.code();
        let context = error.context().iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Self {
            kind: format!("urn:dynamic-tables:error:{}", code.as_str().to_ascii_lowercase()),
            title: title(code).to_owned(),
            status: status.as_u16(),
            detail: error.message().to_owned(),
            code: code.as_str().to_owned(),
            hint: error.hint().map(ToOwned::to_owned),
            context: context.collect(),
            place: error.span().map(|span| {
                let (line, column) = span.line_and_column();
                let excerpt = span.excerpt();
                Place { line, column, offset: span.offset, length: span.length, excerpt }
            }),
            transient: error.is_transient(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), error = %self.error, "request failed");
        }
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // What the metrics count by.
        response.extensions_mut().insert(self.error.code());
        response
    }
}

/// The status for a failure that has no other.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::Query | Code::Configuration => StatusCode::BAD_REQUEST,
        Code::Permission => StatusCode::FORBIDDEN,
        Code::Dependency | Code::Conflict => StatusCode::CONFLICT,
        Code::Schema => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Resource | Code::Connection => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn title(code: Code) -> &'static str {
    match code {
        Code::Dependency => "Something that this depends on failed or is missing",
        Code::Schema => "The shape of a source or result does not fit",
        Code::Resource => "Memory, disk, time or room ran out",
        Code::Query => "The request or its SQL is wrong",
        Code::Permission => "Not allowed",
        Code::Conflict => "Somebody else changed the same thing",
        Code::Connection => "A database, a file or a service could not be reached",
        Code::Internal => "A defect of this program",
        Code::Configuration => "A setting is wrong",
    }
}
