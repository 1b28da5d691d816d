//! What is going on at this moment: workers, refreshes that run, and which tables are the most urgent.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use registry::{ClaimedTable, HistoryFilter, Refresh, RefreshState, ReportedWorker};
use scheduler::Moment;
use uuid::Uuid;

use crate::status::{MOST_EXECUTING, Status, status_of};
use crate::tables::DynamicTables;

/// A worker looks again after this long at the latest, as far as what is due is concerned.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What is going on at one moment.
#[derive(Clone, Debug)]
pub struct Activity {
    /// The moment.
    pub at: Timestamp,
    /// The workers that have reported, by their ids.
    pub workers: Vec<ReportedWorker>,
    /// The refreshes that run, by the history; the one that began first is first.
    pub running: Vec<Refresh>,
    /// Who claims which tables.
    pub claims: Vec<ClaimedTable>,
    /// The dynamic tables, the most urgent first.
    pub tables: Vec<Watched>,
}

/// A dynamic table and how urgent it is.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its state; without rows and bytes.
    pub status: Status,
    /// Whether it is to be refreshed now.
    pub is_due: bool,
    /// The share of its target lag that is used up; above 1 it is late. None without a target or a lag.
    pub lag_used: Option<f64>,
}

impl DynamicTables {
    /// What is going on now.
    ///
    /// # Errors
    /// What the registry or the lake say when they cannot be asked.
    pub fn activity(&self) -> Result<Activity> {
        let overview = self.overview()?;
        let moment = Moment::new(overview.now, POLL_INTERVAL);
        let due: HashSet<Uuid> = overview.schedule.due(&moment).due.into_iter().map(|due| due.id).collect();
        let executing = HistoryFilter { state: Some(RefreshState::Executing), ..HistoryFilter::default() };
        let mut running = self.registry.history(&executing, MOST_EXECUTING)?;
        running.reverse();
        let refreshed: HashMap<Uuid, Uuid> = running.iter().map(|refresh| (refresh.table, refresh.id)).collect();
        let mut tables: Vec<Watched> = overview
            .tables
            .iter()
            .map(|table| {
                let right_until = self.right_until(table, &overview.tables, &overview.changes, overview.now);
                let mut status = status_of(&overview, table, right_until);
                status.executing_refresh = refreshed.get(&status.id).copied();
                let used = |lag: Duration, target: Duration| lag.as_secs_f64() / target.as_secs_f64();
                let lag_used = status.lag.zip(status.measured_against).map(|(lag, target)| used(lag, target));
                Watched { is_due: due.contains(&status.id), lag_used, status }
            })
            .collect();
        tables.sort_by(more_urgent);
        Ok(Activity {
            at: overview.now,
            workers: self.registry.workers()?,
            claims: self.registry.claims()?,
            running,
            tables,
        })
    }
}

/// What is refreshed or due before what is not, then by the share of the lag that is used up, then by name.
fn more_urgent(left: &Watched, right: &Watched) -> Ordering {
    let rank = |table: &Watched| (table.status.executing_refresh.is_none(), !table.is_due);
    let used = |table: &Watched| table.lag_used.unwrap_or(-1.0);
    rank(left)
        .cmp(&rank(right))
        .then(used(right).total_cmp(&used(left)))
        .then_with(|| left.status.name.cmp(&right.status.name))
}
