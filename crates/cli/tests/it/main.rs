//! The program as a black box: the real binary, on throw-away lakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod bench;
mod cancel;
mod configuration;
mod connections;
mod create;
mod demo;
mod doctor;
mod information;
mod lifecycle;
mod lineage;
mod operators;
mod output;
mod program;
mod serve;
mod sources;
mod sql;
mod worker;
