//! What the tests of every crate share: throw-away servers and lakes. Never part of the product.

#[cfg(feature = "lake")]
pub mod lake;
pub mod postgres;
pub mod random;
#[cfg(feature = "rules")]
pub mod rules;
pub mod sqlite;
