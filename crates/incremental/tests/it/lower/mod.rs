//! What lowering makes of operators that have no rule of their own.

mod clock;
mod grouping_sets;
mod join;
mod limit;
mod pivot;
mod split;
mod stages;
mod subquery;
