//! From the query's tree to operators: every operator is looked at once; what is linear stays where it is, what is
//! maintained by keys becomes the root or a stage of its own, and what has no rule gets a reason.
//!
//! The lowered tree is still DuckDB's.

use std::collections::{HashMap, HashSet};

use error::Result;
use serde_json::{Value, json};
use sql::query::Parser;
use sql::tree;

use crate::expression::{calls_aggregate, doubts, varies, where_it_is_stored, windows};
use crate::inline::{inline, leaf_of, mark_leaf, number_leaves};
use crate::render::{Input, Inputs, Reading, Renderer, SourceState};
use crate::resolve::ResolvedSource;
use crate::rules::keyed::{KeySet, Keyed, Place, input_query, key_column, key_items, named};
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

    /// The groups of an operator over a scope: they are touched where the scope's rows change.
    fn key_set(&mut self, node: &Value, keys: Vec<Value>, scope: &Scope) -> KeySet {
        let mut set = KeySet::of(node, "", keys);
        if scope.is_linear() {
            return set;
        }
        // The keys of the scope's touched rows, as they were and as they are.
        let items = key_items(&set.places[0].keys);
        let columns: Vec<String> = (0..items.len()).map(key_column).collect();
        let keyed = Keyed::new(
            input_query(node, items),
            self.leaves.clone(),
            scope.sets.clone(),
            None,
            false,
            Err("below other operators".to_owned()),
        );
        self.stages.push(Stage { keyed, columns: columns.clone(), watched: true });
        let mut reference = tree::table_reference(WATCHED, &[]);
        mark_leaf(&mut reference, self.leaves.len());
        self.leaves.push(Input::Stage(self.stages.len() - 1));
        let mut watched = tree::empty_select();
        watched["from_table"] = reference;
        let keys: Vec<Value> = columns.iter().map(|column| tree::column(&[WATCHED, column])).collect();
        watched["select_list"] = Value::from(key_items(&keys));
        set.watched = vec![watched];
        set
    }

    fn keys(&self, node: &Value, written: &[Value]) -> Result<std::result::Result<Vec<Value>, Reason>> {
        let binds = |expression: &Value| -> Result<bool> {
            let probe = input_query(node, vec![expression.clone()]);
            Ok(self.describe(&probe)?.is_some())
        };
        aggregate::keys(node, written, self.known.parser, &binds)
    }

    fn aggregate(&mut self, operator: usize, node: &mut Value, scope: &Scope) -> Result<Shape> {
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
        let linear_input = scope.is_linear();
        let draft = Draft { node: node.clone(), sets, linear_input, unique: true, calls: Some(calls), operator };
        Ok(Shape::Keyed(Box::new(draft)))
    }

    /// A window or DISTINCT ON by its keys.
    fn grouped(
        &mut self,
        operator: usize,
        node: &Value,
        scope: &Scope,
        keys: Vec<Value>,
        unique: bool,
        without_keys: &str,
    ) -> Result<Shape> {
        if keys.is_empty() {
            self.no_rule(operator, without_keys, node);
            return Ok(Shape::Opaque);
        }
        if self.describe(&input_query(node, keys.clone()))?.is_none() {
            return Ok(self.unbound(operator, node));
        }
        let name = self.operators[operator].name.clone();
        self.name_by_keys(operator, &name, &keys)?;
        let mut node = node.clone();
        if !unique {
            drop_order(&mut node);
        }
        let sets = vec![self.key_set(&node, keys, scope)];
        let linear_input = scope.is_linear();
        Ok(Shape::Keyed(Box::new(Draft { node, sets, linear_input, unique, calls: None, operator })))
    }

    fn name_by_keys(&mut self, operator: usize, name: &str, keys: &[Value]) -> Result<()> {
        let mut texts = Vec::new();
        for key in keys {
            texts.push(self.known.parser.expression_to_sql(key)?);
        }
        self.operators[operator].name =
            if texts.is_empty() { format!("{name} of all rows") } else { format!("{name} by {}", texts.join(", ")) };
        Ok(())
    }

    fn unbound(&mut self, operator: usize, node: &Value) -> Shape {
        self.no_rule(operator, "the groups cannot be computed apart from the query: write out its aliases", node);
        Shape::Opaque
    }

    fn correlated(&mut self, operator: usize, node: &Value) -> Shape {
        self.no_rule(
            operator,
            "it reads columns of its neighbour in FROM (LATERAL), which has no incremental rule yet",
            node,
        );
        Shape::Opaque
    }

    /// DISTINCT over a query: each row is a group of its own.
    fn distinct(&mut self, operator: usize, below: Shape, node: &mut Value) -> Result<Shape> {
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
            linear_input: true,
            unique: true,
            calls: None,
            operator,
        })))
    }

    /// The output columns of a part of the query, if they have names that can be told apart.
    fn column_names(&mut self, operator: usize, node: &Value) -> Result<Option<Vec<String>>> {
        let Some(columns) = self.describe(node)? else {
            self.correlated(operator, node);
            return Ok(None);
        };
        let names: Vec<String> = columns.into_iter().map(|(name, _)| name).collect();
        let distinct: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
        if distinct.len() < names.len() {
            self.no_rule(operator, "two of its columns have the same name", node);
            return Ok(None);
        }
        Ok(Some(names))
    }

    /// A query as it stands in FROM: as it is if it is linear, as the leaf of a stage otherwise.
    fn as_relation(&mut self, shape: Shape, node: Value, alias: &str, aliases: &[Value]) -> Result<Option<Value>> {
        match shape {
            Shape::Linear => Ok(Some(tree::derived_table(node, alias, aliases))),
            Shape::Opaque => Ok(None),
            Shape::Keyed(draft) => {
                let Draft { node, sets, unique, calls, operator, .. } = *draft;
                if let Some(reason) = calls.as_ref().and_then(aggregate::Calls::inexact) {
                    let text = format!("{}; what stands above it would see changes that are none", reason.text);
                    self.no_rule_for(operator, Reason::new(text, reason.location));
                    return Ok(None);
                }
                let Some(columns) = self.column_names(operator, &node)? else { return Ok(None) };
                let keyed = Keyed::new(
                    node,
                    self.leaves.clone(),
                    sets,
                    None,
                    unique,
                    Err("below other operators".to_owned()),
                );
                self.stages.push(Stage { keyed, columns, watched: false });
                let leaf = self.leaves.len();
                self.leaves.push(Input::Stage(self.stages.len() - 1));
                let mut reference = tree::table_reference(alias, aliases);
                mark_leaf(&mut reference, leaf);
                Ok(Some(reference))
            }
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

    fn from(&mut self, node: &mut Value, depth: usize) -> Result<Scope> {
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

    fn subquery(&mut self, node: &mut Value, depth: usize) -> Result<()> {
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

    fn sampled(&mut self, operator: usize, node: &Value) {
        if !node["sample"].is_null() {
            self.no_rule(operator, "TABLESAMPLE differs from query to query", node);
        }
    }

    fn join(&mut self, node: &mut Value, depth: usize) -> Result<Scope> {
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
    fn joined_scope(
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
    fn join_keys(&mut self, node: &Value) -> Result<(Vec<Value>, Vec<Value>)> {
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
    fn belongs(&self, expression: &Value, side: &Value) -> Result<bool> {
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

    fn table_function(&mut self, node: &Value, depth: usize) {
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
