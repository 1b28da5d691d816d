//! Filters of a table: as JSON of version 2, whose columns and operators are known ones and whose values are never SQL, and in
//! the older form of conditions with `;` between. Both become the text of one condition.

use std::fmt::Write as _;

use error::{Code, Error, Result};
use serde::Deserialize;
use serde_json::Value;
use sql::names::{ObjectName, quote_identifier, quote_literal, same_identifier};
use sql::query::Parser;
use sql::tree;

use crate::walk::{Relation, Relations, walk};

#[derive(Deserialize)]
struct Filter {
    version: u32,
    #[serde(default)]
    groups: Vec<Group>,
    #[serde(default, rename = "interLogic")]
    inter_logic: Vec<String>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default, rename = "intraLogic")]
    intra_logic: Option<String>,
}

#[derive(Deserialize)]
struct Condition {
    column: String,
    operator: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    value2: Value,
}

/// The condition that a filter means over these columns (name and type); none if it lets everything through.
pub(crate) fn condition(parser: &Parser, text: &str, columns: &[(String, String)]) -> Result<Option<String>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('{') { of_json(text, columns) } else { of_conditions(parser, text) }
}

fn of_json(text: &str, columns: &[(String, String)]) -> Result<Option<String>> {
    let filter: Filter =
        serde_json::from_str(text).map_err(|cause| wrong(format!("the filter is not what is expected: {cause}")))?;
    if filter.version != 2 {
        return Err(wrong(format!("filters of version {} are not known", filter.version)));
    }
    let mut whole = String::new();
    for (index, group) in filter.groups.iter().enumerate() {
        let logic = group.intra_logic.as_deref().map_or(Ok("AND"), logic)?;
        let conditions: Vec<String> = group
            .conditions
            .iter()
            .filter_map(|condition| one(condition, columns).transpose())
            .collect::<Result<_>>()?;
        // The operator stands before the group; what is dropped takes its own with it.
        let before = match index.checked_sub(1) {
            Some(before) => filter.inter_logic.get(before).map_or(Ok("AND"), |text| self::logic(text))?,
            None => "AND",
        };
        if conditions.is_empty() {
            continue;
        }
        let group = format!("({})", conditions.join(&format!(" {logic} ")));
        whole = if whole.is_empty() { group } else { format!("({whole} {before} {group})") };
    }
    Ok((!whole.is_empty()).then_some(whole))
}

fn logic(text: &str) -> Result<&'static str> {
    match text.trim().to_ascii_uppercase().as_str() {
        "AND" => Ok("AND"),
        "OR" => Ok("OR"),
        _ => Err(wrong(format!("{text:?} is neither AND nor OR"))),
    }
}

/// One condition; none if it says nothing.
fn one(condition: &Condition, columns: &[(String, String)]) -> Result<Option<String>> {
    let Some((name, kind)) = columns.iter().find(|(name, _)| same_identifier(name, &condition.column)) else {
        return Err(wrong(format!("the table has no column {:?}", condition.column)));
    };
    let column = quote_identifier(name);
    let operator = condition.operator.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_uppercase();
    let literal = |value: &Value| literal(value, name, kind);
    let text = match operator.as_str() {
        "IS NULL" | "IS NOT NULL" => format!("{column} {operator}"),
        "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" => match literal(&condition.value)? {
            Some(value) => format!("{column} {operator} {value}"),
            None => return Ok(None),
        },
        "BETWEEN" | "NOT BETWEEN" => match (literal(&condition.value)?, literal(&condition.value2)?) {
            (Some(low), Some(high)) => format!("{column} {operator} {low} AND {high}"),
            _ => return Ok(None),
        },
        "LIKE" | "ILIKE" | "NOT LIKE" | "NOT ILIKE" => match plain(&condition.value) {
            Some(pattern) => {
                let has_wildcard = pattern.contains(['%', '_']);
                let pattern = if has_wildcard { pattern } else { format!("%{pattern}%") };
                let text = if is_text(kind) { column } else { format!("CAST({column} AS VARCHAR)") };
                format!("{text} {operator} {}", quote_literal(&pattern))
            }
            None => return Ok(None),
        },
        "IN" | "NOT IN" => {
            let values: Vec<Value> = match &condition.value {
                Value::Array(values) => values.clone(),
                other => plain(other)
                    .unwrap_or_default()
                    .split(',')
                    .map(|value| Value::from(value.trim().trim_matches('\'').to_owned()))
                    .collect(),
            };
            let literals: Vec<String> =
                values.iter().filter_map(|value| literal(value).transpose()).collect::<Result<_>>()?;
            if literals.is_empty() {
                return Ok(None);
            }
            format!("{column} {operator} ({})", literals.join(", "))
        }
        _ => {
            return Err(wrong(format!("{:?} is not an operator of a filter", condition.operator)).with_hint(
                "There are =, !=, <, <=, >, >=, [NOT] LIKE, [NOT] ILIKE, [NOT] IN, [NOT] BETWEEN, IS [NOT] NULL.",
            ));
        }
    };
    Ok(Some(text))
}

/// A value as text; none if there is none.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A value as a literal of a column's type; none if there is none.
fn literal(value: &Value, column: &str, kind: &str) -> Result<Option<String>> {
    let Some(text) = plain(value) else { return Ok(None) };
    if is_number(kind) {
        let text = text.trim();
        let mut digits = text.strip_prefix(['-', '+']).unwrap_or(text).chars();
        let is_number = digits.clone().any(|c| c.is_ascii_digit())
            && digits.all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'))
            && text.parse::<f64>().is_ok();
        if !is_number {
            return Err(wrong(format!("{text:?} is no number, and the column {column} holds numbers")));
        }
        return Ok(Some(text.to_owned()));
    }
    Ok(Some(quote_literal(&text)))
}

fn is_number(kind: &str) -> bool {
    let kind = kind.to_ascii_uppercase();
    let is_list = kind.ends_with(']');
    let numbers = ["INTEGER", "BIGINT", "SMALLINT", "TINYINT", "HUGEINT", "DECIMAL", "DOUBLE", "FLOAT"];
    !is_list
        && (numbers.iter().any(|number| kind.starts_with(number))
            || kind.starts_with('U') && kind.ends_with("INT")
            || kind == "UINTEGER")
}

fn is_text(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("VARCHAR")
}

/// Conditions with `;` between, each an expression of its own: it can neither end the query that it is put into, nor read
/// anything but the row.
fn of_conditions(parser: &Parser, text: &str) -> Result<Option<String>> {
    let mut whole = String::new();
    for condition in split(text) {
        let condition = condition.trim();
        if condition.is_empty() {
            continue;
        }
        let node = walk(parser, &format!("SELECT ({condition}\n)"), &mut Nothing).map_err(|error| {
            let message = format!("the filter {condition:?} is no condition: {}", error.message());
            Error::new(error.code(), message)
        })?;
        let is_plain = tree::is(&node, "SELECT_NODE")
            && tree::list(&node, "select_list").len() == 1
            && tree::is(&node["from_table"], "EMPTY")
            && ["where_clause", "having", "sample", "qualify"].iter().all(|field| node[*field].is_null())
            && ["modifiers", "group_expressions"].iter().all(|field| tree::list(&node, field).is_empty())
            && node["cte_map"]["map"].as_array().is_none_or(Vec::is_empty);
        let mut is_scalar = true;
        tree::visit(&node["select_list"], &mut |inner| {
            let is_other = tree::is(inner, "SUBQUERY") || tree::is(inner, "STAR") || tree::is(inner, "PARAMETER");
            is_scalar &= !is_other;
        });
        let Some(expression) = tree::list(&node, "select_list").first().filter(|_| is_plain && is_scalar) else {
            return Err(wrong(format!("the filter {condition:?} is no condition on one row")));
        };
        let separator = if whole.is_empty() { "" } else { " AND " };
        // Writing to a String cannot fail.
        let _ = write!(whole, "{separator}({})", parser.expression_to_sql(expression)?);
    }
    Ok((!whole.is_empty()).then_some(whole))
}

/// The parts between `;` that stand in no quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (position, character) in text.char_indices() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, ';') => {
                parts.push(&text[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// No relation at all.
struct Nothing;

impl Relations for Nothing {
    fn resolve(&mut self, written: &ObjectName) -> Result<Relation> {
        Err(Error::new(Code::Permission, format!("a filter cannot read {written}")))
    }

    fn advice(&self) -> &'static str {
        "A filter is a condition on the columns of one row."
    }
}

fn wrong(message: String) -> Error {
    Error::new(Code::Query, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn of(text: &str) -> Result<Option<String>> {
        thread_local!(static PARSER: Parser = Parser::new().unwrap());
        let columns =
            [("Amount", "DECIMAL(10,2)"), ("name", "VARCHAR"), ("day", "DATE"), ("n", "BIGINT"), ("u", "UBIGINT")];
        let columns: Vec<(String, String)> =
            columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
        PARSER.with(|parser| condition(parser, text, &columns))
    }

    fn v2(column: &str, operator: &str, value: Value) -> Result<Option<String>> {
        let condition = serde_json::json!({ "column": column, "operator": operator, "value": value });
        of(&serde_json::json!({ "version": 2, "groups": [{ "conditions": [condition] }] }).to_string())
    }

    #[test]
    fn every_operator_becomes_a_condition() {
        for (column, operator, value, expected) in [
            ("amount", "=", Value::from("1.5"), Some(r#"("Amount" = 1.5)"#)),
            ("n", ">=", Value::from(3), Some(r#"("n" >= 3)"#)),
            ("u", "<", Value::from("-1"), Some(r#"("u" < -1)"#)),
            ("NAME", "!=", Value::from("it's"), Some(r#"("name" != 'it''s')"#)),
            ("name", "like", Value::from("a"), Some(r#"("name" LIKE '%a%')"#)),
            ("name", "not  ilike", Value::from("a%"), Some(r#"("name" NOT ILIKE 'a%')"#)),
            ("day", "ILIKE", Value::from("2024"), Some(r#"(CAST("day" AS VARCHAR) ILIKE '%2024%')"#)),
            ("n", "IN", Value::from("1, 2,3"), Some(r#"("n" IN (1, 2, 3))"#)),
            ("name", "NOT IN", serde_json::json!(["a", "b,c"]), Some(r#"("name" NOT IN ('a', 'b,c'))"#)),
            ("day", "IS NOT NULL", Value::Null, Some(r#"("day" IS NOT NULL)"#)),
            ("name", "=", Value::from(""), None),
            ("name", "IN", Value::from(""), None),
            ("name", "=", Value::Null, None),
        ] {
            assert_eq!(v2(column, operator, value).unwrap().as_deref(), expected, "{column} {operator}");
        }
        let between = r#"{"version":2,"groups":[{"conditions":[{"column":"day","operator":"BETWEEN","value":"2024-01-01","value2":"2024-02-01"}]}]}"#;
        assert_eq!(of(between).unwrap().unwrap(), r#"("day" BETWEEN '2024-01-01' AND '2024-02-01')"#);
    }

    #[test]
    fn groups_are_chained_from_left_to_right() {
        let group = |column: &str, value: &str| {
            format!(
                r#"{{"conditions":[{{"column":"{column}","operator":"=","value":"{value}"}},{{"column":"n","operator":"IS NULL"}}],"intraLogic":"OR"}}"#
            )
        };
        let text = format!(
            r#"{{"version":2,"groups":[{},{{"conditions":[]}},{},{}],"interLogic":["OR","OR","AND"]}}"#,
            group("name", "a"),
            group("name", "b"),
            group("name", "c")
        );
        assert_eq!(
            of(&text).unwrap().unwrap(),
            r#"((("name" = 'a' OR "n" IS NULL) OR ("name" = 'b' OR "n" IS NULL)) AND ("name" = 'c' OR "n" IS NULL))"#
        );
    }

    #[test]
    fn older_filters_are_conditions_and_nothing_else() {
        assert_eq!(of("a = 1; b LIKE 'x;y' ;").unwrap().unwrap(), "((a = 1)) AND ((b ~~ 'x;y'))");
        assert_eq!(of("  ;; ").unwrap(), None);
        for text in [
            "1 = 1) UNION SELECT (2",
            "1 = 1), (2",
            "1) FROM duckdb_secrets() WHERE (1",
            "1) FROM x WHERE (1",
            "a IN (SELECT 1)",
            "EXISTS (FROM duckdb_secrets())",
            "a = (SELECT x FROM read_text('/etc/passwd'))",
            "getenv('HOME') = 'x'",
            "a = 1 --",
            "a = $1",
            "COLUMNS(*) = 1",
            "DROP TABLE x",
            "1) LIMIT (1",
            "1) ORDER BY (1",
        ] {
            match of(text) {
                // A comment ends with the line and so hides nothing.
                Ok(Some(condition)) if text.ends_with("--") => assert_eq!(condition, "((a = 1))"),
                Ok(other) => panic!("{text}: {other:?}"),
                Err(error) => assert!(matches!(error.code(), Code::Query | Code::Permission), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for (text, what) in [
            (r#"{"version":3}"#, "version 3"),
            (r#"{"version":2,"groups":[{"conditions":[{"column":"x","operator":"=","value":1}]}]}"#, "no column"),
            (
                r#"{"version":2,"groups":[{"conditions":[{"column":"n","operator":"= 1 OR","value":1}]}]}"#,
                "not an operator",
            ),
            (
                r#"{"version":2,"groups":[{"conditions":[{"column":"n","operator":"=","value":"1 OR 1=1"}]}]}"#,
                "no number",
            ),
            (r#"{"version":2,"groups":[{"conditions":[{"column":"n","operator":"=","value":"e"}]}]}"#, "no number"),
            (r#"{"version":2,"groups":[{"conditions":[],"intraLogic":"XOR"}]}"#, "neither AND nor OR"),
            (r#"{"version":2,"groups":5}"#, "not what is expected"),
            ("{", "not what is expected"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.message().contains(what), "{text}: {error}");
        }
    }
}
