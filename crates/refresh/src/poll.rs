//! What a worker does: look at what is due, and carry it out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use error::{Code, Result};
use failpoint::fail_point;
use jiff::Timestamp;
use lake::Changes;
use registry::{DynamicTable, RefreshState, RefreshTrigger, SchedulingState, SuspendedBy};
use scheduler::{Lag, Limits, Moment, Schedule, Table};
use sql::properties::{Scheduler, TargetLag};
use uuid::Uuid;

use crate::course::{Course, Manner, graph, is_isolated};
use crate::registered::Registered;
use crate::report::RefreshReport;
use crate::tables::DynamicTables;

/// What is published together: few commits for many tables, but none that keeps a table waiting for long.
const LIMITS: Limits = Limits { most_tables: 64, longest: Duration::from_secs(5) };

/// After this many failures in a row that will not pass by themselves a table is suspended.
const FAILURES_UNTIL_SUSPENDED: u32 = 5;

/// How a worker looks.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The longest time between two looks.
    pub interval: Duration,
    /// The queues whose tables are wanted; none means all.
    pub queues: Vec<String>,
    /// The time; without one, that of the registry's clock, which is the same for all workers.
    pub now: Option<Timestamp>,
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// How many dynamic tables there are.
    pub tables: usize,
    /// How many were due but had nothing new to read: their data version has moved on.
    pub advanced: usize,
    /// What is to be done, the most urgent first. None of it is claimed by anybody.
    pub work: Vec<Work>,
    /// How long until something can be due again, at most the poll interval.
    pub sleep: Duration,
    /// The state of the registry, for [`registry::Registry::wait_for_news`].
    pub changes: i64,
}

/// Tables that are refreshed and published together.
#[derive(Clone, Debug)]
pub struct Work {
    /// Each behind all it reads, with the data version that it was seen at.
    tables: Vec<(Uuid, Option<i64>)>,
    /// The share of the lag that the most urgent of them has used up.
    pub urgency: f64,
    /// How long it is expected to take.
    pub expected: Duration,
}

impl Work {
    /// How many tables that are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether that is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// What came of some work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether somebody else was faster: then nothing was done.
    pub taken: bool,
    /// How many tables were refreshed, well or not.
    pub refreshed: usize,
    /// How many had nothing new to read.
    pub advanced: usize,
    /// How many failed.
    pub failed: usize,
    /// How many tables had their files rewritten.
    pub compacted: usize,
}

/// A moment at which nothing was due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet {
    changes: i64,
    snapshot: i64,
    tables: usize,
    until: Timestamp,
}

impl DynamicTables {
    /// What is due now. When nothing has happened since the last look, that is one query to the registry and one to the
    /// lake however many tables there are. Tables that are due and have nothing new to read are moved on at once.
    ///
    /// # Errors
    /// What the registry or the lake say when they cannot be asked.
    pub fn look(&self, poll: &Poll) -> Result<Look> {
        fail_point!("look");
        let news = self.registry.news()?;
        let now = poll.now.unwrap_or(news.now);
        let current = match self.quiet.get() {
            Some(quiet) => self.session.newest_snapshot(quiet.snapshot)?,
            None => self.session.current_snapshot()?,
        };
        let mut look = Look { sleep: poll.interval, changes: news.changes, ..Look::default() };
        let is_quiet =
            |quiet: &Quiet| quiet.changes == news.changes && quiet.snapshot == current.id && now < quiet.until;
        if let Some(quiet) = self.quiet.get().filter(is_quiet) {
            look.tables = quiet.tables;
            look.sleep = until(now, quiet.until).min(poll.interval);
            return Ok(look);
        }
        self.quiet.set(None);
        let mut tables = Registered::clone(&*self.registered_at(news.changes)?);
        look.tables = tables.len();
        if tables.is_empty() {
            return Ok(look);
        }
        let mut moment = Moment::new(now, poll.interval);
        let workers = self.registry.workers()?.into_iter().filter(|worker| worker.is_live);
        let capacity: u32 = workers.map(|worker| worker.worker.concurrency).sum();
        moment.batches_at_a_time = Some(capacity.max(1) as usize);
        let (since, changes) = self.changes_for(&tables)?;
        let mut schedule = self.schedule(&tables, &changes, now)?;
        let mut decision = schedule.due(&moment);
        let order: Vec<Uuid> = decision.due.iter().map(|due| due.id).collect();
        if !order.is_empty() {
            let mut course = self.course_with(tables, since, changes.clone());
            look.advanced = self.advance_unchanged(&mut course, &order)?;
            tables = course.tables;
            if look.advanced > 0 {
                schedule = self.schedule(&tables, &changes, now)?;
                decision = schedule.due(&moment);
            }
        }
        for skipped in &decision.skipped {
            tracing::debug!(table = %name_of(&tables, skipped.id), obstacle = ?skipped.obstacle, "due, but waiting");
        }
        if decision.due.is_empty() {
            look.sleep = decision.sleep(&moment);
            if look.advanced == 0 && current.id == changes.current.id {
                let until = now.checked_add(look.sleep).unwrap_or(now);
                self.quiet.set(Some(Quiet {
                    changes: news.changes,
                    snapshot: current.id,
                    tables: look.tables,
                    until: decision.next.map_or(until, |next| next.max(until)),
                }));
            }
            return Ok(look);
        }
        let taken: HashSet<Uuid> = self.registry.taken()?.into_iter().collect();
        let batches = schedule.batches(&decision, &moment, &LIMITS, &|id| taken.contains(id));
        let is_served = |queue: &String| poll.queues.is_empty() || poll.queues.contains(queue);
        let version = |id: &Uuid| {
            let table = tables.with_id(*id);
            (*id, table.and_then(|table| table.progress.data_version))
        };
        look.work = batches
            .into_iter()
            .filter(|batch| is_served(&batch.queue))
            .map(|batch| Work {
                tables: batch.tables.iter().map(version).collect(),
                urgency: batch.urgency,
                expected: batch.expected,
            })
            .collect();
        look.sleep = decision.sleep_beside_taken(&moment, poll.interval);
        Ok(look)
    }

    /// Claims tables that are due, refreshes and releases them. `stop` is asked between groups; `observe` hears of every
    /// table that was refreshed or failed.
    ///
    /// # Errors
    /// What the registry or the lake say when they cannot be asked.
    pub fn carry_out(
        &self,
        work: &Work,
        worker: &str,
        stop: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(&RefreshReport),
    ) -> Result<Done> {
        let order: Vec<Uuid> = work.tables.iter().map(|(id, _)| *id).collect();
        let mut done = Done::default();
        let Some(held) = self.hold(worker, &order)? else {
            return Ok(Done { taken: true, ..done });
        };
        fail_point!("claimed");
        let tables = self.registered_at(self.registry.news()?.changes)?;
        // Somebody else refreshed them between the look and the claim: they are not due any more, or are so anew.
        let as_seen = |(id, version): &(Uuid, Option<i64>)| {
            let table = tables.with_id(*id);
            table.is_some_and(|table| table.progress.data_version == *version && table.definition.state.is_running())
        };
        if !work.tables.iter().all(as_seen) {
            return Ok(Done { taken: true, ..done });
        }
        let tables = Registered::clone(&tables);
        self.let_time_pass(&tables, &order)?;
        let mut course = self.course(tables, &order, &HashSet::new())?;
        if self.follow_renamings(&course, &order)? {
            course = self.course(self.load_all()?, &order, &HashSet::new())?;
        }
        let manner =
            Manner { trigger: RefreshTrigger::Scheduled, worker: Some(worker), full: &HashSet::new(), held: &held };
        let mut failures = Vec::new();
        let mut written = Vec::new();
        self.run(&mut course, &order, &manner, stop, &mut |report| {
            if report.action == Some(registry::RefreshAction::NoData) && report.steps.is_empty() {
                done.advanced += 1;
            } else {
                done.refreshed += 1;
                observe(&report);
                if report.state == RefreshState::Succeeded && report.rows_inserted + report.rows_deleted > 0 {
                    written.push(report.name.clone());
                }
            }
            if !matches!(report.state, RefreshState::Succeeded | RefreshState::Skipped) {
                done.failed += 1;
                failures.push(report);
            }
        })?;
        self.suspend_hopeless(&course.tables, &failures)?;
        done.compacted = self.compact_refreshed(&course.tables, &written, worker, &|| stop() || held.is_lost());
        fail_point!("release");
        Ok(done)
    }

    /// All tables as they are registered, read again only if the registry has changed.
    fn registered_at(&self, changes: i64) -> Result<Arc<Registered>> {
        if let Some((known, tables)) = &*self.known.borrow()
            && *known == changes
        {
            return Ok(Arc::clone(tables));
        }
        let tables = Arc::new(self.load_all()?);
        *self.known.borrow_mut() = Some((changes, Arc::clone(&tables)));
        Ok(tables)
    }

    /// Moves the data versions of those tables on for which the catalog tells that nothing they read has changed. How many.
    fn advance_unchanged(&self, course: &mut Course, order: &[Uuid]) -> Result<usize> {
        let before: HashMap<Uuid, Option<i64>> =
            course.tables.iter().map(|table| (table.definition.id, table.progress.data_version)).collect();
        let version = course.version;
        let mut advanced = HashSet::new();
        for id in order {
            let Some(position) = course.tables.position(*id) else { continue };
            let table = &course.tables[position];
            // A table that was as far as what it reads has seen all that this holds.
            let follows_unchanged = |source: &registry::Source| match source.upstream {
                None => true,
                Some(upstream) => {
                    advanced.contains(&upstream) && before.get(&upstream) == before.get(id)
                        || course.tables.is_isolated(upstream)
                }
            };
            let known = table.sources.iter().all(follows_unchanged);
            if !known || table.progress.data_version == Some(version.id) || !self.seems_unchanged(course, table)? {
                continue;
            }
            course.advances.push(registry::Advance {
                table: *id,
                refresh_id: table.progress.refresh_id.clone(),
                data_version: version.id,
                data_timestamp: version.time,
            });
            advanced.insert(*id);
            let progress = &mut course.tables[position].progress;
            progress.data_version = Some(version.id);
            progress.data_timestamp = Some(version.time);
        }
        self.record_advances(course)?;
        Ok(advanced.len())
    }

    /// As [`DynamicTables::is_unchanged`], for tables whose upstream tables are known to be unchanged. What fails here fails
    /// again, and is recorded, when the table is refreshed.
    fn seems_unchanged(&self, course: &Course, table: &DynamicTable) -> Result<bool> {
        match self.is_unchanged(course, table, false) {
            Err(error) if !error.is_transient() && error.code() != Code::Connection => Ok(false),
            result => result,
        }
    }

    /// What happened in the lake since the oldest data version of a table that is refreshed by schedule.
    fn changes_for(&self, tables: &[DynamicTable]) -> Result<(i64, Changes)> {
        let running = tables.iter().filter(|table| table.definition.state.is_running() && !is_isolated(table));
        match running.filter_map(|table| table.progress.data_version).min() {
            Some(since) => Ok((since, self.session.changes_since(since)?)),
            None => {
                let current = self.session.current_snapshot()?;
                Ok((current.id, Changes::none(current)))
            }
        }
    }

    /// The schedule of all tables. The content of a table is right until the first commit after its data version.
    pub(crate) fn schedule(&self, tables: &Registered, changes: &Changes, now: Timestamp) -> Result<Schedule<Uuid>> {
        let entries = tables.iter().map(|table| {
            let progress = &table.progress;
            let properties = &table.definition.properties;
            let lag = match (properties.scheduler, properties.target_lag) {
                (Scheduler::Disable, _) | (_, None) => Lag::Disabled,
                (_, Some(TargetLag::Downstream)) => Lag::Downstream,
                (_, Some(TargetLag::Duration(lag))) => Lag::Within(lag),
            };
            Table {
                id: table.definition.id,
                upstream: table.sources.iter().filter_map(|source| source.upstream).collect(),
                lag,
                suspended: !table.definition.state.is_running(),
                data_timestamp: self.right_until(table, tables, changes, now),
                expected_duration: progress.mean_refresh_seconds.map_or(Duration::ZERO, Duration::from_secs_f64),
                retry_at: progress.retry_at,
                queue: properties.queue.clone(),
                wanted_since: Some(table.definition.created_at),
            }
        });
        let names: HashMap<Uuid, String> =
            tables.iter().map(|table| (table.definition.id, table.definition.name.to_string())).collect();
        Schedule::new(entries.collect())
            .map_err(|cycle| cycle.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string())).into())
    }

    /// The time up to which the content of a table is known to be right. What depends on the time itself is right
    /// when it is computed; if it could not be computed since, it is known to be right for its data timestamp.
    pub(crate) fn right_until(
        &self,
        table: &DynamicTable,
        tables: &Registered,
        changes: &Changes,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let by_time = table.definition.time_dependent
            && self.analyse(&table.definition).is_ok_and(|analysis| {
                analysis.plan.follows_time || (!table.definition.incremental && analysis.plan.volatile)
            });
        match &table.progress.last_refresh {
            Some(last) if by_time && last.state == RefreshState::Succeeded => {
                table.progress.data_version.map(|_| last.at)
            }
            Some(_) if by_time => table.progress.data_timestamp,
            _ => right_until(table, tables, changes, now),
        }
    }

    /// Suspends tables that have failed too often in a row, and what reads them.
    fn suspend_hopeless(&self, tables: &Registered, failures: &[RefreshReport]) -> Result<()> {
        let hopeless = |report: &&RefreshReport| {
            report.state == RefreshState::Failed && report.error.as_ref().is_some_and(|error| !error.is_transient())
        };
        for report in failures.iter().filter(hopeless) {
            let Some(table) = tables.named(&report.name) else { continue };
            let failed =
                self.registry.get(&table.definition.name)?.map_or(0, |table| table.progress.consecutive_failures);
            if failed < FAILURES_UNTIL_SUSPENDED {
                continue;
            }
            let error = report.error.as_ref().map_or_else(String::new, |error| format!(": {}", error.message()));
            let reason = format!("{failed} refreshes failed in a row{error}");
            tracing::error!(table = %report.name, reason, "suspended");
            self.suspend_with_readers(table, SuspendedBy::Failures, &reason)?;
        }
        Ok(())
    }

    /// Suspends a table, and along with it everything that reads it and still runs.
    pub(crate) fn suspend_with_readers(
        &self,
        table: &DynamicTable,
        by: SuspendedBy,
        reason: &str,
    ) -> Result<Vec<sql::names::TableName>> {
        let tables = self.load_all()?;
        let graph = graph(&tables)?;
        let since = Timestamp::now();
        let suspended = |by, reason: String| SchedulingState::Suspended { by, reason: Some(reason), since };
        self.registry.set_state(&[table.definition.id], &suspended(by, reason.to_owned()))?;
        let readers: HashSet<Uuid> = graph.all_downstream([&table.definition.id]).into_iter().collect();
        let running: Vec<&DynamicTable> = tables
            .iter()
            .filter(|reader| readers.contains(&reader.definition.id) && reader.definition.state.is_running())
            .collect();
        let ids: Vec<Uuid> = running.iter().map(|reader| reader.definition.id).collect();
        if !ids.is_empty() {
            let reason = format!("{}, which it reads, was suspended", table.definition.name);
            self.registry.set_state(&ids, &suspended(SuspendedBy::Upstream, reason))?;
        }
        Ok(running.iter().map(|reader| reader.definition.name.clone()).collect())
    }
}

/// The time up to which the content of a table is known to be right: that of the first commit after its data version
/// which it might have to follow, or now. What dynamic tables publish is no news by itself, it follows from such
/// commits; only what an isolated one publishes is.
fn right_until(table: &DynamicTable, tables: &Registered, changes: &Changes, now: Timestamp) -> Option<Timestamp> {
    let version = table.progress.data_version?;
    if version > changes.current.id {
        // The lake was restored from a backup: what it holds now was never read.
        return table.progress.data_timestamp.map(|time| time.min(now));
    }
    let is_news = |change: &&lake::Change| {
        change.snapshot > version && (!change.ours || reads_isolated(table, tables, change.table_id))
    };
    Some(changes.changes.iter().find(is_news).map_or(now, |change| change.time.min(now)))
}

fn reads_isolated(table: &DynamicTable, tables: &Registered, changed: Option<i64>) -> bool {
    let source = table.sources.iter().find(|source| changed.is_some() && source.lake_table_id == changed);
    source.and_then(|source| source.upstream).is_some_and(|upstream| tables.is_isolated(upstream))
}

fn name_of(tables: &Registered, id: Uuid) -> String {
    let table = tables.with_id(id);
    table.map_or_else(|| id.to_string(), |table| table.definition.name.to_string())
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
