//! Folding a change into the stored rows of an aggregate: what came is added, what went is taken away.
//!
//! That needs every aggregate to be invertible and the number of rows behind each group, so that a group which lost
//! its last row goes. Here the result's own columns carry it: `count(*)` for the rows, `count(x)` for
//! a `sum(x)` whose x can be NULL.

use serde_json::Value;
use sql::names::quote_identifier;
use sql::query::Parser;
use sql::tree;

use super::aggregate::{Calls, is_exact_type, stands_for};
use super::keyed::{key_column, named, same_key};
use crate::resolve::ResolvedSource;

/// How each output column follows from its stored value and the change.
#[derive(Debug)]
pub struct Fold {
    columns: Vec<FoldColumn>,
    /// The output column with the number of rows of the group. Without GROUP BY the group stays when it is empty.
    rows: Option<usize>,
    inputs: Vec<Value>,
    key_count: usize,
    output: Vec<(String, String)>,
}

#[derive(Debug)]
enum FoldColumn {
    Key(usize),
    /// Rows for which the argument is not NULL (or all) and the filter holds.
    Count {
        argument: Option<usize>,
        filter: Option<usize>,
    },
    /// `count` is the column that says how many values are in the sum; `None` when no value can be NULL and the
    /// group has rows.
    Sum {
        argument: usize,
        filter: Option<usize>,
        count: Option<usize>,
    },
    /// When the extreme itself may have gone, only the rows of the group tell the new one.
    Extreme {
        argument: usize,
        filter: Option<usize>,
        greatest: bool,
    },
}

/// An output item before its companions are known.
pub(super) struct Call<'node> {
    pub function: String,
    pub argument: Option<&'node Value>,
    pub filter: &'node Value,
}

impl Fold {
    pub(crate) fn analyse(
        node: &Value,
        keys: &[Value],
        key_columns: Option<&[usize]>,
        output: &[(String, String)],
        sources: &[ResolvedSource],
        types: &Calls,
        parser: &Parser,
    ) -> Result<Self, String> {
        if key_columns.is_none() {
            return Err("a GROUP BY key is not in the select list".to_owned());
        }
        if !node["having"].is_null() {
            return Err("HAVING hides groups whose stored values would be needed".to_owned());
        }
        let items = tree::list(node, "select_list");
        let calls: Vec<Option<Call<'_>>> = items
            .iter()
            .map(|item| {
                if keys.iter().any(|key| stands_for(item, key, &node["from_table"])) {
                    Ok(None)
                } else {
                    call(item, parser).map(Some)
                }
            })
            .collect::<Result<_, String>>()?;
        let rows = calls.iter().position(|call| {
            call.as_ref().is_some_and(|call| call.function == "count_star" && call.filter.is_null())
        });
        if rows.is_none() && !keys.is_empty() {
            return Err("without count(*) in the select list an emptied group is not seen".to_owned());
        }
        // A derived table can give a column another meaning than the source's column of the same name.
        let known: &[ResolvedSource] = if has_derived_columns(&node["from_table"]) { &[] } else { sources };
        let mut inputs = Inputs::default();
        let mut columns = Vec::new();
        for (item, call) in items.iter().zip(&calls) {
            columns.push(match call {
                None => {
                    let key = keys.iter().position(|key| stands_for(item, key, &node["from_table"]));
                    FoldColumn::Key(key.ok_or("an item is neither key nor aggregate")?)
                }
                Some(call) => column(call, &calls, keys.is_empty(), known, types, &mut inputs)?,
            });
        }
        Ok(Self { columns, rows, inputs: inputs.0, key_count: keys.len(), output: output.to_vec() })
    }

    pub(crate) fn input_items(&self) -> Vec<Value> {
        input_items(&self.inputs)
    }

    /// The change per group: a SELECT over `terms`, a relation with the keys, the inputs and `__dt_weight`.
    #[must_use]
    pub fn deltas(&self, terms: &str) -> String {
        let keys: Vec<String> = (0..self.key_count).map(key_column).collect();
        let mut items = keys.clone();
        items.push(format!("sum(__dt_weight)::BIGINT AS {ROWS}"));
        for (position, column) in self.columns.iter().enumerate() {
            let delta = delta_column(position);
            match column {
                FoldColumn::Key(_) => {}
                FoldColumn::Count { argument, filter } => {
                    let seen = argument.map(|argument| format!("{} IS NOT NULL", input_column(argument)));
                    items.push(format!(
                        "coalesce(sum(__dt_weight){}, 0)::BIGINT AS {delta}",
                        condition(&[seen, filter.map(input_column)])
                    ));
                }
                FoldColumn::Sum { argument, filter, .. } => {
                    let argument = input_column(*argument);
                    let part = |sign: &str| {
                        let holds = condition(&[Some(format!("__dt_weight {sign} 0")), filter.map(input_column)]);
                        format!("coalesce(sum({argument}){holds}, 0)")
                    };
                    items.push(format!("{} - {} AS {delta}", part(">"), part("<")));
                }
                FoldColumn::Extreme { argument, filter, greatest } => {
                    let function = if *greatest { "max" } else { "min" };
                    for (sign, column) in [(">", delta), ("<", went_column(position))] {
                        let holds = condition(&[Some(format!("__dt_weight {sign} 0")), filter.map(input_column)]);
                        items.push(format!("{function}({}){holds} AS {column}", input_column(*argument)));
                    }
                }
            }
        }
        let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
        format!("SELECT {} FROM {terms}{group}", items.join(", "))
    }

    /// The new row of each changed group beside its stored one: a SELECT over the temporary table `deltas` and the
    /// `target` relation, giving `__dt_row_id` (NULL for a new group), `__dt_rows` (how many rows the group now
    /// has), [`LOST`], `__dt_same` (whether the stored row says the same) and the output columns. `never_null` says for
    /// each key that it is not NULL in any of the groups.
    #[must_use]
    pub fn new_rows(&self, deltas: &str, target: &str, never_null: &[bool]) -> String {
        let mut values = Vec::new();
        let mut lost = Vec::new();
        for (position, column) in self.columns.iter().enumerate() {
            let (name, data_type) = &self.output[position];
            let stored = format!("__dt_t.{}", quote_identifier(name));
            let delta = format!("__dt_d.{}", delta_column(position));
            let value = match column {
                FoldColumn::Key(key) => {
                    format!("CASE WHEN __dt_t.__dt_row_id IS NULL THEN __dt_d.{} ELSE {stored} END", key_column(*key))
                }
                FoldColumn::Count { .. } => format!("coalesce({stored}, 0) + {delta}"),
                FoldColumn::Sum { count, .. } => {
                    let sum = format!("coalesce({stored}, 0) + {delta}");
                    match count {
                        Some(count) => {
                            let counted = format!(
                                "coalesce(__dt_t.{}, 0) + __dt_d.{}",
                                quote_identifier(&self.output[*count].0),
                                delta_column(*count)
                            );
                            format!("CASE WHEN {counted} = 0 THEN NULL ELSE {sum} END")
                        }
                        None => sum,
                    }
                }
                FoldColumn::Extreme { greatest, .. } => {
                    let function = if *greatest { "greatest" } else { "least" };
                    let merged = format!("{function}({stored}, {delta})");
                    lost.push(is_lost(*greatest, &merged, position));
                    merged
                }
            };
            values.push(format!("CAST({value} AS {data_type}) AS {}", quote_identifier(name)));
        }
        let rows = match self.rows {
            Some(rows) if self.key_count > 0 => {
                format!("coalesce(__dt_t.{}, 0) + __dt_d.{ROWS}", quote_identifier(&self.output[rows].0))
            }
            _ => "1".to_owned(),
        };
        let lost = lost_group(&rows, &lost);
        let equal: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(position, column)| match column {
                FoldColumn::Key(key) => {
                    let (name, data_type) = &self.output[position];
                    let never_null = never_null.get(*key) == Some(&true);
                    Some(same_key(
                        &format!("__dt_t.{}", quote_identifier(name)),
                        &format!("__dt_d.{}", key_column(*key)),
                        data_type,
                        never_null,
                    ))
                }
                _ => None,
            })
            .collect();
        let on = if self.key_count == 0 { "true".to_owned() } else { equal.join(" AND ") };
        let same: Vec<String> = self
            .output
            .iter()
            .map(|(name, _)| {
                format!("__dt_n.{0} IS NOT DISTINCT FROM __dt_n.__dt_stored.{0}", quote_identifier(name))
            })
            .collect();
        let stored: Vec<String> =
            self.output.iter().map(|(name, _)| format!("{0} := __dt_t.{0}", quote_identifier(name))).collect();
        format!(
            "SELECT * EXCLUDE (__dt_stored), __dt_row_id IS NOT NULL AND {} AS __dt_same FROM (\
             SELECT __dt_t.__dt_row_id, {rows} AS {ROWS}, {lost} AS {LOST}, struct_pack({}) AS __dt_stored, {} \
             FROM {deltas} AS __dt_d LEFT JOIN (SELECT rowid AS __dt_row_id, * FROM {target}) AS __dt_t ON {on}) AS __dt_n",
            same.join(" AND "),
            stored.join(", "),
            values.join(", "),
        )
    }
}

/// The column with the change, and later the number, of the rows of a group.
pub(super) const ROWS: &str = "__dt_rows";

/// Inputs as the items of a SELECT.
pub(super) fn input_items(inputs: &[Value]) -> Vec<Value> {
    inputs.iter().enumerate().map(|(position, input)| named(input.clone(), &input_column(position))).collect()
}

/// The column that says whether an extreme of the group may have gone, so that it has to be looked for again.
pub const LOST: &str = "__dt_lost";

/// The column with the extreme of what went.
pub(super) fn went_column(position: usize) -> String {
    format!("__dt_w{position}")
}

/// The condition that an extreme may have gone: `merged`, that of what was stored and what came, is not known to be
/// beyond what went.
pub(super) fn is_lost(greatest: bool, merged: &str, position: usize) -> String {
    let went = format!("__dt_d.{}", went_column(position));
    let beyond = if greatest { ">=" } else { "<=" };
    format!("coalesce({went} {beyond} {merged}, {went} IS NOT NULL)")
}

/// The condition that a group with so many rows has lost one of its extremes.
pub(super) fn lost_group(rows: &str, lost: &[String]) -> String {
    if lost.is_empty() { "false".to_owned() } else { format!("{rows} > 0 AND ({})", lost.join(" OR ")) }
}

pub(super) fn input_column(position: usize) -> String {
    format!("__dt_a{position}")
}

fn delta_column(position: usize) -> String {
    format!("__dt_d{position}")
}

pub(super) fn condition(parts: &[Option<String>]) -> String {
    let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
    if parts.is_empty() { String::new() } else { format!(" FILTER (WHERE {})", parts.join(" AND ")) }
}

/// The expressions that folding reads from the change, each once.
#[derive(Debug, Default)]
pub(super) struct Inputs(pub Vec<Value>);

impl Inputs {
    pub fn position(&mut self, expression: &Value) -> usize {
        match self.0.iter().position(|known| tree::same_expression(known, expression)) {
            Some(position) => position,
            None => {
                self.0.push(expression.clone());
                self.0.len() - 1
            }
        }
    }
}

/// The item as one plain call of an aggregate.
pub(super) fn call<'node>(item: &'node Value, parser: &Parser) -> Result<Call<'node>, String> {
    let function = tree::text(item, "function_name").to_lowercase();
    let aggregate = tree::is(item, "FUNCTION") && parser.function(&function).is_some_and(|known| known.aggregate);
    if !aggregate {
        return Err("an item is computed from aggregates".to_owned());
    }
    if item["distinct"].as_bool() == Some(true) {
        return Err(format!("{function}(DISTINCT ...) cannot be taken back"));
    }
    let arguments = tree::list(item, "children");
    // DuckDB writes count(*) as count_star() and, in some positions, as count().
    let function = if function == "count" && arguments.is_empty() { "count_star".to_owned() } else { function };
    if arguments.len() > 1 {
        return Err(format!("{function}() cannot be taken back"));
    }
    Ok(Call { function, argument: arguments.first(), filter: &item["filter"] })
}

fn column(
    call: &Call<'_>,
    calls: &[Option<Call<'_>>],
    global: bool,
    sources: &[ResolvedSource],
    types: &Calls,
    inputs: &mut Inputs,
) -> Result<FoldColumn, String> {
    let filter = if call.filter.is_null() { None } else { Some(inputs.position(call.filter)) };
    match (call.function.as_str(), call.argument) {
        ("count_star", None) => Ok(FoldColumn::Count { argument: None, filter }),
        ("count", Some(argument)) => Ok(FoldColumn::Count { argument: Some(inputs.position(argument)), filter }),
        ("sum", Some(argument)) => {
            let data_type = types.type_of(argument).unwrap_or("");
            if !is_exact_type(data_type) {
                return Err(format!("a sum of {data_type} depends on the order of its rows"));
            }
            let same_filter = |other: &Call<'_>| tree::same_expression(other.filter, call.filter);
            let count = calls.iter().position(|other| {
                other.as_ref().is_some_and(|other| {
                    other.function == "count"
                        && other.argument.is_some_and(|counted| tree::same_expression(counted, argument))
                        && same_filter(other)
                })
            });
            let never_null = !global && call.filter.is_null() && is_not_null(argument, sources);
            if count.is_none() && !never_null {
                return Err("a sum that can be NULL needs count() of the same values in the select list".to_owned());
            }
            Ok(FoldColumn::Sum { argument: inputs.position(argument), filter, count })
        }
        ("min" | "max", Some(argument))
            if types
                .type_of(argument)
                .is_some_and(|known| !known.contains(['(', '[', ' ']) || is_exact_type(known)) =>
        {
            Ok(FoldColumn::Extreme { argument: inputs.position(argument), filter, greatest: call.function == "max" })
        }
        (function, _) => Err(format!("{function}() cannot be taken back")),
    }
}

/// Whether FROM has anything but plain tables under their own column names.
fn has_derived_columns(from: &Value) -> bool {
    let mut derived = false;
    tree::visit(from, &mut |child| {
        let renamed = !tree::list(child, "column_name_alias").is_empty();
        let other = ["SUBQUERY", "TABLE_FUNCTION", "EXPRESSION_LIST"].iter().any(|kind| tree::is(child, kind));
        derived = derived || renamed || other;
    });
    derived
}

/// Whether the expression is a column that is NOT NULL in every source that has one of its name.
fn is_not_null(expression: &Value, sources: &[ResolvedSource]) -> bool {
    let Some(parts) = tree::column_reference(expression) else { return false };
    // A struct's field can be NULL although the struct cannot.
    if parts.len() > 2 {
        return false;
    }
    let Some(name) = parts.last().map(|name| name.to_lowercase()) else { return false };
    let mut columns = sources
        .iter()
        .flat_map(|source| &source.columns)
        .filter(|column| column.name.to_lowercase() == name)
        .peekable();
    columns.peek().is_some() && columns.all(|column| !column.nullable)
}
