//! What has to happen to a table of the lake so that it has the columns of its source. Nothing is asked here.

use error::{Code, Error, Result};
use sql::names::{TableName, quote_identifier, same_identifier};

/// Names and types of columns in order.
pub(crate) type Columns = Vec<(String, String)>;

/// How a table comes to have the columns of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reshaping {
    /// The statements that do it.
    pub statements: Vec<String>,
    /// The columns that are compared: those that stay, in the order of the table, with their types from now on.
    pub kept: Columns,
    /// The columns that come into being, in the order in which they do.
    pub added: Vec<String>,
    /// What is told about it.
    pub told: Vec<String>,
}

impl Reshaping {
    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.statements.is_empty()
    }

    /// All columns afterwards, in the order of the table.
    pub fn all(&self) -> Vec<&str> {
        self.kept.iter().map(|(name, _)| name.as_str()).chain(self.added.iter().map(String::as_str)).collect()
    }
}

/// What to do. A column that is gone at the source, or whose type has changed so that its values may not fit, is an error, unless
/// `takes_over`: then the table becomes what its source is, whatever it was.
pub(crate) fn reshape(
    table: &str,
    name: &TableName,
    stored: &[(String, String)],
    wanted: &[(String, String)],
    takes_over: bool,
) -> Result<Reshaping> {
    let mut reshaping = Reshaping::default();
    let mut lost = Vec::new();
    for (column, data_type) in stored {
        let quoted = quote_identifier(column);
        match wanted.iter().find(|(wanted, _)| same_identifier(wanted, column)) {
            None => {
                lost.push(format!("{column} is gone"));
                reshaping.statements.push(format!("ALTER TABLE {table} DROP COLUMN {quoted}"));
                reshaping.told.push(format!("{column} is gone"));
            }
            Some((_, wanted)) if same_type(wanted, data_type) => {
                reshaping.kept.push((column.clone(), data_type.clone()));
            }
            Some((_, wanted)) if widens(data_type, wanted) => {
                reshaping
                    .statements
                    .push(format!("ALTER TABLE {table} ALTER COLUMN {quoted} SET DATA TYPE {wanted}"));
                reshaping.kept.push((column.clone(), wanted.clone()));
                reshaping.told.push(format!("{column} became {wanted}"));
            }
            Some((_, wanted)) => {
                lost.push(format!("{column} was {data_type} and is {wanted}"));
                reshaping.statements.push(format!("ALTER TABLE {table} DROP COLUMN {quoted}"));
                reshaping.statements.push(format!("ALTER TABLE {table} ADD COLUMN {quoted} {wanted}"));
                reshaping.added.push(column.clone());
                reshaping.told.push(format!("{column} became {wanted}"));
            }
        }
    }
    for (column, data_type) in wanted {
        if !stored.iter().any(|(stored, _)| same_identifier(stored, column)) {
            reshaping
                .statements
                .push(format!("ALTER TABLE {table} ADD COLUMN {} {data_type}", quote_identifier(column)));
            reshaping.added.push(column.clone());
            reshaping.told.push(format!("{column} is new"));
        }
    }
    if !takes_over && !lost.is_empty() {
        return Err(Error::new(Code::Schema, format!("the columns of the source have changed: {}", lost.join(", ")))
            .with_hint(format!(
                "REFRESH SOURCE {name} FULL takes this over; dynamic tables that read such a column fail from then on."
            )));
    }
    if reshaping.kept.is_empty() {
        return Err(Error::new(Code::Schema, "no column of the source is what it was")
            .with_hint(format!("DROP SOURCE {name} and create it again.")));
    }
    Ok(reshaping)
}

/// DuckDB has two names for some.
fn same_type(left: &str, right: &str) -> bool {
    let plain =
        |name: &str| name.to_ascii_uppercase().replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE").replace(' ', "");
    plain(left) == plain(right)
}

/// Whether the lake changes a column of the one type to the other, with all values as they were.
fn widens(from: &str, to: &str) -> bool {
    const WIDER: [&[&str]; 3] = [
        &["TINYINT", "SMALLINT", "INTEGER", "BIGINT"],
        &["UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"],
        &["FLOAT", "DOUBLE"],
    ];
    WIDER.iter().any(|order| {
        let place = |name: &str| order.iter().position(|known| known.eq_ignore_ascii_case(name));
        matches!((place(from), place(to)), (Some(from), Some(to)) if from < to)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn columns(pairs: &[(&str, &str)]) -> Columns {
        pairs.iter().map(|(name, data_type)| ((*name).to_owned(), (*data_type).to_owned())).collect()
    }

    #[test]
    fn what_is_new_or_wider_is_taken_over_and_the_rest_by_order_only() {
        let name = TableName::new("main", "t");
        let stored = columns(&[("id", "INTEGER"), ("a", "VARCHAR"), ("b", "TIMESTAMP WITH TIME ZONE")]);
        let same = reshape(
            "t",
            &name,
            &stored,
            &columns(&[("b", "timestamptz"), ("ID", "INTEGER"), ("a", "VARCHAR")]),
            false,
        );
        assert!(same.unwrap().is_nothing());
        let wider = columns(&[("id", "BIGINT"), ("a", "VARCHAR"), ("b", "TIMESTAMPTZ"), ("c \"x", "DATE")]);
        let reshaping = reshape("t", &name, &stored, &wider, false).unwrap();
        let expected =
            ["ALTER TABLE t ALTER COLUMN \"id\" SET DATA TYPE BIGINT", "ALTER TABLE t ADD COLUMN \"c \"\"x\" DATE"];
        assert_eq!(reshaping.statements, expected);
        assert_eq!(reshaping.all(), ["id", "a", "b", "c \"x"]);

        let other = columns(&[("id", "VARCHAR"), ("b", "TIMESTAMPTZ")]);
        let error = reshape("t", &name, &stored, &other, false).unwrap_err();
        assert_eq!(error.code(), Code::Schema);
        assert!(error.message().ends_with("id was INTEGER and is VARCHAR, a is gone"), "{error}");
        let taken = reshape("t", &name, &stored, &other, true).unwrap();
        assert_eq!((taken.kept.len(), taken.added.as_slice()), (1, ["id".to_owned()].as_slice()));
    }
}
