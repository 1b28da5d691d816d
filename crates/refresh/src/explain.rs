//! Why a table is refreshed the way it is: the same decisions and the same statements as a refresh, without publishing.

use std::collections::HashSet;

use error::{Code, Error, Result, Span};
use incremental::Plan;
use incremental::rewrite::{Rewrite, rewrites};
use registry::{Definition, DynamicTable, RefreshAction};
use sql::names::{ObjectName, TableName};
use sql::properties::RefreshMode;
use uuid::Uuid;

use crate::choose::{Chosen, Figures};
use crate::course::{Course, with_upstream};
use crate::decide::{Outcome, Situation};
use crate::shape::Shape;
use crate::sources::Told;
use crate::steps::Steps;
use crate::tables::DynamicTables;

/// Why a table is refreshed the way it is.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The table.
    pub name: TableName,
    /// Its query.
    pub query: String,
    /// `INCREMENTAL` or `FULL`.
    pub mode: String,
    /// Why not incremental.
    pub reason: Option<String>,
    /// The operators of the query, parents first.
    pub tree: Vec<ExplainedNode>,
    /// Other ways to write the query that would be incremental, or cheaper to keep up to date.
    pub rewrites: Vec<Rewrite>,
    /// What it reads.
    pub sources: Vec<ExplainedSource>,
    /// What the next refresh would do; `None` when that cannot be told yet.
    pub choice: Option<Choice>,
    /// The statements that a refresh would run now to compute its change, in order.
    pub statements: Vec<String>,
}

/// An operator of the query.
#[derive(Clone, Debug)]
pub struct ExplainedNode {
    /// How deep it stands below the root.
    pub depth: usize,
    /// What it is.
    pub operator: String,
    /// The rule that maintains it.
    pub rule: Option<String>,
    /// Why there is none.
    pub reason: Option<String>,
    /// Its line in the query, from 1; 0 if not known.
    pub line: usize,
    /// Its column in the query, from 1; 0 if not known.
    pub column: usize,
}

/// A table that is read.
#[derive(Clone, Debug)]
pub struct ExplainedSource {
    /// Its name.
    pub name: TableName,
    /// `TABLE` or `DYNAMIC_TABLE`.
    pub kind: String,
    /// The columns the query looks at.
    pub columns: Vec<String>,
    /// Rows it has.
    pub rows: u64,
    /// About how many rows came or went since the table's data version.
    pub changed: Option<u64>,
    /// How that change is read.
    pub window: String,
}

/// What a refresh would do.
#[derive(Clone, Debug)]
pub struct Choice {
    /// NO_DATA, INCREMENTAL, FULL or REINITIALIZE.
    pub action: String,
    /// Why.
    pub reason: String,
    /// The figures it was chosen by, as (name, value).
    pub figures: Vec<(String, String)>,
}

impl DynamicTables {
    /// Explains how a table is refreshed. Computes the change that a refresh would publish now, and throws it away.
    ///
    /// # Errors
    /// `QUERY` when it does not exist, and whatever a refresh would fail with.
    pub fn explain(&self, name: &ObjectName) -> Result<Explanation> {
        let table = self.find(name)?;
        let tables = self.load_all()?;
        let order = with_upstream(&tables, &HashSet::from([table.definition.id]))?;
        let mut course = self.course(tables, &order, &HashSet::new())?;
        let source_rows = self.source_rows.borrow().clone();
        let explanation = self.explain_after(&mut course, &order, table.definition.id);
        self.trace.borrow_mut().take();
        self.source_rows.replace(source_rows);
        self.forget_temporaries()?;
        self.forget_unpublished(&mut course.unpublished)?;
        explanation
    }

    /// Explains the last table of `order` as it will be refreshed after the others.
    fn explain_after(&self, course: &mut Course, order: &[Uuid], id: Uuid) -> Result<Explanation> {
        let position_of = |course: &Course, id: Uuid| {
            course
                .tables
                .position(id)
                .ok_or_else(|| Error::new(Code::Conflict, "the table was dropped meanwhile").with_transient(true))
        };
        for upstream in order.iter().filter(|upstream| **upstream != id) {
            let position = position_of(course, *upstream)?;
            let name = course.tables[position].definition.name.to_string();
            self.dry_run_one(course, position, false).map_err(|error| error.with_context("table", name))?;
            self.forget_temporaries()?;
        }
        let position = position_of(course, id)?;
        let mut table = course.tables[position].clone();
        let unchanged = self.is_unchanged(course, &table, false)?;
        let watermark = self.watermark(course, &table)?;
        let agreement = self.agree_unrecorded(&mut table, watermark.as_ref())?;
        let situation = self.situation(course, &table, watermark.as_ref(), &agreement)?;
        let plan = &situation.analysis.plan;
        let text = &table.definition.query;
        let place = |location: Option<usize>| {
            location
                .filter(|place| *place <= text.len())
                .map_or((0, 0), |place| Span::new(text.as_str(), place, 0).line_and_column())
        };
        let tree = plan.operators.iter().map(|operator| {
            let (line, column) =
                place(operator.reason.as_ref().and_then(|reason| reason.location).or(operator.location));
            ExplainedNode {
                depth: operator.depth,
                operator: operator.name.clone(),
                rule: operator.rule.clone(),
                reason: operator.reason.as_ref().map(ToString::to_string),
                line,
                column,
            }
        });
        let tree: Vec<ExplainedNode> = tree.collect();
        let sources = self.explain_sources(course, &table, &situation)?;
        *self.trace.borrow_mut() = Some(Vec::new());
        let outcome = if unchanged {
            let chosen = Chosen { action: RefreshAction::NoData, reason: "no source has changed".to_owned() };
            Outcome::keeping_state(chosen, Figures::default(), None)
        } else {
            self.compute(course, &table, &situation, false, &mut Steps::start())?
        };
        let statements = self.trace.borrow_mut().take().unwrap_or_default();
        let figures = outcome.figures.to_json(table.definition.properties.cardinality_threshold);
        // Where nothing changed, no figure was asked for.
        let figures = figures.as_object().filter(|_| !unchanged).into_iter().flatten();
        let choice = Choice {
            action: outcome.chosen.action.as_str().to_owned(),
            reason: outcome.chosen.reason,
            figures: figures.map(|(name, value)| (name.clone(), value.to_string())).collect(),
        };
        Ok(Explanation {
            name: table.definition.name.clone(),
            query: text.clone(),
            mode: if table.definition.incremental { "INCREMENTAL" } else { "FULL" }.to_owned(),
            reason: table.definition.refresh_mode_reason.clone(),
            tree,
            rewrites: self.rewrites(&table.definition, plan)?,
            sources,
            choice: Some(choice),
            statements,
        })
    }

    /// What the query could be written as; nothing for a table that is to be refreshed in full.
    fn rewrites(&self, definition: &Definition, plan: &Plan) -> Result<Vec<Rewrite>> {
        if definition.properties.refresh_mode == RefreshMode::Full {
            return Ok(Vec::new());
        }
        let query = self.parser.parse(&definition.query)?;
        let shape = Shape::new(&self.lake, &self.session, None)?;
        rewrites(&query, plan, &shape, &self.parser, self.lake.alias(), &definition.default_schema)
    }

    fn explain_sources(
        &self,
        course: &Course,
        table: &DynamicTable,
        situation: &Situation,
    ) -> Result<Vec<ExplainedSource>> {
        let plan = &situation.analysis.plan;
        let from = if situation.start_over.is_some() { None } else { table.progress.data_version };
        let spans =
            self.spans(plan, from, course.version.id, &course.tables, &course.unpublished, &course.changes.changes)?;
        let windows = match self.windows(&spans, &course.changes)? {
            Told::Windows(windows) => Some(windows),
            Told::Broken(_) => None,
        };
        let mut sources = Vec::new();
        for (number, source) in plan.sources.iter().enumerate() {
            let upstream = course.tables.named(&source.name).is_some();
            let window = windows.as_ref().map(|windows| &windows[number]);
            sources.push(ExplainedSource {
                name: source.name.clone(),
                kind: if upstream { "DYNAMIC_TABLE" } else { "TABLE" }.to_owned(),
                columns: source.used.iter().map(|column| column.name.clone()).collect(),
                rows: self.session.table(&source.name, None)?.map_or(0, |found| found.rows),
                changed: window.map(|window| window.inserted + window.deleted),
                window: window.map_or_else(|| "whole".to_owned(), described),
            });
        }
        Ok(sources)
    }
}

fn described(window: &lake::Window) -> String {
    match window.rule {
        lake::WindowRule::Unchanged => "unchanged".to_owned(),
        lake::WindowRule::Insertions => "insertions of the change feed".to_owned(),
        lake::WindowRule::DistinctFeed => "change feed, each row once per snapshot".to_owned(),
        lake::WindowRule::BothEnds => "all rows, as they are at both ends".to_owned(),
        lake::WindowRule::CandidateRowIds => "rows named by the change feed, as they are at both ends".to_owned(),
        lake::WindowRule::Broken(_) => "whole".to_owned(),
    }
}
