//! A stored table whose query gives other columns than before: whether it can be altered to have them, so that it stays
//! the same table with its history, and the tables that read its other columns go on.
//!
//! This module does not know why the columns changed, nor what the rows are.

use sql::names::{TableName, quote_identifier};

/// How a stored table gets the columns of its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reshape {
    /// The statements that alter it, to be run in the transaction that publishes its new rows.
    pub statements: Vec<String>,
    /// Its columns as they will be, as the items of a SELECT over it as it is: what is added is NULL in every row.
    pub items: String,
}

/// Whole numbers that hold every value of the type, for each type.
const WIDER: [(&str, &[&str]); 6] = [
    ("TINYINT", &["SMALLINT", "INTEGER", "BIGINT"]),
    ("SMALLINT", &["INTEGER", "BIGINT"]),
    ("INTEGER", &["BIGINT"]),
    ("UTINYINT", &["USMALLINT", "UINTEGER", "UBIGINT", "SMALLINT", "INTEGER", "BIGINT"]),
    ("USMALLINT", &["UINTEGER", "UBIGINT", "INTEGER", "BIGINT"]),
    ("UINTEGER", &["UBIGINT", "BIGINT"]),
];

/// How the table becomes one with the columns `output`: columns may go, get a wider type, or be added at the end. `None`
/// if that is not enough, since the columns that stay would stand in another order or change their type otherwise, or if
/// none stays.
pub(crate) fn reshape(
    lake: &str,
    table: &TableName,
    stored: &[lake::Column],
    output: &[(String, String)],
) -> Option<Reshape> {
    let in_output = |column: &&lake::Column| output.iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name));
    let (kept, dropped): (Vec<&lake::Column>, Vec<&lake::Column>) = stored.iter().partition(in_output);
    if kept.is_empty() {
        return None;
    }
    let table = table.quoted(lake);
    let (mut statements, mut items) = (Vec::new(), Vec::new());
    let (same, added) = output.split_at_checked(kept.len())?;
    for (column, (name, data_type)) in kept.iter().zip(same) {
        if column.name != *name {
            return None;
        }
        let quoted = quote_identifier(name);
        if column.data_type.eq_ignore_ascii_case(data_type) {
            items.push(quoted);
        } else if is_wider(&column.data_type, data_type) {
            statements.push(format!("ALTER TABLE {table} ALTER COLUMN {quoted} SET DATA TYPE {data_type}"));
            items.push(format!("{quoted}::{data_type} AS {quoted}"));
        } else {
            return None;
        }
    }
    for (name, data_type) in added {
        let quoted = quote_identifier(name);
        statements.push(format!("ALTER TABLE {table} ADD COLUMN {quoted} {data_type}"));
        items.push(format!("NULL::{data_type} AS {quoted}"));
    }
    let drops =
        dropped.iter().map(|column| format!("ALTER TABLE {table} DROP COLUMN {}", quote_identifier(&column.name)));
    statements.extend(drops);
    Some(Reshape { statements, items: items.join(", ") })
}

/// Whether every value of a type is one of the other type, and DuckLake knows it too.
fn is_wider(narrow: &str, wide: &str) -> bool {
    let (narrow, wide) = (narrow.to_ascii_uppercase(), wide.to_ascii_uppercase());
    let whole_number = WIDER.iter().any(|(known, wider)| *known == narrow && wider.contains(&wide.as_str()));
    let decimal = match (decimal(&narrow), decimal(&wide)) {
        (Some((digits, scale)), Some((more_digits, same_scale))) => scale == same_scale && more_digits > digits,
        _ => false,
    };
    whole_number || decimal || (narrow == "FLOAT" && wide == "DOUBLE")
}

/// Digits and scale of `DECIMAL(digits,scale)`.
fn decimal(data_type: &str) -> Option<(u8, u8)> {
    let (digits, scale) = data_type.strip_prefix("DECIMAL(")?.strip_suffix(')')?.split_once(',')?;
    Some((digits.trim().parse().ok()?, scale.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn columns(text: &str) -> Vec<(String, String)> {
        let pair =
            |column: &str| column.split_once(' ').map(|(name, data_type)| (name.to_owned(), data_type.to_owned()));
        text.split(", ").filter_map(pair).collect()
    }

    fn reshaped(stored: &str, output: &str) -> Option<Reshape> {
        let stored: Vec<lake::Column> = columns(stored)
            .into_iter()
            .map(|(name, data_type)| lake::Column { name, data_type, nullable: true, column_id: 0 })
            .collect();
        reshape("lake", &TableName::new("main", "t"), &stored, &columns(output))
    }

    #[test]
    fn columns_come_go_and_widen_in_place() {
        let reshape = reshaped("a INTEGER, b VARCHAR, c FLOAT", "a BIGINT, c DOUBLE, d DATE").unwrap();
        let prefix = "ALTER TABLE \"lake\".\"main\".\"t\" ";
        let statements: Vec<&str> =
            reshape.statements.iter().filter_map(|statement| statement.strip_prefix(prefix)).collect();
        assert_eq!(
            statements,
            [
                "ALTER COLUMN \"a\" SET DATA TYPE BIGINT",
                "ALTER COLUMN \"c\" SET DATA TYPE DOUBLE",
                "ADD COLUMN \"d\" DATE",
                "DROP COLUMN \"b\""
            ]
        );
        assert_eq!(reshape.items, r#""a"::BIGINT AS "a", "c"::DOUBLE AS "c", NULL::DATE AS "d""#);
    }

    #[test]
    fn what_cannot_be_altered_is_replaced() {
        for (stored, output) in [
            ("a INTEGER, b VARCHAR", "b VARCHAR, a INTEGER"),
            ("a INTEGER", "z INTEGER, a INTEGER"),
            ("a INTEGER", "A INTEGER"),
            ("a INTEGER", "a VARCHAR"),
            ("a BIGINT", "a INTEGER"),
            ("a DECIMAL(10,2)", "a DECIMAL(10,4)"),
            ("a INTEGER", "b INTEGER"),
        ] {
            assert_eq!(reshaped(stored, output), None, "{stored} -> {output}");
        }
        assert!(reshaped("a DECIMAL(10,2)", "a DECIMAL(12,2)").is_some());
    }
}
