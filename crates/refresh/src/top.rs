//! ORDER BY ... LIMIT: the first rows from the stored ones and those that came.

use error::Result;
use incremental::Plan;
use incremental::apply;
use incremental::rules::keyed::Keyed;
use incremental::rules::top::Top;

use crate::prepare::{Attempt, Prepared, Target, output_columns};
use crate::sources::SourceChanges;
use crate::tables::DynamicTables;

const INPUT_CHANGE: &str = "__dt_input_change";
const FIRST: &str = "__dt_first";

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
        let columns = output_columns(plan);
        let terms = self.terms(plan, &keyed.input_change(top, &changes.inputs()), changes)?;
        if terms.is_empty() {
            return Ok(Some(Prepared::nothing()));
        }
        let (weight, list, stored) = (apply::WEIGHT, apply::column_list(&columns), self.stored(target));
        self.keep(INPUT_CHANGE, &apply::net(&apply::weighted(&terms), &columns))?;
        let change = format!("temp.main.{INPUT_CHANGE}");
        let [kept, went] = self.counts(&format!(
            "SELECT (SELECT count(*) FROM {stored}), (SELECT count(*) FROM (SELECT DISTINCT {list} FROM {stored} \
             INTERSECT SELECT {list} FROM {change} WHERE {weight} < 0))"
        ))?;
        // A result that is not full is the whole input.
        if kept >= top.count && went > 0 {
            return Ok(None);
        }
        let all = format!(
            "(SELECT {list}, 1::BIGINT AS {weight} FROM {stored} UNION ALL \
             SELECT {list}, {weight} FROM {change}{})",
            if kept >= top.count { format!(" WHERE {weight} > 0") } else { String::new() }
        );
        let rows = format!("({})", apply::net(&all, &columns));
        let first = format!(
            "SELECT {list} FROM ({}) ORDER BY {} LIMIT {}",
            apply::inserts(&rows, &columns),
            top.order,
            top.count
        );
        self.keep(FIRST, &first)?;
        let terms = [
            (true, format!("SELECT {list} FROM temp.main.{FIRST}")),
            (false, format!("SELECT {list} FROM {stored}")),
        ];
        match self.net_by_value(&terms, &columns, target)? {
            Attempt::Prepared(prepared) => {
                Ok(Some(Prepared { how: "put what came among the first rows".to_owned(), ..prepared }))
            }
            Attempt::Full(_) => Ok(None),
        }
    }
}
