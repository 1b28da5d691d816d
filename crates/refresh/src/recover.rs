//! Bringing the registry up to what the lake says, after a process died between the two commits.
//!
//! The lake's watermark is moved in the transaction that publishes, so it is the truth; the registry follows.

use error::Result;
use failpoint::fail_point;
use jiff::Timestamp;
use lake::Watermark;
use registry::{
    DynamicTable, FinishedRefresh, LastRefresh, Progress, ProgressChange, Refresh, RefreshState, RefreshTrigger,
};
use uuid::Uuid;

use crate::course::graph;
use crate::tables::DynamicTables;

/// What the lake and the registry say of one table, compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// They agree, or the registry has been brought up to the lake.
    Agree,
    /// The content in the lake cannot be continued, for this reason.
    Unknown(String),
}

/// A publication of ours that the registry has not heard of.
struct Ahead<'a> {
    watermark: &'a Watermark,
    snapshot: i64,
    published_at: Timestamp,
}

enum Compared<'a> {
    Agreement(Agreement),
    Ahead(Ahead<'a>),
}

impl DynamicTables {
    /// Compares a table's watermark with its progress, and adopts what the lake says if a refresh of ours published
    /// it without the registry hearing of it.
    pub(crate) fn agree(&self, table: &mut DynamicTable, watermark: Option<&Watermark>) -> Result<Agreement> {
        match self.compared(table, watermark)? {
            Compared::Agreement(agreement) => Ok(agreement),
            Compared::Ahead(ahead) => {
                let snapshot = ahead.snapshot;
                self.adopt(table, &ahead)?;
                tracing::info!(table = %table.definition.name, snapshot, "adopted a refresh that the registry had not heard of");
                Ok(Agreement::Agree)
            }
        }
    }

    /// The same without telling the registry: only this value of the table follows the lake.
    pub(crate) fn agree_unrecorded(
        &self,
        table: &mut DynamicTable,
        watermark: Option<&Watermark>,
    ) -> Result<Agreement> {
        match self.compared(table, watermark)? {
            Compared::Agreement(agreement) => Ok(agreement),
            Compared::Ahead(ahead) => {
                table.progress = self.progress_of(table, &ahead)?;
                Ok(Agreement::Agree)
            }
        }
    }

    /// How a table stands that agrees with the lake and is further than it is to be brought: `None` if somebody else has brought it
    /// there. Otherwise the lake was put back to an older state.
    pub(crate) fn ahead_of_the_lake(&self, table: &DynamicTable) -> Result<Option<Agreement>> {
        if table.progress.data_version <= Some(self.session.current_snapshot()?.id) {
            return Ok(None);
        }
        Ok(Some(Agreement::Unknown("the lake is older than what was read from it".to_owned())))
    }

    fn compared<'a>(&self, table: &DynamicTable, watermark: Option<&'a Watermark>) -> Result<Compared<'a>> {
        let known = table.progress.refresh_id.as_deref();
        let unknown = |reason: &str| Ok(Compared::Agreement(Agreement::Unknown(reason.to_owned())));
        let Some(watermark) = watermark else {
            return match known {
                None => Ok(Compared::Agreement(Agreement::Agree)),
                Some(_) => unknown("the lake has lost the table's watermark"),
            };
        };
        if known == Some(watermark.refresh_id.as_str()) {
            return Ok(Compared::Agreement(Agreement::Agree));
        }
        let since = table.progress.snapshot.unwrap_or(0);
        let commits = self.session.provenance_since(since)?;
        let commit = commits.iter().rev().find_map(|(snapshot, time, provenance)| {
            let mut entries = provenance.refreshes.iter();
            entries.find(|entry| entry.refresh_id == watermark.refresh_id && entry.table_id == watermark.table_id)?;
            Some(Ahead { watermark, snapshot: *snapshot, published_at: *time })
        });
        commit.map_or_else(
            || unknown("the commit that published the table's content cannot be found"),
            |ahead| Ok(Compared::Ahead(ahead)),
        )
    }

    /// The progress of a table that the lake is ahead with.
    fn progress_of(&self, table: &DynamicTable, ahead: &Ahead<'_>) -> Result<Progress> {
        let Ahead { watermark, snapshot, published_at } = *ahead;
        let mut after = table.progress.clone();
        after.data_version = Some(watermark.data_version);
        after.data_timestamp =
            self.session.snapshot(watermark.data_version)?.map(|known| known.time).or(Some(published_at));
        after.snapshot = Some(snapshot);
        after.refresh_id = Some(watermark.refresh_id.clone());
        after.fence = watermark.fence;
        // How many rows it published nobody wrote down: they are counted again.
        after.rows = None;
        after.bytes = None;
        after.target_table_id = self.session.table(&table.definition.name, None)?.map(|known| known.id);
        after.consecutive_failures = 0;
        after.retry_at = None;
        after.last_refresh = Some(LastRefresh {
            state: RefreshState::Succeeded,
            action: None,
            at: published_at,
            duration_ms: None,
            error: None,
        });
        Ok(after)
    }

    fn adopt(&self, table: &mut DynamicTable, ahead: &Ahead<'_>) -> Result<()> {
        fail_point!("adopt");
        let Ahead { watermark, snapshot, published_at } = *ahead;
        let before = table.progress.clone();
        let after = self.progress_of(table, ahead)?;
        let id = Uuid::parse_str(&watermark.refresh_id).unwrap_or_else(|_| Uuid::now_v7());
        let mut refresh = self.history_of(id, table)?;
        refresh.state = RefreshState::Succeeded;
        refresh.completed_at = Some(published_at);
        refresh.reason = Some("recovered from the lake: the process died before it told the registry".to_owned());
        refresh.data_version = after.data_version;
        refresh.data_timestamp = after.data_timestamp;
        refresh.snapshot = Some(snapshot);
        refresh.error_code = None;
        refresh.error_message = None;
        let change = ProgressChange { before, after: after.clone() };
        // What it read nobody wrote down either. If the query does not bind any more, or reads what reads it, it will fail
        // or start over.
        let sources = match self.analyse(&table.definition) {
            Ok(analysis) => {
                let mut tables = self.load_all()?;
                let sources = self.registered_sources(&analysis.plan, &tables)?;
                if let Some(known) = tables.position(table.definition.id) {
                    tables[known].sources.clone_from(&sources);
                }
                graph(&tables).is_ok().then_some(sources)
            }
            Err(_) => None,
        };
        if let Some(sources) = &sources {
            table.sources.clone_from(sources);
        }
        self.record(table, FinishedRefresh { refresh, progress: Some(change), sources })?;
        table.progress = after;
        Ok(())
    }

    /// The history row of a refresh; a new one if the registry was restored and does not know it.
    fn history_of(&self, id: Uuid, table: &DynamicTable) -> Result<Refresh> {
        let filter =
            registry::HistoryFilter { table: Some(table.definition.id), ..registry::HistoryFilter::default() };
        if let Some(refresh) = self.registry.history(&filter, 1_000)?.into_iter().find(|refresh| refresh.id == id) {
            return Ok(refresh);
        }
        let mut refresh =
            Refresh::begin(table.definition.id, table.definition.name.clone(), RefreshTrigger::Scheduled, None);
        refresh.id = id;
        self.registry.begin_refreshes(std::slice::from_ref(&refresh))?;
        Ok(refresh)
    }
}
