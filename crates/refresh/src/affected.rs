//! The groups that a change touches, and the stages of a query: parts whose change is computed before that of the rest.

use error::Result;
use incremental::apply;
use incremental::render::Reading;
use incremental::rules::keyed::{Keyed, key_column};
use incremental::{Plan, StageChange};

use crate::sources::SourceChanges;
use crate::tables::DynamicTables;

const KEYS: &str = "__dt_keys";
const KEYS_WITH_NULL: &str = "__dt_keys_with_null";

/// The keys of the groups that a change touches, in temporary tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affected {
    /// How many groups there are.
    pub groups: u64,
    keyed: bool,
    with_null: u64,
}

impl Affected {
    /// The tables that hold the keys, and whether they hold keys with a NULL.
    pub fn tables(self) -> Vec<(&'static str, bool)> {
        let mut tables = vec![(KEYS, false)];
        if self.keyed && self.with_null > 0 {
            tables.push((KEYS_WITH_NULL, true));
        }
        tables
    }
}

impl DynamicTables {
    /// The keys of the affected groups, those with a NULL in a table of their own.
    pub(crate) fn affected_keys(&self, plan: &Plan, keyed: &Keyed, changes: &SourceChanges) -> Result<Affected> {
        let terms = keyed.changed_keys(&changes.inputs());
        if terms.is_empty() {
            return Ok(Affected { groups: 0, keyed: true, with_null: 0 });
        }
        if keyed.key_count() == 0 {
            return Ok(Affected { groups: 1, keyed: false, with_null: 0 });
        }
        let terms = self.terms(plan, &terms, changes)?;
        let selects: Vec<&str> = terms.iter().map(|(_, sql)| sql.as_str()).collect();
        let keys: Vec<String> = (0..keyed.key_count()).map(key_column).collect();
        let some_null: Vec<String> = keys.iter().map(|key| format!("{key} IS NULL")).collect();
        let some_null = some_null.join(" OR ");
        let all = format!("SELECT DISTINCT {} FROM (({}))", keys.join(", "), selects.join(") UNION ALL ("));
        let groups = self.keep(KEYS, &all)?;
        let with_null = self.keep(KEYS_WITH_NULL, &format!("SELECT * FROM temp.main.{KEYS} WHERE {some_null}"))?;
        if with_null > 0 {
            self.work(&format!("DELETE FROM temp.main.{KEYS} WHERE {some_null}"))?;
        }
        Ok(Affected { groups, keyed: true, with_null })
    }

    /// The affected groups as they were or are.
    pub(crate) fn groups_at(
        &self,
        plan: &Plan,
        keyed: &Keyed,
        changes: &SourceChanges,
        affected: &Affected,
        reading: Reading,
    ) -> Result<String> {
        let renderer = self.renderer(plan, changes);
        let mut selects = Vec::new();
        for (keys, with_null) in affected.tables() {
            let select = renderer.sql(&keyed.restricted(reading, keys, with_null, &self.parser)?)?;
            selects.push(format!("SELECT * FROM ({select})"));
        }
        Ok(selects.join(" UNION ALL "))
    }

    /// Computes the change of every stage into temporary tables.
    pub(crate) fn compute_stages(&self, plan: &Plan, changes: &mut SourceChanges) -> Result<()> {
        changes.stages.clear();
        for (number, stage) in plan.stages.iter().enumerate() {
            let affected = self.affected_keys(plan, &stage.keyed, changes)?;
            let change = if affected.groups == 0 {
                StageChange::default()
            } else {
                let new = self.groups_at(plan, &stage.keyed, changes, &affected, Reading::New)?;
                let old = self.groups_at(plan, &stage.keyed, changes, &affected, Reading::Old)?;
                self.keep_stage(number, &[(true, new), (false, old)], &stage.columns)?
            };
            changes.stages.push(change);
        }
        Ok(())
    }

    fn keep_stage(&self, number: usize, terms: &[(bool, String)], columns: &[String]) -> Result<StageChange> {
        let table = format!("__dt_stage{number}");
        self.keep(&table, &apply::net(&apply::weighted(terms), columns))?;
        let (came, went) = self.weights(&table)?;
        let relation = format!("temp.main.{table}");
        let mut change = StageChange::default();
        if came > 0 {
            let view = format!("{table}_came");
            self.name(&view, &apply::inserts(&relation, columns))?;
            change.came = Some(view);
        }
        if went > 0 {
            let view = format!("{table}_went");
            self.name(&view, &apply::removals(&relation, columns))?;
            change.went = Some(view);
        }
        Ok(change)
    }
}
