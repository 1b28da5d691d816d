//! DuckDB's own parse tree of a SELECT, and the way back to SQL.
//!
//! Whatever DuckDB accepts is accepted here, because DuckDB does the parsing: an in-memory engine without
//! tables is kept for nothing but `json_serialize_sql` and `json_deserialize_sql`. This module does not know
//! what a lake, a snapshot or a dynamic table is.

use std::collections::HashMap;

use error::{Code, Error, Result, Span};
use serde_json::Value;

use crate::tree;

/// Turns SELECT statements into trees and trees into SQL.
///
/// Not `Sync`: open one per thread.
pub struct Parser {
    engine: duckdb::Connection,
    functions: HashMap<String, FunctionTraits>,
}

/// What the engine's catalogue says of all functions of one name, the careful way round: a name is volatile if
/// any of its overloads is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionTraits {
    /// At least one overload is an aggregate.
    pub aggregate: bool,
    /// Gives another value for each row or call, such as `random()`.
    pub volatile: bool,
    /// Gives another value for each query or transaction, such as `now()`.
    pub per_query: bool,
}

/// A parsed SELECT: its text and DuckDB's tree of it.
#[derive(Clone, Debug)]
pub struct Query {
    /// The text as it was given.
    pub text: String,
    /// The query node (`SELECT_NODE`, `SET_OPERATION_NODE`, ...), as `json_serialize_sql` gives it.
    pub node: Value,
}

impl Parser {
    /// Opens the parser.
    ///
    /// # Errors
    /// `INTERNAL` when the engine cannot be opened.
    pub fn new() -> Result<Self> {
        let engine = duckdb::Connection::open_in_memory().map_err(|cause| internal("open the SQL parser", cause))?;
        // The parser must never look anything up outside itself.
        engine
            .execute_batch("SET enable_external_access = false; SET threads = 1; SET lock_configuration = true")
            .map_err(|cause| internal("close the SQL parser to the outside", cause))?;
        let functions = function_traits(&engine).map_err(|cause| internal("read the engine's functions", cause))?;
        Ok(Self { engine, functions })
    }

    /// What is known of a function by its name, in whatever case; `None` for a name the engine does not have
    /// (a macro or a function of an extension).
    #[must_use]
    pub fn function(&self, name: &str) -> Option<FunctionTraits> {
        self.functions.get(&name.to_lowercase()).copied()
    }

    /// Parses one SELECT that is to be kept: one without parameters.
    ///
    /// # Errors
    /// `QUERY` with the place in `text` when it is not one SELECT that DuckDB can represent as a tree.
    pub fn parse(&self, text: &str) -> Result<Query> {
        let (query, has_parameters) = self.parse_one(text)?;
        if has_parameters {
            return Err(Error::new(Code::Query, "a query with parameters ($1, ?) cannot be stored")
                .with_hint("Write the values into the query."));
        }
        Ok(query)
    }

    /// Parses one SELECT that is to be run: it may have parameters.
    ///
    /// # Errors
    /// As [`Parser::parse`].
    pub fn parse_with_parameters(&self, text: &str) -> Result<Query> {
        self.parse_one(text).map(|(query, _)| query)
    }

    /// One SELECT, and whether it has parameters.
    fn parse_one(&self, text: &str) -> Result<(Query, bool)> {
        let serialized: String = self
            .engine
            .query_row("SELECT json_serialize_sql(?::VARCHAR)", [text], |row| row.get(0))
            .map_err(|cause| internal("parse a query", cause))?;
        let mut tree = parse_json(&serialized)?;
        if tree["error"].as_bool() == Some(true) {
            return Err(parse_error(text, &tree));
        }
        let statements = tree["statements"].as_array_mut().map(std::mem::take).unwrap_or_default();
        match <[Value; 1]>::try_from(statements) {
            Ok([mut statement]) => {
                let has_parameters =
                    statement["named_param_map"].as_array().is_some_and(|parameters| !parameters.is_empty());
                Ok((Query { text: text.to_owned(), node: statement["node"].take() }, has_parameters))
            }
            Err(statements) => {
                Err(Error::new(Code::Query, format!("expected one SELECT, found {} statements", statements.len()))
                    .with_span(Span::new(text, 0, 0)))
            }
        }
    }

    /// The SQL of a query node.
    ///
    /// # Errors
    /// `INTERNAL` when the engine does not take the tree: a defect of whoever built it.
    pub fn to_sql(&self, node: &Value) -> Result<String> {
        let mut node = node.clone();
        tree::write_out_cross_joins(&mut node);
        let statement = serde_json::json!({
            "error": false,
            "statements": [{ "node": node, "named_param_map": [] }],
        });
        self.engine
            .query_row("SELECT json_deserialize_sql(?::JSON)", [statement.to_string()], |row| row.get(0))
            .map_err(|cause| internal("turn a query tree into SQL", cause))
    }

    /// The SQL of a scalar expression.
    ///
    /// # Errors
    /// `INTERNAL` when the engine does not take the tree.
    pub fn expression_to_sql(&self, expression: &Value) -> Result<String> {
        let mut node = crate::tree::empty_select();
        let mut expression = expression.clone();
        expression["alias"] = Value::from("");
        node["select_list"] = Value::from(vec![expression]);
        let sql = self.to_sql(&node)?;
        match sql.strip_prefix("SELECT ") {
            Some(expression) => Ok(expression.to_owned()),
            None => Err(Error::new(Code::Internal, format!("unexpected SQL of an expression: {sql}"))),
        }
    }

    /// The tree of a scalar expression.
    ///
    /// # Errors
    /// `QUERY` when it does not parse.
    pub fn parse_expression(&self, text: &str) -> Result<Value> {
        let mut query = self.parse(&format!("SELECT {text}"))?;
        match query.node["select_list"].as_array_mut().map(|items| items.swap_remove(0)) {
            Some(expression) => Ok(expression),
            None => Err(Error::new(Code::Query, format!("not an expression: {text}"))),
        }
    }
}

fn function_traits(engine: &duckdb::Connection) -> duckdb::Result<HashMap<String, FunctionTraits>> {
    let mut statement = engine.prepare(
        "SELECT lower(function_name), bool_or(function_type = 'aggregate'),
                coalesce(bool_or(stability = 'VOLATILE'), false),
                coalesce(bool_or(stability = 'CONSISTENT_WITHIN_QUERY'), false)
         FROM duckdb_functions() WHERE function_type IN ('aggregate', 'scalar', 'table', 'macro') GROUP BY ALL",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            FunctionTraits { aggregate: row.get(1)?, volatile: row.get(2)?, per_query: row.get(3)? },
        ))
    })?;
    let mut traits: HashMap<String, FunctionTraits> = rows.collect::<duckdb::Result<_>>()?;
    follow_macros(engine, &mut traits)?;
    Ok(traits)
}

/// A macro of the engine is what it calls: `geomean(x)` an aggregate, `ago(i)` another value in every query.
fn follow_macros(engine: &duckdb::Connection, traits: &mut HashMap<String, FunctionTraits>) -> duckdb::Result<()> {
    let mut statement = engine.prepare(
        "SELECT lower(function_name), json_serialize_sql('SELECT ' || macro_definition)::VARCHAR
         FROM duckdb_functions() WHERE function_type = 'macro' AND macro_definition IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let macros: Vec<(String, String)> = rows.collect::<duckdb::Result<_>>()?;
    // Macros call macros: look until nothing is learnt any more.
    loop {
        let before = traits.clone();
        for (name, definition) in &macros {
            let mut sum = traits.get(name).copied().unwrap_or_default();
            let parsed: Value = serde_json::from_str(definition).unwrap_or_default();
            tree::visit(&parsed, &mut |node| {
                // `current_timestamp` is written without parentheses.
                sum.per_query |= tree::column_reference(node).as_deref() == Some(&["current_timestamp"]);
                if tree::is(node, "FUNCTION")
                    && let Some(known) = traits.get(&tree::text(node, "function_name").to_lowercase())
                {
                    sum.aggregate |= known.aggregate;
                    sum.volatile |= known.volatile;
                    sum.per_query |= known.per_query;
                }
            });
            traits.insert(name.clone(), sum);
        }
        if *traits == before {
            return Ok(());
        }
    }
}

fn parse_json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|cause| {
        // The reader's bound on depth keeps what walks the tree from running out of stack; it is the only way to fail.
        Error::new(Code::Query, "the query is nested too deeply")
            .with_source(cause)
            .with_hint("Take a part of it out into a view.")
    })
}

fn parse_error(text: &str, tree: &Value) -> Error {
    let message = tree["error_message"].as_str().unwrap_or("the query does not parse");
    let error = if message.starts_with("Only SELECT statements") {
        Error::new(
            Code::Query,
            "only a SELECT can be kept fresh, and this is none that DuckDB can represent as a tree",
        )
        .with_hint("Write a SELECT; instead of PIVOT list the columns with FILTER or CASE.")
    } else {
        Error::new(Code::Query, message)
    };
    let position = tree["position"].as_str().and_then(|position| position.parse::<usize>().ok());
    error.with_span(Span::new(text, position.unwrap_or(0), 0))
}

fn internal(what: &str, cause: duckdb::Error) -> Error {
    Error::new(Code::Internal, format!("could not {what}: {cause}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_query_comes_back_as_sql() {
        let parser = Parser::new().unwrap();
        let query = parser.parse("select a + 1 as b from t order by 1").unwrap();
        assert_eq!(parser.to_sql(&query.node).unwrap(), "SELECT (a + 1) AS b FROM t ORDER BY 1");
        let item = &query.node["select_list"][0];
        assert_eq!(parser.expression_to_sql(item).unwrap(), "(a + 1)");
    }

    #[test]
    fn a_join_of_a_cross_join_stays_one() {
        let parser = Parser::new().unwrap();
        for text in [
            "SELECT 1 FROM (a CROSS JOIN b) RIGHT JOIN c ON a.x = c.x",
            "SELECT 1 FROM a LEFT JOIN (b CROSS JOIN c) ON a.x = c.x",
            "SELECT 1 FROM ((a CROSS JOIN b) CROSS JOIN c) FULL JOIN (d CROSS JOIN e) ON a.x = e.x",
        ] {
            let again = |text: &str| parser.to_sql(&parser.parse(text).unwrap().node).unwrap();
            let once = again(text);
            assert!(!once.contains(','), "{once}");
            assert_eq!(again(&again(&once)), again(&once));
        }
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = Parser::new().unwrap().parse("select a\nfrom from t").unwrap_err();
        assert_eq!(error.code(), Code::Query);
        assert_eq!(error.span().unwrap().line_and_column(), (2, 6));
    }

    #[test]
    fn what_is_no_single_select_is_refused() {
        let parser = Parser::new().unwrap();
        for text in ["create table t(a int)", "select 1; select 2", "select $1", "", "pivot t on a using sum(b)"] {
            assert_eq!(parser.parse(text).unwrap_err().code(), Code::Query, "{text}");
        }
    }

    #[test]
    fn functions_are_known_by_what_they_do() {
        let parser = Parser::new().unwrap();
        assert!(parser.function("SUM").unwrap().aggregate);
        assert!(parser.function("random").unwrap().volatile);
        assert!(parser.function("now").unwrap().per_query);
        assert!(parser.function("geometric_mean").unwrap().aggregate, "a macro of a macro of an aggregate");
        assert!(parser.function("ago").unwrap().per_query);
        assert!(parser.function("no_such_function").is_none());
    }
}
