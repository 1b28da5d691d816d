//! A statement and its values, before it is known which database it goes to. Both take the placeholders `$1`, `$2`.

use jiff::Timestamp;
use uuid::Uuid;

/// A value for a placeholder. Each kind is written in the database's own type for it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Real(Option<f64>),
    Boolean(bool),
    Time(Option<Timestamp>),
    Id(Option<Uuid>),
    Json(Option<serde_json::Value>),
}

#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
    filtered: bool,
}

impl Statement {
    pub(crate) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new(), filtered: false }
    }

    pub(crate) fn insert(table: &str, row: Vec<(&'static str, Value)>) -> Self {
        let (columns, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        let placeholders: Vec<String> = (1..=values.len()).map(|number| format!("${number}")).collect();
        let sql = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), placeholders.join(", "));
        Self { sql, values, filtered: false }
    }

    pub(crate) fn update(table: &str, row: Vec<(&'static str, Value)>) -> Self {
        let (columns, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        let assignments: Vec<String> =
            columns.into_iter().zip(1..).map(|(column, number)| format!("{column} = ${number}")).collect();
        Self { sql: format!("UPDATE {table} SET {}", assignments.join(", ")), values, filtered: false }
    }

    /// Adds a condition; each `{}` in it is the next of `values`.
    pub(crate) fn filter(mut self, condition: &str, values: impl IntoIterator<Item = Value>) -> Self {
        self.sql.push_str(if self.filtered { " AND " } else { " WHERE " });
        self.filtered = true;
        self.append(condition, values)
    }

    /// Adds text; each `{}` in it is the next of `values`.
    pub(crate) fn append(mut self, text: &str, values: impl IntoIterator<Item = Value>) -> Self {
        let mut values = values.into_iter();
        for (index, part) in text.split("{}").enumerate() {
            if index > 0 {
                self.values.extend(values.next());
                self.sql.push_str(&format!("${}", self.values.len()));
            }
            self.sql.push_str(part);
        }
        self
    }
}

/// `{}, {}, {}`
pub(crate) fn placeholders(count: usize) -> String {
    vec!["{}"; count].join(", ")
}

macro_rules! value_from {
    ($($kind:ident: $rust:ty,)+) => { $(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Self {
                Self::$kind(Some(value))
            }
        }
        impl From<Option<$rust>> for Value {
            fn from(value: Option<$rust>) -> Self {
                Self::$kind(value)
            }
        }
    )+ };
}

value_from! { Text: String, Integer: i64, Real: f64, Time: Timestamp, Id: Uuid, Json: serde_json::Value, }

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(Some(value.into()))
    }
}

impl From<Option<u64>> for Value {
    /// Counts beyond 2^63 do not occur; one would be shown as the largest that can be stored.
    fn from(value: Option<u64>) -> Self {
        Self::Integer(value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        let statement = Statement::update("t", vec![("a", 1_i64.into()), ("b", "x".into())])
            .filter("c IN ({}, {})", [2_i64.into(), 3_i64.into()])
            .filter("d IS NULL", []);
        assert_eq!(statement.sql, "UPDATE t SET a = $1, b = $2 WHERE c IN ($3, $4) AND d IS NULL");
        assert_eq!(statement.values.len(), 4);
        assert_eq!(Statement::insert("t", vec![("a", true.into())]).sql, "INSERT INTO t (a) VALUES ($1)");
    }
}
