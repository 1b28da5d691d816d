//! Finds the tables a query reads and marks their places in the tree, so that each can later be read at the
//! version, or as the change, that a rule asks for.
//!
//! Views are replaced by their queries; names of common table expressions are told from tables by their scope.
//! Knows names and nesting, not what any operator means.

use std::collections::HashSet;

use error::{Code, Error, Result, Span};
use serde_json::Value;
use sql::names::{ObjectName, TableName};
use sql::query::Parser;
use sql::tree;

use crate::clock::mark_times;
use crate::{Catalog, Column, Relation};

/// The catalog name by which a marked table reference is known; its table name is the number of the source.
const SOURCE_MARK: &str = "#source";

/// Views nested deeper than this are taken for a cycle.
const DEEPEST_VIEW: usize = 32;

/// A table that the query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedSource {
    pub name: TableName,
    pub columns: Vec<Column>,
}

/// The query with its tables marked.
#[derive(Debug)]
pub struct Resolved {
    pub node: Value,
    pub sources: Vec<ResolvedSource>,
    /// Views that were replaced by their queries.
    pub views: Vec<TableName>,
    /// Where the query's own text names which table or view, in bytes.
    pub references: Vec<(usize, TableName)>,
}

/// The number of the source that this table reference was marked with.
pub fn source_of(node: &Value) -> Option<usize> {
    if !tree::is(node, "BASE_TABLE") || tree::text(node, "catalog_name") != SOURCE_MARK {
        return None;
    }
    tree::text(node, "table_name").parse().ok()
}

/// Marks every table the query reads.
///
/// # Errors
/// `QUERY` with the place for a name that is no table or view of the lake.
pub fn resolve(
    text: &str,
    node: &Value,
    catalog: &dyn Catalog,
    parser: &Parser,
    default_schema: &str,
) -> Result<Resolved> {
    let mut resolver = Resolver { catalog, parser, sources: Vec::new(), views: Vec::new(), references: Vec::new() };
    let mut node = node.clone();
    let place = Place { text, schema: default_schema, view_depth: 0 };
    resolver.walk(&mut node, &HashSet::new(), &place)?;
    shorten_column_references(&mut node, &resolver.sources);
    let given = given_names(&node);
    let is_column = |name: &str| {
        let mut columns = resolver.sources.iter().flat_map(|source| &source.columns);
        columns.any(|column| column.name.eq_ignore_ascii_case(name)) || given.contains(&name.to_lowercase())
    };
    mark_times(&mut node, &is_column, parser)?;
    Ok(Resolved { node, sources: resolver.sources, views: resolver.views, references: resolver.references })
}

/// Leaves out common table expressions that nothing reads: DuckDB does not bind them, whatever they read.
fn drop_unused(node: &mut Value) {
    if names_tables_in_texts(node) {
        return;
    }
    let Some(fields) = node.as_object() else { return };
    let mut readers: Vec<&Value> = fields.iter().filter(|(field, _)| *field != "cte_map").map(|(_, of)| of).collect();
    let mut kept = Vec::new();
    for entry in tree::list(&node["cte_map"], "map").iter().rev() {
        let name = tree::text(entry, "key");
        if readers.iter().any(|reader| reads(reader, name)) {
            readers.push(&entry["value"]);
            kept.push(entry.clone());
        }
    }
    kept.reverse();
    node["cte_map"]["map"] = Value::from(kept);
}

/// Whether a table function reads what a text says, which may be a common table expression.
fn names_tables_in_texts(node: &Value) -> bool {
    let mut found = false;
    tree::visit(node, &mut |child| {
        let function = tree::text(&child["function"], "function_name");
        found |= tree::is(child, "TABLE_FUNCTION")
            && ["query", "query_table"].iter().any(|known| function.eq_ignore_ascii_case(known));
    });
    found
}

/// Whether some table reference may mean the common table expression of that name.
fn reads(node: &Value, name: &str) -> bool {
    let mut found = false;
    tree::visit(node, &mut |child| {
        found |= tree::is(child, "BASE_TABLE")
            && ["catalog_name", "schema_name"].iter().all(|part| tree::text(child, part).is_empty())
            && tree::text(child, "table_name").eq_ignore_ascii_case(name);
    });
    found
}

struct Resolver<'a> {
    catalog: &'a dyn Catalog,
    parser: &'a Parser,
    sources: Vec<ResolvedSource>,
    views: Vec<TableName>,
    references: Vec<(usize, TableName)>,
}

/// Where names stand: in which text, and which schema is meant when none is written.
struct Place<'a> {
    text: &'a str,
    schema: &'a str,
    view_depth: usize,
}

impl Resolver<'_> {
    fn walk(&mut self, node: &mut Value, scope: &HashSet<String>, place: &Place<'_>) -> Result<()> {
        if tree::is(node, "BASE_TABLE") {
            return self.table_reference(node, scope, place);
        }
        match node {
            Value::Array(children) => children.iter_mut().try_for_each(|child| self.walk(child, scope, place)),
            Value::Object(_) if !node["cte_map"].is_null() => self.query_node(node, scope, place),
            Value::Object(fields) => fields.values_mut().try_for_each(|child| self.walk(child, scope, place)),
            _ => Ok(()),
        }
    }

    /// A query node: each common table expression sees those before it, the body sees all.
    fn query_node(&mut self, node: &mut Value, scope: &HashSet<String>, place: &Place<'_>) -> Result<()> {
        drop_unused(node);
        let mut scope = scope.clone();
        if let Some(entries) = node["cte_map"]["map"].as_array_mut() {
            for entry in entries {
                let name = tree::text(entry, "key").to_lowercase();
                self.walk(&mut entry["value"]["query"], &scope, place)?;
                scope.insert(name);
            }
        }
        if tree::is(node, "RECURSIVE_CTE_NODE") {
            scope.insert(tree::text(node, "cte_name").to_lowercase());
        }
        let Some(fields) = node.as_object_mut() else { return Ok(()) };
        for (_, child) in fields.iter_mut().filter(|(field, _)| *field != "cte_map") {
            self.walk(child, &scope, place)?;
        }
        Ok(())
    }

    fn table_reference(&mut self, node: &mut Value, scope: &HashSet<String>, place: &Place<'_>) -> Result<()> {
        let optional = |field| Some(tree::text(node, field).to_owned()).filter(|part| !part.is_empty());
        let (catalog, schema) = (optional("catalog_name"), optional("schema_name"));
        let table = tree::text(node, "table_name").to_owned();
        if catalog.is_none() && schema.is_none() && scope.contains(&table.to_lowercase()) {
            return Ok(());
        }
        let here = Span::new(place.text, tree::location(node).unwrap_or(0), table.len());
        let span = || here.clone();
        if !node["at_clause"].is_null() {
            return Err(Error::new(
                Code::Query,
                "a source of a dynamic table cannot be read AT a version of its own",
            )
            .with_span(span())
            .with_hint("Leave the AT clause out: every source is read at the data version of the refresh."));
        }
        let offset = tree::location(node).unwrap_or(0);
        let name = ObjectName { catalog, schema, length: table.len(), name: table.clone(), offset };
        let relation = self.catalog.relation(&name, place.schema).map_err(|error| match error.span() {
            None => error.with_span(span()),
            Some(_) => error,
        })?;
        if place.view_depth == 0
            && let Some(Relation::Table { name, .. } | Relation::View { name, .. }) = &relation
        {
            self.references.push((offset, name.clone()));
        }
        match relation {
            Some(Relation::Table { name, columns }) => {
                let number = self.source_number(name, columns);
                if tree::text(node, "alias").is_empty() {
                    node["alias"] = Value::from(table);
                }
                node["catalog_name"] = Value::from(SOURCE_MARK);
                node["schema_name"] = Value::from("");
                node["table_name"] = Value::from(number.to_string());
                Ok(())
            }
            Some(Relation::View { name, query }) => self.view(node, &name, &query, place).map_err(|error| {
                if error.span().is_some_and(|known| known.text == place.text) {
                    error
                } else {
                    error.with_span(span())
                }
            }),
            None => Err(self.unknown(&name, span())),
        }
    }

    fn source_number(&mut self, name: TableName, columns: Vec<Column>) -> usize {
        match self.sources.iter().position(|source| source.name == name) {
            Some(number) => number,
            None => {
                self.sources.push(ResolvedSource { name, columns });
                self.sources.len() - 1
            }
        }
    }

    fn view(&mut self, node: &mut Value, name: &TableName, query: &str, place: &Place<'_>) -> Result<()> {
        if place.view_depth >= DEEPEST_VIEW {
            return Err(Error::new(Code::Query, format!("view {name} is defined by way of itself")));
        }
        let mut body = self
            .parser
            .parse(query)
            .map_err(|error| Error::new(Code::Query, format!("view {name} cannot be expanded: {}", error.message())))?
            .node;
        let inner = Place { text: query, schema: &name.schema, view_depth: place.view_depth + 1 };
        self.walk(&mut body, &HashSet::new(), &inner)?;
        // Places inside the view's text mean nothing in the query's text.
        let at = node["query_location"].clone();
        tree::visit_mut(&mut body, &mut |child| {
            if child.get("query_location").is_some() {
                child["query_location"] = at.clone();
            }
        });
        let alias = Some(tree::text(node, "alias")).filter(|alias| !alias.is_empty()).unwrap_or(&name.name);
        let mut derived = tree::derived_table(body, alias, tree::list(node, "column_name_alias"));
        derived["sample"] = node["sample"].clone();
        derived["query_location"] = at;
        *node = derived;
        if !self.views.contains(name) {
            self.views.push(name.clone());
        }
        Ok(())
    }

    fn unknown(&self, name: &ObjectName, span: Span) -> Error {
        let wanted = name.name.to_lowercase();
        let mut names: Vec<(usize, String)> = self
            .catalog
            .names()
            .unwrap_or_default()
            .iter()
            .map(|known| (edit_distance(&known.name.to_lowercase(), &wanted), known.to_string()))
            .collect();
        names.sort();
        let error = Error::new(Code::Query, format!("unknown source {name}")).with_span(span);
        match names.first() {
            Some((distance, known)) if *distance <= wanted.chars().count().div_ceil(3) => {
                error.with_hint(format!("Did you mean {known}?"))
            }
            _ => error.with_hint(
                "A source is a table, a view or a dynamic table of this lake; load the data into the lake first.",
            ),
        }
    }
}

/// Levenshtein's distance between two names.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, left_character) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, right_character) in right.iter().enumerate() {
            let replaced = previous[column] + usize::from(left_character != *right_character);
            current.push(replaced.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous.last().copied().unwrap_or(0)
}

/// Every name that the query gives to an item, a table or a column.
fn given_names(node: &Value) -> HashSet<String> {
    let mut names = HashSet::new();
    tree::visit(node, &mut |child| {
        names.insert(tree::text(child, "alias").to_lowercase());
        for list in ["column_name_alias", "aliases"] {
            names.extend(tree::list(child, list).iter().filter_map(Value::as_str).map(str::to_lowercase));
        }
    });
    names
}

/// `lake.main.orders.price` and `main.orders.price` become `orders.price`: a marked table is known by its alias only.
fn shorten_column_references(node: &mut Value, sources: &[ResolvedSource]) {
    tree::visit_mut(node, &mut |child| {
        let Some(parts) = tree::column_reference(child) else { return };
        let names =
            |schema: &str, table: &str| sources.iter().any(|source| source.name == TableName::new(schema, table));
        let skip = match parts.as_slice() {
            [_, schema, table, _, ..] if names(schema, table) => 2,
            [schema, table, _, ..] if names(schema, table) => 1,
            _ => return,
        };
        let shortened: Vec<Value> = parts[skip..].iter().map(|part| Value::from(*part)).collect();
        child["column_names"] = Value::from(shortened);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(edit_distance("orders", "oders"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
    }
}
