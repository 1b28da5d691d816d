//! Scalar expressions: casts, CASE, arithmetic, functions of text, dates, lists and structs, scalar subqueries.

use super::{Column, Grammar, Kind};

impl Grammar<'_> {
    /// A kind that the scope has a column of.
    pub(super) fn kind_in(&mut self, scope: &[Column]) -> Kind {
        if scope.is_empty() || self.draw.chance(10) {
            return *self.draw.pick(&[Kind::Int, Kind::Str, Kind::Bool, Kind::Date, Kind::List, Kind::Struct]);
        }
        self.draw.pick(scope).kind
    }

    /// A column of the scope.
    pub(super) fn column(&mut self, scope: &[Column], kind: Kind) -> Option<Column> {
        let fitting: Vec<&Column> = scope.iter().filter(|column| column.kind == kind).collect();
        if fitting.is_empty() {
            return None;
        }
        Some((*self.draw.pick(&fitting)).clone())
    }

    /// An expression of a kind.
    pub(super) fn expression(&mut self, kind: Kind, scope: &[Column], depth: usize) -> String {
        let has = scope.iter().any(|column| column.kind == kind);
        let way = self.draw.weighted(&[if has { 60 } else { 0 }, if has { 4 } else { 30 }, 12 * depth.min(3)]);
        let way = if way == 0 && !has { 1 } else { way };
        match way {
            0 => self.column(scope, kind).map_or_else(|| self.literal(kind), |column| column.sql),
            1 => self.literal(kind),
            _ => self.compound(kind, scope, depth.saturating_sub(1)),
        }
    }

    pub(super) fn literal(&mut self, kind: Kind) -> String {
        if self.draw.chance(8) {
            return format!("NULL::{}", type_of(kind));
        }
        match kind {
            Kind::Int => self.draw.below(8).to_string(),
            Kind::Dec => self.decimal(),
            Kind::Str => (*self.draw.pick(&["'a'", "'b'", "''", "'zz'"])).to_owned(),
            Kind::Float | Kind::Real | Kind::Noisy => {
                (*self.draw.pick(&["0.25::DOUBLE", "1.5::DOUBLE", "'nan'::DOUBLE"])).to_owned()
            }
            Kind::Date => format!("DATE '2024-02-2{}'", self.draw.between(6, 10)),
            Kind::Ts => "TIMESTAMP '2024-03-31 02:00:00'".to_owned(),
            Kind::Tz => "TIMESTAMPTZ '2024-03-31 01:30:00+00'".to_owned(),
            Kind::Bool => (*self.draw.pick(&["true", "false"])).to_owned(),
            Kind::List => "[1, 2]".to_owned(),
            Kind::Struct => "{'a': 1, 'b': 'x'}".to_owned(),
        }
    }

    fn decimal(&mut self) -> String {
        (*self.draw.pick(&["1.50", "0.00", "-2.25", "50.00"])).to_owned()
    }

    /// Neither side is NULL by its text: the engine forgets the type of such a sum and takes one from where in the query it
    /// stands.
    fn sum_of_decimals(&mut self, scope: &[Column]) -> String {
        let left = self.column(scope, Kind::Dec).map_or_else(|| self.decimal(), |column| column.sql);
        format!("({left} + {})", self.decimal())
    }

    fn compound(&mut self, kind: Kind, scope: &[Column], depth: usize) -> String {
        match self.draw.below(8) {
            0 => {
                let (a, b) = (self.expression(kind, scope, depth), self.expression(kind, scope, depth));
                return format!("coalesce({a}, {b})");
            }
            1 => {
                let when = self.predicate(scope, depth);
                let (a, b) = (self.expression(kind, scope, depth), self.expression(kind, scope, depth));
                return format!("CASE WHEN {when} THEN {a} ELSE {b} END");
            }
            2 if kind != Kind::Bool => {
                let (a, b) = (self.expression(kind, scope, depth), self.literal(kind));
                return format!("nullif({a}, {b})");
            }
            3 if self.budget > 0 && kind != Kind::Noisy => {
                if let Some(subquery) = self.scalar_subquery(kind, scope) {
                    return subquery;
                }
            }
            _ => {}
        }
        let e = |this: &mut Self, kind| this.expression(kind, scope, depth);
        match kind {
            Kind::Int => self.integer(scope, depth),
            Kind::Dec => self.sum_of_decimals(scope),
            Kind::Str => self.text(scope, depth),
            Kind::Float => match self.draw.below(2) {
                0 => format!("({} + 0.25)", e(self, Kind::Float)),
                _ => format!("abs({})", e(self, Kind::Float)),
            },
            Kind::Real | Kind::Noisy => format!("({} / 3)", e(self, Kind::Int)),
            Kind::Date => match self.draw.below(4) {
                0 => format!("({} + (coalesce({}, 0) % 5)::INTEGER)", e(self, Kind::Date), e(self, Kind::Int)),
                1 => format!("date_trunc('month', {})::DATE", e(self, Kind::Date)),
                2 => format!("{}::DATE", e(self, Kind::Ts)),
                _ => format!("{}::DATE", e(self, Kind::Tz)),
            },
            Kind::Ts => match self.draw.below(3) {
                0 => format!("date_trunc('hour', {})", e(self, Kind::Ts)),
                1 => format!("({} + INTERVAL 1 HOUR)", e(self, Kind::Ts)),
                _ => format!("{}::TIMESTAMP", e(self, Kind::Date)),
            },
            Kind::Tz => format!("({} + INTERVAL 1 DAY)", e(self, Kind::Tz)),
            Kind::Bool => self.predicate(scope, depth),
            Kind::List => match self.draw.below(4) {
                0 => format!("[{}, {}]::INTEGER[]", e(self, Kind::Int), e(self, Kind::Int)),
                1 => format!("list_sort({})", e(self, Kind::List)),
                2 => format!("list_filter({}, lambda e: e > 1)", e(self, Kind::List)),
                _ => format!("list_transform({}, lambda e: e + 1)", e(self, Kind::List)),
            },
            Kind::Struct => {
                let (a, b) = (e(self, Kind::Int), e(self, Kind::Str));
                format!("{{'a': ({a})::INTEGER, 'b': {b}}}")
            }
        }
    }

    fn integer(&mut self, scope: &[Column], depth: usize) -> String {
        let e = |this: &mut Self, kind| this.expression(kind, scope, depth);
        match self.draw.below(11) {
            0 => format!("({} + {})", e(self, Kind::Int), e(self, Kind::Int)),
            1 => format!("({} - {})", e(self, Kind::Int), self.literal(Kind::Int)),
            2 => format!("({} % 3)", e(self, Kind::Int)),
            3 => format!("({} // 2)", e(self, Kind::Int)),
            4 => format!("length({})", e(self, Kind::Str)),
            5 => format!("TRY_CAST({} AS INTEGER)", e(self, Kind::Str)),
            6 => format!("day({})", e(self, Kind::Date)),
            7 => format!("hour({})", e(self, Kind::Ts)),
            8 => format!("({})::INTEGER", e(self, Kind::Bool)),
            9 => format!("struct_extract({}, 'a')", e(self, Kind::Struct)),
            _ => match self.draw.below(3) {
                0 => format!("len({})", e(self, Kind::List)),
                1 => format!("({})[1]", e(self, Kind::List)),
                _ => format!("hour({})", e(self, Kind::Tz)),
            },
        }
    }

    fn text(&mut self, scope: &[Column], depth: usize) -> String {
        let e = |this: &mut Self, kind| this.expression(kind, scope, depth);
        match self.draw.below(8) {
            0 => format!("upper({})", e(self, Kind::Str)),
            1 => format!("({} || {})", e(self, Kind::Str), e(self, Kind::Str)),
            2 => format!("({})::VARCHAR", e(self, Kind::Int)),
            3 => format!("left({}, 1)", e(self, Kind::Str)),
            4 => format!("replace({}, 'a', 'b')", e(self, Kind::Str)),
            5 => format!("struct_extract({}, 'b')", e(self, Kind::Struct)),
            6 if self.text_of_floats => format!("({})::VARCHAR", e(self, Kind::Float)),
            6 => format!("({})::VARCHAR", e(self, Kind::Dec)),
            _ => match self.draw.below(4) {
                0 => format!("({})::VARCHAR", e(self, Kind::List)),
                1 => format!("({})::VARCHAR", e(self, Kind::Tz)),
                2 => format!("strftime({}, '%d/%m')", e(self, Kind::Date)),
                _ => format!("({})::VARCHAR", e(self, Kind::Bool)),
            },
        }
    }

    /// One value of another relation, correlated or not.
    fn scalar_subquery(&mut self, kind: Kind, outer: &[Column]) -> Option<String> {
        let (from, scope) = self.correlated(outer);
        let function = match kind {
            Kind::Int => *self.draw.pick(&["max", "min", "count"]),
            Kind::Bool => "bool_or",
            Kind::Float | Kind::Dec | Kind::Str | Kind::Date | Kind::Ts | Kind::Tz => {
                *self.draw.pick(&["max", "min"])
            }
            _ => return None,
        };
        let column = if function == "count" {
            scope.first().cloned()
        } else {
            scope.iter().find(|column| column.kind == kind).cloned()
        }?;
        self.note("scalar subquery");
        Some(format!("(SELECT {function}({}) {from})", column.sql))
    }

    /// FROM and WHERE of a subquery over one relation, which may look at the row outside.
    pub(super) fn correlated(&mut self, outer: &[Column]) -> (String, Vec<Column>) {
        self.spend();
        let relation = self.relation();
        let alias = self.alias();
        let scope = super::scope_of(&relation, &alias);
        let mut conditions = Vec::new();
        if self.draw.chance(60) {
            let pairs: Vec<(Column, Column)> = outer
                .iter()
                .filter(|column| column.plain)
                .flat_map(|column| {
                    let same = scope.iter().filter(|inner| inner.kind == column.kind);
                    same.map(|inner| (column.clone(), inner.clone())).collect::<Vec<_>>()
                })
                .collect();
            if !pairs.is_empty() {
                self.note("correlated subquery");
                let (column, inner) = self.draw.pick(&pairs).clone();
                let operator = *self.draw.pick(&["=", "=", "=", "=", "<", ">=", "IS NOT DISTINCT FROM", "<>"]);
                conditions.push(format!("{} {operator} {}", inner.sql, column.sql));
            }
        }
        if self.draw.chance(40) {
            conditions.push(self.simple_predicate(&scope, 0));
        }
        let filter =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        (format!("FROM {} AS {alias}{filter}", relation.name), scope)
    }
}

/// The type that a NULL of a kind is given.
pub(super) const fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "INTEGER",
        Kind::Dec => "DECIMAL(18, 2)",
        Kind::Str => "VARCHAR",
        Kind::Float | Kind::Real | Kind::Noisy => "DOUBLE",
        Kind::Date => "DATE",
        Kind::Ts => "TIMESTAMP",
        Kind::Tz => "TIMESTAMPTZ",
        Kind::Bool => "BOOLEAN",
        Kind::List => "INTEGER[]",
        Kind::Struct => "STRUCT(a INTEGER, b VARCHAR)",
    }
}
