//! ORDER BY ... LIMIT, and `QUALIFY row_number() OVER (PARTITION BY ... ORDER BY ...) <= n`: the first rows of an order, of
//! all rows or of each partition. The latest row of each key is the commonest of them.
//!
//! Rows that came can only displace rows of the stored result, and rows that went matter only if they stood in it. So as long
//! as none of the stored rows went, the new result is the first rows of the stored ones and those that came; the input
//! is read as a whole only to fill the place of a stored row that went.

use serde_json::Value;

/// The first rows of an order, whose order can be told from the rows themselves.
#[derive(Clone, Debug)]
pub struct Top {
    /// How many rows are kept, of each partition.
    pub count: u64,
    /// The output columns that tell the partitions apart; none if the rows are not partitioned.
    pub partition: Vec<String>,
    /// The order as the text of an ORDER BY over the output columns; total but for equal rows.
    pub order: String,
    /// The query whose first rows are kept; linear in its leaves.
    pub(crate) input: Value,
}
