//! Window functions and QUALIFY: a row's value depends on its partition only, so the partitions that a change touches are
//! computed again. Several windows are maintained by the part of PARTITION BY that all of them share.

use serde_json::Value;
use sql::tree;

use crate::expression::integer;

/// The expressions that stand in PARTITION BY of every window, each once: of a key that is compared twice the engine
/// (1.5.5) makes plans that it cannot bind.
pub fn shared_partition(windows: &[Value]) -> Vec<Value> {
    let Some((first, others)) = windows.split_first() else { return Vec::new() };
    let stands_in = |window: &Value, key: &Value| {
        tree::list(window, "partitions").iter().any(|other| tree::same_expression(other, key))
    };
    let mut shared: Vec<Value> = Vec::new();
    for key in tree::list(first, "partitions") {
        let known = shared.iter().any(|known| tree::same_expression(known, key));
        if !known && others.iter().all(|window| stands_in(window, key)) {
            shared.push(key.clone());
        }
    }
    shared
}

/// The window and the number of rows of `row_number() OVER (...) <= n`, in whatever way that is written; at least one row.
pub fn first_rows(condition: &Value) -> Option<(&Value, u64)> {
    let window = &condition["left"];
    let last = integer(&condition["right"])?;
    let count = match tree::text(condition, "type") {
        "COMPARE_LESSTHANOREQUALTO" => last,
        "COMPARE_LESSTHAN" => last.checked_sub(1)?,
        "COMPARE_EQUAL" if last == 1 => 1,
        _ => return None,
    };
    let numbered = tree::text(window, "type") == "WINDOW_ROW_NUMBER" && tree::list(window, "arg_orders").is_empty();
    (numbered && count > 0).then_some((window, count))
}
