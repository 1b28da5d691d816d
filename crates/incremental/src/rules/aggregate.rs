//! GROUP BY over a linear query.
//!
//! The groups that a change touches are known by their keys. They are either computed again (see [`super::keyed`]) or, where
//! every aggregate can be inverted and the result itself holds what that needs, the change is folded into their stored
//! rows (see [`super::fold`]). Without GROUP BY there is one group that always exists.

use error::Result;
use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use crate::Reason;
use crate::expression::{calls_aggregate, windows};

/// Aggregates whose value does not depend on the order in which rows are read, for every type.
const EXACT: [&str; 16] = [
    "count",
    "count_star",
    "count_if",
    "countif",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "approx_count_distinct",
    "median",
    "quantile",
    "quantile_cont",
    "quantile_disc",
];

/// Aggregates whose value does not depend on the order of the rows for exact types.
const EXACT_ON_EXACT_TYPES: [&str; 4] = ["sum", "avg", "mean", "sum_no_overflow"];

/// Aggregates that pick one of several rows by their order, or whose value shows the order.
const BY_ORDER: [&str; 22] = [
    "any_value",
    "approx_quantile",
    "approx_top_k",
    "arbitrary",
    "arg_max",
    "arg_max_null",
    "arg_max_nulls_last",
    "arg_min",
    "arg_min_null",
    "arg_min_nulls_last",
    "argmax",
    "argmin",
    "array_agg",
    "first",
    "group_concat",
    "last",
    "list",
    "listagg",
    "max_by",
    "min_by",
    "mode",
    "string_agg",
];

/// What an aggregate calls.
#[derive(Debug)]
pub struct Calls {
    calls: Vec<Value>,
    /// The arguments of the calls, each as often as it stands there.
    pub arguments: Vec<Value>,
    /// Their types, once they are known.
    pub types: Vec<String>,
}

impl Calls {
    /// Every call of an aggregate in the select list and HAVING of a SELECT.
    pub fn of(node: &Value, parser: &Parser) -> Self {
        let mut calls = Vec::new();
        for clause in ["select_list", "having"] {
            collect(&node[clause], parser, &mut calls);
        }
        let arguments = calls.iter().flat_map(|call| tree::list(call, "children")).cloned().collect();
        Self { calls, arguments, types: Vec::new() }
    }

    /// The filters of the calls.
    pub fn filters(&self) -> impl Iterator<Item = &Value> {
        self.calls.iter().map(|call| &call["filter"]).filter(|filter| !filter.is_null())
    }

    /// The type of an argument.
    pub fn type_of(&self, argument: &Value) -> Option<&str> {
        let position = self.arguments.iter().position(|known| tree::same_expression(known, argument))?;
        self.types.get(position).map(String::as_str)
    }

    /// Why two evaluations over the same rows can differ, if they can.
    pub fn inexact(&self) -> Option<Reason> {
        let call = self.calls.iter().find(|call| !self.is_exact(call))?;
        let name = tree::text(call, "function_name");
        let text = format!("{name}() can differ in its last digits or its order between two evaluations");
        Some(Reason::new(text, tree::location(call)))
    }

    /// Why no order of the rows makes the value the same at every evaluation, if none does.
    pub fn indefinite(&self) -> Option<Reason> {
        let sampled = |call: &&Value| tree::text(call, "function_name").eq_ignore_ascii_case("reservoir_quantile");
        let call = self.calls.iter().find(sampled)?;
        Some(Reason::new("reservoir_quantile() takes a sample of the rows", tree::location(call)))
    }

    /// Whether the value of a call can depend on the order in which rows are read.
    pub fn is_inexact(&self, call: &Value) -> bool {
        !self.is_exact(call)
    }

    /// Whether a call gives another value, and not only other last digits, when rows are read in another order.
    pub fn picks_by_order(&self, call: &Value) -> bool {
        BY_ORDER.contains(&tree::text(call, "function_name").to_lowercase().as_str())
    }

    /// Whether the value of a call does not depend on the order in which rows are read.
    pub fn is_exact(&self, call: &Value) -> bool {
        let name = tree::text(call, "function_name").to_lowercase();
        if EXACT.contains(&name.as_str()) {
            return true;
        }
        let arguments = tree::list(call, "children");
        EXACT_ON_EXACT_TYPES.contains(&name.as_str())
            && arguments.iter().all(|argument| self.type_of(argument).is_some_and(is_exact_type))
    }
}

/// The calls of aggregates in an expression, outside subqueries.
fn collect(expression: &Value, parser: &Parser, calls: &mut Vec<Value>) {
    if tree::is(expression, "SUBQUERY") {
        return;
    }
    let aggregate = tree::is(expression, "FUNCTION")
        && parser.function(tree::text(expression, "function_name")).is_some_and(|known| known.aggregate);
    if aggregate {
        calls.push(expression.clone());
    }
    match expression {
        Value::Array(children) => children.iter().for_each(|child| collect(child, parser, calls)),
        Value::Object(fields) => fields.values().for_each(|child| collect(child, parser, calls)),
        _ => {}
    }
}

/// The grouping keys as expressions over FROM: positions and aliases are replaced by what they stand for.
pub fn keys(
    node: &Value,
    written: &[Value],
    parser: &Parser,
    binds: &dyn Fn(&Value) -> Result<bool>,
) -> Result<std::result::Result<Vec<Value>, Reason>> {
    let items = tree::list(node, "select_list");
    let is_star = |item: &Value| tree::is(item, "STAR");
    if written.is_empty() && tree::text(node, "aggregate_handling") == "FORCE_AGGREGATES" {
        if let Some(star) = items.iter().find(|item| is_star(item)) {
            return Ok(Err(Reason::new("GROUP BY ALL over * does not name its keys", tree::location(star))));
        }
        let is_key = |item: &&Value| !calls_aggregate(item, parser) && windows(item).is_empty();
        let mut keys: Vec<Value> = items.iter().filter(is_key).cloned().collect();
        let having = Having { node, parser, binds };
        return Ok(having.add_keys(&node["having"], Names::Shown, &mut keys)?.map(|()| keys));
    }
    let mut keys = Vec::new();
    for key in written {
        let item = if let Some(position) = position(key) {
            if items.iter().any(is_star) {
                return Ok(Err(Reason::new("GROUP BY a position of * does not name its key", tree::location(key))));
            }
            position.checked_sub(1).and_then(|index| items.get(index)).cloned()
        } else if let Some([name]) = tree::column_reference(key).as_deref()
            && let Some(item) = items.iter().find(|item| tree::text(item, "alias").eq_ignore_ascii_case(name))
            && !binds(key)?
        {
            Some(item.clone())
        } else {
            None
        };
        keys.push(item.unwrap_or_else(|| key.clone()));
    }
    Ok(Ok(keys))
}

/// The condition on groups beside GROUP BY ALL. DuckDB groups by each column in it, too, that stands in no aggregate:
/// `SELECT id % 3, count(*) ... GROUP BY ALL HAVING id % 3 = 2` has a group for each `id`. A name means what is shown by it
/// before a column.
struct Having<'a> {
    node: &'a Value,
    parser: &'a Parser,
    binds: &'a dyn Fn(&Value) -> Result<bool>,
}

/// What a name without a table may mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// What the select list shows by it, or else a column.
    Shown,
    /// A column.
    Columns,
}

impl Having<'_> {
    fn add_keys(
        &self,
        expression: &Value,
        names: Names,
        keys: &mut Vec<Value>,
    ) -> Result<std::result::Result<(), Reason>> {
        let not_named = || {
            let text = "GROUP BY ALL with this HAVING does not name its keys";
            Ok(Err(Reason::new(text, tree::location(expression))))
        };
        if tree::is(expression, "SUBQUERY") || tree::is(expression, "LAMBDA") {
            return not_named();
        }
        if tree::is(expression, "FUNCTION")
            && self.parser.function(tree::text(expression, "function_name")).is_some_and(|known| known.aggregate)
        {
            return Ok(Ok(()));
        }
        let from = &self.node["from_table"];
        if let Some(parts) = tree::column_reference(expression) {
            if let [name] = parts.as_slice()
                && names == Names::Shown
                && let Some(item) = self.shown_as(name)
            {
                let mut item = item.clone();
                item["alias"] = Value::from("");
                return self.add_keys(&item, Names::Columns, keys);
            }
            let is_column = match parts.as_slice() {
                [_] => (self.binds)(expression)?,
                [table, _] => is_in_from(table, from),
                _ => false,
            };
            if !is_column {
                return not_named();
            }
            if !keys.iter().any(|key| stands_for(key, expression, from)) {
                keys.push(expression.clone());
            }
            return Ok(Ok(()));
        }
        let children: Vec<&Value> = match expression {
            Value::Array(children) => children.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            _ => Vec::new(),
        };
        for child in children {
            if let Err(reason) = self.add_keys(child, names, keys)? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }

    fn shown_as(&self, name: &str) -> Option<&Value> {
        let items = tree::list(self.node, "select_list");
        items.iter().find(|item| tree::text(item, "alias").eq_ignore_ascii_case(name))
    }
}

fn position(key: &Value) -> Option<usize> {
    if !tree::is(key, "CONSTANT") || tree::text(&key["value"]["type"], "id") != "INTEGER" {
        return None;
    }
    key["value"]["value"].as_u64().and_then(|position| usize::try_from(position).ok())
}

/// For each key, the output column that holds it.
pub fn key_columns(node: &Value, keys: &[Value], output: &[(String, String)]) -> Option<Vec<usize>> {
    if tree::is(node, "SET_OPERATION_NODE") {
        return Some((0..output.len()).collect());
    }
    let items = tree::list(node, "select_list");
    if items.iter().any(|item| tree::is(item, "STAR")) {
        return keys.iter().map(|key| column_of_star(node, key, output)).collect();
    }
    if items.len() != output.len() {
        return None;
    }
    keys.iter().map(|key| items.iter().position(|item| stands_for(item, key, &node["from_table"]))).collect()
}

/// The output column that holds a key which is a plain column, where the select list has stars: that of its name, if no
/// item but a star can have given it and no other table's column can have its name.
fn column_of_star(node: &Value, key: &Value, output: &[(String, String)]) -> Option<usize> {
    let parts = tree::column_reference(key)?;
    let one_table = tree::is(&node["from_table"], "BASE_TABLE");
    if parts.len() > 1 && !(one_table && parts.len() == 2) {
        return None;
    }
    let name = parts.last()?;
    for item in tree::list(node, "select_list") {
        let is_star = tree::is(item, "STAR");
        let plain_star = is_star
            && item["columns"].as_bool() != Some(true)
            && item["expr"].is_null()
            && ["replace_list", "rename_list"].iter().all(|list| tree::list(item, list).is_empty());
        let item_name = match tree::text(item, "alias") {
            "" => tree::column_reference(item).and_then(|parts| parts.last().copied()).unwrap_or(""),
            alias => alias,
        };
        if (is_star && !plain_star) || (!is_star && item_name.eq_ignore_ascii_case(name)) {
            return None;
        }
    }
    output.iter().position(|(column, _)| column.eq_ignore_ascii_case(name))
}

/// Whether the item is the key. `o.region` is `region` if `o` is a table in FROM and not a struct: DuckDB would not have
/// bound the query otherwise.
pub fn stands_for(item: &Value, key: &Value, from: &Value) -> bool {
    if tree::same_expression(item, key) {
        return true;
    }
    let (Some(left), Some(right)) = (tree::column_reference(item), tree::column_reference(key)) else { return false };
    let shorter = left.len().min(right.len());
    let tail = |parts: &[&str]| -> Vec<String> {
        parts[parts.len() - shorter..].iter().map(|part| part.to_lowercase()).collect()
    };
    let longer = if left.len() > right.len() { &left } else { &right };
    let qualifier = longer[..longer.len() - shorter].last();
    qualifier.is_some_and(|qualifier| is_in_from(qualifier, from)) && tail(&left) == tail(&right)
}

/// Whether a table in FROM goes by this name.
fn is_in_from(name: &str, from: &Value) -> bool {
    if tree::is(from, "JOIN") {
        return is_in_from(name, &from["left"]) || is_in_from(name, &from["right"]);
    }
    tree::text(from, "alias").eq_ignore_ascii_case(name)
}

/// Whether sums of this type are the same in whatever order they are taken. Those of UHUGEINT are taken as DOUBLE.
pub fn is_exact_type(data_type: &str) -> bool {
    const INTEGERS: [&str; 9] =
        ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"];
    INTEGERS.contains(&data_type) || data_type.starts_with("DECIMAL(")
}
