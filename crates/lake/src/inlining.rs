//! Which rows go to the lake's catalog in place of files, where that must not be so.
//!
//! DuckLake keeps few rows, and the marks of few deleted rows, in its catalog. It sees no conflict between such marks and a
//! merge or rewrite of the files that the rows lie in (1.0): whichever commits second, the deleted rows are back, without an
//! error. Deletions that are written as files do conflict. Rows that lie in the catalog themselves are safe either way.

use std::sync::atomic::Ordering;

use error::{Code, Error, Result};
use sql::names::{TableName, quote_literal};

use crate::Session;
use crate::publish::TableChange;
use crate::watermarks::TABLE as WATERMARKS;

/// Whether DuckLake changes values of a type when it keeps them in its catalog, as it does with few rows: texts within a
/// STRUCT lose their quotes there (DuckLake 1.0).
#[must_use]
pub fn loses_in_catalog(data_type: &str) -> bool {
    let data_type = data_type.to_ascii_uppercase();
    data_type.contains("STRUCT(") && ["VARCHAR", "BLOB", "JSON", "ENUM"].iter().any(|text| data_type.contains(text))
}

/// The option of a lake, a schema or a table that says up to how many rows go to the catalog.
const OPTION: &str = "data_inlining_row_limit";

/// The setting of a session that counts where there is no such option.
const SETTING: &str = "ducklake_default_data_inlining_row_limit";

impl Session {
    /// Looks whether the lake has options for what goes to its catalog, besides that of the watermarks.
    pub(crate) fn look_for_inlining_options(&self) -> Result<()> {
        let (options, tables) = (self.metadata("ducklake_metadata"), self.metadata("ducklake_table"));
        let sql = format!(
            "SELECT count(*) FROM {options} WHERE key = '{OPTION}' AND value <> '0' AND (scope IS DISTINCT FROM 'table' \
             OR scope_id NOT IN (SELECT table_id FROM {tables} WHERE table_name = {}))",
            quote_literal(WATERMARKS)
        );
        let count: i64 = self.row(&sql, |row| row.get(0))?;
        self.lake.has_inlining_options.store(count > 0, Ordering::Relaxed);
        Ok(())
    }

    /// Options that somebody sets in this process count at once.
    pub(crate) fn notice_inlining_options(&self, sql: &str) {
        if sql.contains("set_option") && sql.contains(OPTION) {
            self.lake.has_inlining_options.store(true, Ordering::Relaxed);
        }
    }

    /// Runs a DELETE whose marks go to a file, as far as the rows lie in files. The transaction must be rolled back if it fails.
    pub(crate) fn delete_from(&self, table: &TableName, delete: &str) -> Result<u64> {
        // The engine knows the options that there were when it opened the lake, and those that it set itself.
        let has_options = self.lake.has_inlining_options.load(Ordering::Relaxed);
        let limit = if has_options { self.inlining_option(table)? } else { None };
        let Some(limit) = limit.filter(|limit| limit != "0") else { return self.without_inlining(delete) };
        self.set_inlining_option(table, "0")?;
        let deleted = self.execute(delete)?;
        self.set_inlining_option(table, &limit)?;
        Ok(deleted)
    }

    /// Runs a statement whose rows go to files where no option of the lake says otherwise. The transaction must be rolled back
    /// if it fails.
    pub(crate) fn without_inlining(&self, statement: &str) -> Result<u64> {
        self.execute(&format!("SET SESSION {SETTING} = 0"))?;
        let changed = self.execute(statement)?;
        self.inline_again()?;
        Ok(changed)
    }

    /// Ends what [`Session::without_inlining`] began and could not end.
    pub(crate) fn inline_again(&self) -> Result<()> {
        self.execute(&format!("RESET SESSION {SETTING}")).map(|_| ())
    }

    /// Where the lake has an option of its own for how many rows go to the catalog, the default says nothing: a table that must
    /// not have its rows there gets an option, too. One that does not exist yet cannot have any.
    pub(crate) fn keep_out_of_catalog(&self, change: &TableChange) -> Result<()> {
        let is_made = change.statements.iter().any(|statement| statement.starts_with("CREATE"));
        if !is_made && self.table_ids(std::slice::from_ref(&change.table))?.pop().flatten().is_some() {
            return match self.inlining_option(&change.table)? {
                Some(limit) if limit != "0" => self.set_inlining_option(&change.table, "0"),
                _ => Ok(()),
            };
        }
        let of_schema = TableName::new(&change.table.schema, "");
        if self.inlining_option(&of_schema)?.is_none_or(|limit| limit == "0") {
            return Ok(());
        }
        let message = format!(
            "the lake keeps rows in its catalog by its option {OPTION}, where texts in a STRUCT lose their quotes"
        );
        let hint = format!(
            "Say CALL {0}.set_option('{OPTION}', 0, schema => {1}), or CALL {0}.set_option('{OPTION}', 0).",
            self.lake.alias,
            quote_literal(&change.table.schema)
        );
        Err(Error::new(Code::Configuration, message).with_hint(hint))
    }

    /// The option that counts for a table: its own, its schema's, or the lake's; `None` if there is none.
    fn inlining_option(&self, table: &TableName) -> Result<Option<String>> {
        let (options, schemas) = (self.metadata("ducklake_metadata"), self.metadata("ducklake_schema"));
        let id = self.table_ids(std::slice::from_ref(table))?.pop().flatten();
        let sql = format!(
            "SELECT value FROM {options} WHERE key = '{OPTION}' AND (scope IS NULL \
             OR scope = 'table' AND scope_id = {} OR scope = 'schema' AND scope_id IN (SELECT schema_id FROM {schemas} \
             WHERE end_snapshot IS NULL AND lower(schema_name) = {})) \
             ORDER BY CASE scope WHEN 'table' THEN 0 WHEN 'schema' THEN 1 ELSE 2 END LIMIT 1",
            id.unwrap_or(-1),
            quote_literal(&table.schema.to_ascii_lowercase())
        );
        Ok(self.rows(&sql, |row| row.get(0))?.pop())
    }

    /// The option of the table itself.
    pub(crate) fn own_inlining_option(&self, table: &TableName) -> Result<Option<String>> {
        let Some(id) = self.table_ids(std::slice::from_ref(table))?.pop().flatten() else { return Ok(None) };
        let options = self.metadata("ducklake_metadata");
        let sql =
            format!("SELECT value FROM {options} WHERE key = '{OPTION}' AND scope = 'table' AND scope_id = {id}");
        Ok(self.rows(&sql, |row| row.get(0))?.pop())
    }

    pub(crate) fn set_inlining_option(&self, table: &TableName, limit: &str) -> Result<()> {
        self.executed(&format!(
            "CALL {}.set_option('{OPTION}', {limit}, schema => {}, table_name => {})",
            self.quoted_alias(),
            quote_literal(&table.schema),
            quote_literal(&table.name)
        ))
        .map(|_| ())
    }
}
