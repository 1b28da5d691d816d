//! A table at the other end that takes rows: its columns, and the SQL that PostgreSQL carries out to change it. Every statement is
//! of one transaction there, in which the position of the export moves, too.

use error::{Code, Error, Result};
use lake::Session;
use sql::names::{quote_identifier, quote_literal, same_identifier};
use uuid::Uuid;

use crate::outside::Outside;

/// A column at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    name: String,
    /// Its type in full.
    declared: String,
    /// The type by which a value is written, so that nothing is cut off silently.
    written: String,
}

/// A table at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// Its name for SQL there.
    table: String,
    schema: String,
    /// Whether it has to be made.
    is_new: bool,
    /// The columns that are written, in the order of the lake's.
    columns: Vec<Column>,
    key: Vec<String>,
}

/// How many rows a change is to touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub deleted: u64,
    pub updated: u64,
    pub inserted: u64,
}

/// How far an export is, as the other end says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The table of the lake.
    pub table_id: i64,
    /// The snapshot as of which its rows are there.
    pub snapshot: i64,
    /// The run that brought them.
    pub run: String,
}

/// What moves the position of an export.
pub(crate) struct Move<'a> {
    pub export: Uuid,
    pub name: &'a str,
    pub from: Option<&'a Position>,
    pub to: &'a Position,
}

/// What is said when a change does not find what it was made for.
pub(crate) const OVERTAKEN: &str = "dynamic-tables: overtaken";
pub(crate) const DIFFERS: &str = "dynamic-tables: differs";
pub(crate) const NOT_EMPTY: &str = "dynamic-tables: not empty";

const POSITIONS: &str = "dynamic_tables_export";

impl Destination {
    /// Looks what is there, and whether the columns of the lake fit in.
    pub fn look(
        session: &Session,
        outside: &Outside<'_>,
        schema: Option<&str>,
        table: &str,
        stored: &[(String, String)],
        key: &[String],
    ) -> Result<Self> {
        let schema = schema.map_or_else(|| outside.schema(), str::to_owned);
        let quoted = format!("{}.{}", quote_identifier(&schema), quote_identifier(table));
        let asked = format!(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)::text, t.typname::text, (a.attgenerated <> '')::text \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = to_regclass({}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            quote_literal(&quoted)
        );
        let found = ask(session, outside, &asked)?;
        let text = |row: &[Option<String>], position: usize| row.get(position).cloned().flatten().unwrap_or_default();
        let mut columns = Vec::new();
        let mut missing = Vec::new();
        for (name, data_type) in stored {
            if found.is_empty() {
                let declared = made_as(data_type);
                columns.push(Column { name: name.clone(), written: declared.clone(), declared });
                continue;
            }
            // As it is called here, if there is one; names differ by case there.
            let named = found
                .iter()
                .find(|row| text(row, 0) == *name)
                .or_else(|| found.iter().find(|row| same_identifier(&text(row, 0), name)));
            match named.filter(|row| text(row, 3) != "true") {
                None => missing.push(name.clone()),
                Some(row) => {
                    let declared = text(row, 1);
                    let is_text = matches!(text(row, 2).as_str(), "varchar" | "bpchar");
                    let written = if is_text { "text".to_owned() } else { declared.clone() };
                    columns.push(Column { name: text(row, 0), declared, written });
                }
            }
        }
        if !missing.is_empty() {
            return Err(Error::new(
                Code::Schema,
                format!("{schema}.{table} has no column that takes {}", missing.join(", ")),
            )
            .with_hint("Add it there, or export a table that does not have it."));
        }
        Ok(Self { table: quoted, schema, is_new: found.is_empty(), columns, key: key.to_vec() })
    }

    /// Whether it has to be made.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// The name of the table in which rows are brought, which only the transaction sees.
    pub fn stage(&self, outside: &Outside<'_>, run: Uuid) -> (String, String) {
        let name = format!("dynamic_tables_stage_{}", run.simple());
        let here = format!(
            "{}.{}.{}",
            quote_identifier(&outside.alias),
            quote_identifier(&self.schema),
            quote_identifier(&name)
        );
        (here, format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&name)))
    }

    /// How far the export is; none if it has never run.
    pub fn position(&self, session: &Session, outside: &Outside<'_>, export: Uuid) -> Result<Option<Position>> {
        let there = format!("SELECT to_regclass({}) IS NOT NULL AND true", quote_literal(&self.positions()));
        let is_there = ask(session, outside, &format!("SELECT ({there})::text"))?;
        if is_there.first().and_then(|row| row.first().cloned().flatten()).as_deref() != Some("true") {
            return Ok(None);
        }
        let asked = format!(
            "SELECT lake_table, snapshot, run::text FROM {} WHERE export = {}::uuid",
            self.positions(),
            quote_literal(&export.to_string())
        );
        let found = ask(session, outside, &asked)?.into_iter().next();
        let number = |value: Option<&Option<String>>| value.cloned().flatten().and_then(|text| text.parse().ok());
        Ok(found.map(|row| Position {
            table_id: number(row.first()).unwrap_or_default(),
            snapshot: number(row.get(1)).unwrap_or_default(),
            run: row.get(2).cloned().flatten().unwrap_or_default(),
        }))
    }

    fn positions(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(POSITIONS))
    }

    /// The statement that forgets an export.
    pub fn forgetting(&self, export: Uuid) -> String {
        format!("DELETE FROM {} WHERE export = {}::uuid", self.positions(), quote_literal(&export.to_string()))
    }

    /// The statement that moves the position and changes the rows by those of the stage, all of it or nothing. With `replaces`, all
    /// rows that were there go first; a table that is written for the first time must have none.
    pub fn change(&self, moved: &Move<'_>, stage: Option<&str>, expected: Expected, replaces: bool) -> String {
        let mut body = String::new();
        if self.is_new {
            let mut parts: Vec<String> = self
                .columns
                .iter()
                .map(|column| format!("{} {}", quote_identifier(&column.name), column.declared))
                .collect();
            if !self.key.is_empty() {
                let key: Vec<String> = self.key.iter().map(|name| quote_identifier(name)).collect();
                parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
            }
            body.push_str(&format!("CREATE TABLE {} ({});\n", self.table, parts.join(", ")));
        }
        body.push_str(&self.moving(moved));
        if replaces {
            body.push_str(&format!("DELETE FROM {};\n", self.table));
        } else if moved.from.is_none() {
            body.push_str(&format!(
                "IF EXISTS (SELECT 1 FROM {}) THEN RAISE EXCEPTION '{NOT_EMPTY}'; END IF;\n",
                self.table
            ));
        }
        if let Some(stage) = stage {
            let counted = |statement: String, count: u64| {
                format!(
                    "{statement};\nGET DIAGNOSTICS {ROWS} = ROW_COUNT;\n\
                     IF {ROWS} <> {count} THEN RAISE EXCEPTION '{DIFFERS}: % rows where {count} were to change', {ROWS}; END IF;\n"
                )
            };
            if expected.deleted > 0 {
                body.push_str(&counted(self.deleting(stage), expected.deleted));
            }
            if expected.updated > 0 {
                body.push_str(&counted(self.updating(stage), expected.updated));
            }
            if expected.inserted > 0 {
                body.push_str(&counted(self.inserting(stage), expected.inserted));
            }
            body.push_str(&format!("DROP TABLE {stage};\n"));
        }
        // No text of ours can hold this.
        let quote = format!("$do_{}$", Uuid::now_v7().simple());
        format!("DO {quote} DECLARE {ROWS} bigint; BEGIN\n{body}END {quote}")
    }

    fn moving(&self, moved: &Move<'_>) -> String {
        let positions = self.positions();
        let export = quote_literal(&moved.export.to_string());
        let Position { table_id, snapshot, run } = moved.to;
        let run = quote_literal(run);
        match moved.from {
            None => format!(
                "CREATE TABLE IF NOT EXISTS {positions} (export uuid PRIMARY KEY, name text NOT NULL, lake_table bigint NOT NULL, \
                 snapshot bigint NOT NULL, run uuid NOT NULL, exported_at timestamptz NOT NULL);\n\
                 INSERT INTO {positions} VALUES ({export}, {}, {table_id}, {snapshot}, {run}, clock_timestamp());\n",
                quote_literal(moved.name)
            ),
            Some(from) => format!(
                "UPDATE {positions} SET lake_table = {table_id}, snapshot = {snapshot}, run = {run}, exported_at = clock_timestamp() \
                 WHERE export = {export} AND snapshot = {} AND run = {};\n\
                 IF NOT FOUND THEN RAISE EXCEPTION '{OVERTAKEN}'; END IF;\n",
                from.snapshot,
                quote_literal(&from.run)
            ),
        }
    }

    fn deleting(&self, stage: &str) -> String {
        if !self.key.is_empty() {
            return format!(
                "DELETE FROM {} AS d USING {stage} AS s WHERE s.kind = 'D' AND {}",
                self.table,
                self.same_key()
            );
        }
        let theirs: Vec<String> =
            self.columns.iter().map(|column| format!("d.{}", quote_identifier(&column.name))).collect();
        let ours: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(number, column)| format!("s.c{number}::{}", column.declared))
            .collect();
        // Rows as texts: also what has no equality there is compared, NULL like any other value, and by hashing.
        format!(
            "DELETE FROM {0} WHERE (tableoid, ctid) IN (SELECT t, c FROM (SELECT d.tableoid AS t, d.ctid AS c, s.times AS most, \
             row_number() OVER (PARTITION BY s.number ORDER BY d.ctid) AS place FROM {0} AS d JOIN {stage} AS s \
             ON ROW({1})::text = ROW({2})::text WHERE s.kind = 'D') AS found WHERE place <= most)",
            self.table,
            theirs.join(", "),
            ours.join(", ")
        )
    }

    fn updating(&self, stage: &str) -> String {
        let sets: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| !self.is_key(&column.name))
            .map(|(number, column)| format!("{} = s.c{number}::{}", quote_identifier(&column.name), column.written))
            .collect();
        format!(
            "UPDATE {} AS d SET {} FROM {stage} AS s WHERE s.kind = 'U' AND {}",
            self.table,
            sets.join(", "),
            self.same_key()
        )
    }

    fn inserting(&self, stage: &str) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(number, column)| format!("s.c{number}::{}", column.written))
            .collect();
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {stage} AS s, generate_series(1, s.times) WHERE s.kind = 'I'",
            self.table,
            names.join(", "),
            values.join(", ")
        )
    }

    fn is_key(&self, name: &str) -> bool {
        self.key.iter().any(|key| same_identifier(key, name))
    }

    fn same_key(&self) -> String {
        let equal: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| self.is_key(&column.name))
            .map(|(number, column)| format!("d.{} = s.c{number}::{}", quote_identifier(&column.name), column.written))
            .collect();
        equal.join(" AND ")
    }
}

const ROWS: &str = "dynamic_tables_rows";

fn ask(session: &Session, outside: &Outside<'_>, asked: &str) -> Result<Vec<Vec<Option<String>>>> {
    let query = format!("SELECT * FROM postgres_query({}, {})", quote_literal(&outside.alias), quote_literal(asked));
    Ok(session.query(&query).map_err(|error| outside.told(error))?.rows)
}

/// The type of a column that is made there for a type of the lake.
fn made_as(data_type: &str) -> String {
    let upper = data_type.to_ascii_uppercase();
    if let Some(element) = upper.strip_suffix("[]") {
        return match sent_as(element) {
            Some(_) => format!("{}[]", made_as(element)),
            None => "jsonb".to_owned(),
        };
    }
    let made = match upper.as_str() {
        "BOOLEAN" => "boolean",
        "TINYINT" | "SMALLINT" | "UTINYINT" => "smallint",
        "INTEGER" | "USMALLINT" => "integer",
        "BIGINT" | "UINTEGER" => "bigint",
        "UBIGINT" | "HUGEINT" | "UHUGEINT" => "numeric",
        "FLOAT" => "real",
        "DOUBLE" => "double precision",
        "BLOB" => "bytea",
        "DATE" | "TIME" | "INTERVAL" | "UUID" | "TIMESTAMP" => return upper.to_ascii_lowercase(),
        "TIMESTAMP WITH TIME ZONE" | "TIMESTAMPTZ" => "timestamp with time zone",
        "TIMESTAMP_S" | "TIMESTAMP_MS" | "TIMESTAMP_NS" => "timestamp",
        "JSON" => "jsonb",
        _ if upper.starts_with("DECIMAL(") => return upper.replace("DECIMAL", "numeric"),
        _ if is_nested(&upper) => "jsonb",
        _ => "text",
    };
    made.to_owned()
}

fn is_nested(upper: &str) -> bool {
    ["STRUCT(", "MAP(", "UNION("].iter().any(|nested| upper.starts_with(nested)) || upper.ends_with(']')
}

/// The type in which values of a type of the lake are sent, if it is one that arrives unchanged.
fn sent_as(data_type: &str) -> Option<&'static str> {
    Some(match data_type.to_ascii_uppercase().as_str() {
        "BOOLEAN" => "BOOLEAN",
        "TINYINT" | "SMALLINT" | "UTINYINT" => "SMALLINT",
        "INTEGER" | "USMALLINT" => "INTEGER",
        "BIGINT" | "UINTEGER" => "BIGINT",
        "FLOAT" => "FLOAT",
        "DOUBLE" => "DOUBLE",
        "VARCHAR" => "VARCHAR",
        "BLOB" => "BLOB",
        "DATE" => "DATE",
        "TIME" => "TIME",
        "INTERVAL" => "INTERVAL",
        "UUID" => "UUID",
        "TIMESTAMP" | "TIMESTAMP_S" | "TIMESTAMP_MS" => "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE" | "TIMESTAMPTZ" => "TIMESTAMPTZ",
        _ => return None,
    })
}

/// The expression that sends a column.
pub(crate) fn sent(name: &str, data_type: &str) -> String {
    let quoted = quote_identifier(name);
    let upper = data_type.to_ascii_uppercase();
    if let Some(sent_as) = sent_as(&upper) {
        return format!("CAST({quoted} AS {sent_as})");
    }
    if let Some(sent_as) = upper.strip_suffix("[]").and_then(sent_as) {
        return format!("CAST({quoted} AS {sent_as}[])");
    }
    match is_nested(&upper) {
        true => format!("CAST(to_json({quoted}) AS VARCHAR)"),
        false => format!("CAST({quoted} AS VARCHAR)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_lake_has_one_there() {
        for (here, there, expression) in [
            ("DECIMAL(10,2)", "numeric(10,2)", "CAST(\"c\" AS VARCHAR)"),
            ("HUGEINT", "numeric", "CAST(\"c\" AS VARCHAR)"),
            ("TIMESTAMP WITH TIME ZONE[]", "timestamp with time zone[]", "CAST(\"c\" AS TIMESTAMPTZ[])"),
            ("STRUCT(a INTEGER)", "jsonb", "CAST(to_json(\"c\") AS VARCHAR)"),
            ("INTEGER[][]", "jsonb", "CAST(to_json(\"c\") AS VARCHAR)"),
            ("DECIMAL(3,1)[]", "jsonb", "CAST(to_json(\"c\") AS VARCHAR)"),
            ("UTINYINT", "smallint", "CAST(\"c\" AS SMALLINT)"),
            ("TIMESTAMP_NS", "timestamp", "CAST(\"c\" AS VARCHAR)"),
        ] {
            assert_eq!((made_as(here).as_str(), sent("c", here).as_str()), (there, expression), "{here}");
        }
    }
}
