//! Filters, projections, UNNEST, UNION ALL and inner joins: operators that distribute over the sum of multisets.
//!
//! The change of such a query is the sum of one term per leaf whose source changed: the query with that leaf
//! replaced by its change, the leaves before it read as they were and those after it as they are
//! (`delta(a) x new(b) + old(a) x delta(b)`, for any number of factors). Rows that came and rows that went are two
//! terms, so that no weight has to travel through the query and `SELECT *` or NATURAL JOIN stay what they are.

use serde_json::Value;
use sql::tree;

use crate::clock::between_times;
use crate::inline::leaf_of;
use crate::render::{Input, Inputs, Reading, mark};

/// A part of a change: the rows of a query, all of which came or all of which went.
#[derive(Clone, Debug)]
pub struct Term {
    /// `true` when the rows came, `false` when they went.
    pub came: bool,
    /// The query that gives them, its leaves marked with their readings.
    pub node: Value,
}

/// The terms of the change of a linear query.
#[must_use]
pub fn change(node: &Value, leaves: &[Input], changed: &Inputs<'_>) -> Vec<Term> {
    let mut terms = Vec::new();
    for (leaf, input) in leaves.iter().enumerate() {
        for reading in [Reading::Came, Reading::Went] {
            if changed.temporary(*input, reading).is_none() {
                continue;
            }
            let mut term = node.clone();
            if keep_branch(&mut term, leaf) {
                if *input == Input::Clock {
                    only_by_time(&mut term, leaf, reading);
                }
                read(&mut term, leaves, |number| match number.cmp(&leaf) {
                    std::cmp::Ordering::Less => Reading::Old,
                    std::cmp::Ordering::Equal => reading,
                    std::cmp::Ordering::Greater => Reading::New,
                });
                terms.push(Term { came: reading == Reading::Came, node: term });
            }
        }
    }
    terms
}

/// Leaves of the SELECT whose WHERE holds this time only the rows for which the condition holds at one time alone.
fn only_by_time(node: &mut Value, leaf: usize, reading: Reading) {
    let other = if reading == Reading::Came { Reading::Went } else { Reading::Came };
    tree::visit_mut(node, &mut |child| {
        if !tree::is(child, "SELECT_NODE") || !contains_outside_selects(&child["where_clause"], leaf) {
            return;
        }
        let at = |reading: Reading| {
            let mut condition = child["where_clause"].clone();
            tree::visit_mut(&mut condition, &mut |time| {
                if leaf_of(time) == Some(leaf) {
                    mark(time, reading, Input::Clock);
                }
            });
            condition
        };
        child["where_clause"] = between_times(at(reading), at(other));
    });
}

fn contains_outside_selects(node: &Value, leaf: usize) -> bool {
    match node {
        _ if tree::is(node, "SELECT_NODE") => false,
        _ if leaf_of(node) == Some(leaf) => true,
        Value::Array(children) => children.iter().any(|child| contains_outside_selects(child, leaf)),
        Value::Object(fields) => fields.values().any(|child| contains_outside_selects(child, leaf)),
        _ => false,
    }
}

/// The query with every leaf read in one way.
#[must_use]
pub fn all(node: &Value, leaves: &[Input], reading: Reading) -> Value {
    let mut node = node.clone();
    read(&mut node, leaves, |_| reading);
    node
}

fn read(node: &mut Value, leaves: &[Input], reading: impl Fn(usize) -> Reading) {
    tree::visit_mut(node, &mut |child| {
        if let Some(leaf) = leaf_of(child) {
            mark(child, reading(leaf), leaves[leaf]);
        }
    });
}

/// Empties the branches of UNION ALL that do not hold the leaf on the way to it; `false` if the leaf is not here.
///
/// An emptied branch stays in the tree, because the types and names of the result are those of all branches.
fn keep_branch(node: &mut Value, leaf: usize) -> bool {
    if leaf_of(node) == Some(leaf) {
        return true;
    }
    if tree::is(node, "SET_OPERATION_NODE") {
        let mut found = false;
        let Some(fields) = node.as_object_mut() else { return false };
        let mut branches: Vec<&mut Value> = Vec::new();
        for (name, field) in fields.iter_mut() {
            match (name.as_str(), field) {
                ("left" | "right", branch) => branches.push(branch),
                ("children", Value::Array(children)) => branches.extend(children),
                _ => {}
            }
        }
        for branch in branches.into_iter().filter(|branch| !branch.is_null()) {
            if keep_branch(branch, leaf) {
                found = true;
            } else {
                let mut empty = tree::select_star(tree::derived_table(branch.take(), "emptied", &[]));
                empty["where_clause"] = tree::constant_false();
                *branch = empty;
            }
        }
        return found;
    }
    match node {
        Value::Array(children) => {
            let mut found = false;
            for child in children {
                found |= contains(child, leaf) && keep_branch(child, leaf);
            }
            found
        }
        Value::Object(fields) => {
            let mut found = false;
            for child in fields.values_mut() {
                found |= contains(child, leaf) && keep_branch(child, leaf);
            }
            found
        }
        _ => false,
    }
}

fn contains(node: &Value, leaf: usize) -> bool {
    let mut found = false;
    tree::visit(node, &mut |child| found = found || leaf_of(child) == Some(leaf));
    found
}
