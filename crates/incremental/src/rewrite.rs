//! Small rewrites of a query that would make it incremental: each is tried, and only what the analysis finds to be so is
//! offered.
//!
//! A rewrite that says it gives the same result does so for every content of the tables. This module does not know the
//! data, and looks at the outermost SELECT only.

use error::Result;
use serde_json::{Value, json};
use sql::query::{Parser, Query};
use sql::tree;

use crate::expression::{calls_aggregate, windows};
use crate::rules::keyed::named;
use crate::rules::window;
use crate::{Catalog, Plan};

/// Another way to write a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What is written otherwise, and what is gained.
    pub change: String,
    /// What becomes of the result; `None`: it stays the same, row for row.
    pub effect: Option<String>,
    /// The rewritten query.
    pub sql: String,
}

/// What a rewrite does to a tree, if it fits.
type Attempt = fn(&Value, &Plan, &Parser) -> Option<Value>;

/// The rewrites that may give a query a rule: what they change, what becomes of the result, and how.
const FOR_A_RULE: [(&str, Option<&str>, Attempt); 3] = [
    ("the first rows by ORDER BY and LIMIT", None, first_rows),
    ("the condition on the time in a WHERE over the groups", None, time_over_groups),
    ("with the GROUP BY keys in the select list", Some("it has further columns at the end"), with_keys),
];

/// What the query could be written as to be incremental. Empty if it is, or if nothing small is known.
///
/// # Errors
/// `INTERNAL` when a rewritten tree cannot be turned into SQL.
pub fn rewrites(
    query: &Query,
    plan: &Plan,
    catalog: &dyn Catalog,
    parser: &Parser,
    lake: &str,
    default_schema: &str,
) -> Result<Vec<Rewrite>> {
    if !tree::is(&query.node, "SELECT_NODE") || plan.incremental() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (change, effect, attempt) in FOR_A_RULE {
        let Some(node) = attempt(&query.node, plan, parser) else { continue };
        let sql = as_written(parser.to_sql(&node)?, parser);
        // What does not bind or parse was no good idea.
        let analysed =
            parser.parse(&sql).and_then(|query| Plan::analyse(&query, catalog, parser, lake, default_schema));
        if let Ok(new) = analysed
            && new.incremental()
            && (effect.is_some() || new.output == plan.output)
        {
            found.push(Rewrite { change: change.to_owned(), effect: effect.map(str::to_owned), sql });
        }
    }
    Ok(found)
}

/// `count(*)`, which the engine writes as a function of another name, as people write it.
fn as_written(sql: String, parser: &Parser) -> String {
    let written = sql.replace("count_star()", "count(*)");
    let read_back = parser.parse(&written).and_then(|query| parser.to_sql(&query.node));
    if read_back.is_ok_and(|read_back| read_back == sql) { written } else { sql }
}

/// `QUALIFY row_number() OVER (ORDER BY x) <= 10` as `ORDER BY x LIMIT 10`.
fn first_rows(node: &Value, _: &Plan, _: &Parser) -> Option<Value> {
    let (window, count) = window::first_rows(&node["qualify"])?;
    let whole = tree::list(window, "partitions").is_empty();
    let orders = tree::list(window, "orders");
    let ordered = tree::list(node, "modifiers").iter().all(|other| tree::text(other, "type") == "ORDER_MODIFIER");
    if !whole || orders.is_empty() || !ordered || !windows(&node["select_list"]).is_empty() {
        return None;
    }
    let mut limit = node["qualify"]["right"].clone();
    limit["value"]["value"] = Value::from(count);
    let mut node = node.clone();
    node["qualify"] = Value::Null;
    node["modifiers"] = json!([
        { "type": "ORDER_MODIFIER", "orders": orders },
        { "type": "LIMIT_MODIFIER", "limit": limit, "offset": null },
    ]);
    Some(node)
}

/// A condition of HAVING that asks for the time, as a WHERE over a subquery that groups: there the time is that of the data.
fn time_over_groups(node: &Value, plan: &Plan, parser: &Parser) -> Option<Value> {
    if node["having"].is_null() || !windows(&node["select_list"]).is_empty() {
        return None;
    }
    let mut inner = node.clone();
    let mut condition = inner["having"].take();
    let mut calls: Vec<Value> = Vec::new();
    replace_calls(&mut condition, parser, &mut calls);
    let items = inner["select_list"].as_array_mut()?;
    items
        .extend(calls.iter().enumerate().map(|(number, call)| named(call.clone(), &format!("having{}", number + 1))));
    inner["modifiers"] = json!([]);
    let mut outer = tree::empty_select();
    outer["select_list"] = plan.output.iter().map(|(name, _)| tree::column(&["grouped", name])).collect();
    outer["from_table"] = tree::derived_table(inner, "grouped", &[]);
    outer["where_clause"] = condition;
    Some(outer)
}

/// Puts columns in the place of calls of aggregates.
fn replace_calls(node: &mut Value, parser: &Parser, calls: &mut Vec<Value>) {
    if tree::is(node, "FUNCTION") && calls_aggregate(node, parser) {
        let known = calls.iter().position(|call| tree::same_expression(call, node)).unwrap_or_else(|| {
            calls.push(node.clone());
            calls.len() - 1
        });
        *node = tree::column(&["grouped", &format!("having{}", known + 1)]);
        return;
    }
    match node {
        Value::Array(children) => children.iter_mut().for_each(|child| replace_calls(child, parser, calls)),
        Value::Object(fields) => fields.values_mut().for_each(|child| replace_calls(child, parser, calls)),
        _ => {}
    }
}

/// With the keys that are not in the select list at its end.
fn with_keys(node: &Value, _: &Plan, _: &Parser) -> Option<Value> {
    let items = tree::list(node, "select_list");
    if items.iter().any(|item| tree::is(item, "STAR")) || tree::list(node, "group_sets").len() > 1 {
        return None;
    }
    let hidden = tree::list(node, "group_expressions").iter().filter(|key| {
        let is_shown = |item: &Value| {
            let alias = tree::text(item, "alias");
            let by_name = tree::column_reference(key).as_deref().is_some_and(
                |parts| matches!(parts, [name] if !alias.is_empty() && alias.eq_ignore_ascii_case(name)),
            );
            by_name || tree::same_expression(item, key)
        };
        !tree::is(key, "CONSTANT") && !items.iter().any(is_shown)
    });
    let hidden: Vec<Value> = hidden.cloned().collect();
    let mut node = node.clone();
    node["select_list"].as_array_mut().filter(|_| !hidden.is_empty())?.extend(hidden);
    Some(node)
}
