//! Bringing tables to one data version, one after the other in the order of their dependencies.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::{Change, ChangeKind, Changes, Snapshot, Watermark};
use registry::{
    DynamicTable, FinishedRefresh, LastRefresh, Progress, ProgressChange, Refresh, RefreshAction, RefreshState,
    RefreshTrigger, SourceKind,
};
use scheduler::Graph;
use sql::properties::{Scheduler, TargetLag};
use uuid::Uuid;

use crate::analysis::Analysis;
use crate::choose::{Chosen, Figures, choose, too_many_groups};
use crate::prepare::{Attempt, Prepared, Steps, Target};
use crate::publish::{Mark, create_table, must_prepare_again};
use crate::recover::Agreement;
use crate::report::{RefreshReport, RefreshRequest};
use crate::sources::{SourceChanges, Told, state_of};
use crate::tables::{DynamicTables, unknown};

/// How often a change is computed again because the sources were compacted meanwhile.
const PREPARATIONS: usize = 3;

/// After this many failures in a row a table is suspended.
pub(crate) const FAILURES_UNTIL_SUSPENDED: u32 = 5;

/// The pause after the first failure that may pass, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The bounds of the pause after a failure that will not pass by itself.
const SHORTEST_TURN: Duration = Duration::from_secs(10);
const LONGEST_TURN: Duration = Duration::from_secs(3_600);

/// The weight of the newest refresh in the mean duration.
const NEWEST_WEIGHT: f64 = 0.3;

/// Tables on their way to one data version.
pub(crate) struct Course {
    pub tables: Vec<DynamicTable>,
    pub version: Snapshot,
    /// What happened in the lake since the oldest data version among the tables.
    pub changes: Changes,
    /// Since which snapshot `changes` tells.
    pub since: i64,
    /// When `version` was seen to be the newest: what is brought to it is right until then.
    seen_at: Timestamp,
    watermarks: Option<HashMap<String, Watermark>>,
    failed: HashSet<Uuid>,
    /// Data versions that moved without a refresh, to be recorded at the end in one statement.
    advances: Vec<registry::Advance>,
}

/// How the tables of a course are refreshed.
pub(crate) struct Manner<'a> {
    pub trigger: RefreshTrigger,
    pub worker: Option<&'a str>,
    /// Tables to compute in full whatever would be cheaper.
    pub full: &'a HashSet<Uuid>,
}

/// What is known of a table before its change is computed.
pub(crate) struct Situation {
    pub analysis: std::rc::Rc<Analysis>,
    pub fingerprint: String,
    pub target: Option<lake::Table>,
    /// Why its content cannot be continued.
    pub start_over: Option<String>,
}

/// A computed change with how it came about.
pub(crate) struct Outcome {
    pub chosen: Chosen,
    pub figures: Figures,
    /// `None`: the change of the sources does not change the result.
    pub prepared: Option<Prepared>,
}

impl DynamicTables {
    /// Refreshes tables by hand.
    ///
    /// # Errors
    /// `QUERY` for an unknown name, and what lake or registry say when they cannot be asked. A table that fails is
    /// reported, not an error.
    pub fn refresh(&self, request: &RefreshRequest) -> Result<Vec<RefreshReport>> {
        let tables = self.registry.load_all()?;
        let mut named = HashSet::new();
        for name in &request.names {
            let name = self.resolve(name)?;
            let table = tables.iter().find(|table| table.definition.name == name).ok_or_else(|| unknown(&name))?;
            named.insert(table.definition.id);
        }
        if request.names.is_empty() {
            named.extend(tables.iter().map(|table| table.definition.id));
        }
        let order = with_upstream(&tables, &named)?;
        let full = if request.full { named } else { HashSet::new() };
        let mut course = self.course(tables, &order, &full)?;
        let manner = Manner { trigger: request.trigger, worker: request.worker.as_deref(), full: &full };
        let mut reports = Vec::new();
        self.run(&mut course, &order, &manner, &|| false, &mut |report| reports.push(report))?;
        Ok(reports)
    }

    /// Sets a course for the lake's newest snapshot. It is newer than the data versions of the tables in `renewed`,
    /// which will be published again whatever they hold: one data version has one content.
    pub(crate) fn course(
        &self,
        tables: Vec<DynamicTable>,
        order: &[Uuid],
        renewed: &HashSet<Uuid>,
    ) -> Result<Course> {
        let mut renewed = tables.iter().filter(|table| renewed.contains(&table.definition.id)).peekable();
        if renewed.peek().is_some() {
            let current = self.session.current_snapshot()?.id;
            if let Some(table) = renewed.find(|table| table.progress.data_version == Some(current)) {
                self.make_snapshot(table)?;
            }
        }
        let involved = tables.iter().filter(|table| order.contains(&table.definition.id));
        let since = involved.filter_map(|table| table.progress.data_version).min();
        let (since, changes) = match since {
            Some(since) => (since, self.session.changes_since(since)?),
            None => {
                let current = self.session.current_snapshot()?;
                (current.id, Changes { current, oldest: 0, changes: Vec::new() })
            }
        };
        Ok(self.course_with(tables, since, changes))
    }

    /// Makes a snapshot that changes nothing but the fence of one table.
    fn make_snapshot(&self, table: &DynamicTable) -> Result<()> {
        let id = table.definition.id.to_string();
        self.retried(|| {
            let Some(mark) = self.session.watermarks()?.into_iter().find(|mark| mark.table_id == id) else {
                return Ok(());
            };
            let moved = Watermark { fence: mark.fence + 1, ..mark.clone() };
            self.session.publish(&lake::Publication {
                watermarks: vec![lake::WatermarkMove { expected: Some(mark), new: Some(moved) }],
                message: format!("before refreshing {}", table.definition.name),
                ..lake::Publication::default()
            })?;
            Ok(())
        })
    }

    pub(crate) fn course_with(&self, tables: Vec<DynamicTable>, since: i64, changes: Changes) -> Course {
        self.analyses.borrow_mut().follow(since, &changes);
        let version = changes.current;
        Course {
            tables,
            version,
            changes,
            since,
            seen_at: Timestamp::now(),
            watermarks: None,
            failed: HashSet::new(),
            advances: Vec::new(),
        }
    }

    /// Refreshes the tables of `order` one after the other. `stop` is asked between two tables.
    pub(crate) fn run(
        &self,
        course: &mut Course,
        order: &[Uuid],
        manner: &Manner<'_>,
        stop: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(RefreshReport),
    ) -> Result<()> {
        for id in order {
            if stop() {
                break;
            }
            let Some(position) = course.tables.iter().position(|table| table.definition.id == *id) else { continue };
            let report = self.refresh_table(course, position, manner)?;
            if !matches!(report.state, RefreshState::Succeeded) {
                course.failed.insert(*id);
            }
            observe(report);
        }
        let advances = std::mem::take(&mut course.advances);
        if !advances.is_empty() {
            self.registry.advance(&advances)?;
        }
        Ok(())
    }

    fn refresh_table(&self, course: &mut Course, position: usize, manner: &Manner<'_>) -> Result<RefreshReport> {
        let started = Instant::now();
        self.interrupted.store(false, Ordering::SeqCst);
        let mut table = course.tables[position].clone();
        let mut refresh = Refresh::begin(
            table.definition.id,
            table.definition.name.clone(),
            manner.trigger,
            manner.worker.map(str::to_owned),
        );
        let lag_before = lag(refresh.started_at, table.progress.data_timestamp);
        refresh.lag_before_seconds = lag_before.map(|lag| lag.as_secs_f64());
        if let Some(upstream) = failed_upstream(course, &table) {
            let error = Error::new(Code::Dependency, format!("{upstream}, which it reads, was not refreshed"));
            self.registry.begin_refreshes(std::slice::from_ref(&refresh))?;
            return self.failed(
                &mut table,
                refresh,
                error,
                RefreshState::UpstreamFailed,
                started,
                lag_before,
                manner,
            );
        }
        let full = manner.full.contains(&table.definition.id);
        match self.is_unchanged(course, &table, full) {
            Ok(true) => return self.no_data(course, position, refresh, manner, started, lag_before),
            Ok(false) => {}
            Err(error) => {
                self.registry.begin_refreshes(std::slice::from_ref(&refresh))?;
                return self.failed(&mut table, refresh, error, RefreshState::Failed, started, lag_before, manner);
            }
        }
        self.registry.begin_refreshes(std::slice::from_ref(&refresh))?;
        let mut steps = Steps::start();
        let result = self.compute_and_publish(course, &mut table, &mut refresh, full, &mut steps);
        if let Err(error) = self.forget_temporaries() {
            tracing::debug!(%error, "could not drop temporary tables");
        }
        match result {
            Ok(report) => {
                course.tables[position] = table;
                Ok(RefreshReport { duration: started.elapsed(), lag_before, steps: steps.done, ..report })
            }
            Err(error) => {
                // A place in a statement that a refresh made up means nothing to the reader.
                let error = match error.span() {
                    Some(span) if span.text != table.definition.query => error.without_span(),
                    _ => error,
                };
                // What failed because somebody stopped it says nothing about the table.
                let stopped = self.interrupted.load(Ordering::SeqCst);
                let state = if stopped { RefreshState::Cancelled } else { RefreshState::Failed };
                self.failed(&mut table, refresh, error, state, started, lag_before, manner)
            }
        }
    }

    /// Whether it can be told from the catalog alone that the content is still right at the course's version.
    fn is_unchanged(&self, course: &Course, table: &DynamicTable, full: bool) -> Result<bool> {
        let Some(version) = table.progress.data_version else { return Ok(false) };
        if full || version < course.since || self.analyse(&table.definition)?.plan.volatile {
            return Ok(false);
        }
        if course.version.id == version && table.progress.snapshot.is_some() && !has_upstream(table) {
            return Ok(true);
        }
        let after: Vec<&Change> = course.changes.changes.iter().filter(|change| change.snapshot > version).collect();
        let reshaped = |change: &&&Change| {
            !change.ours && !matches!(change.kind, ChangeKind::Inserted | ChangeKind::Deleted | ChangeKind::Compacted)
        };
        if after.iter().any(|change| reshaped(&change)) || foreign_write(&after, table).is_some() {
            return Ok(false);
        }
        for source in &table.sources {
            let changed = match source.kind {
                SourceKind::View => false,
                SourceKind::DynamicTable | SourceKind::Table if !self.follows(course, source) => {
                    after.iter().any(|change| {
                        change.kind != ChangeKind::Compacted
                            && (change.table_id.is_some() && change.table_id == source.lake_table_id
                                || change.name.as_ref().is_some_and(|(schema, name)| {
                                    sql::names::TableName::new(schema, name) == source.name
                                }))
                    })
                }
                SourceKind::Table | SourceKind::DynamicTable => {
                    let upstream = course.tables.iter().find(|other| Some(other.definition.id) == source.upstream);
                    let Some(upstream) = upstream else { return Ok(false) };
                    self.registry.publication_at(upstream.definition.id, version)? != upstream.progress.snapshot
                }
            };
            if changed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a source is a dynamic table whose data version moves together with that of its readers.
    #[expect(clippy::unused_self, reason = "reads like its neighbours")]
    fn follows(&self, course: &Course, source: &registry::Source) -> bool {
        let upstream = course.tables.iter().find(|other| Some(other.definition.id) == source.upstream);
        upstream.is_some_and(|upstream| !is_isolated(upstream))
    }

    /// Only the data version moves. Written to the history when a person asked for it.
    fn no_data(
        &self,
        course: &mut Course,
        position: usize,
        mut refresh: Refresh,
        manner: &Manner<'_>,
        started: Instant,
        lag_before: Option<Duration>,
    ) -> Result<RefreshReport> {
        let version = course.version;
        let table = &mut course.tables[position];
        let reason = "no source has changed".to_owned();
        if table.progress.data_version != Some(version.id) {
            course.advances.push(registry::Advance {
                table: table.definition.id,
                refresh_id: table.progress.refresh_id.clone(),
                data_version: version.id,
                data_timestamp: version.time,
            });
        }
        table.progress.data_version = Some(version.id);
        table.progress.data_timestamp = Some(version.time);
        if manner.trigger == RefreshTrigger::Manual {
            refresh.state = RefreshState::Succeeded;
            refresh.action = Some(RefreshAction::NoData);
            refresh.reason = Some(reason.clone());
            refresh.completed_at = Some(Timestamp::now());
            refresh.data_version = Some(version.id);
            refresh.data_timestamp = Some(version.time);
            refresh.lag_after_seconds = Some(0.0);
            refresh.duration_ms = Some(millis(started.elapsed()));
            self.registry.begin_refreshes(std::slice::from_ref(&refresh))?;
            self.registry.finish_refreshes(&[FinishedRefresh { refresh, progress: None, sources: None }])?;
        }
        Ok(RefreshReport {
            action: Some(RefreshAction::NoData),
            data_version: Some(version.id),
            data_timestamp: Some(version.time),
            duration: started.elapsed(),
            lag_before,
            lag: Some(Duration::ZERO),
            ..empty_report(&course.tables[position], RefreshState::Succeeded, reason)
        })
    }

    fn compute_and_publish(
        &self,
        course: &mut Course,
        table: &mut DynamicTable,
        refresh: &mut Refresh,
        full: bool,
        steps: &mut Steps,
    ) -> Result<RefreshReport> {
        let watermark = self.watermark(course, table)?;
        let agreement = self.agree(table, watermark.as_ref())?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let situation = self.situation(course, table, watermark.as_ref(), &agreement)?;
            steps.end("decide");
            let outcome = self.compute(course, table, &situation, full, steps)?;
            match self.publish_outcome(course, table, refresh, watermark.as_ref(), &situation, outcome, steps) {
                Err(error) if must_prepare_again(&error) && attempt < PREPARATIONS => {
                    tracing::debug!(table = %table.definition.name, %error, "computing the change again");
                }
                result => return result,
            }
        }
    }

    /// The table's watermark; those of all tables are read once for the whole course.
    fn watermark(&self, course: &mut Course, table: &DynamicTable) -> Result<Option<Watermark>> {
        let watermarks = match &course.watermarks {
            Some(known) => known,
            None => {
                let read = self.session.watermarks()?;
                course.watermarks.insert(read.into_iter().map(|mark| (mark.table_id.clone(), mark)).collect())
            }
        };
        Ok(watermarks.get(&table.definition.id.to_string()).cloned())
    }

    pub(crate) fn situation(
        &self,
        course: &Course,
        table: &DynamicTable,
        watermark: Option<&Watermark>,
        agreement: &Agreement,
    ) -> Result<Situation> {
        let analysis = self.analyse(&table.definition)?;
        let fingerprint = analysis.fingerprint(&course.tables);
        let target = self.session.table(&table.definition.name, None)?;
        let start_over = match (watermark, &target) {
            _ if table.progress.data_version.is_none() && watermark.is_none() => Some("first refresh".to_owned()),
            (_, None) => Some("the table was dropped from the lake".to_owned()),
            (None, _) => Some("the lake has lost the table's watermark".to_owned()),
            (Some(_), Some(found)) if table.progress.target_table_id.is_some_and(|id| id != found.id) => {
                Some("somebody else dropped and created the table again".to_owned())
            }
            (Some(watermark), _) if watermark.fingerprint != fingerprint => {
                Some("the query, or the shape of what it reads, has changed".to_owned())
            }
            (Some(watermark), _) => match agreement {
                Agreement::Unknown(reason) => Some(reason.clone()),
                Agreement::Agree => {
                    let changes = course.changes.changes.iter();
                    let after: Vec<&Change> =
                        changes.filter(|change| change.snapshot > watermark.data_version).collect();
                    let unseen = watermark.data_version < course.since;
                    let found = match foreign_write(&after, table) {
                        None if unseen => self.foreign_write_since(watermark.data_version, table)?,
                        found => found,
                    };
                    if found.is_some() && self.holds_what_was_published(table, course.version.id)? {
                        None
                    } else {
                        found
                    }
                }
            },
        };
        Ok(Situation { analysis, fingerprint, target, start_over })
    }

    fn foreign_write_since(&self, since: i64, table: &DynamicTable) -> Result<Option<String>> {
        let changes = self.session.changes_since(since)?;
        let after: Vec<&Change> = changes.changes.iter().collect();
        Ok(foreign_write(&after, table))
    }

    /// Whether the rows of the table are still those that its last refresh published, although its files were touched:
    /// flushing inlined deletions looks like a deletion in the catalog.
    fn holds_what_was_published(&self, table: &DynamicTable, version: i64) -> Result<bool> {
        let Some(published) = table.progress.snapshot.filter(|published| *published <= version) else {
            return Ok(false);
        };
        let window = self.session.window(&table.definition.name, published, version)?;
        if matches!(window.rule, lake::WindowRule::Broken(_)) {
            return Ok(false);
        }
        let columns: Vec<String> = table.definition.columns.iter().map(|(name, _)| name.clone()).collect();
        let change = window.delta_sql(&columns, incremental::apply::WEIGHT);
        Ok(self.session.query(&format!("SELECT 1 FROM ({change}) LIMIT 1"))?.rows.is_empty())
    }

    /// Chooses the way and computes the change.
    pub(crate) fn compute(
        &self,
        course: &Course,
        table: &DynamicTable,
        situation: &Situation,
        full: bool,
        steps: &mut Steps,
    ) -> Result<Outcome> {
        let plan = &situation.analysis.plan;
        let version = course.version.id;
        let from = if situation.start_over.is_some() { None } else { table.progress.data_version };
        let spans = self.spans(plan, from, version, &course.tables)?;
        let mut figures =
            Figures { target_rows: situation.target.as_ref().map(|target| target.rows), ..Figures::default() };
        let sources: Vec<_> = plan.sources.iter().map(|source| source.name.clone()).collect();
        figures.source_rows = self.session.row_count(&sources)?;
        let unchanged_states =
            SourceChanges { states: spans.iter().map(state_of).collect(), ..SourceChanges::default() };
        let stored = Target {
            table: &table.definition.name,
            // Nobody else wrote to it, so what was published stands unchanged; the snapshot that published it may be gone.
            snapshot: from.and(table.progress.snapshot).map(|published| published.max(version)),
            rows: situation.target.as_ref().map_or(0, |target| target.rows),
        };
        let full_outcome =
            |chosen: Chosen, target: &Target<'_>, figures: Figures, steps: &mut Steps| -> Result<Outcome> {
                let prepared = self.prepare_full(plan, &unchanged_states, target, steps)?;
                Ok(Outcome { chosen, figures, prepared: Some(prepared) })
            };
        if let Some(reason) = &situation.start_over {
            let same_shape = situation.target.as_ref().is_some_and(|target| has_columns(target, &plan.output));
            // Rows of a table that keeps its shape are compared as they stand, so that only what differs is written.
            let target = Target { snapshot: if same_shape { Some(version) } else { None }, ..stored };
            let target =
                Target { snapshot: target.snapshot.and(self.exists_at(&table.definition.name, version)?), ..target };
            let chosen = Chosen { action: RefreshAction::Reinitialize, reason: reason.clone() };
            return full_outcome(chosen, &target, figures, steps);
        }
        let by_query = plan.reasons.first().map(|reason| reason.text.clone());
        if full || by_query.is_some() {
            let reason = if full { "asked for".to_owned() } else { by_query.unwrap_or_default() };
            return full_outcome(Chosen { action: RefreshAction::Full, reason }, &stored, figures, steps);
        }
        let windows = match self.windows(&spans)? {
            Told::Windows(windows) => windows,
            Told::Broken(reason) => {
                let chosen = Chosen { action: RefreshAction::Reinitialize, reason };
                return full_outcome(chosen, &stored, figures, steps);
            }
        };
        if windows.iter().all(lake::Window::is_unchanged) {
            let chosen = Chosen { action: RefreshAction::NoData, reason: "no source has changed".to_owned() };
            return Ok(Outcome { chosen, figures, prepared: None });
        }
        figures.changed_rows = windows.iter().map(|window| window.inserted + window.deleted).sum();
        let properties = &table.definition.properties;
        let mut chosen = choose(properties, &figures);
        steps.end("decide");
        if chosen.action == RefreshAction::Full {
            return full_outcome(chosen, &stored, figures, steps);
        }
        let changes = self.read_changes(plan, &spans, windows)?;
        steps.end("read changes");
        figures.changed_rows = changes.came + changes.went;
        if figures.changed_rows == 0 {
            chosen.action = RefreshAction::NoData;
            "what changed in the sources is nothing that the query looks at".clone_into(&mut chosen.reason);
            return Ok(Outcome { chosen, figures, prepared: None });
        }
        chosen = Chosen { action: chosen.action, ..choose(properties, &figures) };
        let affected = std::cell::Cell::new(None);
        let too_many = |groups| {
            affected.set(Some(groups));
            let figures = Figures { affected_groups: Some(groups), ..figures.clone() };
            too_many_groups(properties, &figures).map(|chosen| chosen.reason)
        };
        let attempt = self.prepare_incremental(plan, &changes, &stored, &too_many, steps)?;
        figures.affected_groups = affected.get();
        match attempt {
            Attempt::Prepared(prepared) => {
                chosen.reason = format!("{}: {}", prepared.how, chosen.reason);
                Ok(Outcome { chosen, figures, prepared: Some(prepared) })
            }
            Attempt::Full(reason) => {
                full_outcome(Chosen { action: RefreshAction::Full, reason }, &stored, figures, steps)
            }
        }
    }

    fn exists_at(&self, table: &sql::names::TableName, version: i64) -> Result<Option<i64>> {
        Ok(self.session.table(table, Some(version))?.map(|_| version))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one refresh, each made by a step of its own")]
    fn publish_outcome(
        &self,
        course: &mut Course,
        table: &mut DynamicTable,
        refresh: &mut Refresh,
        watermark: Option<&Watermark>,
        situation: &Situation,
        outcome: Outcome,
        steps: &mut Steps,
    ) -> Result<RefreshReport> {
        let Outcome { chosen, figures, prepared } = outcome;
        let version = course.version;
        let definition = &table.definition;
        let before = table.progress.clone();
        let mut after = Progress {
            data_version: Some(version.id),
            data_timestamp: Some(version.time),
            consecutive_failures: 0,
            retry_at: None,
            ..before.clone()
        };
        let (mut inserted, mut deleted, mut read) = (0, 0, figures.changed_rows);
        // A full refresh that found no difference has nothing to publish either, unless the watermark must move.
        let nothing = |prepared: &Prepared| prepared.rows_inserted == 0 && prepared.rows_deleted == 0;
        let prepared = prepared.filter(|prepared| situation.start_over.is_some() || !nothing(prepared));
        if let Some(prepared) = &prepared {
            (inserted, deleted, read) = (prepared.rows_inserted, prepared.rows_deleted, prepared.rows_read);
            let output = &situation.analysis.plan.output;
            let statements = match &situation.target {
                Some(target) if has_columns(target, output) => Vec::new(),
                found => create_table(self.lake.alias(), table, output, found.is_some()),
            };
            let reshaped = !statements.is_empty();
            let mark = Mark {
                refresh: refresh.id,
                version,
                fingerprint: &situation.fingerprint,
                message: format!("refresh {}: {}", definition.name, chosen.action.as_str()),
            };
            let (snapshot, moved) = self.publish(table, watermark, prepared, statements, &mark)?;
            steps.end("publish");
            after.snapshot = Some(snapshot.id);
            after.refresh_id = Some(moved.refresh_id.clone());
            after.fence = moved.fence;
            if let Some(watermarks) = &mut course.watermarks {
                watermarks.insert(moved.table_id.clone(), moved);
            }
            if reshaped || after.target_table_id.is_none() {
                after.target_table_id = self.session.table(&definition.name, None)?.map(|known| known.id);
            }
            let rows = situation.target.as_ref().map_or(0, |target| target.rows);
            after.rows = Some((rows + inserted).saturating_sub(deleted));
        }
        after.bytes = situation.target.as_ref().map(|target| target.bytes).or(after.bytes);
        let now = Timestamp::now();
        let duration = now.duration_since(refresh.started_at).unsigned_abs();
        after.mean_refresh_seconds = Some(match before.mean_refresh_seconds {
            Some(mean) => mean + NEWEST_WEIGHT * (duration.as_secs_f64() - mean),
            None => duration.as_secs_f64(),
        });
        after.last_refresh = Some(LastRefresh {
            state: RefreshState::Succeeded,
            action: Some(chosen.action),
            at: now,
            duration_ms: Some(millis(duration)),
            error: None,
        });
        let lag_after = lag(now, Some(course.seen_at.max(version.time)));
        refresh.state = RefreshState::Succeeded;
        refresh.completed_at = Some(now);
        refresh.action = Some(chosen.action);
        refresh.reason = Some(chosen.reason.clone());
        refresh.data_version = after.data_version;
        refresh.data_timestamp = after.data_timestamp;
        refresh.snapshot = prepared.as_ref().and(after.snapshot);
        refresh.rows_inserted = Some(inserted);
        refresh.rows_deleted = Some(deleted);
        refresh.rows_read = Some(read);
        refresh.duration_ms = Some(millis(duration));
        refresh.lag_after_seconds = lag_after.map(|lag| lag.as_secs_f64());
        refresh.choice = Some(figures.to_json(definition.properties.cardinality_threshold));
        let sources = self.registered_sources(&situation.analysis.plan, &course.tables)?;
        let sources = (sources != table.sources).then_some(sources);
        self.registry.finish_refreshes(&[FinishedRefresh {
            refresh: refresh.clone(),
            progress: Some(ProgressChange { before, after: after.clone() }),
            sources: sources.clone(),
        }])?;
        steps.end("record");
        table.progress = after;
        if let Some(sources) = sources {
            table.sources = sources;
        }
        Ok(RefreshReport {
            action: Some(chosen.action),
            rows_read: read,
            rows_inserted: inserted,
            rows_deleted: deleted,
            data_version: table.progress.data_version,
            data_timestamp: table.progress.data_timestamp,
            lag: lag_after,
            ..empty_report(table, RefreshState::Succeeded, chosen.reason)
        })
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of a refresh when it fails")]
    fn failed(
        &self,
        table: &mut DynamicTable,
        mut refresh: Refresh,
        error: Error,
        state: RefreshState,
        started: Instant,
        lag_before: Option<Duration>,
        manner: &Manner<'_>,
    ) -> Result<RefreshReport> {
        let now = Timestamp::now();
        refresh.state = state;
        refresh.completed_at = Some(now);
        refresh.error_code = Some(error.code());
        refresh.error_message = Some(error.message().to_owned());
        refresh.duration_ms = Some(millis(started.elapsed()));
        let before = table.progress.clone();
        let mut after = before.clone();
        if state == RefreshState::Failed && manner.trigger == RefreshTrigger::Scheduled {
            after.consecutive_failures += 1;
            after.retry_at = now.checked_add(pause_after(&error, after.consecutive_failures, table)).ok();
        }
        after.last_refresh = Some(LastRefresh {
            state,
            action: None,
            at: now,
            duration_ms: refresh.duration_ms,
            error: Some(error.message().to_owned()),
        });
        let finished = FinishedRefresh {
            refresh,
            progress: Some(ProgressChange { before, after: after.clone() }),
            sources: None,
        };
        // The refresh's own error is what matters; that the registry could not be told is worth a line.
        if let Err(registry_error) = self.registry.finish_refreshes(&[finished]) {
            tracing::warn!(table = %table.definition.name, error = %registry_error, "could not record a failed refresh");
        } else {
            table.progress = after;
        }
        Ok(RefreshReport {
            duration: started.elapsed(),
            data_version: table.progress.data_version,
            data_timestamp: table.progress.data_timestamp,
            lag_before,
            lag: lag(now, table.progress.data_timestamp),
            retry_at: table.progress.retry_at,
            error: Some(error),
            ..empty_report(table, state, String::new())
        })
    }
}

/// The named tables and every dynamic table they read, directly or not, upstream first.
pub(crate) fn with_upstream(tables: &[DynamicTable], named: &HashSet<Uuid>) -> Result<Vec<Uuid>> {
    let graph = refresh_graph(tables)?;
    let mut wanted = named.clone();
    wanted.extend(graph.all_upstream(named));
    Ok(graph.sorted(&wanted))
}

/// Whether other tables read this one as if it were a plain table: `SCHEDULER = DISABLE`. It is never refreshed on their
/// account, and what it holds at a snapshot is what they read at that data version.
pub(crate) fn is_isolated(table: &DynamicTable) -> bool {
    table.definition.properties.scheduler == Scheduler::Disable
}

/// Who has to be refreshed before whom among the dynamic tables.
///
/// # Errors
/// `DEPENDENCY` with the path when they read each other in a circle.
pub(crate) fn refresh_graph(tables: &[DynamicTable]) -> Result<Graph<Uuid>> {
    let isolated: HashSet<Uuid> =
        tables.iter().filter(|table| is_isolated(table)).map(|table| table.definition.id).collect();
    graph_without(tables, &isolated)
}

/// Who reads whom among the dynamic tables.
///
/// # Errors
/// As [`refresh_graph`].
pub(crate) fn graph(tables: &[DynamicTable]) -> Result<Graph<Uuid>> {
    graph_without(tables, &HashSet::new())
}

fn graph_without(tables: &[DynamicTable], isolated: &HashSet<Uuid>) -> Result<Graph<Uuid>> {
    let reads = |table: &DynamicTable| -> (Uuid, Vec<Uuid>) {
        (
            table.definition.id,
            table.sources.iter().filter_map(|source| source.upstream).filter(|id| !isolated.contains(id)).collect(),
        )
    };
    Graph::new(tables.iter().map(reads)).map_err(|cycle| {
        let name = |id: Uuid| {
            let table = tables.iter().find(|table| table.definition.id == id);
            table.map_or_else(|| id.to_string(), |table| table.definition.name.to_string())
        };
        cycle.map(name).into()
    })
}

fn has_upstream(table: &DynamicTable) -> bool {
    table.sources.iter().any(|source| source.upstream.is_some())
}

fn failed_upstream(course: &Course, table: &DynamicTable) -> Option<String> {
    let upstream = table.sources.iter().filter_map(|source| Some((source.upstream?, &source.name)));
    upstream.filter(|(id, _)| course.failed.contains(id)).map(|(_, name)| name.to_string()).next()
}

/// How long a table that failed waits for its next scheduled refresh. What may pass is tried again soon, then less and
/// less often, at moments that differ from table to table; what will not, at its next turn.
fn pause_after(error: &Error, failures: u32, table: &DynamicTable) -> Duration {
    if error.is_transient() {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE);
        let random = f64::from(Uuid::now_v7().as_bytes()[15]) / 255.0;
        return pause.mul_f64(0.5 + random / 2.0);
    }
    match table.definition.properties.target_lag {
        Some(TargetLag::Duration(lag)) => lag.clamp(SHORTEST_TURN, LONGEST_TURN),
        _ => SHORTEST_TURN,
    }
}

/// Whether somebody else changed the rows or the shape of the dynamic table itself.
fn foreign_write(after: &[&Change], table: &DynamicTable) -> Option<String> {
    let target = table.progress.target_table_id?;
    let write = after
        .iter()
        .find(|change| change.table_id == Some(target) && !change.ours && change.kind != ChangeKind::Compacted)?;
    Some(format!("somebody else wrote to the table in snapshot {}", write.snapshot))
}

fn has_columns(table: &lake::Table, output: &[(String, String)]) -> bool {
    table.columns.len() == output.len()
        && table.columns.iter().zip(output).all(|(column, (name, data_type))| {
            column.name == *name && column.data_type.eq_ignore_ascii_case(data_type)
        })
}

fn empty_report(table: &DynamicTable, state: RefreshState, reason: String) -> RefreshReport {
    RefreshReport {
        name: table.definition.name.clone(),
        state,
        action: None,
        reason,
        rows_read: 0,
        rows_inserted: 0,
        rows_deleted: 0,
        duration: Duration::ZERO,
        data_version: None,
        data_timestamp: None,
        lag_before: None,
        lag: None,
        target_lag: table.definition.properties.target_lag,
        retry_at: None,
        steps: Vec::new(),
        error: None,
    }
}

/// How far `then` lies back; a clock that was set back makes it nothing, not negative.
pub(crate) fn lag(now: Timestamp, then: Option<Timestamp>) -> Option<Duration> {
    then.map(|then| Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO))
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
