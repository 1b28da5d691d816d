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
use super::state::StateFold;
use super::top::Top;
use crate::render::{Input, Inputs, Reading};

/// Where a condition on keys goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// The SELECT in the operator's tree, as a JSON pointer.
    pub pointer: &'static str,
    /// The keys as expressions over that SELECT's FROM.
    pub keys: Vec<Value>,
}

/// Keys by which rows of the result are told to be touched by a change. An operator with several sets is touched where
/// the keys of any of them are.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// Where the operator is restricted to them.
    pub places: Vec<Place>,
    /// The queries, linear in their leaves, in whose change the touched keys stand.
    pub watched: Vec<Value>,
    /// A touched key that is NULL touches every row, as it does in `x NOT IN (...)`.
    pub null_touches_all: bool,
}

impl KeySet {
    /// Keys over the FROM of one SELECT, touched where its rows change. Without keys there is one group.
    pub(crate) fn of(node: &Value, pointer: &'static str, keys: Vec<Value>) -> Self {
        let watched = vec![input_query(node.pointer(pointer).unwrap_or(&Value::Null), key_items(&keys))];
        Self { places: vec![Place { pointer, keys }], watched, null_touches_all: false }
    }

    /// All rows, touched by any change of what is watched.
    pub(crate) fn of_all_rows(watched: Vec<Value>) -> Self {
        Self { places: vec![Place { pointer: "", keys: Vec::new() }], watched, null_touches_all: false }
    }

    fn key_count(&self) -> usize {
        self.places.first().map_or(0, |place| place.keys.len())
    }
}

/// A condition that keys stand in a temporary table.
#[derive(Clone, Debug)]
pub struct Restriction {
    /// Which set of keys.
    pub set: usize,
    /// The temporary table.
    pub table: String,
    /// The comparison also finds keys that are NULL, which a plain IN does not.
    pub with_null: bool,
}

/// Which changes an operator, or its input, is linear in.
#[derive(Clone, Debug, Default)]
pub struct Linearity {
    /// The leaves in whose change the input is not linear: the optional sides of outer joins, subqueries of expressions.
    pub breakers: Vec<usize>,
    /// The operator is a filter or projection, as linear as its input.
    pub row_wise: bool,
}

/// An operator that is maintained by affected keys.
#[derive(Debug)]
pub struct Keyed {
    node: Value,
    leaves: Vec<Input>,
    sets: Vec<KeySet>,
    linearity: Linearity,
    /// For each key, the output column that holds it; `None` when some key is not in the output.
    pub key_columns: Option<Vec<usize>>,
    /// No two rows of the result are equal.
    pub unique: bool,
    /// How the change is folded into the stored rows, or why it cannot be.
    pub fold: std::result::Result<Fold, String>,
    /// How the first rows of an order are kept without reading the others, where the operator is that.
    pub top: Option<Top>,
    /// What a table beside the result would have to hold to fold the change, where the result itself does not.
    pub state: Option<StateFold>,
}

/// The name of the column that holds a key in the tables of keys.
#[must_use]
pub fn key_column(position: usize) -> String {
    format!("__dt_k{position}")
}

impl Keyed {
    /// An operator below others.
    pub(crate) fn below(
        node: Value,
        leaves: Vec<Input>,
        sets: Vec<KeySet>,
        linearity: Linearity,
        unique: bool,
    ) -> Self {
        let fold = Err("below other operators".to_owned());
        Self { node, leaves, sets, linearity, key_columns: None, unique, fold, state: None, top: None }
    }

    /// The same operator as the root of a query.
    pub(crate) fn at_root(
        self,
        key_columns: Option<Vec<usize>>,
        fold: std::result::Result<Fold, String>,
        state: Option<StateFold>,
        top: Option<Top>,
    ) -> Self {
        // Without its keys in the output nothing says which of the stored rows are a group's.
        let unique = self.unique && key_columns.is_some();
        Self { key_columns, unique, fold, state, top, ..self }
    }

    pub(crate) fn query(&self) -> (&Value, &[Input]) {
        (&self.node, &self.leaves)
    }

    /// How many keys each set has. A set without keys has one group.
    #[must_use]
    pub fn key_counts(&self) -> Vec<usize> {
        self.sets.iter().map(KeySet::key_count).collect()
    }

    /// Whether a NULL among the touched keys of a set touches every row.
    #[must_use]
    pub fn null_touches_all(&self, set: usize) -> bool {
        self.sets.get(set).is_some_and(|set| set.null_touches_all)
    }

    /// Whether the operator's input is linear in what has changed, so that its change can be folded.
    #[must_use]
    pub fn has_linear_input(&self, changed: &Inputs<'_>) -> bool {
        let is_changed = |leaf: &usize| {
            [Reading::Came, Reading::Went]
                .into_iter()
                .any(|reading| changed.temporary(self.leaves[*leaf], reading).is_some())
        };
        !self.linearity.breakers.iter().any(is_changed)
    }

    /// The terms of the change, where the operator is linear in what has changed.
    #[must_use]
    pub fn linear_change(&self, changed: &Inputs<'_>) -> Option<Vec<Term>> {
        (self.linearity.row_wise && self.has_linear_input(changed))
            .then(|| linear::change(&self.node, &self.leaves, changed))
    }

    /// The terms of the change of what the first rows of an order are taken from.
    #[must_use]
    pub fn input_change(&self, top: &Top, changed: &Inputs<'_>) -> Vec<Term> {
        linear::change(&top.input, &self.leaves, changed)
    }

    /// The terms of the change of a set's keys: one row per changed row. Without keys, one constant column.
    #[must_use]
    pub fn changed_keys(&self, set: usize, changed: &Inputs<'_>) -> Vec<Term> {
        let watched = self.sets.get(set).map_or(&[][..], |set| &set.watched);
        watched.iter().flat_map(|query| linear::change(query, &self.leaves, changed)).collect()
    }

    /// The terms of the change of what [`Fold`] needs: keys, arguments and filters.
    #[must_use]
    pub fn changed_input(&self, fold: &Fold, changed: &Inputs<'_>) -> Vec<Term> {
        let mut items = self
            .sets
            .first()
            .and_then(|set| set.places.first())
            .map_or_else(Vec::new, |place| key_items(&place.keys));
        items.extend(fold.input_items());
        linear::change(&input_query(&self.node, items), &self.leaves, changed)
    }

    /// The terms of the change of what a state is made of.
    #[must_use]
    pub fn changed_state(&self, state: &StateFold, changed: &Inputs<'_>) -> Vec<Term> {
        linear::change(&input_query(&self.node, state.items()), &self.leaves, changed)
    }

    /// What a state is made of, in the rows for which one of the restrictions holds; without any, in all rows.
    ///
    /// # Errors
    /// As [`Keyed::restricted`].
    pub fn state_input(
        &self,
        state: &StateFold,
        reading: Reading,
        restrictions: &[Restriction],
        parser: &Parser,
    ) -> Result<Value> {
        let items = state.items().iter().map(|item| linear::all(item, &self.leaves, reading)).collect();
        Ok(input_query(&self.restricted(reading, restrictions, parser)?, items))
    }

    /// The query restricted to the rows for which one of the restrictions holds; without any, the whole query.
    ///
    /// # Errors
    /// `INTERNAL` when a restriction does not parse.
    pub fn restricted(&self, reading: Reading, restrictions: &[Restriction], parser: &Parser) -> Result<Value> {
        let mut node = linear::all(&self.node, &self.leaves, reading);
        let pointers: Vec<&'static str> =
            self.sets.first().map_or_else(Vec::new, |set| set.places.iter().map(|place| place.pointer).collect());
        for pointer in pointers {
            let mut found = Vec::new();
            for restriction in restrictions {
                let places = self.sets.get(restriction.set).map_or(&[][..], |set| &set.places);
                for place in places.iter().filter(|place| place.pointer == pointer) {
                    let keys: Vec<Value> =
                        place.keys.iter().map(|key| linear::all(key, &self.leaves, reading)).collect();
                    found.push((keys, restriction));
                }
            }
            let alone = found.len() == 1;
            let conditions = found
                .iter()
                .map(|(keys, Restriction { table, with_null, .. })| condition(keys, table, *with_null, alone, parser))
                .collect::<Result<Vec<_>>>()?;
            let condition = tree::disjunction(conditions);
            if let Some(select) = node.pointer_mut(pointer) {
                select["where_clause"] = tree::conjunction(vec![select["where_clause"].take(), condition]);
            }
        }
        Ok(node)
    }
}

/// One row that says for each of so many keys how many rows of a table of keys are NULL in it.
#[must_use]
pub fn null_keys(table: &str, key_count: usize) -> String {
    let each: Vec<String> =
        (0..key_count).map(|key| format!("count(*) FILTER ({} IS NULL)", key_column(key))).collect();
    format!("SELECT {} FROM {table}", each.join(", "))
}

/// Types of which `=` says of two values, neither NULL, what IS NOT DISTINCT FROM says, in every join of the engine.
const PLAIN: [&str; 17] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
    "VARCHAR",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
    "UUID",
];

/// Whether keys of a type can be found by `=`, by which the engine skips the files and row groups that hold none of them: it does
/// not by IS NOT DISTINCT FROM. Lists, structs and floating-point numbers are left alone.
#[must_use]
pub fn is_plain(data_type: &str) -> bool {
    PLAIN.contains(&data_type) || data_type.starts_with("DECIMAL(")
}

/// The condition that two keys of a type are the same, which are NULL only if not told otherwise.
pub(crate) fn same_key(left: &str, right: &str, data_type: &str, never_null: bool) -> String {
    let operator = if never_null && is_plain(data_type) { "=" } else { "IS NOT DISTINCT FROM" };
    format!("{left} {operator} {right}")
}

/// Keys as the items of a SELECT; one constant if there are none.
pub(crate) fn key_items(keys: &[Value]) -> Vec<Value> {
    if keys.is_empty() {
        return vec![named(tree::constant_false(), &key_column(0))];
    }
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

/// The condition that the keys stand in a table of keys; alone, or with others of which one has to hold.
///
/// A join by several keys, one of them a list, loses rows in the engine (1.5.5) where other rows have a NULL in their keys. Rows
/// without NULL are looked up by themselves, if the engine can tell them apart first; else all keys are looked up as one.
fn condition(keys: &[Value], affected: &str, with_null: bool, alone: bool, parser: &Parser) -> Result<Value> {
    let columns: Vec<String> = (0..keys.len()).map(key_column).collect();
    let places: Vec<String> = (0..keys.len()).map(|key| format!("__dt_place{key}")).collect();
    let condition = if with_null {
        let equal = |(column, place): (&String, &String)| format!("__dt_a.{column} IS NOT DISTINCT FROM {place}");
        let equal: Vec<String> = columns.iter().zip(&places).map(equal).collect();
        format!("EXISTS (SELECT 1 FROM temp.main.{affected} AS __dt_a WHERE {})", equal.join(" AND "))
    } else {
        let (listed, found) = (places.join(", "), columns.join(", "));
        match keys.len() {
            1 => format!("{listed} IN (SELECT {found} FROM temp.main.{affected})"),
            _ if alone => {
                let known: String = places.iter().map(|place| format!(" AND {place} IS NOT NULL")).collect();
                format!("({listed}) IN (SELECT {found} FROM temp.main.{affected}){known}")
            }
            _ => format!("row({listed}) IN (SELECT row({found}) FROM temp.main.{affected})"),
        }
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
