//! Named steps of a refresh at which a test can let the process die, stop, or fail. It knows the names of the steps and
//! what can happen there, and nothing of what a step does.
//!
//! Without the feature `failpoints`, which only tests turn on, [`fail_point!`] is nothing at all and nothing is linked
//! for it.

#[cfg(feature = "failpoints")]
mod arm;

#[cfg(feature = "failpoints")]
pub use arm::{CONTROL, FAULTS, LIFELINE, LOG, arm, injected};

#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub use fail;

/// Every step at which something can be made to happen, in the order in which a refresh comes by.
pub const POINTS: [&str; 23] = [
    // A table is registered and about to be filled for the first time.
    "first-refresh",
    // A worker looks what is due.
    "look",
    // A worker has claimed tables; it is about to give them back.
    "claimed",
    "release",
    // The registry is about to hear that refreshes begin; it has.
    "begin",
    "begun",
    // The registry is about to follow the lake, which is ahead of it.
    "adopt",
    // It is known where the table stands; the change of its sources was read; its own change is ready.
    "decided",
    "changes-read",
    "computed",
    // The first publication of a lake has made the table of watermarks.
    "watermarks-created",
    // The lake's transaction: before it, and at each of its steps.
    "publish",
    "transaction-begun",
    "watermarks-moved",
    "rows-deleted",
    "rows-inserted",
    "commit",
    "committed",
    // The registry is about to hear how refreshes ended; it has.
    "finish",
    "finished",
    // The registry's own transactions.
    "registry-commit",
    "registry-committed",
    // The lake has renamed a table; the registry is about to hear of it.
    "renamed",
];

/// A step at which a test can let the process die, stop, or, in a function that gives a `Result`, fail.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        $crate::fail::fail_point!($name, |_| Err($crate::injected($name).into()))
    };
}

/// A step at which a test can let the process die, stop, or, in a function that gives a `Result`, fail.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {};
}
