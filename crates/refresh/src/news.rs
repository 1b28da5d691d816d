//! Whether there is any news for a table: in its sources, or in its own rows by somebody else's hand. Told from the
//! catalog alone wherever it can be.

use std::borrow::Cow;

use error::Result;
use lake::{Change, ChangeKind, Changes, SnapshotId};
use registry::{DynamicTable, SourceKind};

use crate::course::{Course, is_isolated};
use crate::rename::may_be_unheard;
use crate::tables::DynamicTables;

impl DynamicTables {
    /// Whether it can be told from the catalog alone that the content is still right at the course's version.
    pub(crate) fn is_unchanged(&self, course: &Course, table: &DynamicTable, full: bool) -> Result<bool> {
        let Some(version) = table.progress.data_version else { return Ok(false) };
        if table.sources.iter().any(|source| course.unpublished.change_of(&source.name).is_some()) {
            return Ok(false);
        }
        // A lake that is older than what was read from it was restored from a backup.
        if full || version < course.since || version > course.version.id {
            return Ok(false);
        }
        let analysis = self.analyse_in(course, &table.definition)?;
        if analysis.plan.volatile || analysis.fingerprint(&course.tables) != table.definition.fingerprint {
            return Ok(false);
        }
        if course.version.id == version && table.progress.snapshot.is_some() && !has_upstream(table) {
            return Ok(true);
        }
        if analysis.plan.follows_time && course.version.id != version {
            return Ok(false);
        }
        let after: Vec<&Change> = course.changes.changes.iter().filter(|change| change.snapshot > version).collect();
        let reshaped = |change: &&&Change| {
            !change.ours && !matches!(change.kind, ChangeKind::Inserted | ChangeKind::Deleted | ChangeKind::Compacted)
        };
        if after.iter().any(|change| reshaped(&change)) || foreign_write(&course.changes, version, table).is_some() {
            return Ok(false);
        }
        if self.state_is_disturbed(course, table, &analysis.plan, version)? {
            return Ok(false);
        }
        let published_unheard = |change: &&Change| {
            change.table_id.is_some()
                && change.table_id == table.progress.target_table_id
                && change.kind != ChangeKind::Compacted
                && Some(change.snapshot) != table.progress.snapshot
        };
        if after.iter().any(published_unheard) {
            return Ok(false);
        }
        if after.iter().any(|change| may_be_unheard(&course.tables, change))
            && self.unheard_renaming(table)?.is_some()
        {
            return Ok(false);
        }
        for source in &table.sources {
            let changed = match source.kind {
                SourceKind::View => false,
                SourceKind::DynamicTable | SourceKind::Table if !follows(course, source) => {
                    after.iter().any(|change| {
                        change.kind != ChangeKind::Compacted
                            && (change.table_id.is_some() && change.table_id == source.lake_table_id
                                || change.name.as_ref().is_some_and(|(schema, name)| {
                                    sql::names::TableName::new(schema, name) == source.name
                                }))
                    })
                }
                SourceKind::Table | SourceKind::DynamicTable => {
                    let upstream = source.upstream.and_then(|id| course.tables.with_id(id));
                    // One that is not as far may still change until there.
                    let Some(upstream) =
                        upstream.filter(|table| table.progress.data_version >= Some(course.version.id))
                    else {
                        return Ok(false);
                    };
                    self.registry.publication_at(upstream.definition.id, version)? != upstream.progress.snapshot
                }
            };
            if changed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What happened in the lake since a snapshot: what the course knows, if it reaches back that far.
    pub(crate) fn changes_from<'a>(&self, course: &'a Course, since: i64) -> Result<Cow<'a, Changes>> {
        if since >= course.since {
            return Ok(Cow::Borrowed(&course.changes));
        }
        Ok(Cow::Owned(self.session.changes_since(since)?))
    }

    /// Whether the rows of the table are still those that its last refresh published, although its files were touched:
    /// flushing inlined deletions looks like a deletion in the catalog.
    pub(crate) fn holds_what_was_published(&self, table: &DynamicTable, version: i64) -> Result<bool> {
        let Some(published) = table.progress.snapshot.filter(|published| *published <= version) else {
            return Ok(false);
        };
        let window = self.session.window(&table.definition.name, published, version)?;
        if matches!(window.rule, lake::WindowRule::Broken(_)) {
            return Ok(false);
        }
        let columns: Vec<String> = table.definition.columns.iter().map(|(name, _)| name.clone()).collect();
        self.is_without_change(&window, &columns)
    }

    /// Whether the rows of a window are the same at both ends in these columns.
    pub(crate) fn is_without_change(&self, window: &lake::Window, columns: &[String]) -> Result<bool> {
        self.session.read_in_peace(window, |window| {
            let change = window.delta_sql(columns, incremental::apply::WEIGHT);
            Ok(self.session.query(&format!("SELECT 1 FROM ({change}) LIMIT 1"))?.rows.is_empty())
        })
    }
}

fn has_upstream(table: &DynamicTable) -> bool {
    table.sources.iter().any(|source| source.upstream.is_some())
}

/// Whether somebody else changed the rows or the shape of the dynamic table itself after a snapshot.
pub(crate) fn foreign_write(changes: &Changes, since: SnapshotId, table: &DynamicTable) -> Option<String> {
    let target = table.progress.target_table_id?;
    let write = changes.changes.iter().find(|change| {
        let touched = change.table_id == Some(target) && !change.ours && change.kind != ChangeKind::Compacted;
        change.snapshot > since && (touched || change.kind == ChangeKind::Forgotten)
    })?;
    if write.kind == ChangeKind::Forgotten {
        return Some(format!("snapshots up to {}, in which anything may have changed, were expired", write.snapshot));
    }
    Some(format!("somebody else wrote to the table in snapshot {}", write.snapshot))
}

/// Whether a source is a dynamic table whose data version moves together with that of its readers.
fn follows(course: &Course, source: &registry::Source) -> bool {
    let upstream = source.upstream.and_then(|id| course.tables.with_id(id));
    upstream.is_some_and(|upstream| !is_isolated(upstream))
}
