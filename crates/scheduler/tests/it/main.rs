//! The scheduler at work in virtual time: workers that look, take batches and finish them, over days and thousands of
//! tables, in a loop of events without any sleep.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod laws;
mod simulation;
mod week;
mod world;
