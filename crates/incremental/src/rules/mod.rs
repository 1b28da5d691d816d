//! The delta rules, one file per family of operators. `old + delta = new` holds for each as multisets.

pub mod aggregate;
pub mod fold;
pub mod linear;
