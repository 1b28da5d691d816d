//! Lowering `QUALIFY row_number() OVER (PARTITION BY ... ORDER BY ...) <= n`, and DISTINCT ON, where the stored rows show
//! what they were chosen by: then those that came are compared with the stored ones, and the input is not read.

use error::Result;
use serde_json::Value;
use sql::names::quote_identifier;
use sql::tree;

use super::limit::direction;
use super::{Lowering, distinct_on_targets, shown_by};
use crate::expression::{reads_columns, windows};
use crate::rules::aggregate::key_columns;
use crate::rules::keyed::input_query;
use crate::rules::top::Top;
use crate::rules::window::first_rows;

impl Lowering<'_> {
    /// How the first rows of each partition follow from the stored ones. What is equal by the written order is then ordered
    /// by the columns of the input.
    pub(super) fn first_of_each(&mut self, node: &mut Value, keys: &[Value], linear: bool) -> Result<Option<Top>> {
        let Some(choice) = Choice::of(node).filter(|_| linear && !keys.is_empty()) else { return Ok(None) };
        let Some(output) = self.describe(node)? else { return Ok(None) };
        let meant = |order: &Value| match choice.distinct_on {
            true => shown_by(node, &order["expression"]),
            false => order["expression"].clone(),
        };
        let orders: Vec<Value> = choice.orders.iter().map(meant).collect();
        let (Some(partition), Some(ordered)) =
            (key_columns(node, keys, &output), key_columns(node, &orders, &output))
        else {
            return Ok(None);
        };
        // The rest of the order is by columns of the input, which the result may not show: rows that differ only in what
        // it does not show are the same.
        let shown = output.iter().map(|(name, _)| quote_identifier(name));
        let written = ordered.iter().zip(&choice.orders);
        let order = written
            .map(|(column, order)| format!("{}{}", quote_identifier(&output[*column].0), direction(order)))
            .chain(shown)
            .collect::<Vec<_>>()
            .join(", ");
        let mut input = input_query(node, tree::list(node, "select_list").to_vec());
        input["modifiers"] = Value::from(Vec::<Value>::new());
        let partition = partition.into_iter().map(|column| output[column].0.clone()).collect();
        let written = node.clone();
        let was_canonical = self.canonical;
        self.order_by_output(node, &choice, &output)?;
        if self.describe(node)?.is_none() || self.describe(&input)?.is_none() {
            *node = written;
            self.canonical = was_canonical;
            return Ok(None);
        }
        Ok(Some(Top { count: choice.count, partition, order, input }))
    }

    /// Orders what is chosen by all that the result shows, after what is written.
    fn order_by_output(&mut self, node: &mut Value, choice: &Choice, output: &[(String, String)]) -> Result<()> {
        let items = tree::list(node, "select_list");
        let shown: Vec<Value> = if items.iter().any(|item| tree::is(item, "STAR")) {
            output.iter().map(|(name, _)| tree::column(&[name])).collect()
        } else {
            items.to_vec()
        };
        let ties = shown.into_iter().filter(reads_columns).map(|mut expression| {
            expression["alias"] = Value::from("");
            serde_json::json!({ "type": "ASCENDING", "null_order": "NULLS LAST", "expression": expression })
        });
        let orders: Value = choice.orders.iter().cloned().chain(ties).collect();
        if choice.distinct_on {
            let modifiers = node["modifiers"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let mut kept: Vec<Value> =
                modifiers.into_iter().filter(|other| tree::text(other, "type") != "ORDER_MODIFIER").collect();
            kept.push(serde_json::json!({ "type": "ORDER_MODIFIER", "orders": orders }));
            node["modifiers"] = Value::from(kept);
        } else {
            node["qualify"]["left"]["orders"] = orders;
        }
        self.canonical = true;
        Ok(())
    }
}

/// Which rows of each partition are chosen.
struct Choice {
    orders: Vec<Value>,
    count: u64,
    distinct_on: bool,
}

impl Choice {
    fn of(node: &Value) -> Option<Self> {
        if !windows(&node["select_list"]).is_empty() {
            return None;
        }
        if !distinct_on_targets(node).is_empty() {
            let order =
                tree::list(node, "modifiers").iter().find(|other| tree::text(other, "type") == "ORDER_MODIFIER")?;
            // What DISTINCT ON is ordered by first is what tells its rows apart, which says nothing within them.
            return Some(Self { orders: tree::list(order, "orders").to_vec(), count: 1, distinct_on: true });
        }
        let (window, count) = first_rows(&node["qualify"])?;
        let orders = tree::list(window, "orders").to_vec();
        (!orders.is_empty()).then_some(Self { orders, count, distinct_on: false })
    }
}
