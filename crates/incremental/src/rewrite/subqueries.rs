//! IN, EXISTS and NOT EXISTS in WHERE as semi and anti joins, which have a rule.

use std::collections::HashSet;

use serde_json::{Value, json};
use sql::query::Parser;
use sql::tree;

use crate::Plan;
use crate::expression::calls_aggregate;

/// The conditions that WHERE joins by AND and that are such subqueries, as joins.
pub(super) fn as_joins(node: &Value, _: &Plan, parser: &Parser) -> Option<Value> {
    let mut node = node.clone();
    let conditions = match node["where_clause"].take() {
        condition if tree::text(&condition, "type") == "CONJUNCTION_AND" => {
            tree::list(&condition, "children").to_vec()
        }
        condition => vec![condition],
    };
    let mut stay = Vec::new();
    let mut joins = 0;
    for condition in conditions {
        match join(&condition, &node["from_table"], joins + 1, parser) {
            Some((kind, right, on)) => {
                joins += 1;
                node["from_table"] = json!({
                    "type": "JOIN", "alias": "", "sample": null, "query_location": u64::MAX,
                    "left": node["from_table"].take(), "right": right, "condition": on, "join_type": kind,
                    "ref_type": "REGULAR", "using_columns": [], "delim_flipped": false, "duplicate_eliminated_columns": [],
                });
            }
            None => stay.push(condition),
        }
    }
    node["where_clause"] = tree::conjunction(stay);
    (joins > 0).then_some(node)
}

/// The kind of join, its right side and its condition, for a condition that can be one.
fn join(condition: &Value, left: &Value, number: usize, parser: &Parser) -> Option<(&'static str, Value, Value)> {
    let negated = tree::text(condition, "type") == "OPERATOR_NOT";
    let subquery = if negated { tree::list(condition, "children").first()? } else { condition };
    if !tree::is(subquery, "SUBQUERY") {
        return None;
    }
    let query = &subquery["subquery"]["node"];
    match (tree::text(subquery, "subquery_type"), negated) {
        // NOT IN is no anti join: one NULL among the values makes it unknown for all.
        ("ANY", false) if tree::text(subquery, "comparison_type") == "COMPARE_EQUAL" => {
            let alias = format!("wanted{number}");
            let right = tree::derived_table(query.clone(), &alias, &[Value::from("wanted")]);
            let on = json!({
                "class": "COMPARISON", "type": "COMPARE_EQUAL", "alias": "", "query_location": u64::MAX,
                "left": subquery["child"], "right": tree::column(&[&alias, "wanted"]),
            });
            Some(("SEMI", right, on))
        }
        ("EXISTS", negated) => {
            let apart = names(left).is_disjoint(&names(&query["from_table"]));
            if !apart || !is_plain(query, parser) || query["where_clause"].is_null() {
                return None;
            }
            let kind = if negated { "ANTI" } else { "SEMI" };
            Some((kind, query["from_table"].clone(), query["where_clause"].clone()))
        }
        _ => None,
    }
}

/// Whether a SELECT gives one row for each row of its FROM for which its WHERE holds.
fn is_plain(query: &Value, parser: &Parser) -> bool {
    tree::is(query, "SELECT_NODE")
        && tree::list(query, "modifiers").is_empty()
        && tree::list(&query["cte_map"], "map").is_empty()
        && tree::list(query, "group_expressions").is_empty()
        && tree::text(query, "aggregate_handling") == "STANDARD_HANDLING"
        && ["having", "qualify", "sample"].iter().all(|field| query[*field].is_null())
        && !calls_aggregate(&query["select_list"], parser)
}

/// The names by which the tables of a FROM are known.
fn names(from: &Value) -> HashSet<String> {
    let mut names = HashSet::new();
    tree::visit(from, &mut |child| {
        for field in ["alias", "table_name"] {
            if child.get("sample").is_some() && !tree::text(child, field).is_empty() {
                names.insert(tree::text(child, field).to_lowercase());
            }
        }
    });
    names
}
