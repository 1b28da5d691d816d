//! `CLUSTER BY`: the columns by which a dynamic table is sorted in the lake, and its state table along with it.
//!
//! What is sorted is written sorted, by refreshes and by compaction alike; how, is the lake's business.

use error::{Code, Error, Result};
use incremental::Plan;
use incremental::rules::keyed::{Keyed, key_column};
use registry::DynamicTable;
use sql::cluster_by::ClusterBy;
use sql::names::{TableName, quote_identifier_if_needed, same_identifier};
use sql::properties::Properties;
use sql::suggest;

use crate::state::state_table;
use crate::tables::DynamicTables;

/// Types of which DuckLake keeps no least and greatest value, so that no file could ever be left out.
const WITHOUT_BOUNDS: [&str; 6] = ["STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY", "JSON"];

/// Whether a result can be clustered as its table's properties say.
///
/// # Errors
/// `QUERY` if the query does not give one of the columns, or one of a type for which it would be no use.
pub(crate) fn check(properties: &Properties, output: &[(String, String)]) -> Result<()> {
    for wanted in properties.cluster_by.iter().flat_map(ClusterBy::columns) {
        let shown = quote_identifier_if_needed(wanted);
        let Some((_, data_type)) = output.iter().find(|(name, _)| same_identifier(name, wanted)) else {
            let names = || output.iter().map(|(name, _)| name.as_str());
            let hint = match suggest::nearest(wanted, names()) {
                Some(nearest) => format!("Did you mean {}?", quote_identifier_if_needed(nearest)),
                None => format!("Its columns are {}.", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(
                Error::new(Code::Query, format!("CLUSTER BY: the query gives no column {shown}")).with_hint(hint)
            );
        };
        if WITHOUT_BOUNDS.iter().any(|kind| data_type.starts_with(kind)) || data_type.ends_with(']') {
            let message =
                format!("CLUSTER BY: column {shown} is of type {data_type}, by which no file can be left out");
            return Err(Error::new(Code::Query, message)
                .with_hint("Cluster by a part of it, as a column of the query of its own."));
        }
    }
    Ok(())
}

/// The columns by which a result is sorted. One that the query does not give any more, since a source has lost it, is left out
/// with those behind it.
pub(crate) fn columns(properties: &Properties, output: &[(String, String)]) -> Vec<String> {
    let wanted = properties.cluster_by.iter().flat_map(ClusterBy::columns);
    let stored = |wanted: &String| output.iter().find(|(name, _)| same_identifier(name, wanted));
    wanted.map_while(stored).map(|(name, _)| name.clone()).collect()
}

/// The columns by which the state beside a result is sorted: the keys that the result is sorted by.
pub(crate) fn state_columns(keyed: &Keyed, columns: &[String], output: &[(String, String)]) -> Vec<String> {
    let Some(key_columns) = &keyed.key_columns else { return Vec::new() };
    let key = |column: &String| {
        let position = output.iter().position(|(name, _)| name == column)?;
        key_columns.iter().position(|key| *key == position).map(key_column)
    };
    columns.iter().map_while(key).collect()
}

impl DynamicTables {
    /// Makes the tables that a dynamic table is stored as be sorted as its properties say, if they are not. Nobody may
    /// refresh it meanwhile. Whether anything was changed.
    pub(crate) fn cluster(&self, table: &DynamicTable, properties: &Properties, plan: &Plan) -> Result<bool> {
        let mut changed = false;
        for (name, columns) in clustered(table, properties, plan) {
            if self.session.table_ids(std::slice::from_ref(&name))?.pop().flatten().is_some() {
                changed |= self.retried(|| self.session.sort_by(&name, &columns))?;
            }
        }
        Ok(changed)
    }
}

/// The tables that a dynamic table is stored as, with what each is sorted by.
fn clustered(table: &DynamicTable, properties: &Properties, plan: &Plan) -> Vec<(TableName, Vec<String>)> {
    let columns = columns(properties, &plan.output);
    let state = plan
        .state()
        .map(|(keyed, _)| (state_table(table.definition.id), state_columns(keyed, &columns, &plan.output)));
    std::iter::once((table.definition.name.clone(), columns)).chain(state).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn of(columns: &str) -> Properties {
        Properties { cluster_by: Some(columns.parse().unwrap()), ..Properties::default() }
    }

    fn output() -> Vec<(String, String)> {
        [("Region", "VARCHAR"), ("day", "DATE"), ("tags", "VARCHAR[]"), ("place", "STRUCT(x INTEGER)"), ("j", "JSON")]
            .map(|(name, data_type)| (name.to_owned(), data_type.to_owned()))
            .to_vec()
    }

    #[test]
    fn columns_have_to_be_there_and_to_have_an_order() {
        assert!(check(&Properties::default(), &output()).is_ok());
        assert!(check(&of("region, day"), &output()).is_ok());
        let said = |columns: &str| {
            let error = check(&of(columns), &output()).unwrap_err();
            format!("{}. {}", error.message(), error.hint().unwrap_or_default())
        };
        assert_eq!(said("day, regoin"), "CLUSTER BY: the query gives no column regoin. Did you mean Region?");
        assert!(said("completely_else").ends_with("Its columns are Region, day, tags, place, j."));
        for column in ["tags", "place", "j"] {
            assert!(said(column).contains("by which no file can be left out"), "{column}");
        }
    }

    #[test]
    fn a_column_that_went_takes_those_behind_it_along() {
        assert_eq!(columns(&of("REGION, day"), &output()), ["Region", "day"]);
        assert_eq!(columns(&of("region, gone, day"), &output()), ["Region"]);
    }
}
