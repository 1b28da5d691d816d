//! The course of a pass: which tables go to which data version, in which order, and how that goes.

use std::collections::{HashMap, HashSet};

use error::Result;
use jiff::Timestamp;
use lake::{Change, ChangeKind, Changes, Snapshot, Watermark};
use registry::{DynamicTable, Progress, RefreshTrigger};
use scheduler::Graph;
use sql::names::ObjectName;
use sql::properties::Scheduler;
use uuid::Uuid;

use crate::claimed::Held;
use crate::registered::Registered;
use crate::report::{RefreshReport, RefreshRequest};
use crate::tables::{DynamicTables, unknown};
use crate::unpublished::Unpublished;

/// Tables on their way to one data version.
pub(crate) struct Course {
    pub tables: Registered,
    pub version: Snapshot,
    /// What happened in the lake since the oldest data version among the tables.
    pub changes: Changes,
    /// Since which snapshot `changes` tells.
    pub since: i64,
    /// A snapshot from before anything was read that is not published yet.
    pub read_since: i64,
    /// When `version` was seen to be the newest: what is brought to it is right until then.
    pub seen_at: Timestamp,
    pub watermarks: Option<HashMap<String, Watermark>>,
    /// Tables that failed in this pass, or were not tried since what they read failed.
    pub failed: HashSet<Uuid>,
    /// Data versions that moved without a refresh, to be recorded at the end in one statement.
    pub advances: Vec<registry::Advance>,
    /// What tables would hold if this were no unpublished; empty if it is none.
    pub unpublished: Unpublished,
}

/// How the tables of a course are refreshed.
pub(crate) struct Manner<'a> {
    pub trigger: RefreshTrigger,
    pub worker: Option<&'a str>,
    /// Tables to compute in full whatever would be cheaper.
    pub full: &'a HashSet<Uuid>,
    /// What keeps others from refreshing the same tables.
    pub held: &'a Held,
}

impl DynamicTables {
    /// Refreshes tables by hand.
    ///
    /// # Errors
    /// `QUERY` for an unknown name, and what lake or registry say when they cannot be asked. A table that fails is
    /// reported, not an error.
    pub fn refresh(&self, request: &RefreshRequest) -> Result<Vec<RefreshReport>> {
        let tables = self.load_all()?;
        let named = self.named(&request.names, &tables)?;
        let order = with_upstream(&tables, &named)?;
        let full = if request.full { named } else { HashSet::new() };
        let held = self.hold_patiently(request.worker.as_deref(), &order)?;
        // Whoever was waited for has brought them further.
        let tables = self.load_all()?;
        self.let_time_pass(&tables, &order)?;
        let mut course = self.course(tables, &order, &full)?;
        if self.follow_renamings(&course, &order)? {
            course = self.course(self.load_all()?, &order, &full)?;
        }
        let manner = Manner { trigger: request.trigger, worker: request.worker.as_deref(), full: &full, held: &held };
        let mut reports = Vec::new();
        self.run(&mut course, &order, &manner, &|| false, &mut |report| reports.push(report))?;
        Ok(reports)
    }

    /// The tables of these names; all if there are none.
    pub(crate) fn named(&self, names: &[ObjectName], tables: &Registered) -> Result<HashSet<Uuid>> {
        if names.is_empty() {
            return Ok(tables.iter().map(|table| table.definition.id).collect());
        }
        let id = |name: &ObjectName| {
            let name = self.resolve(name)?;
            let table = tables.named(&name);
            table.map(|table| table.definition.id).ok_or_else(|| unknown(&name))
        };
        names.iter().map(id).collect()
    }

    /// Sets a course for the lake's newest snapshot. It is newer than the data versions of the tables in `renewed`,
    /// which will be published again whatever they hold: one data version has one content.
    pub(crate) fn course(&self, tables: Registered, order: &[Uuid], renewed: &HashSet<Uuid>) -> Result<Course> {
        let mut renewed = renewed.iter().filter_map(|id| tables.with_id(*id)).peekable();
        if renewed.peek().is_some() {
            let current = self.session.current_snapshot()?.id;
            if let Some(table) = renewed.find(|table| table.progress.data_version == Some(current)) {
                self.make_snapshot(table)?;
            }
        }
        let involved = order.iter().filter_map(|id| tables.with_id(*id));
        let since = involved.filter_map(|table| table.progress.data_version).min();
        let (since, changes) = match since {
            Some(since) => (since, self.session.changes_since(since)?),
            None => {
                let current = self.session.current_snapshot()?;
                (current.id, Changes::none(current))
            }
        };
        Ok(self.course_with(tables, since, changes))
    }

    /// Makes a snapshot if some table of `order` follows the time and nobody but us has committed since its data version: in a
    /// lake in which nothing happens the time would stand still, or go no further than our last publication. Whether one was
    /// made.
    pub(crate) fn let_time_pass(&self, tables: &Registered, order: &[Uuid]) -> Result<bool> {
        let follows_time = |table: &&DynamicTable| {
            table.definition.time_dependent
                && self.analyse(&table.definition).is_ok_and(|analysis| analysis.plan.follows_time)
        };
        let ordered = order.iter().filter_map(|id| tables.with_id(*id));
        let by_time: Vec<&DynamicTable> = ordered.filter(follows_time).collect();
        if by_time.is_empty() {
            return Ok(false);
        }
        let Some(oldest) = by_time.iter().filter_map(|table| table.progress.data_version).min() else {
            return Ok(false);
        };
        let changes = self.session.changes_since(oldest)?.changes;
        let is_quiet = |table: &&&DynamicTable| {
            let by_others = |version| changes.iter().any(|change| change.snapshot > version && !change.ours);
            table.progress.data_version.is_some_and(|version| !by_others(version))
        };
        match by_time.iter().find(is_quiet) {
            Some(table) => self.make_snapshot(table).map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes a snapshot that changes nothing but the fence of one table.
    fn make_snapshot(&self, table: &DynamicTable) -> Result<()> {
        let id = table.definition.id.to_string();
        self.watermarks.borrow_mut().clear();
        self.retried(|| {
            let Some(mark) = self.session.watermarks()?.into_iter().find(|mark| mark.table_id == id) else {
                return Ok(());
            };
            let moved = Watermark { fence: mark.fence + 1, ..mark.clone() };
            self.session.publish(&lake::Publication {
                watermarks: vec![lake::WatermarkMove { expected: Some(mark), new: Some(moved) }],
                message: format!("before refreshing {}", table.definition.name),
                ..lake::Publication::default()
            })?;
            Ok(())
        })
    }

    pub(crate) fn course_with(&self, tables: Registered, since: i64, changes: Changes) -> Course {
        self.analyses.borrow_mut().follow(since, &changes);
        let version = changes.current;
        Course {
            tables,
            version,
            changes,
            since,
            read_since: version.id,
            seen_at: Timestamp::now(),
            watermarks: None,
            failed: HashSet::new(),
            advances: Vec::new(),
            unpublished: Unpublished::default(),
        }
    }

    /// Writes down the data versions that moved without a refresh. Not before what was computed in the same run is published:
    /// of what seemed unchanged, some is computed again. If the process dies before, these tables are found unchanged once more.
    pub(crate) fn record_advances(&self, course: &mut Course) -> Result<()> {
        let advances = std::mem::take(&mut course.advances);
        if !advances.is_empty() {
            self.registry.advance(&advances)?;
        }
        Ok(())
    }

    /// The table's watermark. What this process published last is known; otherwise those of all tables are read once for
    /// the whole course.
    pub(crate) fn watermark(&self, course: &mut Course, table: &DynamicTable) -> Result<Option<Watermark>> {
        let id = table.definition.id.to_string();
        if let Some(known) = self.watermarks.borrow().get(&id)
            && table.progress.refresh_id.as_ref() == Some(&known.refresh_id)
            && is_all_heard(course, table)
        {
            return Ok(Some(known.clone()));
        }
        let watermarks = match &course.watermarks {
            Some(known) => known,
            None => {
                let read = self.session.watermarks()?;
                course.watermarks.insert(read.into_iter().map(|mark| (mark.table_id.clone(), mark)).collect())
            }
        };
        Ok(watermarks.get(&id).cloned())
    }

    /// Remembers a watermark that this process has just moved.
    pub(crate) fn moved_watermark(&self, course: &mut Course, watermark: Watermark) {
        if let Some(watermarks) = &mut course.watermarks {
            watermarks.insert(watermark.table_id.clone(), watermark.clone());
        }
        self.watermarks.borrow_mut().insert(watermark.table_id.clone(), watermark);
    }

    /// Reads watermarks from the lake again when they are next asked for.
    pub(crate) fn forget_watermarks(&self, course: &mut Course) {
        course.watermarks = None;
        self.watermarks.borrow_mut().clear();
    }
}

/// Whether nobody is seen to have published the table since the refresh that the registry knows of: one whose process died
/// before it told the registry would otherwise never be noticed where there is nothing to publish.
fn is_all_heard(course: &Course, table: &DynamicTable) -> bool {
    let Progress { data_version: Some(version), target_table_id: Some(target), snapshot, .. } = table.progress else {
        return false;
    };
    let unheard = |change: &&Change| {
        let touched = change.table_id == Some(target) && change.kind != ChangeKind::Compacted;
        change.snapshot > version
            && Some(change.snapshot) != snapshot
            && (touched || change.kind == ChangeKind::Forgotten)
    };
    version >= course.since && !course.changes.changes.iter().any(|change| unheard(&change))
}

/// The named tables and every dynamic table they read, directly or not, upstream first.
pub(crate) fn with_upstream(tables: &[DynamicTable], named: &HashSet<Uuid>) -> Result<Vec<Uuid>> {
    let graph = refresh_graph(tables)?;
    let mut wanted = named.clone();
    wanted.extend(graph.all_upstream(named));
    Ok(graph.sorted(&wanted))
}

/// Whether other tables read this one as if it were a plain table: `SCHEDULER = DISABLE`. It is never refreshed on their
/// account, and what it holds at a snapshot is what they read at that data version.
pub(crate) fn is_isolated(table: &DynamicTable) -> bool {
    table.definition.properties.scheduler == Scheduler::Disable
}

/// Who has to be refreshed before whom among the dynamic tables.
///
/// # Errors
/// `DEPENDENCY` with the path when they read each other in a circle.
pub(crate) fn refresh_graph(tables: &[DynamicTable]) -> Result<Graph<Uuid>> {
    let isolated: HashSet<Uuid> =
        tables.iter().filter(|table| is_isolated(table)).map(|table| table.definition.id).collect();
    graph_without(tables, &isolated)
}

/// Who reads whom among the dynamic tables.
///
/// # Errors
/// As [`refresh_graph`].
pub(crate) fn graph(tables: &[DynamicTable]) -> Result<Graph<Uuid>> {
    graph_without(tables, &HashSet::new())
}

fn graph_without(tables: &[DynamicTable], isolated: &HashSet<Uuid>) -> Result<Graph<Uuid>> {
    let reads = |table: &DynamicTable| -> (Uuid, Vec<Uuid>) {
        (
            table.definition.id,
            table.sources.iter().filter_map(|source| source.upstream).filter(|id| !isolated.contains(id)).collect(),
        )
    };
    Graph::new(tables.iter().map(reads)).map_err(|cycle| {
        let name = |id: Uuid| {
            let table = tables.iter().find(|table| table.definition.id == id);
            table.map_or_else(|| id.to_string(), |table| table.definition.name.to_string())
        };
        cycle.map(name).into()
    })
}
