//! DROP DYNAMIC TABLE.
//!
//! Nobody refreshes the table meanwhile: who does so already is waited for. It is suspended, then dropped from the lake together with its watermark, then forgotten by the registry: if
//! the process dies in between, nothing brings the table back and the same statement ends the work.

use std::collections::HashSet;

use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::{Publication, Watermark, WatermarkMove};
use registry::{DynamicTable, Registry, SchedulingState, SuspendedBy};
use sql::names::{ObjectName, TableName};
use uuid::Uuid;

use crate::course::graph;
use crate::registered::Registered;
use crate::tables::{DynamicTables, unknown};

impl DynamicTables {
    /// Drops a dynamic table; with `cascade` also every dynamic table that reads it. The names of what was dropped.
    ///
    /// # Errors
    /// `QUERY` when it does not exist (unless `if_exists`), `DEPENDENCY` when others read it and `cascade` is not
    /// given.
    pub fn drop(&self, name: &ObjectName, if_exists: bool, cascade: bool) -> Result<Vec<TableName>> {
        let resolved = self.resolve(name)?;
        let tables = self.load_all()?;
        let Some(table) = tables.named(&resolved) else { return self.nothing_to_drop(&resolved, if_exists) };
        let id = table.definition.id;
        let ids = self.doomed(&tables, id, cascade)?;
        // Whoever fills one of them for the first time would publish it after it is dropped, and nothing would refuse that.
        let _held = match self.hold_patiently(None, &ids) {
            Err(_) if self.registry.get(&resolved)?.is_none() => return self.nothing_to_drop(&resolved, if_exists),
            held => held?,
        };
        let mut tables = self.load_all()?;
        if self.follow_renamings_of(&tables, &ids)? {
            tables = self.load_all()?;
        }
        let now = self.doomed(&tables, id, cascade)?;
        if now.iter().collect::<HashSet<_>>() != ids.iter().collect() {
            return Err(Error::new(Code::Conflict, format!("others have changed what reads {resolved} meanwhile"))
                .with_transient(true)
                .with_hint("Look at it with `dynamic-tables graph`, then say it again."));
        }
        let doomed: Vec<&DynamicTable> = ids.iter().filter_map(|id| tables.with_id(*id)).collect();
        self.registry.set_state(
            &ids,
            &SchedulingState::Suspended {
                by: SuspendedBy::User,
                reason: Some("being dropped".to_owned()),
                since: Timestamp::now(),
            },
        )?;
        self.retried(|| self.drop_from_lake(&doomed))?;
        Registry::drop(&self.registry, &ids)?;
        Ok(doomed.iter().map(|table| table.definition.name.clone()).collect())
    }

    fn nothing_to_drop(&self, name: &TableName, if_exists: bool) -> Result<Vec<TableName>> {
        if if_exists {
            return Ok(Vec::new());
        }
        Err(match self.session.table(name, None)? {
            Some(_) => unknown(name).with_hint("It is a plain table: DROP TABLE drops it."),
            None => unknown(name),
        })
    }

    /// What goes with a table: readers first, so that no moment leaves a table without what it reads.
    fn doomed(&self, tables: &Registered, id: Uuid, cascade: bool) -> Result<Vec<Uuid>> {
        let graph = graph(tables)?;
        let mut doomed = graph.sorted(graph.all_downstream([&id]).iter().chain([&id]));
        doomed.reverse();
        let name = |id: &Uuid| tables.with_id(*id).map(|table| table.definition.name.to_string());
        if doomed.len() > 1 && !cascade {
            let readers: Vec<String> = doomed.iter().filter(|reader| **reader != id).filter_map(name).collect();
            let (name, readers) = (name(&id).unwrap_or_default(), readers.join(", "));
            return Err(Error::new(Code::Dependency, format!("other dynamic tables depend on {name}: {readers}"))
                .with_hint("Drop those first, or use CASCADE to drop all of them."));
        }
        Ok(doomed)
    }

    /// Drops tables from the lake, as far as they were ever published.
    pub(crate) fn drop_from_lake(&self, doomed: &[&DynamicTable]) -> Result<()> {
        let watermarks = self.session.watermarks()?;
        let mark = |table: &DynamicTable| -> Option<Watermark> {
            let id = table.definition.id.to_string();
            watermarks.iter().find(|mark| mark.table_id == id).cloned()
        };
        let mut publication = Publication { message: "drop dynamic tables".to_owned(), ..Publication::default() };
        for table in doomed {
            // Without a watermark the table in the lake, if there is one, was never ours.
            publication.statements_before.extend(self.drop_state(table.definition.id)?);
            if let Some(watermark) = mark(table) {
                publication.watermarks.push(WatermarkMove { expected: Some(watermark), new: None });
                let name = table.definition.name.quoted(self.lake.alias());
                publication.statements_before.push(format!("DROP TABLE IF EXISTS {name}"));
            }
        }
        if !publication.watermarks.is_empty() || !publication.statements_before.is_empty() {
            self.session.publish(&publication)?;
        }
        Ok(())
    }
}
