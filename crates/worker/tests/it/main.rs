//! The worker over real lakes, inside this process: how it waits, retries, stops, and what an idle one costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod idle;
mod refreshes;
mod stopping;
mod worked;
