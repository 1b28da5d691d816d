//! `explain --analyze`: where the time of a refresh goes, and how much of its tables it reads, from one that was really done. It
//! does not know how that is shown.

use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::Scan;
use registry::{HistoryFilter, RefreshAction, RefreshState, RefreshTrigger};
use sql::names::{ObjectName, TableName};

use crate::report::RefreshRequest;
use crate::steps::{Cost, Step, from_json};
use crate::tables::DynamicTables;

/// How far the history is looked back for a refresh that did something.
const LOOKED_BACK: u32 = 100;

/// Where the time of a refresh went.
#[derive(Clone, Debug)]
pub struct Analyzed {
    /// The table.
    pub name: TableName,
    /// What was done.
    pub action: Option<RefreshAction>,
    /// Why.
    pub reason: String,
    /// When it began, if it is one of the past: no source has changed since.
    pub earlier: Option<Timestamp>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What was read of the lake's tables, in order; nothing of a refresh of the past.
    pub scans: Vec<Scanned>,
}

/// What a statement of a refresh read of a table, and of how much.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// What was read.
    pub scan: Scan,
    /// How many files the table has now; `None` of what is no table of the lake's.
    pub files: Option<u64>,
    /// How many rows are in them and in the catalog, those that went included.
    pub rows: Option<u64>,
}

impl Analyzed {
    /// All steps together.
    #[must_use]
    pub fn total(&self) -> Cost {
        self.steps.iter().fold(Cost::default(), |total, step| total.and(step.cost))
    }
}

impl DynamicTables {
    /// Refreshes a table, with what it reads, and says where the time went. If there is nothing to do, the last refresh that did
    /// something is looked at instead; `None` if there was none.
    ///
    /// # Errors
    /// `QUERY` when the table does not exist, and what the refresh fails with.
    pub fn analyze(&self, name: &ObjectName) -> Result<Option<Analyzed>> {
        let table = self.find(name)?.definition;
        let request =
            RefreshRequest { names: vec![name.clone()], full: false, trigger: RefreshTrigger::Manual, worker: None };
        self.session.watch_scans(true)?;
        let refreshed = self.refresh(&request);
        let scans = self.session.take_scans();
        self.session.watch_scans(false)?;
        let mut reports = refreshed?;
        if let Some(position) = reports.iter().position(|report| report.error.is_some()) {
            let report = reports.swap_remove(position);
            let unsaid =
                || Error::new(Code::Internal, format!("the refresh of {} failed without an error", report.name));
            return Err(report.error.unwrap_or_else(unsaid));
        }
        if let Some(report) = reports.into_iter().find(|report| report.name == table.name && !report.steps.is_empty())
        {
            let (action, reason, steps) = (report.action, report.reason, report.steps);
            let scans = self.scanned(scans)?;
            return Ok(Some(Analyzed { name: report.name, action, reason, earlier: None, steps, scans }));
        }
        let filter =
            HistoryFilter { table: Some(table.id), state: Some(RefreshState::Succeeded), ..HistoryFilter::default() };
        let with_steps = |refresh: registry::Refresh| {
            let steps = from_json(refresh.steps.as_ref()?);
            let (action, reason) = (refresh.action, refresh.reason.unwrap_or_default());
            let earlier = Some(refresh.started_at);
            Some(Analyzed { name: table.name.clone(), action, reason, earlier, steps, scans: Vec::new() })
        };
        let history = self.registry.history(&filter, LOOKED_BACK)?;
        Ok(history.into_iter().filter_map(with_steps).find(|analyzed| !analyzed.steps.is_empty()))
    }

    /// What was read, with how much there is of each table. The engine does not say in which schema a table is: of several of
    /// that name it is not known which one was read.
    fn scanned(&self, scans: Vec<Scan>) -> Result<Vec<Scanned>> {
        let tables: Vec<TableName> = self.session.tables()?.into_iter().map(|table| table.name).collect();
        let stored = self.session.stored(&tables)?;
        let of = |scan: Scan| {
            let mut named =
                tables.iter().zip(&stored).filter(|(name, _)| name.name.eq_ignore_ascii_case(&scan.table));
            let found = named.next().and_then(|(_, stored)| *stored).filter(|_| named.next().is_none());
            Scanned { files: found.map(|of| of.files), rows: found.map(|of| of.rows + of.inlined), scan }
        };
        Ok(scans.into_iter().map(of).collect())
    }
}
