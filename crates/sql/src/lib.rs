//! Text in, values out: names and quoting, the properties of a dynamic table, our statements
//! (`CREATE DYNAMIC TABLE ...` and its relatives), and DuckDB's parse tree of their queries.
//!
//! This crate knows what a user may write. It does not know what a lake, a snapshot or a refresh is, opens no
//! lake and changes nothing.

pub mod cluster_by;
mod cursor;
mod keyword;
pub mod names;
pub mod properties;
pub mod query;
pub mod statement;
pub mod suggest;
mod target_lag;
mod token;
pub mod tree;
