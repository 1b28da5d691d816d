//! From the query's tree to operators: common table expressions are put in their places, every operator is looked
//! at once, and what has no rule gets a reason.
//!
//! The lowered tree is still DuckDB's; its table references are numbered *leaves*, so that each occurrence of a
//! table (a self-join has two) can be read as it was, as it is, or as what changed.

use std::collections::HashMap;

use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use crate::resolve::{ResolvedSource, source_of};
use crate::{Operator, Reason};

/// The catalog name by which a leaf is known; its table name is the number of the leaf.
const LEAF_MARK: &str = "#leaf";

/// Values that look like columns and differ from query to query.
const VALUES_OF_THE_SESSION: [&str; 11] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "current_user",
    "current_role",
    "session_user",
    "user",
    "current_catalog",
    "current_schema",
];

/// What a scan of the lake gives besides the table's own columns.
const VIRTUAL_COLUMNS: [&str; 5] = ["rowid", "snapshot_id", "filename", "file_row_number", "file_index"];

/// Table functions whose rows follow from their arguments alone.
const CONSTANT_TABLE_FUNCTIONS: [&str; 3] = ["unnest", "range", "generate_series"];

/// A query whose common table expressions stand where they are used and whose tables are numbered leaves.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The tree; ORDER BY without LIMIT, which means nothing in a table, is gone.
    pub node: Value,
    /// The source behind each leaf.
    pub leaves: Vec<usize>,
    /// Every operator, parents first.
    pub operators: Vec<Operator>,
    /// Why the query has no rule; empty when it has one.
    pub reasons: Vec<Reason>,
    /// The root is an aggregate over a linear query; otherwise, without reasons, the query is linear.
    pub aggregate: bool,
    /// Some value differs from evaluation to evaluation, so that two evaluations cannot be compared.
    pub volatile: bool,
}

/// The number of a leaf.
pub fn leaf_of(node: &Value) -> Option<usize> {
    if !tree::is(node, "BASE_TABLE") || tree::text(node, "catalog_name") != LEAF_MARK {
        return None;
    }
    tree::text(node, "table_name").parse().ok()
}

/// Lowers a resolved query.
pub fn lower(node: &Value, sources: &[ResolvedSource], parser: &Parser) -> Lowered {
    let mut lowering =
        Lowering { parser, sources, operators: Vec::new(), reasons: Vec::new(), leaves: Vec::new(), volatile: false };
    let mut node = node.clone();
    lowering.inline(&mut node, &HashMap::new());
    lowering.number_leaves(&mut node);
    lowering.volatility(&node);
    drop_order(&mut node);
    let aggregate = lowering.root(&node);
    let Lowering { operators, reasons, leaves, volatile, .. } = lowering;
    Lowered { node, leaves, operators, reasons, aggregate, volatile }
}

/// Whether the expression calls an aggregate (outside windows and subqueries).
pub fn calls_aggregate(expression: &Value, parser: &Parser) -> bool {
    match expression {
        Value::Array(children) => children.iter().any(|child| calls_aggregate(child, parser)),
        Value::Object(fields) => {
            if tree::is(expression, "SUBQUERY") || tree::is(expression, "WINDOW") {
                return false;
            }
            let named = tree::is(expression, "FUNCTION")
                && parser.function(tree::text(expression, "function_name")).is_some_and(|known| known.aggregate);
            named || fields.values().any(|child| calls_aggregate(child, parser))
        }
        _ => false,
    }
}

/// Whether a SELECT is an aggregate: it groups, or an item calls an aggregate.
pub fn is_aggregate(select: &Value, parser: &Parser) -> bool {
    !tree::list(select, "group_expressions").is_empty()
        || !tree::list(select, "group_sets").is_empty()
        || tree::text(select, "aggregate_handling") == "FORCE_AGGREGATES"
        || !select["having"].is_null()
        || calls_aggregate(&select["select_list"], parser)
}

fn drop_order(node: &mut Value) {
    if let Some(modifiers) = node["modifiers"].as_array_mut()
        && modifiers.iter().all(|modifier| tree::text(modifier, "type") == "ORDER_MODIFIER")
    {
        modifiers.clear();
    }
}

struct Lowering<'a> {
    parser: &'a Parser,
    sources: &'a [ResolvedSource],
    operators: Vec<Operator>,
    reasons: Vec<Reason>,
    leaves: Vec<usize>,
    volatile: bool,
}

/// A common table expression in scope: its query, already inlined, and the names of its columns.
#[derive(Clone)]
struct CommonTable {
    node: Value,
    column_aliases: Vec<Value>,
}

impl Lowering<'_> {
    /// Puts every common table expression where it is used. Recursive ones stay and are reported as operators.
    fn inline(&mut self, node: &mut Value, scope: &HashMap<String, CommonTable>) {
        if tree::is(node, "BASE_TABLE") && tree::text(node, "catalog_name").is_empty() {
            let name = tree::text(node, "table_name").to_owned();
            if let Some(common) = scope.get(&name.to_lowercase()) {
                let alias = Some(tree::text(node, "alias")).filter(|alias| !alias.is_empty()).unwrap_or(&name);
                // The reference may rename the first columns only.
                let mut aliases = tree::list(node, "column_name_alias").to_vec();
                aliases.extend(common.column_aliases.iter().skip(aliases.len()).cloned());
                let mut derived = tree::derived_table(common.node.clone(), alias, &aliases);
                derived["sample"] = node["sample"].clone();
                derived["query_location"] = node["query_location"].clone();
                *node = derived;
            }
            return;
        }
        match node {
            Value::Array(children) => children.iter_mut().for_each(|child| self.inline(child, scope)),
            Value::Object(_) if !node["cte_map"].is_null() => self.inline_query_node(node, scope),
            Value::Object(fields) => fields.values_mut().for_each(|child| self.inline(child, scope)),
            _ => {}
        }
    }

    fn inline_query_node(&mut self, node: &mut Value, scope: &HashMap<String, CommonTable>) {
        let mut scope = scope.clone();
        if tree::is(node, "RECURSIVE_CTE_NODE") {
            scope.remove(&tree::text(node, "cte_name").to_lowercase());
        }
        let mut kept = Vec::new();
        if let Some(entries) = node["cte_map"]["map"].as_array_mut() {
            for mut entry in std::mem::take(entries) {
                let name = tree::text(&entry, "key").to_lowercase();
                self.inline(&mut entry["value"]["query"], &scope);
                let body = entry["value"]["query"]["node"].clone();
                if tree::is(&body, "RECURSIVE_CTE_NODE") {
                    scope.remove(&name);
                    kept.push(entry);
                } else {
                    let column_aliases = tree::list(&entry["value"], "aliases").to_vec();
                    scope.insert(name, CommonTable { node: body, column_aliases });
                }
            }
        }
        node["cte_map"]["map"] = Value::from(kept);
        let Some(fields) = node.as_object_mut() else { return };
        for (_, child) in fields.iter_mut().filter(|(field, _)| *field != "cte_map") {
            self.inline(child, &scope);
        }
    }

    /// Numbers the leaves from left to right, so that the leaves of any part of FROM stand together.
    fn number_leaves(&mut self, node: &mut Value) {
        if let Some(source) = source_of(node) {
            node["catalog_name"] = Value::from(LEAF_MARK);
            node["table_name"] = Value::from(self.leaves.len().to_string());
            self.leaves.push(source);
            return;
        }
        match node {
            Value::Array(children) => children.iter_mut().for_each(|child| self.number_leaves(child)),
            Value::Object(fields) => fields.values_mut().for_each(|child| self.number_leaves(child)),
            _ => {}
        }
    }

    fn note(&mut self, depth: usize, name: impl Into<String>, rule: Option<&str>, node: &Value) -> usize {
        self.operators.push(Operator {
            depth,
            name: name.into(),
            rule: rule.map(str::to_owned),
            reason: None,
            location: tree::location(node).or_else(|| tree::first_location(node)),
        });
        self.operators.len() - 1
    }

    /// Reports that the operator last noted has no rule.
    fn no_rule(&mut self, operator: usize, text: impl Into<String>, node: &Value) {
        let reason = Reason::new(text, tree::location(node).or_else(|| tree::first_location(node)));
        let operator = &mut self.operators[operator];
        operator.rule = None;
        operator.reason.get_or_insert_with(|| reason.clone());
        self.reasons.push(reason);
    }

    fn root(&mut self, node: &Value) -> bool {
        if tree::is(node, "SELECT_NODE") && is_aggregate(node, self.parser) {
            self.aggregate(node, 0);
            return true;
        }
        self.query(node, 0);
        false
    }

    fn query(&mut self, node: &Value, depth: usize) {
        match tree::text(node, "type") {
            "SELECT_NODE" if is_aggregate(node, self.parser) => {
                let operator = self.note(depth, "Aggregate", None, node);
                self.no_rule(operator, "an aggregate below other operators has no incremental rule yet", node);
                self.from(&node["from_table"], depth + 1);
            }
            "SELECT_NODE" => self.select(node, depth),
            "SET_OPERATION_NODE" => self.set_operation(node, depth),
            "RECURSIVE_CTE_NODE" => {
                let operator = self.note(depth, "Recursive query", None, node);
                self.no_rule(operator, "WITH RECURSIVE has no incremental rule", node);
            }
            other => {
                let operator = self.note(depth, other.to_owned(), None, node);
                self.no_rule(operator, format!("{other} has no incremental rule"), node);
            }
        }
    }

    fn select(&mut self, node: &Value, depth: usize) {
        let items = tree::list(node, "select_list");
        let filtered = if node["where_clause"].is_null() { "" } else { " with a filter" };
        let operator = self.note(
            depth,
            format!("Select {}{filtered}", counted(items.len(), "item")),
            Some("linear: the same query over the change"),
            node,
        );
        self.modifiers(operator, node);
        self.clause_without_rule(operator, node);
        self.expression(operator, &node["select_list"]);
        self.expression(operator, &node["where_clause"]);
        self.from(&node["from_table"], depth + 1);
    }

    fn aggregate(&mut self, node: &Value, depth: usize) {
        let operator = self.note(depth, "Aggregate", Some("affected groups"), node);
        if tree::list(node, "group_sets").len() > 1 {
            self.no_rule(operator, "GROUPING SETS, ROLLUP and CUBE have no incremental rule yet", node);
        }
        self.modifiers(operator, node);
        self.clause_without_rule(operator, node);
        for clause in ["select_list", "where_clause", "group_expressions", "having"] {
            self.expression(operator, &node[clause]);
        }
        self.from(&node["from_table"], depth + 1);
    }

    fn modifiers(&mut self, operator: usize, node: &Value) {
        let modifiers = tree::list(node, "modifiers");
        for modifier in modifiers {
            let text = match tree::text(modifier, "type") {
                "LIMIT_MODIFIER" | "LIMIT_PERCENT_MODIFIER" => {
                    "LIMIT keeps rows by their position in the whole result"
                }
                "DISTINCT_MODIFIER" if tree::list(modifier, "distinct_on_targets").is_empty() => {
                    "DISTINCT has no incremental rule yet"
                }
                "DISTINCT_MODIFIER" => "DISTINCT ON has no incremental rule yet",
                // An order alone means nothing in a table.
                "ORDER_MODIFIER" => continue,
                _ => "this clause has no incremental rule",
            };
            let place = if tree::first_location(modifier).is_some() { modifier } else { node };
            self.no_rule(operator, text, place);
        }
    }

    fn clause_without_rule(&mut self, operator: usize, node: &Value) {
        if !node["qualify"].is_null() {
            self.no_rule(operator, "QUALIFY has no incremental rule yet", &node["qualify"]);
        }
        if !node["sample"].is_null() {
            self.no_rule(operator, "a sample differs from query to query", node);
        }
    }

    fn set_operation(&mut self, node: &Value, depth: usize) {
        let kind = tree::text(node, "setop_type");
        let all = node["setop_all"].as_bool() == Some(true);
        let name = format!("{}{}", kind.replace('_', " "), if all { " ALL" } else { "" });
        let operator = self.note(depth, name.clone(), Some("linear: the changes of its branches"), node);
        if !all || !matches!(kind, "UNION" | "UNION_BY_NAME") {
            self.no_rule(operator, format!("{name} has no incremental rule yet"), node);
        }
        self.modifiers(operator, node);
        for branch in branches(node) {
            self.query(branch, depth + 1);
        }
    }

    fn from(&mut self, node: &Value, depth: usize) {
        if let Some(leaf) = leaf_of(node) {
            let name = self.sources[self.leaves[leaf]].name.to_string();
            let alias = tree::text(node, "alias");
            let shown = if name.ends_with(&format!(".{alias}")) { name } else { format!("{name} as {alias}") };
            let operator =
                self.note(depth, format!("Scan {shown}"), Some("its change between the two snapshots"), node);
            self.sampled(operator, node);
            return;
        }
        match tree::text(node, "type") {
            "JOIN" => self.join(node, depth),
            "SUBQUERY" => {
                let operator = self.note(
                    depth,
                    format!("Subquery {}", tree::text(node, "alias")),
                    Some("linear: the change of its query"),
                    node,
                );
                self.sampled(operator, node);
                self.query(&node["subquery"]["node"], depth + 1);
            }
            "EXPRESSION_LIST" => {
                let operator = self.note(depth, "Values", Some("constant: never changes"), node);
                self.expression(operator, &node["values"]);
            }
            "EMPTY" => {}
            "TABLE_FUNCTION" => self.table_function(node, depth),
            // What is left of common table expressions after inlining is recursive.
            "BASE_TABLE" => {
                let operator =
                    self.note(depth, format!("Recursive query {}", tree::text(node, "table_name")), None, node);
                self.no_rule(operator, "WITH RECURSIVE has no incremental rule", node);
            }
            other => {
                let name = other.to_lowercase().replace('_', " ");
                let operator = self.note(depth, name.clone(), None, node);
                self.no_rule(operator, format!("{name} in FROM has no incremental rule"), node);
            }
        }
    }

    fn sampled(&mut self, operator: usize, node: &Value) {
        if !node["sample"].is_null() {
            self.no_rule(operator, "TABLESAMPLE differs from query to query", node);
        }
    }

    fn join(&mut self, node: &Value, depth: usize) {
        let (kind, reference) = (tree::text(node, "join_type"), tree::text(node, "ref_type"));
        let name = match reference {
            "CROSS" => "Cross join".to_owned(),
            "REGULAR" => format!("Join {}", kind.to_lowercase()),
            _ => format!("Join {} {}", reference.to_lowercase(), kind.to_lowercase()),
        };
        let operator = self.note(depth, name.clone(), Some("delta(a) x new(b) + old(a) x delta(b)"), node);
        let linear = kind == "INNER" && matches!(reference, "REGULAR" | "CROSS" | "NATURAL");
        if !linear {
            let shown = match reference {
                "REGULAR" => format!("{kind} JOIN"),
                _ => format!("{reference} JOIN"),
            };
            self.no_rule(operator, format!("{shown} has no incremental rule yet"), node);
        }
        self.expression(operator, &node["condition"]);
        self.from(&node["left"], depth + 1);
        self.from(&node["right"], depth + 1);
    }

    fn table_function(&mut self, node: &Value, depth: usize) {
        let function = tree::text(&node["function"], "function_name").to_lowercase();
        let operator =
            self.note(depth, format!("Table function {function}"), Some("linear in the row it stands beside"), node);
        if !CONSTANT_TABLE_FUNCTIONS.contains(&function.as_str()) {
            let text = format!("{function}() reads something that has no versions, so its change cannot be told");
            self.no_rule(operator, text, node);
        } else if tree::text(node, "with_ordinality") == "WITH_ORDINALITY" || !node["sample"].is_null() {
            self.no_rule(operator, "WITH ORDINALITY and samples have no incremental rule", node);
        }
        self.expression(operator, &node["function"]["children"]);
    }

    /// Looks for what makes an expression depend on more than its row.
    fn expression(&mut self, operator: usize, expression: &Value) {
        if tree::is(expression, "SUBQUERY") {
            let kind = match tree::text(expression, "subquery_type") {
                "EXISTS" | "NOT_EXISTS" => "EXISTS",
                "ANY" => "IN",
                _ => "a subquery in an expression",
            };
            return self.no_rule(operator, format!("{kind} has no incremental rule yet"), expression);
        }
        if tree::is(expression, "WINDOW") {
            return self.no_rule(operator, "window functions have no incremental rule yet", expression);
        }
        if let Some(text) = self.varies(expression).or_else(|| self.where_it_is_stored(expression)) {
            return self.no_rule(operator, text, expression);
        }
        match expression {
            Value::Array(children) => children.iter().for_each(|child| self.expression(operator, child)),
            Value::Object(fields) => fields.values().for_each(|child| self.expression(operator, child)),
            _ => {}
        }
    }

    /// Why this very node gives another value from evaluation to evaluation.
    fn varies(&self, expression: &Value) -> Option<String> {
        if tree::is(expression, "FUNCTION") && expression["is_operator"].as_bool() != Some(true) {
            let name = tree::text(expression, "function_name");
            return match self.parser.function(name) {
                Some(known) if known.volatile => Some(format!("{name}() gives another value at every evaluation")),
                Some(known) if known.per_query => Some(format!("{name}() gives another value in every query")),
                Some(_) => None,
                None => Some(format!(
                    "{name}() is no function of the engine itself, so whether it always gives the same value is not known"
                )),
            };
        }
        if let Some([name]) = tree::column_reference(expression).as_deref() {
            let name = name.to_lowercase();
            let is_column = || {
                let mut columns = self.sources.iter().flat_map(|source| &source.columns);
                columns.any(|column| column.name.to_lowercase() == name)
            };
            if VALUES_OF_THE_SESSION.contains(&name.as_str()) && !is_column() {
                return Some(format!("{name} gives another value in every query"));
            }
        }
        None
    }

    /// Why a virtual column cannot be had of the rows that changed.
    fn where_it_is_stored(&self, expression: &Value) -> Option<String> {
        let parts = tree::column_reference(expression)?;
        let name = parts.last()?.to_lowercase();
        let mut columns = self.sources.iter().flat_map(|source| &source.columns);
        let is_virtual =
            VIRTUAL_COLUMNS.contains(&name.as_str()) && !columns.any(|column| column.name.to_lowercase() == name);
        is_virtual.then(|| format!("{name} is no column of a source but says where a row is stored"))
    }

    fn volatility(&mut self, node: &Value) {
        let mut volatile = false;
        tree::visit(node, &mut |child| {
            let sampled = child.get("sample").is_some_and(|sample| !sample.is_null());
            let stored = || self.where_it_is_stored(child).is_some();
            volatile = volatile || sampled || reads_outside(child) || self.varies(child).is_some() || stored();
        });
        self.volatile = volatile;
    }
}

/// Whether it is a table function whose rows follow from more than its arguments: a file, the catalog, a table that it
/// is given by name. Nothing tells when those change.
fn reads_outside(node: &Value) -> bool {
    let function = tree::text(&node["function"], "function_name").to_lowercase();
    tree::is(node, "TABLE_FUNCTION")
        && !CONSTANT_TABLE_FUNCTIONS.contains(&function.as_str())
        && !["json_each", "json_tree", "repeat", "repeat_row"].contains(&function.as_str())
}

/// The branches of a set operation.
pub fn branches(node: &Value) -> Vec<&Value> {
    match node["children"].as_array() {
        Some(children) if !children.is_empty() => children.iter().collect(),
        _ => vec![&node["left"], &node["right"]],
    }
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
