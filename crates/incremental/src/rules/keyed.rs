//! Operators whose result falls apart into groups by the values of some keys: aggregates, windows, DISTINCT, EXCEPT and
//! INTERSECT.
//!
//! A change of the input touches the groups whose keys stand in it, on either side. Those groups are computed again, by
//! the same query restricted to their keys, and compared with what they were. The restriction is a condition on
//! the input, below the operator.

use error::Result;
use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use super::fold::Fold;
use super::linear::{self, Term};
use crate::render::{Input, Inputs, Reading};

/// One input of a keyed operator.
#[derive(Clone, Debug)]
pub struct KeyedInput {
    /// Where in the operator's tree its SELECT is, as a JSON pointer; the condition on the keys goes there.
    pub pointer: &'static str,
    /// The keys as expressions over the SELECT's FROM.
    pub keys: Vec<Value>,
}

/// An operator that is maintained by affected keys.
#[derive(Debug)]
pub struct Keyed {
    node: Value,
    leaves: Vec<Input>,
    inputs: Vec<KeyedInput>,
    /// For each key, the output column that holds it; `None` when some key is not in the output.
    pub key_columns: Option<Vec<usize>>,
    /// No two rows of the result are equal.
    pub unique: bool,
    /// How the change is folded into the stored rows, or why it cannot be.
    pub fold: std::result::Result<Fold, String>,
}

/// The name of the column that holds a key in the tables of keys.
#[must_use]
pub fn key_column(position: usize) -> String {
    format!("__dt_k{position}")
}

impl Keyed {
    pub(crate) fn new(
        node: Value,
        leaves: Vec<Input>,
        inputs: Vec<KeyedInput>,
        key_columns: Option<Vec<usize>>,
        unique: bool,
        fold: std::result::Result<Fold, String>,
    ) -> Self {
        Self { node, leaves, inputs, key_columns, unique, fold }
    }

    pub(crate) fn query(&self) -> (&Value, &[Input]) {
        (&self.node, &self.leaves)
    }

    /// How many keys there are; without keys there is one group.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.inputs.first().map_or(0, |input| input.keys.len())
    }

    /// The terms of the change of the keys: one row per changed row of the input. Without keys, one constant column.
    #[must_use]
    pub fn changed_keys(&self, changed: &Inputs<'_>) -> Vec<Term> {
        let mut terms = Vec::new();
        for input in &self.inputs {
            let items = if input.keys.is_empty() {
                vec![named(tree::constant_false(), &key_column(0))]
            } else {
                key_items(&input.keys)
            };
            terms.extend(linear::change(&input_query(self.at(input), items), &self.leaves, changed));
        }
        terms
    }

    /// The terms of the change of what [`Fold`] needs: keys, arguments and filters.
    #[must_use]
    pub fn changed_input(&self, fold: &Fold, changed: &Inputs<'_>) -> Vec<Term> {
        let mut items = self.inputs.first().map_or_else(Vec::new, |input| key_items(&input.keys));
        items.extend(fold.input_items());
        if items.is_empty() {
            items.push(named(tree::constant_false(), &key_column(0)));
        }
        linear::change(&input_query(&self.node, items), &self.leaves, changed)
    }

    /// The query restricted to the groups whose keys stand in the temporary table `affected`. With `with_null` the
    /// comparison also finds keys that are NULL, which a plain IN does not.
    ///
    /// # Errors
    /// `INTERNAL` when the restriction does not parse.
    pub fn restricted(&self, reading: Reading, affected: &str, with_null: bool, parser: &Parser) -> Result<Value> {
        let mut node = linear::all(&self.node, &self.leaves, reading);
        for input in self.inputs.iter().filter(|input| !input.keys.is_empty()) {
            let keys: Vec<Value> = input.keys.iter().map(|key| linear::all(key, &self.leaves, reading)).collect();
            let condition = condition(&keys, affected, with_null, parser)?;
            if let Some(select) = node.pointer_mut(input.pointer) {
                select["where_clause"] = tree::conjunction(vec![select["where_clause"].take(), condition]);
            }
        }
        Ok(node)
    }

    fn at(&self, input: &KeyedInput) -> &Value {
        self.node.pointer(input.pointer).unwrap_or(&Value::Null)
    }
}

fn key_items(keys: &[Value]) -> Vec<Value> {
    keys.iter().enumerate().map(|(position, key)| named(key.clone(), &key_column(position))).collect()
}

/// The input of an operator: the same FROM and WHERE with other items.
pub(crate) fn input_query(node: &Value, items: Vec<Value>) -> Value {
    let mut select = tree::empty_select();
    select["cte_map"] = node["cte_map"].clone();
    select["from_table"] = node["from_table"].clone();
    select["where_clause"] = node["where_clause"].clone();
    select["select_list"] = Value::from(items);
    select
}

pub(crate) fn named(mut expression: Value, alias: &str) -> Value {
    expression["alias"] = Value::from(alias);
    expression
}

/// The condition that the keys stand in a table of keys.
fn condition(keys: &[Value], affected: &str, with_null: bool, parser: &Parser) -> Result<Value> {
    let columns: Vec<String> = (0..keys.len()).map(key_column).collect();
    let places: Vec<String> = (0..keys.len()).map(|key| format!("__dt_place{key}")).collect();
    let condition = if with_null {
        let equal = |(column, place): (&String, &String)| format!("__dt_a.{column} IS NOT DISTINCT FROM {place}");
        let equal: Vec<String> = columns.iter().zip(&places).map(equal).collect();
        format!("EXISTS (SELECT 1 FROM temp.main.{affected} AS __dt_a WHERE {})", equal.join(" AND "))
    } else {
        format!("({}) IN (SELECT {} FROM temp.main.{affected})", places.join(", "), columns.join(", "))
    };
    let mut condition = parser.parse_expression(&condition)?;
    tree::visit_mut(&mut condition, &mut |child| {
        let position = match tree::column_reference(child).as_deref() {
            Some([name]) => places.iter().position(|place| place == name),
            _ => None,
        };
        if let Some(position) = position {
            *child = named(keys[position].clone(), "");
        }
    });
    Ok(condition)
}
