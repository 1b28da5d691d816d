//! Operations on refreshes: begin, end, list, tidy up.

use error::{Code, Error, Result};
use failpoint::fail_point;
use jiff::Timestamp;
use uuid::Uuid;

use crate::Registry;
use crate::catalog::{lock, replace_sources, write_publication};
use crate::dialect::Dialect;
use crate::history::{Abandoned, FinishedRefresh, HistoryFilter, ProgressChange, Refresh, RefreshState};
use crate::lease::is_live;
use crate::news::tell_change;
use crate::periods::begin_next;
use crate::record::{progress_columns, read_refresh, refresh_columns, refresh_identity_columns};
use crate::statement::Statement;
use crate::store::Transaction;

impl Registry {
    /// Writes the history rows of refreshes that begin. A transaction of its own: whatever happens to the refresh,
    /// that it was begun is known.
    pub fn begin_refreshes(&self, refreshes: &[Refresh]) -> Result<()> {
        fail_point!("begin");
        self.store.transaction(async |transaction| {
            for refresh in refreshes {
                let mut row = refresh_identity_columns(refresh);
                row.extend(refresh_columns(refresh));
                transaction.execute(Statement::insert("refresh_history", row)).await?;
            }
            Ok(())
        })?;
        fail_point!("begun");
        Ok(())
    }

    /// Writes how refreshes ended and how far their tables are now, all or nothing. A refresh id or snapshot that is
    /// new makes a publication. If the progress of one of them is not what it was when it was read, somebody else has
    /// published: a conflict, and nothing is written.
    pub fn finish_refreshes(&self, finished: &[FinishedRefresh]) -> Result<()> {
        fail_point!("finish");
        let rewired: Vec<Uuid> =
            finished.iter().filter(|one| one.sources.is_some()).map(|one| one.refresh.table).collect();
        self.store.transaction(async |transaction| {
            if !rewired.is_empty() {
                // Before anything else of them, as everybody does who changes the graph.
                lock(transaction, &rewired, transaction.dialect().lock_to_change).await?;
            }
            for FinishedRefresh { refresh, progress, sources } in finished {
                finish_history(transaction, refresh).await?;
                if let Some(change) = progress {
                    change_progress(transaction, refresh, change).await?;
                }
                if let Some(sources) = sources {
                    replace_sources(transaction, refresh.table, sources).await?;
                }
            }
            begin_next(transaction, &rewired).await?;
            match finished.iter().any(|finished| finished.progress.is_some() || finished.sources.is_some()) {
                true => tell_change(transaction).await,
                false => Ok(()),
            }
        })?;
        fail_point!("finished");
        Ok(())
    }

    /// The last `limit` refreshes that the filter lets through, the newest first.
    pub fn history(&self, filter: &HistoryFilter, limit: u32) -> Result<Vec<Refresh>> {
        let mut statement = Statement::new("SELECT * FROM refresh_history");
        if let Some(table) = filter.table {
            statement = statement.filter("table_id = {}", [table.into()]);
        }
        if let Some(name) = &filter.name {
            statement = statement.filter(
                "lower(schema_name) = {} AND lower(name) = {}",
                [name.schema.to_ascii_lowercase().into(), name.name.to_ascii_lowercase().into()],
            );
        }
        if let Some(state) = filter.state {
            statement = statement.filter("state = {}", [state.into()]);
        }
        if let Some(since) = filter.since {
            statement = statement.filter("started_at >= {}", [since.into()]);
        }
        // Ids are made in the order of time: they decide between refreshes that began together.
        let statement = statement.append(" ORDER BY started_at DESC, id DESC LIMIT {}", [limit.into()]);
        self.store.fetch(statement)?.iter().map(read_refresh).collect()
    }

    /// Ends refreshes without a claim that nobody runs any more as failed, since the process died. Their number.
    pub fn reap_executing(&self, abandoned: &Abandoned) -> Result<u64> {
        let mut statement = reap(self.store.dialect())
            .filter("claim_id IS NULL", [])
            .filter("started_at < {}", [abandoned.started_before.into()]);
        if let Some(worker) = &abandoned.worker {
            statement = statement.filter("worker = {}", [worker.as_str().into()]);
        }
        self.store.execute(statement)
    }

    /// Ends refreshes whose claim is gone or has expired as failed, since the process died. Their number. A
    /// refresh begins after its claim and ends before it, so that none that runs is without.
    pub fn reap_orphans(&self) -> Result<u64> {
        let dialect = self.store.dialect();
        let claim_is_gone = format!(
            "NOT EXISTS (SELECT 1 FROM refresh_claim c WHERE c.claim_id = refresh_history.claim_id AND {})",
            is_live(dialect, "c")
        );
        self.store.execute(reap(dialect).filter("claim_id IS NOT NULL", []).filter(&claim_is_gone, []))
    }

    /// Forgets refreshes, compactions, and periods of the graph, that ended before a time. The number of refreshes.
    pub fn prune_history(&self, before: Timestamp) -> Result<u64> {
        self.store.transaction(async |transaction| {
            let periods = Statement::new("DELETE FROM graph_history").filter("valid_to < {}", [before.into()]);
            transaction.execute(periods).await?;
            let compactions =
                Statement::new("DELETE FROM compaction_history").filter("started_at < {}", [before.into()]);
            transaction.execute(compactions).await?;
            let refreshes =
                Statement::new("DELETE FROM refresh_history").filter("completed_at < {}", [before.into()]);
            transaction.execute(refreshes).await
        })
    }
}

/// Ends refreshes that still count as running: to be filtered further.
fn reap(dialect: &Dialect) -> Statement {
    let ending = format!(
        "UPDATE refresh_history SET state = {{}}, completed_at = {}, error_code = {{}}, error_message = {{}}",
        dialect.now
    );
    let values = [RefreshState::Failed.into(), Code::Internal.as_str().into(), "the process died".into()];
    Statement::new("").append(&ending, values).filter("state = {}", [RefreshState::Executing.into()])
}

async fn finish_history(transaction: &mut Transaction, refresh: &Refresh) -> Result<()> {
    let id: Uuid = refresh.id;
    let statement = Statement::update("refresh_history", refresh_columns(refresh)).filter("id = {}", [id.into()]);
    if transaction.execute(statement).await? == 0 {
        return Err(Error::new(Code::Internal, format!("refresh {id} was never begun"))
            .with_context("table", refresh.name.to_string()));
    }
    Ok(())
}

async fn change_progress(transaction: &mut Transaction, refresh: &Refresh, change: &ProgressChange) -> Result<()> {
    let ProgressChange { before, after } = change;
    let statement = Statement::update("dynamic_table_progress", progress_columns(after))
        .filter("table_id = {}", [refresh.table.into()])
        .filter("refresh_id IS NOT DISTINCT FROM {}", [before.refresh_id.clone().into()])
        .filter("data_version IS NOT DISTINCT FROM {}", [before.data_version.into()])
        .filter("fence = {}", [before.fence.into()]);
    if transaction.execute(statement).await? == 0 {
        return Err(Error::new(
            Code::Conflict,
            "the table was refreshed, replaced or dropped meanwhile by somebody else",
        )
        .with_context("table", refresh.name.to_string()));
    }
    if after.refresh_id != before.refresh_id || after.snapshot != before.snapshot {
        write_publication(transaction, refresh.table, after).await?;
    }
    Ok(())
}
