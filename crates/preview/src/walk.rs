//! What SQL of somebody who is not trusted may say: one SELECT over relations that are allowed one by one, with functions of
//! the engine that look at nothing but their arguments. Everything that is not known to be harmless is refused.
//!
//! Which relations there are is for a [`Relations`] to say. A name is either that of a WITH that can be read where it
//! stands, or is written out as a relation says, so that it can mean neither a file, nor a view of the engine's own
//! catalog, nor anything else that the engine would find under it.

use error::{Code, Error, Result, Span};
use serde_json::Value;
use sql::names::{ObjectName, same_identifier};
use sql::query::Parser;
use sql::tree;

/// Table functions that make rows out of their arguments.
const TABLE_FUNCTIONS: [&str; 4] = ["generate_series", "range", "repeat", "unnest"];

/// Functions of the engine that look at more than their arguments, or change something.
const REFUSED: [&str; 8] =
    ["current_setting", "currval", "getenv", "getvariable", "nextval", "set_config", "txid_current", "write_log"];

/// The relation that FROM may hold besides names: what is made within the query.
const WITHIN: [&str; 3] = ["EMPTY", "EXPRESSION_LIST", "SUBQUERY"];

/// How names of relations are understood.
pub trait Relations {
    /// What a name means, or why it may not be read.
    ///
    /// # Errors
    /// `PERMISSION` or `QUERY`; the place is added by the caller.
    fn resolve(&mut self, written: &ObjectName) -> Result<Relation>;

    /// What somebody is told who says what may not be said.
    fn advice(&self) -> &'static str;
}

/// What a name of a relation means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// This relation of an attached database.
    Of {
        /// The name under which the database is attached.
        catalog: String,
        /// The schema.
        schema: String,
        /// The relation.
        name: String,
    },
    /// A query of WITH that is put around the whole.
    With(String),
}

/// The tree of a text, with every relation written out, if all of it may be run.
///
/// # Errors
/// `PERMISSION` for what may not be run, `QUERY` for what is no SQL, with the place in `text`.
pub fn walk(parser: &Parser, text: &str, relations: &mut dyn Relations) -> Result<Value> {
    let query = parser.parse_with_parameters(text).map_err(|error| {
        if error.message().starts_with("only a SELECT") {
            return Error::new(Code::Permission, "only a SELECT may be run here").with_hint(relations.advice());
        }
        error
    })?;
    let mut node = query.node;
    Walk { parser, text, relations, scope: Vec::new() }.node(&mut node)?;
    Ok(node)
}

struct Walk<'a> {
    parser: &'a Parser,
    text: &'a str,
    relations: &'a mut dyn Relations,
    /// The names of WITH that can be read here.
    scope: Vec<String>,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Value) -> Result<()> {
        match node {
            Value::Array(children) => children.iter_mut().try_for_each(|child| self.node(child)),
            Value::Object(_) => self.object(node),
            _ => Ok(()),
        }
    }

    fn object(&mut self, node: &mut Value) -> Result<()> {
        if tree::is(node, "FUNCTION") || tree::is(node, "WINDOW") {
            self.function(node)?;
        }
        if node.get("from_table").is_some() {
            self.from(&node["from_table"])?;
        }
        if tree::is(node, "BASE_TABLE") {
            self.relation(node)?;
        }
        if tree::is(node, "SHOW_REF") {
            return Err(self.refused(node, "SHOW, DESCRIBE and SUMMARIZE may not be run here"));
        }
        let visible = self.scope.len();
        self.with(node)?;
        let visible_within = self.scope.len();
        if tree::is(node, "RECURSIVE_CTE_NODE") {
            // The first part of a recursive query does not see its name: there it would mean a relation.
            self.node(&mut node["left"])?;
            self.scope.push(tree::text(node, "cte_name").to_owned());
        }
        let is_done = |name: &str| name == "cte_map" || (name == "left" && self.scope.len() > visible_within);
        let rest: Vec<String> = match node {
            Value::Object(fields) => fields.keys().filter(|name| !is_done(name)).cloned().collect(),
            _ => Vec::new(),
        };
        for name in rest {
            self.node(&mut node[name.as_str()])?;
        }
        self.scope.truncate(visible);
        Ok(())
    }

    /// The queries of WITH: each may read those before it, and nothing but a recursive one itself.
    fn with(&mut self, node: &mut Value) -> Result<()> {
        let Some(entries) = node.get_mut("cte_map").and_then(|map| map["map"].as_array_mut()) else { return Ok(()) };
        for entry in entries {
            let name = tree::text(entry, "key").to_owned();
            self.node(&mut entry["value"])?;
            self.scope.push(name);
        }
        Ok(())
    }

    /// Refuses what FROM may not hold. What it holds is looked at by itself.
    fn from(&self, from: &Value) -> Result<()> {
        let kind = tree::text(from, "type");
        match kind {
            "BASE_TABLE" => Ok(()),
            "JOIN" => self.from(&from["left"]).and_then(|()| self.from(&from["right"])),
            "PIVOT" => self.from(&from["source"]),
            "TABLE_FUNCTION" => {
                let name = tree::text(&from["function"], "function_name");
                if TABLE_FUNCTIONS.iter().any(|allowed| same_identifier(allowed, name)) {
                    return Ok(());
                }
                Err(self.refused(from, &format!("the table function {name} may not be used here")))
            }
            _ if WITHIN.contains(&kind) => Ok(()),
            _ => Err(self.refused(from, "this may not be read here")),
        }
    }

    fn function(&self, node: &Value) -> Result<()> {
        let name = tree::text(node, "function_name");
        let schema = tree::text(node, "schema");
        let is_engines = tree::text(node, "catalog").is_empty() && matches!(schema, "" | "main");
        let lower = name.to_ascii_lowercase();
        let is_refused =
            REFUSED.contains(&lower.as_str()) || lower.starts_with("pg_") || lower.starts_with("duckdb_");
        // Operators and what the parser itself makes of some syntax need no name.
        if is_engines && !is_refused && (name.is_empty() || self.parser.function(name).is_some()) {
            return Ok(());
        }
        Err(self.refused(node, &format!("the function {name} may not be used here")))
    }

    /// Writes the name of a relation out.
    fn relation(&mut self, node: &mut Value) -> Result<()> {
        let part = |field: &str| Some(tree::text(node, field).to_owned()).filter(|part| !part.is_empty());
        let (catalog, schema, name) =
            (part("catalog_name"), part("schema_name"), tree::text(node, "table_name").to_owned());
        let is_plain = catalog.is_none() && schema.is_none();
        if is_plain && self.scope.iter().any(|visible| same_identifier(visible, &name)) {
            return Ok(());
        }
        let written = ObjectName { catalog, schema, name, offset: 0, length: 0 };
        let resolved = self.relations.resolve(&written).map_err(|error| match tree::location(node) {
            Some(place) => error.with_span(Span::new(self.text, place, 0)),
            None => error,
        })?;
        match resolved {
            Relation::Of { catalog, schema, name } => {
                node["catalog_name"] = catalog.into();
                node["schema_name"] = schema.into();
                node["table_name"] = name.into();
            }
            Relation::With(name) => {
                if !node["at_clause"].is_null() {
                    return Err(self.refused(node, "a relation that is filtered has no versions"));
                }
                // Columns are named by what stands here in place of it.
                if tree::text(node, "alias").is_empty() {
                    node["alias"] = written.name.into();
                }
                node["catalog_name"] = "".into();
                node["schema_name"] = "".into();
                node["table_name"] = name.into();
            }
        }
        Ok(())
    }

    fn refused(&self, node: &Value, what: &str) -> Error {
        let error = Error::new(Code::Permission, what).with_hint(self.relations.advice());
        match tree::location(node) {
            Some(place) => error.with_span(Span::new(self.text, place, 0)),
            None => error,
        }
    }
}
