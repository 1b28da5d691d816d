//! The analysis of a query: what it reads, what it gives, and which rule maintains it.

use std::collections::HashSet;

use error::{Code, Error, Result};
use serde_json::Value;
use sql::names::TableName;
use sql::query::{Parser, Query};

use crate::columns::used_columns;
use crate::lower::{Lowered, lower};
use crate::render::{Reading, Renderer, SourceState};
use crate::resolve::{Resolved, ResolvedSource, resolve};
use crate::rules::aggregate::Aggregate;
use crate::rules::linear::{self, Term};
use crate::{Catalog, Column, Operator, Reason};

/// A table the query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in the lake.
    pub name: TableName,
    /// The columns the query can look at, in the table's order; never empty.
    pub used: Vec<Column>,
}

/// How the root of a query is maintained.
#[derive(Debug)]
pub enum Root {
    /// Not incrementally; [`Plan::reasons`] says why.
    Opaque,
    /// By the sum of the changes of its leaves.
    Linear(Linear),
    /// By folding the change into its groups, or by recomputing the groups that it touches.
    Aggregate(Box<Aggregate>),
}

/// A linear query.
#[derive(Debug)]
pub struct Linear {
    node: Value,
    leaves: Vec<usize>,
}

impl Linear {
    /// The terms of its change.
    #[must_use]
    pub fn change(&self, sources: &[SourceState]) -> Vec<Term> {
        linear::change(&self.node, &self.leaves, sources)
    }
}

/// What is known of a query before any of its data is looked at.
#[derive(Debug)]
pub struct Plan {
    /// The tables it reads, each once.
    pub sources: Vec<Source>,
    /// The views that were replaced by their queries.
    pub views: Vec<TableName>,
    /// Where the query's text names which table or view, in bytes.
    pub references: Vec<(usize, TableName)>,
    /// Its output columns as (name, type).
    pub output: Vec<(String, String)>,
    /// Its operators, parents first.
    pub operators: Vec<Operator>,
    /// Why it is not maintained incrementally; empty when it is.
    pub reasons: Vec<Reason>,
    /// Two evaluations over the same data can differ, so the stored result cannot be checked against the query.
    pub volatile: bool,
    /// The rule of its root.
    pub root: Root,
    resolved: Value,
}

impl Plan {
    /// Analyses a query over the relations of `catalog`. Names without a schema are looked up in `default_schema`;
    /// `lake` is the name under which the lake is attached for [`Catalog::describe`].
    ///
    /// # Errors
    /// `QUERY` with the place when a source is unknown, the query does not bind, or two output columns share a name.
    pub fn analyse(
        query: &Query,
        catalog: &dyn Catalog,
        parser: &Parser,
        lake: &str,
        default_schema: &str,
    ) -> Result<Self> {
        let Resolved { node: resolved, sources: found, views, references } =
            resolve(&query.text, &query.node, catalog, parser, default_schema)?;
        let sources = with_used_columns(&resolved, &found);
        let states: Vec<SourceState> = sources.iter().map(|source| unversioned(&source.name)).collect();
        let renderer = Renderer { parser, lake, sources: &states };
        let output = catalog.describe(&renderer.whole(&resolved, Reading::New)?)?;
        refuse_duplicates(&output)?;
        let mut lowered = lower(&resolved, &found, parser);
        let root = root(&mut lowered, &found, &output, catalog, &renderer)?;
        let Lowered { operators, reasons, volatile, .. } = lowered;
        Ok(Self { sources, views, references, output, operators, reasons, volatile, root, resolved })
    }

    /// Whether a rule maintains the query.
    #[must_use]
    pub const fn incremental(&self) -> bool {
        !matches!(self.root, Root::Opaque)
    }

    /// The whole query with every source read in one way.
    ///
    /// # Errors
    /// As [`Renderer::sql`].
    pub fn whole(&self, renderer: &Renderer<'_>, reading: Reading) -> Result<String> {
        renderer.whole(&self.resolved, reading)
    }

    /// A text that is the same exactly as long as the stored result can be continued: the query with its views
    /// expanded, the used columns and the result's columns with their types.
    ///
    /// # Errors
    /// As [`Renderer::sql`].
    pub fn identity(&self, parser: &Parser) -> Result<String> {
        let states: Vec<SourceState> = self.sources.iter().map(|source| unversioned(&source.name)).collect();
        let renderer = Renderer { parser, lake: "lake", sources: &states };
        let query = self.whole(&renderer, Reading::New)?;
        let used: Vec<(String, Vec<(&str, &str)>)> = self
            .sources
            .iter()
            .map(|source| {
                let columns = source.used.iter().map(|column| (column.name.as_str(), column.data_type.as_str()));
                (source.name.to_string().to_lowercase(), columns.collect())
            })
            .collect();
        Ok(format!("{query}\n{used:?}\n{:?}", self.output))
    }
}

/// A source read as it stands.
fn unversioned(name: &TableName) -> SourceState {
    SourceState { table: name.clone(), old: None, new: None, came: None, went: None }
}

fn with_used_columns(resolved: &Value, found: &[ResolvedSource]) -> Vec<Source> {
    used_columns(resolved, found)
        .into_iter()
        .zip(found)
        .map(|(positions, source)| {
            // A query that only counts rows looks at no column; one is read all the same, to have rows to count.
            let positions = if positions.is_empty() { vec![0] } else { positions };
            let used = positions.iter().filter_map(|position| source.columns.get(*position)).cloned().collect();
            Source { name: source.name.clone(), used }
        })
        .collect()
}

fn root(
    lowered: &mut Lowered,
    sources: &[ResolvedSource],
    output: &[(String, String)],
    catalog: &dyn Catalog,
    renderer: &Renderer<'_>,
) -> Result<Root> {
    if !lowered.reasons.is_empty() {
        return Ok(Root::Opaque);
    }
    if !lowered.aggregate {
        return Ok(Root::Linear(Linear { node: lowered.node.clone(), leaves: lowered.leaves.clone() }));
    }
    match Aggregate::analyse(lowered, sources, output, catalog, renderer)? {
        Ok(aggregate) => {
            if let Some(operator) = lowered.operators.first_mut() {
                operator.name = aggregate.describe();
                operator.rule = Some(aggregate.rule());
            }
            Ok(Root::Aggregate(Box::new(aggregate)))
        }
        Err(reason) => {
            if let Some(operator) = lowered.operators.first_mut() {
                operator.rule = None;
                operator.reason = Some(reason.clone());
            }
            lowered.reasons.push(reason);
            Ok(Root::Opaque)
        }
    }
}

fn refuse_duplicates(output: &[(String, String)]) -> Result<()> {
    let mut seen = HashSet::new();
    for (name, _) in output {
        if !seen.insert(name.to_lowercase()) {
            return Err(Error::new(Code::Query, format!("the result has two columns called \"{name}\""))
                .with_hint("Give each output column a name of its own with AS."));
        }
        if name.is_empty() || name.starts_with(RESERVED_PREFIX) {
            return Err(Error::new(Code::Query, format!("a result column cannot be called \"{name}\""))
                .with_hint(format!("Names that start with {RESERVED_PREFIX} are used while refreshing.")));
        }
    }
    Ok(())
}

/// The prefix of every name that a refresh makes up.
pub(crate) const RESERVED_PREFIX: &str = "__dt_";
