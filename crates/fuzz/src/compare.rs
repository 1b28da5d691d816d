//! Whether two results are the same multiset of rows.

use std::cmp::Ordering;

use lake::Rows;

/// How far two doubles may be apart, relative to their size.
const TOLERANCE: f64 = 1e-9;

/// Says how two results differ; nothing if they do not.
#[must_use]
pub fn difference(expected: &Rows, found: &Rows) -> Option<String> {
    let types = |rows: &Rows| rows.columns.iter().map(|(_, data_type)| data_type.clone()).collect::<Vec<_>>();
    let (want, have) = (types(expected), types(found));
    let alike = want.len() == have.len() && want.iter().zip(&have).all(|(a, b)| a == b || a.contains("NULL"));
    if !alike {
        return Some(format!("columns {have:?} in place of {want:?}"));
    }
    let inexact: Vec<bool> = want.iter().map(|data_type| data_type == "DOUBLE" || data_type == "FLOAT").collect();
    let sorted = |rows: &Rows| {
        let mut rows: Vec<Vec<Value>> = rows
            .rows
            .iter()
            .map(|row| row.iter().zip(&inexact).map(|(text, inexact)| Value::of(text.as_deref(), *inexact)).collect())
            .collect();
        // Exact values first: the last digits of the others must not decide which rows stand beside each other.
        rows.sort_by(|a, b| order(a, b, &inexact));
        rows
    };
    let (want, have) = (sorted(expected), sorted(found));
    if want.len() == have.len() && want.iter().zip(&have).all(|(a, b)| a.iter().zip(b).all(|(a, b)| a.is_like(b))) {
        return None;
    }
    let without = |rows: &[Vec<Value>], others: &[Vec<Value>]| {
        let mut others: Vec<Option<&Vec<Value>>> = others.iter().map(Some).collect();
        let mut left = Vec::new();
        for row in rows {
            let twin = others
                .iter_mut()
                .find(|other| other.is_some_and(|other| row.iter().zip(other).all(|(a, b)| a.is_like(b))));
            match twin {
                Some(twin) => *twin = None,
                None => left.push(row.iter().map(Value::to_text).collect::<Vec<_>>().join(" | ")),
            }
        }
        left
    };
    let (missing, surplus) = (without(&want, &have), without(&have, &want));
    if missing.is_empty() && surplus.is_empty() {
        return None;
    }
    let shown = |rows: &[String]| rows.iter().take(5).map(|row| format!("({row})")).collect::<Vec<_>>().join(", ");
    Some(format!("{} missing: {}; {} surplus: {}", missing.len(), shown(&missing), surplus.len(), shown(&surplus)))
}

/// Whether two results hold the same values in each column, so that they differ in nothing but which values stand in one
/// row.
#[must_use]
pub fn same_columns(expected: &Rows, found: &Rows) -> bool {
    let only = |rows: &Rows, column: usize| Rows {
        columns: vec![rows.columns[column].clone()],
        rows: rows.rows.iter().map(|row| vec![row[column].clone()]).collect(),
    };
    expected.columns.len() == found.columns.len()
        && (0..expected.columns.len())
            .all(|column| difference(&only(expected, column), &only(found, column)).is_none())
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Exact(String),
    Double(f64),
}

impl Value {
    fn of(text: Option<&str>, inexact: bool) -> Self {
        match text {
            None => Self::Null,
            Some(text) if inexact => match text.trim_start_matches('-') {
                "nan" | "NaN" => Self::Double(f64::NAN),
                _ => text.parse().map_or_else(|_| Self::Exact(text.to_owned()), Self::Double),
            },
            Some(text) => Self::Exact(text.to_owned()),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Double(a), Self::Double(b)) => {
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-6)
            }
            (a, b) => a == b,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Less,
            (_, Self::Null) => Ordering::Greater,
            (Self::Double(a), Self::Double(b)) if a == b => Ordering::Equal,
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Exact(a), Self::Exact(b)) => a.cmp(b),
            (Self::Double(_), Self::Exact(_)) => Ordering::Less,
            (Self::Exact(_), Self::Double(_)) => Ordering::Greater,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Exact(text) => text.clone(),
            Self::Double(value) => value.to_string(),
        }
    }
}

fn order(a: &[Value], b: &[Value], inexact: &[bool]) -> Ordering {
    let by = |wanted: bool| {
        let columns = a.iter().zip(b).zip(inexact).filter(move |(_, inexact)| **inexact == wanted);
        columns.map(|((a, b), _)| a.order(b)).find(|order| *order != Ordering::Equal)
    };
    by(false).or_else(|| by(true)).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[&[Option<&str>]]) -> Rows {
        let columns = vec![("a".to_owned(), "VARCHAR".to_owned()), ("b".to_owned(), "DOUBLE".to_owned())];
        let rows = values.iter().map(|row| row.iter().map(|text| text.map(str::to_owned)).collect()).collect();
        Rows { columns, rows }
    }

    #[test]
    fn order_and_last_digits_make_no_difference() {
        let one = rows(&[&[Some("x"), Some("0.1")], &[None, Some("nan")], &[Some("y"), Some("-0.0")]]);
        let other =
            rows(&[&[Some("y"), Some("0.0")], &[Some("x"), Some("0.10000000000000002")], &[None, Some("-nan")]]);
        assert_eq!(difference(&one, &other), None);
    }

    #[test]
    fn copies_nulls_values_and_types_do() {
        let one = rows(&[&[Some("x"), Some("1")]]);
        assert!(difference(&one, &rows(&[&[Some("x"), Some("1")], &[Some("x"), Some("1")]])).is_some());
        assert!(difference(&one, &rows(&[])).is_some());
        assert!(difference(&one, &rows(&[&[None, Some("1")]])).is_some());
        assert!(difference(&one, &rows(&[&[Some("x"), Some("1.001")]])).is_some());
        let mut typed = one.clone();
        typed.columns[0].1 = "INTEGER".to_owned();
        assert!(difference(&one, &typed).is_some());
    }
}
