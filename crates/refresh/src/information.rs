//! Dynamic tables, their refreshes and the past of their graph as table functions of a user's statement, under Snowflake's names.
//!
//! Nothing is there as long as nobody asks. A statement that mentions one of the functions gets, for as long as it runs, a macro of that name over a
//! temporary table with what the registry says at that moment.

mod columns;
mod rows;

use std::borrow::Cow;

use error::{Error, Result};
use lake::Rows;
use sql::names::{quote_identifier, quote_literal, same_identifier};
use sql::tree;

use crate::tables::DynamicTables;

/// The schema under which Snowflake has these functions.
const SNOWFLAKES_SCHEMA: &str = "information_schema";

/// Rows that are given to the engine in one statement.
const ROWS_PER_STATEMENT: usize = 5_000;

/// A table function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Tables,
    RefreshHistory,
    GraphHistory,
}

impl Function {
    const ALL: [Self; 3] = [Self::Tables, Self::RefreshHistory, Self::GraphHistory];

    const fn name(self) -> &'static str {
        match self {
            Self::Tables => "dynamic_tables",
            Self::RefreshHistory => "dynamic_table_refresh_history",
            Self::GraphHistory => "dynamic_table_graph_history",
        }
    }

    /// The temporary table that holds its rows.
    fn table(self) -> String {
        format!("temp.main.{}", quote_identifier(&format!("__{}", self.name())))
    }

    fn macro_name(self) -> String {
        format!("temp.main.{}", self.name())
    }
}

impl DynamicTables {
    /// Runs one statement of a user that is none of ours. It may read `dynamic_tables()`, `dynamic_table_refresh_history()` and
    /// `dynamic_table_graph_history()`, with `INFORMATION_SCHEMA.` before them or without.
    ///
    /// # Errors
    /// What the engine says of the statement, and the registry when it cannot be asked.
    pub fn query(&self, sql: &str) -> Result<Rows> {
        let (mut functions, text) = self.mentioned(sql)?;
        let result = self.query_with(&text, &mut functions);
        for function in functions {
            self.withdraw(function);
        }
        match text {
            // A place in another text than the user's means nothing to the user.
            Cow::Owned(_) => result.map_err(Error::without_span),
            Cow::Borrowed(_) => result,
        }
    }

    fn query_with(&self, sql: &str, functions: &mut Vec<Function>) -> Result<Rows> {
        for function in functions.iter() {
            self.offer(*function)?;
        }
        loop {
            match self.session().query(sql) {
                // What is no SELECT has no tree to be looked at, but nothing has been done before the engine misses a function.
                Err(error) => match missed(&error).filter(|function| !functions.contains(function)) {
                    Some(function) => {
                        functions.push(function);
                        self.offer(function)?;
                    }
                    None => return Err(error),
                },
                rows => return rows,
            }
        }
    }

    /// The functions that a SELECT mentions, and the SELECT without Snowflake's schema before them.
    fn mentioned<'sql>(&self, sql: &'sql str) -> Result<(Vec<Function>, Cow<'sql, str>)> {
        let Ok(mut query) = self.parser.parse(sql) else { return Ok((Vec::new(), Cow::Borrowed(sql))) };
        let mut functions = Vec::new();
        let mut in_schema = false;
        tree::visit_mut(&mut query.node, &mut |node| {
            if !tree::is(node, "TABLE_FUNCTION") {
                return;
            }
            let Some(function) = named(tree::text(&node["function"], "function_name")) else { return };
            let schema = tree::text(&node["function"], "schema");
            let is_snowflakes = same_identifier(schema, SNOWFLAKES_SCHEMA);
            if !schema.is_empty() && !is_snowflakes {
                return;
            }
            if is_snowflakes {
                in_schema = true;
                node["function"]["schema"] = "".into();
                node["function"]["catalog"] = "".into();
            }
            if !functions.contains(&function) {
                functions.push(function);
            }
        });
        let text = if in_schema { Cow::Owned(self.parser.to_sql(&query.node)?) } else { Cow::Borrowed(sql) };
        Ok((functions, text))
    }

    /// Makes a function there, with what it gives now.
    fn offer(&self, function: Function) -> Result<()> {
        let rows = match function {
            Function::Tables => self.table_rows()?,
            Function::RefreshHistory => self.refresh_rows()?,
            Function::GraphHistory => self.graph_rows()?,
        };
        let columns = columns::of(function);
        let table = function.table();
        let definitions: Vec<String> =
            columns.iter().map(|(name, data_type)| format!("{} {data_type}", quote_identifier(name))).collect();
        let session = self.session();
        session.execute(&format!("CREATE OR REPLACE TEMP TABLE {table} ({})", definitions.join(", ")))?;
        let structure = quote_literal(&columns::json_structure(columns));
        for rows in rows.chunks(ROWS_PER_STATEMENT) {
            let json = quote_literal(&serde_json::Value::from(rows.to_vec()).to_string());
            session.execute(&format!(
                "INSERT INTO {table} SELECT unnest(from_json({json}, {structure}), max_depth := 2)"
            ))?;
        }
        let (parameters, condition) = columns::parameters(function);
        session.execute(&format!(
            "CREATE OR REPLACE TEMP MACRO {}({parameters}) AS TABLE SELECT d.* FROM {table} AS d WHERE {condition}",
            function.name(),
        ))?;
        Ok(())
    }

    /// Takes it away again: a later statement that is not looked at must not read what was.
    fn withdraw(&self, function: Function) {
        let drop_macro = format!("DROP MACRO TABLE IF EXISTS {}", function.macro_name());
        let drop_table = format!("DROP TABLE IF EXISTS {}", function.table());
        for statement in [drop_macro, drop_table] {
            // In a transaction that has failed nothing can be dropped; it goes with the transaction.
            if let Err(error) = self.session().execute(&statement) {
                tracing::debug!(%error, "could not drop what a statement has read");
            }
        }
    }
}

fn named(name: &str) -> Option<Function> {
    Function::ALL.into_iter().find(|function| same_identifier(function.name(), name))
}

/// The function of ours that the engine did not find.
fn missed(error: &Error) -> Option<Function> {
    let message = error.message().to_ascii_lowercase();
    let name = message.split_once("table function with name ")?.1.split_once(" does not exist")?.0;
    named(name.trim_matches('"'))
}
