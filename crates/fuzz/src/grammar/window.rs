//! Window functions over a scope, with orders that are total wherever it matters.

use super::{Column, Grammar, Kind, list};

impl Grammar<'_> {
    /// Partition keys that the windows of a SELECT share; none now and then.
    pub(super) fn partition(&mut self, scope: &[Column]) -> Vec<Column> {
        let plain: Vec<Column> = scope.iter().filter(|column| column.kind != Kind::Noisy).cloned().collect();
        if plain.is_empty() || self.draw.chance(12) {
            self.note("window without partition");
            return Vec::new();
        }
        let mut keys = vec![self.draw.pick(&plain).clone()];
        if self.draw.chance(25) {
            keys.push(self.draw.pick(&plain).clone());
        }
        keys
    }

    /// All columns: rows that are equal in them are the same row.
    pub(super) fn total_order(&mut self, scope: &[Column]) -> String {
        let mut columns: Vec<String> = scope.iter().map(|column| column.sql.clone()).collect();
        if columns.len() > 1 {
            let first = self.draw.below(columns.len());
            columns.swap(0, first);
        }
        if let Some(first) = columns.first_mut() {
            let direction = *self.draw.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
            first.push_str(direction);
        }
        columns.join(", ")
    }

    fn over(&mut self, partition: &[Column], scope: &[Column], order: Option<String>, frame: &str) -> String {
        let mut keys = partition.to_vec();
        if !partition.is_empty() && self.draw.chance(12) {
            keys.push(self.draw.pick(scope).clone());
        }
        let mut parts = Vec::new();
        if !keys.is_empty() {
            parts.push(format!("PARTITION BY {}", list(&keys)));
        }
        if let Some(order) = order {
            parts.push(format!("ORDER BY {order}"));
        }
        if !frame.is_empty() {
            parts.push(frame.to_owned());
        }
        format!("({})", parts.join(" "))
    }

    /// A window function.
    pub(super) fn window(&mut self, scope: &[Column], partition: &[Column]) -> Column {
        let usable: Vec<Column> = scope.iter().filter(|column| column.kind != Kind::Noisy).cloned().collect();
        let Some(value) = (!usable.is_empty()).then(|| self.draw.pick(&usable).clone()) else {
            return Column { sql: "count(*) OVER ()".to_owned(), kind: Kind::Int, plain: false };
        };
        let (call, kind, over) = match self.draw.below(7) {
            0 => {
                let order = self.total_order(&usable);
                ("row_number()".to_owned(), Kind::Int, self.over(partition, &usable, Some(order), ""))
            }
            1 => {
                let (name, kind) = *self.draw.pick(&[
                    ("rank()", Kind::Int),
                    ("dense_rank()", Kind::Int),
                    ("percent_rank()", Kind::Real),
                    ("cume_dist()", Kind::Real),
                ]);
                (name.to_owned(), kind, self.over(partition, &usable, Some(value.sql.clone()), ""))
            }
            2 => {
                let order = self.total_order(&usable);
                let call = match self.draw.below(6) {
                    0 => format!("lag({})", value.sql),
                    1 => format!("lead({}, 2)", value.sql),
                    2 => format!("first_value({})", value.sql),
                    3 => format!("last_value({} IGNORE NULLS)", value.sql),
                    4 => format!("nth_value({}, 2)", value.sql),
                    _ => format!("lag({} IGNORE NULLS)", value.sql),
                };
                (call, value.kind, self.over(partition, &usable, Some(order), ""))
            }
            3 => {
                let order = self.total_order(&usable);
                ("ntile(3)".to_owned(), Kind::Int, self.over(partition, &usable, Some(order), ""))
            }
            4 => {
                let (call, kind) = self.windowed_aggregate(&value);
                (call, kind, self.over(partition, &usable, None, ""))
            }
            5 => {
                let (call, kind) = self.windowed_aggregate(&value);
                let order = self.total_order(&usable);
                let frame = *self.draw.pick(&[
                    "",
                    "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
                    "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
                    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW",
                    "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                    "ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING EXCLUDE TIES",
                ]);
                (call, kind, self.over(partition, &usable, Some(order), frame))
            }
            _ => {
                let (call, kind) = self.windowed_aggregate(&value);
                match self.column(&usable, Kind::Int) {
                    Some(by) => {
                        let frame = *self.draw.pick(&[
                            "RANGE BETWEEN 2 PRECEDING AND CURRENT ROW",
                            "RANGE BETWEEN 1 PRECEDING AND 3 FOLLOWING",
                            "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE GROUP",
                        ]);
                        (call, kind, self.over(partition, &usable, Some(by.sql), frame))
                    }
                    None => (call, kind, self.over(partition, &usable, None, "")),
                }
            }
        };
        self.note("window");
        Column { sql: format!("{call} OVER {over}"), kind, plain: false }
    }

    fn windowed_aggregate(&mut self, value: &Column) -> (String, Kind) {
        let filter =
            if self.draw.chance(12) { format!(" FILTER (WHERE {} IS NOT NULL)", value.sql) } else { String::new() };
        let (call, kind) = match (self.draw.below(5), value.kind) {
            (1, Kind::Int | Kind::Dec | Kind::Float) => (format!("sum({})", value.sql), value.kind),
            (2, Kind::Int | Kind::Dec | Kind::Float) => (format!("avg({})", value.sql), Kind::Real),
            (3, kind) => (format!("max({})", value.sql), kind),
            (4, kind) => (format!("min({})", value.sql), kind),
            _ => (format!("count({})", value.sql), Kind::Int),
        };
        (format!("{call}{filter}"), kind)
    }
}
