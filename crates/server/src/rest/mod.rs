//! The dynamic tables as resources: one file for each kind of question, `view` for what they look like from outside.

pub(crate) mod change;
pub(crate) mod connections;
pub(crate) mod listed;
pub(crate) mod look;
pub(crate) mod overview;
pub(crate) mod preview;
pub(crate) mod tasks;
pub(crate) mod view;
pub(crate) mod work;
