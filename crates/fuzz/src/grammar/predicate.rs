//! Predicates: comparisons, NULL tests, patterns, lists, connectives, and subqueries of every form.

use super::{Column, Grammar, Kind};

impl Grammar<'_> {
    /// A truth value over the scope.
    pub(super) fn predicate(&mut self, scope: &[Column], depth: usize) -> String {
        let subquery = if self.budget > 0 && depth > 0 { 14 } else { 0 };
        match self.draw.weighted(&[50, 20, subquery]) {
            1 if depth > 0 => {
                let (a, b) = (self.predicate(scope, depth - 1), self.predicate(scope, depth - 1));
                match self.draw.below(3) {
                    0 => format!("({a} AND {b})"),
                    1 => format!("({a} OR {b})"),
                    _ => format!("NOT ({a})"),
                }
            }
            2 if self.budget > 0 => self.subquery_predicate(scope),
            _ => self.simple_predicate(scope, depth),
        }
    }

    /// A comparison without any subquery at depth 0.
    pub(super) fn simple_predicate(&mut self, scope: &[Column], depth: usize) -> String {
        let kind = self.kind_in(scope);
        let left = self.expression(kind, scope, depth);
        match self.draw.below(9) {
            0 => {
                let operator = *self.draw.pick(&["=", "<", ">", "<=", ">=", "<>", "IS DISTINCT FROM"]);
                format!("{left} {operator} {}", self.literal(kind))
            }
            1 => format!("{left} IS NOT NULL"),
            2 => format!("{left} IS NULL"),
            3 => {
                let right = self.expression(kind, scope, depth);
                format!("{left} {} {right}", *self.draw.pick(&["=", "<>", "<", "IS NOT DISTINCT FROM"]))
            }
            4 => {
                let not = if self.draw.chance(40) { "NOT " } else { "" };
                let (a, b) = (self.literal(kind), self.literal(kind));
                format!("{left} {not}IN ({a}, {b})")
            }
            // DuckDB binds BETWEEN over lists and structs, and then cannot run it.
            5 if !matches!(kind, Kind::List | Kind::Struct) => {
                format!("{left} BETWEEN {} AND {}", self.literal(kind), self.literal(kind))
            }
            6 if kind == Kind::Str => format!("{left} {} 'a%'", *self.draw.pick(&["LIKE", "ILIKE", "NOT LIKE"])),
            7 if kind == Kind::List => format!("list_contains({left}, 1)"),
            8 if kind == Kind::Bool => left,
            8 => {
                let other = self.expression(Kind::Bool, scope, 0);
                format!("({left} IS NOT NULL OR {other})")
            }
            _ => format!("{left} IS NOT NULL"),
        }
    }

    fn subquery_predicate(&mut self, scope: &[Column]) -> String {
        let form = self.draw.below(6);
        let kinds = [Kind::Int, Kind::Str, Kind::Date, Kind::Dec, Kind::Bool];
        let comparable: Vec<Column> = scope.iter().filter(|column| kinds.contains(&column.kind)).cloned().collect();
        if form == 0 || comparable.is_empty() {
            let not = if self.draw.chance(45) { "NOT " } else { "" };
            self.note(if not.is_empty() { "EXISTS" } else { "NOT EXISTS" });
            let (from, _) = self.correlated(scope);
            return format!("{not}EXISTS (SELECT 1 {from})");
        }
        let left = self.draw.pick(&comparable).clone();
        let inner = self.column_query(left.kind, scope);
        match form {
            1 => {
                self.note("IN (SELECT)");
                format!("{} IN ({inner})", left.sql)
            }
            2 => {
                self.note("NOT IN (SELECT)");
                format!("{} NOT IN ({inner})", left.sql)
            }
            3 => {
                self.note("ANY / ALL");
                let operator = *self.draw.pick(&["= ANY", "> ANY", "<= ALL", "<> ALL"]);
                format!("{} {operator} ({inner})", left.sql)
            }
            4 => {
                self.note("comparison with scalar subquery");
                let (from, inside) = self.correlated(scope);
                let function = *self.draw.pick(&["max", "min"]);
                match inside.iter().find(|column| column.kind == left.kind && column.kind != Kind::Bool) {
                    Some(column) => format!("{} >= (SELECT {function}({}) {from})", left.sql, column.sql),
                    None if left.kind == Kind::Int => format!("{} < (SELECT count(*) {from})", left.sql),
                    None => format!("(SELECT count(*) {from}) > 1"),
                }
            }
            _ => {
                self.note("IN (SELECT)");
                let other = self.simple_predicate(scope, 0);
                format!("({} IN ({inner}) OR {other})", left.sql)
            }
        }
    }

    /// A query of one column.
    fn column_query(&mut self, kind: Kind, outer: &[Column]) -> String {
        if self.draw.chance(25) {
            self.spend();
            return self.select(false, Some(&[kind])).sql;
        }
        let (from, scope) = self.correlated(outer);
        let item = self.expression(kind, &scope, 0);
        format!("SELECT {item} {from}")
    }
}
