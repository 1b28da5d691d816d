//! Real lakes in temporary folders, over all three kinds of catalog.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod changes;
mod compacting;
mod feed;
mod looking;
mod maintained;
mod opening;
mod place;
mod publishing;
mod random_changes;
