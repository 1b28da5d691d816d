//! The groups that a change touches, and the stages of a query: parts whose change is computed before that of the rest.

use error::Result;
use incremental::apply;
use incremental::render::Reading;
use incremental::rules::keyed::{Keyed, Restriction, key_column};
use incremental::{Plan, StageChange};

use crate::rounding::{is_beyond, is_kept_as_double};
use crate::sources::SourceChanges;
use crate::tables::DynamicTables;

/// The groups that a change touches, their keys in temporary tables.
#[derive(Clone, Debug)]
pub(crate) struct Affected {
    /// How many groups there are.
    pub groups: u64,
    /// The touched rows are those of the operator under each of these lists of restrictions, of which one has to hold; no
    /// row stands under two lists.
    pub parts: Vec<Vec<Restriction>>,
}

impl DynamicTables {
    /// The keys of the affected groups, those with a NULL in a table of their own.
    pub(crate) fn affected_keys(&self, plan: &Plan, keyed: &Keyed, changes: &SourceChanges) -> Result<Affected> {
        let mut affected = Affected { groups: 0, parts: Vec::new() };
        let counts = keyed.key_counts();
        for (set, key_count) in counts.iter().enumerate() {
            let terms = keyed.changed_keys(set, &changes.inputs());
            if terms.is_empty() {
                continue;
            }
            let all_rows = Affected { groups: 1, parts: vec![Vec::new()] };
            if *key_count == 0 {
                return Ok(all_rows);
            }
            let terms = self.terms(plan, &terms, changes)?;
            let selects: Vec<&str> = terms.iter().map(|(_, sql)| sql.as_str()).collect();
            let keys: Vec<String> = (0..*key_count).map(key_column).collect();
            let all = format!("SELECT DISTINCT {} FROM (({}))", keys.join(", "), selects.join(") UNION ALL ("));
            let (groups, restrictions) = self.split_keys(set, *key_count, &all)?;
            if keyed.null_touches_all(set) && restrictions.iter().any(|restriction| restriction.with_null) {
                return Ok(all_rows);
            }
            affected.groups += groups;
            affected.parts.extend(restrictions.into_iter().map(|restriction| vec![restriction]));
        }
        if counts.len() > 1 {
            // A row can have touched keys of several sets.
            affected.parts = vec![affected.parts.into_iter().flatten().collect()];
        }
        Ok(affected)
    }

    /// Keeps keys, those with a NULL in a table of their own: how many there are, and the conditions on them, of which no
    /// row fulfils two.
    pub(crate) fn split_keys(&self, set: usize, key_count: usize, keys: &str) -> Result<(u64, Vec<Restriction>)> {
        let some_null: Vec<String> = (0..key_count).map(|key| format!("{} IS NULL", key_column(key))).collect();
        let some_null = some_null.join(" OR ");
        let (table, null_table) = (format!("__dt_keys{set}"), format!("__dt_keys_with_null{set}"));
        let groups = self.keep(&table, keys)?;
        let relation = self.relation(&table);
        let with_null = self.keep(&null_table, &format!("SELECT * FROM {relation} WHERE {some_null}"))?;
        let mut restrictions = Vec::new();
        if with_null < groups {
            restrictions.push(Restriction { set, table: self.scoped(&table), with_null: false });
        }
        if with_null > 0 {
            self.work(&format!("DELETE FROM {relation} WHERE {some_null}"))?;
            restrictions.push(Restriction { set, table: self.scoped(&null_table), with_null: true });
        }
        Ok((groups, restrictions))
    }

    /// Whether an affected group may have a stored row with another key, as the lake's files keep it.
    pub(crate) fn has_inexact_keys(&self, plan: &Plan, key_columns: &[usize], affected: &Affected) -> Result<bool> {
        let types = key_columns.iter().map(|column| plan.output[*column].1.as_str()).enumerate();
        let mut beyond = Vec::new();
        for (key, data_type) in types {
            if is_kept_as_double(data_type) {
                beyond.push(is_beyond(&key_column(key)));
            } else if data_type.contains("HUGEINT") {
                return Ok(true);
            }
        }
        if beyond.is_empty() {
            return Ok(false);
        }
        for restriction in affected.parts.iter().flatten() {
            let keys = format!("SELECT count(*) FROM temp.main.{} WHERE {}", restriction.table, beyond.join(" OR "));
            let [found] = self.counts(&keys)?;
            if found > 0 {
                return Ok(true);
            }
        }
        Ok(false)
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
        for part in &affected.parts {
            let select = renderer.sql(&keyed.restricted(reading, part, &self.parser)?)?;
            selects.push(format!("SELECT * FROM ({select})"));
        }
        Ok(selects.join(" UNION ALL "))
    }

    /// Computes the change of every stage into temporary tables.
    pub(crate) fn compute_stages(&self, plan: &Plan, changes: &mut SourceChanges) -> Result<()> {
        changes.stages.clear();
        for (number, stage) in plan.stages.iter().enumerate() {
            if let Some(terms) = stage.keyed.linear_change(&changes.inputs()) {
                let terms = self.terms(plan, &terms, changes)?;
                let change = if terms.is_empty() {
                    StageChange::default()
                } else if stage.watched {
                    self.keep_watched(number, &terms)?
                } else {
                    self.keep_stage(number, &terms, &stage.columns)?
                };
                changes.stages.push(change);
                continue;
            }
            let affected = self.affected_keys(plan, &stage.keyed, changes)?;
            let change = if affected.groups == 0 {
                StageChange::default()
            } else {
                let new = self.groups_at(plan, &stage.keyed, changes, &affected, Reading::New)?;
                let old = self.groups_at(plan, &stage.keyed, changes, &affected, Reading::Old)?;
                let terms = [(true, new), (false, old)];
                if stage.watched {
                    self.keep_watched(number, &terms)?
                } else {
                    self.keep_stage(number, &terms, &stage.columns)?
                }
            };
            changes.stages.push(change);
        }
        Ok(())
    }

    /// Keeps what the rows were and are as they stand: which keys they have is all that matters.
    fn keep_watched(&self, number: usize, terms: &[(bool, String)]) -> Result<StageChange> {
        let keep = |wanted: bool| -> Result<Option<String>> {
            let selects: Vec<&str> =
                terms.iter().filter(|(came, _)| *came == wanted).map(|(_, sql)| sql.as_str()).collect();
            if selects.is_empty() {
                return Ok(None);
            }
            let table = format!("__dt_stage{number}_{}", if wanted { "came" } else { "went" });
            let rows = self.keep(&table, &format!("SELECT DISTINCT * FROM (({}))", selects.join(") UNION ALL (")))?;
            Ok((rows > 0).then(|| self.scoped(&table)))
        };
        Ok(StageChange { came: keep(true)?, went: keep(false)? })
    }

    fn keep_stage(&self, number: usize, terms: &[(bool, String)], columns: &[String]) -> Result<StageChange> {
        let table = format!("__dt_stage{number}");
        self.keep(&table, &apply::net(&apply::weighted(terms), columns))?;
        let (came, went) = self.weights(&table)?;
        let relation = self.relation(&table);
        let mut change = StageChange::default();
        if came > 0 {
            let view = format!("{table}_came");
            self.name(&view, &apply::inserts(&relation, columns))?;
            change.came = Some(self.scoped(&view));
        }
        if went > 0 {
            let view = format!("{table}_went");
            self.name(&view, &apply::removals(&relation, columns))?;
            change.went = Some(self.scoped(&view));
        }
        Ok(change)
    }
}
