//! EXCEPT and INTERSECT: whether, and how often, a row is in the result depends on how often it is in the branches, so
//! each row is a group of its own.

use serde_json::Value;
use sql::tree;

use super::keyed::{Place, input_query, key_items};

/// Where the branches are in the tree.
pub const POINTERS: [&str; 2] = ["/left", "/right"];

/// The name of a branch in its own SELECT.
const BRANCH: &str = "__dt_b";

/// The branches of a set operation.
pub fn branches_mut(node: &mut Value) -> Vec<&mut Value> {
    let Some(fields) = node.as_object_mut() else { return Vec::new() };
    let mut branches = Vec::new();
    for (name, field) in fields.iter_mut() {
        if matches!(name.as_str(), "left" | "right") && !field.is_null() {
            branches.push(field);
        }
    }
    branches
}

/// Makes a branch a SELECT that can be restricted by its columns: the place of the restriction, and the query in whose
/// change the touched rows stand.
pub fn branch(branch: &mut Value, pointer: &'static str, columns: &[String]) -> (Place, Value) {
    let keys: Vec<Value> = columns.iter().map(|column| tree::column(&[BRANCH, column])).collect();
    *branch = tree::select_star(tree::derived_table(branch.take(), BRANCH, &[]));
    let watched = input_query(branch, key_items(&keys));
    (Place { pointer, keys }, watched)
}
