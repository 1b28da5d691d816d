//! Lowering subqueries in expressions: EXISTS, IN, comparisons with ANY and ALL, and scalar subqueries.
//!
//! A row's value of such an expression follows from the row and from the rows that the subquery reads. So the rows that a
//! change of the latter touches are told by keys: those that the subquery compares with the row for equality. The
//! expression itself stays as it was written, and what a subquery means is never restated here.

use error::Result;
use serde_json::{Value, json};
use sql::tree;

use super::{Lowering, Scope, Shape};
use crate::expression::{calls_aggregate, conjuncts, windows};
use crate::inline::{leaf_of, mark_leaf};
use crate::render::Input;
use crate::rules::aggregate::Calls;
use crate::rules::keyed::{KeySet, Place, input_query, key_items, named};

/// The name of a subquery that stands by itself.
const SUBQUERY: &str = "__dt_q";

/// The clauses of a SELECT in which subqueries can stand.
const CLAUSES: [&str; 5] = ["where_clause", "select_list", "group_expressions", "having", "qualify"];

/// What a correlated subquery compares with the row it stands in.
#[derive(Default)]
struct Correlation {
    inner: Vec<Value>,
    outer: Vec<Value>,
    /// The conditions that the subquery's own rows fulfil or not by themselves.
    kept: Vec<Value>,
}

impl Lowering<'_> {
    /// FROM and the subqueries of a SELECT's expressions.
    pub(super) fn scope(&mut self, node: &mut Value, depth: usize) -> Result<Scope> {
        let mut scope = self.from(&mut node["from_table"], depth + 1)?;
        let linear_from = scope.is_linear();
        for clause in CLAUSES {
            let mut expression = node[clause].take();
            if self.reasons.is_empty() {
                self.subqueries(&mut expression, node, clause == "where_clause", &mut scope, depth + 1)?;
            }
            node[clause] = expression;
        }
        if linear_from && !scope.is_linear() && self.reasons.is_empty() {
            self.watch_own_rows(node, &mut scope)?;
        }
        Ok(scope)
    }

    /// The subqueries in a clause of `outer`. `positive`: a row for which the clause is NULL is as good as one for which
    /// it is false.
    pub(super) fn subqueries(
        &mut self,
        clause: &mut Value,
        outer: &Value,
        positive: bool,
        scope: &mut Scope,
        depth: usize,
    ) -> Result<()> {
        if tree::is(clause, "SUBQUERY") {
            self.subqueries(&mut clause["child"], outer, false, scope, depth)?;
            return self.subquery_in_expression(clause, outer, positive, scope, depth);
        }
        let positive = positive && tree::text(clause, "type") == "CONJUNCTION_AND";
        match clause {
            Value::Array(children) => {
                for child in children {
                    self.subqueries(child, outer, false, scope, depth)?;
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::Array(children) if positive && name == "children" => {
                            for child in children {
                                self.subqueries(child, outer, true, scope, depth)?;
                            }
                        }
                        field => self.subqueries(field, outer, false, scope, depth)?,
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn subquery_in_expression(
        &mut self,
        expression: &mut Value,
        outer: &Value,
        positive: bool,
        scope: &mut Scope,
        depth: usize,
    ) -> Result<()> {
        let kind = tree::text(expression, "subquery_type").to_owned();
        let name = match kind.as_str() {
            "EXISTS" => "Exists",
            "ANY" => "In",
            _ => "Scalar subquery",
        };
        let operator = self.note(depth, name, "recompute the rows that its change touches", expression);
        let mut inner = expression["subquery"]["node"].take();
        let correlated = self.describe(&inner)?.is_none();
        let sets = if correlated {
            self.correlated_sets(operator, &mut inner, outer, scope.is_linear(), depth)?
        } else {
            self.uncorrelated(operator, &mut inner, expression, outer, positive, depth)?
        };
        scope.breakers.extend(leaves_in(&inner));
        expression["subquery"]["node"] = inner;
        scope.sets.extend(sets);
        Ok(())
    }

    /// A subquery that stands by itself: its own change says which rows are touched.
    fn uncorrelated(
        &mut self,
        operator: usize,
        inner: &mut Value,
        expression: &mut Value,
        outer: &Value,
        positive: bool,
        depth: usize,
    ) -> Result<Vec<KeySet>> {
        if tree::text(expression, "subquery_type") == "EXISTS" {
            // Whether there is a row at all changes less often than the rows do.
            expression["subquery_type"] = Value::from("SCALAR");
            *inner = self.exists(inner.take())?;
        }
        let below = self.query(inner, depth + 1)?;
        if !self.reasons.is_empty() {
            return Ok(Vec::new());
        }
        if matches!(below, Shape::Keyed(_)) {
            let Some(relation) = self.as_relation(below, inner.take(), SUBQUERY, &[])? else { return Ok(Vec::new()) };
            *inner = tree::select_star(relation);
        }
        if leaves_in(inner).is_empty() {
            self.operators[operator].rule = Some("constant: never changes".to_owned());
            return Ok(Vec::new());
        }
        let relation = || tree::derived_table(inner.clone(), SUBQUERY, &[]);
        let watched = |items: Vec<Value>| {
            let mut select = tree::empty_select();
            select["from_table"] = relation();
            select["select_list"] = Value::from(key_items(&items));
            select
        };
        let any = tree::text(expression, "subquery_type") == "ANY"
            && tree::text(expression, "comparison_type") == "COMPARE_EQUAL";
        let (Some(columns), true) = (self.column_names(operator, inner)?, any) else {
            if self.reasons.is_empty() {
                self.operators[operator].rule = Some("recompute every row when its value changed".to_owned());
                return Ok(vec![KeySet::of_all_rows(vec![watched(Vec::new())])]);
            }
            return Ok(Vec::new());
        };
        let keys = compared(&expression["child"]);
        let simple = positive || keys.len() == 1;
        let mut over_row = keys.len() == columns.len() && self.are_over(&keys, outer)?;
        for (key, column) in keys.iter().zip(&columns) {
            let value = tree::column(&[SUBQUERY, column]);
            over_row = over_row && self.are_comparable((key, &outer["from_table"]), (&value, &relation()))?;
        }
        if !simple || !over_row {
            self.operators[operator].rule = Some("recompute every row when it changed".to_owned());
            return Ok(vec![KeySet::of_all_rows(vec![watched(Vec::new())])]);
        }
        self.operators[operator].rule = Some("recompute the rows with the values that came or went".to_owned());
        let values: Vec<Value> = columns.iter().map(|column| tree::column(&[SUBQUERY, column])).collect();
        let places = vec![Place { pointer: "", keys }];
        let mut sets = Vec::new();
        if !positive {
            // `NULL NOT IN (...)` is NULL or true by whether there are rows at all.
            let null = self.known.parser.parse_expression("CASE WHEN false THEN __dt_x END")?;
            let null = replace_column(null, "__dt_x", &values[0]);
            sets.push(KeySet { places: places.clone(), watched: vec![watched(vec![null])], null_touches_all: false });
        }
        sets.push(KeySet { places, watched: vec![watched(values)], null_touches_all: !positive });
        Ok(sets)
    }

    /// `SELECT count(*) > 0 FROM (query)`.
    fn exists(&self, query: Value) -> Result<Value> {
        let mut select = tree::empty_select();
        select["select_list"] = json!([named(self.known.parser.parse_expression("count(*) > 0")?, "__dt_exists")]);
        select["from_table"] = tree::derived_table(query, SUBQUERY, &[]);
        Ok(select)
    }

    /// The keys by which rows of `outer` are touched when what a correlated subquery reads has changed.
    pub(super) fn correlated_sets(
        &mut self,
        operator: usize,
        inner: &mut Value,
        outer: &Value,
        linear_outer: bool,
        depth: usize,
    ) -> Result<Vec<KeySet>> {
        if !tree::is(inner, "SELECT_NODE") {
            self.check(operator, inner);
            return Ok(self.all_rows(operator, &leaves_in(inner)));
        }
        self.correlated_clauses(operator, inner);
        let scope = self.scope(inner, depth)?;
        if !self.reasons.is_empty() {
            return Ok(Vec::new());
        }
        self.make_definite(inner, &Calls::is_inexact)?;
        let correlation = self.correlation(inner, outer)?;
        let mut covered = leaves_in(&inner["from_table"]);
        correlation.kept.iter().for_each(|condition| covered.extend(leaves_in(condition)));
        let uncovered: Vec<usize> = leaves_in(inner).into_iter().filter(|leaf| !covered.contains(leaf)).collect();
        let mut sets = Vec::new();
        if !correlation.outer.is_empty() {
            let mut select = input_query(inner, key_items(&correlation.inner));
            select["where_clause"] = tree::conjunction(correlation.kept);
            let watched = self.watch(select, &scope);
            self.operators[operator].rule = Some("recompute the rows with affected keys".to_owned());
            let places = vec![Place { pointer: "", keys: correlation.outer }];
            sets.push(KeySet { places, watched: vec![watched], null_touches_all: false });
        } else if let Some(set) = self.matching_rows(inner, outer, linear_outer && scope.is_linear())? {
            self.operators[operator].rule = Some("recompute the rows that a changed row can match".to_owned());
            sets.push(set);
        } else {
            sets.extend(self.all_rows(operator, &covered));
        }
        if !uncovered.is_empty() {
            sets.extend(self.all_rows(operator, &uncovered));
        }
        Ok(sets)
    }

    /// What of a correlated SELECT's clauses keeps it from having a value of its own for each row.
    fn correlated_clauses(&mut self, operator: usize, inner: &Value) {
        for clause in CLAUSES {
            self.expression(operator, &inner[clause]);
        }
        self.check(operator, inner);
    }

    /// Samples and the like inside a part that is not lowered.
    fn check(&mut self, operator: usize, node: &Value) {
        if !node["sample"].is_null() {
            self.no_rule(operator, "a sample differs from query to query", node);
        }
        if !tree::is(node, "SELECT_NODE") {
            self.expression(operator, node);
        }
    }

    /// Every row is touched by a change of these leaves.
    pub(super) fn all_rows(&mut self, operator: usize, leaves: &[usize]) -> Vec<KeySet> {
        self.operators[operator].rule = Some("recompute every row when what it reads changed".to_owned());
        let watched = leaves.iter().map(|leaf| {
            let mut reference = tree::table_reference(SUBQUERY, &[]);
            mark_leaf(&mut reference, *leaf);
            let mut select = tree::empty_select();
            if self.leaves[*leaf] == Input::Clock {
                // That it moved is all that is asked of a time.
                select["where_clause"] = reference;
            } else {
                select["from_table"] = reference;
            }
            select["select_list"] = Value::from(key_items(&[]));
            select
        });
        let watched: Vec<Value> = watched.collect();
        vec![KeySet::of_all_rows(watched)]
    }

    /// The equalities between the subquery's rows and the row it stands in.
    fn correlation(&self, inner: &Value, outer: &Value) -> Result<Correlation> {
        let mut found = Correlation::default();
        for condition in conjuncts(&inner["where_clause"]) {
            let mut probe = input_query(inner, vec![tree::constant_false()]);
            probe["where_clause"] = condition.clone();
            if self.describe(&probe)?.is_some() {
                found.kept.push(condition.clone());
                continue;
            }
            let equality = matches!(tree::text(condition, "type"), "COMPARE_EQUAL" | "COMPARE_NOT_DISTINCT_FROM");
            if !tree::is(condition, "COMPARISON") || !equality || contains_subquery(condition) {
                continue;
            }
            for (one, other) in [("left", "right"), ("right", "left")] {
                let (one, other) = (&condition[one], &condition[other]);
                // What can be a column of the subquery's own tables is one.
                if !self.is_over_groups(other)
                    && !names_an_item(other, inner)
                    && !self.belongs(other, &inner["from_table"])?
                    && self.are_comparable((one, &inner["from_table"]), (other, &outer["from_table"]))?
                {
                    found.inner.push(one.clone());
                    found.outer.push(other.clone());
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The rows of `outer` for which the subquery's conditions can hold with a changed row, for conditions without an
    /// equality.
    fn matching_rows(&mut self, inner: &Value, outer: &Value, linear: bool) -> Result<Option<KeySet>> {
        let keys = self.columns_of(&outer["from_table"])?;
        let where_clause = &inner["where_clause"];
        if keys.is_empty() || !linear || contains_subquery(where_clause) || names_an_item(where_clause, inner) {
            return Ok(None);
        }
        let mut select = tree::empty_select();
        select["from_table"] = json!({
            "type": "JOIN", "alias": "", "sample": null, "query_location": u64::MAX,
            "left": outer["from_table"], "right": inner["from_table"], "condition": null, "join_type": "INNER",
            "ref_type": "CROSS", "using_columns": [], "delim_flipped": false, "duplicate_eliminated_columns": [],
        });
        select["where_clause"] = inner["where_clause"].clone();
        select["select_list"] = Value::from(key_items(&keys));
        if self.describe(&select)?.is_none() {
            return Ok(None);
        }
        Ok(Some(KeySet { places: vec![Place { pointer: "", keys }], watched: vec![select], null_touches_all: false }))
    }

    /// The rows of the SELECT's own FROM that came or went are touched as well; by the keys of a set that has some. Where every
    /// set touches all rows, there is nothing left to tell.
    fn watch_own_rows(&self, node: &Value, scope: &mut Scope) -> Result<()> {
        let has_keys = |set: &KeySet| set.places.iter().any(|place| !place.keys.is_empty());
        let Some(position) = scope.sets.iter().position(has_keys) else { return Ok(()) };
        let keys = scope.sets[position].places[0].keys.clone();
        let mut select = input_query(node, key_items(&keys));
        let mut conditions = Vec::new();
        for condition in
            conjuncts(&node["where_clause"]).into_iter().filter(|condition| !contains_subquery(condition))
        {
            // An alias of the select list means nothing here.
            select["where_clause"] = condition.clone();
            if self.describe(&select)?.is_some() {
                conditions.push(condition.clone());
            }
        }
        select["where_clause"] = tree::conjunction(conditions);
        let set = &mut scope.sets[position];
        if set.null_touches_all {
            let places = set.places.clone();
            scope.sets.push(KeySet { places, watched: vec![select], null_touches_all: false });
        } else {
            set.watched.insert(0, select);
        }
        Ok(())
    }

    /// Whether an expression has a value for a group or a partition, not for a row of FROM.
    fn is_over_groups(&self, expression: &Value) -> bool {
        calls_aggregate(expression, self.known.parser) || !windows(expression).is_empty()
    }

    fn are_over(&self, keys: &[Value], outer: &Value) -> Result<bool> {
        for key in keys {
            if contains_subquery(key)
                || names_an_item(key, outer)
                || self.is_over_groups(key)
                || !self.belongs(key, &outer["from_table"])?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The leaves in a part of a tree.
pub(super) fn leaves_in(node: &Value) -> Vec<usize> {
    let mut leaves = Vec::new();
    tree::visit(node, &mut |child| leaves.extend(leaf_of(child)));
    leaves
}

pub(super) fn contains_subquery(node: &Value) -> bool {
    let mut found = false;
    tree::visit(node, &mut |child| found = found || tree::is(child, "SUBQUERY"));
    found
}

/// What IN compares: the parts of a row value, or the one expression.
fn compared(child: &Value) -> Vec<Value> {
    if tree::is(child, "FUNCTION") && tree::text(child, "function_name") == "row" {
        return tree::list(child, "children").to_vec();
    }
    vec![child.clone()]
}

fn replace_column(mut expression: Value, name: &str, with: &Value) -> Value {
    tree::visit_mut(&mut expression, &mut |child| {
        if tree::column_reference(child).as_deref() == Some(&[name]) {
            *child = with.clone();
        }
    });
    expression
}

/// Whether a name in an expression is one that an item of the select list was given: it may mean that.
fn names_an_item(expression: &Value, select: &Value) -> bool {
    let mut found = false;
    tree::visit(expression, &mut |child| {
        if let Some([name]) = tree::column_reference(child).as_deref() {
            let is_alias = |item: &Value| tree::text(item, "alias").eq_ignore_ascii_case(name);
            found = found || tree::list(select, "select_list").iter().any(is_alias);
        }
    });
    found
}
