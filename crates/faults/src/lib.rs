//! A fault-injection tester of the whole product: real workers over a real lake and registry, killed, stopped, cut off
//! and failed at every step of a refresh, under a writer that never stops and a reader that never stops looking.
//!
//! It knows the product by its command line, its lake and nothing else: what a refresh does inside is not its matter.
//! What a dynamic table must hold ([`tables`]) is computed by plain DuckDB over the sources at the table's data version.
//!
//! A round ([`round`]) has a lake and a registry of its own ([`place`]), a writer ([`writer`]), a reader ([`reader`]) and
//! one to four workers ([`worker`]), each behind a proxy ([`proxy`]) that can cut its connections. Which faults happen is
//! drawn from a seed ([`plan`]); when exactly a step is reached depends on the machine. What was found wrong is a
//! [`tally`].

pub mod place;
pub mod plan;
pub mod program;
pub mod proxy;
pub mod reader;
pub mod round;
pub mod tables;
pub mod tally;
pub mod worker;
pub mod writer;

use error::{Code, Error};

/// An error of the tester itself.
pub(crate) fn broken(what: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("{what}: {cause}"))
}
