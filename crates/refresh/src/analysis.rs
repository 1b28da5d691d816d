//! From a definition to a plan: parse, resolve against the lake, and the fingerprint that says whether a stored
//! result can be continued.

use std::collections::HashMap;
use std::sync::Arc;

use error::{Code, Error, Result, Span};
use incremental::Plan;
use lake::{ChangeKind, Changes, SnapshotId};
use registry::{Definition, Source, SourceKind};
use sha2::{Digest, Sha256};
use sql::names::{ObjectName, TableName};
use sql::properties::RefreshMode;
use uuid::Uuid;

use crate::course::{Course, is_isolated};
use crate::registered::Registered;
use crate::shape::{Coming, Shape};
use crate::tables::DynamicTables;

/// A query as it stands in the lake now.
pub(crate) struct Analysis {
    pub plan: Plan,
    identity: String,
    /// The newest snapshot when it was finished.
    seen: SnapshotId,
}

impl Analysis {
    /// Tells apart definitions, shapes of their sources, and ways of reading them that cannot be continued from one
    /// another. `tables` are all dynamic tables.
    pub fn fingerprint(&self, tables: &Registered) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.identity);
        for source in &self.plan.sources {
            let upstream = tables.named(&source.name);
            if upstream.is_some_and(|upstream| !is_isolated(upstream)) {
                hash.update(format!("\nat its data version: {}", source.name.to_string().to_lowercase()));
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The analysis of a query that is about to be registered.
pub(crate) struct NewAnalysis {
    query: String,
    default_schema: String,
    /// The newest snapshot when it was begun.
    current: SnapshotId,
    analysis: Arc<Analysis>,
}

/// Analyses that are still right: nothing in the lake changed its shape since.
#[derive(Default)]
pub(crate) struct AnalysisCache {
    known: HashMap<Uuid, (i64, Arc<Analysis>)>,
    /// Up to which snapshot changes of shape were looked for.
    seen: Option<SnapshotId>,
}

impl AnalysisCache {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Keeps an analysis that was begun when `current` was the newest snapshot.
    pub fn keep(&mut self, definition: &Definition, analysis: &Arc<Analysis>, current: SnapshotId) {
        if self.seen.is_none_or(|seen| seen < current) {
            // Nobody has looked whether the others are still right.
            self.known.clear();
            self.seen = Some(current);
        }
        self.known.insert(definition.id, (definition.revision, Arc::clone(analysis)));
    }

    /// Forgets everything if a table or view was created, dropped or altered in `changes`, or if they do not reach
    /// back to what was seen.
    pub fn follow(&mut self, since: SnapshotId, changes: &Changes) {
        let reaches_back = self.seen.is_some_and(|seen| since <= seen);
        let reshaped = changes
            .changes
            .iter()
            .any(|change| self.seen.is_none_or(|seen| change.snapshot > seen) && reshapes(change));
        if !reaches_back || reshaped {
            self.known.clear();
        }
        self.seen = Some(changes.current.id);
    }
}

/// Whether a change may be one of what there is, and not only of rows.
fn reshapes(change: &lake::Change) -> bool {
    !matches!(change.kind, ChangeKind::Inserted | ChangeKind::Deleted | ChangeKind::Compacted)
}

impl DynamicTables {
    /// The analysis of a registered table, cached as long as neither it nor the lake's shape changed.
    pub(crate) fn analyse(&self, definition: &Definition) -> Result<Arc<Analysis>> {
        if let Some((revision, analysis)) = self.analyses.borrow().known.get(&definition.id)
            && *revision == definition.revision
        {
            return Ok(Arc::clone(analysis));
        }
        let analysis = Arc::new(
            self.analyse_query(&definition.query, &definition.default_schema)
                .map_err(|error| no_longer_binds(error, definition))?,
        );
        self.analyses.borrow_mut().known.insert(definition.id, (definition.revision, Arc::clone(&analysis)));
        Ok(analysis)
    }

    /// The analysis of a registered table on a course, over the columns that its sources will have.
    pub(crate) fn analyse_in(&self, course: &Course, definition: &Definition) -> Result<Arc<Analysis>> {
        let analysis = if course.unpublished.reshapes() {
            let coming = Coming { unpublished: &course.unpublished, parser: &self.parser };
            self.analyse_query_over(&definition.query, &definition.default_schema, Some(coming))
                .map(Arc::new)
                .map_err(|error| no_longer_binds(error, definition))?
        } else {
            self.analyse(definition)?
        };
        self.refuse_newer_shape(course, &analysis)?;
        Ok(analysis)
    }

    /// Refuses a query that was analysed over another shape than what it reads has at the course's version: somebody has
    /// altered that since.
    fn refuse_newer_shape(&self, course: &Course, analysis: &Analysis) -> Result<()> {
        let (version, plan) = (course.version.id, &analysis.plan);
        if analysis.seen <= version {
            return Ok(());
        }
        let by_others = |change: &&lake::Change| change.snapshot <= analysis.seen && !change.ours && reshapes(change);
        let changes = self.session.changes_since(version)?.changes;
        let changes: Vec<&lake::Change> = changes.iter().filter(by_others).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let names: Vec<TableName> = plan.sources.iter().map(|source| source.name.clone()).collect();
        let ids = self.session.table_ids(&names)?;
        let altered = changes.iter().find(|change| match &change.name {
            Some((schema, name)) => {
                let name = TableName::new(schema, name);
                names.contains(&name) || plan.views.contains(&name)
            }
            None => change.table_id.is_some() && ids.contains(&change.table_id),
        });
        let Some(altered) = altered else { return Ok(()) };
        let message =
            format!("what it reads was altered in snapshot {}, after data version {version}", altered.snapshot);
        Err(Error::new(Code::Conflict, message)
            .with_transient(true)
            .with_hint("Refresh again: that goes to the newest data version."))
    }

    /// The analysis of a query that is not registered, and the lake's newest snapshot when it was begun. As long as that is the
    /// newest one, the same query is not analysed again: what is created is checked first.
    pub(crate) fn analyse_new(&self, query: &str, default_schema: &str) -> Result<(Arc<Analysis>, SnapshotId)> {
        let current = self.session.current_snapshot()?.id;
        let is_same = |known: &&NewAnalysis| {
            known.current == current && known.query == query && known.default_schema == default_schema
        };
        if let Some(known) = self.new_analysis.borrow().as_ref().filter(is_same) {
            return Ok((Arc::clone(&known.analysis), current));
        }
        let analysis = Arc::new(self.analyse_query(query, default_schema)?);
        *self.new_analysis.borrow_mut() = Some(NewAnalysis {
            query: query.to_owned(),
            default_schema: default_schema.to_owned(),
            current,
            analysis: Arc::clone(&analysis),
        });
        Ok((analysis, current))
    }

    /// The analysis of a query whose unqualified names are looked up in `default_schema`.
    fn analyse_query(&self, query: &str, default_schema: &str) -> Result<Analysis> {
        self.analyse_query_over(query, default_schema, None)
    }

    fn analyse_query_over(&self, query: &str, default_schema: &str, coming: Option<Coming<'_>>) -> Result<Analysis> {
        let shape = Shape::new(&self.lake, &self.session, coming)?;
        let (plan, identity) = self.plan_over(query, default_schema, &shape)?;
        // Within its transaction it would be what was the newest when that began.
        drop(shape);
        let seen = self.session.current_snapshot()?.id;
        Ok(Analysis { plan, identity, seen })
    }

    /// The plan of a query over the lake as `shape` tells it, and what tells it from others.
    fn plan_over(&self, query: &str, default_schema: &str, shape: &Shape<'_>) -> Result<(Plan, String)> {
        let query = self.parser.parse(query)?;
        let plan = Plan::analyse(&query, shape, &self.parser, self.lake.alias(), default_schema)
            .map_err(|error| place_binder_error(error, &query.text))
            .map_err(|error| self.perhaps_not_initialised(error, default_schema))?;
        // A timestamp with time zone falls on another day in another zone.
        let zone = self.session.texts("SELECT current_setting('TimeZone')::VARCHAR")?;
        // As earlier versions wrote it: another text would make every table start over.
        let identity = format!("{}\n{:?}", plan.identity(&self.parser)?, [zone]);
        Ok((plan, identity))
    }

    /// Where a registered query names a table, in bytes. The lake may call it `new` already.
    pub(crate) fn references(&self, definition: &Definition, old: &TableName, new: &TableName) -> Result<Vec<usize>> {
        let is_called_so = self.session.table_ids(std::slice::from_ref(old))?.pop().flatten().is_some();
        let places = |plan: &Plan, name: &TableName| {
            plan.references.iter().filter(|(_, named)| named == name).map(|(place, _)| *place).collect()
        };
        if is_called_so {
            return Ok(places(&self.analyse(definition)?.plan, old));
        }
        let shape = Shape::new(&self.lake, &self.session, None)?.with_renamed(old, new);
        let (plan, _) = self.plan_over(&definition.query, &definition.default_schema, &shape)?;
        Ok(places(&plan, new))
    }

    /// An unknown source may be a dynamic table that has no content yet.
    fn perhaps_not_initialised(&self, error: Error, default_schema: &str) -> Error {
        let Some(name) = error.message().strip_prefix("unknown source ") else { return error };
        let resolved = ObjectName::parse(name).and_then(|name| name.resolve(self.lake.alias(), default_schema));
        let known = resolved.ok().and_then(|name| self.registry.get(&name).ok().flatten());
        if known.is_none() {
            return error;
        }
        let message = format!("dynamic table {name} has no content yet");
        let hint = format!("Refresh it first: `dynamic-tables refresh {name}`.");
        match error.span() {
            Some(span) => Error::new(Code::Dependency, message).with_span(span.clone()).with_hint(hint),
            None => Error::new(Code::Dependency, message).with_hint(hint),
        }
    }

    /// The sources of a plan as the registry keeps them; `tables` are all dynamic tables.
    pub(crate) fn registered_sources(&self, plan: &Plan, tables: &Registered) -> Result<Vec<Source>> {
        let upstream = |name: &TableName| tables.named(name);
        let names: Vec<TableName> = plan.sources.iter().map(|source| source.name.clone()).collect();
        let mut sources = Vec::new();
        for (source, lake_table_id) in plan.sources.iter().zip(self.source_ids(&names, tables)?) {
            let upstream = upstream(&source.name).map(|table| table.definition.id);
            sources.push(Source {
                name: source.name.clone(),
                kind: if upstream.is_some() { SourceKind::DynamicTable } else { SourceKind::Table },
                lake_table_id,
                upstream,
                columns: source.used.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect(),
            });
        }
        let view = |name: &TableName| Source {
            name: name.clone(),
            kind: SourceKind::View,
            lake_table_id: None,
            upstream: None,
            columns: Vec::new(),
        };
        sources.extend(plan.views.iter().map(view));
        Ok(sources)
    }
}

/// A registered query was fine once: if it does not bind, its sources have changed.
fn no_longer_binds(error: Error, definition: &Definition) -> Error {
    if error.code() != Code::Query {
        return error;
    }
    let changed = Error::new(Code::Schema, error.message().to_owned())
        .with_context("table", definition.name.to_string())
        .with_hint(
            "Its sources have changed: bring the column or table back, or change the query with CREATE OR REPLACE.",
        );
    match error.span() {
        Some(span) => changed.with_span(span.clone()),
        None => changed,
    }
}

/// The engine binds another text than the user wrote; the place of a name in it is looked up again in the user's.
fn place_binder_error(error: Error, text: &str) -> Error {
    if error.span().is_some_and(|span| span.text == text) || error.code() != Code::Query {
        return error;
    }
    let mut placed = Error::new(Code::Query, error.message().to_owned());
    if let Some(hint) = error.hint() {
        placed = placed.with_hint(hint);
    }
    let quoted = error.message().split('"').nth(1).filter(|name| !name.is_empty());
    match quoted.and_then(|name| text.to_lowercase().find(&name.to_lowercase()).map(|offset| (offset, name.len()))) {
        // Lower-casing keeps byte offsets for ASCII only.
        Some((offset, length)) if text.is_ascii() => placed.with_span(Span::new(text, offset, length)),
        _ => placed,
    }
}

/// What `mode` comes to for this plan: whether it is maintained incrementally, and why (not).
///
/// # Errors
/// `QUERY` with the place when INCREMENTAL is demanded of a query that has no incremental rule.
pub(crate) fn resolve_mode(mode: RefreshMode, plan: &Plan, text: &str) -> Result<(bool, Option<String>)> {
    let reason = plan.reasons.first();
    match (mode, reason) {
        (RefreshMode::Full, _) => Ok((false, Some("REFRESH_MODE = FULL".to_owned()))),
        (_, None) => Ok((true, None)),
        (RefreshMode::Auto, Some(reason)) => Ok((false, Some(reason.text.clone()))),
        (RefreshMode::Incremental, Some(reason)) => {
            let error = Error::new(Code::Query, format!("the query cannot be refreshed incrementally: {reason}"))
                .with_hint("Use REFRESH_MODE = AUTO to have it refreshed in full, or change the query.");
            Err(match reason.location {
                Some(location) => error.with_span(Span::new(text, location, 0)),
                None => error,
            })
        }
    }
}

impl DynamicTables {
    /// Forgets what is known of a table whose definition is about to change.
    pub(crate) fn forget_analysis(&self, table: Uuid) {
        self.analyses.borrow_mut().known.remove(&table);
    }
}
