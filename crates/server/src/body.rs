//! Reading what a request says: its body within the limits of length and time, its query, its path. What is wrong is said
//! as a problem of ours.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use error::{Code, Error};
use serde::de::DeserializeOwned;
use sql::names::ObjectName;

use crate::problem::Failure;
use crate::shared::Shared;

/// The body of a request as text, and what it is.
pub(crate) struct Text {
    pub text: String,
    /// Its media type, without parameters, in small letters.
    pub media_type: String,
}

impl FromRequest<Arc<Shared>> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let limits = &shared.options.limits;
        let media_type = media_type(request.headers());
        let announced =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let too_long = || {
            let message = format!("the body is longer than {} bytes", limits.body_bytes);
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Error::new(Code::Resource, message))
        };
        if announced.is_some_and(|length: u64| length > limits.body_bytes as u64) {
            return Err(too_long());
        }
        let reading = axum::body::to_bytes(request.into_body(), limits.body_bytes);
        let bytes = match tokio::time::timeout(limits.arrival, reading).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(cause)) if cause.to_string().contains("limit") => return Err(too_long()),
            Ok(Err(_)) => return Err(bad("the body ended before it was complete")),
            Err(_) => {
                let error = Error::new(Code::Resource, "the body did not arrive in time").with_transient(true);
                return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, error));
            }
        };
        let text = String::from_utf8(bytes.into()).map_err(|_| bad("the body is not UTF-8"))?;
        Ok(Self { text, media_type })
    }
}

/// The body of a request as JSON; an empty body, or null, says nothing and is the default.
pub(crate) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<Shared>> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let text = Text::from_request(request, shared).await?;
        if matches!(text.text.trim(), "" | "null") {
            return Ok(Self(T::default()));
        }
        text.expect(&["application/json"])?;
        text.json().map(Self)
    }
}

impl Text {
    /// Refuses a body that is none of these.
    pub fn expect(&self, media_types: &[&str]) -> Result<(), Failure> {
        if media_types.contains(&self.media_type.as_str()) {
            return Ok(());
        }
        let error = Error::new(Code::Query, format!("a body of the type {:?} is not understood", self.media_type));
        let error = error.with_hint(format!("Send {}.", media_types.join(" or ")));
        Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
    }

    /// The object that it is as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // Serde would take a list for an object whose fields have no names.
        if !self.text.trim_start().starts_with('{') {
            return Err(bad("the body is not what is expected: it is no JSON object"));
        }
        serde_json::from_str(&self.text).map_err(|cause| bad(&format!("the body is not what is expected: {cause}")))
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What stands behind the ? of a request.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Shared>> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        match Query::<T>::from_request_parts(parts, shared).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(bad(&format!("the query is not what is expected: {}", rejection.body_text()))),
        }
    }
}

/// The name of a table in a path: `name`, `schema.name` or `lake.schema.name`, quoted where that is needed.
pub(crate) struct Name(pub ObjectName);

impl FromRequestParts<Arc<Shared>> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let InPath(name) = InPath::<String>::from_request_parts(parts, shared).await?;
        ObjectName::parse(&name).map(Self).map_err(Failure::from)
    }
}

/// What stands in the path of a request.
pub(crate) struct InPath<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for InPath<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, shared).await {
            Ok(Path(found)) => Ok(Self(found)),
            Err(rejection) => Err(bad(&format!("the path is not what is expected: {}", rejection.body_text()))),
        }
    }
}

/// A request that is wrong.
pub(crate) fn bad(message: &str) -> Failure {
    Failure::from(Error::new(Code::Query, message))
}
