//! Tables and views of the lake.

use std::collections::HashMap;

use duckdb::Row;
use error::Result;
use sql::names::{TableName, quote_identifier, quote_literal};

use crate::{Session, SnapshotId};

/// What DuckLake writes into a view's query for the name of the lake.
const CATALOG_PLACEHOLDER: &str = "{DUCKLAKE_CATALOG}";

/// Up to so many tables are looked up one by one; more are found by reading the catalog as a whole.
const FEW_TABLES: usize = 100;

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as DuckDB spells it.
    pub data_type: String,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// DuckLake's id: the same as long as it is the same column, renamed or not.
    pub column_id: i64,
}

/// A table of the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// DuckLake's id: another one if the table was dropped and created again.
    pub id: i64,
    /// Its name.
    pub name: TableName,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// The snapshot that created it (or gave it this name).
    pub begin_snapshot: SnapshotId,
    /// Rows now, as far as the catalog knows: rows whose deletion is still inlined count.
    pub rows: u64,
    /// Data files now.
    pub files: u64,
    /// Bytes of the data files now.
    pub bytes: u64,
}

impl Session {
    /// A table, now or as of a snapshot; `None` if there is none of that name.
    pub fn table(&self, name: &TableName, at: Option<SnapshotId>) -> Result<Option<Table>> {
        let Some(mut table) = self.shape(name, at)? else { return Ok(None) };
        self.measure(std::slice::from_mut(&mut table))?;
        Ok(Some(table))
    }

    /// As [`Session::table`], but for the rows, files and bytes, which are not asked for and 0.
    pub fn shape(&self, name: &TableName, at: Option<SnapshotId>) -> Result<Option<Table>> {
        let Some(found) = self.find_table(name, at)? else { return Ok(None) };
        let version = at.map_or_else(String::new, |snapshot| format!(" AT (VERSION => {snapshot})"));
        let types = self.describe(&format!("SELECT * FROM {}{version}", name.quoted(&self.lake.alias)))?;
        let mut types: HashMap<String, String> = types.into_iter().collect();
        let columns = self.columns_of(&[found.id], at)?;
        let columns = columns.into_iter().filter_map(|(_, id, name, nullable)| {
            types.remove(&name).map(|data_type| Column { name, data_type, nullable, column_id: id })
        });
        Ok(Some(Table {
            id: found.id,
            name: found.name,
            columns: columns.collect(),
            begin_snapshot: found.begin_snapshot,
            rows: 0,
            files: 0,
            bytes: 0,
        }))
    }

    /// The ids of tables now, in the order of their names; `None` where there is no such table.
    pub fn table_ids(&self, names: &[TableName]) -> Result<Vec<Option<i64>>> {
        let found = self.find_tables(names)?;
        Ok(names.iter().map(|name| found.iter().find(|table| table.name == *name).map(|table| table.id)).collect())
    }

    /// The ids of all tables of a schema now.
    pub fn table_ids_of_schema(&self, schema: &str) -> Result<HashMap<TableName, i64>> {
        let (tables, schemas) = (self.metadata("ducklake_table"), self.metadata("ducklake_schema"));
        let sql = format!(
            "SELECT t.table_id::BIGINT, s.schema_name, t.table_name FROM {tables} AS t \
             JOIN {schemas} AS s ON s.schema_id = t.schema_id \
             WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND lower(s.schema_name) = {}",
            quote_literal(&schema.to_ascii_lowercase())
        );
        let rows = self.rows(&sql, |row| {
            Ok((TableName::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?), row.get(0)?))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// How many rows all these tables together have now. What is no table counts nothing.
    pub fn row_count(&self, names: &[TableName]) -> Result<u64> {
        let mut tables: Vec<Table> = self
            .find_tables(names)?
            .into_iter()
            .map(|FoundTable { id, begin_snapshot, name }| Table {
                id,
                name,
                columns: Vec::new(),
                begin_snapshot,
                rows: 0,
                files: 0,
                bytes: 0,
            })
            .collect();
        self.measure(&mut tables)?;
        Ok(tables.iter().map(|table| table.rows).sum())
    }

    /// All tables now, those of this product's own schemas included.
    pub fn tables(&self) -> Result<Vec<Table>> {
        let (tables, schemas) = (self.metadata("ducklake_table"), self.metadata("ducklake_schema"));
        let found = self.rows(
            &format!(
                "SELECT t.table_id::BIGINT, t.begin_snapshot::BIGINT, s.schema_name, t.table_name \
                 FROM {tables} AS t JOIN {schemas} AS s ON s.schema_id = t.schema_id \
                 WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL ORDER BY s.schema_name, t.table_name"
            ),
            read_found,
        )?;
        let alias = quote_literal(&self.lake.alias);
        // Not duckdb_tables(), which reads the statistics of each table one by one.
        let types = self.rows(
            &format!(
                "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() \
                 WHERE database_name = {alias}"
            ),
            |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)),
        )?;
        let types: HashMap<(String, String, String), String> = types.into_iter().collect();
        let mut columns: HashMap<i64, Vec<(i64, String, bool)>> = HashMap::new();
        for (table, id, name, nullable) in self.columns_of(&[], None)? {
            columns.entry(table).or_default().push((id, name, nullable));
        }
        let mut tables: Vec<Table> = found
            .into_iter()
            .map(|found| {
                let columns = columns.remove(&found.id).unwrap_or_default().into_iter();
                let columns = columns.filter_map(|(column_id, name, nullable)| {
                    let key = (found.name.schema.clone(), found.name.name.clone(), name);
                    let data_type = types.get(&key)?.clone();
                    Some(Column { name: key.2, data_type, nullable, column_id })
                });
                Table {
                    id: found.id,
                    columns: columns.collect(),
                    begin_snapshot: found.begin_snapshot,
                    rows: 0,
                    files: 0,
                    bytes: 0,
                    name: found.name,
                }
            })
            .collect();
        self.measure(&mut tables)?;
        Ok(tables)
    }

    /// The views of the lake, ordered by name.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn views(&self) -> Result<Vec<TableName>> {
        let (views, schemas) = (self.metadata("ducklake_view"), self.metadata("ducklake_schema"));
        self.rows(
            &format!(
                "SELECT s.schema_name, v.view_name FROM {views} AS v JOIN {schemas} AS s ON s.schema_id = v.schema_id \
                 WHERE v.end_snapshot IS NULL AND s.end_snapshot IS NULL ORDER BY s.schema_name, v.view_name"
            ),
            |row| Ok(TableName { schema: row.get(0)?, name: row.get(1)? }),
        )
    }

    /// The SELECT of a view; `None` if there is none of that name.
    pub fn view(&self, name: &TableName) -> Result<Option<String>> {
        let (views, schemas) = (self.metadata("ducklake_view"), self.metadata("ducklake_schema"));
        let sql = format!(
            "SELECT v.sql, coalesce(v.column_aliases, '') FROM {views} AS v JOIN {schemas} AS s ON s.schema_id = v.schema_id \
             WHERE v.end_snapshot IS NULL AND lower(v.view_name) = {} AND lower(s.schema_name) = {}",
            quote_literal(&name.name.to_ascii_lowercase()),
            quote_literal(&name.schema.to_ascii_lowercase()),
        );
        let view = self.rows(&sql, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?.pop();
        Ok(view.map(|(select, column_aliases)| {
            // DuckLake stores the lake's own name as a placeholder, since it can be attached under any.
            let select = select.replace(CATALOG_PLACEHOLDER, &self.quoted_alias());
            if column_aliases.is_empty() {
                select
            } else {
                format!("SELECT * FROM ({select}) AS {}({column_aliases})", quote_identifier(&name.name))
            }
        }))
    }

    fn find_table(&self, name: &TableName, at: Option<SnapshotId>) -> Result<Option<FoundTable>> {
        let (tables, schemas) = (self.metadata("ducklake_table"), self.metadata("ducklake_schema"));
        let sql = format!(
            "SELECT t.table_id::BIGINT, t.begin_snapshot::BIGINT, s.schema_name, t.table_name \
             FROM {tables} AS t JOIN {schemas} AS s ON s.schema_id = t.schema_id \
             WHERE {} AND lower(t.table_name) = {} AND lower(s.schema_name) = {}",
            alive("t", at),
            quote_literal(&name.name.to_ascii_lowercase()),
            quote_literal(&name.schema.to_ascii_lowercase()),
        );
        Ok(self.rows(&sql, read_found)?.pop())
    }

    fn find_tables(&self, names: &[TableName]) -> Result<Vec<FoundTable>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let (tables, schemas) = (self.metadata("ducklake_table"), self.metadata("ducklake_schema"));
        let wanted: Vec<String> = names.iter().map(|name| quote_literal(&name.name.to_ascii_lowercase())).collect();
        let sql = format!(
            "SELECT t.table_id::BIGINT, t.begin_snapshot::BIGINT, s.schema_name, t.table_name \
             FROM {tables} AS t JOIN {schemas} AS s ON s.schema_id = t.schema_id \
             WHERE {} AND lower(t.table_name) IN ({})",
            alive("t", None),
            wanted.join(", "),
        );
        let found = self.rows(&sql, read_found)?;
        Ok(found.into_iter().filter(|table| names.contains(&table.name)).collect())
    }

    /// Table, id, name and whether it may be NULL, of the columns of these tables (none: all), in order.
    fn columns_of(&self, tables: &[i64], at: Option<SnapshotId>) -> Result<Vec<(i64, i64, String, bool)>> {
        let columns = self.metadata("ducklake_column");
        let restriction =
            if tables.is_empty() { "true".to_owned() } else { format!("c.table_id IN ({})", list(tables)) };
        let sql = format!(
            "SELECT c.table_id::BIGINT, c.column_id::BIGINT, c.column_name, c.nulls_allowed::BOOLEAN \
             FROM {columns} AS c WHERE {restriction} AND c.parent_column IS NULL AND {} \
             ORDER BY c.table_id, c.column_order",
            alive("c", at),
        );
        self.rows(&sql, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<bool>>(3)? != Some(false)))
        })
    }

    /// Fills in rows, files and bytes from the catalog. The rows of the table statistics do not serve: they count
    /// deleted rows too.
    fn measure(&self, tables: &mut [Table]) -> Result<()> {
        let ids: Vec<i64> = tables.iter().map(|table| table.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let (files, deletes) = (self.metadata("ducklake_data_file"), self.metadata("ducklake_delete_file"));
        let restriction =
            if ids.len() > FEW_TABLES { String::new() } else { format!("table_id IN ({}) AND ", list(&ids)) };
        let sql = format!(
            "SELECT table_id::BIGINT, sum(count)::BIGINT, sum(files)::BIGINT, sum(bytes)::BIGINT FROM ( \
               SELECT table_id, record_count AS count, 1 AS files, file_size_bytes AS bytes FROM {files} \
               WHERE {restriction}end_snapshot IS NULL \
               UNION ALL SELECT table_id, -delete_count, 0, 0 FROM {deletes} WHERE {restriction}end_snapshot IS NULL \
                 AND data_file_id IN (SELECT data_file_id FROM {files} WHERE {restriction}end_snapshot IS NULL) \
             ) GROUP BY table_id"
        );
        let sizes = self.rows(&sql, |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))))?;
        let sizes: HashMap<i64, (i64, i64, i64)> = sizes.into_iter().collect();
        let inlined = self.count_inlined(&ids, ["end_snapshot IS NULL"])?;
        for table in tables {
            let (rows, files, bytes) = sizes.get(&table.id).copied().unwrap_or_default();
            let [inlined] = inlined.get(&table.id).copied().unwrap_or([0]);
            let rows = rows + inlined;
            table.rows = u64::try_from(rows).unwrap_or_default();
            table.files = u64::try_from(files).unwrap_or_default();
            table.bytes = u64::try_from(bytes).unwrap_or_default();
        }
        Ok(())
    }

    /// How many rows kept in the catalog itself fulfil each of the conditions, by table.
    pub(crate) fn count_inlined<const N: usize>(
        &self,
        ids: &[i64],
        conditions: [&str; N],
    ) -> Result<HashMap<i64, [i64; N]>> {
        let inlined = self.metadata("ducklake_inlined_data_tables");
        let sql =
            format!("SELECT DISTINCT table_id::BIGINT, table_name FROM {inlined} WHERE table_id IN ({})", list(ids));
        let places = self.rows(&sql, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let counted: String = (0..N).map(|n| format!(", count(*) FILTER ({}) AS count{n}", conditions[n])).collect();
        let any = conditions.map(|condition| format!("({condition})")).join(" OR ");
        let counts: Vec<String> = places
            .iter()
            .map(|(id, place)| {
                let place = self.metadata(&quote_identifier(place));
                format!("SELECT {id}::BIGINT AS id{counted} FROM {place} WHERE {any}")
            })
            .collect();
        let sums: String = (0..N).map(|n| format!(", sum(count{n})::BIGINT")).collect();
        let sql = format!("SELECT id{sums} FROM ({}) GROUP BY id", counts.join(" UNION ALL "));
        let read = |row: &Row<'_>| -> duckdb::Result<(i64, [i64; N])> {
            let mut counts = [0; N];
            for (n, count) in counts.iter_mut().enumerate() {
                *count = row.get(n + 1)?;
            }
            Ok((row.get(0)?, counts))
        };
        Ok(self.rows(&sql, read)?.into_iter().collect())
    }
}

struct FoundTable {
    id: i64,
    begin_snapshot: SnapshotId,
    name: TableName,
}

fn read_found(row: &Row<'_>) -> duckdb::Result<FoundTable> {
    let (schema, name): (String, String) = (row.get(2)?, row.get(3)?);
    Ok(FoundTable { id: row.get(0)?, begin_snapshot: row.get(1)?, name: TableName::new(schema, name) })
}

/// The condition that a row of the catalog holds at a snapshot, or now.
fn alive(alias: &str, at: Option<SnapshotId>) -> String {
    match at {
        None => format!("{alias}.end_snapshot IS NULL"),
        Some(at) => {
            format!(
                "{alias}.begin_snapshot <= {at} AND ({alias}.end_snapshot IS NULL OR {alias}.end_snapshot > {at})"
            )
        }
    }
}

/// Numbers for an IN list.
pub(crate) fn list(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}
