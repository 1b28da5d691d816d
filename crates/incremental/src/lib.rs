//! What has to be done to a stored result when the tables below its query change: operators, delta rules, and the
//! SQL they produce.
//!
//! Everything here is text and values in, text and values out. It does not know connections, clocks, or which
//! tables exist: a [`Catalog`] is asked for the shape of a relation, and everything else about types, functions and
//! operators is left to DuckDB, whose parse tree ([`sql::query`]) is rewritten and never re-interpreted.
//!
//! The way of a query: [`Plan::analyse`] resolves its tables (`resolve`), finds the columns it uses (`columns`),
//! lowers it to operators (`lower`) and picks a [`rules`] entry for the root, or says why there is none
//! ([`Reason`]). A refresh then asks the plan for SQL ([`render`]) and brings the change to the table ([`apply`]).

pub mod apply;
mod catalog;
pub mod clock;
mod columns;
mod expression;
mod inline;
mod lower;
mod operator;
mod plan;
mod reason;
pub mod render;
mod resolve;
pub mod rewrite;
pub mod rules;
mod stage;

pub use catalog::{Catalog, Column, Relation};
pub use operator::Operator;
pub use plan::{Plan, Root, Source};
pub use reason::Reason;
pub use stage::{Stage, StageChange};
