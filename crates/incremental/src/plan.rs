//! The analysis of a query: what it reads, what it gives, and which rule maintains it.

use std::collections::HashSet;

use error::{Code, Error, Result};
use serde_json::Value;
use sql::names::TableName;
use sql::query::{Parser, Query};
use sql::tree;

use crate::clock::{Clock, depends_on_time};
use crate::columns::used_columns;
use crate::expression::collated;
use crate::lower::{Draft, Lowered, Shape, Surroundings, lower};
use crate::render::{Input, Inputs, Reading, Renderer, SourceState};
use crate::resolve::{Resolved, ResolvedSource, resolve};
use crate::rules::aggregate;
use crate::rules::fold::Fold;
use crate::rules::keyed::Keyed;
use crate::rules::linear::{self, Term};
use crate::rules::state::{Aggregate, StateFold};
use crate::stage::Stage;
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
    /// By its keys: the groups that the change touches are computed again, or the change is folded into them.
    Keyed(Box<Keyed>),
}

/// A linear query.
#[derive(Debug)]
pub struct Linear {
    node: Value,
    leaves: Vec<Input>,
}

impl Linear {
    /// The terms of its change.
    #[must_use]
    pub fn change(&self, changed: &Inputs<'_>) -> Vec<Term> {
        linear::change(&self.node, &self.leaves, changed)
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
    /// Rows can come and go by the time alone: some WHERE asks for it.
    pub follows_time: bool,
    /// The parts whose change is computed before that of the root, each behind those that it reads.
    pub stages: Vec<Stage>,
    /// The rule of its root.
    pub root: Root,
    resolved: Value,
    /// The lowered query, where the whole result is computed by it.
    canonical: Option<(Value, Vec<Input>)>,
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
        let Resolved { node: mut resolved, sources: found, views, references } =
            resolve(&query.text, &query.node, catalog, parser, default_schema)?;
        let sources = with_used_columns(&resolved, &found);
        let states: Vec<SourceState> = sources.iter().map(|source| unversioned(&source.name)).collect();
        let inputs = Inputs { sources: &states, stages: &[], clock: &Clock::default() };
        let renderer = Renderer { parser, lake, inputs, stages: &[] };
        let output = catalog.describe(&renderer.whole(&resolved, Reading::New)?)?;
        refuse_duplicates(&output)?;
        if collates(&resolved) {
            resolved = without_collations(resolved, &output);
        }
        let used = sources.iter().map(|source| source.used.as_slice()).collect();
        let surroundings = Surroundings { parser, catalog, lake, sources: &found, used, states: &states };
        let mut lowered = lower(&resolved, &surroundings)?;
        let root = root(&mut lowered, &found, &output, &surroundings);
        let canonical = match &root {
            Root::Linear(linear) if lowered.canonical => Some((linear.node.clone(), linear.leaves.clone())),
            Root::Keyed(keyed) if lowered.canonical => {
                let (node, leaves) = keyed.query();
                Some((node.clone(), leaves.to_vec()))
            }
            _ => None,
        };
        let follows_time = depends_on_time(&resolved);
        let Lowered { stages, operators, reasons, volatile, .. } = lowered;
        Ok(Self {
            sources,
            views,
            references,
            output,
            operators,
            reasons,
            volatile,
            follows_time,
            stages,
            root,
            resolved,
            canonical,
        })
    }

    /// Whether a rule maintains the query.
    #[must_use]
    pub const fn incremental(&self) -> bool {
        !matches!(self.root, Root::Opaque)
    }

    /// The operator and its state, if it is kept by a state table.
    #[must_use]
    pub fn state(&self) -> Option<(&Keyed, &StateFold)> {
        match &self.root {
            Root::Keyed(keyed) => keyed.state.as_ref().map(|state| (keyed.as_ref(), state)),
            Root::Opaque | Root::Linear(_) => None,
        }
    }

    /// The whole query with every source read in one way.
    ///
    /// # Errors
    /// As [`Renderer::sql`].
    pub fn whole(&self, renderer: &Renderer<'_>, reading: Reading) -> Result<String> {
        match &self.canonical {
            Some((node, leaves)) => renderer.sql(&linear::all(node, leaves, reading)),
            None => renderer.whole(&self.resolved, reading),
        }
    }

    /// A text that is the same exactly as long as the stored result can be continued: the query with its views
    /// expanded, the used columns and the result's columns with their types.
    ///
    /// # Errors
    /// As [`Renderer::sql`].
    pub fn identity(&self, parser: &Parser) -> Result<String> {
        let states: Vec<SourceState> = self.sources.iter().map(|source| unversioned(&source.name)).collect();
        let inputs = Inputs { sources: &states, stages: &[], clock: &Clock::default() };
        let renderer = Renderer { parser, lake: "lake", inputs, stages: &[] };
        let query = renderer.whole(&self.resolved, Reading::New)?;
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

/// Whether some column can have a collation, which its type does not show.
fn collates(resolved: &Value) -> bool {
    let mut found = false;
    tree::visit(resolved, &mut |child| found = found || collated(&child["select_list"]).is_some());
    found
}

/// The same rows with columns that have no collation. DuckLake keeps none, and where rows are compared by one, those that
/// differ by it alone are taken for the same.
fn without_collations(resolved: Value, output: &[(String, String)]) -> Value {
    const QUERY: &str = "__dt_q";
    let plain = |(name, data_type): &(String, String)| {
        let mut column = tree::column(&[QUERY, name]);
        if data_type == "VARCHAR" {
            column = tree::collate(column, "C");
        }
        column["alias"] = Value::from(name.as_str());
        column
    };
    let mut outer = tree::select_star(tree::derived_table(resolved, QUERY, &[]));
    outer["select_list"] = output.iter().map(plain).collect();
    outer
}

/// A source read as it stands.
fn unversioned(name: &TableName) -> SourceState {
    SourceState { table: name.clone(), old: None, new: None, new_relation: None, came: None, went: None }
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
    known: &Surroundings<'_>,
) -> Root {
    let shape = std::mem::replace(&mut lowered.shape, Shape::Opaque);
    if !lowered.reasons.is_empty() {
        return Root::Opaque;
    }
    let draft = match shape {
        Shape::Opaque => return Root::Opaque,
        Shape::Linear => return Root::Linear(Linear { node: lowered.node.clone(), leaves: lowered.leaves.clone() }),
        Shape::Keyed(draft) => *draft,
    };
    let Draft { node, sets, linearity, unique, calls, top, operator } = draft;
    let keys = sets.first().and_then(|set| set.places.first()).map_or_else(Vec::new, |place| place.keys.clone());
    // Of several sets of keys no single one says which of the stored rows are touched.
    let key_columns = if sets.len() == 1 { aggregate::key_columns(&node, &keys, output) } else { None };
    if key_columns.is_none()
        && let Some(reason) = calls.as_ref().and_then(aggregate::Calls::inexact)
    {
        let text = format!(
            "a GROUP BY key is not in the select list, and {}, so the rows to replace cannot be found",
            reason.text
        );
        let reason = Reason::new(text, reason.location);
        lowered.operators[operator].rule = None;
        lowered.operators[operator].reason = Some(reason.clone());
        lowered.reasons.push(reason);
        return Root::Opaque;
    }
    let fold = match &calls {
        Some(calls) => {
            // What a stage gives can have another meaning than a source's column of the same name.
            let sources = if lowered.stages.is_empty() { sources } else { &[] };
            Fold::analyse(&node, &keys, key_columns.as_deref(), output, sources, calls, known.parser)
        }
        None => Err("it is no aggregate".to_owned()),
    };
    let state = match &calls {
        Some(calls) if linearity.breakers.is_empty() && fold.is_err() => {
            let (keys, parser, catalog) = (keys.as_slice(), known.parser, known.catalog);
            Some(StateFold::analyse(&Aggregate { node: &node, keys, output, calls, parser, catalog }))
        }
        _ => None,
    };
    let (fold, state) = match state {
        // What the result lacks, the state holds: what neither can do is the reason.
        Some(Err(reason)) => (Err(reason), None),
        Some(Ok(state)) => (fold, Some(state)),
        None => (fold, None),
    };
    if calls.is_some() {
        lowered.operators[operator].rule = Some(match (&fold, &state) {
            (_, Some(state)) => {
                format!("fold the change into its groups; the state table holds {}", state.shown())
            }
            (Ok(_), None) => "fold the change into its groups".to_owned(),
            (Err(reason), None) if keys.is_empty() => {
                format!("recompute when anything changed; no folding: {reason}")
            }
            (Err(reason), None) => format!("recompute the affected groups; no folding: {reason}"),
        });
    }
    let keyed = Keyed::below(node, lowered.leaves.clone(), sets, linearity, unique);
    Root::Keyed(Box::new(keyed.at_root(key_columns, fold, state, top)))
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
