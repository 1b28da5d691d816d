//! Computing a change outside any lake transaction: every read is pinned to a snapshot, every result goes to a
//! temporary table, which spills to disk when memory is short.

use error::{Code, Error, Result};
use incremental::apply;
use incremental::render::{Reading, Renderer};
use incremental::rules::fold::{Fold, LOST};
use incremental::rules::keyed::{Keyed, Restriction, key_column, null_keys};
use incremental::rules::linear::Term;
use incremental::{Plan, Root};
use lake::{Delete, SnapshotId, Window};
use sql::names::{TableName, quote_identifier};

use crate::rounding::some_is_beyond;
use crate::sources::SourceChanges;
use crate::state::{KnownState, StateChange};
use crate::steps::Steps;
use crate::tables::DynamicTables;

/// Writing only the difference of a full refresh pays while at most this share of the rows differs.
const DIFFERENCE_SHARE: f64 = 0.5;

pub(crate) const RESULT: &str = "__dt_result";
pub(crate) const CHANGE: &str = "__dt_change";
const DELETES: &str = "__dt_deletes";
const INSERTS: &str = "__dt_inserts";
const GROUPS: &str = "__dt_groups";
pub(crate) const STORED: &str = "__dt_stored";
const FOLDED: &str = "__dt_folded";

/// A change that is ready to be published.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub delete: Delete,
    pub insert: Option<String>,
    pub rows_inserted: u64,
    pub rows_deleted: u64,
    /// Rows that the work was measured by: changed source rows, or the rows of a full result.
    pub rows_read: u64,
    /// How it was done, for the reason shown.
    pub how: String,
    /// The reads of the feed that must still be right when it is published.
    pub windows: Vec<Window>,
    /// What happens to the state table along with it.
    pub state: Option<Box<StateChange>>,
}

impl Prepared {
    /// No change at all.
    pub(crate) fn nothing() -> Self {
        Self {
            delete: Delete::None,
            insert: None,
            rows_inserted: 0,
            rows_deleted: 0,
            rows_read: 0,
            how: "nothing to change".to_owned(),
            windows: Vec::new(),
            state: None,
        }
    }
}

/// The table a change is brought to, as it stands.
pub(crate) struct Target<'a> {
    pub table: &'a TableName,
    /// The snapshot at which its rows are read; `None`: it is empty or does not exist.
    pub snapshot: Option<SnapshotId>,
    /// The columns that it is altered to have, as items over those that it has; `None`: it has them.
    pub items: Option<&'a str>,
    pub rows: u64,
}

/// An incremental computation that found it should not be one.
pub(crate) enum Attempt {
    Prepared(Prepared),
    /// Compute in full instead, for this reason.
    Full(String),
}

impl DynamicTables {
    /// The whole result at the new version; against a stored one only the difference, where that is less.
    /// Where the table has a state, the result is computed from it.
    pub(crate) fn prepare_full(
        &self,
        plan: &Plan,
        changes: &SourceChanges,
        target: &Target<'_>,
        state: Option<&KnownState<'_>>,
        steps: &mut Steps,
    ) -> Result<Prepared> {
        let rows = match state {
            Some(state) => self.compute_state(plan, state, changes)?,
            None => self.keep(RESULT, &plan.whole(&self.renderer(plan, changes), Reading::New)?)?,
        };
        steps.end("compute");
        let mut prepared = self.prepare_result(plan, rows, target, steps)?;
        prepared.state = state.map(|state| self.replaced_state(state).map(Box::new)).transpose()?;
        Ok(prepared)
    }

    /// The change to a computed result of so many rows.
    fn prepare_result(&self, plan: &Plan, rows: u64, target: &Target<'_>, steps: &mut Steps) -> Result<Prepared> {
        let result = self.relation(RESULT);
        let all = |delete, rows_deleted, how: &str| Prepared {
            delete,
            insert: (rows > 0).then(|| format!("SELECT * FROM {result}")),
            rows_inserted: rows,
            rows_deleted,
            rows_read: rows,
            how: how.to_owned(),
            windows: Vec::new(),
            state: None,
        };
        if target.snapshot.is_none() || target.rows == 0 {
            // The count is a figure of the catalog: rows that it does not know of must go all the same.
            return Ok(all(Delete::All, 0, "wrote the whole result"));
        }
        if rows == 0 {
            return Ok(all(Delete::All, target.rows, "emptied the table"));
        }
        let columns = output_columns(plan);
        let terms = [
            (true, format!("SELECT * FROM {result}")),
            (false, format!("SELECT {} FROM {}", apply::column_list(&columns), self.stored(target))),
        ];
        self.keep(CHANGE, &apply::net(&apply::weighted(&terms), &columns))?;
        let (came, went) = self.weights(CHANGE)?;
        let difference = if is_small_share(came + went, rows.max(target.rows)) {
            Some(self.changes_by_value(CHANGE, &columns, target, came, went)?)
        } else {
            None
        };
        let prepared = match difference {
            Some(Attempt::Prepared(prepared)) => {
                Prepared { rows_read: rows, how: "wrote only the difference".to_owned(), ..prepared }
            }
            Some(Attempt::Full(_)) | None => all(Delete::All, target.rows, "wrote the whole result"),
        };
        steps.end("compare");
        Ok(prepared)
    }

    /// The change of an incremental query.
    pub(crate) fn prepare_incremental(
        &self,
        plan: &Plan,
        changes: &mut SourceChanges,
        target: &Target<'_>,
        state: Option<&KnownState<'_>>,
        too_many: &dyn Fn(u64) -> Option<String>,
        steps: &mut Steps,
    ) -> Result<Attempt> {
        let mut attempt = match &plan.root {
            Root::Opaque => {
                return Err(Error::new(Code::Internal, "a query without a rule was refreshed incrementally"));
            }
            Root::Linear(linear) => {
                self.compute_stages(plan, changes)?;
                self.by_value(plan, &linear.change(&changes.inputs()), changes, target)?
            }
            Root::Keyed(keyed) => {
                self.compute_stages(plan, changes)?;
                let linear = keyed.has_linear_input(&changes.inputs());
                let terms = keyed.linear_change(&changes.inputs());
                match (&keyed.fold, &keyed.top) {
                    _ if let Some(terms) = terms => self.by_value(plan, &terms, changes, target)?,
                    _ if let Some(state) = state
                        && let Ok(stored) = &state.stored =>
                    {
                        self.fold_state(plan, state, stored, changes, target, too_many)?
                    }
                    (Ok(fold), _) if linear => self.fold(keyed, fold, changes, plan, target, too_many)?,
                    (_, Some(top)) => match self.first_rows(keyed, top, changes, plan, target)? {
                        Some(prepared) => Attempt::Prepared(prepared),
                        None => self.recompute_groups(keyed, changes, plan, target, too_many)?,
                    },
                    _ => self.recompute_groups(keyed, changes, plan, target, too_many)?,
                }
            }
        };
        steps.end("compute");
        if let Attempt::Prepared(prepared) = &mut attempt {
            prepared.rows_read = changes.came + changes.went;
            prepared.windows.clone_from(&changes.windows);
        }
        Ok(attempt)
    }

    pub(crate) fn renderer<'a>(&'a self, plan: &'a Plan, changes: &'a SourceChanges) -> Renderer<'a> {
        Renderer { parser: &self.parser, lake: self.lake.alias(), inputs: changes.inputs(), stages: &plan.stages }
    }

    /// The terms of a change as SQL.
    pub(crate) fn terms(&self, plan: &Plan, terms: &[Term], changes: &SourceChanges) -> Result<Vec<(bool, String)>> {
        let renderer = self.renderer(plan, changes);
        terms.iter().map(|term| Ok((term.came, renderer.sql(&term.node)?))).collect()
    }

    /// A change given as rows that came and went, applied by the values of the rows.
    fn by_value(&self, plan: &Plan, terms: &[Term], changes: &SourceChanges, target: &Target<'_>) -> Result<Attempt> {
        let inserts = self.relation(INSERTS);
        if terms.is_empty() {
            return Ok(Attempt::Prepared(Prepared::nothing()));
        }
        let columns = &output_columns(plan);
        let terms = self.terms(plan, terms, changes)?;
        if terms.iter().all(|(came, _)| *came) {
            let selects: Vec<&str> = terms.iter().map(|(_, sql)| sql.as_str()).collect();
            let select = selects.join(") UNION ALL (");
            let rows = self.keep(INSERTS, &format!("({select})"))?;
            return Ok(Attempt::Prepared(Prepared {
                delete: Delete::None,
                insert: (rows > 0).then(|| format!("SELECT * FROM {inserts}")),
                rows_inserted: rows,
                rows_deleted: 0,
                rows_read: 0,
                how: "appended".to_owned(),
                windows: Vec::new(),
                state: None,
            }));
        }
        self.net_by_value(&terms, columns, target)
    }

    /// The net change of terms, applied by the values of the rows.
    pub(crate) fn net_by_value(
        &self,
        terms: &[(bool, String)],
        columns: &[String],
        target: &Target<'_>,
    ) -> Result<Attempt> {
        self.keep(CHANGE, &apply::net(&apply::weighted(terms), columns))?;
        let (came, went) = self.weights(CHANGE)?;
        self.changes_by_value(CHANGE, columns, target, came, went)
    }

    /// Finds the rows to delete and to insert for a net change. A table that lacks a row which should go is not what it
    /// should be: then everything has to be computed.
    fn changes_by_value(
        &self,
        change: &str,
        columns: &[String],
        target: &Target<'_>,
        came: u64,
        went: u64,
    ) -> Result<Attempt> {
        let deletes = self.relation(DELETES);
        let change = self.relation(change);
        let delete = if went == 0 {
            Delete::None
        } else {
            let nulls = self.session.counts(&apply::nulls(&change, columns))?;
            let never_null: Vec<bool> = nulls.into_iter().map(|nulls| nulls == 0).collect();
            let found = self.keep(DELETES, &apply::deletes(&change, &self.stored(target), columns, &never_null))?;
            if found != went {
                let missing = went - found.min(went);
                return Ok(Attempt::Full(format!("the table lacks {missing} of the {went} rows that should go")));
            }
            Delete::RowIds(format!("SELECT {} FROM {deletes}", apply::ROW_ID))
        };
        Ok(Attempt::Prepared(Prepared {
            delete,
            insert: (came > 0).then(|| apply::inserts(&change, columns)),
            rows_inserted: came,
            rows_deleted: went,
            rows_read: 0,
            how: "applied the change".to_owned(),
            windows: Vec::new(),
            state: None,
        }))
    }

    fn fold(
        &self,
        keyed: &Keyed,
        fold: &Fold,
        changes: &SourceChanges,
        plan: &Plan,
        target: &Target<'_>,
        too_many: &dyn Fn(u64) -> Option<String>,
    ) -> Result<Attempt> {
        let folded = self.relation(FOLDED);
        let terms = keyed.changed_input(fold, &changes.inputs());
        if terms.is_empty() {
            return Ok(Attempt::Prepared(Prepared::nothing()));
        }
        let terms = self.terms(plan, &terms, changes)?;
        self.keep(GROUPS, &fold.deltas(&apply::weighted(&terms)))?;
        let never_null = self.never_null(GROUPS, keyed)?;
        self.keep(FOLDED, &fold.new_rows(&self.relation(GROUPS), &self.stored(target), &never_null))?;
        let [negative, lost, rounded, deleted, inserted] = self.counts(&format!(
            "SELECT count(*) FILTER (__dt_rows < 0), count(*) FILTER ({LOST}), count(*) FILTER ({1}), \
             count(*) FILTER ({0} IS NOT NULL AND NOT __dt_same), count(*) FILTER (__dt_rows > 0 AND NOT __dt_same) \
             FROM {folded}",
            apply::ROW_ID,
            some_is_beyond(&plan.output)
        ))?;
        if negative > 0 {
            return Ok(Attempt::Full("a stored group has fewer rows than went".to_owned()));
        }
        if rounded > 0 {
            // Added to a value that was rounded when it was stored, small changes would never show.
            return self.recompute_groups(keyed, changes, plan, target, too_many);
        }
        if lost > 0 {
            return match too_many(lost) {
                Some(reason) => Ok(Attempt::Full(reason)),
                None => self.fold_around_lost(keyed, changes, plan, target, lost).map(Attempt::Prepared),
            };
        }
        let columns = apply::column_list(&output_columns(plan));
        Ok(Attempt::Prepared(Prepared {
            delete: if deleted == 0 {
                Delete::None
            } else {
                Delete::RowIds(format!(
                    "SELECT {0} FROM {folded} WHERE {0} IS NOT NULL AND NOT __dt_same",
                    apply::ROW_ID
                ))
            },
            insert: (inserted > 0)
                .then(|| format!("SELECT {columns} FROM {folded} WHERE __dt_rows > 0 AND NOT __dt_same")),
            rows_inserted: inserted,
            rows_deleted: deleted,
            rows_read: 0,
            how: "folded the change into its groups".to_owned(),
            windows: Vec::new(),
            state: None,
        }))
    }

    /// Folds the change into its groups but for those that may have lost an extreme, which are computed again.
    fn fold_around_lost(
        &self,
        keyed: &Keyed,
        changes: &SourceChanges,
        plan: &Plan,
        target: &Target<'_>,
        lost: u64,
    ) -> Result<Prepared> {
        let folded = self.relation(FOLDED);
        let columns = output_columns(plan);
        let list = apply::column_list(&columns);
        let keys: Vec<String> = keyed.key_columns.iter().flatten().map(|column| columns[*column].clone()).collect();
        let restrictions = if keys.is_empty() {
            vec![Vec::new()]
        } else {
            let named = keys.iter().enumerate();
            let named: Vec<String> =
                named.map(|(key, column)| format!("{} AS {}", quote_identifier(column), key_column(key))).collect();
            let select = format!("SELECT {} FROM {folded} WHERE {LOST}", named.join(", "));
            let (_, restrictions) = self.split_keys(0, keys.len(), &select)?;
            restrictions.into_iter().map(|restriction| vec![restriction]).collect()
        };
        let mut new = vec![format!("SELECT {list} FROM {folded} WHERE __dt_rows > 0 AND NOT {LOST}")];
        for restriction in restrictions {
            let groups = keyed.restricted(Reading::New, &restriction, &self.parser)?;
            new.push(format!("SELECT {list} FROM ({})", self.renderer(plan, changes).sql(&groups)?));
        }
        let touched = format!(
            "SELECT {list}, {0} FROM (SELECT rowid AS {0}, * FROM {1}) WHERE {0} IN (SELECT {0} FROM {folded})",
            apply::ROW_ID,
            self.stored(target)
        );
        self.keep(STORED, &touched)?;
        let how = format!("folded the change into its groups ({})", lost_groups(lost));
        Ok(Prepared { how, ..self.replace_stored(&new.join(" UNION ALL "), &columns)? })
    }

    fn recompute_groups(
        &self,
        keyed: &Keyed,
        changes: &SourceChanges,
        plan: &Plan,
        target: &Target<'_>,
        too_many: &dyn Fn(u64) -> Option<String>,
    ) -> Result<Attempt> {
        let columns = output_columns(plan);
        let affected = self.affected_keys(plan, keyed, changes)?;
        if affected.groups == 0 {
            return Ok(Attempt::Prepared(Prepared::nothing()));
        }
        if let Some(reason) = too_many(affected.groups) {
            return Ok(Attempt::Full(reason));
        }
        let groups = affected.groups;
        let new = self.groups_at(plan, keyed, changes, &affected, Reading::New)?;
        let Some(key_columns) = &keyed.key_columns else {
            let old = self.groups_at(plan, keyed, changes, &affected, Reading::Old)?;
            return self.net_by_value(&[(true, new), (false, old)], &columns, target);
        };
        if self.has_inexact_keys(plan, key_columns, &affected)? {
            let reason = "a key of type HUGEINT is beyond what the lake's files keep exactly, and its group would not be found";
            return Ok(Attempt::Full(reason.to_owned()));
        }
        let keys: Vec<String> = key_columns.iter().map(|column| columns[*column].clone()).collect();
        let restriction = |part: &Vec<Restriction>| {
            let affected = part.first().map(|restriction| (restriction.table.as_str(), restriction.with_null));
            apply::stored_groups(&self.stored(target), &columns, &keys, affected)
        };
        let stored: Vec<String> = affected.parts.iter().map(restriction).collect();
        self.keep(STORED, &stored.join(" UNION ALL "))?;
        if !keyed.unique {
            let stored = format!("SELECT {} FROM {}", apply::column_list(&columns), self.relation(STORED));
            return self.net_by_value(&[(true, new), (false, stored)], &columns, target);
        }
        let how = match keys.len() {
            0 => "recomputed the aggregate".to_owned(),
            _ => format!("recomputed {groups} affected {}", if groups == 1 { "group" } else { "groups" }),
        };
        Ok(Attempt::Prepared(Prepared { how, ..self.replace_stored(&new, &columns)? }))
    }

    /// Replaces the rows in [`STORED`], of which no two are equal, by those of a SELECT.
    pub(crate) fn replace_stored(&self, new: &str, columns: &[String]) -> Result<Prepared> {
        let change = self.relation(CHANGE);
        let stored = self.relation(STORED);
        let list = apply::column_list(columns);
        let both = format!(
            "(SELECT {list}, NULL::BIGINT AS {0}, 1::BIGINT AS {1} FROM ({new}) UNION ALL \
             SELECT {list}, {0}, -1::BIGINT FROM {stored})",
            apply::ROW_ID,
            apply::WEIGHT
        );
        self.keep(CHANGE, &apply::net_with_row_id(&both, columns))?;
        let (came, went) = self.weights(CHANGE)?;
        let weight = apply::WEIGHT;
        Ok(Prepared {
            delete: if went == 0 {
                Delete::None
            } else {
                Delete::RowIds(format!("SELECT {} FROM {change} WHERE {weight} < 0", apply::ROW_ID))
            },
            insert: (came > 0).then(|| format!("SELECT {list} FROM {change} WHERE {weight} > 0")),
            rows_inserted: came,
            rows_deleted: went,
            ..Prepared::nothing()
        })
    }

    /// For each key of an operator, whether it is not NULL in any row of a table of keys.
    pub(crate) fn never_null(&self, keys: &str, keyed: &Keyed) -> Result<Vec<bool>> {
        let key_count = keyed.key_counts().first().copied().unwrap_or_default();
        if key_count == 0 {
            return Ok(Vec::new());
        }
        let nulls = self.session.counts(&null_keys(&self.relation(keys), key_count))?;
        Ok(nulls.into_iter().map(|nulls| nulls == 0).collect())
    }

    /// The stored rows of the target, as a relation.
    pub(crate) fn stored(&self, target: &Target<'_>) -> String {
        let name = target.table.quoted(self.lake.alias());
        let stored = match target.snapshot {
            Some(snapshot) => format!("{name} AT (VERSION => {snapshot})"),
            None => name,
        };
        target.items.map_or_else(|| stored.clone(), |items| format!("(SELECT rowid, {items} FROM {stored})"))
    }

    /// How many rows came and how many went in a net change.
    pub(crate) fn weights(&self, change: &str) -> Result<(u64, u64)> {
        let (weight, change) = (apply::WEIGHT, self.relation(change));
        let [came, went] = self.counts(&format!(
            "SELECT coalesce(sum({weight}) FILTER ({weight} > 0), 0)::BIGINT, \
             coalesce(-sum({weight}) FILTER ({weight} < 0), 0)::BIGINT FROM {change}"
        ))?;
        Ok((came, went))
    }
}

/// That the extremes of groups had to be looked for again.
pub(crate) fn lost_groups(lost: u64) -> String {
    match lost {
        1 => "1 group had lost an extreme and was read again".to_owned(),
        _ => format!("{lost} groups had lost an extreme and were read again"),
    }
}

/// The names of the result's columns.
pub(crate) fn output_columns(plan: &Plan) -> Vec<String> {
    plan.output.iter().map(|(name, _)| name.clone()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share of row counts needs no more than 52 bits")]
fn is_small_share(part: u64, whole: u64) -> bool {
    part as f64 <= DIFFERENCE_SHARE * whole as f64
}
