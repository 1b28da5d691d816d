//! CREATE [OR REPLACE | OR ALTER] DYNAMIC TABLE.
//!
//! A new table is registered first and filled then; if filling fails, the registration is taken back, and if the
//! process dies in between, the next refresh by hand fills it, or a worker after a while. A table that exists keeps what
//! it has if the new query is the old one, however it is written. Otherwise it is published under its new query first
//! and registered then, so that the old definition stays in force until the new one is there; until then the old one is
//! marked as one whose content is not known.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use error::{Code, Error, Result, Span};
use failpoint::fail_point;
use jiff::Timestamp;
use lake::SnapshotId;
use registry::{
    Alteration, Definition, DynamicTable, Progress, RefreshState, RefreshTrigger, Registry, SchedulingState,
    TransferKind,
};
use sql::names::TableName;
use sql::properties::{Initialize, TargetLag};
use sql::statement::{CreateDynamicTable, CreateMode};
use uuid::Uuid;

use crate::analysis::{Analysis, resolve_mode};
use crate::claimed::Held;
use crate::cluster;
use crate::course::{Manner, graph, with_upstream};
use crate::registered::Registered;
use crate::report::{CreateAction, Created, RefreshReport};
use crate::shape::RESERVED_SCHEMA_PREFIX;
use crate::tables::DynamicTables;

/// How long workers leave a new table to the process that creates it: to initialise it twice at the same time would
/// make one of both fail. After that its creator has died.
const FIRST_REFRESH_LIMIT: Duration = Duration::from_secs(3_000);

impl DynamicTables {
    /// Creates, replaces or alters a dynamic table. `text` is the whole input that the statement stands in.
    ///
    /// # Errors
    /// `QUERY` with the place for a query that does not bind or a name that is taken, `DEPENDENCY` for a cycle, and
    /// whatever the first refresh fails with. Then nothing is left of a new table, and a replaced one is as before.
    pub fn create(&self, statement: &CreateDynamicTable, text: &str) -> Result<Created> {
        let name = self.resolve(&statement.name)?;
        let tables = self.load_all()?;
        let existing = tables.named(&name).cloned();
        match (&existing, statement.mode) {
            (Some(_), CreateMode::Create) if statement.if_not_exists => {
                return Ok(created(name, CreateAction::AlreadyExists, None));
            }
            (Some(_), CreateMode::Create) => {
                return Err(Error::new(Code::Query, format!("dynamic table {name} already exists"))
                    .with_span(statement.name.span(text))
                    .with_hint("Use CREATE OR REPLACE, CREATE OR ALTER or CREATE ... IF NOT EXISTS."));
            }
            (Some(_), _) => {}
            (None, _) => self.name_is_free(&name, statement, text)?,
        }
        let (analysis, current) = self.analysed(statement, text)?;
        let table = self.define(statement, text, &name, &tables, existing.as_ref(), &analysis)?;
        let known = (&analysis, current);
        let warnings = notices(&analysis, &table, &tables);
        let mut result = match existing {
            None => self.create_new(table, &tables, known)?,
            Some(existing) if is_filled_by_the_same_query(&existing, &table) => {
                self.change_properties(&existing, table, &analysis)?
            }
            Some(existing) => self.replace(&existing, table, &tables, known)?,
        };
        let (incremental, reason) =
            resolve_mode(statement.properties.refresh_mode, &analysis.plan, &statement.query)?;
        result.incremental = incremental;
        result.reason = reason;
        result.notices = warnings;
        Ok(result)
    }

    pub(crate) fn name_is_free(&self, name: &TableName, statement: &CreateDynamicTable, text: &str) -> Result<()> {
        if let Some(what) = self.plain_relation(name)? {
            return Err(Error::new(Code::Query, format!("{name} is the name of a plain {what}"))
                .with_span(statement.name.span(text))
                .with_hint(format!("Choose another name, or drop the {what} first.")));
        }
        if self.registry.transfer(TransferKind::Source, name)?.is_some() {
            return Err(Error::new(Code::Query, format!("{name} is the name of a source"))
                .with_span(statement.name.span(text))
                .with_hint("Choose another name, or drop the source first."));
        }
        if name.schema.starts_with(RESERVED_SCHEMA_PREFIX) {
            return Err(Error::new(Code::Query, format!("schema {} is reserved", name.schema))
                .with_span(statement.name.span(text))
                .with_hint(format!("Schemas whose names start with {RESERVED_SCHEMA_PREFIX} hold bookkeeping.")));
        }
        Ok(())
    }

    /// What the lake has under a name: a table, or a view.
    fn plain_relation(&self, name: &TableName) -> Result<Option<&'static str>> {
        Ok(match self.session.table_ids(std::slice::from_ref(name))?.pop().flatten() {
            Some(_) => Some("table"),
            None => self.session.view(name)?.map(|_| "view"),
        })
    }

    /// Why a table that was never published cannot be: somebody else has made something under its name since it was created.
    pub(crate) fn name_was_taken(&self, table: &DynamicTable) -> Result<Option<Error>> {
        let name = &table.definition.name;
        let Some(what) = self.plain_relation(name)? else { return Ok(None) };
        // Of a table that another process has filled at the same moment there is a watermark.
        let id = table.definition.id.to_string();
        if self.session.watermarks()?.iter().any(|mark| mark.table_id == id) {
            return Ok(None);
        }
        let message = format!("{name} is the name of a plain {what} by now, which is not overwritten");
        let hint = format!("Rename or drop that {what}, or drop the dynamic table and give it another name.");
        Ok(Some(Error::new(Code::Query, message).with_hint(hint)))
    }

    /// The analysed query, and the lake's newest snapshot when that was begun.
    pub(crate) fn analysed(&self, statement: &CreateDynamicTable, text: &str) -> Result<(Arc<Analysis>, SnapshotId)> {
        self.analyse_new(&statement.query, self.lake.schema())
            .map_err(|error| shift_span(error, &statement.query, statement.query_offset, text))
    }

    /// The table as it would be registered.
    pub(crate) fn define(
        &self,
        statement: &CreateDynamicTable,
        text: &str,
        name: &TableName,
        tables: &Registered,
        existing: Option<&DynamicTable>,
        analysis: &Analysis,
    ) -> Result<DynamicTable> {
        let in_text = |error: Error| shift_span(error, &statement.query, statement.query_offset, text);
        statement.properties.check()?;
        let (incremental, reason) =
            resolve_mode(statement.properties.refresh_mode, &analysis.plan, &statement.query).map_err(in_text)?;
        cluster::check(&statement.properties, &analysis.plan.output)
            .map_err(|error| error.with_span(statement.name.span(text)))?;
        let sources = self.registered_sources(&analysis.plan, tables)?;
        let now = Timestamp::now();
        let table = DynamicTable {
            definition: Definition {
                id: existing.map_or_else(Uuid::now_v7, |existing| existing.definition.id),
                name: existing.map_or_else(|| name.clone(), |existing| existing.definition.name.clone()),
                query: statement.query.clone(),
                default_schema: self.lake.schema().to_owned(),
                properties: statement.properties.clone(),
                fingerprint: analysis.fingerprint(tables),
                revision: existing.map_or(1, |existing| existing.definition.revision),
                state: existing.map_or(SchedulingState::Running, |existing| existing.definition.state.clone()),
                refresh_mode_reason: reason,
                time_dependent: analysis.plan.follows_time || analysis.plan.volatile,
                incremental,
                columns: analysis.plan.output.clone(),
                created_at: existing.map_or(now, |existing| existing.definition.created_at),
                updated_at: now,
            },
            sources,
            progress: existing.map_or_else(Progress::default, |existing| existing.progress.clone()),
        };
        self.refuse_cycle(&table, tables).map_err(|error| error.with_span(statement.name.span(text)))?;
        Ok(table)
    }

    fn refuse_cycle(&self, table: &DynamicTable, tables: &[DynamicTable]) -> Result<()> {
        let others = tables.iter().filter(|other| other.definition.id != table.definition.id);
        let all: Vec<DynamicTable> = others.cloned().chain(std::iter::once(table.clone())).collect();
        graph(&all).map(|_| ())
    }

    fn create_new(
        &self,
        mut table: DynamicTable,
        tables: &Registered,
        (analysis, current): (&Arc<Analysis>, SnapshotId),
    ) -> Result<Created> {
        let name = table.definition.name.clone();
        let on_schedule = table.definition.properties.initialize == Initialize::OnSchedule;
        if !on_schedule {
            table.progress.retry_at = Timestamp::now().checked_add(FIRST_REFRESH_LIMIT).ok();
        }
        self.registry.create(&table)?;
        if on_schedule {
            return Ok(created(name, CreateAction::Created, None));
        }
        let id = table.definition.id;
        self.analyses.borrow_mut().keep(&table.definition, analysis, current);
        let tables = Registered::new(tables.iter().chain([&table]).cloned().collect());
        let failed = |error: Error| {
            self.take_back(&table);
            error.with_context("table", name.to_string())
        };
        // Held until it is taken back, or somebody else might fill it after that.
        let held = self.hold_for(&tables, id).map_err(failed)?;
        let report = self.first_refresh(tables, id, &HashSet::new(), &held).map_err(failed)?;
        Ok(created(name.clone(), CreateAction::Created, Some(report)))
    }

    /// Removes what was made of a new table whose first refresh failed.
    fn take_back(&self, table: &DynamicTable) {
        // The connection may have been lost after the commit. As long as the table cannot be taken back from the lake it stays
        // registered, and the next refresh finds out how far it is.
        let taken_back = self
            .retried(|| self.drop_from_lake(&[table]))
            .and_then(|()| Registry::drop(&self.registry, &[table.definition.id]));
        // The failure of the first refresh is what the user must hear of.
        if let Err(error) = taken_back {
            tracing::warn!(table = %table.definition.name, %error, "could not take back what was made of a table");
        }
    }

    /// Keeps others from refreshing a table and what it reads.
    fn hold_for(&self, tables: &Registered, id: Uuid) -> Result<Held> {
        self.hold_patiently(None, &with_upstream(tables, &HashSet::from([id]))?)
    }

    /// Refreshes a table and what it reads; a failure is an error.
    fn first_refresh(
        &self,
        tables: Registered,
        id: Uuid,
        renewed: &HashSet<Uuid>,
        held: &Held,
    ) -> Result<RefreshReport> {
        fail_point!("first-refresh");
        let order = with_upstream(&tables, &HashSet::from([id]))?;
        let tables = self.followed(tables)?;
        let mut course = self.course(tables, &order, renewed)?;
        // A replaced table is computed again though no source has changed.
        let manner = Manner { trigger: RefreshTrigger::Creation, worker: None, full: renewed, held };
        let name = course.tables.with_id(id).map(|table| table.definition.name.clone());
        let mut refreshed = None;
        let mut failure = None;
        self.run(&mut course, &order, &manner, &|| false, &mut |report| {
            let is_read = name.as_ref() != Some(&report.name);
            // One that it reads and that another process refreshed at the same moment is as good as refreshed.
            let is_skipped = is_read && report.state == RefreshState::Skipped && report.error.is_none();
            if report.state != RefreshState::Succeeded && !is_skipped {
                failure.get_or_insert(report);
            } else if !is_read {
                refreshed = Some(report);
            }
        })?;
        match (failure, refreshed) {
            (Some(report), _) => Err(report.error.unwrap_or_else(|| {
                Error::new(Code::Internal, format!("the refresh of {} failed without an error", report.name))
            })),
            (None, Some(report)) => Ok(report),
            (None, None) => Err(Error::new(Code::Internal, "nothing was refreshed")),
        }
    }

    /// The tables as they are by now, after others that refreshed them were waited for: the definitions stay, as one is
    /// just being made.
    fn followed(&self, mut tables: Registered) -> Result<Registered> {
        let now = self.load_all()?;
        for table in tables.iter_mut() {
            if let Some(now) = now.iter().find(|now| now.definition.id == table.definition.id) {
                table.progress.clone_from(&now.progress);
            }
        }
        Ok(tables)
    }

    fn change_properties(
        &self,
        existing: &DynamicTable,
        table: DynamicTable,
        analysis: &Analysis,
    ) -> Result<Created> {
        let name = table.definition.name.clone();
        let same_properties = existing.definition.properties == table.definition.properties;
        if existing.definition.properties.cluster_by != table.definition.properties.cluster_by {
            let _held = self.hold_patiently(None, &[existing.definition.id])?;
            self.cluster(existing, &table.definition.properties, &analysis.plan)?;
        }
        if !same_properties || existing.definition.query != table.definition.query {
            self.registry.alter(&[Alteration {
                definition: table.definition,
                sources: table.sources,
                progress: None,
            }])?;
        }
        // Another way of writing the same query is kept as it is written, and changes nothing.
        let action = if same_properties { CreateAction::Unchanged } else { CreateAction::Altered };
        Ok(created(name, action, None))
    }

    /// Fills the table with the new query's result, then registers the query. Everything up to the publication
    /// leaves the old definition in force; dying between both makes the next refresh restore the old content.
    fn replace(
        &self,
        existing: &DynamicTable,
        table: DynamicTable,
        tables: &Registered,
        (analysis, current): (&Arc<Analysis>, SnapshotId),
    ) -> Result<Created> {
        let name = table.definition.name.clone();
        let id = table.definition.id;
        let unfilled = table.definition.properties.initialize == Initialize::OnSchedule
            && existing.progress.data_version.is_none();
        if unfilled {
            self.registry.alter(&[Alteration {
                definition: table.definition,
                sources: table.sources,
                progress: None,
            }])?;
            return Ok(created(name, CreateAction::Replaced, None));
        }
        let with = |table: &DynamicTable| {
            let others = tables.iter().filter(|other| other.definition.id != id);
            Registered::new(others.chain([table]).cloned().collect())
        };
        // Nobody may refresh it by the old definition from here on.
        let held = self.hold_for(&with(&table), id)?;
        let as_it_was =
            self.registry.get(&name)?.filter(|now| now.definition.revision == existing.definition.revision);
        if as_it_was.is_none() {
            return Err(Error::new(Code::Conflict, format!("{name} was altered meanwhile by somebody else"))
                .with_transient(true)
                .with_hint("Look at it with `describe`, then say it again."));
        }
        // Should the process die before the new definition is registered, the old one without a fingerprint starts over.
        let old = Alteration {
            definition: Definition { fingerprint: String::new(), ..existing.definition.clone() },
            sources: existing.sources.clone(),
            progress: None,
        };
        self.registry.alter(std::slice::from_ref(&old))?;
        let revision = existing.definition.revision + 1;
        let mut table = table;
        table.definition.revision = revision;
        let alteration =
            Alteration { definition: table.definition.clone(), sources: table.sources.clone(), progress: None };
        self.forget_analysis(id);
        self.analyses.borrow_mut().keep(&table.definition, analysis, current);
        let refreshed = self.first_refresh(with(&table), id, &HashSet::from([id]), &held);
        self.forget_analysis(id);
        let report = match refreshed {
            Ok(report) => report,
            Err(error) => {
                let definition = Definition { revision, ..existing.definition.clone() };
                if let Err(cleanup) = self.registry.alter(&[Alteration { definition, ..old }]) {
                    tracing::warn!(table = %name, error = %cleanup, "could not put the old definition back; it will start over");
                }
                return Err(error);
            }
        };
        self.registry.alter(&[alteration])?;
        Ok(created(name, CreateAction::Replaced, Some(report)))
    }
}

/// Whether the content is that of a query which differs in nothing but how it is written.
fn is_filled_by_the_same_query(existing: &DynamicTable, table: &DynamicTable) -> bool {
    let filled =
        existing.progress.data_version.is_some() || table.definition.properties.initialize == Initialize::OnSchedule;
    filled && existing.definition.fingerprint == table.definition.fingerprint
}

fn created(name: TableName, action: CreateAction, refresh: Option<RefreshReport>) -> Created {
    Created { name, action, incremental: false, reason: None, refresh, notices: Vec::new() }
}

/// What the user should know about a query that is fine.
fn notices(analysis: &Analysis, table: &DynamicTable, tables: &[DynamicTable]) -> Vec<String> {
    let mut notices = Vec::new();
    if analysis.plan.volatile {
        notices.push(
            "the query gives another result at every evaluation; it is computed in full at every refresh and cannot be verified"
                .to_owned(),
        );
    }
    if table.sources.is_empty() {
        notices.push("the query reads no table, so nothing will ever make it change".to_owned());
    }
    let properties = &table.definition.properties;
    let asked_for =
        tables.iter().any(|other| other.sources.iter().any(|source| source.upstream == Some(table.definition.id)));
    let follows = table.sources.iter().any(|source| source.upstream.is_some());
    if properties.target_lag == Some(TargetLag::Downstream) && !asked_for && !follows {
        notices.push(
            "TARGET_LAG = DOWNSTREAM: until another dynamic table reads it, it is refreshed by hand only".to_owned(),
        );
    }
    notices
}

/// A place in the query becomes the place in the whole text.
pub(crate) fn shift_span(error: Error, query: &str, query_offset: usize, text: &str) -> Error {
    match error.span().cloned() {
        Some(span) if span.text == query => error.with_span(Span::new(text, query_offset + span.offset, span.length)),
        _ => error,
    }
}
