//! The order in which a table's rows are written into its files, so that who looks for some of them reads few files and row
//! groups. DuckLake keeps it with the table and follows it in every insertion and in its maintenance.
//!
//! This crate does not know why a table is sorted, nor by what it should be.

use error::Result;
use sql::names::{TableName, quote_identifier, same_identifier};

use crate::Session;

/// The statement that makes a table be sorted by columns from now on; by none, in no order.
#[must_use]
pub fn sort_statement(alias: &str, table: &TableName, columns: &[String]) -> String {
    let table = table.quoted(alias);
    if columns.is_empty() {
        return format!("ALTER TABLE {table} RESET SORTED BY");
    }
    let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
    format!("ALTER TABLE {table} SET SORTED BY ({})", columns.join(", "))
}

impl Session {
    /// What tables are sorted by, in the order of their names: columns, or expressions as they were written. Nothing for
    /// one that is not sorted, or does not exist.
    pub fn sorted_by(&self, tables: &[TableName]) -> Result<Vec<Vec<String>>> {
        let ids = self.table_ids(tables)?;
        let known: Vec<i64> = ids.iter().copied().flatten().collect();
        if known.is_empty() {
            return Ok(vec![Vec::new(); tables.len()]);
        }
        let sql = format!(
            "SELECT s.table_id::BIGINT, e.expression, e.sort_direction FROM {} AS s JOIN {} AS e \
             ON e.sort_id = s.sort_id AND e.table_id = s.table_id \
             WHERE s.end_snapshot IS NULL AND s.table_id IN ({}) ORDER BY s.table_id, e.sort_key_index",
            self.metadata("ducklake_sort_info"),
            self.metadata("ducklake_sort_expression"),
            crate::table::list(&known)
        );
        let rows = self.rows(&sql, |row| {
            let (expression, direction): (String, String) = (row.get(1)?, row.get(2)?);
            let ascending = direction.eq_ignore_ascii_case("ASC");
            Ok((
                row.get::<_, i64>(0)?,
                if ascending { unquoted(&expression) } else { format!("{expression} {direction}") },
            ))
        })?;
        let of = |id: Option<i64>| {
            let of_table = rows.iter().filter(|(table, _)| Some(*table) == id);
            of_table.map(|(_, expression)| expression.clone()).collect()
        };
        Ok(ids.into_iter().map(of).collect())
    }

    /// Makes a table be sorted by columns from now on, by none with an empty list, in a commit that says it changed no row.
    /// Files that there are stay as they are until they are rewritten. Whether anything had to be done.
    ///
    /// # Errors
    /// What the lake says. A transient conflict if somebody else wrote to the table at the same moment.
    pub fn sort_by(&self, table: &TableName, columns: &[String]) -> Result<bool> {
        let now = self.sorted_by(std::slice::from_ref(table))?.pop().unwrap_or_default();
        if is_same_order(&now, columns) {
            return Ok(false);
        }
        let what = if columns.is_empty() { "stop sorting" } else { "sort" };
        self.in_commit(table, &format!("{what} {table}"), &sort_statement(&self.lake.alias, table, columns))
    }
}

/// Whether two lists name the same columns in the same order.
#[must_use]
pub fn is_same_order(left: &[String], right: &[String]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_identifier(left, right))
}

/// A column as DuckLake keeps it: in quotes where it needs them.
fn unquoted(expression: &str) -> String {
    match expression.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => expression.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_they_have_to_be() {
        let table = TableName::new("main", "t");
        let columns = ["a".to_owned(), "b \"c\"".to_owned()];
        assert_eq!(
            sort_statement("lake", &table, &columns),
            r#"ALTER TABLE "lake"."main"."t" SET SORTED BY ("a", "b ""c""")"#
        );
        assert_eq!(sort_statement("lake", &table, &[]), r#"ALTER TABLE "lake"."main"."t" RESET SORTED BY"#);
        assert_eq!([unquoted("a"), unquoted(r#""b ""c""""#)], columns);
        assert!(is_same_order(&columns, &["A".to_owned(), columns[1].clone()]));
        assert!(!is_same_order(&columns, &columns[..1]));
    }
}
