//! GROUP BY over a linear query.
//!
//! The groups that a change touches are known by their keys. They are either *recomputed* from the sources (the
//! same query, restricted to those keys) or, where every aggregate can be inverted and the result itself holds
//! what that needs, the change is *folded* into their stored rows (see [`super::fold`]). Without GROUP BY
//! there is one group that always exists.

use error::{Code, Result};
use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use super::fold::Fold;
use super::linear::{self, Term};
use crate::lower::{Lowered, calls_aggregate};
use crate::render::{Reading, Renderer, SourceState};
use crate::resolve::ResolvedSource;
use crate::{Catalog, Reason};

/// Aggregates whose value does not depend on the order in which rows are read, for every type.
const EXACT: [&str; 12] = [
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
];

/// Aggregates whose value does not depend on the order of the rows for exact types.
const EXACT_ON_EXACT_TYPES: [&str; 4] = ["sum", "avg", "mean", "sum_no_overflow"];

/// An aggregate whose input is linear.
#[derive(Debug)]
pub struct Aggregate {
    /// The query, its tables numbered leaves.
    node: Value,
    leaves: Vec<usize>,
    /// The grouping keys as expressions over FROM.
    keys: Vec<Value>,
    key_texts: Vec<String>,
    /// For each key, the output column that holds it; `None` when some key is not in the output.
    pub key_columns: Option<Vec<usize>>,
    /// How the change is folded, or why it cannot be.
    pub fold: std::result::Result<Fold, String>,
}

/// The name of the column that holds a key in the tables of keys.
#[must_use]
pub fn key_column(position: usize) -> String {
    format!("__dt_k{position}")
}

impl Aggregate {
    pub(crate) fn analyse(
        lowered: &Lowered,
        sources: &[ResolvedSource],
        output: &[(String, String)],
        catalog: &dyn Catalog,
        renderer: &Renderer<'_>,
    ) -> Result<std::result::Result<Self, Reason>> {
        let node = &lowered.node;
        let binds = |expression: &Value| -> Result<bool> {
            let probe = input(node, vec![expression.clone()]);
            let sql = renderer.sql(&linear::all(&probe, &lowered.leaves, Reading::New))?;
            Ok(catalog.describe(&sql).is_ok())
        };
        let keys = match keys(node, renderer.parser, &binds)? {
            Ok(keys) => keys,
            Err(reason) => return Ok(Err(reason)),
        };
        let key_columns = key_columns(node, &keys, output);
        let calls = calls(node, renderer.parser);
        let arguments: Vec<Value> = calls.iter().flat_map(|call| tree::list(call, "children")).cloned().collect();
        // An alias of the select list, in WHERE or in another item, means nothing to the input of the aggregate.
        let filters = calls.iter().map(|call| &call["filter"]).filter(|filter| !filter.is_null());
        let unbound = Reason::new("the groups cannot be computed apart from the query: write out its aliases", None);
        let mut probed = arguments.clone();
        probed.extend(keys.iter().chain(filters).map(|expression| named(expression.clone(), "")));
        let argument_types = if probed.is_empty() {
            Vec::new()
        } else {
            let probe = input(node, probed);
            match catalog.describe(&renderer.sql(&linear::all(&probe, &lowered.leaves, Reading::New))?) {
                Ok(types) => types,
                Err(error) if error.code() == Code::Query => return Ok(Err(unbound)),
                Err(error) => return Err(error),
            }
        };
        let type_of = |argument: &Value| -> Option<&str> {
            let position = arguments.iter().position(|known| tree::same_expression(known, argument))?;
            argument_types.get(position).map(|(_, data_type)| data_type.as_str())
        };
        if key_columns.is_none()
            && let Some(call) = calls.iter().find(|call| !is_exact(call, &type_of))
        {
            let name = tree::text(call, "function_name");
            let text = format!(
                "a GROUP BY key is not in the select list, and {name}() can differ in its last digits or its order \
                 between two evaluations, so the rows to replace cannot be found"
            );
            return Ok(Err(Reason::new(text, tree::location(call))));
        }
        let fold = Fold::analyse(node, &keys, key_columns.as_deref(), output, sources, &type_of, renderer.parser);
        let mut key_texts = Vec::new();
        for key in &keys {
            key_texts.push(renderer.parser.expression_to_sql(key)?);
        }
        Ok(Ok(Self { node: node.clone(), leaves: lowered.leaves.clone(), keys, key_texts, key_columns, fold }))
    }

    /// Its name in a tree of operators.
    #[must_use]
    pub fn describe(&self) -> String {
        if self.keys.is_empty() {
            "Aggregate of all rows".to_owned()
        } else {
            format!("Aggregate by {}", self.key_texts.join(", "))
        }
    }

    /// Its rule in a tree of operators.
    #[must_use]
    pub fn rule(&self) -> String {
        match &self.fold {
            Ok(_) => "fold the change into its groups".to_owned(),
            Err(reason) if self.keys.is_empty() => format!("recompute when anything changed; no folding: {reason}"),
            Err(reason) => format!("recompute the affected groups; no folding: {reason}"),
        }
    }

    /// How many grouping keys there are.
    #[must_use]
    pub const fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The terms of the change of the keys: one row per changed row of the input. Without keys, one constant column.
    #[must_use]
    pub fn changed_keys(&self, sources: &[SourceState]) -> Vec<Term> {
        let items =
            if self.keys.is_empty() { vec![named(tree::constant_false(), &key_column(0))] } else { self.key_items() };
        linear::change(&input(&self.node, items), &self.leaves, sources)
    }

    /// The terms of the change of what [`Fold`] needs: keys, arguments and filters.
    #[must_use]
    pub fn changed_input(&self, fold: &Fold, sources: &[SourceState]) -> Vec<Term> {
        let mut items = self.key_items();
        items.extend(fold.input_items());
        if items.is_empty() {
            items.push(named(tree::constant_false(), &key_column(0)));
        }
        linear::change(&input(&self.node, items), &self.leaves, sources)
    }

    /// The query restricted to the groups whose keys stand in the temporary table `affected`. With `with_null` the
    /// comparison also finds keys that are NULL, which a plain IN does not.
    ///
    /// # Errors
    /// `INTERNAL` when the restriction does not parse.
    pub fn restricted(&self, reading: Reading, affected: &str, with_null: bool, parser: &Parser) -> Result<Value> {
        let mut node = linear::all(&self.node, &self.leaves, reading);
        if self.keys.is_empty() {
            return Ok(node);
        }
        let columns: Vec<String> = (0..self.keys.len()).map(key_column).collect();
        let places: Vec<String> = (0..self.keys.len()).map(|key| format!("__dt_place{key}")).collect();
        let condition = if with_null {
            let equal = |(column, place): (&String, &String)| format!("__dt_a.{column} IS NOT DISTINCT FROM {place}");
            let equal: Vec<String> = columns.iter().zip(&places).map(equal).collect();
            format!("EXISTS (SELECT 1 FROM temp.main.{affected} AS __dt_a WHERE {})", equal.join(" AND "))
        } else {
            format!("({}) IN (SELECT {} FROM temp.main.{affected})", places.join(", "), columns.join(", "))
        };
        let mut condition = parser.parse_expression(&condition)?;
        let keys: Vec<Value> = self.keys.iter().map(|key| linear::all(key, &self.leaves, reading)).collect();
        tree::visit_mut(&mut condition, &mut |child| {
            let position = match tree::column_reference(child).as_deref() {
                Some([name]) => places.iter().position(|place| place == name),
                _ => None,
            };
            if let Some(position) = position {
                *child = named(keys[position].clone(), "");
            }
        });
        node["where_clause"] = tree::conjunction(vec![node["where_clause"].take(), condition]);
        Ok(node)
    }

    fn key_items(&self) -> Vec<Value> {
        self.keys.iter().enumerate().map(|(position, key)| named(key.clone(), &key_column(position))).collect()
    }
}

/// The input of the aggregate: the same FROM and WHERE with other items.
fn input(node: &Value, items: Vec<Value>) -> Value {
    let mut select = tree::empty_select();
    select["cte_map"] = node["cte_map"].clone();
    select["from_table"] = node["from_table"].clone();
    select["where_clause"] = node["where_clause"].clone();
    select["select_list"] = Value::from(items);
    select
}

pub(super) fn named(mut expression: Value, alias: &str) -> Value {
    expression["alias"] = Value::from(alias);
    expression
}

/// The grouping keys as expressions over FROM: positions and aliases are replaced by what they stand for.
fn keys(
    node: &Value,
    parser: &Parser,
    binds: &dyn Fn(&Value) -> Result<bool>,
) -> Result<std::result::Result<Vec<Value>, Reason>> {
    let items = tree::list(node, "select_list");
    let is_star = |item: &Value| tree::is(item, "STAR");
    let written = tree::list(node, "group_expressions");
    if written.is_empty() && tree::text(node, "aggregate_handling") == "FORCE_AGGREGATES" {
        if let Some(star) = items.iter().find(|item| is_star(item)) {
            return Ok(Err(Reason::new("GROUP BY ALL over * does not name its keys", tree::location(star))));
        }
        return Ok(Ok(items.iter().filter(|item| !calls_aggregate(item, parser)).cloned().collect()));
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

fn position(key: &Value) -> Option<usize> {
    if !tree::is(key, "CONSTANT") || tree::text(&key["value"]["type"], "id") != "INTEGER" {
        return None;
    }
    key["value"]["value"].as_u64().and_then(|position| usize::try_from(position).ok())
}

/// For each key, the output column that holds it.
fn key_columns(node: &Value, keys: &[Value], output: &[(String, String)]) -> Option<Vec<usize>> {
    let items = tree::list(node, "select_list");
    if items.len() != output.len() || items.iter().any(|item| tree::is(item, "STAR")) {
        return None;
    }
    keys.iter().map(|key| items.iter().position(|item| stands_for(item, key, &node["from_table"]))).collect()
}

/// Whether the item is the key. `o.region` is `region` if `o` is a table in FROM and not a struct: DuckDB would not have
/// bound the query otherwise.
pub(super) fn stands_for(item: &Value, key: &Value, from: &Value) -> bool {
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

/// Every call of an aggregate in the select list and HAVING.
fn calls<'node>(node: &'node Value, parser: &Parser) -> Vec<&'node Value> {
    let mut calls = Vec::new();
    for clause in ["select_list", "having"] {
        tree::visit(&node[clause], &mut |child| {
            let aggregate = tree::is(child, "FUNCTION")
                && parser.function(tree::text(child, "function_name")).is_some_and(|known| known.aggregate);
            if aggregate {
                calls.push(child);
            }
        });
    }
    calls
}

fn is_exact<'types>(call: &Value, type_of: &dyn Fn(&Value) -> Option<&'types str>) -> bool {
    let name = tree::text(call, "function_name").to_lowercase();
    if EXACT.contains(&name.as_str()) {
        return true;
    }
    let arguments = tree::list(call, "children");
    EXACT_ON_EXACT_TYPES.contains(&name.as_str())
        && arguments.iter().all(|argument| type_of(argument).is_some_and(is_exact_type))
}

/// Whether sums of this type are the same in whatever order they are taken. Those of UHUGEINT are taken as DOUBLE.
pub(super) fn is_exact_type(data_type: &str) -> bool {
    const INTEGERS: [&str; 9] =
        ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"];
    INTEGERS.contains(&data_type) || data_type.starts_with("DECIMAL(")
}
