//! Each rule as the root of a query.

mod aggregate;
mod fold;
mod keyed;
mod linear;
mod set_operation;
mod state;
mod top;
mod window;
