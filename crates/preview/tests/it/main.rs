//! Previews as they are run: a real PostgreSQL, real files, and the sandbox as a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod attacks;
mod files;
mod limits;
mod postgres;
mod tasks;
mod types;
mod world;
