//! Arrow Flight SQL: what `query` does for HTTP, for clients that speak it (ADBC, JDBC). Statements are looked at, pinned,
//! run and limited by the same code; here is only what the protocol asks besides: tickets, prepared statements, what there
//! is to query, and batches in place of text.
//!
//! A ticket says all that is needed to run its statement, so that nothing is kept between the two requests for it, and is
//! believed no more than any other request.

mod answer;
mod metadata;
mod own;
mod parameters;
mod prepared;
mod protocol;
mod rows;
mod status;

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::{Router, middleware};

use crate::gate::flight_gate;
use crate::shared::Shared;

pub(crate) use status::refusal;

/// The service behind the gate.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let limit = shared.options.limits.body_bytes;
    let service = FlightServiceServer::new(answer::Flight::new(Arc::clone(&shared))).max_decoding_message_size(limit);
    let routes = tonic::service::Routes::new(service).into_axum_router();
    routes.layer(middleware::from_fn_with_state(shared, flight_gate))
}
