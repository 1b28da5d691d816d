//! Sources and exports over a real lake, real PostgreSQL and real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod exports;
mod files;
mod fixture;
mod postgres;
