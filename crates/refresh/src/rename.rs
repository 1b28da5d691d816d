//! ALTER DYNAMIC TABLE ... RENAME TO: in the lake, then in the registry and in the queries of its readers.
//!
//! If the process dies in between, the commit in the lake says what the table is called now. The registry follows when the
//! statement is said again, or when the table is next refreshed or dropped.

use std::collections::HashSet;

use error::{Code, Error, Result};
use failpoint::fail_point;
use jiff::Timestamp;
use lake::{Change, ChangeKind, Provenance, ProvenanceEntry, Publication, SnapshotId, Watermark, WatermarkMove};
use registry::{Alteration, DynamicTable, Progress, TransferKind};
use sql::names::{ObjectName, TableName, quote_identifier, written_length};
use sql::tree;
use uuid::Uuid;

use crate::alter::altered;
use crate::course::Course;
use crate::registered::Registered;
use crate::report::Altered;
use crate::shape::RESERVED_SCHEMA_PREFIX;
use crate::tables::{DynamicTables, unknown};

/// What the lake says of a table that it has under another name than the registry.
pub(crate) struct Renamed {
    name: TableName,
    /// The snapshot since which it has that name; earlier ones cannot be read by it.
    snapshot: SnapshotId,
    fence: i64,
}

impl DynamicTables {
    /// Renames a table.
    pub(crate) fn rename(&self, table: &DynamicTable, new: &ObjectName) -> Result<Altered> {
        let (id, mut old) = (table.definition.id, table.definition.name.clone());
        let new = if new.schema.is_none() { TableName::new(&old.schema, &new.name) } else { self.resolve(new)? };
        if new == old && new.name == old.name {
            let message = format!("{old} is called so already");
            return Ok(altered(old, message, Vec::new()));
        }
        if TableName::new(&new.schema, "") != TableName::new(&old.schema, "") {
            return Err(Error::new(Code::Query, format!("{old} cannot be moved to another schema"))
                .with_hint("Create it there with the same query and drop it here."));
        }
        // What is published while it is renamed would be found under neither name.
        let _held = self.hold_patiently(None, &[id])?;
        let mut tables = self.load_all()?;
        if let Some(half) = tables.with_id(id)
            && let Some(renamed) = self.unheard_renaming(half)?
        {
            let affected = self.follow_renaming(id, &renamed)?;
            if renamed.name == new && renamed.name.name == new.name {
                let message = format!("renamed {old} to {new}");
                return Ok(altered(new, message, affected));
            }
            old = renamed.name;
            tables = self.load_all()?;
        }
        if new != old && (self.session.table(&new, None)?.is_some() || self.session.view(&new)?.is_some()) {
            return Err(Error::new(Code::Query, format!("{new} exists already")).with_hint("Choose another name."));
        }
        if new != old && self.registry.transfer(TransferKind::Source, &new)?.is_some() {
            return Err(
                Error::new(Code::Query, format!("{new} is the name of a source")).with_hint("Choose another name.")
            );
        }
        let now = tables.with_id(id).filter(|now| now.definition.name == old);
        let mut table = now.ok_or_else(|| unknown(&old))?.clone();
        // What the commit says of the table is what was last published, which a process may have died after.
        let mark = self.watermark_of(&table)?;
        self.agree(&mut table, mark.as_ref())?;
        let mut readers = Vec::new();
        for reader in readers_of(&tables, id) {
            readers.push(self.renamed_in_reader(reader, &old, &new)?);
        }
        self.watermarks.borrow_mut().clear();
        let renamed = self.retried(|| self.rename_in_lake(&table, &new))?;
        fail_point!("renamed");
        let affected = self.rename_in_registry(table, &new, renamed.as_ref(), readers)?;
        let message = format!("renamed {old} to {new}");
        Ok(altered(new, message, affected))
    }

    /// What the lake calls a table, if a process renamed it there and the registry was never told.
    pub(crate) fn unheard_renaming(&self, table: &DynamicTable) -> Result<Option<Renamed>> {
        let (definition, progress) = (&table.definition, &table.progress);
        let Some(target) = progress.target_table_id else { return Ok(None) };
        let has_id = |name: &TableName| -> Result<bool> {
            Ok(self.session.table_ids(std::slice::from_ref(name))?.pop().flatten() == Some(target))
        };
        if has_id(&definition.name)? {
            return Ok(None);
        }
        let id = definition.id.to_string();
        let commits = self.session.provenance_since(progress.snapshot.unwrap_or(0))?;
        let last = commits.iter().rev().find_map(|(snapshot, _, provenance)| {
            let entry = provenance.refreshes.iter().find(|entry| entry.table_id == id)?;
            Some((*snapshot, TableName::new(&entry.schema, &entry.name)))
        });
        let Some((snapshot, name)) = last else { return Ok(None) };
        if name == definition.name || !has_id(&name)? {
            return Ok(None);
        }
        let mark = self.watermark_of(table)?;
        Ok(mark.map(|mark| Renamed { name, snapshot, fence: mark.fence }))
    }

    /// Tells the registry what the lake calls a table. The table has to be claimed, or the process that renames it may just be
    /// about to do the same. The result is whose queries have changed.
    pub(crate) fn follow_renaming(&self, id: Uuid, renamed: &Renamed) -> Result<Vec<TableName>> {
        let tables = self.load_all()?;
        let Some(table) = tables.with_id(id) else { return Ok(Vec::new()) };
        let (old, new) = (table.definition.name.clone(), &renamed.name);
        let mut readers = Vec::new();
        for reader in readers_of(&tables, id) {
            match self.renamed_in_reader(reader, &old, new) {
                Ok(alteration) => readers.push(alteration),
                // It cannot be refreshed in any case, and says why when that is tried.
                Err(error) => {
                    tracing::warn!(table = %reader.definition.name, %error, "could not put a new name into its query");
                }
            }
        }
        self.watermarks.borrow_mut().clear();
        let affected = self.rename_in_registry(table.clone(), new, Some(renamed), readers)?;
        tracing::info!(table = %old, %new, "followed a renaming that the registry had not heard of");
        Ok(affected)
    }

    /// Follows every renaming that the registry has not heard of, of tables that are claimed. Whether there was any: then the
    /// registered tables have to be read again.
    pub(crate) fn follow_renamings(&self, course: &Course, order: &[Uuid]) -> Result<bool> {
        let may_be = course.changes.changes.iter().any(|change| may_be_unheard(&course.tables, change));
        if may_be { self.follow_renamings_of(&course.tables, order) } else { Ok(false) }
    }

    /// As [`DynamicTables::follow_renamings`], whatever is known of the lake.
    pub(crate) fn follow_renamings_of(&self, tables: &Registered, order: &[Uuid]) -> Result<bool> {
        let mut any = false;
        for table in order.iter().filter_map(|id| tables.with_id(*id)) {
            if let Some(renamed) = self.unheard_renaming(table)? {
                self.follow_renaming(table.definition.id, &renamed)?;
                any = true;
            }
        }
        Ok(any)
    }

    /// The snapshot since which the table has its new name, and its fence; `None` if it has no content yet.
    fn rename_in_lake(&self, table: &DynamicTable, new: &TableName) -> Result<Option<Renamed>> {
        let (id, old) = (table.definition.id, &table.definition.name);
        if self.session.table(old, None)?.is_none() {
            return Ok(None);
        }
        let Some(mark) = self.watermark_of(table)? else { return Ok(None) };
        let fence = mark.fence + 1;
        let moved = Watermark { fence, ..mark.clone() };
        let statement =
            format!("ALTER TABLE {} RENAME TO {}", old.quoted(self.lake.alias()), quote_identifier(&new.name));
        let receipt = self.session.publish(&Publication {
            statements_before: vec![statement],
            watermarks: vec![WatermarkMove { expected: Some(mark), new: Some(moved) }],
            provenance: Provenance {
                refreshes: vec![ProvenanceEntry {
                    table_id: id.to_string(),
                    schema: new.schema.clone(),
                    name: new.name.clone(),
                    data_version: table.progress.data_version.unwrap_or_default(),
                    fingerprint: table.definition.fingerprint.clone(),
                    refresh_id: table.progress.refresh_id.clone().unwrap_or_default(),
                }],
                compacted: Vec::new(),
            },
            message: format!("rename {old} to {new}"),
            ..Publication::default()
        })?;
        Ok(Some(Renamed { name: new.clone(), snapshot: receipt.snapshot.id, fence }))
    }

    /// The registry's half: the table's name and the queries of its readers. The result is whose those are.
    fn rename_in_registry(
        &self,
        table: DynamicTable,
        new: &TableName,
        renamed: Option<&Renamed>,
        readers: Vec<Alteration>,
    ) -> Result<Vec<TableName>> {
        let affected = readers.iter().map(|reader| reader.definition.name.clone()).collect();
        // Under its new name the table can be read from here on; earlier publications are out of reach.
        let progress = renamed.map(|Renamed { snapshot, fence, .. }| Progress {
            snapshot: Some(*snapshot),
            fence: *fence,
            ..table.progress.clone()
        });
        let mut definition = table.definition;
        definition.name = new.clone();
        definition.updated_at = Timestamp::now();
        let mut alterations = vec![Alteration { definition, sources: table.sources, progress }];
        alterations.extend(readers);
        self.registry.alter(&alterations)?;
        Ok(affected)
    }

    fn renamed_in_reader(&self, reader: &DynamicTable, old: &TableName, new: &TableName) -> Result<Alteration> {
        let mut definition = reader.definition.clone();
        definition.query = self.with_renamed(reader, old, new)?;
        definition.updated_at = Timestamp::now();
        let mut sources = reader.sources.clone();
        for source in sources.iter_mut().filter(|source| source.name == *old) {
            source.name = new.clone();
        }
        Ok(Alteration { definition, sources, progress: None })
    }

    /// The reader's query with one table called otherwise, everything else as it was written.
    fn with_renamed(&self, reader: &DynamicTable, old: &TableName, new: &TableName) -> Result<String> {
        let mut places = self.references(&reader.definition, old, new)?;
        places.sort_unstable();
        let mut query = reader.definition.query.clone();
        let parsed = self.parser.parse(&query)?;
        let mut without_alias = HashSet::new();
        tree::visit(&parsed.node, &mut |node| {
            if tree::is(node, "BASE_TABLE") && tree::text(node, "alias").is_empty() {
                without_alias.extend(tree::location(node));
            }
        });
        for place in places.into_iter().rev() {
            let end = place + written_length(&query[place..]);
            let mut written = new.quoted(self.lake.alias());
            if without_alias.contains(&place) {
                // The columns of the table may be qualified with its name.
                written = format!("{written} AS {}", quote_identifier(&old.name));
            }
            query.replace_range(place..end, &written);
        }
        Ok(query)
    }
}

/// Whether a change may be a renaming that the registry has not heard of: one of ours gave a table a name that no dynamic
/// table has.
pub(crate) fn may_be_unheard(tables: &Registered, change: &Change) -> bool {
    let is_unknown = |(schema, name): &(String, String)| {
        !schema.starts_with(RESERVED_SCHEMA_PREFIX) && tables.named(&TableName::new(schema, name)).is_none()
    };
    change.ours && change.kind == ChangeKind::Created && change.name.as_ref().is_some_and(is_unknown)
}

fn readers_of(tables: &[DynamicTable], id: Uuid) -> impl Iterator<Item = &DynamicTable> {
    tables.iter().filter(move |other| other.sources.iter().any(|source| source.upstream == Some(id)))
}
