//! What the tests of the rules stand on: tables with random content, and a minimal refresh.

mod change;
mod data;
mod groups;
mod property;
mod world;

pub use change::Way;
pub use property::{holds, is_refused};
