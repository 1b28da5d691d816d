//! From the query's tree to operators: every operator is looked at once; what is linear stays where it is, what is
//! maintained by keys becomes the root or a stage of its own, and what has no rule gets a reason.
//!
//! The lowered tree is still DuckDB's.

mod from;
mod keys;

use std::collections::HashMap;

use error::Result;
use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use crate::expression::{calls_aggregate, doubts, varies, where_it_is_stored, windows};
use crate::inline::{inline, number_leaves};
use crate::render::{Input, Inputs, Reading, Renderer, SourceState};
use crate::resolve::ResolvedSource;
use crate::rules::keyed::KeySet;
use crate::rules::{aggregate, linear, set_operation, window};
use crate::stage::Stage;
use crate::{Catalog, Operator, Reason};

/// Table functions whose rows follow from their arguments alone.
const CONSTANT_TABLE_FUNCTIONS: [&str; 3] = ["unnest", "range", "generate_series"];

/// The name of what a DISTINCT reads.
const DISTINCT_INPUT: &str = "__dt_d";

/// A lowered query.
#[derive(Debug)]
pub struct Lowered {
    /// What the root is.
    pub shape: Shape,
    /// The tree, if the root is linear; ORDER BY without LIMIT, which means nothing in a table, is gone.
    pub node: Value,
    /// What stands behind each leaf.
    pub leaves: Vec<Input>,
    /// The operators below the root that are not linear, each behind those that it reads.
    pub stages: Vec<Stage>,
    /// Every operator, parents first.
    pub operators: Vec<Operator>,
    /// Why the query has no rule; empty when it has one.
    pub reasons: Vec<Reason>,
    /// Some value differs from evaluation to evaluation, so that two evaluations cannot be compared.
    pub volatile: bool,
}

/// What a query is, looked at from above.
#[derive(Debug)]
pub enum Shape {
    /// A sum of products of its leaves.
    Linear,
    /// Maintained by keys.
    Keyed(Box<Draft>),
    /// Neither; there is a reason.
    Opaque,
}

/// An operator that is maintained by keys, before it is known whether it is the root.
#[derive(Debug)]
pub struct Draft {
    /// Its tree.
    pub node: Value,
    /// The keys by which touched rows are told.
    pub sets: Vec<KeySet>,
    /// Its input is linear, so that its change can be folded.
    pub linear_input: bool,
    /// No two rows of its result are equal.
    pub unique: bool,
    /// What an aggregate calls; `None` for other operators.
    pub calls: Option<aggregate::Calls>,
    /// Its place among the operators.
    pub operator: usize,
}

/// What FROM and WHERE of a SELECT are, looked at from above.
#[derive(Debug, Default)]
struct Scope {
    /// Keys by which touched rows are told; empty if the scope is linear.
    sets: Vec<KeySet>,
}

impl Scope {
    fn is_linear(&self) -> bool {
        self.sets.is_empty()
    }
}

/// The name of the keys that a change of a scope touches.
const WATCHED: &str = "__dt_w";

/// What lowering is done with.
pub struct Surroundings<'a> {
    /// Parses expressions.
    pub parser: &'a Parser,
    /// Binds queries.
    pub catalog: &'a dyn Catalog,
    /// The name under which the lake is attached.
    pub lake: &'a str,
    /// The tables that the query reads.
    pub sources: &'a [ResolvedSource],
    /// Those tables, read as they stand.
    pub states: &'a [SourceState],
}

/// Lowers a resolved query.
///
/// # Errors
/// What the catalog says when it cannot be asked.
pub fn lower(node: &Value, surroundings: &Surroundings<'_>) -> Result<Lowered> {
    let mut node = node.clone();
    inline(&mut node, &HashMap::new());
    let mut leaves = Vec::new();
    number_leaves(&mut node, &mut leaves);
    let volatile = is_volatile(&node, surroundings);
    let mut lowering =
        Lowering { known: surroundings, leaves, stages: Vec::new(), operators: Vec::new(), reasons: Vec::new() };
    let shape = lowering.query(&mut node, 0)?;
    let Lowering { leaves, stages, operators, reasons, .. } = lowering;
    Ok(Lowered { shape, node, leaves, stages, operators, reasons, volatile })
}

fn is_volatile(node: &Value, known: &Surroundings<'_>) -> bool {
    let mut volatile = false;
    tree::visit(node, &mut |child| {
        let sampled = child.get("sample").is_some_and(|sample| !sample.is_null());
        let stored = || where_it_is_stored(child, known.sources).is_some();
        volatile = volatile
            || sampled
            || reads_outside(child)
            || varies(child, known.sources, known.parser).is_some()
            || stored();
    });
    volatile
}

/// Whether it is a table function whose rows follow from more than its arguments: a file, the catalog, a table that it
/// is given by name. Nothing tells when those change.
fn reads_outside(node: &Value) -> bool {
    let function = tree::text(&node["function"], "function_name").to_lowercase();
    tree::is(node, "TABLE_FUNCTION")
        && !CONSTANT_TABLE_FUNCTIONS.contains(&function.as_str())
        && !["json_each", "json_tree", "repeat", "repeat_row"].contains(&function.as_str())
}

/// Whether a SELECT is an aggregate: it groups, or an item calls an aggregate.
fn is_aggregate(select: &Value, parser: &Parser) -> bool {
    !tree::list(select, "group_expressions").is_empty()
        || !tree::list(select, "group_sets").is_empty()
        || tree::text(select, "aggregate_handling") == "FORCE_AGGREGATES"
        || !select["having"].is_null()
        || calls_aggregate(&select["select_list"], parser)
}

struct Lowering<'a> {
    known: &'a Surroundings<'a>,
    leaves: Vec<Input>,
    stages: Vec<Stage>,
    operators: Vec<Operator>,
    reasons: Vec<Reason>,
}

impl Lowering<'_> {
    fn note(&mut self, depth: usize, name: impl Into<String>, rule: &str, node: &Value) -> usize {
        self.operators.push(Operator {
            depth,
            name: name.into(),
            rule: Some(rule.to_owned()),
            reason: None,
            location: tree::location(node).or_else(|| tree::first_location(node)),
        });
        self.operators.len() - 1
    }

    /// Reports that an operator has no rule.
    fn no_rule(&mut self, operator: usize, text: impl Into<String>, node: &Value) {
        self.no_rule_for(operator, Reason::new(text, tree::location(node).or_else(|| tree::first_location(node))));
    }

    fn no_rule_for(&mut self, operator: usize, reason: Reason) {
        let noted = &mut self.operators[operator];
        noted.rule = None;
        noted.reason.get_or_insert_with(|| reason.clone());
        self.reasons.push(reason);
    }

    fn expression(&mut self, operator: usize, expression: &Value) {
        for reason in doubts(expression, self.known.sources, self.known.parser) {
            self.no_rule_for(operator, reason);
        }
    }

    /// Names and types of what a part of the query gives; `None` if it does not bind by itself, as what reads a
    /// neighbour's columns does not.
    fn describe(&self, node: &Value) -> Result<Option<Vec<(String, String)>>> {
        let inputs = Inputs { sources: self.known.states, stages: &[] };
        let renderer = Renderer { parser: self.known.parser, lake: self.known.lake, inputs, stages: &self.stages };
        let sql = renderer.sql(&linear::all(node, &self.leaves, Reading::New))?;
        Ok(self.known.catalog.describe(&sql).ok())
    }

    fn query(&mut self, node: &mut Value, depth: usize) -> Result<Shape> {
        match tree::text(node, "type") {
            "SELECT_NODE" => self.select(node, depth),
            "SET_OPERATION_NODE" => self.set_operation(node, depth),
            "RECURSIVE_CTE_NODE" => {
                let operator = self.note(depth, "Recursive query", "", node);
                self.no_rule(operator, "WITH RECURSIVE has no incremental rule", node);
                Ok(Shape::Opaque)
            }
            other => {
                let name = other.to_owned();
                let operator = self.note(depth, name.clone(), "", node);
                self.no_rule(operator, format!("{name} has no incremental rule"), node);
                Ok(Shape::Opaque)
            }
        }
    }

    fn select(&mut self, node: &mut Value, depth: usize) -> Result<Shape> {
        if take_distinct(node) {
            let operator = self.note(depth, "Distinct", "recompute the affected rows", node);
            self.modifiers(operator, node);
            let below = self.query(node, depth + 1)?;
            return self.distinct(operator, below, node);
        }
        let aggregate = is_aggregate(node, self.known.parser);
        let mut windows: Vec<Value> = windows(&node["select_list"]).into_iter().cloned().collect();
        windows.extend(crate::expression::windows(&node["qualify"]).into_iter().cloned());
        let distinct_on = distinct_on_targets(node);
        let operator = match (aggregate, windows.is_empty() && node["qualify"].is_null(), distinct_on.is_empty()) {
            (true, ..) => self.note(depth, "Aggregate", "recompute the affected groups", node),
            (false, false, _) => self.note(depth, "Window", "recompute the affected partitions", node),
            (false, true, false) => self.note(depth, "Distinct on", "recompute the affected groups", node),
            (false, true, true) => {
                let filtered = if node["where_clause"].is_null() { "" } else { " with a filter" };
                let items = counted(tree::list(node, "select_list").len(), "item");
                self.note(depth, format!("Select {items}{filtered}"), "linear: the same query over the change", node)
            }
        };
        self.modifiers(operator, node);
        if !node["sample"].is_null() {
            self.no_rule(operator, "a sample differs from query to query", node);
        }
        if tree::list(node, "group_sets").len() > 1 {
            self.no_rule(operator, "GROUPING SETS, ROLLUP and CUBE have no incremental rule yet", node);
        }
        for clause in ["select_list", "where_clause", "group_expressions", "having", "qualify"] {
            let clause = node[clause].clone();
            self.expression(operator, &clause);
        }
        let scope = self.from(&mut node["from_table"], depth + 1)?;
        if !self.reasons.is_empty() {
            return Ok(Shape::Opaque);
        }
        let kinds = usize::from(aggregate) + usize::from(!windows.is_empty()) + usize::from(!distinct_on.is_empty());
        if kinds > 1 {
            self.no_rule(
                operator,
                "GROUP BY, window functions and DISTINCT ON in one SELECT have no incremental rule; put one into a subquery",
                node,
            );
            return Ok(Shape::Opaque);
        }
        if aggregate {
            self.aggregate(operator, node, &scope)
        } else if !windows.is_empty() {
            let keys = window::shared_partition(&windows);
            self.grouped(
                operator,
                node,
                &scope,
                keys,
                false,
                "windows without a PARTITION BY that all of them share span the whole input",
            )
        } else if !distinct_on.is_empty() {
            match self.keys(node, &distinct_on)? {
                Ok(keys) => self.grouped(operator, node, &scope, keys, true, "DISTINCT ON"),
                Err(reason) => {
                    self.no_rule_for(operator, reason);
                    Ok(Shape::Opaque)
                }
            }
        } else {
            drop_order(node);
            if scope.is_linear() {
                return Ok(Shape::Linear);
            }
            self.operators[operator].rule = Some("recompute the rows with affected join keys".to_owned());
            let draft = Draft {
                node: node.clone(),
                sets: scope.sets,
                linear_input: false,
                unique: false,
                calls: None,
                operator,
            };
            Ok(Shape::Keyed(Box::new(draft)))
        }
    }

    fn modifiers(&mut self, operator: usize, node: &Value) {
        for modifier in tree::list(node, "modifiers") {
            let text = match tree::text(modifier, "type") {
                "LIMIT_MODIFIER" | "LIMIT_PERCENT_MODIFIER" => {
                    "LIMIT keeps rows by their position in the whole result"
                }
                // An order alone means nothing in a table; with DISTINCT ON it says which row stays.
                "ORDER_MODIFIER" | "DISTINCT_MODIFIER" => continue,
                _ => "this clause has no incremental rule",
            };
            let place = if tree::first_location(modifier).is_some() { modifier } else { node };
            self.no_rule(operator, text, place);
        }
    }

    fn set_operation(&mut self, node: &mut Value, depth: usize) -> Result<Shape> {
        let kind = tree::text(node, "setop_type").to_owned();
        let all = node["setop_all"].as_bool() == Some(true);
        let name = format!("{}{}", kind.replace('_', " "), if all { " ALL" } else { "" });
        let union = matches!(kind.as_str(), "UNION" | "UNION_BY_NAME");
        let rule = if union && all { "linear: the changes of its branches" } else { "recompute the affected rows" };
        let operator = self.note(depth, name.clone(), rule, node);
        if !union && !matches!(kind.as_str(), "EXCEPT" | "INTERSECT") {
            self.no_rule(operator, format!("{name} has no incremental rule"), node);
        }
        self.modifiers(operator, node);
        drop_order(node);
        for branch in set_operation::branches_mut(node) {
            let below = self.query(branch, depth + 1)?;
            if matches!(below, Shape::Keyed(_)) && self.reasons.is_empty() {
                let taken = branch.take();
                let Some(relation) = self.as_relation(below, taken, "__dt_branch", &[])? else {
                    return Ok(Shape::Opaque);
                };
                *branch = tree::select_star(relation);
            }
        }
        if !self.reasons.is_empty() {
            return Ok(Shape::Opaque);
        }
        if union && all {
            return Ok(Shape::Linear);
        }
        if union {
            node["setop_all"] = Value::from(true);
            return self.distinct(operator, Shape::Linear, node);
        }
        let (mut places, mut watched) = (Vec::new(), Vec::new());
        for (pointer, branch) in set_operation::POINTERS.into_iter().zip(set_operation::branches_mut(node)) {
            let Some(columns) = self.column_names(operator, branch)? else { return Ok(Shape::Opaque) };
            let (place, query) = set_operation::branch(branch, pointer, &columns);
            places.push(place);
            watched.push(query);
        }
        let sets = vec![KeySet { places, watched }];
        let draft = Draft { node: node.clone(), sets, linear_input: true, unique: !all, calls: None, operator };
        Ok(Shape::Keyed(Box::new(draft)))
    }
}

fn drop_order(node: &mut Value) {
    if let Some(modifiers) = node["modifiers"].as_array_mut() {
        modifiers.retain(|modifier| tree::text(modifier, "type") != "ORDER_MODIFIER");
    }
}

/// Takes a plain DISTINCT (and the order beside it) off a SELECT; whether there was one.
fn take_distinct(node: &mut Value) -> bool {
    let plain = |modifier: &Value| {
        tree::text(modifier, "type") == "DISTINCT_MODIFIER" && tree::list(modifier, "distinct_on_targets").is_empty()
    };
    let Some(modifiers) = node["modifiers"].as_array_mut() else { return false };
    if !modifiers.iter().any(plain) {
        return false;
    }
    modifiers.retain(|modifier| !plain(modifier) && tree::text(modifier, "type") != "ORDER_MODIFIER");
    true
}

fn distinct_on_targets(node: &Value) -> Vec<Value> {
    let modifiers = tree::list(node, "modifiers").iter();
    modifiers.flat_map(|modifier| tree::list(modifier, "distinct_on_targets")).cloned().collect()
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
