//! An in-memory DuckDB with the old content of the tables where a lake would be, and the new content and what came and went in
//! temporary tables.

use duckdb::{Connection, InterruptHandle};
use error::{Code, Error, Result};
use incremental::clock::Clock;
use incremental::render::{Inputs, Renderer, SourceState};
use incremental::{Catalog, Column, Plan, Relation, StageChange, apply};
use sql::names::{ObjectName, TableName};
use sql::query::Parser;
use std::sync::Arc;

/// A table that queries can read: its name, and the names and types of its columns.
#[derive(Clone, Debug)]
pub struct TableOf {
    /// Its name.
    pub name: String,
    /// Its columns, as (name, type).
    pub columns: Vec<(String, String)>,
}

/// The tables, old and new.
pub struct World {
    connection: Connection,
    tables: Vec<TableOf>,
    /// Parses queries, and writes trees as SQL.
    pub parser: Parser,
}

/// The sources and stages of a plan in a round.
pub struct State {
    /// What of each source came and went.
    pub sources: Vec<SourceState>,
    /// What of each stage came and went, as far as that is known.
    pub stages: Vec<StageChange>,
    /// The data timestamps.
    pub clock: Clock,
}

impl State {
    /// What the rules ask for.
    #[must_use]
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { sources: &self.sources, stages: &self.stages, clock: &self.clock }
    }
}

impl World {
    /// No tables yet, in an engine with the settings that every session of the product has.
    ///
    /// # Errors
    /// What the engine says.
    pub fn new() -> Result<Self> {
        let connection = Connection::open_in_memory().map_err(|cause| failed(&cause, "in memory"))?;
        let world = Self { connection, tables: Vec::new(), parser: Parser::new()? };
        world.run(
            "ATTACH ':memory:' AS lake; SET threads = 1; SET asof_loop_join_threshold = 0; SET TimeZone = 'UTC'; \
             SET disabled_optimizers = 'statistics_propagation,common_subplan'",
        )?;
        Ok(world)
    }

    /// Adds a table, empty: `lake.main.NAME` has the old rows, `temp.main.new_NAME` the new ones.
    ///
    /// # Errors
    /// What the engine says.
    pub fn add(&mut self, table: TableOf) -> Result<()> {
        let columns: Vec<String> = table.columns.iter().map(|(name, kind)| format!("\"{name}\" {kind}")).collect();
        let (name, columns) = (&table.name, columns.join(", "));
        self.run(&format!("CREATE TABLE lake.main.{name} ({columns}); CREATE TEMP TABLE new_{name} ({columns})"))?;
        self.tables.push(table);
        Ok(())
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &[TableOf] {
        &self.tables
    }

    /// How a query is maintained.
    ///
    /// # Errors
    /// When it does not bind.
    pub fn plan(&self, query: &str) -> Result<Plan> {
        let parsed = self.parser.parse(query)?;
        Plan::analyse(&parsed, self, &self.parser, "lake", "main")
    }

    /// What of the plan's sources came and went.
    ///
    /// # Errors
    /// What the engine says.
    pub fn state(&self, plan: &Plan, clock: Clock) -> Result<State> {
        let mut sources = Vec::new();
        for (number, source) in plan.sources.iter().enumerate() {
            let names: Vec<String> = source.used.iter().map(|column| column.name.clone()).collect();
            let list = apply::column_list(&names);
            let old = format!("SELECT {list} FROM lake.main.{}", source.name.name);
            let new = format!("SELECT {list} FROM temp.main.new_{}", source.name.name);
            let came = self.keep_some(&format!("came{number}"), &format!("({new}) EXCEPT ALL ({old})"))?;
            let went = self.keep_some(&format!("went{number}"), &format!("({old}) EXCEPT ALL ({new})"))?;
            let new_relation = Some(format!("new_{}", source.name.name));
            sources.push(SourceState { table: source.name.clone(), old: None, new: None, new_relation, came, went });
        }
        Ok(State { sources, stages: Vec::new(), clock })
    }

    /// Renders a plan over the tables.
    #[must_use]
    pub fn renderer<'a>(&'a self, plan: &'a Plan, state: &'a State) -> Renderer<'a> {
        Renderer { parser: &self.parser, lake: "lake", inputs: state.inputs(), stages: &plan.stages }
    }

    /// Runs statements.
    ///
    /// # Errors
    /// What the engine says.
    pub fn run(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|cause| failed(&cause, sql))
    }

    /// Keeps the rows of a SELECT in a temporary table. How many there are.
    ///
    /// # Errors
    /// What the engine says.
    pub fn keep(&self, table: &str, select: &str) -> Result<u64> {
        self.run(&format!("CREATE OR REPLACE TEMP TABLE {table} AS {select}"))?;
        self.count(&format!("SELECT count(*) FROM temp.main.{table}"))
    }

    /// As [`World::keep`]; the table's name if there are rows.
    ///
    /// # Errors
    /// What the engine says.
    pub fn keep_some(&self, table: &str, select: &str) -> Result<Option<String>> {
        Ok((self.keep(table, select)? > 0).then(|| table.to_owned()))
    }

    /// The one number of a SELECT; NULL counts as 0.
    ///
    /// # Errors
    /// What the engine says.
    pub fn count(&self, select: &str) -> Result<u64> {
        let row = self.connection.query_row(select, [], |row| row.get::<_, Option<u64>>(0));
        Ok(row.map_err(|cause| failed(&cause, select))?.unwrap_or_default())
    }

    /// The rows of a SELECT, every value as text.
    ///
    /// # Errors
    /// What the engine says.
    pub fn rows(&self, select: &str) -> Result<Vec<Vec<Option<String>>>> {
        let width = self.describe(select)?.len();
        let list: Vec<String> = (1..=width).map(|number| format!("#{number}::VARCHAR")).collect();
        let sql = format!("SELECT {} FROM ({select}\n)", list.join(", "));
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| (0..width).map(|index| row.get(index)).collect())?;
            rows.collect()
        };
        read().map_err(|cause| failed(&cause, &sql))
    }

    /// Stops what is running, from any thread.
    #[must_use]
    pub fn interrupt_handle(&self) -> Arc<InterruptHandle> {
        self.connection.interrupt_handle()
    }
}

fn failed(cause: &duckdb::Error, sql: &str) -> Error {
    Error::new(Code::Query, cause.to_string()).with_context("sql", sql.to_owned())
}

impl Catalog for World {
    fn relation(&self, name: &ObjectName, default_schema: &str) -> Result<Option<Relation>> {
        let name = name.resolve("lake", default_schema)?;
        let table = self.tables.iter().find(|table| TableName::new("main", table.name.as_str()) == name);
        let column = |(name, data_type): &(String, String)| Column {
            name: name.clone(),
            data_type: data_type.clone(),
            nullable: true,
        };
        Ok(table.map(|table| Relation::Table { name, columns: table.columns.iter().map(column).collect() }))
    }

    fn names(&self) -> Result<Vec<TableName>> {
        Ok(self.tables.iter().map(|table| TableName::new("main", table.name.as_str())).collect())
    }

    fn describe(&self, select: &str) -> Result<Vec<(String, String)>> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(&format!("DESCRIBE {select}"))?;
            let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            columns.collect()
        };
        read().map_err(|cause| failed(&cause, select))
    }
}
