//! `now()` and its like in WHERE: the data timestamp, which is the time at which the snapshot was made that a result belongs
//! to.
//!
//! So a result stays a function of its data version, and can be checked against it. Where it stands in WHERE, the time is a
//! leaf like a table, which was one value and is another; rows then come and go by the time alone. Elsewhere (in the
//! select list, in HAVING) it stays what it was, a value that differs from query to query.

use error::Result;
use serde_json::{Value, json};
use sql::query::Parser;
use sql::tree;

/// The catalog name by which the time is known in a tree of resolved tables.
const CLOCK_MARK: &str = "#clock";

/// The placeholder for the time in an expression.
const PLACE: &str = "__dt_time";

/// What a value of the time is as an expression over the data timestamp.
const TIMES: [(&str, &str); 10] = [
    ("now", "CAST(__dt_time AS TIMESTAMP WITH TIME ZONE)"),
    ("current_timestamp", "CAST(__dt_time AS TIMESTAMP WITH TIME ZONE)"),
    ("get_current_timestamp", "CAST(__dt_time AS TIMESTAMP WITH TIME ZONE)"),
    ("transaction_timestamp", "CAST(__dt_time AS TIMESTAMP WITH TIME ZONE)"),
    ("localtimestamp", "CAST(CAST(__dt_time AS TIMESTAMP WITH TIME ZONE) AS TIMESTAMP)"),
    ("current_localtimestamp", "CAST(CAST(__dt_time AS TIMESTAMP WITH TIME ZONE) AS TIMESTAMP)"),
    ("current_date", "CAST(CAST(__dt_time AS TIMESTAMP WITH TIME ZONE) AS DATE)"),
    ("today", "CAST(CAST(__dt_time AS TIMESTAMP WITH TIME ZONE) AS DATE)"),
    ("localtime", "CAST(CAST(__dt_time AS TIMESTAMP WITH TIME ZONE) AS TIME)"),
    ("current_localtime", "CAST(CAST(__dt_time AS TIMESTAMP WITH TIME ZONE) AS TIME)"),
];

/// What is written without parentheses.
const BARE: [&str; 4] = ["current_timestamp", "current_date", "localtimestamp", "localtime"];

/// The data timestamps of a change, as text that DuckDB takes for a TIMESTAMPTZ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Of the data version the table has, if that is known.
    pub old: Option<String>,
    /// Of the data version it gets.
    pub new: String,
}

impl Default for Clock {
    /// Any time, for a query that is bound and not run.
    fn default() -> Self {
        Self { old: None, new: "2000-01-01 00:00:00+00".to_owned() }
    }
}

impl Clock {
    /// Whether the time is another one.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.old.as_ref().is_some_and(|old| *old != self.new)
    }
}

/// Marks the time in every WHERE.
///
/// # Errors
/// `INTERNAL` when an expression of this module does not parse.
pub fn mark_times(node: &mut Value, is_column: &dyn Fn(&str) -> bool, parser: &Parser) -> Result<()> {
    if tree::is(node, "SELECT_NODE") {
        mark_condition(&mut node["where_clause"], is_column, parser)?;
    }
    match node {
        Value::Array(children) => children.iter_mut().try_for_each(|child| mark_times(child, is_column, parser)),
        Value::Object(fields) => fields.values_mut().try_for_each(|child| mark_times(child, is_column, parser)),
        _ => Ok(()),
    }
}

fn mark_condition(node: &mut Value, is_column: &dyn Fn(&str) -> bool, parser: &Parser) -> Result<()> {
    if tree::is(node, "SELECT_NODE") || is_clock(node) {
        return Ok(());
    }
    let name = if tree::is(node, "FUNCTION") && tree::list(node, "children").is_empty() {
        Some(tree::text(node, "function_name").to_lowercase())
    } else {
        match tree::column_reference(node).as_deref() {
            Some([name]) if !is_column(name) => {
                Some(name.to_lowercase()).filter(|name| BARE.contains(&name.as_str()))
            }
            _ => None,
        }
    };
    if let Some((_, expression)) = name.and_then(|name| TIMES.into_iter().find(|(known, _)| *known == name)) {
        let mut expression = parser.parse_expression(expression)?;
        tree::visit_mut(&mut expression, &mut |child| {
            if tree::column_reference(child).as_deref() == Some(&[PLACE]) {
                *child = json!({
                    "type": "BASE_TABLE", "alias": "", "sample": null, "schema_name": "", "table_name": "",
                    "column_name_alias": [], "catalog_name": CLOCK_MARK, "at_clause": null,
                });
            }
        });
        *node = expression;
        return Ok(());
    }
    match node {
        Value::Array(children) => children.iter_mut().try_for_each(|child| mark_condition(child, is_column, parser)),
        Value::Object(fields) => fields.values_mut().try_for_each(|child| mark_condition(child, is_column, parser)),
        _ => Ok(()),
    }
}

/// Whether this is a mark of the time.
pub fn is_clock(node: &Value) -> bool {
    tree::is(node, "BASE_TABLE") && tree::text(node, "catalog_name") == CLOCK_MARK
}

/// Calls `change` for the marks of the time that belong to this SELECT's own WHERE.
pub fn visit_own_times(select: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    fn walk(node: &mut Value, change: &mut dyn FnMut(&mut Value)) {
        if tree::is(node, "SELECT_NODE") {
            return;
        }
        if is_clock(node) {
            change(node);
            return;
        }
        match node {
            Value::Array(children) => children.iter_mut().for_each(|child| walk(child, change)),
            Value::Object(fields) => fields.values_mut().for_each(|child| walk(child, change)),
            _ => {}
        }
    }
    walk(&mut select["where_clause"], change);
}

/// Whether a query depends on the time in some WHERE.
pub fn depends_on_time(node: &Value) -> bool {
    let mut found = false;
    tree::visit(node, &mut |child| found = found || is_clock(child));
    found
}

/// The rows of a SELECT that come or go by the time alone: those for which its condition holds at one time and not at
/// the other. `at` is the condition at the time asked for, `not_at` that at the other.
pub fn between_times(at: Value, not_at: Value) -> Value {
    let definite = json!({
        "class": "OPERATOR", "type": "OPERATOR_COALESCE", "alias": "", "query_location": u64::MAX,
        "children": [not_at, tree::constant_false()],
    });
    let negated = json!({
        "class": "OPERATOR", "type": "OPERATOR_NOT", "alias": "", "query_location": u64::MAX, "children": [definite],
    });
    tree::conjunction(vec![at, negated])
}
