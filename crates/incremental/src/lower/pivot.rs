//! Lowering PIVOT and UNPIVOT with the list of their values written out: UNPIVOT makes rows of a row and is linear; PIVOT
//! groups by the columns that it does not turn, and is maintained by those.

use error::Result;
use serde_json::Value;
use sql::tree;

use super::{Draft, Lowering, Shape};
use crate::rules::aggregate::Calls;
use crate::rules::keyed::{KeySet, Linearity, Place, key_items};

/// The name of what is turned.
const SOURCE: &str = "__dt_p";

/// Where the SELECT is that can be restricted, in `SELECT * FROM source PIVOT (...)`.
const POINTER: &str = "/from_table/source/subquery/node";

impl Lowering<'_> {
    pub(super) fn pivot(&mut self, node: &mut Value, depth: usize) -> Result<()> {
        let unpivot = !tree::list(node, "unpivot_names").is_empty();
        let (name, rule) = if unpivot {
            ("Unpivot", "linear: the same query over the change")
        } else {
            ("Pivot", "recompute the affected groups")
        };
        let operator = self.note(depth, name, rule, node);
        self.expression(operator, &node["aggregates"].clone());
        self.expression(operator, &node["pivots"].clone());
        let mut source = tree::derived_table(tree::select_star(node["source"].take()), SOURCE, &[]);
        self.subquery(&mut source, depth + 1)?;
        // A stage is a table reference; PIVOT is restricted below itself.
        if !tree::is(&source, "SUBQUERY") {
            source = tree::derived_table(tree::select_star(source), SOURCE, &[]);
        }
        node["source"] = source;
        if unpivot || !self.reasons.is_empty() {
            return Ok(());
        }
        let Some(columns) = self.describe(&node["source"]["subquery"]["node"])? else {
            self.correlated(operator, node);
            return Ok(());
        };
        let keys = group_columns(node, columns.into_iter().map(|(name, _)| name).collect());
        let alias = tree::text(node, "alias").to_owned();
        let aliases = tree::list(node, "column_name_alias").to_vec();
        let mut turned = node.take();
        turned["alias"] = Value::from("");
        turned["column_name_alias"] = Value::from(Vec::<Value>::new());
        self.order_aggregates_of(&mut turned)?;
        // The columns of the source by their names alone: it is one table here.
        let keys: Vec<Value> = keys.iter().map(|key| tree::column(&[key])).collect();
        let inner = tree::derived_table(turned["source"]["subquery"]["node"].take(), SOURCE, &[]);
        turned["source"]["subquery"]["node"] = tree::select_star(inner.clone());
        let mut watched = tree::empty_select();
        watched["from_table"] = inner;
        watched["select_list"] = Value::from(key_items(&keys));
        let sets = vec![KeySet {
            places: vec![Place { pointer: POINTER, keys }],
            watched: vec![watched],
            null_touches_all: false,
        }];
        let draft = Draft {
            node: tree::select_star(turned),
            sets,
            linearity: Linearity::default(),
            unique: true,
            calls: None,
            top: None,
            operator,
        };
        if let Some(relation) = self.as_relation(Shape::Keyed(Box::new(draft)), Value::Null, &alias, &aliases)? {
            *node = relation;
        }
        Ok(())
    }

    /// Gives the aggregates of PIVOT an order where their value depends on one.
    fn order_aggregates_of(&mut self, pivot: &mut Value) -> Result<()> {
        let mut select = tree::empty_select();
        select["from_table"] = pivot["source"].clone();
        select["select_list"] = pivot["aggregates"].take();
        self.make_definite(&mut select, &Calls::is_inexact)?;
        pivot["aggregates"] = select["select_list"].take();
        Ok(())
    }
}

/// The columns by which PIVOT groups: those that are written, or all that it does not mention.
fn group_columns(pivot: &Value, columns: Vec<String>) -> Vec<String> {
    let written: Vec<String> =
        tree::list(pivot, "groups").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if !written.is_empty() {
        return written;
    }
    let mut mentioned = Vec::new();
    for part in ["aggregates", "pivots"] {
        tree::visit(&pivot[part], &mut |child| {
            if let Some(name) = tree::column_reference(child).and_then(|parts| parts.last().copied()) {
                mentioned.push(name.to_lowercase());
            }
        });
    }
    columns.into_iter().filter(|column| !mentioned.contains(&column.to_lowercase())).collect()
}
