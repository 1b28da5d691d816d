//! Previews: trying a query on real sources before it becomes a table, at once and without being able to hurt anything.
//!
//! Somebody's SQL is parsed and looked at ([`walk`]), put over a filtered relation of a source, and run by an engine that is
//! shut, in a process of its own that can be killed (`child`, `process`). [`Previews`] resolves connections, keeps to the
//! limits and remembers results for a while; [`PreviewTasks`] and [`PreviewWorker`] carry previews through the registry, so
//! that who asks and who runs need not be the same process. Nothing here knows HTTP.

mod answer;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod attacks;
mod cache;
mod child;
mod compose;
mod filter;
mod json;
mod names;
mod place;
mod process;
mod profile;
mod service;
mod tasks;
pub mod walk;
mod worker;

pub use answer::{Answer, Asked, Numbers, RowForm};
pub use child::main as sandbox_main;
pub use place::Place;
pub use service::{Options, Previews, SlotFigures};
pub use tasks::{PreviewStatus, PreviewTasks, QUEUE};
pub use worker::{PreviewWorker, WorkerOptions};
