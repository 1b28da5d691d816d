//! Putting common table expressions where they are used, and numbering the tables that a query reads.
//!
//! A table reference becomes a *leaf*: each occurrence of a table (a self-join has two) can then be read as it was, as it
//! is, or as what changed.

use std::collections::HashMap;

use serde_json::Value;
use sql::tree;

use crate::clock::visit_own_times;
use crate::render::Input;
use crate::resolve::source_of;

/// The catalog name by which a leaf is known; its table name is the number of the leaf.
pub const LEAF_MARK: &str = "#leaf";

/// The number of a leaf.
pub fn leaf_of(node: &Value) -> Option<usize> {
    if !tree::is(node, "BASE_TABLE") || tree::text(node, "catalog_name") != LEAF_MARK {
        return None;
    }
    tree::text(node, "table_name").parse().ok()
}

/// Makes a table reference the leaf of that number.
pub fn mark_leaf(node: &mut Value, leaf: usize) {
    node["catalog_name"] = Value::from(LEAF_MARK);
    node["schema_name"] = Value::from("");
    node["table_name"] = Value::from(leaf.to_string());
}

/// A common table expression in scope: its query, already inlined, and the names of its columns.
#[derive(Clone)]
pub struct CommonTable {
    node: Value,
    column_aliases: Vec<Value>,
}

/// Puts every common table expression where it is used. Recursive ones stay and are reported as operators.
pub fn inline(node: &mut Value, scope: &HashMap<String, CommonTable>) {
    if tree::is(node, "BASE_TABLE") && tree::text(node, "catalog_name").is_empty() {
        let name = tree::text(node, "table_name").to_owned();
        if let Some(common) = scope.get(&name.to_lowercase()) {
            let alias = Some(tree::text(node, "alias")).filter(|alias| !alias.is_empty()).unwrap_or(&name);
            // The reference may rename the first columns only.
            let mut aliases = tree::list(node, "column_name_alias").to_vec();
            aliases.extend(common.column_aliases.iter().skip(aliases.len()).cloned());
            let mut derived = tree::derived_table(common.node.clone(), alias, &aliases);
            derived["sample"] = node["sample"].clone();
            derived["query_location"] = node["query_location"].clone();
            *node = derived;
        }
        return;
    }
    match node {
        Value::Array(children) => children.iter_mut().for_each(|child| inline(child, scope)),
        Value::Object(_) if !node["cte_map"].is_null() => inline_query_node(node, scope),
        Value::Object(fields) => fields.values_mut().for_each(|child| inline(child, scope)),
        _ => {}
    }
}

fn inline_query_node(node: &mut Value, scope: &HashMap<String, CommonTable>) {
    let mut scope = scope.clone();
    if tree::is(node, "RECURSIVE_CTE_NODE") {
        scope.remove(&tree::text(node, "cte_name").to_lowercase());
    }
    let mut kept = Vec::new();
    if let Some(entries) = node["cte_map"]["map"].as_array_mut() {
        for mut entry in std::mem::take(entries) {
            let name = tree::text(&entry, "key").to_lowercase();
            inline(&mut entry["value"]["query"], &scope);
            let body = entry["value"]["query"]["node"].clone();
            if tree::is(&body, "RECURSIVE_CTE_NODE") {
                scope.remove(&name);
                kept.push(entry);
            } else {
                let column_aliases = tree::list(&entry["value"], "aliases").to_vec();
                scope.insert(name, CommonTable { node: body, column_aliases });
            }
        }
    }
    node["cte_map"]["map"] = Value::from(kept);
    let Some(fields) = node.as_object_mut() else { return };
    for (_, child) in fields.iter_mut().filter(|(field, _)| *field != "cte_map") {
        inline(child, &scope);
    }
}

/// Numbers the leaves from left to right, so that the leaves of any part of FROM stand together.
pub fn number_leaves(node: &mut Value, leaves: &mut Vec<Input>) {
    if let Some(source) = source_of(node) {
        mark_leaf(node, leaves.len());
        leaves.push(Input::Source(source));
        return;
    }
    if tree::is(node, "SELECT_NODE") {
        // All mentions of the time in one WHERE are one leaf: its condition holds at one time or the other.
        let leaf = leaves.len();
        let mut found = false;
        visit_own_times(node, &mut |time| {
            found = true;
            mark_leaf(time, leaf);
        });
        if found {
            leaves.push(Input::Clock);
        }
    }
    match node {
        Value::Array(children) => children.iter_mut().for_each(|child| number_leaves(child, leaves)),
        Value::Object(fields) => fields.values_mut().for_each(|child| number_leaves(child, leaves)),
        _ => {}
    }
}
