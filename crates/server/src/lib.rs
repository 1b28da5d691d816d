//! The server: dynamic tables over HTTP, for programs and for people who would rather look.
//!
//! A [`Server`] is told by its [`Options`] where to listen, who may do what and how much; it opens the lake and the
//! registry, answers until its [`Shutdown`] is requested, and lets what runs end. It knows requests, formats, tokens and
//! limits; what a refresh is and how it works belongs to [`refresh`].
//!
//! The lake is opened twice: once for the product's own work, and once in an engine that is closed to everything but
//! reading the lake, for the SQL of whoever may only read (`query`).

mod access;
mod audit;
mod body;
mod flight;
mod gate;
mod health;
mod limit;
mod listen;
mod metrics;
mod openapi;
mod options;
mod page;
mod pool;
mod problem;
mod query;
mod rest;
mod routes;
mod shared;
mod task;
mod tls;

pub use access::Tokens;
pub use listen::{Handle, Server};
pub use options::{Limits, Options};
pub use tls::Tls;
pub use worker::Shutdown;
