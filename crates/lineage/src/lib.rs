//! OpenLineage: tells a catalog of lineage which refresh began, how it ended, what it read and what it wrote.
//!
//! The events are made from the registry's history by a thread of its own ([`Lineage`]), so that no refresh waits for them
//! or fails by them. This crate knows the specification (2-0-2) and how an event is sent; how a refresh works, and the
//! lake, it never learns.

mod event;
mod follow;
mod target;

pub use follow::{Counts, Lineage, counts};
pub use target::Target;
