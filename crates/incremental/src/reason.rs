//! Why a query, or a part of it, is not maintained incrementally.

use std::fmt;

/// Why there is no incremental rule, and where in the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason as a phrase: `LIMIT keeps rows by their position in the whole result`.
    pub text: String,
    /// The place in the query's text, in bytes, where it is known.
    pub location: Option<usize>,
}

impl Reason {
    /// A reason at a place.
    pub fn new(text: impl Into<String>, location: Option<usize>) -> Self {
        Self { text: text.into(), location }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
