//! Failures as gRPC has them: a code of its own, our message with what to do, and our code in the metadata `x-error-code`.

use axum::http::StatusCode;
use error::{Code, Error};
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::problem::{Failure, Problem};

/// The failure as it is told.
pub(crate) fn refusal(failure: &Failure) -> Status {
    told(&failure.problem())
}

/// The problem as it is told.
pub(super) fn told(problem: &Problem) -> Status {
    let mut message = problem.detail.clone();
    if let Some(place) = &problem.place {
        message = format!("{message} (line {}, column {})\n{}", place.line, place.column, place.excerpt);
    }
    if let Some(hint) = &problem.hint {
        message = format!("{message}\n{hint}");
    }
    let mut status = Status::new(code(problem), message);
    if let Ok(code) = MetadataValue::try_from(&problem.code) {
        status.metadata_mut().insert("x-error-code", code);
    }
    status
}

fn code(problem: &Problem) -> tonic::Code {
    match StatusCode::from_u16(problem.status) {
        Ok(StatusCode::UNAUTHORIZED) => tonic::Code::Unauthenticated,
        Ok(StatusCode::FORBIDDEN) => tonic::Code::PermissionDenied,
        Ok(StatusCode::NOT_FOUND) => tonic::Code::NotFound,
        Ok(StatusCode::CONFLICT) => tonic::Code::Aborted,
        Ok(StatusCode::UNPROCESSABLE_ENTITY) => tonic::Code::FailedPrecondition,
        Ok(StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE) => tonic::Code::ResourceExhausted,
        Ok(StatusCode::REQUEST_TIMEOUT) => tonic::Code::DeadlineExceeded,
        Ok(StatusCode::SERVICE_UNAVAILABLE) if problem.transient => tonic::Code::Unavailable,
        Ok(StatusCode::SERVICE_UNAVAILABLE) => tonic::Code::ResourceExhausted,
        Ok(status) if status.is_client_error() => tonic::Code::InvalidArgument,
        _ => tonic::Code::Internal,
    }
}

/// What Arrow could not write or read.
pub(super) fn unwritten(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Schema, format!("the result cannot be written as Arrow: {cause}"))
        .with_hint("Cast the column to VARCHAR.")
}
