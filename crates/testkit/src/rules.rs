//! A minimal refresh over an in-memory DuckDB, without any lake: what the delta rules of a query say came and went. It knows
//! neither snapshots nor how a change is read or published.

mod change;
mod groups;
mod world;

pub use change::{STORED, Way, changes};
pub use groups::{Rendered, stages};
pub use world::{State, TableOf, World};
