//! Ending a refresh: telling the registry what was published, that only the data version moved, or what failed.

use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use jiff::Timestamp;
use registry::{
    Alteration, Definition, DynamicTable, FinishedRefresh, LastRefresh, Progress, ProgressChange, Refresh,
    RefreshAction, RefreshState, RefreshTrigger, Source,
};
use sql::properties::TargetLag;
use uuid::Uuid;

use crate::course::{Course, Manner, graph};
use crate::group::{Pending, Run};
use crate::publish::Published;
use crate::report::RefreshReport;
use crate::steps::{Cost, Stopwatch};
use crate::tables::DynamicTables;

/// The pause after the first failure that may pass, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The bounds of the pause after a failure that will not pass by itself.
const SHORTEST_TURN: Duration = Duration::from_secs(10);
const LONGEST_TURN: Duration = Duration::from_secs(3_600);

/// How often a refresh is tried to be recorded while others change the same table's progress.
const RECORDINGS: usize = 5;

/// The weight of the newest refresh in the mean duration.
const NEWEST_WEIGHT: f64 = 0.3;

impl DynamicTables {
    /// Only the data version moves. Written to the history when a person asked for it.
    pub(crate) fn no_data(
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

    /// Ends the refreshes of tables that were published together, or had nothing to publish.
    pub(crate) fn finish(
        &self,
        course: &mut Course,
        run: &mut Run<'_, '_>,
        mut pending: Vec<Pending>,
        published: Vec<Option<Published>>,
        began: Stopwatch,
    ) -> Result<()> {
        let mut all_finished = Vec::new();
        self.record_advances(course)?;
        // Each bears its own writing, and its part of the commit that they share.
        let applying: Duration = published.iter().flatten().map(|published| published.applying).sum();
        let share = began.cost().without_lake(applying).share(pending.len());
        for (pending, published) in pending.iter_mut().zip(&published) {
            let applying = published.as_ref().map_or(Duration::ZERO, |published| published.applying);
            pending.steps.add("apply", Cost { took: applying, lake: applying, ..Cost::default() });
            pending.steps.add("commit", share);
            let took = pending.computing + applying + share.took;
            all_finished.push(self.finished(course, pending, published.as_ref(), took)?);
        }
        if let Err(error) = self.registry.finish_refreshes(&all_finished) {
            if error.code() != Code::Conflict {
                return Err(error);
            }
            // Somebody told the registry of one of them already.
            for (pending, finished) in pending.iter().zip(&all_finished) {
                match self.record(&pending.table, finished.clone()) {
                    Err(error) if error.code() == Code::Conflict => {
                        tracing::warn!(table = %pending.table.definition.name, %error, "could not record a refresh");
                    }
                    result => result?,
                }
            }
        }
        for (mut pending, finished) in pending.into_iter().zip(all_finished) {
            self.enter_scope(pending.scope);
            self.forget_temporaries()?;
            self.forget_unpublished_of(&mut course.unpublished, &pending.table.definition.name)?;
            self.measured.borrow_mut().follow(&finished.refresh);
            let FinishedRefresh { refresh, progress, sources } = finished;
            self.follow_shape(&pending, sources.as_ref())?;
            pending.steps.end("record");
            let table = &mut course.tables[pending.position];
            if let Some(change) = progress {
                table.progress = change.after;
            }
            if let Some(sources) = sources {
                table.sources = sources;
            }
            (run.observe)(RefreshReport {
                action: refresh.action,
                rows_read: refresh.rows_read.unwrap_or_default(),
                rows_inserted: refresh.rows_inserted.unwrap_or_default(),
                rows_deleted: refresh.rows_deleted.unwrap_or_default(),
                data_version: refresh.data_version,
                data_timestamp: refresh.data_timestamp,
                duration: pending.started.elapsed(),
                lag_before: pending.lag_before,
                lag: refresh.lag_after_seconds.map(Duration::from_secs_f64),
                steps: pending.steps.done,
                ..empty_report(&pending.table, RefreshState::Succeeded, refresh.reason.unwrap_or_default())
            });
        }
        Ok(())
    }

    /// What the registry is told of a table.
    fn finished(
        &self,
        course: &mut Course,
        pending: &mut Pending,
        published: Option<&Published>,
        took: Duration,
    ) -> Result<FinishedRefresh> {
        let version = course.version;
        let (inserted, deleted, read) = match pending.prepared() {
            Some(prepared) => (prepared.rows_inserted, prepared.rows_deleted, prepared.rows_read),
            None => (0, 0, pending.outcome.figures.changed_rows),
        };
        let Pending { table, refresh, situation, outcome, steps, .. } = pending;
        let definition = &table.definition;
        let before = table.progress.clone();
        let mut after = Progress {
            data_version: Some(version.id),
            data_timestamp: Some(version.time),
            consecutive_failures: 0,
            retry_at: None,
            ..before.clone()
        };
        if let Some(Published { snapshot, watermark, reshaped, .. }) = published {
            after.snapshot = Some(snapshot.id);
            after.refresh_id = Some(watermark.refresh_id.clone());
            after.fence = watermark.fence;
            self.moved_watermark(course, watermark.clone());
            self.remember_left_state(definition.id, &watermark.refresh_id, outcome.leaves_state);
            self.remember_state(definition.id, &watermark.refresh_id, outcome.prepared.as_ref());
            if *reshaped {
                // What was known of the queries that read it was known of its old columns.
                self.analyses.borrow_mut().clear();
            }
            after.target_table_id = match situation.target {
                Some(target) if !reshaped => Some(target.id),
                _ => self.session.table_ids(std::slice::from_ref(&definition.name))?.pop().flatten(),
            };
            let rows = situation.target.map_or(0, |target| target.rows);
            after.rows = Some((rows + inserted).saturating_sub(deleted));
        }
        after.bytes = situation.target.and_then(|target| target.bytes).or(after.bytes);
        let now = Timestamp::now();
        after.mean_refresh_seconds = Some(match before.mean_refresh_seconds {
            Some(mean) => mean + NEWEST_WEIGHT * (took.as_secs_f64() - mean),
            None => took.as_secs_f64(),
        });
        let chosen = &outcome.chosen;
        after.last_refresh = Some(LastRefresh {
            state: RefreshState::Succeeded,
            action: Some(chosen.action),
            at: now,
            duration_ms: Some(millis(took)),
            error: None,
        });
        let lag_after = lag(now, Some(course.seen_at.max(version.time)));
        refresh.state = RefreshState::Succeeded;
        refresh.completed_at = Some(now);
        refresh.action = Some(chosen.action);
        refresh.reason = Some(chosen.reason.clone());
        refresh.data_version = after.data_version;
        refresh.data_timestamp = after.data_timestamp;
        refresh.snapshot = published.and(after.snapshot);
        refresh.rows_inserted = Some(inserted);
        refresh.rows_deleted = Some(deleted);
        refresh.rows_read = Some(read);
        refresh.duration_ms = Some(millis(took));
        refresh.lag_after_seconds = lag_after.map(|lag| lag.as_secs_f64());
        refresh.steps = Some(steps.to_json());
        refresh.choice = Some(outcome.figures.to_json(definition.properties.cardinality_threshold));
        // What it reads is looked up again only when a source may be another table than before: an incremental refresh
        // has seen that none is.
        let may_be_others = matches!(chosen.action, RefreshAction::Full | RefreshAction::Reinitialize)
            || definition.fingerprint != situation.fingerprint;
        let sources = match may_be_others {
            true => Some(self.registered_sources(&situation.analysis.plan, &course.tables)?),
            false => None,
        };
        let change = ProgressChange { before, after };
        Ok(FinishedRefresh { refresh: refresh.clone(), progress: Some(change), sources })
    }

    /// Tells the registry of a refresh. Another process may have told it already, when it found the lake ahead of the
    /// registry, or may have moved the data version on where nothing had changed.
    pub(crate) fn record(&self, table: &DynamicTable, mut finished: FinishedRefresh) -> Result<()> {
        for _ in 0..RECORDINGS {
            match self.registry.finish_refreshes(std::slice::from_ref(&finished)) {
                Err(error) if error.code() == Code::Conflict => {}
                result => return result,
            }
            let Some(current) = self.registry.get(&table.definition.name)? else { break };
            let change = finished.progress.take();
            let is_based_on = |change: &ProgressChange| current.progress.refresh_id == change.before.refresh_id;
            finished.progress = change
                .filter(is_based_on)
                .map(|change| ProgressChange { before: current.progress, after: change.after });
        }
        Err(Error::new(Code::Conflict, "the table was replaced or dropped meanwhile by somebody else"))
    }

    /// Another process refreshed the table while this one computed: there is nothing left to do.
    pub(crate) fn overtaken(&self, table: &DynamicTable, refresh: &mut Refresh) -> Result<RefreshReport> {
        let reason = "another process refreshed it at the same moment".to_owned();
        refresh.state = RefreshState::Skipped;
        refresh.reason = Some(reason.clone());
        refresh.completed_at = Some(Timestamp::now());
        self.registry.finish_refreshes(&[FinishedRefresh {
            refresh: refresh.clone(),
            progress: None,
            sources: None,
        }])?;
        Ok(RefreshReport {
            data_version: table.progress.data_version,
            data_timestamp: table.progress.data_timestamp,
            ..empty_report(table, RefreshState::Skipped, reason)
        })
    }

    /// Registers what the query gives if the shape of its sources, or how they are read, has changed.
    fn follow_shape(&self, pending: &Pending, sources: Option<&Vec<Source>>) -> Result<()> {
        let Pending { table, situation, .. } = pending;
        let (definition, output) = (&table.definition, &situation.analysis.plan.output);
        if definition.columns == *output && definition.fingerprint == situation.fingerprint {
            return Ok(());
        }
        let definition = Definition {
            columns: output.clone(),
            fingerprint: situation.fingerprint.clone(),
            time_dependent: situation.analysis.plan.follows_time || situation.analysis.plan.volatile,
            ..definition.clone()
        };
        let sources = sources.unwrap_or(&table.sources).clone();
        match self.registry.alter(&[Alteration { definition, sources, progress: None }]) {
            // Somebody has altered it meanwhile. The next refresh tries again.
            Err(error) if error.code() == Code::Conflict => Ok(()),
            result => result,
        }
    }

    /// How long a table that failed of something that will not pass waits: until its next turn, by the lag that it is held to.
    fn turn_of(&self, table: &DynamicTable) -> Duration {
        let lag_of = |table: &DynamicTable| match table.definition.properties.target_lag {
            Some(TargetLag::Duration(lag)) => Some(lag),
            _ => None,
        };
        let lag = match lag_of(table) {
            Some(lag) => Some(lag),
            // What is asked of it, or else what it follows.
            None => {
                // That the registry is away is said when the failure is recorded.
                let tables = self.load_all().unwrap_or_default();
                let Ok(graph) = graph(&tables) else { return SHORTEST_TURN };
                let least = |ids: Vec<Uuid>| ids.into_iter().filter_map(|id| lag_of(tables.with_id(id)?)).min();
                let id = [&table.definition.id];
                least(graph.all_downstream(id)).or_else(|| least(graph.all_upstream(id)))
            }
        };
        lag.unwrap_or(SHORTEST_TURN).clamp(SHORTEST_TURN, LONGEST_TURN)
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of a refresh when it fails")]
    pub(crate) fn failed(
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
            let pause = match error.is_transient() {
                true => pause_after(after.consecutive_failures, manner.held.id()),
                false => self.turn_of(table),
            };
            after.retry_at = next_second(now).checked_add(pause).ok();
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
        let mut recorded = self.registry.finish_refreshes(std::slice::from_ref(&finished));
        let overtaken = recorded.as_ref().is_err_and(|error| error.code() == Code::Conflict);
        if overtaken {
            // Somebody else has refreshed the table: its progress is theirs, but that this refresh ended is known.
            recorded = self.registry.finish_refreshes(&[FinishedRefresh { progress: None, ..finished }]);
        }
        if let Err(registry_error) = recorded {
            tracing::warn!(table = %table.definition.name, error = %registry_error, "could not record a failed refresh");
        } else if !overtaken {
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

/// How long a table that failed of something that may pass waits for its next scheduled refresh: not long, then longer and
/// longer. The wait differs from claim to claim, so that workers do not all come back at once, but not within one: tables that
/// failed together are tried again together, or else they would go apart.
fn pause_after(failures: u32, claim: Uuid) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE);
    let random = f64::from(claim.as_bytes()[15]) / 255.0;
    pause.mul_f64(0.5 + random / 2.0)
}

/// The end of the second: what fails of one cause is written down one after the other.
fn next_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second() + 1).unwrap_or(time)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_failed_together_are_tried_again_together() {
        let claim = Uuid::now_v7();
        let at = |millisecond, claim| {
            next_second(Timestamp::from_millisecond(millisecond).unwrap_or_default()) + pause_after(3, claim)
        };
        assert_eq!(at(1_300, claim), at(1_900, claim));
        let waits = |failures: u32| {
            let claims = (0..=255).map(|last: u8| Uuid::from_bytes([last; 16]));
            let waits: Vec<Duration> = claims.map(|claim| pause_after(failures, claim)).collect();
            (waits.iter().min().copied().unwrap_or_default(), waits.iter().max().copied().unwrap_or_default())
        };
        assert_eq!(waits(1), (Duration::from_millis(500), Duration::from_secs(1)));
        assert_eq!(waits(30), (LONGEST_PAUSE / 2, LONGEST_PAUSE));
    }
}
