//! Bringing the registry up to what the lake says, after a process died between the two commits.
//!
//! The lake's watermark is moved in the transaction that publishes, so it is the truth; the registry follows.

use error::Result;
use lake::Watermark;
use registry::{DynamicTable, FinishedRefresh, LastRefresh, ProgressChange, Refresh, RefreshState, RefreshTrigger};
use uuid::Uuid;

use crate::tables::DynamicTables;

/// What the lake and the registry say of one table, compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// They agree, or the registry has been brought up to the lake.
    Agree,
    /// The content in the lake cannot be continued, for this reason.
    Unknown(String),
}

impl DynamicTables {
    /// Compares a table's watermark with its progress, and adopts what the lake says if a refresh of ours published
    /// it without the registry hearing of it.
    pub(crate) fn agree(&self, table: &mut DynamicTable, watermark: Option<&Watermark>) -> Result<Agreement> {
        let known = table.progress.refresh_id.as_deref();
        let Some(watermark) = watermark else {
            return Ok(match known {
                None => Agreement::Agree,
                Some(_) => Agreement::Unknown("the lake has lost the table's watermark".to_owned()),
            });
        };
        if known == Some(watermark.refresh_id.as_str()) {
            return Ok(Agreement::Agree);
        }
        let since = table.progress.snapshot.unwrap_or(0);
        let commits = self.session.provenance_since(since)?;
        let commit = commits.iter().rev().find_map(|(snapshot, time, provenance)| {
            let mut entries = provenance.refreshes.iter();
            entries.find(|entry| entry.refresh_id == watermark.refresh_id && entry.table_id == watermark.table_id)?;
            Some((*snapshot, *time))
        });
        let Some((snapshot, published_at)) = commit else {
            return Ok(Agreement::Unknown(
                "the commit that published the table's content cannot be found".to_owned(),
            ));
        };
        self.adopt(table, watermark, snapshot, published_at)?;
        tracing::info!(table = %table.definition.name, snapshot, "adopted a refresh that the registry had not heard of");
        Ok(Agreement::Agree)
    }

    fn adopt(
        &self,
        table: &mut DynamicTable,
        watermark: &Watermark,
        snapshot: i64,
        published_at: jiff::Timestamp,
    ) -> Result<()> {
        let before = table.progress.clone();
        let mut after = before.clone();
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
        self.record(table, FinishedRefresh { refresh, progress: Some(change), sources: None })?;
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
