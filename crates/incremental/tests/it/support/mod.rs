//! What the tests of the rules stand on: random content of two tables, and the property.

mod data;
mod property;

pub use property::{holds, is_refused};
pub use testkit::rules::Way;
