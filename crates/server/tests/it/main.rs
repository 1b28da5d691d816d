//! The server from outside: real requests over real connections to a real lake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod bad_input;
mod client;
mod flight;
mod load;
mod observed;
mod rest;
mod sandbox;
mod sql;
mod tls;
