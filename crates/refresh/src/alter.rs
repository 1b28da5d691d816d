//! ALTER DYNAMIC TABLE: properties, suspending and resuming, refreshing, renaming.

use std::collections::HashSet;

use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::{Publication, WatermarkMove};
use registry::{Alteration, DynamicTable, RefreshTrigger, SchedulingState, SuspendedBy};
use sql::names::{ObjectName, TableName, quote_identifier, written_length};
use sql::properties::Properties;
use sql::statement::AlterAction;
use sql::tree;
use uuid::Uuid;

use crate::analysis::resolve_mode;
use crate::cluster;
use crate::course::graph;
use crate::report::{Altered, RefreshRequest};
use crate::tables::DynamicTables;

impl DynamicTables {
    /// Alters a dynamic table.
    ///
    /// # Errors
    /// `QUERY` when it does not exist (unless `if_exists`: then nothing is done), when properties contradict each
    /// other, or when the new name is taken.
    pub fn alter(&self, name: &ObjectName, if_exists: bool, action: &AlterAction) -> Result<Altered> {
        let resolved = self.resolve(name)?;
        let Some(table) = self.registry.get(&resolved)? else {
            if if_exists {
                let message = format!("{resolved} does not exist, nothing was changed");
                return Ok(altered(resolved, message, Vec::new()));
            }
            return Err(crate::tables::unknown(&resolved));
        };
        match action {
            AlterAction::Set(properties) => {
                self.change(table, |known| properties.iter().for_each(|property| known.set(property.clone())))
            }
            AlterAction::Unset(names) => self.change(table, |known| names.iter().for_each(|name| known.unset(*name))),
            AlterAction::Suspend => self.suspend(&table),
            AlterAction::Resume => self.resume(&table),
            AlterAction::Refresh { full } => self.refresh_now(&table, name, *full),
            AlterAction::RenameTo(new) => self.rename(table, new),
        }
    }

    fn change(&self, table: DynamicTable, change: impl FnOnce(&mut Properties)) -> Result<Altered> {
        let mut definition = table.definition.clone();
        let name = definition.name.clone();
        let before = definition.properties.clone();
        change(&mut definition.properties);
        definition.properties.check()?;
        if definition.properties == before {
            let message = format!("{name} has these properties already");
            return Ok(altered(name, message, Vec::new()));
        }
        let analysis = self.analyse(&definition)?;
        cluster::check(&definition.properties, &analysis.plan.output)?;
        let (incremental, reason) =
            resolve_mode(definition.properties.refresh_mode, &analysis.plan, &definition.query)?;
        definition.incremental = incremental;
        definition.refresh_mode_reason = reason;
        definition.updated_at = Timestamp::now();
        if definition.properties.cluster_by != before.cluster_by {
            let _held = self.hold_patiently(None, &[definition.id])?;
            self.cluster(&table, &definition.properties, &analysis.plan)?;
        }
        self.registry.alter(&[Alteration { definition, sources: table.sources, progress: None }])?;
        let message = format!("altered {name}");
        Ok(altered(name, message, Vec::new()))
    }

    fn suspend(&self, table: &DynamicTable) -> Result<Altered> {
        let name = table.definition.name.clone();
        if let SchedulingState::Suspended { by: SuspendedBy::User, .. } = table.definition.state {
            let message = format!("{name} is suspended already");
            return Ok(altered(name, message, Vec::new()));
        }
        let affected = self.suspend_with_readers(table, SuspendedBy::User, "suspended by hand")?;
        let message = format!("suspended {name}");
        Ok(altered(name, message, affected))
    }

    /// Resumes a table and what was suspended along with it, as long as nothing else that it reads stays suspended.
    fn resume(&self, table: &DynamicTable) -> Result<Altered> {
        let name = table.definition.name.clone();
        if table.definition.state.is_running() {
            let message = format!("{name} is running already");
            return Ok(altered(name, message, Vec::new()));
        }
        let tables = self.load_all()?;
        let graph = graph(&tables)?;
        let find = |id: &Uuid| tables.with_id(*id);
        let suspended_upstream = graph
            .all_upstream([&table.definition.id])
            .iter()
            .filter_map(find)
            .find(|upstream| !upstream.definition.state.is_running());
        if let Some(upstream) = suspended_upstream {
            return Err(Error::new(
                Code::Dependency,
                format!("{}, which {name} reads, is suspended", upstream.definition.name),
            )
            .with_hint(format!("Resume {} first.", upstream.definition.name)));
        }
        let mut resumed = HashSet::from([table.definition.id]);
        let mut affected = Vec::new();
        for id in graph.sorted(&graph.all_downstream([&table.definition.id])) {
            let Some(reader) = find(&id) else { continue };
            let along =
                matches!(reader.definition.state, SchedulingState::Suspended { by: SuspendedBy::Upstream, .. });
            let ready = graph.upstream(&id).iter().all(|upstream| {
                resumed.contains(upstream)
                    || find(upstream).is_none_or(|upstream| upstream.definition.state.is_running())
            });
            if along && ready {
                resumed.insert(id);
                affected.push(reader.definition.name.clone());
            }
        }
        let ids: Vec<Uuid> = resumed.into_iter().collect();
        self.registry.set_state(&ids, &SchedulingState::Running)?;
        let message = format!("resumed {name}");
        Ok(altered(name, message, affected))
    }

    fn refresh_now(&self, table: &DynamicTable, name: &ObjectName, full: bool) -> Result<Altered> {
        let request =
            RefreshRequest { names: vec![name.clone()], full, trigger: RefreshTrigger::Manual, worker: None };
        let refreshes = self.refresh(&request)?;
        let name = table.definition.name.clone();
        let message = format!("refreshed {name}");
        Ok(Altered { refreshes, ..altered(name, message, Vec::new()) })
    }

    /// Renames the table in the lake, then in the registry, where the queries of its readers follow.
    fn rename(&self, table: DynamicTable, new: &ObjectName) -> Result<Altered> {
        let old = table.definition.name.clone();
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
        let _held = self.hold_patiently(None, &[table.definition.id])?;
        if new != old && (self.session.table(&new, None)?.is_some() || self.session.view(&new)?.is_some()) {
            return Err(Error::new(Code::Query, format!("{new} exists already")).with_hint("Choose another name."));
        }
        let tables = self.load_all()?;
        let now = tables.with_id(table.definition.id);
        let table = now.filter(|now| now.definition.name == old).cloned();
        let table = table.ok_or_else(|| crate::tables::unknown(&old))?;
        let mut alterations = Vec::new();
        let mut affected = Vec::new();
        for reader in tables
            .iter()
            .filter(|other| other.sources.iter().any(|source| source.upstream == Some(table.definition.id)))
        {
            let mut definition = reader.definition.clone();
            definition.query = self.with_renamed(reader, &old, &new)?;
            definition.updated_at = Timestamp::now();
            affected.push(definition.name.clone());
            let mut sources = reader.sources.clone();
            for source in sources.iter_mut().filter(|source| source.name == old) {
                source.name = new.clone();
            }
            alterations.push(Alteration { definition, sources, progress: None });
        }
        self.watermarks.borrow_mut().clear();
        let renamed = self.retried(|| self.rename_in_lake(&table, &old, &new))?;
        // Under its new name the table can be read from here on; earlier publications are out of reach.
        let progress = renamed.map(|(snapshot, fence)| registry::Progress {
            snapshot: Some(snapshot.id),
            fence,
            ..table.progress.clone()
        });
        let mut definition = table.definition;
        definition.name = new.clone();
        definition.updated_at = Timestamp::now();
        alterations.insert(0, Alteration { definition, sources: table.sources, progress });
        self.registry.alter(&alterations)?;
        let message = format!("renamed {old} to {new}");
        Ok(altered(new, message, affected))
    }

    /// The snapshot since which the table has its new name, and its fence; `None` if it has no content yet.
    fn rename_in_lake(
        &self,
        table: &DynamicTable,
        old: &TableName,
        new: &TableName,
    ) -> Result<Option<(lake::Snapshot, i64)>> {
        if self.session.table(old, None)?.is_none() {
            return Ok(None);
        }
        let id = table.definition.id.to_string();
        let Some(mark) = self.session.watermarks()?.into_iter().find(|mark| mark.table_id == id) else {
            return Ok(None);
        };
        let fence = mark.fence + 1;
        let moved = lake::Watermark { fence, ..mark.clone() };
        let statement =
            format!("ALTER TABLE {} RENAME TO {}", old.quoted(self.lake.alias()), quote_identifier(&new.name));
        let receipt = self.session.publish(&Publication {
            statements_before: vec![statement],
            watermarks: vec![WatermarkMove { expected: Some(mark), new: Some(moved) }],
            provenance: lake::Provenance {
                refreshes: vec![lake::ProvenanceEntry {
                    table_id: id.clone(),
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
        Ok(Some((receipt.snapshot, fence)))
    }

    /// The reader's query with one table called otherwise, everything else as it was written.
    fn with_renamed(&self, reader: &DynamicTable, old: &TableName, new: &TableName) -> Result<String> {
        let analysis = self.analyse(&reader.definition)?;
        let mut query = reader.definition.query.clone();
        let mut places: Vec<usize> =
            analysis.plan.references.iter().filter(|(_, name)| name == old).map(|(place, _)| *place).collect();
        places.sort_unstable();
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

fn altered(name: TableName, message: String, affected: Vec<TableName>) -> Altered {
    Altered { name, message, affected, refreshes: Vec::new() }
}
