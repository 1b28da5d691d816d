//! An in-memory DuckDB with the old content of the tables where a lake would be, and the new content and what came and went in
//! temporary tables.

use duckdb::Connection;
use error::{Code, Error, Result};
use incremental::clock::Clock;
use incremental::render::{Inputs, Renderer, SourceState};
use incremental::{Catalog, Column, Plan, Relation, StageChange, apply};
use sql::names::{ObjectName, TableName};
use sql::query::Parser;

use super::data::{Rows, TABLES};

pub struct World {
    connection: Connection,
    pub parser: Parser,
}

/// The sources and stages of a plan in a round.
pub struct State {
    pub sources: Vec<SourceState>,
    pub stages: Vec<StageChange>,
    pub clock: Clock,
}

impl State {
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { sources: &self.sources, stages: &self.stages, clock: &self.clock }
    }
}

impl World {
    pub fn new() -> Self {
        let connection = Connection::open_in_memory().unwrap();
        let world = Self { connection, parser: Parser::new().unwrap() };
        world.run("ATTACH ':memory:' AS lake; SET threads = 1; SET asof_loop_join_threshold = 0; SET TimeZone = 'UTC'; PRAGMA disable_optimizer");
        for table in TABLES {
            let columns: Vec<String> = table.columns.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
            let (name, columns) = (table.name, columns.join(", "));
            world
                .run(&format!("CREATE TABLE lake.main.{name} ({columns}); CREATE TEMP TABLE new_{name} ({columns})"));
        }
        world
    }

    pub fn plan(&self, query: &str) -> Plan {
        let parsed = self.parser.parse(query).unwrap();
        Plan::analyse(&parsed, self, &self.parser, "lake", "main").unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Fills the tables.
    pub fn fill(&self, old: &Rows, new: &Rows) {
        for ((table, old), new) in TABLES.iter().zip(old).zip(new) {
            for (place, rows) in [("lake.main.", old), ("temp.main.new_", new)] {
                let name = format!("{place}{}", table.name);
                self.run(&format!("DELETE FROM {name}"));
                if !rows.is_empty() {
                    self.run(&format!("INSERT INTO {name} VALUES {}", rows.join(", ")));
                }
            }
        }
    }

    /// What of the plan's sources came and went.
    pub fn state(&self, plan: &Plan, clock: Clock) -> State {
        let mut sources = Vec::new();
        for (number, source) in plan.sources.iter().enumerate() {
            let names: Vec<String> = source.used.iter().map(|column| column.name.clone()).collect();
            let list = apply::column_list(&names);
            let old = format!("SELECT {list} FROM lake.main.{}", source.name.name);
            let new = format!("SELECT {list} FROM temp.main.new_{}", source.name.name);
            let came = self.keep_some(&format!("came{number}"), &format!("({new}) EXCEPT ALL ({old})"));
            let went = self.keep_some(&format!("went{number}"), &format!("({old}) EXCEPT ALL ({new})"));
            let new_relation = Some(format!("new_{}", source.name.name));
            sources.push(SourceState { table: source.name.clone(), old: None, new: None, new_relation, came, went });
        }
        State { sources, stages: Vec::new(), clock }
    }

    pub fn renderer<'a>(&'a self, plan: &'a Plan, state: &'a State) -> Renderer<'a> {
        Renderer { parser: &self.parser, lake: "lake", inputs: state.inputs(), stages: &plan.stages }
    }

    pub fn run(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    /// Keeps the rows of a SELECT in a temporary table. How many there are.
    pub fn keep(&self, table: &str, select: &str) -> u64 {
        self.run(&format!("CREATE OR REPLACE TEMP TABLE {table} AS {select}"));
        self.count(&format!("SELECT count(*) FROM temp.main.{table}"))
    }

    /// As [`World::keep`]; the table's name if there are rows.
    pub fn keep_some(&self, table: &str, select: &str) -> Option<String> {
        (self.keep(table, select) > 0).then(|| table.to_owned())
    }

    pub fn count(&self, select: &str) -> u64 {
        self.connection
            .query_row(select, [], |row| row.get::<_, Option<u64>>(0))
            .unwrap_or_else(|error| panic!("{error}\n{select}"))
            .unwrap_or_default()
    }

    /// The rows of a SELECT as text, for a person.
    pub fn shown(&self, select: &str) -> String {
        let sql = format!("SELECT coalesce(string_agg(r::VARCHAR, chr(10)), '') FROM ({select}) AS r");
        self.connection.query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }
}

impl Catalog for World {
    fn relation(&self, name: &ObjectName, default_schema: &str) -> Result<Option<Relation>> {
        let name = name.resolve("lake", default_schema)?;
        let table = TABLES.into_iter().find(|table| TableName::new("main", table.name) == name);
        let column = |(name, data_type, _): &(&str, &str, &[&str])| Column {
            name: (*name).to_owned(),
            data_type: (*data_type).to_owned(),
            nullable: true,
        };
        Ok(table.map(|table| Relation::Table { name, columns: table.columns.iter().map(column).collect() }))
    }

    fn names(&self) -> Result<Vec<TableName>> {
        Ok(TABLES.iter().map(|table| TableName::new("main", table.name)).collect())
    }

    fn describe(&self, select: &str) -> Result<Vec<(String, String)>> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(&format!("DESCRIBE {select}"))?;
            let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            columns.collect()
        };
        read().map_err(|error| Error::new(Code::Query, error.to_string()))
    }
}
