//! The state tables of folded aggregates: whether one can be continued, bringing it forward together with its dynamic
//! table, and how it is published.
//!
//! A state table is in the lake beside the watermarks, one per dynamic table whose own columns cannot carry the fold. It is
//! written in the same transaction as the dynamic table, and a row of its own, the mark, says by which refresh. A state
//! whose mark is not that of the table's last publication, or that somebody else touched, is never continued.

use error::Result;
use incremental::render::Reading;
use incremental::rules::fold::LOST;
use incremental::rules::keyed::{Keyed, key_column};
use incremental::rules::state::{MARK, SAME, StateFold};
use incremental::{Plan, apply};
use lake::{Change, ChangeKind, Delete, TableChange, WindowRule, loses_in_catalog, sort_statement};
use registry::DynamicTable;
use sql::names::{TableName, quote_literal};
use sql::properties::RefreshMode;
use uuid::Uuid;

use crate::cluster;
use crate::course::Course;
use crate::prepare::{Attempt, Prepared, RESULT, STORED, Target, lost_groups, output_columns};
use crate::sources::SourceChanges;
use crate::tables::DynamicTables;

/// What a mark begins with: another one once states are laid out in another way.
const LAYOUT: &str = "1";

const STATE: &str = "__dt_state";
const STATE_CHANGE: &str = "__dt_state_change";
const GROUPS: &str = "__dt_state_groups";
const MERGED: &str = "__dt_state_merged";
const FOUND: &str = "__dt_state_found";
const MENDED: &str = "__dt_state_mended";
const OLD: &str = "__dt_state_old";

/// The state of a dynamic table before it is refreshed.
pub(crate) struct KnownState<'a> {
    keyed: &'a Keyed,
    fold: &'a StateFold,
    table: TableName,
    /// The columns by which it is sorted.
    sorted_by: Vec<String>,
    /// The state as a relation, or why it cannot be continued.
    pub stored: std::result::Result<String, String>,
}

/// A state table that is known to belong to what a table holds.
#[derive(Clone, Debug)]
pub(crate) struct WrittenState {
    /// The refresh that wrote both.
    refresh: String,
    /// The state table in the lake.
    id: i64,
}

/// What happens to a state table along with its dynamic table.
#[derive(Debug)]
pub(crate) struct StateChange {
    table: TableName,
    columns: Vec<(String, String)>,
    /// The columns by which a table that has to be made is sorted.
    sorted_by: Vec<String>,
    /// A SELECT of the row ids that go; `None`: the table has to be made first.
    delete: Option<String>,
    insert: String,
    /// Whether the state is another one than before.
    pub changed: bool,
}

/// The state table of a dynamic table.
pub(crate) fn state_table(table: Uuid) -> TableName {
    TableName::new(lake::BOOKKEEPING_SCHEMA, format!("state_{}", table.simple()))
}

fn mark(refresh: &str) -> String {
    format!("{LAYOUT} {refresh}")
}

impl StateChange {
    /// What happens to the table: it is made if need be, and its rows and the mark change.
    pub fn change(&self, lake: &str, refresh: &str) -> TableChange {
        let marks = format!("SELECT rowid FROM {} WHERE {MARK} IS NOT NULL", self.table.quoted(lake));
        let delete = self.delete.as_ref();
        let delete = delete.map_or(Delete::None, |select| Delete::RowIds(format!("{select} UNION ALL {marks}")));
        let nothing = vec!["NULL"; self.columns.len()].join(", ");
        let insert = format!(
            "SELECT *, NULL AS {MARK} FROM ({}) UNION ALL SELECT {nothing}, {}",
            self.insert,
            quote_literal(&mark(refresh))
        );
        let statements = match &self.delete {
            Some(_) => Vec::new(),
            None => {
                let columns = self.columns.iter().map(|(name, data_type)| format!("{name} {data_type}"));
                let columns: Vec<String> = columns.collect();
                let table = self.table.quoted(lake);
                let create = format!("CREATE OR REPLACE TABLE {table} ({}, {MARK} VARCHAR)", columns.join(", "));
                let sorted = !self.sorted_by.is_empty();
                let sort = sorted.then(|| sort_statement(lake, &self.table, &self.sorted_by));
                std::iter::once(create).chain(sort).collect()
            }
        };
        let to_file = self.columns.iter().any(|(_, data_type)| loses_in_catalog(data_type));
        TableChange { table: self.table.clone(), statements, delete, insert: Some(insert), to_file }
    }
}

impl DynamicTables {
    /// The state of a table, if it is to have one: not where everything is computed each time anyway. `snapshot` is where
    /// its stored content is read; `None` if that cannot be continued.
    pub(crate) fn known_state<'a>(
        &self,
        course: &Course,
        table: &DynamicTable,
        plan: &'a Plan,
        snapshot: Option<i64>,
        source_rows: u64,
    ) -> Result<Option<KnownState<'a>>> {
        let Some((keyed, fold)) = plan.state() else { return Ok(None) };
        let definition = &table.definition;
        let small =
            definition.properties.refresh_mode == RefreshMode::Auto && source_rows < self.auto.get().floor_rows;
        if !definition.incremental || small {
            return Ok(None);
        }
        let name = state_table(definition.id);
        let stored = match snapshot {
            None => Err("the table starts over".to_owned()),
            Some(snapshot) => self.usable_state(course, table, fold, &name, snapshot)?,
        };
        let clustered_by = cluster::columns(&definition.properties, &plan.output);
        let sorted_by = cluster::state_columns(keyed, &clustered_by, &plan.output);
        Ok(Some(KnownState { keyed, fold, table: name, sorted_by, stored }))
    }

    fn usable_state(
        &self,
        course: &Course,
        table: &DynamicTable,
        fold: &StateFold,
        name: &TableName,
        snapshot: i64,
    ) -> Result<std::result::Result<String, String>> {
        let (Some(refresh), Some(published)) = (&table.progress.refresh_id, table.progress.snapshot) else {
            return Ok(Err("it is not known which refresh wrote it".to_owned()));
        };
        let known =
            self.written_states.borrow().get(&table.definition.id).filter(|state| state.refresh == *refresh).cloned();
        let id = match &known {
            Some(state) => Some(state.id),
            None => self.session.table_ids(std::slice::from_ref(name))?.pop().flatten(),
        };
        let Some(id) = id else {
            return Ok(Err("there is none".to_owned()));
        };
        // Up to its data version nobody had touched it, also where that moved on after it was published.
        let since = table.progress.data_version.unwrap_or(published);
        let changes = self.changes_from(course, since)?;
        let touched = |change: &&Change| {
            change.snapshot > since
                && (!change.ours && touches(change, name, Some(id)) || change.kind == ChangeKind::Forgotten)
        };
        // What was written before the publication is in what was published.
        let before = |change: &Change| change.kind != ChangeKind::Forgotten && change.snapshot <= published;
        let mut touched = changes.changes.iter().filter(touched).peekable();
        if touched.peek().is_some()
            && (touched.any(before) || !self.is_as_published(course, fold, name, published)?)
        {
            return Ok(Err("somebody else changed it".to_owned()));
        }
        let relation = format!("{} AT (VERSION => {snapshot})", name.quoted(self.lake.alias()));
        // What this process wrote along with the table's content, and nobody touched, need not be read to be known.
        let is_continued = known.is_some() || {
            let marks = self.session.texts(&format!("SELECT {MARK} FROM {relation} WHERE {MARK} IS NOT NULL"))?;
            marks == [Some(mark(refresh))]
        };
        if !is_continued {
            return Ok(Err("it is that of an earlier refresh".to_owned()));
        }
        let state = WrittenState { refresh: refresh.clone(), id };
        self.written_states.borrow_mut().insert(table.definition.id, state);
        Ok(Ok(relation))
    }

    /// Remembers that a table was published by a refresh, and with it the state table that it is known to have had, or not.
    pub(crate) fn remember_state(&self, table: Uuid, refresh: &str, prepared: Option<&Prepared>) {
        let mut known = self.written_states.borrow_mut();
        let Some(mut state) = known.remove(&table) else { return };
        // One that is made anew has an id that is not known yet.
        let is_continued = |prepared: &Prepared| prepared.state.as_ref().is_some_and(|state| state.delete.is_some());
        if prepared.is_some_and(is_continued) {
            refresh.clone_into(&mut state.refresh);
            known.insert(table, state);
        }
    }

    /// Whether the catalog tells of anything that somebody else may have done to the state table of a table since a
    /// snapshot.
    pub(crate) fn state_is_disturbed(
        &self,
        course: &Course,
        table: &DynamicTable,
        plan: &Plan,
        since: i64,
    ) -> Result<bool> {
        let by_others = |change: &Change| change.snapshot > since && !change.ours;
        if plan.state().is_none() || !course.changes.changes.iter().any(by_others) {
            return Ok(false);
        }
        let name = state_table(table.definition.id);
        let id = self.state_id(course, &name)?;
        Ok(course.changes.changes.iter().any(|change| by_others(change) && touches(change, &name, id)))
    }

    /// The id of a state table. Those of all are looked up once for each snapshot of the lake.
    fn state_id(&self, course: &Course, name: &TableName) -> Result<Option<i64>> {
        let known = &mut *self.state_ids.borrow_mut();
        let ids = match known {
            Some((version, ids)) if *version == course.version.id => ids,
            _ => {
                let ids = self.session.table_ids_of_schema(&name.schema)?;
                &known.insert((course.version.id, ids)).1
            }
        };
        Ok(ids.get(name).copied())
    }

    /// Whether there is a state table of a table, used or not.
    pub(crate) fn has_state(&self, course: &Course, table: &DynamicTable) -> Result<bool> {
        Ok(self.state_id(course, &state_table(table.definition.id))?.is_some())
    }

    /// Whether this process published the table last, and without its state.
    pub(crate) fn has_left_state(&self, table: &DynamicTable) -> bool {
        let left = self.left_states.borrow();
        table.progress.refresh_id.is_some() && left.get(&table.definition.id) == table.progress.refresh_id.as_ref()
    }

    /// Remembers a publication without the table's state, which is then known by its mark to be that of another one.
    pub(crate) fn remember_left_state(&self, table: Uuid, refresh: &str, left: bool) {
        let mut known = self.left_states.borrow_mut();
        match left {
            true => drop(known.insert(table, refresh.to_owned())),
            false => drop(known.remove(&table)),
        }
    }

    /// Whether its rows are those that were published, although its files were touched.
    fn is_as_published(&self, course: &Course, fold: &StateFold, name: &TableName, published: i64) -> Result<bool> {
        let window = self.session.window(name, published, course.version.id.max(published))?;
        if matches!(window.rule, WindowRule::Broken(_)) {
            return Ok(false);
        }
        let Some(columns) = self.state_columns(fold, name)? else { return Ok(false) };
        self.is_without_change(&window, &columns)
    }

    /// The columns of a state table, if it has those that it should have.
    fn state_columns(&self, fold: &StateFold, name: &TableName) -> Result<Option<Vec<String>>> {
        let mut columns: Vec<String> = fold.columns().into_iter().map(|(name, _)| name).collect();
        columns.push(MARK.to_owned());
        let known = self.session.table(name, None)?.map_or_else(Vec::new, |table| table.columns);
        let as_it_should = known.iter().map(|column| &column.name).eq(columns.iter());
        Ok(as_it_should.then_some(columns))
    }

    /// Computes the state of all groups at the new version, and the whole result from it: one scan for both. How many rows
    /// the result has.
    pub(crate) fn compute_state(&self, plan: &Plan, state: &KnownState<'_>, changes: &SourceChanges) -> Result<u64> {
        self.keep(STATE, &self.state_at_new(plan, state.keyed, state.fold, changes)?)?;
        self.keep(RESULT, &self.rows_of_state(state.fold, STATE)?)
    }

    fn state_at_new(&self, plan: &Plan, keyed: &Keyed, fold: &StateFold, changes: &SourceChanges) -> Result<String> {
        let input = keyed.state_input(fold, Reading::New, &[], &self.parser)?;
        Ok(fold.of_rows(&format!("({})", self.renderer(plan, changes).sql(&input)?)))
    }

    /// The rows of the result for a state in a temporary table.
    fn rows_of_state(&self, fold: &StateFold, table: &str) -> Result<String> {
        let table = self.relation(table);
        let bits = match fold.greatest_count(&table) {
            Some(select) => {
                let [greatest] = self.counts(&select)?;
                u64::BITS - greatest.leading_zeros()
            }
            None => 0,
        };
        Ok(fold.rows(&table, bits))
    }

    /// The change of the state table to the state that [`compute_state`](Self::compute_state) computed.
    pub(crate) fn replaced_state(&self, state: &KnownState<'_>) -> Result<StateChange> {
        let computed = self.relation(STATE);
        let state_change = self.relation(STATE_CHANGE);
        let columns = state.fold.columns();
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let list = apply::column_list(&names);
        let mut change = StateChange {
            table: state.table.clone(),
            columns,
            sorted_by: state.sorted_by.clone(),
            delete: None,
            insert: format!("SELECT {list} FROM {computed}"),
            changed: true,
        };
        let Ok(stored) = &state.stored else { return Ok(change) };
        let weight = apply::WEIGHT;
        let both = format!(
            "(SELECT {list}, NULL::BIGINT AS {0}, 1::BIGINT AS {weight} FROM {computed} UNION ALL \
             SELECT {list}, {0}, -1::BIGINT FROM {1})",
            apply::ROW_ID,
            StateFold::stored(stored)
        );
        change.changed = self.keep(STATE_CHANGE, &apply::net_with_row_id(&both, &names))? > 0;
        change.delete = Some(format!("SELECT {} FROM {state_change} WHERE {weight} < 0", apply::ROW_ID));
        change.insert = format!("SELECT {list} FROM {state_change} WHERE {weight} > 0");
        Ok(change)
    }

    /// Folds the change into the stored state, and the rows of the touched groups from there into the table.
    pub(crate) fn fold_state(
        &self,
        plan: &Plan,
        state: &KnownState<'_>,
        stored: &str,
        changes: &SourceChanges,
        target: &Target<'_>,
        too_many: &dyn Fn(u64) -> Option<String>,
    ) -> Result<Attempt> {
        let merged = self.relation(MERGED);
        let (keyed, fold) = (state.keyed, state.fold);
        let terms = keyed.changed_state(fold, &changes.inputs());
        if terms.is_empty() {
            return Ok(Attempt::Prepared(Prepared::nothing()));
        }
        let terms = self.terms(plan, &terms, changes)?;
        self.keep(GROUPS, &fold.of_change(&apply::weighted(&terms)))?;
        let never_null = self.never_null(GROUPS, keyed)?;
        self.keep(MERGED, &fold.merged(&self.relation(GROUPS), stored, &never_null))?;
        let [negative, lost] =
            self.counts(&format!("SELECT count(*) FILTER (__dt_rows < 0), count(*) FILTER ({LOST}) FROM {merged}"))?;
        if negative > 0 {
            return Ok(Attempt::Full("a stored group has fewer rows than went".to_owned()));
        }
        let mut merged = MERGED;
        if lost > 0 {
            if let Some(reason) = too_many(lost) {
                return Ok(Attempt::Full(reason));
            }
            self.find_lost(plan, keyed, fold, changes)?;
            merged = MENDED;
        }
        self.keep(RESULT, &self.rows_of_state(fold, merged)?)?;
        let has_null = !fold.has_plain_keys() || never_null.contains(&false);
        let mut prepared = match self.replace_touched(plan, state, stored, (merged, has_null), target)? {
            Attempt::Prepared(prepared) => prepared,
            full @ Attempt::Full(_) => return Ok(full),
        };
        prepared.how = match lost {
            0 => "folded the change into its groups (state table)".to_owned(),
            _ => format!("folded the change into its groups (state table; {})", lost_groups(lost)),
        };
        prepared.state = Some(Box::new(self.merged_state(state, merged)?));
        Ok(Attempt::Prepared(prepared))
    }

    /// Computes the groups whose extreme may have gone from their rows.
    fn find_lost(&self, plan: &Plan, keyed: &Keyed, fold: &StateFold, changes: &SourceChanges) -> Result<()> {
        let merged = self.relation(MERGED);
        let keys: Vec<String> = (0..keyed.key_counts().first().copied().unwrap_or(0)).map(key_column).collect();
        let select = if keys.is_empty() {
            self.state_at_new(plan, keyed, fold, changes)?
        } else {
            let lost = format!("SELECT {} FROM {merged} WHERE {LOST}", keys.join(", "));
            let (_, parts) = self.split_keys(0, keys.len(), &lost)?;
            let renderer = self.renderer(plan, changes);
            let mut rows = Vec::new();
            for restriction in parts {
                let input = keyed.state_input(fold, Reading::New, &[restriction], &self.parser)?;
                rows.push(format!("SELECT * FROM ({})", renderer.sql(&input)?));
            }
            fold.of_rows(&format!("({})", rows.join(" UNION ALL ")))
        };
        self.keep(FOUND, &select)?;
        self.keep(MENDED, &fold.mended(&self.relation(MERGED), &self.relation(FOUND)))?;
        Ok(())
    }

    /// Replaces the rows of the touched groups by those in [`RESULT`]: found by their keys where the result shows them,
    /// otherwise by what the stored state says that they were. `has_null` says whether a key of them may be NULL.
    fn replace_touched(
        &self,
        plan: &Plan,
        state: &KnownState<'_>,
        stored: &str,
        (merged, has_null): (&str, bool),
        target: &Target<'_>,
    ) -> Result<Attempt> {
        let result = self.relation(RESULT);
        let (touched, merged) = (self.scoped(merged), self.relation(merged));
        let columns = output_columns(plan);
        let new = format!("SELECT * FROM {result}");
        if let Some(key_columns) = &state.keyed.key_columns {
            let keys: Vec<String> = key_columns.iter().map(|column| columns[*column].clone()).collect();
            let touched = (!keys.is_empty()).then_some((touched.as_str(), has_null));
            self.keep(STORED, &apply::stored_groups(&self.stored(target), &columns, &keys, touched))?;
            return self.replace_stored(&new, &columns).map(Attempt::Prepared);
        }
        let old = format!(
            "SELECT __dt_t.* FROM {} AS __dt_t JOIN {merged} AS __dt_m USING (__dt_row_id)",
            StateFold::stored(stored)
        );
        self.keep(OLD, &old)?;
        let old = self.rows_of_state(state.fold, OLD)?;
        self.net_by_value(&[(true, new), (false, old)], &columns, target)
    }

    /// The change of the state table to the merged state.
    fn merged_state(&self, state: &KnownState<'_>, merged: &str) -> Result<StateChange> {
        let merged = self.relation(merged);
        let columns = state.fold.columns();
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let held = if state.keyed.key_counts() == [0] { "" } else { " AND __dt_rows > 0" };
        let [changed] = self.counts(&format!(
            "SELECT count(*) FROM {merged} WHERE NOT {SAME} AND ({} IS NOT NULL OR __dt_rows > 0)",
            apply::ROW_ID
        ))?;
        Ok(StateChange {
            table: state.table.clone(),
            columns,
            sorted_by: state.sorted_by.clone(),
            delete: Some(format!("SELECT {0} FROM {merged} WHERE {0} IS NOT NULL AND NOT {SAME}", apply::ROW_ID)),
            insert: format!("SELECT {} FROM {merged} WHERE NOT {SAME}{held}", apply::column_list(&names)),
            changed: changed > 0,
        })
    }

    /// How many rows of the state that belongs to a watermark are not what they should be; `None` if there is no such
    /// state. The sources are read as `changes` says.
    pub(crate) fn wrong_state_rows(
        &self,
        plan: &Plan,
        table: &DynamicTable,
        refresh: &str,
        changes: &SourceChanges,
    ) -> Result<Option<u64>> {
        let Some((keyed, fold)) = plan.state() else { return Ok(None) };
        let name = state_table(table.definition.id);
        if self.state_columns(fold, &name)?.is_none() {
            return Ok(None);
        }
        let relation = name.quoted(self.lake.alias());
        let marks = self.session.texts(&format!("SELECT {MARK} FROM {relation} WHERE {MARK} IS NOT NULL"))?;
        if marks != [Some(mark(refresh))] {
            return Ok(None);
        }
        let names: Vec<String> = fold.columns().into_iter().map(|(name, _)| name).collect();
        let stored = format!("SELECT {} FROM {relation} WHERE {MARK} IS NULL", apply::column_list(&names));
        let terms = [(true, self.state_at_new(plan, keyed, fold, changes)?), (false, stored)];
        self.keep(STATE_CHANGE, &apply::net(&apply::weighted(&terms), &names))?;
        let (missing, surplus) = self.weights(STATE_CHANGE)?;
        Ok(Some(missing + surplus))
    }

    /// The statement that drops the state table of a dynamic table, if there is one.
    pub(crate) fn drop_state(&self, table: Uuid) -> Result<Option<String>> {
        let name = state_table(table);
        let found = self.session.table_ids(std::slice::from_ref(&name))?.pop().flatten();
        Ok(found.map(|_| format!("DROP TABLE IF EXISTS {}", name.quoted(self.lake.alias()))))
    }
}

/// Whether a change is one of the rows or the shape of that table.
fn touches(change: &Change, name: &TableName, id: Option<i64>) -> bool {
    let named = change.name.as_ref().is_some_and(|(schema, table)| TableName::new(schema, table) == *name);
    (change.table_id.is_some() && change.table_id == id || named) && change.kind != ChangeKind::Compacted
}
