//! Making a part of a query give the same value at every evaluation over the same rows.
//!
//! What stands below other operators is computed as it was and as it is, and the difference is taken for its change. So
//! what depends on the order in which rows are read gets an order: sums of floating-point numbers, `any_value()`, ties
//! of `row_number()`. Every such value is one that the query as it was written could have given.
//!
//! At the top of a query sums of floating-point numbers stay as they are: what they were is read from the table, and two that
//! differ in their last digits count as equal. What picks rows by their order, or shows it, is given one there as well: which
//! row comes first changes when a row is written anew, although nothing that the query looks at has changed.

use error::Result;
use serde_json::{Value, json};
use sql::tree;

use super::{Lowering, distinct_on_targets};
use crate::expression::reads_columns;
use crate::rules::aggregate::Calls;
use crate::rules::keyed::input_query;

/// Window functions whose value depends on how rows are ordered that are equal by ORDER BY, and on nothing else of the
/// frame.
const BY_POSITION: [&str; 4] = ["WINDOW_ROW_NUMBER", "WINDOW_NTILE", "WINDOW_LAG", "WINDOW_LEAD"];

impl Lowering<'_> {
    /// Orders what depends on an order in the clauses of a SELECT: windows, DISTINCT ON, LIMIT, and the aggregates that
    /// `depends` says.
    pub(super) fn make_definite(&mut self, node: &mut Value, depends: &dyn Fn(&Calls, &Value) -> bool) -> Result<()> {
        if !tree::is(node, "SELECT_NODE") {
            return Ok(());
        }
        let written = node.clone();
        let mut calls = Calls::of(node, self.known.parser);
        if !calls.arguments.is_empty()
            && let Some(types) = self.describe(&input_query(node, calls.arguments.clone()))?
        {
            calls.types = types.into_iter().map(|(_, data_type)| data_type).collect();
        }
        let parser = self.known.parser;
        let mut changed = false;
        for clause in ["select_list", "having"] {
            order_calls(&mut node[clause], &mut |call| {
                let aggregate =
                    parser.function(tree::text(call, "function_name")).is_some_and(|known| known.aggregate);
                let depends = aggregate && depends(&calls, call);
                changed |= depends;
                depends
            });
        }
        let distinct_on = !distinct_on_targets(node).is_empty();
        let mut columns = Vec::new();
        if distinct_on || contains_window(&node["select_list"]) || contains_window(&node["qualify"]) {
            columns = self.columns_of(&node["from_table"])?;
        }
        for clause in ["select_list", "qualify"] {
            tree::visit_mut(&mut node[clause], &mut |child| {
                if tree::is(child, "WINDOW") && depends_on_position(child) {
                    changed = true;
                    append(child, "orders", &columns);
                }
            });
        }
        let limited = sql::tree::is_limited(node);
        if distinct_on || limited {
            if limited && !distinct_on {
                let items = tree::list(node, "select_list").iter();
                columns = items.filter(|item| !tree::is(item, "STAR") && reads_columns(item)).cloned().collect();
            }
            changed = true;
            let modifiers = node["modifiers"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let (mut orders, others): (Vec<Value>, Vec<Value>) =
                modifiers.into_iter().partition(|modifier| tree::text(modifier, "type") == "ORDER_MODIFIER");
            let mut order = orders.pop().unwrap_or_else(|| json!({ "type": "ORDER_MODIFIER", "orders": [] }));
            append(&mut order, "orders", &columns);
            // DISTINCT before ORDER BY before LIMIT, as the parser puts them.
            let (limits, mut all): (Vec<Value>, Vec<Value>) =
                others.into_iter().partition(|modifier| tree::text(modifier, "type").starts_with("LIMIT"));
            if !tree::list(&order, "orders").is_empty() {
                all.push(order);
            }
            all.extend(limits);
            node["modifiers"] = Value::from(all);
        }
        // What cannot be bound with an order is left as it is; a part of a query that reads its neighbour's columns cannot be
        // bound by itself either way.
        if changed && self.describe(node)?.is_none() && self.describe(&written)?.is_some() {
            *node = written;
            return Ok(());
        }
        self.canonical |= changed;
        Ok(())
    }
}

fn contains_window(node: &Value) -> bool {
    !crate::expression::windows(node).is_empty()
}

/// Whether a window's value depends on the order of rows that are equal by ORDER BY, in such a way that ordering them
/// further only decides what is open. Peers mean something to ranks, to frames by RANGE and GROUPS and to EXCLUDE.
fn depends_on_position(window: &Value) -> bool {
    let kind = tree::text(window, "type");
    let (start, end) = (tree::text(window, "start"), tree::text(window, "end"));
    let plain = tree::text(window, "exclude_clause") == "NO_OTHER" && tree::list(window, "arg_orders").is_empty();
    let ranks = ["WINDOW_RANK", "WINDOW_RANK_DENSE", "WINDOW_PERCENT_RANK", "WINDOW_CUME_DIST"].contains(&kind)
        || ["rank", "dense_rank", "percent_rank", "cume_dist"].contains(&tree::text(window, "function_name"));
    // RANGE by an offset takes one expression to order by.
    let by_offset = [start, end].iter().any(|bound| bound.starts_with("EXPR_") && bound.ends_with("_RANGE"));
    if !plain || ranks || by_offset {
        return false;
    }
    if kind == "WINDOW_FIRST_VALUE" {
        return start == "UNBOUNDED_PRECEDING" && window["ignore_nulls"].as_bool() != Some(true);
    }
    let whole_frame = |bound: &str| bound.starts_with("UNBOUNDED_");
    let by_rows = |bound: &str| bound.ends_with("_ROWS");
    let rows_only = [start, end].into_iter().all(|bound| by_rows(bound) || whole_frame(bound));
    BY_POSITION.contains(&kind) || (rows_only && (by_rows(start) || by_rows(end)))
}

/// Appends expressions to a list of orders.
fn append(node: &mut Value, list: &str, expressions: &[Value]) {
    let orders = expressions.iter().map(|expression| {
        let mut expression = expression.clone();
        expression["alias"] = Value::from("");
        json!({ "type": "ASCENDING", "null_order": "NULLS LAST", "expression": expression })
    });
    if let Some(known) = node[list].as_array_mut() {
        known.extend(orders);
    }
}

/// Orders the input of the calls that `wanted` says by their arguments, after what is written.
fn order_calls(node: &mut Value, wanted: &mut dyn FnMut(&Value) -> bool) {
    if tree::is(node, "SUBQUERY") || tree::is(node, "WINDOW") {
        return;
    }
    if tree::is(node, "FUNCTION") && wanted(node) {
        // The engine takes no order by a literal, such as the separator of string_agg().
        let arguments = tree::list(node, "children").iter().filter(|argument| reads_columns(argument));
        let arguments: Vec<Value> = arguments.cloned().collect();
        append(&mut node["order_bys"], "orders", &arguments);
        return;
    }
    match node {
        Value::Array(children) => children.iter_mut().for_each(|child| order_calls(child, wanted)),
        Value::Object(fields) => fields.values_mut().for_each(|child| order_calls(child, wanted)),
        _ => {}
    }
}
