//! Lowering ORDER BY ... LIMIT, and what else keeps rows by expressions that are not in the select list.
//!
//! Rows that are equal by what is written in ORDER BY, all rows if nothing is written, are ordered by the output columns, so
//! that the result is one and the same whenever it is computed.

use error::Result;
use serde_json::{Value, json};
use sql::names::quote_identifier;
use sql::tree;

use super::{Draft, Lowering, Shape, drop_order, is_aggregate};
use crate::expression::{doubts, integer};
use crate::rules::keyed::{KeySet, Linearity, input_query, named};
use crate::rules::top::Top;

/// The name of what a LIMIT reads.
const INPUT: &str = "__dt_l";

/// A modifier of a query, taken off.
fn take_modifier(node: &mut Value, kind: &str) -> Option<Value> {
    let modifiers = node["modifiers"].as_array_mut()?;
    let position = modifiers.iter().position(|modifier| tree::text(modifier, "type") == kind)?;
    Some(modifiers.remove(position))
}

impl Lowering<'_> {
    pub(super) fn limited(&mut self, node: &mut Value, depth: usize) -> Result<Shape> {
        let operator = self.note(depth, "Limit", "the stored rows and those that came, in order", node);
        let Some(limit) = take_modifier(node, "LIMIT_MODIFIER") else {
            self.no_rule(operator, "LIMIT of a percentage depends on the number of all rows", node);
            return Ok(Shape::Opaque);
        };
        let written =
            tree::list(node, "modifiers").iter().find(|modifier| tree::text(modifier, "type") == "ORDER_MODIFIER");
        let orders = written.map_or_else(Vec::new, |order| tree::list(order, "orders").to_vec());
        for reason in doubts(&limit, self.known.sources, self.known.parser) {
            self.no_rule_for(operator, reason);
        }
        if super::subquery::contains_subquery(&limit) {
            self.no_rule(operator, "a LIMIT that is a subquery has no incremental rule", node);
        }
        if !self.reasons.is_empty() {
            return Ok(Shape::Opaque);
        }
        // With DISTINCT ON the order also says which rows stay.
        if super::distinct_on_targets(node).is_empty() {
            drop_order(node);
        }
        let Some(names) = self.column_names(operator, node)? else { return Ok(Shape::Opaque) };
        let mut columns = Columns { names: names.clone(), added: 0 };
        let mut ordered = Vec::new();
        for order in &orders {
            let Some(stands) = self.as_columns(node, &order["expression"], &mut columns)? else {
                self.no_rule(operator, "ORDER BY of an expression that no output column holds", &order["expression"]);
                return Ok(Shape::Opaque);
            };
            ordered.extend(stands.into_iter().map(|column| (column, order.clone())));
        }
        let below = self.query(node, depth + 1)?;
        if !self.reasons.is_empty() {
            return Ok(Shape::Opaque);
        }
        let Some(from) = self.as_relation(below, node.take(), INPUT, &[])? else { return Ok(Shape::Opaque) };
        let (select, text) = first_rows(from, &names, &ordered, limit);
        let sets = vec![KeySet::of(&select, "", Vec::new())];
        let top = top(&select, &names, columns.added > 0, text);
        let rule = match &top {
            Some(_) => "the stored rows and those that came, in order; recompute when a stored row went",
            None => "recompute when anything changed",
        };
        self.operators[operator].rule = Some(rule.to_owned());
        self.canonical = true;
        let linearity = Linearity::default();
        Ok(Shape::Keyed(Box::new(Draft { node: select, sets, linearity, unique: false, calls: None, top, operator })))
    }

    /// The output columns that an expression of ORDER BY or DISTINCT ON stands for; one is added when none does. `None` when
    /// none can be added.
    pub(super) fn as_columns(
        &self,
        node: &mut Value,
        expression: &Value,
        columns: &mut Columns,
    ) -> Result<Option<Vec<String>>> {
        if tree::is(expression, "STAR") {
            return Ok(Some(columns.names.clone()));
        }
        if tree::is(expression, "CONSTANT") {
            let position = integer(expression).and_then(|position| usize::try_from(position).ok());
            let name = position.and_then(|position| columns.names.get(position.checked_sub(1)?));
            return Ok(name.map(|name| vec![name.clone()]));
        }
        if let Some([name]) = tree::column_reference(expression).as_deref()
            && let Some(known) = columns.names.iter().find(|known| known.eq_ignore_ascii_case(name))
        {
            return Ok(Some(vec![known.clone()]));
        }
        if !tree::is(node, "SELECT_NODE") {
            return Ok(None);
        }
        let items = tree::list(node, "select_list");
        let plain = items.iter().all(|item| !tree::is(item, "STAR"));
        if plain
            && items.len() == columns.names.len() + columns.added
            && let Some(position) = items.iter().position(|item| tree::same_expression(item, expression))
            && let Some(name) = columns.names.get(position)
        {
            return Ok(Some(vec![name.clone()]));
        }
        let distinct = tree::list(node, "modifiers").iter().any(|modifier| {
            tree::text(modifier, "type") == "DISTINCT_MODIFIER"
                && tree::list(modifier, "distinct_on_targets").is_empty()
        });
        let grouped_by_items = tree::text(node, "aggregate_handling") == "FORCE_AGGREGATES"
            && !is_aggregate(&input_query(node, vec![expression.clone()]), self.known.parser);
        if distinct || grouped_by_items {
            return Ok(None);
        }
        let name = format!("__dt_o{}", columns.added);
        let mut extended = node.clone();
        if let Some(items) = extended["select_list"].as_array_mut() {
            items.push(named(expression.clone(), &name));
        }
        if self.describe(&extended)?.is_none() {
            return Ok(None);
        }
        *node = extended;
        columns.added += 1;
        Ok(Some(vec![name]))
    }
}

/// The columns of a query to which some may be added.
pub(super) struct Columns {
    pub names: Vec<String>,
    pub added: usize,
}

/// The SELECT of the first rows, and its order as text.
fn first_rows(from: Value, names: &[String], ordered: &[(String, Value)], limit: Value) -> (Value, String) {
    let mut orders = Vec::new();
    let mut texts = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let ties = json!({ "type": "ASCENDING", "null_order": "NULLS LAST", "expression": null });
    let all = ordered.iter().map(|(column, order)| (column, order)).chain(names.iter().map(|name| (name, &ties)));
    for (column, order) in all {
        if seen.contains(&column.as_str()) {
            continue;
        }
        seen.push(column);
        let mut order = order.clone();
        order["expression"] = tree::column(&[INPUT, column]);
        texts.push(format!("{}{}", quote_identifier(column), direction(&order)));
        orders.push(order);
    }
    let mut select = tree::empty_select();
    let items: Vec<Value> = names.iter().map(|name| tree::column(&[INPUT, name])).collect();
    select["select_list"] = Value::from(items);
    select["from_table"] = from;
    select["modifiers"] = json!([{ "type": "ORDER_MODIFIER", "orders": orders }, limit]);
    (select, texts.join(", "))
}

/// The direction of an order, and where NULLs go in it, as text.
pub(super) fn direction(order: &Value) -> String {
    let direction = if tree::text(order, "type") == "DESCENDING" { " DESC" } else { "" };
    match tree::text(order, "null_order") {
        "ORDER_DEFAULT" => direction.to_owned(),
        written => format!("{direction} {written}"),
    }
}

/// How the first rows follow from the stored ones, where their order can be told from them.
fn top(select: &Value, names: &[String], hidden: bool, order: String) -> Option<Top> {
    let limit = &select["modifiers"][1];
    let count = integer(&limit["limit"])?;
    if hidden || !limit["offset"].is_null() {
        return None;
    }
    let items = names.iter().map(|name| tree::column(&[INPUT, name])).collect();
    Some(Top { count, partition: Vec::new(), order, input: input_query(select, items) })
}
