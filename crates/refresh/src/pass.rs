//! The refresh of one table, from its first question to its last word.

use std::sync::atomic::Ordering;
use std::time::Instant;

use error::{Code, Error, Result};
use registry::{DynamicTable, Refresh, RefreshState};

use crate::course::{Course, Manner};
use crate::prepare::Steps;
use crate::publish::{must_prepare_again, was_overtaken};
use crate::record::lag;
use crate::recover::Agreement;
use crate::report::RefreshReport;
use crate::tables::DynamicTables;

/// How often a change is computed again because the sources were compacted meanwhile.
const PREPARATIONS: usize = 3;

impl DynamicTables {
    pub(crate) fn refresh_table(
        &self,
        course: &mut Course,
        position: usize,
        manner: &Manner<'_>,
    ) -> Result<RefreshReport> {
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
        if table.sources.iter().any(|source| source.upstream.is_some()) {
            self.record_advances(course)?;
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

    fn compute_and_publish(
        &self,
        course: &mut Course,
        table: &mut DynamicTable,
        refresh: &mut Refresh,
        full: bool,
        steps: &mut Steps,
    ) -> Result<RefreshReport> {
        let mut watermark = self.watermark(course, table)?;
        let mut agreement = self.agree(table, watermark.as_ref())?;
        if agreement == Agreement::Agree && table.progress.data_version > Some(course.version.id) {
            if table.progress.data_version <= Some(self.session.current_snapshot()?.id) {
                return self.overtaken(table, refresh);
            }
            agreement = Agreement::Unknown("the lake is older than what was read from it".to_owned());
        }
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
                Err(error) if was_overtaken(&error) && attempt < PREPARATIONS => {
                    let Some(current) = self.registry.get(&table.definition.name)? else { return Err(error) };
                    *table = current;
                    self.forget_watermarks(course);
                    watermark = self.watermark(course, table)?;
                    agreement = self.agree(table, watermark.as_ref())?;
                    if table.progress.data_version >= Some(course.version.id) {
                        return self.overtaken(table, refresh);
                    }
                }
                result => return result,
            }
        }
    }
}

pub(crate) fn failed_upstream(course: &Course, table: &DynamicTable) -> Option<String> {
    let upstream = table.sources.iter().filter_map(|source| Some((source.upstream?, &source.name)));
    upstream.filter(|(id, _)| course.failed.contains(id)).map(|(_, name)| name.to_string()).next()
}
