//! Refreshing tables to one data version: each is computed, those it reads first, over what they will hold, and what was
//! computed is published together in one lake commit.
//!
//! A table that fails takes along only those that read it. This module does not know how a change is computed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use failpoint::fail_point;
use incremental::Plan;
use jiff::Timestamp;
use lake::Watermark;
use registry::{Alteration, Definition, DynamicTable, FinishedRefresh, Refresh, RefreshState, Source};
use uuid::Uuid;

use crate::course::{Course, Manner, graph, is_isolated, refresh_graph};
use crate::decide::{Outcome, Situation};
use crate::prepare::Prepared;
use crate::record::lag;
use crate::recover::Agreement;
use crate::report::RefreshReport;
use crate::steps::Steps;
use crate::tables::DynamicTables;

/// How often a change is computed again because the sources were compacted, or the table was published by somebody
/// else, meanwhile.
const PREPARATIONS: usize = 3;

/// What waits to be published together is at most this: more tables, or more bytes, would keep others from committing.
const MOST_TABLES: usize = 256;
const MOST_BYTES: u64 = 1 << 30;

/// A table that is computed waits no longer than this for others that have nothing to do with it.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A table whose change is computed and waits to be published.
pub(crate) struct Pending {
    /// Where it stands in the course.
    pub position: usize,
    /// As it was before.
    pub table: DynamicTable,
    pub refresh: Refresh,
    pub watermark: Option<Watermark>,
    pub situation: Situation,
    pub outcome: Outcome,
    pub steps: Steps,
    pub started: Instant,
    /// How long its change took to compute.
    pub computing: Duration,
    pub lag_before: Option<Duration>,
    /// The scope of its temporary tables.
    pub scope: usize,
}

impl Pending {
    /// What has to be written to the lake, if anything. A full refresh that found no difference has nothing to publish
    /// either, unless the watermark must move: what was there before is not to be continued.
    pub fn prepared(&self) -> Option<&Prepared> {
        let writes = |prepared: &&Prepared| {
            let state = prepared.state.as_ref().is_some_and(|state| state.changed);
            prepared.rows_inserted > 0 || prepared.rows_deleted > 0 || state
        };
        let must = self.situation.start_over.is_some() || self.outcome.outdates_state;
        self.outcome.prepared.as_ref().filter(|prepared| must || writes(prepared))
    }

    /// About how many bytes it writes.
    fn bytes(&self) -> u64 {
        const BYTES_PER_VALUE: u64 = 16;
        let rows = self.prepared().map_or(0, |prepared| prepared.rows_inserted + prepared.rows_deleted);
        rows * self.situation.analysis.plan.output.len() as u64 * BYTES_PER_VALUE
    }

    pub fn id(&self) -> Uuid {
        self.table.definition.id
    }
}

/// How far a table came by being computed.
enum Turn {
    Over(Box<RefreshReport>),
    Pending(Box<Pending>),
}

/// A run over the tables of a course.
pub(crate) struct Run<'a, 'b> {
    pub manner: &'a Manner<'a>,
    pub observe: &'b mut dyn FnMut(RefreshReport),
    pub pending: Vec<Pending>,
    /// Refreshes that were begun and have to be computed once more.
    begun: HashMap<Uuid, Refresh>,
    /// The tables of these.
    pub again: Vec<Uuid>,
    scopes: usize,
}

impl DynamicTables {
    /// Refreshes the tables of `order`, upstream first. `stop` is asked between groups: what is connected is finished
    /// together or not at all.
    pub(crate) fn run(
        &self,
        course: &mut Course,
        order: &[Uuid],
        manner: &Manner<'_>,
        stop: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(RefreshReport),
    ) -> Result<()> {
        self.interrupted.store(false, Ordering::SeqCst);
        let mut run =
            Run { manner, observe, pending: Vec::new(), begun: HashMap::new(), again: Vec::new(), scopes: 0 };
        self.begin_sharing(&course.tables, order);
        let result = self.run_until_done(course, order, &mut run, stop);
        self.end_sharing();
        self.end_unfinished(run);
        let tidied = self.forget_all_temporaries().and_then(|()| self.forget_unpublished(&mut course.unpublished));
        if let Err(error) = tidied {
            tracing::debug!(%error, "could not drop temporary tables");
        }
        result
    }

    /// Ends the refreshes that were begun and that nobody will finish, since the run was stopped or something failed that is no
    /// table's own failure.
    fn end_unfinished(&self, run: Run<'_, '_>) {
        let left = run.begun.into_values().chain(run.pending.into_iter().map(|pending| pending.refresh));
        let cancelled = |mut refresh: Refresh| {
            refresh.state = RefreshState::Cancelled;
            refresh.completed_at = Some(Timestamp::now());
            FinishedRefresh { refresh, progress: None, sources: None }
        };
        let left: Vec<FinishedRefresh> = left.map(cancelled).collect();
        if !left.is_empty()
            && let Err(error) = self.registry.finish_refreshes(&left)
        {
            tracing::warn!(refreshes = left.len(), %error, "could not record refreshes that were stopped");
        }
    }

    fn run_until_done(
        &self,
        course: &mut Course,
        order: &[Uuid],
        run: &mut Run<'_, '_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        let mut order = order.to_vec();
        for attempt in 1..=PREPARATIONS {
            self.run_once(course, &order, run, stop)?;
            let again: HashSet<Uuid> = run.again.drain(..).collect();
            if again.is_empty() {
                break;
            }
            order.retain(|id| again.contains(id));
            if attempt == PREPARATIONS {
                self.give_up(course, &order, run)?;
                break;
            }
            let gone = self.look_again(course, &again)?;
            order.retain(|id| !gone.contains(id));
            // What was read may have been compacted since.
            self.begin_sharing(&course.tables, &order);
        }
        self.record_advances(course)
    }

    fn run_once(
        &self,
        course: &mut Course,
        order: &[Uuid],
        run: &mut Run<'_, '_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        let groups = refresh_graph(&course.tables)?.groups(order);
        for group in groups {
            if stop() {
                break;
            }
            for (number, id) in group.iter().enumerate() {
                let Some(position) = course.tables.position(*id) else {
                    continue;
                };
                self.turn(course, position, &group[number + 1..], run)?;
                if self.interrupted.load(Ordering::SeqCst) {
                    return self.cancel_pending(course, run);
                }
                if run.pending.iter().map(Pending::bytes).sum::<u64>() > MOST_BYTES {
                    self.publish_pending(course, run)?;
                }
            }
            let waited = run.pending.first().is_some_and(|first| first.started.elapsed() > LONGEST_WAIT);
            if waited || run.pending.len() >= MOST_TABLES {
                self.publish_pending(course, run)?;
            }
        }
        self.publish_pending(course, run)
    }

    /// Computes one table, for `later` to read what it will hold.
    fn turn(&self, course: &mut Course, position: usize, later: &[Uuid], run: &mut Run<'_, '_>) -> Result<()> {
        let table = &course.tables[position];
        if reads_any(course, table, &run.again) {
            // What it reads will be computed again, and is not yet what this one may be computed from.
            run.again.push(table.definition.id);
            return Ok(());
        }
        run.scopes += 1;
        self.enter_scope(run.scopes);
        let turn = self.compute_table(course, position, run);
        let pending = match turn? {
            Turn::Over(report) => {
                self.forget_temporaries()?;
                // One that another process refreshed at the same moment is as good as refreshed.
                if !matches!(report.state, RefreshState::Succeeded | RefreshState::Skipped) {
                    course.failed.insert(course.tables[position].definition.id);
                }
                (run.observe)(*report);
                return Ok(());
            }
            Turn::Pending(pending) => pending,
        };
        let reads_it =
            |table: &DynamicTable| table.sources.iter().any(|source| source.upstream == Some(pending.id()));
        if let Some(prepared) = pending.prepared()
            && later.iter().filter_map(|id| course.tables.with_id(*id)).any(reads_it)
        {
            let at = read_at(&pending.table, &pending.situation, course.version.id);
            self.keep_unpublished(&mut course.unpublished, &pending.table, &pending.situation, prepared, at)?;
        }
        // What reads it looks where it is, and how far.
        let progress = &mut course.tables[position].progress;
        progress.clone_from(&pending.table.progress);
        progress.data_version = Some(course.version.id);
        progress.snapshot = progress.snapshot.or(Some(course.version.id));
        run.pending.push(*pending);
        Ok(())
    }

    fn compute_table(&self, course: &mut Course, position: usize, run: &mut Run<'_, '_>) -> Result<Turn> {
        let started = Instant::now();
        let mut steps = Steps::start();
        let manner = run.manner;
        let mut table = course.tables[position].clone();
        let id = table.definition.id;
        let begun = run.begun.remove(&id);
        let is_begun = begun.is_some();
        let mut refresh = begun.unwrap_or_else(|| {
            let name = table.definition.name.clone();
            let refresh = Refresh::begin(id, name, manner.trigger, manner.worker.map(str::to_owned));
            Refresh { claim: Some(manner.held.id()), ..refresh }
        });
        // What was right until the first commit that it has not seen is not stale before that.
        let right_until = self.right_until(&table, &course.tables, &course.changes, refresh.started_at);
        let lag_before = lag(refresh.started_at, right_until);
        refresh.lag_before_seconds = lag_before.map(|lag| lag.as_secs_f64());
        let begin = |refresh: &Refresh| match is_begun {
            true => Ok(()),
            false => self.registry.begin_refreshes(std::slice::from_ref(refresh)),
        };
        if let Some(upstream) = failed_upstream(course, &table) {
            begin(&refresh)?;
            let error = Error::new(Code::Dependency, format!("{upstream}, which it reads, was not refreshed"));
            let state = RefreshState::UpstreamFailed;
            let report = self.failed(&mut table, refresh, error, state, started, lag_before, manner)?;
            course.tables[position] = table;
            return Ok(Turn::Over(Box::new(report)));
        }
        let full = manner.full.contains(&id);
        match self.is_unchanged(course, &table, full) {
            Ok(true) if !is_begun => {
                return self
                    .no_data(course, position, refresh, manner, started, lag_before)
                    .map(Box::new)
                    .map(Turn::Over);
            }
            Ok(_) => {}
            Err(error) => {
                begin(&refresh)?;
                let state = RefreshState::Failed;
                let report = self.failed(&mut table, refresh, error, state, started, lag_before, manner)?;
                course.tables[position] = table;
                return Ok(Turn::Over(Box::new(report)));
            }
        }
        begin(&refresh)?;
        steps.end("begin");
        match self.computed(course, &mut table, full, is_begun, &mut steps) {
            Ok(Some((watermark, situation, outcome))) => Ok(Turn::Pending(Box::new(Pending {
                position,
                table,
                refresh,
                watermark,
                situation,
                outcome,
                steps,
                started,
                computing: started.elapsed(),
                lag_before,
                scope: run.scopes,
            }))),
            Ok(None) => {
                course.tables[position] = table;
                self.overtaken(&course.tables[position], &mut refresh).map(Box::new).map(Turn::Over)
            }
            Err(error) => {
                let error = told_to_the_user(error, &table);
                steps.end("until it failed");
                refresh.steps = Some(steps.to_json());
                // What failed because somebody stopped it says nothing about the table.
                let stopped = self.interrupted.load(Ordering::SeqCst);
                let state = if stopped { RefreshState::Cancelled } else { RefreshState::Failed };
                let report = self.failed(&mut table, refresh, error, state, started, lag_before, manner)?;
                course.tables[position] = table;
                Ok(Turn::Over(Box::new(report)))
            }
        }
    }

    /// The table's change; `None` if somebody else has brought it as far or further.
    fn computed(
        &self,
        course: &mut Course,
        table: &mut DynamicTable,
        full: bool,
        again: bool,
        steps: &mut Steps,
    ) -> Result<Option<(Option<Watermark>, Situation, Outcome)>> {
        let watermark = self.watermark(course, table)?;
        let planned = table.sources.clone();
        let mut agreement = self.agree(table, watermark.as_ref())?;
        let (version, wanted) = (table.progress.data_version, Some(course.version.id));
        if agreement == Agreement::Agree && (version > wanted || again && version == wanted) {
            let Some(restored) = self.ahead_of_the_lake(table)? else { return Ok(None) };
            agreement = restored;
        }
        let situation = self.situation(course, table, watermark.as_ref(), &agreement)?;
        self.follow_upstream(course, table, &planned, &situation.analysis.plan)?;
        fail_point!("decided");
        steps.end("decide");
        let outcome = self.compute(course, table, &situation, full, steps)?;
        fail_point!("computed");
        Ok(Some((watermark, situation, outcome)))
    }

    /// Registers what a table reads if it reads a dynamic table that it did not read before, since a view or a name has come
    /// to mean something else. It can only be refreshed together with that one, at the next look.
    fn follow_upstream(&self, course: &Course, table: &DynamicTable, planned: &[Source], plan: &Plan) -> Result<()> {
        let is_new = |other: &&DynamicTable| {
            !is_isolated(other)
                && plan.sources.iter().any(|source| source.name == other.definition.name)
                && !planned.iter().any(|source| source.upstream == Some(other.definition.id))
        };
        let Some(upstream) = course.tables.iter().find(is_new) else { return Ok(()) };
        let sources = self.registered_sources(plan, &course.tables)?;
        let changed = DynamicTable { sources: sources.clone(), ..table.clone() };
        let others = course.tables.iter().filter(|other| other.definition.id != table.definition.id);
        let all: Vec<DynamicTable> = others.cloned().chain(std::iter::once(changed)).collect();
        graph(&all)?;
        // Whatever it holds, it starts over with what it reads now.
        let definition = Definition { fingerprint: String::new(), ..table.definition.clone() };
        self.registry.alter(&[Alteration { definition, sources, progress: None }])?;
        let message =
            format!("it reads the dynamic table {} now, and is refreshed together with it", upstream.definition.name);
        Err(Error::new(Code::Conflict, message).with_transient(true).with_hint("Refresh it again."))
    }

    /// Looks at tables again that somebody else has published or whose sources were compacted meanwhile. The result is
    /// those that were dropped.
    fn look_again(&self, course: &mut Course, again: &HashSet<Uuid>) -> Result<Vec<Uuid>> {
        self.forget_watermarks(course);
        // Compaction that has come since makes other rules right: the lake is asked again how a change is read.
        course.changes.happened = None;
        course.read_since = self.session.current_snapshot()?.id;
        let mut gone = Vec::new();
        for position in again.iter().filter_map(|id| course.tables.position(*id)).collect::<Vec<_>>() {
            let table = &mut course.tables[position];
            // Only how far it is: its definition may be one that is just being made.
            match self.registry.get(&table.definition.name)? {
                Some(current) if current.definition.id == table.definition.id => table.progress = current.progress,
                _ => gone.push(table.definition.id),
            }
        }
        Ok(gone)
    }

    /// Fails what could not be published in any of the attempts.
    fn give_up(&self, course: &mut Course, order: &[Uuid], run: &mut Run<'_, '_>) -> Result<()> {
        for id in order {
            let (Some(refresh), Some(position)) = (run.begun.remove(id), course.tables.position(*id)) else {
                continue;
            };
            let error =
                Error::new(Code::Conflict, "others published the table or compacted its sources again and again")
                    .with_transient(true);
            let (mut table, started) = (course.tables[position].clone(), Instant::now());
            let lag_before = lag(refresh.started_at, table.progress.data_timestamp);
            let report =
                self.failed(&mut table, refresh, error, RefreshState::Failed, started, lag_before, run.manner)?;
            course.tables[position] = table;
            course.failed.insert(*id);
            (run.observe)(report);
        }
        Ok(())
    }

    /// Ends what is computed but not published after somebody stopped the run.
    fn cancel_pending(&self, course: &mut Course, run: &mut Run<'_, '_>) -> Result<()> {
        for pending in std::mem::take(&mut run.pending) {
            let error = Error::new(Code::Resource, "stopped before it was published");
            self.end_pending(course, run, pending, error, RefreshState::Cancelled)?;
        }
        Ok(())
    }

    /// Ends a pending table that is not published.
    pub(crate) fn end_pending(
        &self,
        course: &mut Course,
        run: &mut Run<'_, '_>,
        pending: Pending,
        error: Error,
        state: RefreshState,
    ) -> Result<()> {
        self.discard(course, &pending)?;
        let Pending { position, mut table, mut refresh, mut steps, started, lag_before, .. } = pending;
        steps.end("until it failed");
        refresh.steps = Some(steps.to_json());
        let report = self.failed(&mut table, refresh, error, state, started, lag_before, run.manner)?;
        course.failed.insert(table.definition.id);
        course.tables[position] = table;
        (run.observe)(report);
        Ok(())
    }

    /// Computes a pending table once more instead of publishing it.
    pub(crate) fn put_off(&self, course: &mut Course, run: &mut Run<'_, '_>, pending: Pending) -> Result<()> {
        self.discard(course, &pending)?;
        run.again.push(pending.id());
        run.begun.insert(pending.id(), pending.refresh);
        course.tables[pending.position] = pending.table;
        Ok(())
    }

    /// Throws away what was computed for a table.
    fn discard(&self, course: &mut Course, pending: &Pending) -> Result<()> {
        self.enter_scope(pending.scope);
        self.forget_temporaries()?;
        self.forget_unpublished_of(&mut course.unpublished, &pending.table.definition.name)
    }
}

/// A place in a statement that a refresh made up means nothing to the reader.
pub(crate) fn told_to_the_user(error: Error, table: &DynamicTable) -> Error {
    match error.span() {
        Some(span) if span.text != table.definition.query => error.without_span(),
        _ => error,
    }
}

/// The first table that this one reads and that failed.
pub(crate) fn failed_upstream(course: &Course, table: &DynamicTable) -> Option<String> {
    let upstream =
        followed(course, table).filter(|source| source.upstream.is_some_and(|id| course.failed.contains(&id)));
    upstream.map(|source| source.name.to_string()).next()
}

/// Whether a table reads one of these, and follows it.
pub(crate) fn reads_any(course: &Course, table: &DynamicTable, tables: &[Uuid]) -> bool {
    followed(course, table).any(|source| source.upstream.is_some_and(|id| tables.contains(&id)))
}

/// The dynamic tables that a table follows. One that is refreshed by hand only is read as it stands, whatever becomes of it.
fn followed<'a>(course: &'a Course, table: &'a DynamicTable) -> impl Iterator<Item = &'a Source> {
    table.sources.iter().filter(|source| source.upstream.is_some_and(|id| !course.tables.is_isolated(id)))
}

/// The snapshot at which the table's own rows were read when its change was computed.
pub(crate) fn read_at(table: &DynamicTable, situation: &Situation, version: i64) -> i64 {
    let published = table.progress.snapshot.filter(|_| situation.start_over.is_none());
    published.map_or(version, |published| published.max(version))
}
