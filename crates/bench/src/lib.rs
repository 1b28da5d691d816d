//! Benchmarks of whole refreshes and whole workers over real lakes, with the bounds that they are held to.
//!
//! Every figure is a median or a count of this run, and every bound is a ratio of two things measured in this run, or a
//! time that a user would notice. Nothing here is a test: a slow machine fails no build.

pub mod aging;
pub mod figures;
pub mod gate;
pub mod machine;
pub mod page;
pub mod refreshing;
pub mod report;
pub mod scheduling;
mod steps;
