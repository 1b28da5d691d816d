//! Folding a change into a state table: for aggregates whose result does not itself hold what folding needs, a table
//! beside it holds, per group, the keys, the number of rows and the [accumulators](super::accumulator). The rows of the
//! result are the query's select list over that table.
//!
//! It does not know where the table is, which snapshot it is of, or when it is written.

use serde_json::Value;
use sql::names::quote_identifier;
use sql::query::Parser;
use sql::tree;

use super::accumulator::{Accumulators, accumulator_column, is_kept_as_it_is, plain_call};
use super::aggregate::{Calls, stands_for};
use super::fold::{Inputs, LOST, ROWS, input_items, lost_group};
use super::keyed::{is_plain, key_column, key_items, named, same_key};
use crate::Catalog;

/// The state of an aggregate and how its rows follow from it.
#[derive(Debug)]
pub struct StateFold {
    keys: Vec<Value>,
    key_types: Vec<String>,
    inputs: Vec<Value>,
    accumulators: Accumulators,
    /// The select list and HAVING over [`STATE`], as a SELECT.
    select: String,
}

/// The column of a state table that says, in one row of its own, which refresh wrote the table.
pub const MARK: &str = "__dt_mark";
/// The column that says whether the stored state is already right.
pub const SAME: &str = "__dt_same";

/// What the select list reads.
const STATE: &str = "__dt_groups_of_state";

/// An aggregate at the top of a query.
pub(crate) struct Aggregate<'a> {
    pub node: &'a Value,
    pub keys: &'a [Value],
    pub output: &'a [(String, String)],
    pub calls: &'a Calls,
    pub parser: &'a Parser,
    /// Binds queries.
    pub catalog: &'a dyn Catalog,
}

impl StateFold {
    /// The state of an aggregate, or why it has none.
    pub(crate) fn analyse(aggregate: &Aggregate<'_>) -> Result<Self, String> {
        let Aggregate { node, keys, output, calls, parser, .. } = *aggregate;
        let items = tree::list(node, "select_list");
        if items.len() != output.len() || tree::list(node, "group_sets").len() > 1 || !node["qualify"].is_null() {
            return Err("its select list cannot be computed from the groups alone".to_owned());
        }
        let key_types: Vec<String> =
            calls.types.iter().skip(calls.arguments.len()).take(keys.len()).cloned().collect();
        if key_types.len() != keys.len() {
            return Err("the types of its keys are not known".to_owned());
        }
        if let Some(unfit) = key_types.iter().find(|data_type| !is_kept_as_it_is(data_type)) {
            return Err(format!("a key of type {unfit} cannot be kept beside the table"));
        }
        let mut rewriting = Rewriting {
            aggregate,
            key_types: &key_types,
            accumulators: Accumulators::default(),
            inputs: Inputs::default(),
            aliases: Vec::new(),
        };
        let mut select = tree::empty_select();
        let mut rewritten = Vec::new();
        for (item, (name, _)) in items.iter().zip(output) {
            let value = rewriting.item(item)?;
            let alias = tree::text(item, "alias");
            if !alias.is_empty() {
                rewriting.aliases.push((alias.to_lowercase(), value.clone()));
            }
            rewritten.push(named(value, name));
        }
        select["select_list"] = Value::from(rewritten);
        if !node["having"].is_null() {
            select["where_clause"] = rewriting.expression(&node["having"])?;
        }
        let mut from = tree::table_reference("", &[]);
        from["table_name"] = Value::from(STATE);
        select["from_table"] = from;
        let select = parser.to_sql(&select).map_err(|error| error.message().to_owned())?;
        let Rewriting { accumulators, inputs, .. } = rewriting;
        let state = Self { keys: keys.to_vec(), key_types, inputs: inputs.0, accumulators, select };
        let types = aggregate.catalog.describe(&state.probe()).map_err(|error| error.message().to_owned())?;
        let same_type = |((_, found), (_, wanted)): (&(String, String), &(String, String))| found == wanted;
        if types.len() != output.len() || !types.iter().zip(output).all(same_type) {
            return Err("its select list has other types over the groups than over the rows".to_owned());
        }
        Ok(state)
    }

    /// What the state holds besides the keys, for a person.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = vec!["count(*)"];
        shown.extend(self.accumulators.all.iter().map(|kept| kept.shown.as_str()).filter(|kept| *kept != "count(*)"));
        shown.join(", ")
    }

    /// Names and types of its columns: keys, number of rows, accumulators.
    #[must_use]
    pub fn columns(&self) -> Vec<(String, String)> {
        let keys = self.key_types.iter().enumerate().map(|(key, data_type)| (key_column(key), data_type.clone()));
        let kept = self.accumulators.all.iter().enumerate();
        let kept = kept.map(|(position, kept)| (accumulator_column(position), kept.data_type().to_owned()));
        keys.chain(std::iter::once((ROWS.to_owned(), "BIGINT".to_owned()))).chain(kept).collect()
    }

    /// The keys and the inputs of the accumulators, as items over the aggregate's FROM.
    pub(crate) fn items(&self) -> Vec<Value> {
        let mut items = key_items(&self.keys);
        items.extend(input_items(&self.inputs));
        items
    }

    /// The state of rows that are all there: a SELECT over a relation with the keys and the inputs.
    #[must_use]
    pub fn of_rows(&self, rows: &str) -> String {
        let mut items = vec![format!("count(*) AS {ROWS}")];
        for (position, kept) in self.accumulators.all.iter().enumerate() {
            items.push(format!("{} AS {}", kept.of_rows(), accumulator_column(position)));
        }
        self.grouped(&items, rows)
    }

    /// The change of the state: a SELECT over `terms`, a relation with the keys, the inputs and `__dt_weight`.
    #[must_use]
    pub fn of_change(&self, terms: &str) -> String {
        let mut items = vec![format!("coalesce(sum(__dt_weight), 0)::BIGINT AS {ROWS}")];
        items.extend(self.accumulators.all.iter().enumerate().flat_map(|(position, kept)| kept.of_change(position)));
        self.grouped(&items, terms)
    }

    fn grouped(&self, items: &[String], relation: &str) -> String {
        let keys: Vec<String> = (0..self.keys.len()).map(key_column).collect();
        let all: Vec<&str> = keys.iter().chain(items).map(String::as_str).collect();
        let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
        format!("SELECT {} FROM {relation}{group}", all.join(", "))
    }

    /// The new state of each changed group: a SELECT over the temporary table `change` and the `state` relation, giving
    /// `__dt_row_id` (NULL for a new group), the state's columns, [`LOST`] and [`SAME`].
    /// `never_null` says for each key that it is not NULL in any of the groups.
    #[must_use]
    pub fn merged(&self, change: &str, state: &str, never_null: &[bool]) -> String {
        let rows = format!("coalesce(__dt_t.{ROWS}, 0) + __dt_d.{ROWS}");
        let mut values: Vec<(String, String)> = Vec::new();
        for key in (0..self.keys.len()).map(key_column) {
            let value = format!("CASE WHEN __dt_t.__dt_row_id IS NULL THEN __dt_d.{key} ELSE __dt_t.{key} END");
            values.push((value, key));
        }
        values.push((rows.clone(), ROWS.to_owned()));
        let kept = self.accumulators.all.iter().enumerate();
        values.extend(kept.map(|(position, kept)| (kept.merged(position), accumulator_column(position))));
        let items: Vec<String> = values.iter().map(|(value, column)| format!("{value} AS {column}")).collect();
        let same: Vec<String> =
            values.iter().map(|(value, column)| format!("{value} IS NOT DISTINCT FROM __dt_t.{column}")).collect();
        let kept = self.accumulators.all.iter().enumerate();
        let lost: Vec<String> = kept.filter_map(|(position, kept)| kept.lost(position)).collect();
        // The one group of an aggregate without keys stays when it is empty, and has no extreme then.
        let lost = lost_group(if self.keys.is_empty() { "1" } else { &rows }, &lost);
        format!(
            "SELECT __dt_t.__dt_row_id, {}, {lost} AS {LOST}, __dt_t.__dt_row_id IS NOT NULL AND {} AS {SAME} \
             FROM {change} AS __dt_d LEFT JOIN {} AS __dt_t ON {}",
            items.join(", "),
            same.join(" AND "),
            Self::stored(state),
            self.same_keys("__dt_t", "__dt_d", never_null)
        )
    }

    /// The merged state with the groups whose extreme was lost as they were found again in `found`.
    #[must_use]
    pub fn mended(&self, merged: &str, found: &str) -> String {
        let columns: Vec<String> = self.columns().into_iter().map(|(name, _)| format!("__dt_f.{name}")).collect();
        let all: Vec<String> = self.columns().into_iter().map(|(name, _)| name).collect();
        format!(
            "SELECT __dt_row_id, {}, {SAME} FROM {merged} WHERE NOT {LOST} \
             UNION ALL SELECT __dt_m.__dt_row_id, {}, false FROM {merged} AS __dt_m JOIN {found} AS __dt_f ON {} \
             WHERE __dt_m.{LOST}",
            all.join(", "),
            columns.join(", "),
            self.same_keys("__dt_m", "__dt_f", &[])
        )
    }

    /// The rows of a state relation with their row ids, without the mark.
    #[must_use]
    pub fn stored(state: &str) -> String {
        format!("(SELECT rowid AS __dt_row_id, * FROM {state} WHERE {MARK} IS NULL)")
    }

    /// Whether all keys have types by which the engine can skip files.
    #[must_use]
    pub fn has_plain_keys(&self) -> bool {
        self.key_types.iter().all(|data_type| is_plain(data_type))
    }

    fn same_keys(&self, left: &str, right: &str, never_null: &[bool]) -> String {
        let equal: Vec<String> = self
            .key_types
            .iter()
            .enumerate()
            .map(|(key, data_type)| {
                let (column, never_null) = (key_column(key), never_null.get(key) == Some(&true));
                same_key(&format!("{left}.{column}"), &format!("{right}.{column}"), data_type, never_null)
            })
            .collect();
        if equal.is_empty() { "true".to_owned() } else { equal.join(" AND ") }
    }

    /// A SELECT with the greatest count of rows that the result of a state in a temporary table divides by; `None` if
    /// it does not divide.
    #[must_use]
    pub fn greatest_count(&self, table: &str) -> Option<String> {
        self.accumulators.greatest_count(table)
    }

    /// The rows of the result for a state in a temporary table, whose [`greatest_count`](Self::greatest_count) has at
    /// most so many bits.
    #[must_use]
    pub fn rows(&self, table: &str, bits: u32) -> String {
        let groups = self.accumulators.with_averages(table, bits);
        // The one group of an aggregate without keys is there also when it is empty.
        let held = if self.keys.is_empty() { String::new() } else { format!(" WHERE {ROWS} > 0") };
        format!("SELECT * FROM (WITH {STATE} AS (SELECT * FROM ({groups}){held}) {})", self.select)
    }

    /// The rows of the result for no state at all, to see whether they bind.
    fn probe(&self) -> String {
        let mut columns = self.columns();
        columns.extend(self.accumulators.average_columns());
        let columns: Vec<String> = columns
            .iter()
            .map(|(name, data_type)| format!("NULL::{data_type} AS {}", quote_identifier(name)))
            .collect();
        format!("SELECT * FROM (WITH {STATE} AS (SELECT {}) {})", columns.join(", "), self.select)
    }
}

/// Replacing keys and aggregates in a select list by what the state holds.
struct Rewriting<'a> {
    aggregate: &'a Aggregate<'a>,
    key_types: &'a [String],
    accumulators: Accumulators,
    inputs: Inputs,
    /// The items so far by their aliases, which later items and HAVING may use.
    aliases: Vec<(String, Value)>,
}

impl Rewriting<'_> {
    fn item(&mut self, item: &Value) -> Result<Value, String> {
        match self.key(item) {
            // A bare key may be any of its equal values, as in the query itself.
            Some(key) => Ok(tree::column(&[&key_column(key)])),
            None => self.expression(item),
        }
    }

    fn key(&self, expression: &Value) -> Option<usize> {
        let Aggregate { node, keys, .. } = self.aggregate;
        keys.iter().position(|key| stands_for(expression, key, &node["from_table"]))
    }

    fn expression(&mut self, expression: &Value) -> Result<Value, String> {
        let Some(class) = expression["class"].as_str() else { return self.fields(expression) };
        if let Some(key) = self.key(expression) {
            let data_type = &self.key_types[key];
            // Of 0.0 and -0.0 the state keeps one, and an expression may tell them apart.
            if matches!(data_type.as_str(), "DOUBLE" | "FLOAT") {
                return Err("an expression tells apart values of a key that are equal to GROUP BY".to_owned());
            }
            let column = tree::column(&[&key_column(key)]);
            return Ok(named(column, tree::text(expression, "alias")));
        }
        let Aggregate { calls, parser, .. } = *self.aggregate;
        match class {
            "CONSTANT" => Ok(expression.clone()),
            "COLUMN_REF" => {
                let name = match tree::column_reference(expression).as_deref() {
                    Some([name]) => name.to_lowercase(),
                    _ => String::new(),
                };
                let known = self.aliases.iter().find(|(alias, _)| *alias == name);
                known
                    .map(|(_, value)| named(value.clone(), ""))
                    .ok_or_else(|| "an item is computed from columns that are no GROUP BY keys".to_owned())
            }
            "FUNCTION"
                if parser.function(tree::text(expression, "function_name")).is_some_and(|known| known.aggregate) =>
            {
                let call = plain_call(expression, parser)?;
                let value = self.accumulators.value_of(&call, calls, &mut self.inputs, parser)?;
                parser.parse_expression(&value).map_err(|error| error.message().to_owned())
            }
            "SUBQUERY" | "WINDOW" | "STAR" | "LAMBDA" | "POSITIONAL_REFERENCE" | "PARAMETER" => {
                Err("an item is more than an expression over keys and aggregates".to_owned())
            }
            _ => self.fields(expression),
        }
    }

    fn fields(&mut self, node: &Value) -> Result<Value, String> {
        match node {
            Value::Array(children) => children.iter().map(|child| self.expression(child)).collect(),
            Value::Object(fields) => {
                let mut rewritten = serde_json::Map::new();
                for (name, child) in fields {
                    rewritten.insert(name.clone(), self.expression(child)?);
                }
                Ok(Value::Object(rewritten))
            }
            other => Ok(other.clone()),
        }
    }
}
