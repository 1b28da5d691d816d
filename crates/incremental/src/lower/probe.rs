//! Asking DuckDB what a part of a query gives, and whether it binds at all: as seldom and as briefly as it can be done.
//!
//! Stages that the part reads are not written out, which would make every question as long as the query is deep: an empty
//! relation with their columns stands for them.

use error::Result;
use serde_json::Value;
use sql::names::quote_identifier;
use sql::tree;

use super::{Lowering, subquery::leaves_in};
use crate::clock::Clock;
use crate::render::{Input, Inputs, Reading, Renderer, reading_of};
use crate::rules::linear;

/// Names and types of columns.
pub(super) type Columns = Vec<(String, String)>;

/// What makes an empty list, map or row when it is called without arguments.
const CONSTRUCTORS: [&str; 6] = ["list_value", "list_pack", "array_value", "map", "struct_pack", "row"];

impl Lowering<'_> {
    /// Names and types of what a part of the query gives; `None` if it does not bind by itself, as what reads a
    /// neighbour's columns does not.
    pub(super) fn describe(&self, node: &Value) -> Result<Option<Columns>> {
        let mut node = linear::all(node, &self.leaves, Reading::New);
        tree::visit_mut(&mut node, &mut |child| {
            if let Some((_, Input::Stage(stage))) = reading_of(child)
                && let Some(Some(empty)) = self.empty_stages.get(stage)
            {
                let alias = tree::text(child, "alias").to_owned();
                *child = tree::derived_table(empty.clone(), &alias, tree::list(child, "column_name_alias"));
            }
        });
        let some_time = Clock::default();
        let inputs = Inputs { sources: self.known.states, stages: &[], clock: &some_time };
        let renderer = Renderer { parser: self.known.parser, lake: self.known.lake, inputs, stages: &self.stages };
        let node = renderer.placed(&node)?;
        let question = node.to_string();
        if let Some(answer) = self.answers.borrow().get(&question) {
            return Ok(answer.clone());
        }
        let answer = match self.known.catalog.describe(&self.known.parser.to_sql(&node)?) {
            Ok(columns) => Some(columns),
            // That the lake could not be asked says nothing about the query.
            Err(failure) if failure.is_transient() => return Err(failure),
            Err(_) => None,
        };
        self.answers.borrow_mut().insert(question, answer.clone());
        Ok(answer)
    }

    /// An empty relation with the columns of a stage that is about to be added, if there is one that is told apart from it
    /// by nothing.
    pub(super) fn empty_stage(&self, node: &Value, columns: &Columns) -> Result<Option<Value>> {
        if columns.is_empty() || !self.is_typed(node) {
            return Ok(None);
        }
        let items: Vec<String> = columns
            .iter()
            .map(|(name, data_type)| format!("CAST(NULL AS {data_type}) AS {}", quote_identifier(name)))
            .collect();
        let Ok(query) = self.known.parser.parse(&format!("SELECT {} WHERE false", items.join(", "))) else {
            return Ok(None);
        };
        let bound = self.describe(&query.node)?;
        Ok((bound.as_ref() == Some(columns)).then_some(query.node))
    }

    /// Whether every column has the type that DuckDB says: to the rest of a query a bare NULL has none yet.
    fn is_typed(&self, node: &Value) -> bool {
        let mut bare = 0_i32;
        tree::visit(node, &mut |child| {
            let constructed = tree::is(child, "FUNCTION")
                && tree::list(child, "children").is_empty()
                && CONSTRUCTORS.contains(&tree::text(child, "function_name").to_lowercase().as_str());
            bare += i32::from(is_null(child) || constructed);
            bare -= i32::from(tree::is(child, "CAST") && is_null(&child["child"]));
        });
        let is_told = |leaf: &usize| match self.leaves[*leaf] {
            Input::Stage(stage) => self.empty_stages.get(stage).is_some_and(Option::is_some),
            Input::Source(_) | Input::Clock => true,
        };
        bare == 0 && leaves_in(node).iter().all(is_told)
    }
}

fn is_null(node: &Value) -> bool {
    tree::is(node, "CONSTANT") && node["value"]["is_null"].as_bool() == Some(true)
}
