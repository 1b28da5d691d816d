//! Keeping the files of dynamic tables few, after their refreshes.
//!
//! What a table costs to read grows with its files, with the rows that they have lost, and with the rows in the lake's
//! catalog. Rewriting costs as much as the rows rewritten, so it waits until enough has changed to be worth that. How it
//! is rewritten is the lake's business.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use error::{Error, Result};
use jiff::Timestamp;
use lake::{Compaction, Stored};
use registry::{CompactionFilter, DynamicTable};
use sql::names::TableName;
use uuid::Uuid;

use crate::registered::Registered;
use crate::state::state_table;
use crate::status::HistoryRequest;
use crate::tables::DynamicTables;

/// The catalog is asked after so many refreshes of a table, and after its first one in a process.
const EVERY: u32 = 8;

/// So many files more than there were after the last compaction are too many.
const CROWD: u64 = 24;

/// So many are too many whatever it costs to rewrite them.
const LARGE_CROWD: u64 = 256;

/// So few rows are rewritten in no time.
const FEW_ROWS: u64 = 100_000;

/// It pays to rewrite a table once one in so many of its rows is deleted or in a small file.
const PAYS: u64 = 20;

/// So many rows in the catalog, counting those that went, are slower to read than a file.
const INLINED: u64 = 1_000;

/// What is known of the tables that this process keeps, shared by all its threads.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    tables: Mutex<HashMap<TableName, Kept>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// Refreshes until the catalog is asked.
    pause: u32,
    left: Left,
    /// How often in a row it failed.
    failures: u32,
}

/// What the last compaction of a table could do nothing about.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    /// How many files there were after it.
    files: u64,
    /// How many rows it left in files that are not sorted as the table is now.
    unsorted: u64,
}

/// What is to be done about a table, if anything, that its last compaction left like that.
fn due(stored: &Stored, left: Left) -> Option<Compaction> {
    let flush = stored.inlined >= INLINED;
    // What is flushed takes its deleted rows along.
    let files = stored.files + u64::from(flush);
    let changed = stored.deleted + stored.in_small_files;
    let crowded = files > left.files + CROWD;
    let pays =
        stored.rows <= FEW_ROWS || changed.saturating_mul(PAYS) >= stored.rows || files > left.files + LARGE_CROWD;
    let riddled = stored.deleted >= INLINED && stored.deleted.saturating_mul(2) >= stored.rows;
    // A file by itself, none of whose rows went, stays as it is whatever is asked.
    let can_be_sorted = files > 1 || stored.deleted > 0;
    let unsorted =
        can_be_sorted && stored.unsorted > left.unsorted && stored.unsorted.saturating_mul(PAYS) >= stored.rows;
    let rewrite = crowded && pays || riddled || unsorted || flush && stored.rows <= FEW_ROWS;
    (flush || rewrite).then_some(Compaction { flush, rewrite })
}

impl Upkeep {
    /// Which of these tables, that were just refreshed, the catalog shall be asked about.
    fn next(&self, names: Vec<TableName>) -> Vec<(TableName, Left)> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = Vec::new();
        for name in names {
            let kept = tables.entry(name.clone()).or_default();
            match kept.pause.checked_sub(1) {
                Some(pause) => kept.pause = pause,
                None => {
                    kept.pause = EVERY - 1;
                    asked.push((name, kept.left));
                }
            }
        }
        asked
    }

    fn is_compacted(&self, name: &TableName, left: Left) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(name.clone(), Kept { pause: EVERY - 1, left, failures: 0 });
    }

    /// Waits longer and longer with a table that cannot be compacted.
    fn has_failed(&self, name: &TableName) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = tables.entry(name.clone()).or_default();
        kept.failures = (kept.failures + 1).min(8);
        kept.pause = EVERY << kept.failures;
    }
}

impl DynamicTables {
    /// Whether tables are compacted after their refreshes from now on, as [`DynamicTables::carry_out`] carries them out.
    pub fn set_compaction(&self, is_on: bool) {
        self.compacts.set(is_on);
    }

    /// Compacts those of the tables, which are claimed and were just refreshed, that need it. How many it were. That it cannot be
    /// done is no failure of anything: the tables hold what they held, and it is tried again later.
    pub(crate) fn compact_refreshed(
        &self,
        tables: &Registered,
        refreshed: &[TableName],
        worker: &str,
        stop: &dyn Fn() -> bool,
    ) -> usize {
        if !self.compacts.get() || refreshed.is_empty() {
            return 0;
        }
        let kept: Vec<(TableName, &DynamicTable)> = refreshed
            .iter()
            .filter_map(|name| tables.named(name))
            .flat_map(|table| stored_as(table).map(|name| (name, table)))
            .collect();
        let names = kept.iter().map(|(name, _)| name.clone()).collect();
        let asked = self.upkeep.next(names);
        if asked.is_empty() {
            return 0;
        }
        let names: Vec<TableName> = asked.iter().map(|(name, _)| name.clone()).collect();
        let stored = match self.session.stored(&names) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::debug!(%error, "could not ask how dynamic tables are stored");
                return 0;
            }
        };
        let mut compacted = 0;
        for ((name, left), stored) in asked.iter().zip(stored) {
            let Some(stored) = stored else { continue };
            let Some(compaction) = due(&stored, *left) else { continue };
            if stop() {
                break;
            }
            let Some((_, table)) = kept.iter().find(|(kept, _)| kept == name) else { continue };
            compacted += usize::from(self.compact_one(table, name, &stored, compaction, worker));
        }
        compacted
    }

    fn compact_one(
        &self,
        table: &DynamicTable,
        name: &TableName,
        before: &Stored,
        compaction: Compaction,
        worker: &str,
    ) -> bool {
        let (started_at, began) = (Timestamp::now(), Instant::now());
        let work = || -> Result<Stored> {
            self.session.compact(name, compaction)?;
            Ok(self.session.stored(std::slice::from_ref(name))?.pop().flatten().unwrap_or_default())
        };
        let result = work();
        self.remember_compaction(table, name, before, &result, (started_at, began.elapsed()), worker);
        match result {
            Ok(after) => {
                self.upkeep.is_compacted(name, Left { files: after.files, unsorted: after.unsorted });
                tracing::info!(
                    table = %name,
                    files = after.files,
                    files_before = before.files,
                    deleted_before = before.deleted,
                    inlined_before = before.inlined,
                    duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "compacted"
                );
                true
            }
            Err(error) => {
                self.upkeep.has_failed(name);
                // Somebody else's commit in between is nothing to worry about.
                if error.is_transient() {
                    tracing::debug!(table = %name, code = error.code().as_str(), %error, "could not compact, trying again later");
                } else {
                    tracing::warn!(table = %name, code = error.code().as_str(), %error, "could not compact, trying again later");
                }
                false
            }
        }
    }
}

impl DynamicTables {
    /// Writes a compaction down. That the registry is away is no reason to fail for.
    fn remember_compaction(
        &self,
        table: &DynamicTable,
        name: &TableName,
        before: &Stored,
        result: &Result<Stored>,
        (started_at, took): (Timestamp, Duration),
        worker: &str,
    ) {
        let failure = result.as_ref().err();
        // It is tried again soon, and nobody has anything to do about it.
        if failure.is_some_and(Error::is_transient) {
            return;
        }
        let compaction = registry::Compaction {
            id: Uuid::now_v7(),
            table: table.definition.id,
            name: table.definition.name.clone(),
            is_state: *name != table.definition.name,
            started_at,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            files_before: before.files,
            files_after: result.as_ref().ok().map(|after| after.files),
            rows_before: before.rows,
            deleted_before: before.deleted,
            inlined_before: before.inlined,
            error_code: failure.map(Error::code),
            error_message: failure.map(|failure| failure.message().to_owned()),
            worker: Some(worker.to_owned()),
        };
        if let Err(error) = self.registry.record_compaction(&compaction) {
            tracing::warn!(table = %name, %error, "could not write a compaction down");
        }
    }

    /// Past compactions, the newest first.
    ///
    /// # Errors
    /// `QUERY` for a name that is none of a dynamic table.
    pub fn compactions(&self, request: &HistoryRequest) -> Result<Vec<registry::Compaction>> {
        let table = match &request.name {
            Some(name) => Some(self.find(name)?.definition.id),
            None => None,
        };
        let filter = CompactionFilter { table, only_failures: request.only_failures, since: request.since };
        self.registry.compactions(&filter, request.limit)
    }
}

/// The tables of the lake that one dynamic table is: itself and, if it has one, its state table.
fn stored_as(table: &DynamicTable) -> [TableName; 2] {
    [table.definition.name.clone(), state_table(table.definition.id)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Stored =
        Stored { files: 1, rows: 1_000_000, deleted: 0, in_small_files: 0, unsorted: 0, inlined: 0 };

    fn rewrites(stored: Stored, files: u64) -> bool {
        due(&stored, Left { files, unsorted: 0 }).is_some_and(|compaction| compaction.rewrite)
    }

    #[test]
    fn a_crowd_of_files_is_rewritten_once_that_pays() {
        assert_eq!(due(&LARGE, Left::default()), None);
        assert!(!rewrites(Stored { files: 40, ..LARGE }, 0), "hardly anything has changed");
        assert!(rewrites(Stored { files: 40, deleted: 25_000, in_small_files: 25_000, ..LARGE }, 0));
        assert!(rewrites(Stored { files: 300, ..LARGE }, 0), "so many are too many in any case");
        assert!(rewrites(Stored { files: 40, rows: 5_000, ..LARGE }, 0), "few rows cost nothing");
        assert!(!rewrites(Stored { files: 40, rows: 5_000, ..LARGE }, 30), "as many are left when it is compacted");
    }

    #[test]
    fn rows_that_went_are_not_kept_for_ever() {
        assert!(rewrites(Stored { deleted: 600_000, ..LARGE }, 0));
        assert!(!rewrites(Stored { deleted: 100_000, ..LARGE }, 0));
        assert_eq!(due(&Stored { inlined: 999, ..Stored::default() }, Left::default()), None);
        let inlined = Stored { inlined: 1_000, ..LARGE };
        assert_eq!(due(&inlined, Left::default()), Some(Compaction { flush: true, rewrite: false }));
        assert!(rewrites(Stored { inlined: 1_000, ..Stored::default() }, 0), "nearly all of them went");
    }

    #[test]
    fn a_table_that_is_to_be_sorted_is_once_there_is_something_to_rewrite() {
        let all = Stored { unsorted: 1_000_000, ..LARGE };
        assert!(!rewrites(all, 0), "one file that has lost nothing stays as it is");
        assert!(rewrites(Stored { files: 2, ..all }, 0) && rewrites(Stored { deleted: 1, ..all }, 0));
        assert!(!rewrites(Stored { files: 2, unsorted: 10_000, ..LARGE }, 0), "it would not pay");
        let tried = Left { files: 2, unsorted: 1_000_000 };
        assert!(due(&Stored { files: 2, ..all }, tried).is_none(), "what could not be done is not tried for ever");
    }

    #[test]
    fn the_catalog_is_asked_now_and_then() {
        let upkeep = Upkeep::default();
        let name = TableName::new("main", "t");
        let asked = |upkeep: &Upkeep| !upkeep.next(vec![name.clone()]).is_empty();
        let count = |upkeep: &Upkeep, refreshes: u32| (0..refreshes).filter(|_| asked(upkeep)).count();
        assert_eq!(count(&upkeep, 17), 3);
        upkeep.has_failed(&name);
        assert_eq!(count(&upkeep, 16), 0);
        assert!(asked(&upkeep));
    }
}
