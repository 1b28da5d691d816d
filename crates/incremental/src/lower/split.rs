//! Taking a SELECT apart that does several things at once: GROUP BY below windows, either below DISTINCT ON, and the sets of
//! ROLLUP, CUBE and GROUPING SETS. What comes of it are queries over queries that say the same.

use error::Result;
use serde_json::{Value, json};
use sql::query::Parser;
use sql::tree;

use super::limit::Columns;
use super::{Lowering, drop_order};
use crate::expression::windows;
use crate::rules::aggregate::stands_for;
use crate::rules::keyed::{input_query, named};

/// The name of the part that is computed first.
const INNER: &str = "__dt_s";

/// A query that says the same, or why there is none.
type Split = Result<std::result::Result<Value, String>>;

impl Lowering<'_> {
    /// `SELECT windows FROM (SELECT ... GROUP BY ...)`.
    pub(super) fn aggregate_first(&self, node: &Value) -> Split {
        let items = tree::list(node, "select_list");
        if items.iter().any(|item| tree::is(item, "STAR")) {
            return Ok(Err("* beside GROUP BY and windows does not name its columns".to_owned()));
        }
        let Some(names) = self.describe(node)? else { return Ok(Err("it cannot be bound by itself".to_owned())) };
        let keys = match self.keys(node, tree::list(node, "group_expressions"))? {
            Ok(keys) => keys,
            Err(reason) => return Ok(Err(reason.text)),
        };
        let mut calls = Vec::new();
        for clause in ["select_list", "qualify", "modifiers"] {
            collect_calls(&node[clause], self.known.parser, &mut calls);
        }
        let mut inner = node.clone();
        inner["qualify"] = Value::Null;
        inner["modifiers"] = json!([]);
        if tree::text(node, "aggregate_handling") == "FORCE_AGGREGATES" {
            inner["aggregate_handling"] = Value::from("STANDARD_HANDLING");
            inner["group_sets"] = json!([(0..keys.len()).collect::<Vec<_>>()]);
        }
        inner["group_expressions"] = keys.iter().map(|key| named(key.clone(), "")).collect();
        let computed = keys.iter().enumerate().map(|(number, key)| named(key.clone(), &format!("__dt_g{number}")));
        let aggregated =
            calls.iter().enumerate().map(|(number, call)| named(call.clone(), &format!("__dt_a{number}")));
        inner["select_list"] = computed.chain(aggregated).collect();
        let replaced = |part: &Value| {
            let mut part = part.clone();
            replace(&mut part, &keys, &calls, &node["from_table"]);
            part
        };
        // DISTINCT ON and ORDER BY mean what is shown by a name, before what is read by it.
        let shows = |part: &Value| match tree::column_reference(part).as_deref() {
            Some([name]) => names.iter().any(|(shown, _)| shown.eq_ignore_ascii_case(name)),
            _ => false,
        };
        let replaced_modifiers: Value = tree::list(node, "modifiers")
            .iter()
            .map(|modifier| {
                let mut changed = replaced(modifier);
                for (place, written) in
                    tree::list(modifier, "distinct_on_targets").iter().enumerate().filter(|(_, part)| shows(part))
                {
                    changed["distinct_on_targets"][place] = written.clone();
                }
                for (place, written) in tree::list(modifier, "orders").iter().enumerate() {
                    if shows(&written["expression"]) {
                        changed["orders"][place] = written.clone();
                    }
                }
                changed
            })
            .collect();
        let mut outer = tree::empty_select();
        let shown = items.iter().zip(&names).map(|(item, (name, _))| named(replaced(item), name));
        outer["select_list"] = shown.collect();
        outer["qualify"] = replaced(&node["qualify"]);
        outer["modifiers"] = replaced_modifiers;
        outer["from_table"] = tree::derived_table(inner, INNER, &[]);
        if self.describe(&outer)?.is_none() {
            return Ok(Err(
                "its aggregates cannot be computed apart from its windows: write out its aliases".to_owned()
            ));
        }
        Ok(Ok(outer))
    }

    /// `SELECT DISTINCT ON ... FROM (SELECT windows ...)`.
    pub(super) fn windows_first(&self, node: &Value) -> Split {
        let mut inner = node.clone();
        inner["modifiers"] = json!([]);
        let Some(names) = self.describe(&inner)? else { return Ok(Err("it cannot be bound by itself".to_owned())) };
        let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
        let mut columns = Columns { names: names.clone(), added: 0 };
        let mut modifiers = node["modifiers"].clone();
        for modifier in modifiers.as_array_mut().into_iter().flatten() {
            let lists = [("distinct_on_targets", None), ("orders", Some("expression"))];
            for (list, field) in lists {
                for entry in modifier[list].as_array_mut().into_iter().flatten() {
                    let place = match field {
                        Some(field) => &mut entry[field],
                        None => entry,
                    };
                    match self.as_columns(&mut inner, place, &mut columns)?.as_deref() {
                        Some([column]) => *place = tree::column(&[INNER, column]),
                        _ => return Ok(Err("DISTINCT ON of an expression that no output column holds".to_owned())),
                    }
                }
            }
        }
        let mut outer = tree::empty_select();
        outer["select_list"] = names.iter().map(|name| tree::column(&[INNER, name])).collect();
        outer["from_table"] = tree::derived_table(inner, INNER, &[]);
        outer["modifiers"] = modifiers;
        Ok(Ok(outer))
    }

    /// The union of one GROUP BY for each grouping set.
    pub(super) fn grouping_sets(&self, node: &Value) -> Split {
        let items = tree::list(node, "select_list");
        if items.iter().any(|item| tree::is(item, "STAR")) {
            return Ok(Err("* beside GROUPING SETS does not name its columns".to_owned()));
        }
        let Some(names) = self.describe(node)? else { return Ok(Err("it cannot be bound by itself".to_owned())) };
        let keys = match self.keys(node, tree::list(node, "group_expressions"))? {
            Ok(keys) => keys,
            Err(reason) => return Ok(Err(reason.text)),
        };
        let Some(types) = self.describe(&input_query(node, keys.clone()))? else {
            return Ok(Err("its keys cannot be computed apart from the query: write out its aliases".to_owned()));
        };
        let mut nulls = Vec::new();
        for (_, data_type) in &types {
            nulls.push(self.known.parser.parse_expression(&format!("CAST(NULL AS {data_type})"))?);
        }
        let mut union: Option<Value> = None;
        for set in tree::list(node, "group_sets") {
            let positions: Vec<usize> =
                set.as_array().into_iter().flatten().filter_map(|key| usize::try_from(key.as_u64()?).ok()).collect();
            let mut branch = node.clone();
            drop_order(&mut branch);
            let absent: Vec<(&Value, &Value)> = keys
                .iter()
                .zip(&nulls)
                .enumerate()
                .filter(|(number, (key, _))| {
                    // A key that is written twice is there if it is there once.
                    !positions.contains(number)
                        && !positions.iter().any(|present| tree::same_expression(&keys[*present], key))
                })
                .map(|(_, pair)| pair)
                .collect();
            for clause in ["select_list", "having"] {
                leave_out(&mut branch[clause], &absent, &node["from_table"], self.known.parser)?;
            }
            if let Some(items) = branch["select_list"].as_array_mut() {
                items.iter_mut().zip(&names).for_each(|(item, (name, _))| item["alias"] = Value::from(name.as_str()));
            }
            branch["group_expressions"] = positions.iter().map(|key| named(keys[*key].clone(), "")).collect();
            branch["group_sets"] = json!([(0..positions.len()).collect::<Vec<_>>()]);
            if self.describe(&branch)?.is_none() {
                return Ok(Err("a grouping set cannot be computed apart from the others".to_owned()));
            }
            union = Some(match union {
                None => branch,
                Some(before) => json!({
                    "type": "SET_OPERATION_NODE", "modifiers": [], "cte_map": { "map": [] }, "setop_type": "UNION",
                    "left": before, "right": branch, "setop_all": true, "children": [],
                }),
            });
        }
        Ok(union.ok_or_else(|| "it has no grouping set".to_owned()))
    }
}

/// The calls of aggregates and of grouping(), also those inside windows, each once.
fn collect_calls(node: &Value, parser: &Parser, calls: &mut Vec<Value>) {
    if tree::is(node, "SUBQUERY") {
        return;
    }
    if is_call(node, parser) {
        if !calls.iter().any(|known| tree::same_expression(known, node)) {
            calls.push(node.clone());
        }
        return;
    }
    match node {
        Value::Array(children) => children.iter().for_each(|child| collect_calls(child, parser, calls)),
        Value::Object(fields) => fields.values().for_each(|child| collect_calls(child, parser, calls)),
        _ => {}
    }
}

fn is_call(node: &Value, parser: &Parser) -> bool {
    let aggregate = tree::is(node, "FUNCTION")
        && parser.function(tree::text(node, "function_name")).is_some_and(|known| known.aggregate);
    aggregate || tree::text(node, "type") == "GROUPING_FUNCTION"
}

/// Whether a window is over aggregates.
pub(super) fn windows_aggregates(select: &Value, parser: &Parser) -> bool {
    let mut calls = Vec::new();
    for window in windows(&select["select_list"]).into_iter().chain(windows(&select["qualify"])) {
        collect_calls(window, parser, &mut calls);
    }
    !calls.is_empty()
}

/// Puts the columns of the part that is computed first in the place of keys and calls.
fn replace(node: &mut Value, keys: &[Value], calls: &[Value], from: &Value) {
    // A subquery has names of its own; what it reads of its neighbours does not bind then.
    if tree::is(node, "SUBQUERY") {
        return replace(&mut node["child"], keys, calls, from);
    }
    if node.get("class").is_some() {
        let known = calls
            .iter()
            .position(|call| tree::same_expression(node, call))
            .map(|number| format!("__dt_a{number}"))
            .or_else(|| {
                keys.iter().position(|key| stands_for(node, key, from)).map(|number| format!("__dt_g{number}"))
            });
        if let Some(column) = known {
            *node = named(tree::column(&[INNER, &column]), tree::text(node, "alias"));
            return;
        }
    }
    match node {
        Value::Array(children) => children.iter_mut().for_each(|child| replace(child, keys, calls, from)),
        Value::Object(fields) => fields.values_mut().for_each(|child| replace(child, keys, calls, from)),
        _ => {}
    }
}

/// Puts NULL in the place of keys that a grouping set does not have, and the number in that of grouping().
fn leave_out(node: &mut Value, absent: &[(&Value, &Value)], from: &Value, parser: &Parser) -> Result<()> {
    if tree::is(node, "SUBQUERY") {
        return leave_out(&mut node["child"], absent, from, parser);
    }
    let missing = |expression: &Value| absent.iter().find(|(key, _)| stands_for(expression, key, from));
    if tree::text(node, "type") == "GROUPING_FUNCTION" {
        let bits = tree::list(node, "children")
            .iter()
            .fold(0_u64, |bits, argument| bits * 2 + u64::from(missing(argument).is_some()));
        *node = named(parser.parse_expression(&format!("{bits}::BIGINT"))?, tree::text(node, "alias"));
        return Ok(());
    }
    if is_call(node, parser) {
        return Ok(());
    }
    if node.get("class").is_some()
        && let Some((_, null)) = missing(node)
    {
        *node = named((*null).clone(), tree::text(node, "alias"));
        return Ok(());
    }
    match node {
        Value::Array(children) => children.iter_mut().try_for_each(|child| leave_out(child, absent, from, parser)),
        Value::Object(fields) => fields.values_mut().try_for_each(|child| leave_out(child, absent, from, parser)),
        _ => Ok(()),
    }
}
