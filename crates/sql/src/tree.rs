//! Building, walking and comparing the nodes of DuckDB's parse tree.
//!
//! Scalar expressions stay opaque here: only column references, function names and subqueries are looked at.

use serde_json::{Value, json};

/// DuckDB's mark for "no place in the text".
const NO_LOCATION: u64 = u64::MAX;

/// The place of a node in the query's text, in bytes.
#[must_use]
pub fn location(node: &Value) -> Option<usize> {
    match node["query_location"].as_u64() {
        None | Some(NO_LOCATION) => None,
        Some(location) => usize::try_from(location).ok(),
    }
}

/// The first place that a node or anything below it has.
#[must_use]
pub fn first_location(node: &Value) -> Option<usize> {
    let mut first: Option<usize> = None;
    visit(node, &mut |inner| {
        if let Some(place) = location(inner) {
            first = Some(first.map_or(place, |known| known.min(place)));
        }
    });
    first
}

/// Calls `look` for this node and everything below it, parents first.
pub fn visit<'tree>(node: &'tree Value, look: &mut dyn FnMut(&'tree Value)) {
    look(node);
    match node {
        Value::Array(children) => children.iter().for_each(|child| visit(child, look)),
        Value::Object(fields) => fields.values().for_each(|child| visit(child, look)),
        _ => {}
    }
}

/// Calls `change` for this node and everything below it, children first.
pub fn visit_mut(node: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match node {
        Value::Array(children) => children.iter_mut().for_each(|child| visit_mut(child, change)),
        Value::Object(fields) => fields.values_mut().for_each(|child| visit_mut(child, change)),
        _ => {}
    }
    change(node);
}

/// Whether the node is of this `class` (of an expression) or `type` (of a table reference or query node).
#[must_use]
pub fn is(node: &Value, class_or_type: &str) -> bool {
    node["class"].as_str() == Some(class_or_type)
        || (node["class"].is_null() && node["type"].as_str() == Some(class_or_type))
}

/// A text field, `""` when it is missing.
#[must_use]
pub fn text<'node>(node: &'node Value, field: &str) -> &'node str {
    node[field].as_str().unwrap_or("")
}

/// A list field, empty when it is missing.
#[must_use]
pub fn list<'node>(node: &'node Value, field: &str) -> &'node [Value] {
    node[field].as_array().map_or(&[], Vec::as_slice)
}

/// The parts of a column reference, `None` for any other node.
#[must_use]
pub fn column_reference(node: &Value) -> Option<Vec<&str>> {
    if !is(node, "COLUMN_REF") {
        return None;
    }
    node["column_names"].as_array().map(|parts| parts.iter().filter_map(Value::as_str).collect())
}

/// Whether two expressions are written the same, aliases, places and the case of names aside.
#[must_use]
pub fn same_expression(left: &Value, right: &Value) -> bool {
    without_marks(left, true) == without_marks(right, true)
}

/// The expression without places and (at its top) alias, names in lower case: equal for equal expressions.
fn without_marks(node: &Value, top: bool) -> Value {
    match node {
        Value::Object(fields) => {
            let is_column = is(node, "COLUMN_REF");
            let kept = fields.iter().filter(|(name, _)| *name != "query_location" && !(top && *name == "alias"));
            kept.map(|(name, child)| {
                let child = if (is_column && name == "column_names") || name == "function_name" {
                    lower(child)
                } else {
                    without_marks(child, false)
                };
                (name.clone(), child)
            })
            .collect()
        }
        Value::Array(children) => children.iter().map(|child| without_marks(child, false)).collect(),
        other => other.clone(),
    }
}

fn lower(node: &Value) -> Value {
    match node {
        Value::String(text) => Value::from(text.to_lowercase()),
        Value::Array(children) => children.iter().map(lower).collect(),
        other => other.clone(),
    }
}

/// `SELECT` of nothing from nothing, to be filled.
#[must_use]
pub fn empty_select() -> Value {
    json!({
        "type": "SELECT_NODE", "modifiers": [], "cte_map": { "map": [] }, "select_list": [],
        "from_table": { "type": "EMPTY", "alias": "", "sample": null, "query_location": NO_LOCATION },
        "where_clause": null, "group_expressions": [], "group_sets": [], "aggregate_handling": "STANDARD_HANDLING",
        "having": null, "sample": null, "qualify": null,
    })
}

/// `SELECT *` over a table reference.
#[must_use]
pub fn select_star(from: Value) -> Value {
    let mut node = empty_select();
    node["select_list"] = json!([{
        "class": "STAR", "type": "STAR", "alias": "", "query_location": NO_LOCATION, "relation_name": "",
        "exclude_list": [], "replace_list": [], "columns": false, "expr": null, "qualified_exclude_list": [],
        "rename_list": [],
    }]);
    node["from_table"] = from;
    node
}

/// Whether a query has a LIMIT of its own.
#[must_use]
pub fn is_limited(node: &Value) -> bool {
    let kinds = ["LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER"];
    list(node, "modifiers").iter().any(|modifier| kinds.contains(&text(modifier, "type")))
}

/// A reference to a query in FROM.
#[must_use]
pub fn derived_table(query_node: Value, alias: &str, column_aliases: &[Value]) -> Value {
    json!({
        "type": "SUBQUERY", "alias": alias, "sample": null, "query_location": NO_LOCATION,
        "subquery": { "node": query_node, "named_param_map": [] }, "column_name_alias": column_aliases,
    })
}

/// A reference to a table that is not named yet.
#[must_use]
pub fn table_reference(alias: &str, column_aliases: &[Value]) -> Value {
    json!({
        "type": "BASE_TABLE", "alias": alias, "sample": null, "query_location": NO_LOCATION, "schema_name": "",
        "table_name": "", "column_name_alias": column_aliases, "catalog_name": "", "at_clause": null,
    })
}

/// A column reference.
#[must_use]
pub fn column(parts: &[&str]) -> Value {
    json!({ "class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": NO_LOCATION, "column_names": parts })
}

/// An expression whose texts are compared and ordered in one way.
#[must_use]
pub fn collate(child: Value, collation: &str) -> Value {
    json!({
        "class": "COLLATE", "type": "COLLATE", "alias": "", "query_location": NO_LOCATION, "child": child, "collation": collation,
    })
}

/// The constant `false`.
#[must_use]
pub fn constant_false() -> Value {
    boolean(false)
}

fn boolean(value: bool) -> Value {
    json!({
        "class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": NO_LOCATION,
        "value": { "type": { "id": "BOOLEAN", "type_info": null }, "is_null": false, "value": value },
    })
}

/// Makes cross joins below other joins inner joins ON true. DuckDB writes a cross join as a comma and leaves parentheses
/// out, so that `(a CROSS JOIN b) RIGHT JOIN c` would come back as `a, (b RIGHT JOIN c)`.
pub fn write_out_cross_joins(node: &mut Value) {
    if is(node, "JOIN") && text(node, "ref_type") != "CROSS" {
        for side in ["left", "right"] {
            if is(&node[side], "JOIN") && text(&node[side], "ref_type") == "CROSS" {
                node[side]["ref_type"] = Value::from("REGULAR");
                node[side]["condition"] = boolean(true);
            }
        }
    }
    match node {
        Value::Array(children) => children.iter_mut().for_each(write_out_cross_joins),
        Value::Object(fields) => fields.values_mut().for_each(write_out_cross_joins),
        _ => {}
    }
}

/// `AT (VERSION => snapshot)` of a base table.
#[must_use]
pub fn at_version(snapshot: i64) -> Value {
    json!({
        "unit": "VERSION",
        "expr": {
            "class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": NO_LOCATION,
            "value": { "type": { "id": "BIGINT", "type_info": null }, "is_null": false, "value": snapshot },
        },
    })
}

/// The conjunction of conditions, `null` for none.
#[must_use]
pub fn conjunction(conditions: Vec<Value>) -> Value {
    connected("CONJUNCTION_AND", conditions)
}

/// The disjunction of conditions, `null` for none.
#[must_use]
pub fn disjunction(conditions: Vec<Value>) -> Value {
    connected("CONJUNCTION_OR", conditions)
}

fn connected(by: &str, conditions: Vec<Value>) -> Value {
    let mut conditions: Vec<Value> = conditions.into_iter().filter(|condition| !condition.is_null()).collect();
    match conditions.len() {
        0 => Value::Null,
        1 => conditions.swap_remove(0),
        _ => json!({
            "class": "CONJUNCTION", "type": by, "alias": "", "query_location": NO_LOCATION,
            "children": conditions,
        }),
    }
}
