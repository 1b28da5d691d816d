//! A differential tester of the whole product: random tables, random queries over every operator, random changes, and
//! after every refresh each dynamic table compared with what DuckDB says its query gives.
//!
//! The oracle ([`oracle`]) evaluates the query's own text over plain copies of the tables in memory. It shares no code
//! with the product: no lake, no time travel, no rule.
//!
//! A case is one query through one script of changes. Several cases share a lake ([`round`]), because that is what takes
//! time. Everything follows from a seed, and case `k` of a seed can be run alone. A case that fails is made smaller
//! ([`shrink`]) and kept as a file of plain SQL ([`script`]).
//!
//! Most of what takes time is the lake. [`rules`] tests the delta rules without one, many times as many in the same time.

pub mod changes;
pub mod compare;
pub mod draw;
pub mod grammar;
pub mod limit;
pub mod oracle;
pub mod round;
pub mod rules;
pub mod run;
pub mod schema;
pub mod script;
pub mod shrink;
pub mod tally;
