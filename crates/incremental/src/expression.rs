//! What an expression depends on besides its row.

use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use crate::Reason;
use crate::resolve::ResolvedSource;

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

/// The windows in an expression, outside subqueries.
pub fn windows(expression: &Value) -> Vec<&Value> {
    match expression {
        Value::Array(children) => children.iter().flat_map(windows).collect(),
        Value::Object(_) if tree::is(expression, "SUBQUERY") => Vec::new(),
        Value::Object(_) if tree::is(expression, "WINDOW") => vec![expression],
        Value::Object(fields) => fields.values().flat_map(windows).collect(),
        _ => Vec::new(),
    }
}

/// Why an expression is more than a function of its row (in a window, of its partition) and of its subqueries.
pub fn doubts(expression: &Value, sources: &[ResolvedSource], parser: &Parser) -> Vec<Reason> {
    let reason = |text: String| {
        vec![Reason::new(text, tree::location(expression).or_else(|| tree::first_location(expression)))]
    };
    if tree::is(expression, "SUBQUERY") {
        // The query in it has operators of its own.
        return doubts(&expression["child"], sources, parser);
    }
    if let Some(text) = varies(expression, sources, parser).or_else(|| where_it_is_stored(expression, sources)) {
        return reason(text);
    }
    match expression {
        Value::Array(children) => children.iter().flat_map(|child| doubts(child, sources, parser)).collect(),
        Value::Object(fields) => fields.values().flat_map(|child| doubts(child, sources, parser)).collect(),
        _ => Vec::new(),
    }
}

/// Why this very node gives another value from evaluation to evaluation.
pub fn varies(expression: &Value, sources: &[ResolvedSource], parser: &Parser) -> Option<String> {
    if tree::is(expression, "FUNCTION") && expression["is_operator"].as_bool() != Some(true) {
        let name = tree::text(expression, "function_name");
        if asks_the_session(name, tree::list(expression, "children").len()) {
            return Some(format!("{name}() gives another value in every query"));
        }
        return match parser.function(name) {
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
            let mut columns = sources.iter().flat_map(|source| &source.columns);
            columns.any(|column| column.name.to_lowercase() == name)
        };
        if VALUES_OF_THE_SESSION.contains(&name.as_str()) && !is_column() {
            return Some(format!("{name} gives another value in every query"));
        }
    }
    None
}

/// Whether a call depends on the time or the settings although the engine calls it consistent: `age(x)` is the age today.
fn asks_the_session(function: &str, arguments: usize) -> bool {
    match function.to_lowercase().as_str() {
        "age" => arguments == 1,
        "getvariable" | "current_setting" => true,
        _ => false,
    }
}

/// Why a virtual column cannot be had of the rows that changed.
pub fn where_it_is_stored(expression: &Value, sources: &[ResolvedSource]) -> Option<String> {
    let parts = tree::column_reference(expression)?;
    let name = parts.last()?.to_lowercase();
    let mut columns = sources.iter().flat_map(|source| &source.columns);
    let is_virtual =
        VIRTUAL_COLUMNS.contains(&name.as_str()) && !columns.any(|column| column.name.to_lowercase() == name);
    is_virtual.then(|| format!("{name} is no column of a source but says where a row is stored"))
}

/// The value of an integer that is written out. A decimal's would be that of its digits.
pub fn integer(constant: &Value) -> Option<u64> {
    let integer =
        matches!(tree::text(&constant["value"]["type"], "id"), "TINYINT" | "SMALLINT" | "INTEGER" | "BIGINT");
    constant["value"]["value"].as_u64().filter(|_| tree::is(constant, "CONSTANT") && integer)
}

/// Whether an expression reads any column.
pub fn reads_columns(expression: &Value) -> bool {
    let mut reads = false;
    tree::visit(expression, &mut |child| reads = reads || tree::column_reference(child).is_some());
    reads
}

/// The conditions that a condition joins by AND.
pub fn conjuncts(condition: &Value) -> Vec<&Value> {
    if tree::is(condition, "CONJUNCTION") && tree::text(condition, "type") == "CONJUNCTION_AND" {
        return tree::list(condition, "children").iter().flat_map(conjuncts).collect();
    }
    if condition.is_null() { Vec::new() } else { vec![condition] }
}

/// The first COLLATE that stays with a value: texts that differ are equal by it, so that a group has several names and a
/// change of one into the other looks like none. A comparison gives a truth value, which has no collation.
pub fn collated(expression: &Value) -> Option<&Value> {
    match expression {
        Value::Array(children) => children.iter().find_map(collated),
        Value::Object(fields) => {
            if ["COMPARISON", "BETWEEN", "COMPARE_IN", "COMPARE_NOT_IN"].iter().any(|kind| tree::is(expression, kind))
            {
                return None;
            }
            if tree::is(expression, "COLLATE") {
                let exact =
                    ["c", "posix", "binary"].contains(&tree::text(expression, "collation").to_lowercase().as_str());
                return (!exact).then_some(expression);
            }
            fields.values().find_map(collated)
        }
        _ => None,
    }
}
