//! ALTER DYNAMIC TABLE: properties, suspending and resuming, refreshing.

use std::collections::HashSet;

use error::{Code, Error, Result};
use jiff::Timestamp;
use registry::{Alteration, DynamicTable, RefreshTrigger, SchedulingState, SuspendedBy};
use sql::names::{ObjectName, TableName};
use sql::properties::Properties;
use sql::statement::AlterAction;
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
            AlterAction::RenameTo(new) => self.rename(&table, new),
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
}

pub(crate) fn altered(name: TableName, message: String, affected: Vec<TableName>) -> Altered {
    Altered { name, message, affected, refreshes: Vec::new() }
}
