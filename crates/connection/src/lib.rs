//! Connections: named ways to data outside of the lake, and the one chain that their secrets come from.
//!
//! A connection has a [`Kind`], settings, and secrets. A secret comes from the environment, from a mounted file, or from
//! the registry, where it is sealed ([`Keyring`]); nothing here gives one to anybody but by [`Connections::resolve`], and what it
//! gives shows itself to no log. This crate does not know how anything is reached; that is for whoever opens it.

mod chain;
mod cipher;
mod connections;
mod keyring;
mod kind;
mod statement;

pub use chain::Chain;
pub use connections::{Connections, Described, NewConnection, Resolved, Setting, is_name};
pub use keyring::{Keyring, SecretFormat};
pub use kind::Kind;
pub use secrecy::{ExposeSecret, SecretString};
pub use statement::{Done, is_change, not_read_yet};
