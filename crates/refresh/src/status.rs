//! The state of dynamic tables as an operator wants to see it.

use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use registry::{HistoryFilter, Refresh, SchedulingState};
use scheduler::EffectiveLag;
use sql::names::{ObjectName, TableName};
use sql::properties::Scheduler;

use crate::poll::right_until;
use crate::record::lag;
use crate::tables::{DynamicTables, unknown};

/// The state of one dynamic table.
#[derive(Clone, Debug)]
pub struct Status {
    /// The table.
    pub name: TableName,
    /// `RUNNING`, `SUSPENDED`, or `PENDING_INIT` before its first refresh.
    pub scheduling_state: String,
    /// Why it is suspended.
    pub suspended_reason: Option<String>,
    /// The target lag as it was set; `-` without one.
    pub target_lag: String,
    /// What it is held to, by itself and by what reads it.
    pub effective_lag: Option<String>,
    /// How far the content lies back: since the first commit that it might miss. Zero when nothing was committed since.
    pub lag: Option<Duration>,
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
    /// Rows it holds.
    pub rows: Option<u64>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// The user's comment.
    pub comment: Option<String>,
}

impl DynamicTables {
    /// The state of one table, or of all, ordered by name.
    ///
    /// # Errors
    /// `QUERY` for an unknown name.
    pub fn status(&self, name: Option<&ObjectName>) -> Result<Vec<Status>> {
        let wanted = name.map(|name| self.resolve(name)).transpose()?;
        let tables = self.registry.load_all()?;
        let now = Timestamp::now();
        let since = tables.iter().filter_map(|table| table.progress.data_version).min();
        let changes = match since {
            Some(since) => self.session.changes_since(since)?,
            None => lake::Changes { current: self.session.current_snapshot()?, oldest: 0, changes: Vec::new() },
        };
        let schedule = self.schedule(&tables, &changes, now)?;
        let stored = self.session.tables()?;
        let statuses: Vec<Status> = tables
            .iter()
            .filter(|table| wanted.as_ref().is_none_or(|wanted| table.definition.name == *wanted))
            .map(|table| {
                let definition = &table.definition;
                let progress = &table.progress;
                let last = progress.last_refresh.as_ref();
                let found = stored.iter().find(|stored| stored.name == definition.name);
                Status {
                    name: definition.name.clone(),
                    scheduling_state: match (&definition.state, progress.data_version) {
                        (SchedulingState::Running, None) => "PENDING_INIT".to_owned(),
                        (state, _) => state.as_str().to_owned(),
                    },
                    suspended_reason: match &definition.state {
                        SchedulingState::Suspended { reason, .. } => reason.clone(),
                        SchedulingState::Running => None,
                    },
                    target_lag: match (definition.properties.scheduler, definition.properties.target_lag) {
                        (Scheduler::Enable, Some(lag)) => lag.to_string(),
                        _ => "-".to_owned(),
                    },
                    effective_lag: schedule.effective_lag(&definition.id).map(shown),
                    lag: lag(now, right_until(table, &tables, &changes, now)),
                    refresh_mode: if definition.incremental { "INCREMENTAL" } else { "FULL" }.to_owned(),
                    refresh_mode_reason: definition.refresh_mode_reason.clone(),
                    data_version: progress.data_version,
                    data_timestamp: progress.data_timestamp,
                    last_refresh_time: last.map(|last| last.at),
                    last_refresh_status: last.map(|last| last.state.as_str().to_owned()),
                    last_refresh_action: last.and_then(|last| last.action).map(|action| action.as_str().to_owned()),
                    last_error: last.and_then(|last| last.error.clone()),
                    rows: found.map(|found| found.rows),
                    bytes: found.map(|found| found.bytes),
                    comment: definition.properties.comment.clone(),
                }
            })
            .collect();
        match wanted {
            Some(wanted) if statuses.is_empty() => Err(unknown(&wanted)),
            _ => Ok(statuses),
        }
    }

    /// Forgets publications whose snapshots the lake has expired. How many those were.
    ///
    /// # Errors
    /// What the registry or the lake say when they cannot be asked.
    pub fn prune_publications(&self) -> Result<u64> {
        let oldest = self.session.changes_since(self.session.current_snapshot()?.id)?.oldest;
        self.registry.prune_publications(oldest)
    }

    /// The last refreshes of one table, or of all, the newest first. Reaches tables that were dropped.
    ///
    /// # Errors
    /// `QUERY` for a name that never was one.
    pub fn history(&self, name: Option<&ObjectName>, limit: u32) -> Result<Vec<Refresh>> {
        let Some(name) = name else { return self.registry.history(&HistoryFilter::default(), limit) };
        let resolved = self.resolve(name)?;
        if let Some(table) = self.registry.get(&resolved)? {
            let filter = HistoryFilter { table: Some(table.definition.id), ..HistoryFilter::default() };
            return self.registry.history(&filter, limit);
        }
        let filter = HistoryFilter { name: Some(resolved.clone()), ..HistoryFilter::default() };
        let history = self.registry.history(&filter, limit)?;
        if history.is_empty() { Err(unknown(&resolved)) } else { Ok(history) }
    }
}

fn shown(lag: &EffectiveLag<uuid::Uuid>) -> String {
    match lag {
        EffectiveLag::Within { lag, .. } => sql::properties::TargetLag::Duration(*lag).to_string(),
        EffectiveLag::Follows { lag } => {
            format!("follows what it reads ({})", sql::properties::TargetLag::Duration(*lag))
        }
        EffectiveLag::Unscheduled(why) => format!("not scheduled: {why}"),
    }
}
