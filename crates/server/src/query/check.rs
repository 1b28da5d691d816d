//! Queries of the lake that may be run: what they may say is in [`preview::walk`], which relations they may read is said here.
//!
//! Relations are written out with all three parts of their names, so that a name can mean nothing but a relation of the lake:
//! neither a file, nor a view of the engine's own catalog, nor a table of the catalog's database.

use error::{Code, Error, Result};
use preview::walk::{Relation, Relations, walk};
use serde_json::Value;
use sql::names::{ObjectName, TableName, same_identifier};
use sql::query::Parser;
use sql::tree;

/// A query that may be run.
#[derive(Debug)]
pub(crate) struct Checked {
    node: Value,
    /// The relations of the lake that it reads, each once.
    pub relations: Vec<TableName>,
    alias: String,
}

/// Looks at queries of a lake of this name, in which names without a schema mean this one.
pub(crate) fn check(parser: &Parser, text: &str, alias: &str, schema: &str) -> Result<Checked> {
    let mut lake = OfLake { alias, schema, relations: Vec::new() };
    let node = walk(parser, text, &mut lake)?;
    let mut relations = lake.relations;
    relations.sort();
    relations.dedup();
    Ok(Checked { node, relations, alias: alias.to_owned() })
}

impl Checked {
    /// The text to run.
    pub fn to_sql(&self, parser: &Parser) -> Result<String> {
        parser.to_sql(&self.node)
    }

    /// The text that gives the same columns and no rows.
    pub fn without_rows(&self, parser: &Parser) -> Result<String> {
        let mut node = self.node.clone();
        let mut none = parser.parse("SELECT 1 LIMIT 0")?.node;
        let none = none["modifiers"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let limits = |modifier: &Value| tree::text(modifier, "type").starts_with("LIMIT");
        if let Some(modifiers) = node["modifiers"].as_array_mut() {
            // A query has one limit at most, and its own may be an expression that is dear.
            modifiers.retain(|modifier| !limits(modifier));
            modifiers.extend(none);
        }
        parser.to_sql(&node)
    }

    /// Reads every relation that says no version of its own at the snapshot that is given for it.
    pub fn pin(&mut self, snapshot: impl Fn(&TableName) -> i64) {
        let alias = self.alias.clone();
        tree::visit_mut(&mut self.node, &mut |node| {
            if tree::is(node, "BASE_TABLE")
                && tree::text(node, "catalog_name") == alias
                && node["at_clause"].is_null()
            {
                let name = TableName {
                    schema: tree::text(node, "schema_name").to_owned(),
                    name: tree::text(node, "table_name").to_owned(),
                };
                node["at_clause"] = tree::at_version(snapshot(&name));
            }
        });
    }
}

/// The relations of the lake, without the product's own.
struct OfLake<'a> {
    alias: &'a str,
    schema: &'a str,
    relations: Vec<TableName>,
}

impl Relations for OfLake<'_> {
    fn resolve(&mut self, written: &ObjectName) -> Result<Relation> {
        let resolved = written.resolve(self.alias, self.schema)?;
        if same_identifier(&resolved.schema, lake::BOOKKEEPING_SCHEMA) {
            let error = Error::new(Code::Permission, format!("{resolved} may not be read here"));
            return Err(error.with_hint(self.advice()));
        }
        self.relations.push(resolved.clone());
        Ok(Relation::Of { catalog: self.alias.to_owned(), schema: resolved.schema, name: resolved.name })
    }

    fn advice(&self) -> &'static str {
        "A query here reads relations of the lake and nothing else; see docs/guides/serving.md. Who may change the lake says \
         \"write\": true (over Flight the header x-write: true); instead of PIVOT list the columns with FILTER."
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Opening a parser is what takes the time.
    fn checked(text: &str) -> Result<String> {
        thread_local!(static PARSER: Parser = Parser::new().unwrap());
        PARSER.with(|parser| check(parser, text, "lake", "main").and_then(|checked| checked.to_sql(parser)))
    }

    #[test]
    fn a_name_means_a_relation_of_the_lake_and_nothing_else() {
        for (text, expected) in [
            ("SELECT a FROM t", "SELECT a FROM lake.main.t"),
            ("SELECT a FROM s.t AS x AT (VERSION => 3)", "SELECT a FROM lake.s.t AS x AT (VERSION => 3)"),
            ("SELECT a FROM lake.t", "SELECT a FROM lake.main.t"),
            ("FROM duckdb_settings", "SELECT * FROM lake.main.duckdb_settings"),
            ("FROM 'secret.parquet'", "SELECT * FROM lake.main.\"secret.parquet\""),
            ("FROM __ducklake_metadata_lake.x", "SELECT * FROM lake.__ducklake_metadata_lake.x"),
            ("FROM information_schema.tables", "SELECT * FROM lake.information_schema.\"tables\""),
        ] {
            assert_eq!(checked(text).unwrap(), expected);
        }
    }

    #[test]
    fn the_columns_of_a_query_cost_no_rows() {
        let parser = Parser::new().unwrap();
        for (text, expected) in [
            ("SELECT a, a FROM t ORDER BY b LIMIT 5 OFFSET 2", "SELECT a, a FROM lake.main.t ORDER BY b LIMIT 0"),
            (
                "SELECT a FROM t UNION SELECT b FROM t",
                "(SELECT a FROM lake.main.t) UNION (SELECT b FROM lake.main.t) LIMIT 0",
            ),
            ("SELECT DISTINCT a FROM t LIMIT 10%", "SELECT DISTINCT a FROM lake.main.t LIMIT 0"),
        ] {
            let checked = check(&parser, text, "lake", "main").unwrap();
            assert_eq!(checked.without_rows(&parser).unwrap(), expected);
        }
    }

    #[test]
    fn a_name_of_with_is_one_only_where_it_can_be_read() {
        let inside =
            checked("WITH x AS (SELECT 1 AS a), y AS (SELECT * FROM x) SELECT * FROM y WHERE a IN (SELECT a FROM x)");
        assert!(!inside.unwrap().contains("lake."));
        for text in [
            "WITH duckdb_settings AS (SELECT * FROM duckdb_settings) SELECT 1 FROM duckdb_settings",
            "SELECT 1 FROM (WITH duckdb_settings AS (SELECT 1) SELECT * FROM duckdb_settings) AS z, duckdb_settings",
            "WITH RECURSIVE duckdb_settings AS (SELECT 1 FROM duckdb_settings UNION ALL SELECT 2) FROM duckdb_settings",
            "WITH a AS (SELECT * FROM duckdb_settings), duckdb_settings AS (SELECT 1) SELECT * FROM a",
        ] {
            let sql = checked(text).unwrap();
            assert!(sql.contains("lake.main.duckdb_settings"), "{sql}");
        }
        let recursive =
            checked("WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 3) SELECT * FROM r");
        assert!(!recursive.unwrap().contains("lake."));
    }

    #[test]
    fn what_reads_anything_else_is_refused() {
        for text in [
            "SELECT * FROM read_text('x')",
            "SELECT * FROM read_csv('x')",
            "SELECT * FROM glob('*')",
            "SELECT * FROM sqlite_scan('x', 'y')",
            "SELECT * FROM postgres_query('a', 'b')",
            "SELECT * FROM duckdb_secrets()",
            "SELECT * FROM ducklake_snapshots('lake')",
            "SELECT * FROM query('SELECT 1')",
            "SELECT * FROM query_table('t')",
            "SELECT current_setting('threads')",
            "SELECT getenv('HOME')",
            "SELECT nextval('s')",
            "SELECT (SELECT x FROM read_text('x') AS r(x))",
            "SELECT 1 FROM t WHERE a IN (FROM read_blob('x'))",
            "WITH x AS (FROM read_text('x')) SELECT 1",
            "SELECT 1 FROM t JOIN read_text('x') ON true",
            "SELECT a FROM t ORDER BY (SELECT 1 FROM glob('*'))",
            "SELECT * FROM __ducklake_metadata_lake.main.ducklake_snapshot",
            "SELECT * FROM other.main.t",
            "SELECT * FROM lake.__dynamic_tables.watermark",
            "SHOW TABLES",
            "DESCRIBE t",
            "SUMMARIZE t",
            "CREATE TABLE x AS SELECT 1",
            "INSERT INTO t VALUES (1)",
            "COPY t TO 'x'",
            "ATTACH 'x'",
            "SET threads = 1",
            "PRAGMA database_list",
            "CALL lake.set_option('x', 'y')",
            "LOAD httpfs",
            "EXPORT DATABASE 'x'",
            "SELECT lake.main.f(1)",
            "SELECT no_such_function(1)",
            "SELECT 1; SELECT 2",
            "EXPLAIN SELECT 1",
            "USE memory",
        ] {
            let error = checked(text).unwrap_err();
            assert!(matches!(error.code(), Code::Permission | Code::Query), "{text}: {error}");
        }
    }

    #[test]
    fn what_a_query_needs_is_allowed() {
        for text in [
            "SELECT count(*) FILTER (a > 1), sum(b) OVER (PARTITION BY c ORDER BY d), list_transform([1], lambda x: x + 1) FROM t",
            "SELECT a::DATE, CASE WHEN b LIKE 'x%' THEN 1 END, c[1], {'x': 1}, current_date, now() FROM t TABLESAMPLE 10%",
            "SELECT * FROM range(3), unnest([1, 2]) AS u(x), (VALUES (1)) AS v(y), LATERAL (SELECT x + y)",
            "SELECT * FROM t PIVOT (sum(a) FOR b IN (1, 2))",
            "UNPIVOT t ON a, b INTO NAME n VALUE v",
            "SELECT * EXCLUDE (a) FROM t QUALIFY row_number() OVER (ORDER BY b) = 1",
            "SELECT $1 + 1, t.a FROM t WHERE b = $2",
            "SELECT $name",
            "FROM t POSITIONAL JOIN u",
            "TABLE t",
            "SELECT a FROM t UNION ALL BY NAME SELECT b AS a FROM u ORDER BY 1 LIMIT 3",
            "SELECT struct_extract(a, 'b') FROM t",
            "SELECT a FROM t ASOF JOIN u USING (a)",
            "SELECT extract('year' FROM d), d AT TIME ZONE 'UTC' FROM t",
        ] {
            checked(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
