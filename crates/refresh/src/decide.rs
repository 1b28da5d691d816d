//! Deciding how a table is refreshed, and computing its change that way.

use std::cell::Cell;
use std::sync::Arc;

use error::{Code, Result};
use failpoint::fail_point;
use lake::{SnapshotId, Watermark};
use registry::{DynamicTable, HistoryFilter, RefreshAction, RefreshState};
use sql::names::TableName;
use sql::properties::RefreshMode;

use crate::analysis::Analysis;
use crate::choose::{Chosen, Figures, choose, too_many_groups};
use crate::course::Course;
use crate::measured::{Expected, LOOKED_BACK, Measured};
use crate::news::foreign_write;
use crate::prepare::{Attempt, Prepared, Target};
use crate::recover::Agreement;
use crate::reshape::{Reshape, reshape};
use crate::sources::{SourceChanges, Told, is_disturbed};
use crate::state::KnownState;
use crate::steps::Steps;
use crate::tables::DynamicTables;

/// What is known of a table before its change is computed.
pub(crate) struct Situation {
    pub analysis: Arc<Analysis>,
    pub fingerprint: String,
    pub target: Option<Stored>,
    /// Why its content cannot be continued.
    pub start_over: Option<String>,
    /// How the table gets the columns that the query gives, if it has others and can be altered.
    pub reshape: Option<Reshape>,
}

/// The lake's table that holds the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub id: i64,
    pub rows: u64,
    pub bytes: Option<u64>,
    /// It has the columns that the query gives.
    pub has_shape: bool,
}

/// A computed change with how it came about.
pub(crate) struct Outcome {
    pub chosen: Chosen,
    pub figures: Figures,
    /// `None`: the change of the sources does not change the result.
    pub prepared: Option<Prepared>,
    /// The table has a state, or could have, and this change leaves it behind.
    pub leaves_state: bool,
    /// The state that is stored would seem to belong to what is now, if nothing were published.
    pub outdates_state: bool,
}

impl Outcome {
    /// Of a change after which the state is what it should be, if there is one.
    pub fn keeping_state(chosen: Chosen, figures: Figures, prepared: Option<Prepared>) -> Self {
        Self { chosen, figures, prepared, leaves_state: false, outdates_state: false }
    }
}

impl DynamicTables {
    pub(crate) fn situation(
        &self,
        course: &Course,
        table: &DynamicTable,
        watermark: Option<&Watermark>,
        agreement: &Agreement,
    ) -> Result<Situation> {
        let analysis = self.analyse_in(course, &table.definition)?;
        let fingerprint = analysis.fingerprint(&course.tables);
        if *agreement == Agreement::Agree
            && let Some(watermark) = watermark.filter(|mark| mark.fingerprint == fingerprint)
            && let Some(target) = undisturbed(course, table, watermark)
        {
            return Ok(Situation { analysis, fingerprint, target: Some(target), start_over: None, reshape: None });
        }
        if is_first(table, watermark)
            && let Some(taken) = self.name_was_taken(table)?
        {
            return Err(taken);
        }
        let found = self.session.table(&table.definition.name, None)?;
        let target = found.as_ref().map(|found| Stored {
            id: found.id,
            rows: found.rows,
            bytes: Some(found.bytes),
            has_shape: has_columns(found, &analysis.plan.output),
        });
        let others = found.filter(|_| target.is_some_and(|target| !target.has_shape));
        let reshape = others.and_then(|found| {
            reshape(self.lake.alias(), &table.definition.name, &found.columns, &analysis.plan.output)
        });
        let start_over = match (watermark, target) {
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
                Agreement::Agree => self.foreign_content(course, table, watermark)?,
            },
        };
        Ok(Situation { analysis, fingerprint, target, start_over, reshape })
    }

    /// Whether the table holds rows that are not ours, and since when.
    fn foreign_content(
        &self,
        course: &Course,
        table: &DynamicTable,
        watermark: &Watermark,
    ) -> Result<Option<String>> {
        let since = known_to_be_ours(table, watermark);
        let changes = self.changes_from(course, since)?;
        let Some(found) = foreign_write(&changes, since, table) else { return Ok(None) };
        // What was written before the publication is in what was published.
        let published = table.progress.snapshot.unwrap_or(since);
        let ours = !is_disturbed(&changes.changes, table, since, published)
            && self.holds_what_was_published(table, course.version.id)?;
        Ok((!ours).then_some(found))
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
        self.refuse_overtaken(plan, version, &course.tables)?;
        let spans = self.spans(plan, from, version, &course.tables, &course.unpublished, &course.changes.changes)?;
        let target_rows = situation.target.map(|target| target.rows);
        let mut figures = Figures { target_rows, policy: self.auto.get(), ..Figures::default() };
        figures.source_rows = course.unpublished.source_rows(plan, self.source_rows(plan, version)?);
        let clock = self.clock(plan, from, version)?;
        let unchanged_states = SourceChanges {
            states: course.unpublished.states_of(&spans),
            clock: clock.clone(),
            ..SourceChanges::default()
        };
        let stored = Target {
            table: &table.definition.name,
            // Nobody else wrote to it, so what was published stands unchanged; the snapshot that published it may be gone.
            snapshot: from.and(table.progress.snapshot).map(|published| published.max(version)),
            items: None,
            rows: situation.target.map_or(0, |target| target.rows),
        };
        // The state is continued from the snapshot at which the stored rows are read.
        let readable = if situation.start_over.is_none() { stored.snapshot } else { None };
        let disturbed = match readable.and(from) {
            Some(since) => self.state_is_disturbed(course, table, plan, since)?,
            None => false,
        };
        let known_state = |figures: &Figures| {
            if !disturbed && figures.prefer_full(&table.definition.properties) {
                // A state that is not wanted would be kept for nothing. It is made anew when the other way is tried again.
                return Ok(None);
            }
            // What somebody did to it is mended now, or it would be forgotten.
            let rows = if disturbed { u64::MAX } else { figures.source_rows };
            self.known_state(course, table, plan, readable, rows)
        };
        let full_outcome =
            |chosen: Chosen, target: &Target<'_>, figures: Figures, steps: &mut Steps| -> Result<Outcome> {
                let state = known_state(&figures)?;
                let mut inputs = unchanged_states.clone();
                // What says where a row is stored, or takes some of the rows, must see the table itself.
                if !plan.volatile {
                    self.share_contents(&mut inputs.states)?;
                }
                let prepared = self.prepare_full(plan, &inputs, target, state.as_ref(), steps)?;
                let leaves_state = state.is_none() && plan.state().is_some() && self.has_state(course, table)?;
                let outdates_state = leaves_state && !self.has_left_state(table);
                Ok(Outcome { chosen, figures, prepared: Some(prepared), leaves_state, outdates_state })
            };
        if let Some(reason) = &situation.start_over {
            let stays = situation.reshape.is_some() || situation.target.is_some_and(|target| target.has_shape);
            // Rows of a table that stays are compared as they stand, so that only what differs is written.
            let items = situation.reshape.as_ref().map(|reshape| reshape.items.as_str());
            let target = Target { snapshot: if stays { Some(version) } else { None }, items, ..stored };
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
        if plan.follows_time && clock.old.is_none() {
            let reason = "the snapshot of its data version was expired, and with it the time it was computed for";
            let chosen = Chosen { action: RefreshAction::Full, reason: reason.to_owned() };
            return full_outcome(chosen, &stored, figures, steps);
        }
        let moved = plan.follows_time && clock.moved();
        let told = match course.unpublished.breaks(plan) {
            Some(reason) => Told::Broken(reason),
            None => self.windows(&spans, &course.changes)?,
        };
        let windows = match told {
            Told::Windows(windows) => windows,
            Told::Broken(reason) => {
                let chosen = Chosen { action: RefreshAction::Reinitialize, reason };
                return full_outcome(chosen, &stored, figures, steps);
            }
        };
        let unpublished_rows = course.unpublished.changed_rows(plan);
        let unusable = |state: Option<&KnownState<'_>>| {
            let why = state.and_then(|state| state.stored.as_ref().err());
            why.map(|why| format!("its state table cannot be continued: {why}"))
        };
        if !moved && unpublished_rows == 0 && windows.iter().all(lake::Window::is_unchanged) {
            if disturbed && let Some(reason) = unusable(known_state(&figures)?.as_ref()) {
                return full_outcome(Chosen { action: RefreshAction::Full, reason }, &stored, figures, steps);
            }
            let chosen = Chosen { action: RefreshAction::NoData, reason: "no source has changed".to_owned() };
            return Ok(Outcome::keeping_state(chosen, figures, None));
        }
        figures.changed_rows =
            unpublished_rows + windows.iter().map(|window| window.inserted + window.deleted).sum::<u64>();
        self.follow_source_rows(&windows);
        figures.source_rows = course.unpublished.source_rows(plan, self.source_rows(plan, version)?);
        let properties = &table.definition.properties;
        figures.expected = self.expected(table, &figures)?;
        let mut chosen = choose(properties, &figures);
        steps.end("decide");
        if chosen.action == RefreshAction::Full {
            return full_outcome(chosen, &stored, figures, steps);
        }
        let state = known_state(&figures)?;
        if let Some(reason) = unusable(state.as_ref()) {
            return full_outcome(Chosen { action: RefreshAction::Full, reason }, &stored, figures, steps);
        }
        let mut changes = self.read_changes(plan, &spans, windows, &course.unpublished, clock)?;
        fail_point!("changes-read");
        steps.end("read changes");
        figures.changed_rows = changes.came + changes.went;
        if figures.changed_rows == 0 && !moved {
            chosen.action = RefreshAction::NoData;
            "what changed in the sources is nothing that the query looks at".clone_into(&mut chosen.reason);
            // That it is nothing has to hold as much as a change would.
            let prepared = Prepared { windows: changes.windows, ..Prepared::nothing() };
            return Ok(Outcome::keeping_state(chosen, figures, Some(prepared)));
        }
        chosen = Chosen { action: chosen.action, ..choose(properties, &figures) };
        let affected = Cell::new(None);
        let too_many = |groups| {
            affected.set(Some(groups));
            let figures = Figures { affected_groups: Some(groups), ..figures.clone() };
            too_many_groups(properties, &figures).map(|chosen| chosen.reason)
        };
        let attempt = match self.prepare_incremental(plan, &mut changes, &stored, state.as_ref(), &too_many, steps) {
            // A defect of the engine in the statements of a rule is none of the query's: that can still be computed.
            Err(failure) if failure.code() == Code::Internal && !failure.is_transient() => {
                tracing::warn!(table = %table.definition.name, %failure, "the engine could not compute the change");
                Attempt::Full("the engine could not compute the change, though it may the whole result".to_owned())
            }
            attempt => attempt?,
        };
        figures.affected_groups = affected.get();
        match attempt {
            Attempt::Prepared(prepared) => {
                chosen.reason = format!("{}: {}", prepared.how, chosen.reason);
                Ok(Outcome::keeping_state(chosen, figures, Some(prepared)))
            }
            Attempt::Full(reason) => {
                full_outcome(Chosen { action: RefreshAction::Full, reason }, &stored, figures, steps)
            }
        }
    }

    /// What the refresh may take both ways, by what earlier ones took, where that is asked for.
    fn expected(&self, table: &DynamicTable, figures: &Figures) -> Result<Option<Expected>> {
        let asked = table.definition.properties.refresh_mode == RefreshMode::Auto
            && figures.source_rows >= figures.policy.floor_rows;
        if !asked {
            return Ok(None);
        }
        let id = table.definition.id;
        if let Some(known) = self.measured.borrow().get(id) {
            return Ok(known.expect(figures.source_rows, figures.changed_rows));
        }
        let filter =
            HistoryFilter { table: Some(id), state: Some(RefreshState::Succeeded), ..HistoryFilter::default() };
        let measured = Measured::of(&self.registry.history(&filter, LOOKED_BACK)?);
        let mut tables = self.measured.borrow_mut();
        Ok(tables.keep(id, measured).expect(figures.source_rows, figures.changed_rows))
    }

    fn exists_at(&self, table: &TableName, version: i64) -> Result<Option<i64>> {
        Ok(self.session.table(table, Some(version))?.map(|_| version))
    }
}

/// Whether nothing was ever published of a table: what the lake has under its name is somebody else's.
pub(crate) fn is_first(table: &DynamicTable, watermark: Option<&Watermark>) -> bool {
    watermark.is_none() && table.progress.target_table_id.is_none()
}

/// Up to which snapshot nobody else wrote to a table: its data version, moved on only where that had been looked at.
fn known_to_be_ours(table: &DynamicTable, watermark: &Watermark) -> SnapshotId {
    let ours = table.progress.refresh_id.as_deref() == Some(watermark.refresh_id.as_str());
    let moved_on = table.progress.data_version.filter(|_| ours);
    moved_on.map_or(watermark.data_version, |version| version.max(watermark.data_version))
}

/// What the registry knows of the stored table, where nothing happened to it since its data version but its own
/// refresh.
fn undisturbed(course: &Course, table: &DynamicTable, watermark: &Watermark) -> Option<Stored> {
    let since = known_to_be_ours(table, watermark);
    if since < course.since || foreign_write(&course.changes, since, table).is_some() {
        return None;
    }
    let progress = &table.progress;
    Some(Stored { id: progress.target_table_id?, rows: progress.rows?, bytes: progress.bytes, has_shape: true })
}

fn has_columns(table: &lake::Table, output: &[(String, String)]) -> bool {
    table.columns.len() == output.len()
        && table.columns.iter().zip(output).all(|(column, (name, data_type))| {
            column.name == *name && column.data_type.eq_ignore_ascii_case(data_type)
        })
}
