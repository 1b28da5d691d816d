//! What the two databases say differently. Everything else is SQL that both understand.

/// The words of one database.
pub(crate) struct Dialect {
    /// The expression that gives the sources of the dynamic table `t` as JSON.
    pub(crate) sources: &'static str,
    /// The expression that gives the present time, by the database's clock. Not that of the transaction's beginning.
    pub(crate) now: &'static str,
    /// The expression that gives the time so many milliseconds later, they being an expression too.
    pub(crate) later: fn(milliseconds: &str) -> String,
    /// What a change of `registry_state` ends with, to wake those who wait for news.
    pub(crate) notify: &'static str,
    /// What a SELECT of dynamic tables ends with that relies on them staying.
    pub(crate) lock_to_refer: &'static str,
    /// What a SELECT ends with whose rows are going to change.
    pub(crate) lock_to_change: &'static str,
    /// What a SELECT ends with whose rows are going to be deleted.
    pub(crate) lock_to_delete: &'static str,
}
