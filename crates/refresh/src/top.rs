//! The first rows of an order, of all rows or of each partition: from the stored ones and those that came.

use error::Result;
use incremental::Plan;
use incremental::apply;
use incremental::rules::keyed::{Keyed, key_column};
use incremental::rules::top::Top;
use sql::names::quote_identifier;

use crate::prepare::{Attempt, Prepared, Target, output_columns};
use crate::rounding::some_is_beyond;
use crate::sources::SourceChanges;
use crate::tables::DynamicTables;

const INPUT_CHANGE: &str = "__dt_input_change";
const FIRST: &str = "__dt_first";
const TOUCHED: &str = "__dt_touched";
const PARTITIONS: &str = "__dt_partitions";
const CANDIDATES: &str = "__dt_candidates";

impl DynamicTables {
    /// The new first rows, without reading the input. `None` when a stored row went that only the input can replace.
    pub(crate) fn first_rows(
        &self,
        keyed: &Keyed,
        top: &Top,
        changes: &SourceChanges,
        plan: &Plan,
        target: &Target<'_>,
    ) -> Result<Option<Prepared>> {
        let first = self.relation(FIRST);
        let columns = output_columns(plan);
        let terms = self.terms(plan, &keyed.input_change(top, &changes.inputs()), changes)?;
        if terms.is_empty() {
            return Ok(Some(Prepared::nothing()));
        }
        let (weight, list) = (apply::WEIGHT, apply::column_list(&columns));
        self.keep(INPUT_CHANGE, &apply::net(&apply::weighted(&terms), &columns))?;
        let change = self.relation(INPUT_CHANGE);
        let [rounded] =
            self.counts(&format!("SELECT count(*) FROM {change} WHERE {}", some_is_beyond(&plan.output)))?;
        if rounded > 0 {
            // The stored row of one that went would not be known for it.
            return Ok(None);
        }
        let partition = apply::column_list(&top.partition);
        self.keep(TOUCHED, &self.stored_partitions(top, &change, &columns, target)?)?;
        let stored = self.relation(TOUCHED);
        let over = if partition.is_empty() { String::new() } else { format!("PARTITION BY {partition}") };
        // Fewer rows than are kept are all there are.
        let full = format!("SELECT {list} FROM {stored} QUALIFY count(*) OVER ({over}) >= {}", top.count);
        let [lost] = self.counts(&format!(
            "SELECT count(*) FROM ({full} INTERSECT SELECT {list} FROM {change} WHERE {weight} < 0)"
        ))?;
        if lost > 0 {
            return Ok(None);
        }
        // What went and was not stored has no weight to take away: it was not among the first.
        let all = format!(
            "(SELECT {list}, 1::BIGINT AS {weight} FROM {stored} UNION ALL SELECT {list}, {weight} FROM {change})"
        );
        self.keep(CANDIDATES, &apply::net(&all, &columns))?;
        let candidates = apply::inserts(&self.relation(CANDIDATES), &columns);
        self.keep(
            FIRST,
            &format!(
                "SELECT {list} FROM ({candidates}) QUALIFY row_number() OVER ({over} ORDER BY {}) <= {}",
                top.order, top.count
            ),
        )?;
        let terms = [(true, format!("SELECT {list} FROM {first}")), (false, format!("SELECT {list} FROM {stored}"))];
        match self.net_by_value(&terms, &columns, target)? {
            Attempt::Prepared(prepared) => {
                Ok(Some(Prepared { how: "put what came among the first rows".to_owned(), ..prepared }))
            }
            Attempt::Full(_) => Ok(None),
        }
    }

    /// The stored rows of the partitions that stand in the change; all without partitions.
    fn stored_partitions(&self, top: &Top, change: &str, columns: &[String], target: &Target<'_>) -> Result<String> {
        let partitions = self.relation(PARTITIONS);
        let stored = self.stored(target);
        if top.partition.is_empty() {
            return Ok(apply::stored_groups(&stored, columns, &[], None));
        }
        let keys = top.partition.iter().enumerate();
        let items: Vec<String> =
            keys.map(|(number, key)| format!("{} AS {}", quote_identifier(key), key_column(number))).collect();
        self.keep(PARTITIONS, &format!("SELECT DISTINCT {} FROM {change}", items.join(", ")))?;
        let null: Vec<String> = (0..top.partition.len()).map(|key| format!("{} IS NULL", key_column(key))).collect();
        let [nulls] = self.counts(&format!("SELECT count(*) FROM {partitions} WHERE {}", null.join(" OR ")))?;
        Ok(apply::stored_groups(
            &stored,
            columns,
            &top.partition,
            Some((self.scoped(PARTITIONS).as_str(), nulls > 0)),
        ))
    }
}
