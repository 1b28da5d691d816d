//! Lowering operators that are maintained by keys: what their keys are, and making them stages where something else reads
//! them.

use std::collections::HashSet;

use error::Result;
use serde_json::{Value, json};
use sql::tree;

use super::probe::Columns;
use super::subquery::leaves_in;
use super::{DISTINCT_INPUT, Draft, Lowering, Scope, Shape, WATCHED, drop_order};
use crate::Reason;
use crate::inline::{LEAF_MARK, mark_leaf};
use crate::plan::RESERVED_PREFIX;
use crate::render::{Input, Reading};
use crate::rules::keyed::{KeySet, Keyed, Linearity, Place, input_query, key_column, key_items, named};
use crate::rules::top::Top;
use crate::rules::{aggregate, linear};
use crate::stage::Stage;

impl Lowering<'_> {
    /// The groups of an operator over a scope: they are touched where the scope's rows change.
    fn key_set(&mut self, node: &Value, keys: Vec<Value>, scope: &Scope) -> KeySet {
        let watched = self.watch(input_query(node, key_items(&keys)), scope);
        KeySet { places: vec![Place { pointer: "", keys }], watched: vec![watched], null_touches_all: false }
    }

    /// A query for keys of a scope's rows, whose change is that of the keys: itself if the scope is linear, otherwise what
    /// reads the keys of the scope's touched rows, as they were and as they are.
    pub(super) fn watch(&mut self, query: Value, scope: &Scope) -> Value {
        if scope.is_linear() {
            return query;
        }
        let columns: Vec<String> = (0..tree::list(&query, "select_list").len()).map(key_column).collect();
        let linearity = Linearity { breakers: scope.breakers.clone(), row_wise: true };
        let keyed = Keyed::below(query, self.leaves.clone(), scope.sets.clone(), linearity, false);
        let stage = Stage { keyed, columns: columns.clone(), watched: true };
        let mut reference = tree::table_reference(WATCHED, &[]);
        mark_leaf(&mut reference, self.stage_leaf(stage, None));
        let mut watched = tree::empty_select();
        watched["from_table"] = reference;
        let keys: Vec<Value> = columns.iter().map(|column| tree::column(&[WATCHED, column])).collect();
        watched["select_list"] = Value::from(key_items(&keys));
        watched
    }

    /// A leaf that reads a stage. A stage that is there already is not computed a second time: a common table expression
    /// that is used twice, what all the sets of a ROLLUP read.
    fn stage_leaf(&mut self, stage: Stage, empty: Option<Value>) -> usize {
        let (query, leaves) = stage.query();
        let mut text = linear::all(query, leaves, Reading::New);
        tree::visit_mut(&mut text, &mut |child| {
            if let Some(location) = child.get_mut("query_location") {
                *location = Value::Null;
            }
        });
        // What a watched stage gives depends on its sets of keys as well, which its text does not show.
        let unshared = if stage.watched { self.stages.len().to_string() } else { String::new() };
        let text = format!("{unshared} {text}");
        let number = self.stage_texts.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.stage_texts.push(text);
            self.empty_stages.push(empty);
            self.stages.push(stage);
            self.stages.len() - 1
        });
        self.leaves.push(Input::Stage(number));
        self.leaves.len() - 1
    }

    pub(super) fn keys(&self, node: &Value, written: &[Value]) -> Result<std::result::Result<Vec<Value>, Reason>> {
        let binds = |expression: &Value| -> Result<bool> {
            let probe = input_query(node, vec![expression.clone()]);
            Ok(self.describe(&probe)?.is_some())
        };
        aggregate::keys(node, written, self.known.parser, &binds)
    }

    pub(super) fn aggregate(&mut self, operator: usize, node: &mut Value, scope: &Scope) -> Result<Shape> {
        drop_order(node);
        let written = tree::list(node, "group_expressions").to_vec();
        let keys = match self.keys(node, &written)? {
            Ok(keys) => keys,
            Err(reason) => {
                self.no_rule_for(operator, reason);
                return Ok(Shape::Opaque);
            }
        };
        let mut calls = aggregate::Calls::of(node, self.known.parser);
        // An alias of the select list, in WHERE or in another item, means nothing to the input of the aggregate.
        let mut probed = calls.arguments.clone();
        probed.extend(keys.iter().chain(calls.filters()).map(|expression| named(expression.clone(), "")));
        if !probed.is_empty() {
            match self.describe(&input_query(node, probed))? {
                Some(types) => calls.types = types.into_iter().map(|(_, data_type)| data_type).collect(),
                None => return Ok(self.unbound(operator, node)),
            }
        }
        self.name_by_keys(operator, "Aggregate", &keys)?;
        let sets = vec![self.key_set(node, keys, scope)];
        let linearity = Linearity { breakers: scope.breakers.clone(), row_wise: false };
        let (node, calls) = (node.clone(), Some(calls));
        Ok(Shape::Keyed(Box::new(Draft { node, sets, linearity, unique: true, calls, top: None, operator })))
    }

    /// Windows by the partitions that they share.
    pub(super) fn windowed(
        &mut self,
        operator: usize,
        node: &Value,
        scope: &Scope,
        keys: Vec<Value>,
    ) -> Result<Shape> {
        if !keys.is_empty() {
            let mut node = node.clone();
            let top = self.first_of_each(&mut node, &keys, scope.is_linear())?;
            return self.grouped(operator, &node, scope, keys, false, top);
        }
        let over_stage =
            leaves_in(&node["from_table"]).iter().any(|leaf| matches!(self.leaves[*leaf], Input::Stage(_)));
        if !over_stage {
            let reason = "windows without a PARTITION BY that all of them share span the whole input";
            self.no_rule(operator, reason, node);
            return Ok(Shape::Opaque);
        }
        // What is below tells whether there is anything to recompute, and is small as a rule.
        self.operators[operator].rule = Some("recompute all rows when anything below changed".to_owned());
        let mut node = node.clone();
        drop_order(&mut node);
        let sets = vec![self.key_set(&node, Vec::new(), scope)];
        let linearity = Linearity { breakers: scope.breakers.clone(), row_wise: false };
        Ok(Shape::Keyed(Box::new(Draft { node, sets, linearity, unique: false, calls: None, top: None, operator })))
    }

    /// A window or DISTINCT ON by its keys.
    pub(super) fn grouped(
        &mut self,
        operator: usize,
        node: &Value,
        scope: &Scope,
        keys: Vec<Value>,
        unique: bool,
        top: Option<Top>,
    ) -> Result<Shape> {
        if self.describe(&input_query(node, keys.clone()))?.is_none() {
            return Ok(self.unbound(operator, node));
        }
        let name = self.operators[operator].name.clone();
        self.name_by_keys(operator, &name, &keys)?;
        let mut node = node.clone();
        if !unique {
            drop_order(&mut node);
        }
        if top.is_some() {
            let rule =
                "the stored rows and those that came, in order; recompute the partitions of stored rows that went";
            self.operators[operator].rule = Some(rule.to_owned());
        }
        let sets = vec![self.key_set(&node, keys, scope)];
        let linearity = Linearity { breakers: scope.breakers.clone(), row_wise: false };
        Ok(Shape::Keyed(Box::new(Draft { node, sets, linearity, unique, calls: None, top, operator })))
    }

    pub(super) fn name_by_keys(&mut self, operator: usize, name: &str, keys: &[Value]) -> Result<()> {
        let mut texts = Vec::new();
        for key in keys {
            let text = self.known.parser.expression_to_sql(key)?;
            // What stands for a part that was taken out says nothing to the reader.
            let made_up = text.contains(RESERVED_PREFIX) || text.contains(LEAF_MARK);
            texts.push(if made_up { "an expression".to_owned() } else { text });
        }
        self.operators[operator].name =
            if texts.is_empty() { format!("{name} of all rows") } else { format!("{name} by {}", texts.join(", ")) };
        Ok(())
    }

    pub(super) fn unbound(&mut self, operator: usize, node: &Value) -> Shape {
        self.no_rule(operator, "the groups cannot be computed apart from the query: write out its aliases", node);
        Shape::Opaque
    }

    pub(super) fn correlated(&mut self, operator: usize, node: &Value) -> Shape {
        self.no_rule(
            operator,
            "it reads columns of its neighbour in FROM (LATERAL), which has no incremental rule yet",
            node,
        );
        Shape::Opaque
    }

    /// DISTINCT over a query: each row is a group of its own.
    pub(super) fn distinct(&mut self, operator: usize, below: Shape, node: &mut Value) -> Result<Shape> {
        if !self.reasons.is_empty() {
            return Ok(Shape::Opaque);
        }
        let Some(columns) = self.column_names(operator, node)? else { return Ok(Shape::Opaque) };
        let Some(from) = self.as_relation(below, node.take(), DISTINCT_INPUT, &[])? else { return Ok(Shape::Opaque) };
        let keys: Vec<Value> = columns.iter().map(|column| tree::column(&[DISTINCT_INPUT, column])).collect();
        let mut select = tree::empty_select();
        select["select_list"] = Value::from(keys.clone());
        select["from_table"] = from;
        select["modifiers"] = json!([{ "type": "DISTINCT_MODIFIER", "distinct_on_targets": [] }]);
        let sets = vec![KeySet::of(&select, "", keys)];
        Ok(Shape::Keyed(Box::new(Draft {
            node: select,
            sets,
            linearity: Linearity::default(),
            unique: true,
            calls: None,
            top: None,
            operator,
        })))
    }

    /// The output columns of a part of the query, if they have names that can be told apart.
    pub(super) fn column_names(&mut self, operator: usize, node: &Value) -> Result<Option<Vec<String>>> {
        let columns = self.named_columns(operator, node)?;
        Ok(columns.map(|columns| columns.into_iter().map(|(name, _)| name).collect()))
    }

    /// The output columns of a part of the query with their types, if they have names that can be told apart.
    fn named_columns(&mut self, operator: usize, node: &Value) -> Result<Option<Columns>> {
        let Some(columns) = self.describe(node)? else {
            self.correlated(operator, node);
            return Ok(None);
        };
        let distinct: HashSet<String> = columns.iter().map(|(name, _)| name.to_lowercase()).collect();
        if distinct.len() < columns.len() {
            self.no_rule(operator, "two of its columns have the same name", node);
            return Ok(None);
        }
        Ok(Some(columns))
    }

    /// A query as it stands in FROM: as it is if it is linear, as the leaf of a stage otherwise.
    pub(super) fn as_relation(
        &mut self,
        shape: Shape,
        node: Value,
        alias: &str,
        aliases: &[Value],
    ) -> Result<Option<Value>> {
        match shape {
            Shape::Linear => Ok(Some(tree::derived_table(node, alias, aliases))),
            Shape::Opaque => Ok(None),
            Shape::Keyed(draft) => {
                let Draft { mut node, sets, linearity, unique, calls, operator, .. } = *draft;
                if let Some(reason) = calls.as_ref().and_then(aggregate::Calls::indefinite) {
                    self.no_rule_for(operator, reason);
                    return Ok(None);
                }
                self.make_definite(&mut node, &aggregate::Calls::is_inexact)?;
                let Some(columns) = self.named_columns(operator, &node)? else { return Ok(None) };
                let empty = self.empty_stage(&node, &columns)?;
                let columns = columns.into_iter().map(|(name, _)| name).collect();
                let keyed = Keyed::below(node, self.leaves.clone(), sets, linearity, unique);
                let stage = Stage { keyed, columns, watched: false };
                let mut reference = tree::table_reference(alias, aliases);
                mark_leaf(&mut reference, self.stage_leaf(stage, empty));
                Ok(Some(reference))
            }
        }
    }
}
