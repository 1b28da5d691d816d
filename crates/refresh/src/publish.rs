//! Publishing what is computed: one short lake transaction with the rows, the watermarks and the provenance of all tables
//! that wait for it, tried again when somebody else committed at the same moment, and again without the tables that cannot
//! be published.

use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use error::{Code, Error, Result};
use failpoint::fail_point;
use lake::{
    NotPublished, ProvenanceEntry, Publication, Receipt, Snapshot, SnapshotId, TableChange, Watermark, WatermarkMove,
    is_same_order, loses_in_catalog, sort_statement,
};
use registry::{DynamicTable, RefreshState};
use sql::names::{TableName, quote_identifier};
use uuid::Uuid;

use crate::claimed::Held;
use crate::cluster;
use crate::course::Course;
use crate::decide::{Situation, is_first};
use crate::group::{Pending, Run, reads_any};
use crate::state::state_table;
use crate::steps::Stopwatch;
use crate::tables::DynamicTables;

/// How often a publication that met a conflict is tried in all.
const TRIES: usize = 8;

/// Why nothing was published.
enum Refusal {
    Lake(NotPublished),
    /// Sources were compacted while their change was read.
    Compacted,
    /// Somebody else may be refreshing the same tables.
    ClaimLost,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Lake(error.into())
    }
}

/// A table that was published.
pub(crate) struct Published {
    pub snapshot: Snapshot,
    pub watermark: Watermark,
    /// The lake's table was made or altered.
    pub reshaped: bool,
    /// How long writing its rows took.
    pub applying: Duration,
}

/// What a table contributes to a publication.
struct Part {
    changes: Vec<TableChange>,
    expected: Option<Watermark>,
    watermark: Watermark,
    entry: ProvenanceEntry,
    reshaped: bool,
}

impl DynamicTables {
    /// Publishes all that waits, and tells the registry. What cannot be published fails, with what reads it; what was
    /// overtaken is computed again.
    pub(crate) fn publish_pending(&self, course: &mut Course, run: &mut Run<'_, '_>) -> Result<()> {
        let mut pending = std::mem::take(&mut run.pending);
        let began = Stopwatch::start();
        for table in &mut pending {
            table.steps.end("wait");
        }
        while !pending.is_empty() {
            let parts = pending
                .iter()
                .map(|table| table.prepared().map(|_| self.part(course, table)).transpose())
                .collect::<Result<Vec<_>>>()?;
            let publication = publication(&pending, &parts, course.version.id);
            let refusal = if publication.watermarks.is_empty() {
                if self.reading_holds(course, &pending)? {
                    let nothing = parts.iter().map(|_| None).collect();
                    return self.finish(course, run, pending, nothing, began);
                }
                Refusal::Compacted
            } else {
                match self.publish(course, &pending, &publication, run.manner.held) {
                    Ok(receipt) => {
                        let snapshot = receipt.snapshot;
                        let mut took = receipt.changes.into_iter();
                        let published: Vec<Option<Published>> = parts
                            .into_iter()
                            .map(|part| {
                                let Part { changes, watermark, reshaped, .. } = part?;
                                let applying = took.by_ref().take(changes.len()).sum();
                                Some(Published { snapshot, watermark, reshaped, applying })
                            })
                            .collect();
                        return self.finish(course, run, pending, published, began);
                    }
                    Err(refusal) => refusal,
                }
            };
            pending = self.without_refused(course, run, pending, refusal)?;
        }
        Ok(())
    }

    /// Takes out what was refused, and what was computed from it.
    fn without_refused(
        &self,
        course: &mut Course,
        run: &mut Run<'_, '_>,
        mut pending: Vec<Pending>,
        refusal: Refusal,
    ) -> Result<Vec<Pending>> {
        if self.interrupted.load(Ordering::SeqCst) {
            for table in std::mem::take(&mut pending) {
                let error = Error::new(Code::Resource, "stopped before it was published");
                self.end_pending(course, run, table, error, RefreshState::Cancelled)?;
            }
            return Ok(pending);
        }
        match refusal {
            Refusal::Compacted => {
                let mut disturbed = Vec::new();
                for table in &pending {
                    if !self.reading_holds(course, std::slice::from_ref(table))? {
                        disturbed.push(table.id());
                    }
                }
                tracing::debug!(tables = disturbed.len(), "sources were compacted, computing the change again");
                self.put_off_with_readers(course, run, &mut pending, &disturbed)?;
            }
            Refusal::ClaimLost => {
                for table in std::mem::take(&mut pending) {
                    let error =
                        Error::new(Code::Conflict, "another worker has taken the table over").with_transient(true);
                    self.end_pending(course, run, table, error, RefreshState::Skipped)?;
                }
            }
            Refusal::Lake(NotPublished::Overtaken(ids)) => {
                let overtaken: Vec<Uuid> = ids.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
                tracing::debug!(tables = overtaken.len(), "published by somebody else meanwhile, looking again");
                self.put_off_with_readers(course, run, &mut pending, &overtaken)?;
            }
            Refusal::Lake(NotPublished::Change { table, failure }) => {
                let is_culprit =
                    |pending: &Pending| pending.table.definition.name == table || state_table(pending.id()) == table;
                let Some(position) = pending.iter().position(is_culprit) else { return Err(failure) };
                let Pending { table, watermark, .. } = &pending[position];
                let taken = if is_first(table, watermark.as_ref()) { self.name_was_taken(table)? } else { None };
                let failure = taken.unwrap_or(failure);
                self.fail_with_readers(course, run, &mut pending, position, failure)?;
            }
            Refusal::Lake(NotPublished::Failed(failure)) => {
                for table in std::mem::take(&mut pending) {
                    self.end_pending(course, run, table, alike(&failure), RefreshState::Failed)?;
                }
            }
        }
        Ok(pending)
    }

    fn put_off_with_readers(
        &self,
        course: &mut Course,
        run: &mut Run<'_, '_>,
        pending: &mut Vec<Pending>,
        refused: &[Uuid],
    ) -> Result<()> {
        // What reads one of these, or was moved on since one of these seemed unchanged, and so on.
        let mut all = refused.to_vec();
        loop {
            let waiting = pending.iter().map(Pending::id).chain(course.advances.iter().map(|advance| advance.table));
            let reads = |id: &Uuid| {
                let table = course.tables.with_id(*id);
                !all.contains(id) && table.is_some_and(|table| reads_any(course, table, &all))
            };
            let more: Vec<Uuid> = waiting.filter(reads).collect();
            if more.is_empty() {
                break;
            }
            all.extend(more);
        }
        let before = pending.len();
        for table in std::mem::take(pending) {
            if all.contains(&table.id()) {
                self.put_off(course, run, table)?;
            } else {
                pending.push(table);
            }
        }
        if pending.len() == before {
            return Err(Error::new(Code::Internal, "a publication was refused for a table that is not in it"));
        }
        let moved_on = std::mem::take(&mut course.advances);
        let (again, kept): (Vec<_>, Vec<_>) = moved_on.into_iter().partition(|advance| all.contains(&advance.table));
        run.again.extend(again.into_iter().map(|advance| advance.table));
        course.advances = kept;
        Ok(())
    }

    fn fail_with_readers(
        &self,
        course: &mut Course,
        run: &mut Run<'_, '_>,
        pending: &mut Vec<Pending>,
        culprit: usize,
        failure: Error,
    ) -> Result<()> {
        let culprit = pending.remove(culprit);
        let (id, name) = (culprit.id(), culprit.table.definition.name.clone());
        self.end_pending(course, run, culprit, failure, RefreshState::Failed)?;
        let mut failed = vec![id];
        for table in std::mem::take(pending) {
            if reads_any(course, &table.table, &failed) {
                failed.push(table.id());
                let error = Error::new(Code::Dependency, format!("{name}, which it reads, was not refreshed"));
                self.end_pending(course, run, table, error, RefreshState::UpstreamFailed)?;
            } else {
                pending.push(table);
            }
        }
        Ok(())
    }

    fn publish(
        &self,
        course: &Course,
        pending: &[Pending],
        publication: &Publication,
        held: &Held,
    ) -> std::result::Result<Receipt, Refusal> {
        let attempt = || {
            if held.is_lost() {
                return Err(Refusal::ClaimLost);
            }
            // Nothing in the lake refuses the first publication of a table that was dropped meanwhile.
            let is_first = |table: &&Pending| table.watermark.is_none() && table.prepared().is_some();
            let mut first = pending.iter().filter(is_first).map(Pending::id).peekable();
            if first.peek().is_some() && !held.holds(first)? {
                return Err(Refusal::ClaimLost);
            }
            if !self.reading_holds(course, pending)? {
                return Err(Refusal::Compacted);
            }
            fail_point!("publish");
            self.session.publish(publication).map_err(Refusal::Lake)
        };
        let conflict = |refusal: &Refusal| {
            match refusal {
                Refusal::Lake(NotPublished::Change { failure, .. } | NotPublished::Failed(failure)) => Some(failure),
                _ => None,
            }
            .filter(|failure| failure.code() == Code::Conflict && failure.is_transient())
            .map(ToString::to_string)
        };
        attempt
            .retry(backoff())
            .when(|refusal| conflict(refusal).is_some())
            .notify(|refusal, pause| {
                tracing::debug!(error = conflict(refusal), pause_ms = pause.as_millis(), "commit met a conflict");
            })
            .call()
    }

    /// Whether what was read of the lake is still right: the sources' changes, and, where maintenance can be seen half done,
    /// whatever else was read.
    fn reading_holds(&self, course: &Course, pending: &[Pending]) -> Result<bool> {
        let windows: Vec<&lake::Window> = pending
            .iter()
            .filter_map(|table| table.outcome.prepared.as_ref())
            .flat_map(|prepared| &prepared.windows)
            .collect();
        let read = |pending: &Pending| {
            let sources = pending.situation.analysis.plan.sources.iter().map(|source| source.name.clone());
            sources.chain([pending.table.definition.name.clone(), state_table(pending.id())]).collect::<Vec<_>>()
        };
        self.session.reading_holds(&windows, course.read_since, || pending.iter().flat_map(read).collect())
    }

    fn part(&self, course: &Course, pending: &Pending) -> Result<Part> {
        let Pending { table, refresh, watermark: expected, situation, outcome, .. } = pending;
        let definition = &table.definition;
        let watermark = Watermark {
            table_id: definition.id.to_string(),
            data_version: course.version.id,
            fingerprint: situation.fingerprint.clone(),
            refresh_id: refresh.id.to_string(),
            fence: expected.as_ref().map_or(table.progress.fence, |expected| expected.fence) + 1,
        };
        let output = &situation.analysis.plan.output;
        let mut statements = match (&situation.target, &situation.reshape) {
            (Some(target), _) if target.has_shape => Vec::new(),
            (Some(_), Some(reshape)) => reshape.statements.clone(),
            (found, _) => create_table(self.lake.alias(), table, output, found.is_some()),
        };
        self.keep_clustered(table, situation, &mut statements)?;
        let reshaped = !statements.is_empty();
        let mut changes = Vec::new();
        if let Some(prepared) = &outcome.prepared {
            if let Some(state) = &prepared.state {
                changes.push(state.change(self.lake.alias(), &watermark.refresh_id));
            } else if situation.start_over.is_some() {
                // The query may have been one that needed a state.
                statements.extend(self.drop_state(definition.id)?);
            }
            changes.push(TableChange {
                table: definition.name.clone(),
                statements,
                delete: prepared.delete.clone(),
                columns: output.iter().map(|(name, _)| name.clone()).collect(),
                insert: prepared.insert.clone(),
                to_file: output.iter().any(|(_, data_type)| loses_in_catalog(data_type)),
            });
        }
        let entry = ProvenanceEntry {
            table_id: watermark.table_id.clone(),
            schema: definition.name.schema.clone(),
            name: definition.name.name.clone(),
            data_version: watermark.data_version,
            fingerprint: watermark.fingerprint.clone(),
            refresh_id: watermark.refresh_id.clone(),
        };
        Ok(Part { changes, expected: expected.clone(), watermark, entry, reshaped })
    }

    /// Adds what makes the table be sorted as it should be, where it is made, altered or starts over.
    fn keep_clustered(
        &self,
        table: &DynamicTable,
        situation: &Situation,
        statements: &mut Vec<String>,
    ) -> Result<()> {
        let name = &table.definition.name;
        let stays = situation.reshape.is_some() || situation.target.is_some_and(|target| target.has_shape);
        if stays && situation.start_over.is_none() {
            return Ok(());
        }
        let columns = cluster::columns(&table.definition.properties, &situation.analysis.plan.output);
        let mut now = match stays {
            true => self.session.sorted_by(std::slice::from_ref(name))?.pop().unwrap_or_default(),
            false => Vec::new(),
        };
        if !statements.is_empty() && !now.is_empty() {
            // A column by which it is sorted cannot be dropped.
            statements.insert(0, sort_statement(self.lake.alias(), name, &[]));
            now.clear();
        }
        if !is_same_order(&now, &columns) {
            statements.push(sort_statement(self.lake.alias(), name, &columns));
        }
        Ok(())
    }

    /// Runs something that commits to the lake, again if it met a conflict.
    pub(crate) fn retried<T>(&self, attempt: impl FnMut() -> Result<T>) -> Result<T> {
        attempt
            .retry(backoff())
            .when(|error: &Error| error.code() == Code::Conflict && error.is_transient())
            .notify(|error, pause| tracing::debug!(%error, pause_ms = pause.as_millis(), "commit met a conflict"))
            .call()
    }
}

fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(TRIES - 1)
        .with_jitter()
}

/// Everything that is to be written in one transaction.
fn publication(pending: &[Pending], parts: &[Option<Part>], version: SnapshotId) -> Publication {
    let mut publication = Publication { after: Some(version), ..Publication::default() };
    let mut names: Vec<&TableName> = Vec::new();
    let mut action = "";
    for (pending, part) in pending.iter().zip(parts) {
        let Some(part) = part else { continue };
        names.push(&pending.table.definition.name);
        action = pending.outcome.chosen.action.as_str();
        publication.changes.extend(part.changes.iter().cloned());
        let (expected, new) = (part.expected.clone(), Some(part.watermark.clone()));
        publication.watermarks.push(WatermarkMove { expected, new });
        publication.provenance.refreshes.push(part.entry.clone());
    }
    publication.message = match names.as_slice() {
        [name] => format!("refresh {name}: {action}"),
        [first, others @ ..] => format!("refresh {first} and {} more", others.len()),
        [] => String::new(),
    };
    publication
}

/// The same error once more: one commit fails for all tables that were in it.
fn alike(error: &Error) -> Error {
    let copy = Error::new(error.code(), error.message()).with_transient(error.is_transient());
    match error.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}

/// The statements that make the table of a result.
pub(crate) fn create_table(
    lake: &str,
    table: &DynamicTable,
    columns: &[(String, String)],
    replace: bool,
) -> Vec<String> {
    let name = &table.definition.name;
    let columns: Vec<String> =
        columns.iter().map(|(name, data_type)| format!("{} {data_type}", quote_identifier(name))).collect();
    let mut statements = Vec::new();
    if !name.schema.eq_ignore_ascii_case("main") {
        statements.push(format!(
            "CREATE SCHEMA IF NOT EXISTS {}.{}",
            quote_identifier(lake),
            quote_identifier(&name.schema)
        ));
    }
    let create = if replace { "CREATE OR REPLACE TABLE" } else { "CREATE TABLE" };
    statements.push(format!("{create} {} ({})", name.quoted(lake), columns.join(", ")));
    statements
}
