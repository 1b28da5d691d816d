//! From the query's tree to operators: every operator is looked at once; what is linear stays where it is, what is
//! maintained by keys becomes the root or a stage of its own, and what has no rule gets a reason.
//!
//! The lowered tree is still DuckDB's.

mod definite;
mod from;
mod join;
mod keys;
mod latest;
mod limit;
mod pivot;
mod probe;
mod split;
mod subquery;

use std::cell::RefCell;
use std::collections::HashMap;

use error::Result;
use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use crate::expression::{calls_aggregate, collated, doubts, varies, where_it_is_stored, windows};
use crate::inline::{inline, number_leaves};
use crate::render::{Input, SourceState};
use crate::resolve::ResolvedSource;
use crate::rules::keyed::{KeySet, Linearity};
use crate::rules::top::Top;
use crate::rules::{aggregate, set_operation, window};
use crate::stage::Stage;
use crate::{Catalog, Column, Operator, Reason};

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
    /// The lowered query orders what the written one leaves open, so that the whole result is to be computed by it too.
    pub canonical: bool,
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
    /// Which changes it, or its input, is linear in.
    pub linearity: Linearity,
    /// No two rows of its result are equal.
    pub unique: bool,
    /// What an aggregate calls; `None` for other operators.
    pub calls: Option<aggregate::Calls>,
    /// How the first rows of an order are kept.
    pub top: Option<Top>,
    /// Its place among the operators.
    pub operator: usize,
}

/// What FROM and WHERE of a SELECT are, looked at from above.
#[derive(Debug, Default)]
struct Scope {
    /// Keys by which touched rows are told; empty if the scope is linear.
    sets: Vec<KeySet>,
    /// The leaves in whose change it is not linear.
    breakers: Vec<usize>,
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
    /// The columns of each that the query can look at.
    pub used: Vec<&'a [Column]>,
    /// Those tables, read as they stand.
    pub states: &'a [SourceState],
}

/// Lowers a resolved query.
///
/// # Errors
/// What the catalog says when it cannot be asked.
pub fn lower(node: &Value, surroundings: &Surroundings<'_>) -> Result<Lowered> {
    let mut node = node.clone();
    // What is inlined twice has the same names in both places.
    name_subqueries(&mut node);
    inline(&mut node, &HashMap::new());
    let mut leaves = Vec::new();
    number_leaves(&mut node, &mut leaves);
    let volatile = is_volatile(&node, surroundings);
    let mut lowering = Lowering {
        known: surroundings,
        leaves,
        stages: Vec::new(),
        stage_texts: Vec::new(),
        empty_stages: Vec::new(),
        answers: RefCell::default(),
        operators: Vec::new(),
        reasons: Vec::new(),
        canonical: false,
    };
    let mut shape = lowering.query(&mut node, 0)?;
    if let Shape::Keyed(draft) = &mut shape
        && lowering.reasons.is_empty()
        && !tree::is_limited(&draft.node)
    {
        lowering.make_definite(&mut draft.node, &aggregate::Calls::picks_by_order)?;
    }
    let Lowering { leaves, stages, operators, reasons, canonical, .. } = lowering;
    Ok(Lowered { shape, node, leaves, stages, operators, reasons, volatile, canonical })
}

/// Gives every subquery in FROM a name, by which its columns can be told from those of others.
fn name_subqueries(node: &mut Value) {
    let mut number = 0;
    tree::visit_mut(node, &mut |child| {
        if child["class"].is_null() && tree::is(child, "SUBQUERY") && tree::text(child, "alias").is_empty() {
            child["alias"] = Value::from(format!("__dt_unnamed{number}"));
            number += 1;
        }
    });
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
    /// The query of each stage as text, by which it is known again.
    stage_texts: Vec<String>,
    /// For each stage an empty relation with its columns, by which a part that reads it can be bound.
    empty_stages: Vec<Option<Value>>,
    /// What parts of the query were found to give.
    answers: RefCell<HashMap<String, Option<probe::Columns>>>,
    operators: Vec<Operator>,
    reasons: Vec<Reason>,
    canonical: bool,
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
        if tree::is_limited(node) {
            return self.limited(node, depth);
        }
        if take_distinct(node) {
            let operator = self.note(depth, "Distinct", "recompute the affected rows", node);
            self.modifiers(operator, node);
            let below = self.query(node, depth + 1)?;
            return self.distinct(operator, below, node);
        }
        let windows = all_windows(node);
        let windowed = !windows.is_empty() || !node["qualify"].is_null();
        let aggregate =
            is_aggregate(node, self.known.parser) || (windowed && split::windows_aggregates(node, self.known.parser));
        let distinct_on = distinct_on_targets(node);
        if let Some(said) = self.taken_apart(node, aggregate, windowed, !distinct_on.is_empty())? {
            return match said {
                Ok(said) => {
                    *node = said;
                    self.query(node, depth)
                }
                Err(reason) => {
                    let operator = self.note(depth, "Select", "", node);
                    self.no_rule(operator, reason, node);
                    Ok(Shape::Opaque)
                }
            };
        }
        let operator = match (aggregate, windowed, distinct_on.is_empty()) {
            (true, ..) => self.note(depth, "Aggregate", "recompute the affected groups", node),
            (false, true, _) => self.note(depth, "Window", "recompute the affected partitions", node),
            (false, false, false) => self.note(depth, "Distinct on", "recompute the affected groups", node),
            (false, false, true) => {
                let filtered = if node["where_clause"].is_null() { "" } else { " with a filter" };
                let items = counted(tree::list(node, "select_list").len(), "item");
                self.note(depth, format!("Select {items}{filtered}"), "linear: the same query over the change", node)
            }
        };
        self.modifiers(operator, node);
        if !node["sample"].is_null() {
            self.no_rule(operator, "a sample differs from query to query", node);
        }
        for clause in ["select_list", "where_clause", "group_expressions", "having", "qualify"] {
            let clause = node[clause].clone();
            self.expression(operator, &clause);
        }
        for clause in ["select_list", "group_expressions", "modifiers"] {
            // An order by a collation is an order like any other.
            if (clause != "modifiers" || !distinct_on.is_empty())
                && let Some(place) = collated(&node[clause]).cloned()
            {
                let text = "COLLATE makes texts equal that differ, so a change from one to the other cannot be told by the values";
                self.no_rule(operator, text, &place);
            }
        }
        let scope = self.scope(node, depth)?;
        if !self.reasons.is_empty() {
            return Ok(Shape::Opaque);
        }
        if aggregate {
            self.aggregate(operator, node, &scope)
        } else if windowed {
            let keys = window::shared_partition(&windows);
            self.windowed(operator, node, &scope, keys)
        } else if !distinct_on.is_empty() {
            let distinct_on: Vec<Value> = distinct_on.iter().map(|target| shown_by(node, target)).collect();
            match self.keys(node, &distinct_on)? {
                Ok(keys) => {
                    let top = self.first_of_each(node, &keys, scope.is_linear())?;
                    self.grouped(operator, node, &scope, keys, true, top)
                }
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
            self.operators[operator].rule = Some("recompute the rows that a change touches".to_owned());
            let draft = Draft {
                node: node.clone(),
                sets: scope.sets,
                linearity: Linearity { breakers: scope.breakers, row_wise: true },
                unique: false,
                calls: None,
                top: None,
                operator,
            };
            Ok(Shape::Keyed(Box::new(draft)))
        }
    }

    /// The same query as several, where one SELECT does several things at once; or why that cannot be.
    fn taken_apart(
        &self,
        node: &Value,
        aggregate: bool,
        windowed: bool,
        distinct_on: bool,
    ) -> Result<Option<std::result::Result<Value, String>>> {
        if aggregate && (windowed || distinct_on) {
            return self.aggregate_first(node).map(Some);
        }
        if windowed && distinct_on {
            return self.windows_first(node).map(Some);
        }
        if tree::list(node, "group_sets").len() > 1 {
            return self.grouping_sets(node).map(Some);
        }
        Ok(None)
    }

    /// Whether a query is a filter or projection.
    fn is_row_wise(&self, node: &Value) -> bool {
        tree::is(node, "SELECT_NODE")
            && tree::list(node, "modifiers").is_empty()
            && !is_aggregate(node, self.known.parser)
            && all_windows(node).is_empty()
            && node["qualify"].is_null()
            && !["select_list", "where_clause"].iter().any(|clause| subquery::contains_subquery(&node[*clause]))
    }

    fn modifiers(&mut self, operator: usize, node: &Value) {
        for modifier in tree::list(node, "modifiers") {
            match tree::text(modifier, "type") {
                // An order alone means nothing in a table; with DISTINCT ON it says which row stays.
                "ORDER_MODIFIER" | "DISTINCT_MODIFIER" => {}
                _ => {
                    let place = if tree::first_location(modifier).is_some() { modifier } else { node };
                    self.no_rule(operator, "this clause has no incremental rule", place);
                }
            }
        }
    }

    fn set_operation(&mut self, node: &mut Value, depth: usize) -> Result<Shape> {
        if tree::is_limited(node) {
            return self.limited(node, depth);
        }
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
        let [left, right] = ["left", "right"].map(|side| self.describe(&node[side]));
        let (left, right) = (left?.unwrap_or_default(), right?.unwrap_or_default());
        if !left.iter().zip(&right).all(|((_, one), (_, other))| join::same_or_numeric(one, other)) {
            self.no_rule(operator, format!("the branches of {name} have columns of different types"), node);
            return Ok(Shape::Opaque);
        }
        let (mut places, mut watched) = (Vec::new(), Vec::new());
        for (pointer, branch) in set_operation::POINTERS.into_iter().zip(set_operation::branches_mut(node)) {
            let Some(columns) = self.column_names(operator, branch)? else { return Ok(Shape::Opaque) };
            let (place, query) = set_operation::branch(branch, pointer, &columns);
            places.push(place);
            watched.push(query);
        }
        let sets = vec![KeySet { places, watched, null_touches_all: false }];
        let draft = Draft {
            node: node.clone(),
            sets,
            linearity: Linearity::default(),
            unique: !all,
            calls: None,
            top: None,
            operator,
        };
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

/// What a name in DISTINCT ON or ORDER BY stands for: the item of that name, before any column.
fn shown_by(node: &Value, expression: &Value) -> Value {
    let named = match tree::column_reference(expression).as_deref() {
        Some([name]) => tree::list(node, "select_list")
            .iter()
            .find(|item| tree::text(item, "alias").eq_ignore_ascii_case(name))
            .cloned(),
        _ => None,
    };
    let mut meant = named.unwrap_or_else(|| expression.clone());
    meant["alias"] = Value::from("");
    meant
}

fn all_windows(select: &Value) -> Vec<Value> {
    windows(&select["select_list"]).into_iter().chain(windows(&select["qualify"])).cloned().collect()
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
