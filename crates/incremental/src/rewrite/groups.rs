//! Rewrites of a SELECT with GROUP BY: further columns, exact sums, and windows over a subquery that groups.

use serde_json::{Value, json};
use sql::query::Parser;
use sql::tree;

use super::is_grouped;
use crate::Plan;
use crate::expression::{calls_aggregate, windows};
use crate::rules::keyed::named;

/// Digits and scale of the decimals that floating-point values are summed as.
const EXACT: &str = "DECIMAL(18, 4)";

/// The keys of a SELECT as expressions over its FROM. `None` where that takes more than looking at it.
fn keys(node: &Value, parser: &Parser) -> Option<Vec<Value>> {
    let items = tree::list(node, "select_list");
    if items.iter().any(|item| tree::is(item, "STAR")) || tree::list(node, "group_sets").len() > 1 {
        return None;
    }
    let written = tree::list(node, "group_expressions");
    if written.is_empty() && tree::text(node, "aggregate_handling") == "FORCE_AGGREGATES" {
        let is_key = |item: &&Value| !calls_aggregate(item, parser) && windows(item).is_empty();
        return Some(items.iter().filter(is_key).map(|item| named(item.clone(), "")).collect());
    }
    let key = |key: &Value| {
        let item = match tree::column_reference(key).as_deref() {
            Some([name]) => {
                let meant = |item: &&Value| {
                    tree::text(item, "alias").eq_ignore_ascii_case(name) && tree::column_reference(item).is_none()
                };
                items.iter().find(meant)
            }
            _ => key["value"]["value"]
                .as_u64()
                .and_then(|place| items.get(usize::try_from(place).ok()?.checked_sub(1)?)),
        };
        named(item.unwrap_or(key).clone(), "")
    };
    Some(written.iter().map(key).collect())
}

/// The keys that are not in the select list.
pub(super) fn hidden_keys(node: &Value, parser: &Parser) -> Option<Vec<Value>> {
    let items = tree::list(node, "select_list");
    let hidden = |key: &Value| !items.iter().any(|item| is_same(item, key));
    Some(keys(node, parser)?.into_iter().filter(hidden).collect())
}

/// With the keys that are not in the select list at its end.
pub(super) fn with_keys(node: &Value, _: &Plan, parser: &Parser) -> Option<Value> {
    let hidden = hidden_keys(node, parser).filter(|hidden| is_grouped(node, parser) && !hidden.is_empty())?;
    let mut node = node.clone();
    node["select_list"].as_array_mut()?.extend(hidden);
    Some(node)
}

/// With `count(*)`, and with the number of values of each plain sum, at the end of the select list.
pub(super) fn with_counts(node: &Value, _: &Plan, parser: &Parser) -> Option<Value> {
    let items = tree::list(node, "select_list");
    let mut added: Vec<Value> = Vec::new();
    let mut add = |text: &str, alias: String| {
        let Ok(count) = parser.parse_expression(text) else { return };
        if !items.iter().chain(&added).any(|known| tree::same_expression(known, &count)) {
            added.push(named(count, &alias));
        }
    };
    for item in items.iter().filter(|item| tree::text(item, "function_name").eq_ignore_ascii_case("sum")) {
        let [argument] = tree::list(item, "children") else { continue };
        let text = parser.expression_to_sql(argument).ok()?;
        let name = tree::column_reference(argument).and_then(|parts| parts.last().map(|part| (*part).to_owned()));
        if item["filter"].is_null() && item["distinct"].as_bool() != Some(true) {
            add(&format!("count({text})"), name.map_or_else(|| "counted".to_owned(), |name| format!("count_{name}")));
        }
    }
    add("count(*)", "count_rows".to_owned());
    if added.is_empty() || !is_grouped(node, parser) {
        return None;
    }
    let mut node = node.clone();
    node["select_list"].as_array_mut()?.extend(added);
    Some(node)
}

/// With the arguments of the calls that depend on the order of their rows as decimals, anywhere in the query.
pub(super) fn with_exact_sums(node: &Value, plan: &Plan, parser: &Parser) -> Option<Value> {
    let inexact: Vec<usize> = plan
        .reasons
        .iter()
        .filter(|reason| reason.text.contains("can differ in its last digits"))
        .filter_map(|reason| reason.location)
        .collect();
    let mut node = node.clone();
    let mut changed = false;
    tree::visit_mut(&mut node, &mut |child| {
        let summed = ["sum", "avg"].iter().any(|name| tree::text(child, "function_name").eq_ignore_ascii_case(name));
        let meant = tree::location(child).is_some_and(|place| inexact.contains(&place));
        if !summed || !meant || !tree::is(child, "FUNCTION") {
            return;
        }
        if let Some([argument]) = child["children"].as_array_mut().map(Vec::as_mut_slice)
            && let Ok(text) = parser.expression_to_sql(argument)
            && let Ok(cast) = parser.parse_expression(&format!("CAST({text} AS {EXACT})"))
        {
            *argument = cast;
            changed = true;
        }
    });
    changed.then_some(node)
}

/// A SELECT that groups and has windows over the groups, as one with windows over a subquery that groups.
pub(super) fn windows_over_groups(node: &Value, plan: &Plan, parser: &Parser) -> Option<Value> {
    let items = tree::list(node, "select_list");
    let has_windows = !windows(&node["select_list"]).is_empty() || !windows(&node["qualify"]).is_empty();
    if !has_windows || !is_grouped(node, parser) && aggregates(&node["select_list"], parser).is_empty() {
        return None;
    }
    let keys = keys(node, parser)?;
    let mut inner_items: Vec<Value> = Vec::new();
    let mut add = |expression: &Value, wish: Option<&str>| {
        if inner_items.iter().any(|known| tree::same_expression(known, expression)) {
            return;
        }
        let is_free =
            |name: &&str| !inner_items.iter().any(|known| tree::text(known, "alias").eq_ignore_ascii_case(name));
        let numbered = format!("value{}", inner_items.len() + 1);
        let name = wish.filter(|name| !name.is_empty()).filter(is_free).unwrap_or(&numbered);
        inner_items.push(named(expression.clone(), name));
    };
    let alias_of = |expression: &Value| {
        let item = items.iter().find(|item| tree::same_expression(item, expression));
        item.map(|item| tree::text(item, "alias"))
    };
    for key in &keys {
        let column = tree::column_reference(key).and_then(|parts| parts.last().copied());
        add(key, alias_of(key).filter(|alias| !alias.is_empty()).or(column));
    }
    let mut calls = aggregates(&node["select_list"], parser);
    calls.extend(aggregates(&node["qualify"], parser));
    for call in calls {
        add(call, alias_of(call));
    }
    let mut inner = node.clone();
    inner["select_list"] = Value::from(inner_items.clone());
    inner["qualify"] = Value::Null;
    inner["modifiers"] = json!([]);
    inner["aggregate_handling"] = Value::from("STANDARD_HANDLING");
    inner["group_sets"] = if keys.is_empty() { json!([]) } else { json!([(0..keys.len()).collect::<Vec<_>>()]) };
    inner["group_expressions"] = Value::from(keys);
    let mut outer = tree::empty_select();
    let shown = items.iter().zip(&plan.output).map(|(item, (name, _))| named(over(item, &inner_items), name));
    outer["select_list"] = Value::from(shown.collect::<Vec<Value>>());
    outer["qualify"] = over(&node["qualify"], &inner_items);
    outer["modifiers"] = over(&node["modifiers"], &inner_items);
    outer["from_table"] = tree::derived_table(inner, "grouped", &[]);
    Some(outer)
}

/// The calls of aggregates in an expression that are not windows themselves.
fn aggregates<'node>(expression: &'node Value, parser: &Parser) -> Vec<&'node Value> {
    match expression {
        Value::Array(children) => children.iter().flat_map(|child| aggregates(child, parser)).collect(),
        Value::Object(_) if tree::is(expression, "SUBQUERY") => Vec::new(),
        Value::Object(fields) => {
            let name = tree::text(expression, "function_name");
            if tree::is(expression, "FUNCTION") && parser.function(name).is_some_and(|known| known.aggregate) {
                return vec![expression];
            }
            fields.values().flat_map(|child| aggregates(child, parser)).collect()
        }
        _ => Vec::new(),
    }
}

/// An expression with what the subquery gives in place of what it computes.
fn over(expression: &Value, inner: &[Value]) -> Value {
    if let Some(item) = inner.iter().find(|item| expression.is_object() && is_same(item, expression)) {
        return tree::column(&["grouped", tree::text(item, "alias")]);
    }
    match expression {
        Value::Array(children) => children.iter().map(|child| over(child, inner)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, child)| (name.clone(), over(child, inner))).collect(),
        other => other.clone(),
    }
}

/// Whether two expressions are written the same; a column may be qualified in one of them.
fn is_same(one: &Value, other: &Value) -> bool {
    let same_column = match (tree::column_reference(one).as_deref(), tree::column_reference(other).as_deref()) {
        (Some([name]), Some([_, last])) | (Some([_, last]), Some([name])) => name.eq_ignore_ascii_case(last),
        _ => false,
    };
    same_column || tree::same_expression(one, other)
}
