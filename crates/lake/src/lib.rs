//! The lake: opening DuckDB over a DuckLake, and speaking of it in the terms the rest of the product needs:
//! snapshot, change, window, publication, watermark.
//!
//! There is one way to open DuckDB, [`Lake::open`]: settings, extensions, secrets, attach, lake options, in this
//! order. A [`Session`] is one connection on that instance; temporary tables belong to their session, everything
//! else is shared. What happened in the lake is read from DuckLake's documented metadata tables, which stay at a
//! few milliseconds however many snapshots there are.
//!
//! This crate does not know what a dynamic table is, when one is due, or how its change is computed. It moves the
//! rows it is told to move, together with a [`Watermark`] that fences concurrent publishers and a [`Provenance`]
//! that says in the commit itself what was published.

mod attach;
mod catalog;
mod closed;
mod compact;
pub mod extensions;
mod failure;
mod happened;
mod inlining;
mod look;
mod opening;
mod options;
mod outside;
mod peace;
mod provenance;
mod publish;
mod sandbox;
mod scans;
mod secrets;
mod session;
mod settings;
mod snapshot;
mod sorting;
mod stream;
mod table;
mod watermarks;
mod window;
mod windows;

pub use attach::Lake;
pub use catalog::CatalogKind;
pub use compact::{Compaction, Stored};
pub use duckdb::arrow::{array::RecordBatch, datatypes::SchemaRef};
pub use failure::mask;
pub use happened::Happened;
pub use inlining::loses_in_catalog;
pub use look::Look;
pub use options::Options;
pub use outside::{PostgresPlace, Storage};
pub use provenance::{Provenance, ProvenanceEntry};
pub use publish::{Delete, NotPublished, Publication, Receipt, TableChange};
pub use sandbox::{Sandbox, SandboxLimits};
pub use scans::Scan;
pub use session::{InterruptHandle, Rows, Session, Spent, spent};
pub use settings::Settings;
pub use snapshot::{Change, ChangeKind, Changes, Snapshot, SnapshotId};
pub use sorting::{is_same_order, sort_statement};
pub use stream::{Parameter, Parameters, Take};
pub use table::{Column, Table};
pub use watermarks::{BOOKKEEPING_SCHEMA, Watermark, WatermarkMove};
pub use window::{Break, Window, WindowRule, at_sql};
