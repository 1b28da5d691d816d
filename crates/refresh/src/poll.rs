//! One look of a worker: what is due now, and refreshing it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use lake::Changes;
use registry::{DynamicTable, RefreshState, RefreshTrigger, SchedulingState, SuspendedBy};
use scheduler::{DEFAULT_QUEUE, Lag, Moment, Schedule, Table};
use sql::properties::{Scheduler, TargetLag};
use uuid::Uuid;

use crate::course::{Manner, graph, is_isolated};
use crate::report::RefreshReport;
use crate::tables::DynamicTables;

/// After this many failures in a row that will not pass by themselves a table is suspended.
const FAILURES_UNTIL_SUSPENDED: u32 = 5;

/// What a look found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// How many dynamic tables there are.
    pub tables: usize,
    /// How many were refreshed, well or not.
    pub refreshed: usize,
    /// How many were due but had nothing new to read.
    pub advanced: usize,
    /// How many were due and failed.
    pub failed: usize,
    /// How long until something can be due again, at most the poll interval.
    pub sleep: Duration,
}

impl DynamicTables {
    /// Refreshes what is due at `now`, in the order of dependencies. One query to the registry and one to the lake
    /// when nothing is due or nothing has changed. `stop` is asked between tables; `observe` hears of every table that
    /// was refreshed or failed.
    ///
    /// # Errors
    /// What the registry or the lake say when they cannot be asked.
    pub fn run_due(
        &self,
        now: Timestamp,
        poll_interval: Duration,
        worker: &str,
        stop: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(&RefreshReport),
    ) -> Result<Pass> {
        let tables = self.registry.load_all()?;
        let mut pass = Pass { tables: tables.len(), sleep: poll_interval, ..Pass::default() };
        if tables.is_empty() {
            return Ok(pass);
        }
        let (since, changes) = self.changes_for(&tables)?;
        let moment = Moment::new(now, poll_interval);
        let decision = self.schedule(&tables, &changes, now)?.due(&moment);
        for skipped in &decision.skipped {
            tracing::debug!(table = %name_of(&tables, skipped.id), obstacle = ?skipped.obstacle, "due, but waiting");
        }
        if decision.due.is_empty() {
            pass.sleep = decision.sleep(&moment);
            return Ok(pass);
        }
        let order: Vec<Uuid> = decision.due.iter().map(|due| due.id).collect();
        let (since, changes) = match self.let_time_pass(&tables, &order)? {
            true => self.changes_for(&tables)?,
            false => (since, changes),
        };
        let mut course = self.course_with(tables, since, changes);
        let manner = Manner { trigger: RefreshTrigger::Scheduled, worker: Some(worker), full: &HashSet::new() };
        let mut failures = Vec::new();
        self.run(&mut course, &order, &manner, stop, &mut |report| {
            let unchanged = report.action == Some(registry::RefreshAction::NoData) && report.steps.is_empty();
            if unchanged {
                pass.advanced += 1;
            } else {
                pass.refreshed += 1;
                observe(&report);
            }
            if report.state != RefreshState::Succeeded {
                pass.failed += 1;
                failures.push(report);
            }
        })?;
        self.suspend_hopeless(&course.tables, &failures)?;
        let schedule = self.schedule(&course.tables, &course.changes, now)?;
        let after = schedule.due(&moment);
        let until_next = after.next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        // A table that takes longer than its lag is always due, also when nothing has changed.
        let still_due = after.due.iter().filter_map(|due| schedule.effective_lag(&due.id)?.duration()).min();
        pass.sleep = [until_next, still_due].into_iter().flatten().fold(poll_interval, Duration::min);
        Ok(pass)
    }

    /// What happened in the lake since the oldest data version of a table that is refreshed by schedule.
    fn changes_for(&self, tables: &[DynamicTable]) -> Result<(i64, Changes)> {
        let running = tables.iter().filter(|table| table.definition.state.is_running() && !is_isolated(table));
        match running.filter_map(|table| table.progress.data_version).min() {
            Some(since) => Ok((since, self.session.changes_since(since)?)),
            None => {
                let current = self.session.current_snapshot()?;
                Ok((current.id, Changes { current, oldest: 0, changes: Vec::new() }))
            }
        }
    }

    /// The schedule of all tables. The content of a table is right until the first commit after its data version.
    pub(crate) fn schedule(
        &self,
        tables: &[DynamicTable],
        changes: &Changes,
        now: Timestamp,
    ) -> Result<Schedule<Uuid>> {
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
                queue: DEFAULT_QUEUE.to_owned(),
                wanted_since: Some(table.definition.created_at),
            }
        });
        let names: HashMap<Uuid, String> =
            tables.iter().map(|table| (table.definition.id, table.definition.name.to_string())).collect();
        Schedule::new(entries.collect())
            .map_err(|cycle| cycle.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string())).into())
    }

    /// The time up to which the content of a table is known to be right. What depends on the time itself is right
    /// when it is computed.
    fn right_until(
        &self,
        table: &DynamicTable,
        tables: &[DynamicTable],
        changes: &Changes,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let by_time = self.analyse(&table.definition).is_ok_and(|analysis| {
            analysis.plan.follows_time || (!table.definition.incremental && analysis.plan.volatile)
        });
        match &table.progress.last_refresh {
            Some(last) if by_time => table.progress.data_version.map(|_| last.at),
            _ => right_until(table, tables, changes, now),
        }
    }

    /// Suspends tables that have failed too often in a row, and what reads them.
    fn suspend_hopeless(&self, tables: &[DynamicTable], failures: &[RefreshReport]) -> Result<()> {
        let hopeless = |report: &&RefreshReport| {
            report.state == RefreshState::Failed && report.error.as_ref().is_some_and(|error| !error.is_transient())
        };
        for report in failures.iter().filter(hopeless) {
            let Some(table) = tables.iter().find(|table| table.definition.name == report.name) else { continue };
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
        let tables = self.registry.load_all()?;
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
pub(crate) fn right_until(
    table: &DynamicTable,
    tables: &[DynamicTable],
    changes: &Changes,
    now: Timestamp,
) -> Option<Timestamp> {
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

fn reads_isolated(table: &DynamicTable, tables: &[DynamicTable], changed: Option<i64>) -> bool {
    let source = table.sources.iter().find(|source| changed.is_some() && source.lake_table_id == changed);
    let upstream = source.and_then(|source| tables.iter().find(|other| Some(other.definition.id) == source.upstream));
    upstream.is_some_and(is_isolated)
}

fn name_of(tables: &[DynamicTable], id: Uuid) -> String {
    let table = tables.iter().find(|table| table.definition.id == id);
    table.map_or_else(|| id.to_string(), |table| table.definition.name.to_string())
}
