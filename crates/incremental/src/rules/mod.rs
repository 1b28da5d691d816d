//! The delta rules, one file per family of operators. `old + delta = new` holds for each as multisets.

pub mod accumulator;
pub(crate) mod aggregate;
pub mod fold;
pub mod keyed;
pub mod linear;
pub(crate) mod set_operation;
pub mod state;
pub mod top;
pub(crate) mod window;
