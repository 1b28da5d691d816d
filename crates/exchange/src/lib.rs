//! Sources and exports: rows that come into the lake from a connection, and the changes of tables of the lake that go out to one.
//!
//! A source is a table of the lake that becomes, by its schedule or by hand, what a table behind a connection is. Only the
//! difference is written, so that dynamic tables over it stay incremental. Everything is done by the engine, which spills: no
//! row passes through this crate. It knows no terminal, no HTTP, and no dynamic table but by what it reads.

mod definition;
mod destination;
mod difference;
mod exchange;
mod export;
mod keeper;
mod load;
mod outside;
mod relation;
mod run;
mod shape;
mod types;
mod whole;

pub use definition::{ExportDefinition, SourceDefinition};
pub use exchange::{Described, Done, Exchange, Explained};
pub use keeper::{Keeper, KeeperOptions, LakeSlot};
pub use run::{Ran, Stop};
