//! Keeping dynamic tables: where the registry (what they are), the lake (what they hold) and the delta rules meet.
//!
//! A refresh reads like this: what does the table read (`analysis`), what changed since its data version
//! (`sources`), which way is cheaper (`choose`), compute the change outside any lake transaction (`prepare`),
//! and publish it in one short one, together with the watermark and the provenance (`publish`). If a process
//! died in between, the lake's commit says how far it came (`recover`).
//!
//! This crate does not know HTTP, terminals or worker processes.

mod activity;
mod affected;
mod alter;
mod analysis;
mod analyze;
mod choose;
mod claimed;
mod cluster;
mod compact;
mod course;
mod create;
mod decide;
mod describe;
pub mod drawing;
mod drop;
mod dry_run;
mod explain;
mod graph;
mod group;
mod information;
mod measured;
mod news;
mod pin;
mod poll;
mod prepare;
mod publish;
mod record;
mod recover;
mod registered;
mod rename;
mod report;
mod reshape;
mod rounding;
mod shape;
mod shared;
mod sources;
mod state;
mod status;
mod steps;
mod tables;
mod temporaries;
mod top;
mod trial;
mod unpublished;
mod validate;
mod verify;

pub use activity::{Activity, Watched};
pub use analyze::{Analyzed, Scanned};
pub use choose::AutoPolicy;
pub use claimed::{Lease, host, is_gone, place};
pub use describe::Description;
pub use explain::{Choice, ExplainedNode, ExplainedSource, Explanation};
pub use graph::{Graph, GraphNode};
pub use incremental::rewrite::Rewrite;
pub use pin::Pin;
pub use poll::{Done, Look, Poll, Work};
pub use report::{Altered, Check, CreateAction, Created, DryRun, RefreshReport, RefreshRequest, Verification};
pub use status::{HistoryRequest, LagStatistics, Status, StatusRequest, lag_statistics};
pub use steps::{Cost, Step};
pub use tables::{DynamicTables, Interrupter};
pub use trial::{Trial, TrialCopy, TrialRequest, Way};
