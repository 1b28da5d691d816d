//! `old + change = new`, as multisets, for every rule alone: random small tables before and after a random change, in an
//! in-memory DuckDB without any lake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod lower;
mod rules;
mod support;
