//! The operators of a query as a person reads them in `explain`.

use crate::Reason;

/// One operator of a query with the rule that maintains it, or the reason why none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// How deep it stands below the root, from 0.
    pub depth: usize,
    /// What it is: `Scan main.orders`, `Aggregate by region`.
    pub name: String,
    /// The rule by which its change is computed.
    pub rule: Option<String>,
    /// Why there is no rule.
    pub reason: Option<Reason>,
    /// Its place in the query's text, in bytes.
    pub location: Option<usize>,
}
