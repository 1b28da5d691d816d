//! A table behind a connection: its columns as they will be in the lake, and the SELECT that reads them.

use connection::Kind;
use error::{Code, Error, Result};
use lake::Session;
use sql::names::{quote_identifier, quote_literal, same_identifier};

use crate::outside::Outside;
use crate::types::{self, CursorKind};

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name there and here.
    pub name: String,
    /// Its type in the lake.
    pub data_type: String,
    /// What PostgreSQL is to make of it before it is sent.
    sent_as: Option<&'static str>,
}

/// A table behind a connection.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// Its primary key, if it has one.
    pub primary_key: Vec<String>,
    /// Sets of columns of which the other end makes sure that they are unique and never NULL.
    unique: Vec<Vec<String>>,
    /// What to know about it.
    pub notices: Vec<String>,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    /// What stands behind FROM in PostgreSQL, and the name under which that is attached.
    Postgres { alias: String, from: String },
    /// What stands behind FROM here.
    Files { from: String },
}

/// From where on rows are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The column.
    pub column: String,
    /// What its values are.
    pub kind: CursorKind,
    /// The first value, as text.
    pub from: String,
}

/// Names that rows of the lake have besides those of their columns.
const TAKEN: [&str; 2] = ["rowid", "snapshot_id"];

impl Relation {
    /// Looks what a table behind a connection is.
    pub fn look(session: &Session, outside: &Outside<'_>, schema: Option<&str>, table: &str) -> Result<Self> {
        let found = match outside.kind {
            Kind::Postgres => in_postgres(session, outside, schema, table),
            _ => in_files(session, outside, schema, table),
        };
        let relation = found.map_err(|error| outside.told(error))?;
        relation.check(table)?;
        Ok(relation)
    }

    fn check(&self, table: &str) -> Result<()> {
        let name = |column: &Column| column.name.clone();
        if let Some(taken) = self.columns.iter().find(|c| TAKEN.iter().any(|taken| same_identifier(taken, &c.name))) {
            return Err(Error::new(Code::Schema, format!("a table of the lake cannot have a column {}", taken.name))
                .with_hint("Make a view there that names it otherwise, and read that."));
        }
        for (position, column) in self.columns.iter().enumerate() {
            if self.columns[..position].iter().any(|known| same_identifier(&known.name, &column.name)) {
                let names: Vec<String> =
                    self.columns.iter().filter(|c| same_identifier(&c.name, &column.name)).map(name).collect();
                return Err(Error::new(
                    Code::Schema,
                    format!("{table} has columns whose names are the same here: {}", names.join(", ")),
                )
                .with_hint(
                    "Names are equal regardless of case. Make a view there that names them apart, and read that.",
                ));
            }
        }
        if self.columns.is_empty() {
            return Err(Error::new(Code::Schema, format!("{table} has no columns")));
        }
        Ok(())
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| same_identifier(&column.name, name))
    }

    /// Whether the other end makes sure that no two rows have the same values in these columns, and none has NULL.
    pub fn guarantees(&self, key: &[String]) -> bool {
        let has = |column: &String| key.iter().any(|named| same_identifier(named, column));
        self.unique.iter().any(|unique| unique.iter().all(has))
    }

    /// The SELECT that gives its rows, every column in its type in the lake.
    pub fn select(&self, bound: Option<&Bound>) -> String {
        let mut shown = Vec::new();
        for column in &self.columns {
            let name = quote_identifier(&column.name);
            shown.push(format!("CAST({name} AS {}) AS {name}", column.data_type));
        }
        let filter = match (&self.origin, bound) {
            (Origin::Files { .. }, Some(Bound { column, from, .. })) => {
                let data_type = self.column(column).map_or("VARCHAR", |column| &column.data_type);
                format!(" WHERE {} >= CAST({} AS {data_type})", quote_identifier(column), quote_literal(from))
            }
            _ => String::new(),
        };
        format!("SELECT {} FROM {}{filter}", shown.join(", "), self.from(bound))
    }

    fn from(&self, bound: Option<&Bound>) -> String {
        match &self.origin {
            Origin::Files { from } => from.clone(),
            Origin::Postgres { alias, .. } => {
                format!("postgres_query({}, {})", quote_literal(alias), quote_literal(&self.asked(bound)))
            }
        }
    }

    /// What the other end is asked, as it is told to people.
    pub fn asked(&self, bound: Option<&Bound>) -> String {
        let Origin::Postgres { from, .. } = &self.origin else { return self.select(bound) };
        let mut shown = Vec::new();
        for column in &self.columns {
            let name = quote_identifier(&column.name);
            shown.push(match column.sent_as {
                Some(sent_as) => format!("{name}::{sent_as} AS {name}"),
                None => name,
            });
        }
        let filter = bound.map_or_else(String::new, |bound| {
            let column = quote_identifier(&bound.column);
            // The order of texts is that of the database, and the newest one was found in that of their bytes.
            let order = if bound.kind == CursorKind::Text { " COLLATE \"C\"" } else { "" };
            format!(" WHERE {column}{order} >= {}::{}", quote_literal(&bound.from), bound.kind.of_postgres())
        });
        format!("SELECT {} FROM {from}{filter}", shown.join(", "))
    }
}

/// The columns of a table, with domains as what they are of; the unique indexes that hold for all rows, without NULL.
fn in_postgres(session: &Session, outside: &Outside<'_>, schema: Option<&str>, table: &str) -> Result<Relation> {
    let own_schema = outside.schema();
    let schema = schema.unwrap_or(&own_schema);
    let from = format!("{}.{}", quote_identifier(schema), quote_identifier(table));
    let ask = |asked: &str| {
        session.query(&format!(
            "SELECT * FROM postgres_query({}, {})",
            quote_literal(&outside.alias),
            quote_literal(asked)
        ))
    };
    let found = format!(
        "SELECT a.attname::text, coalesce(e.typname, b.typname)::text, \
            CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END::bigint, \
            (b.typcategory = 'A' AND e.oid IS NOT NULL)::text \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
         LEFT JOIN pg_catalog.pg_type e ON e.oid = b.typelem AND b.typcategory = 'A' \
         WHERE a.attrelid = to_regclass({0}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        quote_literal(&from)
    );
    let mut columns = Vec::new();
    let mut notices = Vec::new();
    for row in ask(&found)?.rows {
        let text = |position: usize| row.get(position).cloned().flatten().unwrap_or_default();
        let carried = types::of_postgres(&text(1), text(2).parse().unwrap_or(-1), text(3) == "true");
        let name = text(0);
        notices.extend(carried.notice.map(|notice| format!("{name} {notice}")));
        columns.push(Column { name, data_type: carried.data_type, sent_as: carried.sent_as });
    }
    if columns.is_empty() {
        return Err(Error::new(Code::Query, format!("there is no table {schema}.{table} there"))
            .with_hint("Write connection.schema.table; without a schema that of the connection is meant. Quote what is not in small letters.")
            .with_context("schema", schema.to_owned()));
    }
    let keys = format!(
        "SELECT i.indexrelid::bigint, i.indisprimary::text, a.attname::text, a.attnotnull::text \
         FROM pg_catalog.pg_index i CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, position) \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
         WHERE i.indrelid = to_regclass({}) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL \
         ORDER BY i.indisprimary DESC, i.indexrelid, k.position",
        quote_literal(&from)
    );
    let mut unique: Vec<(String, bool, Vec<String>)> = Vec::new();
    let mut nullable: Vec<String> = Vec::new();
    let mut primary_key = Vec::new();
    for row in ask(&keys)?.rows {
        let text = |position: usize| row.get(position).cloned().flatten().unwrap_or_default();
        let (index, is_primary, column) = (text(0), text(1) == "true", text(2));
        if text(3) != "true" {
            nullable.push(index.clone());
        }
        if is_primary {
            primary_key.push(column.clone());
        }
        match unique.last_mut().filter(|(known, ..)| *known == index) {
            Some((_, _, columns)) => columns.push(column),
            None => unique.push((index, is_primary, vec![column])),
        }
    }
    let unique =
        unique.into_iter().filter(|(index, ..)| !nullable.contains(index)).map(|(_, _, columns)| columns).collect();
    let origin = Origin::Postgres { alias: outside.alias.clone(), from };
    Ok(Relation { columns, primary_key, unique, notices, origin })
}

fn in_files(session: &Session, outside: &Outside<'_>, schema: Option<&str>, table: &str) -> Result<Relation> {
    if let Some(schema) = schema {
        return Err(Error::new(Code::Query, format!("files have no schema {schema:?}")).with_hint(
            "Write connection.name, with quotes where the name has a / or a dot: zone.\"2026/people.csv\".",
        ));
    }
    let (path, function) = session.find_files(&outside.root, table)?;
    // Files of a folder may have come at different times, with more columns than before.
    let from = format!("{function}({}, union_by_name => true)", quote_literal(&path));
    let described = session.describe(&format!("SELECT * FROM {from}"))?;
    let columns = described.into_iter().map(|(name, data_type)| Column {
        name,
        data_type: types::of_file(&data_type),
        sent_as: None,
    });
    let (primary_key, unique, notices) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Relation { columns: columns.collect(), primary_key, unique, notices, origin: Origin::Files { from } })
}
