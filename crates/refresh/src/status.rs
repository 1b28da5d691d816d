//! The state of dynamic tables as an operator wants to see it: now, over the last hours, and refresh by refresh.

mod lag;

use std::collections::HashMap;
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use lake::Changes;
use registry::{DynamicTable, GraphFilter, GraphPeriod, HistoryFilter, Refresh, RefreshState, SchedulingState};
use scheduler::{EffectiveLag, Schedule};
use sql::names::{ObjectName, TableName};
use sql::properties::{Scheduler, TargetLag};
use uuid::Uuid;

use crate::record::lag;
use crate::registered::Registered;
use crate::tables::{DynamicTables, unknown};

pub use lag::{LagStatistics, lag_statistics};

/// No more refreshes than these are read for statistics of lag; the stretch of time ends where they do.
const STATISTICS_ROWS: u32 = 100_000;

/// Refreshes that began this long before a stretch of time may have ended in it.
const LONGEST_OVERHANG: Duration = Duration::from_secs(86_400);

/// More refreshes than this do not run at once.
pub(crate) const MOST_EXECUTING: u32 = 10_000;

/// The state of one dynamic table.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its id, which stays when it is renamed.
    pub id: Uuid,
    /// The table.
    pub name: TableName,
    /// `RUNNING`, `SUSPENDED`, or `PENDING_INIT` before its first refresh.
    pub scheduling_state: String,
    /// Why it is suspended.
    pub suspended_reason: Option<String>,
    /// At whose will it is suspended: `USER`, `UPSTREAM` or `FAILURES`.
    pub suspended_by: Option<String>,
    /// Since when it is suspended.
    pub suspended_since: Option<Timestamp>,
    /// The target lag as it was set; `-` without one.
    pub target_lag: String,
    /// What it is held to, by itself and by what reads it.
    pub effective_lag: Option<String>,
    /// The lag that it is measured against: its own target lag, or with `DOWNSTREAM` the one that is asked of it.
    pub measured_against: Option<Duration>,
    /// How far the content lies back: since the first commit that it might miss. Zero when nothing was committed since.
    pub lag: Option<Duration>,
    /// How it was over a stretch of time, if that was asked for and anything is known.
    pub lag_statistics: Option<LagStatistics>,
    /// `INCREMENTAL` or `FULL`: what its refresh mode comes to.
    pub refresh_mode: String,
    /// Why it is not incremental.
    pub refresh_mode_reason: Option<String>,
    /// The snapshot of which the content is the query's result.
    pub data_version: Option<i64>,
    /// When that snapshot was committed.
    pub data_timestamp: Option<Timestamp>,
    /// When it was last refreshed.
    pub last_refresh_time: Option<Timestamp>,
    /// How that ended.
    pub last_refresh_status: Option<String>,
    /// What was done.
    pub last_refresh_action: Option<String>,
    /// What went wrong.
    pub last_error: Option<String>,
    /// The refresh that is running, by the history.
    pub executing_refresh: Option<Uuid>,
    /// Rows it holds.
    pub rows: Option<u64>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// The user's comment.
    pub comment: Option<String>,
}

/// Which dynamic tables to look at, and how far back.
#[derive(Clone, Debug, Default)]
pub struct StatusRequest {
    /// The tables, in this order; empty means all, ordered by name.
    pub names: Vec<ObjectName>,
    /// Statistics of lag since then; none without.
    pub lag_since: Option<Timestamp>,
}

/// Which refreshes to list, the newest first.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    /// Of this table; without a name of all.
    pub name: Option<ObjectName>,
    /// Only those that failed, or were not tried since what they read had failed.
    pub only_failures: bool,
    /// Only those that began then or later.
    pub since: Option<Timestamp>,
    /// Not more than these.
    pub limit: u32,
}

/// All dynamic tables at one moment.
pub(crate) struct Overview {
    pub tables: Registered,
    pub now: Timestamp,
    pub changes: Changes,
    pub schedule: Schedule<Uuid>,
}

impl DynamicTables {
    /// The state of one table, or of all, ordered by name.
    ///
    /// # Errors
    /// `QUERY` for an unknown name.
    pub fn status(&self, name: Option<&ObjectName>) -> Result<Vec<Status>> {
        self.statuses(&StatusRequest { names: name.cloned().into_iter().collect(), lag_since: None })
    }

    /// The state of tables, with statistics of their lag if they are asked for.
    ///
    /// # Errors
    /// `QUERY` for an unknown name.
    pub fn statuses(&self, request: &StatusRequest) -> Result<Vec<Status>> {
        let overview = self.overview()?;
        let mut wanted = Vec::new();
        for name in &request.names {
            let name = self.resolve(name)?;
            let table = overview.tables.named(&name);
            wanted.push(table.ok_or_else(|| unknown(&name))?);
        }
        if request.names.is_empty() {
            wanted = overview.tables.iter().collect();
        }
        self.statuses_of(&overview, &wanted, request.lag_since)
    }

    pub(crate) fn overview(&self) -> Result<Overview> {
        let tables = self.load_all()?;
        let now = Timestamp::now();
        let since = tables.iter().filter_map(|table| table.progress.data_version).min();
        let changes = match since {
            Some(since) => self.session.changes_since(since)?,
            None => Changes::none(self.session.current_snapshot()?),
        };
        let schedule = self.schedule(&tables, &changes, now)?;
        Ok(Overview { tables, now, changes, schedule })
    }

    /// The state of these tables, in their order.
    pub(crate) fn statuses_of(
        &self,
        overview: &Overview,
        wanted: &[&DynamicTable],
        lag_since: Option<Timestamp>,
    ) -> Result<Vec<Status>> {
        let stored: HashMap<TableName, (u64, u64)> =
            self.session.tables()?.into_iter().map(|table| (table.name, (table.rows, table.bytes))).collect();
        let executing = HistoryFilter { state: Some(RefreshState::Executing), ..HistoryFilter::default() };
        let executing: HashMap<Uuid, Uuid> = self
            .registry
            .history(&executing, MOST_EXECUTING)?
            .into_iter()
            // Of two that seem to run the newer one is kept: the process of the other has died.
            .rev()
            .map(|refresh| (refresh.table, refresh.id))
            .collect();
        let mut statuses: Vec<Status> = wanted
            .iter()
            .map(|table| {
                let right_until = self.right_until(table, &overview.tables, &overview.changes, overview.now);
                status_of(overview, table, right_until)
            })
            .collect();
        for status in &mut statuses {
            status.executing_refresh = executing.get(&status.id).copied();
            if let Some((rows, bytes)) = stored.get(&status.name) {
                (status.rows, status.bytes) = (Some(*rows), Some(*bytes));
            }
        }
        if let Some(since) = lag_since {
            self.add_lag_statistics(&mut statuses, since, overview.now)?;
        }
        Ok(statuses)
    }

    fn add_lag_statistics(&self, statuses: &mut [Status], since: Timestamp, now: Timestamp) -> Result<()> {
        let filter = HistoryFilter {
            table: match &*statuses {
                [only] => Some(only.id),
                _ => None,
            },
            since: Some(since.saturating_sub(LONGEST_OVERHANG).unwrap_or(Timestamp::MIN)),
            ..HistoryFilter::default()
        };
        let rows = self.registry.history(&filter, STATISTICS_ROWS)?;
        let all = rows.len() < STATISTICS_ROWS as usize;
        let since = rows.last().filter(|_| !all).map_or(since, |oldest| since.max(oldest.started_at));
        let mut by_table: HashMap<Uuid, Vec<Refresh>> = HashMap::new();
        for refresh in rows {
            by_table.entry(refresh.table).or_default().push(refresh);
        }
        for status in statuses {
            let rows = by_table.get(&status.id).map_or(&[][..], Vec::as_slice);
            status.lag_statistics = lag_statistics(rows, since, now, status.lag, status.measured_against);
        }
        Ok(())
    }

    /// What dynamic tables were when, the latest periods first; reaches tables that were dropped.
    ///
    /// # Errors
    /// `QUERY` for a name that never was one.
    pub fn graph_history(&self, name: Option<&ObjectName>, limit: u32) -> Result<Vec<GraphPeriod>> {
        let mut filter = GraphFilter::default();
        if let Some(name) = name {
            let resolved = self.resolve(name)?;
            match self.registry.get(&resolved)? {
                Some(table) => filter.table = Some(table.definition.id),
                None => filter.name = Some(resolved.clone()),
            }
            let periods = self.registry.graph_history(&filter, limit)?;
            return if periods.is_empty() && filter.table.is_none() { Err(unknown(&resolved)) } else { Ok(periods) };
        }
        self.registry.graph_history(&filter, limit)
    }

    /// Forgets publications whose snapshots the lake has expired. How many those were.
    ///
    /// # Errors
    /// What the registry or the lake say when they cannot be asked.
    pub fn prune_publications(&self) -> Result<u64> {
        let oldest = self.session.changes_since(self.session.current_snapshot()?.id)?.oldest;
        self.registry.prune_publications(oldest)
    }

    /// Past refreshes, the newest first. Reaches tables that were dropped.
    ///
    /// # Errors
    /// `QUERY` for a name that never was one.
    pub fn history(&self, request: &HistoryRequest) -> Result<Vec<Refresh>> {
        let mut filter = HistoryFilter { since: request.since, ..HistoryFilter::default() };
        if let Some(name) = &request.name {
            let resolved = self.resolve(name)?;
            if let Some(table) = self.registry.get(&resolved)? {
                filter.table = Some(table.definition.id);
            } else {
                let ever = HistoryFilter { name: Some(resolved.clone()), ..HistoryFilter::default() };
                if self.registry.history(&ever, 1)?.is_empty() {
                    return Err(unknown(&resolved));
                }
                filter.name = Some(resolved);
            }
        }
        if !request.only_failures {
            return self.registry.history(&filter, request.limit);
        }
        let mut refreshes = Vec::new();
        for state in [RefreshState::Failed, RefreshState::UpstreamFailed] {
            let filter = HistoryFilter { state: Some(state), ..filter.clone() };
            refreshes.extend(self.registry.history(&filter, request.limit)?);
        }
        refreshes.sort_by_key(|refresh| std::cmp::Reverse((refresh.started_at, refresh.id)));
        refreshes.truncate(request.limit as usize);
        Ok(refreshes)
    }
}

/// What registry and schedule say of a table; what the lake and the history say is added by others.
pub(crate) fn status_of(overview: &Overview, table: &DynamicTable, right_until: Option<Timestamp>) -> Status {
    let definition = &table.definition;
    let progress = &table.progress;
    let last = progress.last_refresh.as_ref();
    let effective = overview.schedule.effective_lag(&definition.id);
    let own = match (definition.properties.scheduler, definition.properties.target_lag) {
        (Scheduler::Enable, own) => own,
        (Scheduler::Disable, _) => None,
    };
    let (suspended_reason, suspended_by, suspended_since) = match &definition.state {
        SchedulingState::Suspended { by, reason, since } => {
            (reason.clone(), Some(by.as_str().to_owned()), Some(*since))
        }
        SchedulingState::Running => (None, None, None),
    };
    Status {
        id: definition.id,
        name: definition.name.clone(),
        scheduling_state: match (&definition.state, progress.data_version) {
            (SchedulingState::Running, None) => "PENDING_INIT".to_owned(),
            (state, _) => state.as_str().to_owned(),
        },
        suspended_reason,
        suspended_by,
        suspended_since,
        target_lag: own.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
        effective_lag: effective.map(shown),
        measured_against: match own {
            Some(TargetLag::Duration(lag)) => Some(lag),
            Some(TargetLag::Downstream) => effective.and_then(EffectiveLag::duration),
            None => None,
        },
        lag: lag(overview.now, right_until),
        lag_statistics: None,
        refresh_mode: if definition.incremental { "INCREMENTAL" } else { "FULL" }.to_owned(),
        refresh_mode_reason: definition.refresh_mode_reason.clone(),
        data_version: progress.data_version,
        data_timestamp: progress.data_timestamp,
        last_refresh_time: last.map(|last| last.at),
        last_refresh_status: last.map(|last| last.state.as_str().to_owned()),
        last_refresh_action: last.and_then(|last| last.action).map(|action| action.as_str().to_owned()),
        last_error: last.and_then(|last| last.error.clone()),
        executing_refresh: None,
        rows: None,
        bytes: None,
        comment: definition.properties.comment.clone(),
    }
}

fn shown(lag: &EffectiveLag<Uuid>) -> String {
    match lag {
        EffectiveLag::Within { lag, .. } => TargetLag::Duration(*lag).to_string(),
        EffectiveLag::Follows { lag } => format!("follows what it reads ({})", TargetLag::Duration(*lag)),
        EffectiveLag::Unscheduled(why) => format!("not scheduled: {why}"),
    }
}
