//! A part of a query whose change is computed before that of the rest, into temporary tables: an operator below others
//! that is not linear. For what stands above it is a leaf like a table.

use serde_json::Value;

use crate::render::Input;
use crate::rules::keyed::Keyed;

/// A part of a query whose change is computed by itself.
#[derive(Debug)]
pub struct Stage {
    /// The operator.
    pub keyed: Keyed,
    /// Its output columns.
    pub columns: Vec<String>,
    /// Only the keys of its rows are looked at, so that rows which came and went alike must not cancel.
    pub watched: bool,
}

impl Stage {
    /// Its query, its tables and earlier stages numbered leaves, and what stands behind each leaf.
    pub(crate) fn query(&self) -> (&Value, &[Input]) {
        self.keyed.query()
    }
}

/// The temporary tables with the change of a stage.
#[derive(Clone, Debug, Default)]
pub struct StageChange {
    /// The rows that came, if any did.
    pub came: Option<String>,
    /// The rows that went, if any did.
    pub went: Option<String>,
}
