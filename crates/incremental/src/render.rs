//! From a tree with marked tables to SQL: each mark becomes the table at a snapshot, or a temporary table that
//! holds what changed.

use error::{Code, Error, Result};
use serde_json::{Value, json};
use sql::names::{TableName, quote_literal};
use sql::query::Parser;
use sql::tree;

use crate::clock::{Clock, is_clock};
use crate::resolve::source_of;
use crate::rules::linear;
use crate::stage::{Stage, StageChange};

/// How a leaf is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As it was at the data version the table has.
    Old,
    /// As it is at the data version the table gets.
    New,
    /// The rows that came.
    Came,
    /// The rows that went.
    Went,
}

impl Reading {
    const ALL: [Self; 4] = [Self::Old, Self::New, Self::Came, Self::Went];

    const fn mark(self) -> &'static str {
        match self {
            Self::Old => "#old",
            Self::New => "#new",
            Self::Came => "#came",
            Self::Went => "#went",
        }
    }
}

/// What stands behind a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A table that the query reads, by its number.
    Source(usize),
    /// A part of the query whose change is computed by itself, by its number.
    Stage(usize),
    /// The data timestamp.
    Clock,
}

/// Where a source is found in each [`Reading`].
#[derive(Clone, Debug)]
pub struct SourceState {
    /// Its name in the lake.
    pub table: TableName,
    /// The snapshot at which it is read as `Old`.
    pub old: Option<i64>,
    /// The snapshot at which it is read as `New`; `None` reads it as it stands.
    pub new: Option<i64>,
    /// A temporary relation with the same columns that is read as `New` in place of the stored table, for content that
    /// nobody has published yet.
    pub new_relation: Option<String>,
    /// The temporary table with the rows that came, if any did.
    pub came: Option<String>,
    /// The temporary table with the rows that went, if any did.
    pub went: Option<String>,
}

/// The states of everything that a query reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Of each source, by its number.
    pub sources: &'a [SourceState],
    /// The change of each stage, by its number; stages that are not there yet have none.
    pub stages: &'a [StageChange],
    /// The data timestamps.
    pub clock: &'a Clock,
}

impl Inputs<'_> {
    /// The temporary table with the rows that came or went.
    pub(crate) fn temporary(&self, input: Input, reading: Reading) -> Option<&str> {
        let (came, went) = match input {
            Input::Source(source) => self.sources.get(source).map(|state| (&state.came, &state.went))?,
            Input::Stage(stage) => self.stages.get(stage).map(|change| (&change.came, &change.went))?,
            // One time came and another went, though no table holds them.
            Input::Clock => return self.clock.moved().then_some(""),
        };
        match reading {
            Reading::Came => came.as_deref(),
            Reading::Went => went.as_deref(),
            Reading::Old | Reading::New => None,
        }
    }
}

/// Renders trees over sources in a given state.
pub struct Renderer<'a> {
    /// Turns trees into SQL.
    pub parser: &'a Parser,
    /// The name under which the lake is attached.
    pub lake: &'a str,
    /// The states of what the query reads.
    pub inputs: Inputs<'a>,
    /// The stages of the query.
    pub stages: &'a [Stage],
}

impl Renderer<'_> {
    /// The SQL of a tree whose leaves carry their readings.
    ///
    /// # Errors
    /// `INTERNAL` when a leaf asks for a reading that its input does not have.
    pub fn sql(&self, node: &Value) -> Result<String> {
        self.parser.to_sql(&self.placed(node)?)
    }

    /// The tree with what each of its leaves is read from in its place.
    pub(crate) fn placed(&self, node: &Value) -> Result<Value> {
        let mut node = node.clone();
        self.place_all(&mut node)?;
        Ok(node)
    }

    /// The SQL of the whole resolved query with every source read as `reading`.
    ///
    /// # Errors
    /// As [`Renderer::sql`].
    pub fn whole(&self, resolved: &Value, reading: Reading) -> Result<String> {
        let mut node = resolved.clone();
        tree::visit_mut(&mut node, &mut |child| {
            if let Some(source) = source_of(child) {
                mark(child, reading, Input::Source(source));
            } else if is_clock(child) {
                mark(child, reading, Input::Clock);
            }
        });
        self.sql(&node)
    }

    fn place_all(&self, node: &mut Value) -> Result<()> {
        let mut failure = None;
        tree::visit_mut(node, &mut |child| {
            if let Some((reading, input)) = reading_of(child)
                && let Err(error) = self.place(child, reading, input)
            {
                failure = Some(error);
            }
        });
        failure.map_or(Ok(()), Err)
    }

    fn place(&self, node: &mut Value, reading: Reading, input: Input) -> Result<()> {
        if input == Input::Clock {
            let old = matches!(reading, Reading::Old | Reading::Went);
            let time = self.inputs.clock.old.as_ref().filter(|_| old).unwrap_or(&self.inputs.clock.new);
            *node = self.parser.parse_expression(&quote_literal(time))?;
            return Ok(());
        }
        if matches!(reading, Reading::Came | Reading::Went) {
            let Some(table) = self.inputs.temporary(input, reading) else {
                return Err(Error::new(
                    Code::Internal,
                    format!("the plan reads a change of {input:?} that is not there"),
                ));
            };
            place_temporary(node, table);
            return Ok(());
        }
        let unknown = || Error::new(Code::Internal, format!("the plan reads an unknown {input:?}"));
        match input {
            Input::Source(source) => {
                let state = self.inputs.sources.get(source).ok_or_else(unknown)?;
                if let Some(relation) = state.new_relation.as_deref().filter(|_| reading == Reading::New) {
                    place_temporary(node, relation);
                    return Ok(());
                }
                node["catalog_name"] = Value::from(self.lake);
                node["schema_name"] = Value::from(state.table.schema.as_str());
                node["table_name"] = Value::from(state.table.name.as_str());
                if let Some(snapshot) = if reading == Reading::Old { state.old } else { state.new } {
                    node["at_clause"] = tree::at_version(snapshot);
                }
            }
            Input::Stage(stage) => {
                let (query, leaves) = self.stages.get(stage).ok_or_else(unknown)?.query();
                let mut query = linear::all(query, leaves, reading);
                self.place_all(&mut query)?;
                if tree::is_limited(&query) {
                    query = apart(query);
                }
                let alias = tree::text(node, "alias").to_owned();
                *node = tree::derived_table(query, &alias, tree::list(node, "column_name_alias"));
            }
            Input::Clock => {}
        }
        Ok(())
    }
}

/// A query that is computed by itself before anything else looks at its rows. Without this DuckDB 1.5.5 lets what is joined
/// with the first rows of a query choose among all of its rows (`join_filter_pushdown` goes below the limit).
fn apart(query: Value) -> Value {
    const NAME: &str = "__dt_first_rows";
    let mut reference = tree::table_reference("", &[]);
    reference["table_name"] = Value::from(NAME);
    let mut select = tree::select_star(reference);
    select["cte_map"]["map"] = json!([{
        "key": NAME,
        "value": {
            "aliases": [], "query": { "node": query, "named_param_map": [] }, "materialized": "CTE_MATERIALIZE_ALWAYS",
            "key_targets": [],
        },
    }]);
    select
}

/// Makes a table reference that of a temporary table.
fn place_temporary(node: &mut Value, table: &str) {
    node["catalog_name"] = Value::from("temp");
    node["schema_name"] = Value::from("main");
    node["table_name"] = Value::from(table);
}

/// Marks a table reference with how it is to be read.
pub(crate) fn mark(node: &mut Value, reading: Reading, input: Input) {
    node["catalog_name"] = Value::from(reading.mark());
    node["schema_name"] = Value::from("");
    node["table_name"] = Value::from(match input {
        Input::Source(number) => format!("source{number}"),
        Input::Stage(number) => format!("stage{number}"),
        Input::Clock => "clock".to_owned(),
    });
}

/// How a leaf is to be read, and what stands behind it, where a table reference is a marked one.
pub(crate) fn reading_of(node: &Value) -> Option<(Reading, Input)> {
    if !tree::is(node, "BASE_TABLE") {
        return None;
    }
    let catalog = tree::text(node, "catalog_name");
    let reading = Reading::ALL.into_iter().find(|reading| reading.mark() == catalog)?;
    let name = tree::text(node, "table_name");
    let number = |prefix| name.strip_prefix(prefix).and_then(|number: &str| number.parse().ok());
    let input = match name {
        "clock" => Input::Clock,
        _ => number("source").map(Input::Source).or_else(|| number("stage").map(Input::Stage))?,
    };
    Some((reading, input))
}
