//! Small rewrites of a query that would make it incremental, or cheaper to keep: each is tried, and only what the analysis
//! finds to be so is offered.
//!
//! A rewrite that says it gives the same result does so for every content of the tables. This module does not know the
//! data, and looks at the outermost SELECT only.

mod groups;
mod subqueries;

use error::Result;
use serde_json::Value;
use sql::query::{Parser, Query};
use sql::tree;

use crate::expression::calls_aggregate;
use crate::{Catalog, Plan, Root};

/// Another way to write a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What is written otherwise, and what is gained.
    pub change: String,
    /// What becomes of the result; `None`: it stays the same, row for row.
    pub effect: Option<String>,
    /// The rewritten query.
    pub sql: String,
}

/// What a rewrite does to a tree, if it fits.
type Attempt = fn(&Value, &Plan, &Parser) -> Option<Value>;

/// The rewrites that may give a query a rule: what they change, what becomes of the result, and how.
const FOR_A_RULE: [(&str, Option<&str>, Attempt); 5] = [
    ("IN and EXISTS as joins", None, subqueries::as_joins),
    ("without DISTINCT, which GROUP BY makes superfluous", None, without_distinct),
    ("the windows over a subquery that groups", None, groups::windows_over_groups),
    ("with the GROUP BY keys in the select list", Some("it has further columns at the end"), groups::with_keys),
    (
        "floating-point values summed as decimals",
        Some(
            "values are rounded to 4 decimals, sums are DECIMAL, and values beyond 14 digits before the point are an error",
        ),
        groups::with_exact_sums,
    ),
];

/// What the query could be written as to be incremental, or to have its changes folded. Empty if nothing small is known.
///
/// # Errors
/// `INTERNAL` when a rewritten tree cannot be turned into SQL.
pub fn rewrites(
    query: &Query,
    plan: &Plan,
    catalog: &dyn Catalog,
    parser: &Parser,
    lake: &str,
    default_schema: &str,
) -> Result<Vec<Rewrite>> {
    if !tree::is(&query.node, "SELECT_NODE") {
        return Ok(Vec::new());
    }
    let analysed = |node: &Value| -> Result<Option<(String, Plan)>> {
        let sql = as_written(parser.to_sql(node)?, parser);
        // What does not bind or parse was no good idea.
        let analysed =
            parser.parse(&sql).and_then(|query| Plan::analyse(&query, catalog, parser, lake, default_schema));
        Ok(analysed.ok().map(|plan| (sql, plan)))
    };
    let keeps_result = |effect: Option<&str>, new: &Plan| effect.is_some() || new.output == plan.output;
    let mut found = Vec::new();
    if plan.incremental() {
        if !folds(plan)
            && let Some(node) = groups::with_counts(&query.node, plan, parser)
            && let Some((sql, new)) = analysed(&node)?
            && folds(&new)
        {
            found.push(Rewrite {
                change: "with the counts that let a change be folded into its groups".to_owned(),
                effect: Some("it has further columns at the end".to_owned()),
                sql,
            });
        }
        return Ok(found);
    }
    let (mut all, mut changes, mut effects) = (query.node.clone(), Vec::new(), Vec::new());
    for (change, effect, attempt) in FOR_A_RULE {
        // Nobody needs another result where the same can be had.
        let is_needed = effect.is_none() || found.is_empty();
        if is_needed
            && let Some(node) = attempt(&query.node, plan, parser)
            && let Some((sql, new)) = analysed(&node)?
            && new.incremental()
            && keeps_result(effect, &new)
        {
            let effect = effect.map(str::to_owned);
            found.push(Rewrite { change: change.to_owned(), effect, sql });
        }
        if let Some(node) = attempt(&all, plan, parser) {
            all = node;
            changes.push(change);
            effects.extend(effect);
        }
    }
    if found.is_empty()
        && changes.len() > 1
        && let Some((sql, new)) = analysed(&all)?
        && new.incremental()
        && keeps_result(effects.first().copied(), &new)
    {
        let effect = (!effects.is_empty()).then(|| effects.join("; "));
        found.push(Rewrite { change: changes.join(", "), effect, sql });
    }
    Ok(found)
}

/// `count(*)`, which the engine writes as a function of another name, as people write it.
fn as_written(sql: String, parser: &Parser) -> String {
    let written = sql.replace("count_star()", "count(*)");
    let read_back = parser.parse(&written).and_then(|query| parser.to_sql(&query.node));
    if read_back.is_ok_and(|read_back| read_back == sql) { written } else { sql }
}

/// Whether changes are folded into the stored groups, both ways.
fn folds(plan: &Plan) -> bool {
    match &plan.root {
        Root::Keyed(keyed) => keyed.fold.as_ref().is_ok_and(crate::rules::fold::Fold::invertible),
        _ => false,
    }
}

/// Whether a SELECT groups, or is one group.
fn is_grouped(node: &Value, parser: &Parser) -> bool {
    !tree::list(node, "group_expressions").is_empty()
        || tree::text(node, "aggregate_handling") == "FORCE_AGGREGATES"
        || calls_aggregate(&node["select_list"], parser)
}

/// A DISTINCT over groups all of whose keys are shown.
fn without_distinct(node: &Value, _: &Plan, parser: &Parser) -> Option<Value> {
    let plain = |modifier: &Value| {
        tree::text(modifier, "type") == "DISTINCT_MODIFIER" && tree::list(modifier, "distinct_on_targets").is_empty()
    };
    let superfluous = is_grouped(node, parser)
        && tree::list(node, "modifiers").iter().any(plain)
        && groups::hidden_keys(node, parser)?.is_empty();
    let mut node = node.clone();
    node["modifiers"].as_array_mut().filter(|_| superfluous)?.retain(|modifier| !plain(modifier));
    Some(node)
}
