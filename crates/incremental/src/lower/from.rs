//! Lowering FROM: tables, subqueries and table functions.

use error::Result;
use serde_json::Value;
use sql::tree;

use super::{CONSTANT_TABLE_FUNCTIONS, Lowering, Scope, Shape};
use crate::inline::leaf_of;
use crate::plan::RESERVED_PREFIX;
use crate::render::Input;

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
            "PIVOT" => self.pivot(node, depth)?,
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
        let alias = tree::text(node, "alias").to_owned();
        let name =
            if alias.starts_with(RESERVED_PREFIX) { "Subquery".to_owned() } else { format!("Subquery {alias}") };
        let operator = self.note(depth, name, "the change of its query", node);
        self.sampled(operator, node);
        let below = self.query(&mut node["subquery"]["node"], depth + 1)?;
        if matches!(below, Shape::Keyed(_)) && self.reasons.is_empty() {
            let aliases = tree::list(node, "column_name_alias").to_vec();
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
