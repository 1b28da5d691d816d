//! When which dynamic table is refreshed, and together with which others.
//!
//! Pure: tables, times and who reads whom go in, decisions come out. This crate knows lags, data timestamps and
//! dependencies; it does not know databases, queries or how a refresh works.
//!
//! ```
//! use std::time::Duration;
//! use scheduler::{Lag, Moment, Reason, Schedule, Table};
//!
//! let at = |second| jiff::Timestamp::from_second(second).unwrap();
//! let mut daily = Table::new("daily", Lag::Within(Duration::from_secs(300)));
//! daily.data_timestamp = Some(at(0));
//! let schedule = Schedule::new(vec![daily]).unwrap();
//! let decision = schedule.due(&Moment::new(at(400), Duration::from_secs(5)));
//! assert_eq!(decision.due[0].id, "daily");
//! assert!(matches!(decision.due[0].reason, Reason::Lag { .. }));
//! ```

mod batch;
mod chain;
mod due;
mod graph;
mod lag;
mod schedule;
mod start;

pub use batch::{Batch, Limits};
pub use due::{Decision, Due, Moment, Obstacle, Reason, Skipped};
pub use graph::{Cycle, Graph};
pub use lag::{EffectiveLag, Lag, Unscheduled};
pub use schedule::{DEFAULT_QUEUE, Schedule, Table};
