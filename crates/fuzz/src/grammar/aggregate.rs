//! Aggregate functions whose value depends on nothing but the multiset of their input.

use super::{Column, Grammar, Kind};

impl Grammar<'_> {
    /// A call of an aggregate. A noisy one only where nothing stands above it.
    pub(super) fn aggregate(&mut self, scope: &[Column], noisy: bool) -> Column {
        let filter = if self.draw.chance(15) {
            self.note("FILTER");
            format!(" FILTER (WHERE {})", self.simple_predicate(scope, 0))
        } else {
            String::new()
        };
        let (call, kind) = self.call(scope, noisy);
        Column { sql: format!("{call}{filter}"), kind, plain: false }
    }

    fn call(&mut self, scope: &[Column], noisy: bool) -> (String, Kind) {
        let usable: Vec<Column> = scope.iter().filter(|column| column.kind != Kind::Noisy).cloned().collect();
        if usable.is_empty() || self.draw.below(6) == 0 {
            return ("count(*)".to_owned(), Kind::Int);
        }
        let column = self.draw.pick(&usable).clone();
        let depth = usize::from(self.draw.chance(20));
        let budget = std::mem::take(&mut self.budget);
        let value = if depth == 0 { column.sql } else { self.expression(column.kind, scope, 1) };
        self.budget = budget;
        let kind = column.kind;
        match self.draw.below(9) {
            0 => (format!("count({value})"), Kind::Int),
            1 | 2 => self.total(&value, kind, noisy),
            3 => (format!("max({value})"), kind),
            4 => (format!("min({value})"), kind),
            5 => {
                self.note("DISTINCT aggregate");
                match kind {
                    Kind::Int => (format!("sum(DISTINCT {value})"), Kind::Int),
                    _ => (format!("count(DISTINCT {value})"), Kind::Int),
                }
            }
            6 => self.ordered(&value, kind),
            7 => self.quantile(&value, kind),
            _ => match kind {
                Kind::Bool => (format!("{}({value})", *self.draw.pick(&["bool_and", "bool_or"])), Kind::Bool),
                Kind::Int => match self.draw.below(4) {
                    0 => (format!("count_if({value} > 2)"), Kind::Int),
                    1 => (format!("bit_or(({value})::BIGINT)"), Kind::Int),
                    2 => (format!("bit_xor(({value})::BIGINT)"), Kind::Int),
                    _ => (format!("any_value({value} ORDER BY {value})"), Kind::Int),
                },
                _ => {
                    self.note("arg_max");
                    let by = &self.draw.pick(&usable).sql.clone();
                    (format!("{}({value}, ({by}, {value}))", *self.draw.pick(&["arg_max", "arg_min"])), kind)
                }
            },
        }
    }

    fn total(&mut self, value: &str, kind: Kind, noisy: bool) -> (String, Kind) {
        match kind {
            Kind::Int | Kind::Dec | Kind::Float if noisy && self.draw.chance(12) => {
                self.note("noisy aggregate");
                (format!("{}({value})", *self.draw.pick(&["stddev", "var_pop", "var_samp"])), Kind::Noisy)
            }
            Kind::Int | Kind::Dec | Kind::Float => match self.draw.below(3) {
                0 | 1 => (format!("sum({value})"), kind),
                _ => (format!("avg({value})"), Kind::Real),
            },
            _ => (format!("count({value})"), Kind::Int),
        }
    }

    fn ordered(&mut self, value: &str, kind: Kind) -> (String, Kind) {
        self.note("ordered aggregate");
        match kind {
            Kind::Str => (format!("string_agg({value}, ',' ORDER BY {value})"), Kind::Str),
            Kind::Int => (format!("list(({value})::INTEGER ORDER BY {value} DESC NULLS LAST)"), Kind::List),
            _ => (format!("first({value} ORDER BY {value})"), kind),
        }
    }

    fn quantile(&mut self, value: &str, kind: Kind) -> (String, Kind) {
        match kind {
            Kind::Int | Kind::Dec | Kind::Float => match self.draw.below(3) {
                0 => (format!("median({value})"), Kind::Real),
                1 => (format!("quantile_disc({value}, 0.25)"), kind),
                _ => (format!("quantile_cont({value}, 0.75)"), Kind::Real),
            },
            Kind::Str => (format!("mode({value} ORDER BY {value})"), Kind::Str),
            _ => (format!("max({value})"), kind),
        }
    }
}
