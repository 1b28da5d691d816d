//! Window functions and QUALIFY: a row's value depends on its partition only, so the partitions that a change touches are
//! computed again. Several windows are maintained by the part of PARTITION BY that all of them share.

use serde_json::Value;
use sql::tree;

/// The expressions that stand in PARTITION BY of every window.
pub fn shared_partition(windows: &[Value]) -> Vec<Value> {
    let Some((first, others)) = windows.split_first() else { return Vec::new() };
    let stands_in = |window: &Value, key: &Value| {
        tree::list(window, "partitions").iter().any(|other| tree::same_expression(other, key))
    };
    let shared = |key: &&Value| others.iter().all(|window| stands_in(window, key));
    tree::list(first, "partitions").iter().filter(shared).cloned().collect()
}
