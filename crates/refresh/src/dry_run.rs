//! `refresh --dry-run`: the same decisions and the same statements as a refresh, table by table down the chain, and
//! nothing published: each table is computed over what the tables that it reads would hold.
//!
//! Neither the lake nor the registry is written to.

use std::collections::HashSet;

use error::{Code, Error, Result};
use registry::{DynamicTable, RefreshAction};
use uuid::Uuid;

use crate::course::{Course, refresh_graph};
use crate::group::{failed_upstream, read_at, told_to_the_user};
use crate::prepare::Prepared;
use crate::recover::Agreement;
use crate::report::{DryRun, RefreshRequest};
use crate::steps::Steps;
use crate::tables::DynamicTables;

impl DynamicTables {
    /// What refreshing tables would do: to the dynamic tables that they read, to themselves, and then to every dynamic
    /// table that reads them and to what else those read, upstream first.
    ///
    /// # Errors
    /// `QUERY` for an unknown name, and what lake or registry say when they cannot be asked. A table that would fail
    /// is reported, not an error.
    pub fn dry_run(&self, request: &RefreshRequest) -> Result<Vec<DryRun>> {
        let tables = self.load_all()?;
        let named = self.named(&request.names, &tables)?;
        let order = with_readers(&tables, &named)?;
        let full = if request.full { named } else { HashSet::new() };
        let mut course = self.course(tables, &order, &HashSet::new())?;
        // Counts that are kept up with what is published would follow what is not.
        let source_rows = self.source_rows.borrow().clone();
        let runs = self.dry_run_all(&mut course, &order, &full);
        self.source_rows.replace(source_rows);
        self.forget_temporaries()?;
        self.forget_unpublished(&mut course.unpublished)?;
        runs
    }

    fn dry_run_all(&self, course: &mut Course, order: &[Uuid], full: &HashSet<Uuid>) -> Result<Vec<DryRun>> {
        let mut runs = Vec::new();
        for id in order {
            let Some(position) = course.tables.position(*id) else { continue };
            let name = course.tables[position].definition.name.clone();
            let result = self.dry_run_one(course, position, full.contains(id));
            self.forget_temporaries()?;
            runs.push(match result {
                Ok(run) => run,
                Err(error) if self.interrupted.load(std::sync::atomic::Ordering::SeqCst) => return Err(error),
                Err(error) => {
                    course.failed.insert(*id);
                    let error = told_to_the_user(error, &course.tables[position]);
                    DryRun {
                        action: None,
                        error: Some(error.with_context("table", name.to_string())),
                        ..nothing(&course.tables[position], RefreshAction::NoData, "")
                    }
                }
            });
        }
        Ok(runs)
    }

    pub(crate) fn dry_run_one(&self, course: &mut Course, position: usize, full: bool) -> Result<DryRun> {
        let version = course.version;
        let mut table = course.tables[position].clone();
        if let Some(upstream) = failed_upstream(course, &table) {
            return Err(Error::new(Code::Dependency, format!("{upstream}, which it reads, would not be refreshed")));
        }
        if self.is_unchanged(course, &table, full)? {
            course.tables[position].progress.data_version = Some(version.id);
            return Ok(nothing(&table, RefreshAction::NoData, "no source has changed"));
        }
        let watermark = self.watermark(course, &table)?;
        let mut agreement = self.agree_unrecorded(&mut table, watermark.as_ref())?;
        if agreement == Agreement::Agree && table.progress.data_version > Some(version.id) {
            let Some(restored) = self.ahead_of_the_lake(&table)? else {
                let run = nothing(&table, RefreshAction::NoData, "another process has refreshed it");
                course.tables[position] = table;
                return Ok(run);
            };
            agreement = restored;
        }
        let situation = self.situation(course, &table, watermark.as_ref(), &agreement)?;
        let outcome = self.compute(course, &table, &situation, full, &mut Steps::start())?;
        let writes = |prepared: &Prepared| prepared.rows_inserted > 0 || prepared.rows_deleted > 0;
        let mut run = nothing(&table, outcome.chosen.action, &outcome.chosen.reason);
        if let Some(prepared) = outcome.prepared.filter(|known| situation.start_over.is_some() || writes(known)) {
            let at = read_at(&table, &situation, version.id);
            let name = &table.definition.name;
            self.keep_unpublished(&mut course.unpublished, &table, &situation, &prepared, at)?;
            run.rows_inserted = prepared.rows_inserted;
            run.rows_deleted = prepared.rows_deleted;
            run.sample = self.sample_of(&course.unpublished, name)?;
        }
        // What reads it looks where it is, and how far.
        table.progress.data_version = Some(version.id);
        table.progress.snapshot = table.progress.snapshot.or(Some(version.id));
        course.tables[position] = table;
        Ok(run)
    }
}

/// The named tables, every dynamic table that reads them, directly or not, and everything that one of these reads, upstream
/// first.
fn with_readers(tables: &[DynamicTable], named: &HashSet<Uuid>) -> Result<Vec<Uuid>> {
    let graph = refresh_graph(tables)?;
    let mut wanted = named.clone();
    wanted.extend(graph.all_downstream(named));
    let upstream = graph.all_upstream(&wanted);
    wanted.extend(upstream);
    Ok(graph.sorted(&wanted))
}

fn nothing(table: &DynamicTable, action: RefreshAction, reason: &str) -> DryRun {
    DryRun {
        name: table.definition.name.clone(),
        action: Some(action),
        reason: reason.to_owned(),
        rows_inserted: 0,
        rows_deleted: 0,
        sample: lake::Rows::default(),
        error: None,
    }
}
