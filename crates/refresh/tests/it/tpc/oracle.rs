//! What a query gives, computed apart from the product: as plain SQL over the newest tables, by a connection that is not
//! the product's.
//!
//! A query whose LIMIT cuts through rows of the same rank has several right answers. The one that is asked for breaks
//! ties by all columns, in their order; the product does so too. Only if a table is not that one, the weaker
//! question is asked: are its rows among those of the query without LIMIT, and as many as they must be?

use serde_json::{Value, json};
use testkit::lake::ThrowAway;

use super::benchmark::Query;

/// Two sums of floating-point numbers that differ by less than this share are the same.
const TOLERANCE: f64 = 1e-9;

type Row = Vec<Option<String>>;

/// A query with the answers that are right for it.
pub(super) struct Oracle {
    pub name: String,
    /// With ties broken by all columns.
    exact: String,
    /// Without LIMIT, if it had one.
    unlimited: Option<String>,
    /// Which columns are floating-point numbers.
    floats: Vec<bool>,
}

/// How a table compares with its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has the query's rows, this many.
    Equal(usize),
    /// It has rows that the query may give, but breaks ties another way.
    OtherTies(usize),
}

impl Oracle {
    pub fn new(lake: &ThrowAway, query: &Query) -> Self {
        let columns = lake.others.describe(&query.text).unwrap();
        let floats = columns.iter().map(|(_, data_type)| matches!(data_type.as_str(), "DOUBLE" | "FLOAT")).collect();
        let mut tree = query.tree.clone();
        let mut oracle = Self { name: query.name.clone(), exact: query.text.clone(), unlimited: None, floats };
        let modifiers = tree["statements"][0]["node"]["modifiers"].as_array_mut().unwrap();
        let of_kind = |modifiers: &[Value], kind: &str| modifiers.iter().position(|m| m["type"] == kind);
        let Some(limit) = of_kind(modifiers, "LIMIT_MODIFIER") else { return oracle };
        if let Some(order) = of_kind(modifiers, "ORDER_MODIFIER") {
            let orders = modifiers[order]["orders"].as_array_mut().unwrap();
            orders.extend((1..=columns.len()).map(by_position));
        }
        oracle.exact = text_of(lake, &tree).unwrap();
        let modifiers = tree["statements"][0]["node"]["modifiers"].as_array_mut().unwrap();
        modifiers.remove(limit);
        oracle.unlimited = Some(text_of(lake, &tree).unwrap());
        oracle
    }

    /// Compares the table with the query as it stands.
    ///
    /// # Errors
    /// The rows that differ.
    pub fn compare(&self, lake: &ThrowAway) -> Result<Verdict, String> {
        let rows = |sql: &str| {
            let result = lake.others.query(sql);
            result.map(|result| result.rows).map_err(|error| format!("{}: {error}\n{sql}", self.name))
        };
        let table = rows(&format!("FROM lake.{}", self.name))?;
        let expected = rows(&self.exact)?;
        let count = table.len();
        let (missing, surplus) = self.difference(expected, table.clone());
        if missing.is_empty() && surplus.is_empty() {
            return Ok(Verdict::Equal(count));
        }
        if let Some(unlimited) = &self.unlimited
            && missing.len() == surplus.len()
            && self.difference(rows(unlimited)?, table).1.is_empty()
        {
            return Ok(Verdict::OtherTies(count));
        }
        let some = |rows: &[Row]| rows.iter().take(5).map(|row| format!("  {row:?}\n")).collect::<String>();
        Err(format!(
            "{}: {} rows are missing:\n{}{} are surplus:\n{}",
            self.name,
            missing.len(),
            some(&missing),
            surplus.len(),
            some(&surplus)
        ))
    }

    /// The rows of `left` that have no counterpart in `right`, and the other way round.
    fn difference(&self, mut left: Vec<Row>, mut right: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
        left.sort_by(|a, b| self.order(a, b));
        right.sort_by(|a, b| self.order(a, b));
        let (mut missing, mut surplus) = (Vec::new(), Vec::new());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            if self.same(a, b) {
                left.next();
                right.next();
            } else if self.order(a, b).is_lt() {
                missing.extend(left.next());
            } else {
                surplus.extend(right.next());
            }
        }
        missing.extend(left);
        surplus.extend(right);
        (missing, surplus)
    }

    fn same(&self, a: &Row, b: &Row) -> bool {
        let mut cells = self.floats.iter().zip(a.iter().zip(b));
        cells.all(|(float, (a, b))| {
            a == b || *float && matches!((number(a), number(b)), (Some(a), Some(b)) if near(a, b))
        })
    }

    /// By the exact columns, then by the others.
    fn order(&self, a: &Row, b: &Row) -> std::cmp::Ordering {
        let side = |row: &Row, wanted: bool| -> Row {
            let cells = row.iter().zip(&self.floats).filter(|(_, float)| **float == wanted);
            cells.map(|(cell, _)| cell.clone()).collect()
        };
        let numbers = |row: &Row| side(row, true).iter().map(number).collect::<Vec<_>>();
        side(a, false)
            .cmp(&side(b, false))
            .then_with(|| numbers(a).partial_cmp(&numbers(b)).unwrap_or(std::cmp::Ordering::Equal))
    }
}

fn number(cell: &Option<String>) -> Option<f64> {
    cell.as_ref()?.parse().ok()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()) || a.is_nan() && b.is_nan()
}

fn by_position(number: usize) -> Value {
    json!({
        "type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT",
        "expression": {
            "class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": 0,
            "value": { "type": { "id": "INTEGER", "type_info": null }, "is_null": false, "value": number }
        }
    })
}

/// The tree of a query.
pub(super) fn tree_of(lake: &ThrowAway, text: &str) -> Value {
    let literal = text.replace('\'', "''");
    serde_json::from_str(&one(lake, &format!("SELECT json_serialize_sql('{literal}')"))).unwrap()
}

/// The text of a tree, if it is a query.
pub(super) fn text_of(lake: &ThrowAway, tree: &Value) -> error::Result<String> {
    let literal = tree.to_string().replace('\'', "''");
    let mut rows = lake.others.query(&format!("SELECT json_deserialize_sql('{literal}')"))?.rows;
    Ok(rows.remove(0).remove(0).unwrap_or_default())
}

fn one(lake: &ThrowAway, sql: &str) -> String {
    lake.others.query(sql).unwrap().rows.remove(0).remove(0).unwrap()
}
