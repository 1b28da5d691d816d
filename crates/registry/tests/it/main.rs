//! One test suite over both stores: every test runs on a fresh SQLite file and on a fresh PostgreSQL database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

/// Makes of each function a test per store.
macro_rules! over_both_stores {
    ($($test:ident,)+) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test(&crate::fixture::Fixture::sqlite()); })+
        }
        mod postgres {
            $(#[test] fn $test() { super::$test(&crate::fixture::Fixture::postgres()); })+
        }
    };
}

mod claims;
mod compactions;
mod connections;
mod definitions;
mod fixture;
mod graph;
mod news;
mod opening;
mod refreshes;
mod tasks;
mod transfers;
mod views;
mod workers;
