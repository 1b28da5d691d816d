//! Lowering FROM: tables, subqueries and joins.

use error::Result;
use serde_json::Value;
use sql::tree;

use super::{CONSTANT_TABLE_FUNCTIONS, Lowering, Scope, Shape};
use crate::inline::leaf_of;
use crate::render::Input;
use crate::rules::keyed::{KeySet, Place, key_items};

impl Lowering<'_> {
    pub(super) fn from(&mut self, node: &mut Value, depth: usize) -> Result<Scope> {
        if let Some(leaf) = leaf_of(node) {
            let Some(Input::Source(source)) = self.leaves.get(leaf).copied() else { return Ok(Scope::default()) };
            let name = self.known.sources[source].name.to_string();
            let alias = tree::text(node, "alias");
            let shown = if name.ends_with(&format!(".{alias}")) { name } else { format!("{name} as {alias}") };
            let operator = self.note(depth, format!("Scan {shown}"), "its change between the two snapshots", node);
            self.sampled(operator, node);
            return Ok(Scope::default());
        }
        match tree::text(node, "type") {
            "JOIN" => return self.join(node, depth),
            "SUBQUERY" => self.subquery(node, depth)?,
            "EXPRESSION_LIST" => {
                let operator = self.note(depth, "Values", "constant: never changes", node);
                let values = node["values"].clone();
                self.expression(operator, &values);
            }
            "EMPTY" => {}
            "TABLE_FUNCTION" => self.table_function(node, depth),
            // What is left of common table expressions after inlining is recursive.
            "BASE_TABLE" => {
                let operator =
                    self.note(depth, format!("Recursive query {}", tree::text(node, "table_name")), "", node);
                self.no_rule(operator, "WITH RECURSIVE has no incremental rule", node);
            }
            other => {
                let name = other.to_lowercase().replace('_', " ");
                let operator = self.note(depth, name.clone(), "", node);
                self.no_rule(operator, format!("{name} in FROM has no incremental rule"), node);
            }
        }
        Ok(Scope::default())
    }

    pub(super) fn subquery(&mut self, node: &mut Value, depth: usize) -> Result<()> {
        let name = format!("Subquery {}", tree::text(node, "alias"));
        let operator = self.note(depth, name.trim_end().to_owned(), "the change of its query", node);
        self.sampled(operator, node);
        let below = self.query(&mut node["subquery"]["node"], depth + 1)?;
        if matches!(below, Shape::Keyed(_)) && self.reasons.is_empty() {
            let alias = Some(tree::text(node, "alias")).filter(|alias| !alias.is_empty()).unwrap_or("__dt_subquery");
            let (alias, aliases) = (alias.to_owned(), tree::list(node, "column_name_alias").to_vec());
            if let Some(relation) = self.as_relation(below, Value::Null, &alias, &aliases)? {
                *node = relation;
            }
        }
        Ok(())
    }

    pub(super) fn sampled(&mut self, operator: usize, node: &Value) {
        if !node["sample"].is_null() {
            self.no_rule(operator, "TABLESAMPLE differs from query to query", node);
        }
    }

    pub(super) fn join(&mut self, node: &mut Value, depth: usize) -> Result<Scope> {
        let (kind, reference) = (tree::text(node, "join_type").to_owned(), tree::text(node, "ref_type").to_owned());
        let name = match reference.as_str() {
            "CROSS" => "Cross join".to_owned(),
            "REGULAR" => format!("Join {}", kind.to_lowercase()),
            _ => format!("Join {} {}", reference.to_lowercase(), kind.to_lowercase()),
        };
        let operator = self.note(depth, name, "delta(a) x new(b) + old(a) x delta(b)", node);
        let condition = node["condition"].clone();
        self.expression(operator, &condition);
        let left = self.from(&mut node["left"], depth + 1)?;
        let right = self.from(&mut node["right"], depth + 1)?;
        if !self.reasons.is_empty() {
            return Ok(Scope::default());
        }
        let inner = kind == "INNER" && matches!(reference.as_str(), "REGULAR" | "CROSS" | "NATURAL");
        if inner && left.is_linear() && right.is_linear() {
            return Ok(Scope::default());
        }
        let shown = if reference == "REGULAR" { format!("{kind} JOIN") } else { format!("{reference} JOIN") };
        let known = matches!(kind.as_str(), "INNER" | "LEFT" | "RIGHT" | "OUTER" | "FULL" | "SEMI" | "ANTI");
        if !known || reference != "REGULAR" {
            self.no_rule(operator, format!("{shown} has no incremental rule yet"), node);
            return Ok(Scope::default());
        }
        self.operators[operator].rule = Some("recompute the rows with affected join keys".to_owned());
        let (left_keys, right_keys) = self.join_keys(node)?;
        if left_keys.is_empty() {
            self.no_rule(
                operator,
                format!("{shown} without an equality between columns of both sides has no incremental rule yet"),
                node,
            );
            return Ok(Scope::default());
        }
        self.joined_scope(operator, node, &kind, (left, left_keys), (right, right_keys))
    }

    /// The keys by which rows of an outer join, or of a join with one, are touched.
    pub(super) fn joined_scope(
        &mut self,
        operator: usize,
        node: &Value,
        kind: &str,
        (left, left_keys): (Scope, Vec<Value>),
        (right, right_keys): (Scope, Vec<Value>),
    ) -> Result<Scope> {
        let watch = |side: &str, keys: &[Value]| {
            let mut select = tree::empty_select();
            select["from_table"] = node[side].clone();
            select["select_list"] = Value::from(key_items(keys));
            select
        };
        // A side that is not linear itself has keys of its own for its changes, which its rows still show.
        let (preserved_left, preserved_right) = match kind {
            "INNER" | "OUTER" | "FULL" => (true, true),
            "RIGHT" => (false, true),
            _ => (true, false),
        };
        if (!preserved_left && !left.is_linear()) || (!preserved_right && !right.is_linear()) {
            self.no_rule(operator, "an outer join on the optional side of another has no incremental rule yet", node);
            return Ok(Scope::default());
        }
        let mut watched = Vec::new();
        if left.is_linear() {
            watched.push(watch("left", &left_keys));
        }
        if right.is_linear() {
            watched.push(watch("right", &right_keys));
        }
        let mut sets: Vec<KeySet> = left.sets.into_iter().chain(right.sets).collect();
        let mut touched = |keys: Vec<Value>| {
            sets.push(KeySet { places: vec![Place { pointer: "", keys }], watched: watched.clone() });
        };
        match kind {
            "RIGHT" => touched(right_keys),
            "OUTER" | "FULL" => {
                touched(left_keys);
                touched(right_keys);
            }
            _ => touched(left_keys),
        }
        Ok(Scope { sets })
    }

    /// The expressions that a join compares for equality, those of the left side and those of the right.
    pub(super) fn join_keys(&mut self, node: &Value) -> Result<(Vec<Value>, Vec<Value>)> {
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for column in tree::list(node, "using_columns").iter().filter_map(Value::as_str) {
            // The merged column of USING is not always that of the side that is meant.
            let of = |side: &str| match tree::text(&node[side], "alias") {
                "" => None,
                alias => Some(tree::column(&[alias, column])),
            };
            if let (Some(left), Some(right)) = (of("left"), of("right")) {
                left_keys.push(left);
                right_keys.push(right);
            }
        }
        for condition in conjuncts(&node["condition"]) {
            let equality = matches!(tree::text(condition, "type"), "COMPARE_EQUAL" | "COMPARE_NOT_DISTINCT_FROM");
            if !tree::is(condition, "COMPARISON") || !equality {
                continue;
            }
            let (one, other) = (&condition["left"], &condition["right"]);
            if self.belongs(one, &node["left"])? && self.belongs(other, &node["right"])? {
                left_keys.push(one.clone());
                right_keys.push(other.clone());
            } else if self.belongs(other, &node["left"])? && self.belongs(one, &node["right"])? {
                left_keys.push(other.clone());
                right_keys.push(one.clone());
            }
        }
        Ok((left_keys, right_keys))
    }

    /// Whether an expression reads columns, and only of this side of a join.
    pub(super) fn belongs(&self, expression: &Value, side: &Value) -> Result<bool> {
        let mut reads = false;
        tree::visit(expression, &mut |child| reads = reads || tree::column_reference(child).is_some());
        if !reads {
            return Ok(false);
        }
        let mut probe = tree::empty_select();
        probe["from_table"] = side.clone();
        probe["select_list"] = Value::from(vec![expression.clone()]);
        Ok(self.describe(&probe)?.is_some())
    }

    pub(super) fn table_function(&mut self, node: &Value, depth: usize) {
        let function = tree::text(&node["function"], "function_name").to_lowercase();
        let operator =
            self.note(depth, format!("Table function {function}"), "linear in the row it stands beside", node);
        if !CONSTANT_TABLE_FUNCTIONS.contains(&function.as_str()) {
            let text = format!("{function}() reads something that has no versions, so its change cannot be told");
            self.no_rule(operator, text, node);
        } else if tree::text(node, "with_ordinality") == "WITH_ORDINALITY" || !node["sample"].is_null() {
            self.no_rule(operator, "WITH ORDINALITY and samples have no incremental rule", node);
        }
        let arguments = node["function"]["children"].clone();
        self.expression(operator, &arguments);
    }
}

/// The conditions that a condition joins by AND.
fn conjuncts(condition: &Value) -> Vec<&Value> {
    if tree::is(condition, "CONJUNCTION") && tree::text(condition, "type") == "CONJUNCTION_AND" {
        return tree::list(condition, "children").iter().flat_map(conjuncts).collect();
    }
    if condition.is_null() { Vec::new() } else { vec![condition] }
}
