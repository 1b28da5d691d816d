//! How a computed change is brought to the table that holds the result, as SQL over temporary tables.
//!
//! A result is a multiset: equal rows are interchangeable, so a change deletes as many copies of a row as its weight
//! says and inserts the rest. Which temporary tables exist, and when the statements run, is the refresh's business.

use sql::names::quote_identifier;

/// The column that says which row of the target a prepared deletion means.
pub const ROW_ID: &str = "__dt_row_id";
/// The column with the weight of a row: how many copies came (positive) or went (negative).
pub const WEIGHT: &str = "__dt_weight";

/// The list of columns, quoted, for SELECT and GROUP BY.
#[must_use]
pub fn column_list(columns: &[String]) -> String {
    columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>().join(", ")
}

/// The terms of a change (whether the rows came, and the query that gives them) as one relation with [`WEIGHT`].
#[must_use]
pub fn weighted(terms: &[(bool, String)]) -> String {
    let selects: Vec<String> = terms
        .iter()
        .map(|(came, sql)| format!("SELECT *, {}::BIGINT AS {WEIGHT} FROM ({sql})", if *came { 1 } else { -1 }))
        .collect();
    format!("({})", selects.join(" UNION ALL "))
}

/// The net change of a relation with [`WEIGHT`]: each distinct row once, rows that came and went alike cancelled.
#[must_use]
pub fn net(weighted: &str, columns: &[String]) -> String {
    let list = column_list(columns);
    format!(
        "SELECT {list}, sum({WEIGHT})::BIGINT AS {WEIGHT} FROM {weighted} GROUP BY {list} HAVING sum({WEIGHT}) <> 0"
    )
}

/// As [`net`] for a relation that also has [`ROW_ID`] for its stored rows, where no stored row stands twice.
#[must_use]
pub fn net_with_row_id(weighted: &str, columns: &[String]) -> String {
    let list = column_list(columns);
    format!(
        "SELECT {list}, sum({WEIGHT})::BIGINT AS {WEIGHT}, min({ROW_ID}) AS {ROW_ID} FROM {weighted} \
         GROUP BY {list} HAVING sum({WEIGHT}) <> 0"
    )
}

/// The rows to insert for a net change.
#[must_use]
pub fn inserts(change: &str, columns: &[String]) -> String {
    let list = column_list(columns);
    format!(
        "SELECT {list} FROM {change} WHERE {WEIGHT} = 1 UNION ALL \
         SELECT {list} FROM (SELECT {list}, unnest(range({WEIGHT})) FROM {change} WHERE {WEIGHT} > 1)"
    )
}

/// The rows that went in a net change, each as often as it went.
#[must_use]
pub fn removals(change: &str, columns: &[String]) -> String {
    let list = column_list(columns);
    format!("SELECT {list} FROM (SELECT {list}, unnest(range(-{WEIGHT})) FROM {change} WHERE {WEIGHT} < 0)")
}

/// The row ids in `target` to delete for a net change: of equal rows as many as went.
///
/// `never_null` says for each column that no row of the change is NULL in it; those are compared by `=`, by
/// which DuckDB can skip files and row groups of the target, the others by IS NOT DISTINCT FROM.
#[must_use]
pub fn deletes(change: &str, target: &str, columns: &[String], never_null: &[bool]) -> String {
    let equal: Vec<String> = columns
        .iter()
        .zip(never_null)
        .map(|(column, never_null)| {
            let operator = if *never_null { "=" } else { "IS NOT DISTINCT FROM" };
            format!("__dt_t.{0} {operator} __dt_c.{0}", quote_identifier(column))
        })
        .collect();
    format!(
        "SELECT {ROW_ID} FROM (\
         SELECT __dt_t.{ROW_ID}, __dt_c.{WEIGHT}, row_number() OVER (PARTITION BY __dt_c.__dt_id) AS __dt_copy \
         FROM (SELECT rowid AS __dt_id, * FROM {change} WHERE {WEIGHT} < 0) AS __dt_c \
         JOIN (SELECT rowid AS {ROW_ID}, * FROM {target}) AS __dt_t ON {}) WHERE __dt_copy <= -{WEIGHT}",
        equal.join(" AND ")
    )
}

/// One row that says for each column how many of the rows that went are NULL in it.
#[must_use]
pub fn nulls(change: &str, columns: &[String]) -> String {
    let each: Vec<String> =
        columns.iter().map(|column| format!("count(*) FILTER ({} IS NULL)", quote_identifier(column))).collect();
    format!("SELECT {} FROM {change} WHERE {WEIGHT} < 0", each.join(", "))
}

/// The stored rows of the affected groups with their row ids. `keys` are the target's columns that hold the keys,
/// `affected` the temporary table of keys, whose columns are [`crate::rules::keyed::key_column`]s, and whether it holds
/// keys that are NULL; `None` means all rows.
#[must_use]
pub fn stored_groups(target: &str, columns: &[String], keys: &[String], affected: Option<(&str, bool)>) -> String {
    let affected_columns: Vec<String> = (0..keys.len()).map(crate::rules::keyed::key_column).collect();
    let condition = match affected {
        None => "true".to_owned(),
        Some((affected, true)) => {
            let equal: Vec<String> = keys
                .iter()
                .zip(&affected_columns)
                .map(|(key, column)| format!("__dt_a.{column} IS NOT DISTINCT FROM __dt_t.{}", quote_identifier(key)))
                .collect();
            format!("EXISTS (SELECT 1 FROM temp.main.{affected} AS __dt_a WHERE {})", equal.join(" AND "))
        }
        Some((affected, false)) => {
            format!("({}) IN (SELECT {} FROM temp.main.{affected})", column_list(keys), affected_columns.join(", "))
        }
    };
    let list = column_list(columns);
    format!("SELECT {list}, {ROW_ID} FROM (SELECT rowid AS {ROW_ID}, * FROM {target}) AS __dt_t WHERE {condition}")
}
