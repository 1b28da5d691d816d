//! Dynamic tables over real lakes. Every refresh ends with the oracle: the table equals its query.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod clustering;
mod compaction;
mod dry_run;
mod edited;
mod groups;
mod meanwhile;
mod memory;
mod random_changes;
mod regressions;
mod rewrites;
mod schema_changes;
mod slice;
mod slt;
mod state_tables;
mod statements;
mod time;
mod together;
mod tpc;
mod traps;
