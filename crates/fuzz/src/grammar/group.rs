//! SELECT with GROUP BY in all its forms: keys by expression, position, alias or ALL, none at all, and grouping sets.

use super::select::{Block, items_of};
use super::{Column, Grammar, Kind, Query, list};

impl Grammar<'_> {
    /// A grouped SELECT.
    pub(super) fn grouped(&mut self, block: &Block, top: bool, want: Option<&[Kind]>) -> Query {
        self.note("GROUP BY");
        let keys = self.keys(&block.from.scope);
        let calls: Vec<Column> =
            (0..self.draw.between(1, 4)).map(|_| self.aggregate(&block.from.scope, top && want.is_none())).collect();
        let mut after: Vec<Column> = keys.clone();
        after.extend(calls.iter().filter(|call| call.kind != Kind::Noisy).cloned());
        let having = if self.draw.chance(22) {
            self.note("HAVING");
            format!(" HAVING {}", self.predicate(&after, 1))
        } else {
            String::new()
        };
        if let Some(kinds) = want {
            let items: Vec<Column> = kinds
                .iter()
                .map(|kind| Column { sql: self.expression(*kind, &after, 1), kind: *kind, plain: false })
                .collect();
            let (items, columns) = items_of(&items);
            let by = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", list(&keys)) };
            return Query { sql: format!("SELECT {items} {}{by}{having}", block.text()), columns };
        }
        let form = self.draw.weighted(&[30, 12, 8, 10, 8, 6, 12, 6]);
        let mut items = keys.clone();
        items.extend(calls.iter().cloned());
        let by = match form {
            _ if keys.is_empty() => String::new(),
            1 => {
                self.note("GROUP BY ALL");
                " GROUP BY ALL".to_owned()
            }
            2 => {
                let positions: Vec<String> = (1..=keys.len()).map(|number| number.to_string()).collect();
                format!(" GROUP BY {}", positions.join(", "))
            }
            // An alias that is a column's name as well means the column.
            3 if !block.from.scope.iter().any(|column| column.sql.contains(".c")) => {
                let aliases: Vec<String> = (0..keys.len()).map(|number| format!("c{number}")).collect();
                format!(" GROUP BY {}", aliases.join(", "))
            }
            4 if having.is_empty() => return self.grouping_sets(block, &keys, &calls),
            5 => {
                self.note("key not in the select list");
                items = calls.clone();
                format!(" GROUP BY {}", list(&keys))
            }
            6 => {
                self.note("items computed from aggregates");
                let kind = self.kind_in(&after);
                let item = self.expression(kind, &after, 2);
                items.push(Column { sql: item, kind, plain: false });
                format!(" GROUP BY {}", list(&keys))
            }
            7 => {
                self.note("window over GROUP BY");
                let partition = self.partition(&keys);
                let window = self.window(&after, &partition);
                items.push(window);
                format!(" GROUP BY {}", list(&keys))
            }
            _ => format!(" GROUP BY {}", list(&keys)),
        };
        let limited = if !top && self.draw.chance(4) && !keys.is_empty() && form != 5 {
            self.note("LIMIT");
            format!(" ORDER BY {} LIMIT 3", list(&keys))
        } else {
            String::new()
        };
        let (items, columns) = items_of(&items);
        Query { sql: format!("SELECT {items} {}{by}{having}{limited}", block.text()), columns }
    }

    fn keys(&mut self, scope: &[Column]) -> Vec<Column> {
        let usable: Vec<Column> = scope.iter().filter(|column| column.kind != Kind::Noisy).cloned().collect();
        if usable.is_empty() || self.draw.chance(10) {
            self.note("aggregate of all rows");
            return Vec::new();
        }
        let mut keys: Vec<Column> = Vec::new();
        for _ in 0..self.draw.between(1, 4) {
            let column = self.draw.pick(&usable).clone();
            let key = if self.draw.chance(25) { self.key_expression(&column) } else { column };
            if !keys.iter().any(|other| other.sql == key.sql) {
                keys.push(key);
            }
        }
        keys
    }

    fn key_expression(&mut self, column: &Column) -> Column {
        let of = &column.sql;
        let (sql, kind) = match column.kind {
            Kind::Int => (format!("({of} % 3)"), Kind::Int),
            Kind::Str => (format!("upper({of})"), Kind::Str),
            Kind::Date => (format!("month({of})"), Kind::Int),
            Kind::Ts => (format!("{of}::DATE"), Kind::Date),
            Kind::Tz => (format!("date_trunc('day', {of})"), Kind::Tz),
            _ => (format!("({of} IS NULL)"), Kind::Bool),
        };
        Column { sql, kind, plain: false }
    }

    fn grouping_sets(&mut self, block: &Block, keys: &[Column], calls: &[Column]) -> Query {
        let keys: Vec<Column> = keys.iter().filter(|key| key.plain).cloned().collect();
        let mut items = keys.clone();
        items.extend(calls.iter().cloned());
        let by = match self.draw.below(3) {
            _ if keys.is_empty() => {
                items = calls.to_vec();
                String::new()
            }
            0 => {
                self.note("ROLLUP");
                format!(" GROUP BY ROLLUP ({})", list(&keys))
            }
            1 => {
                self.note("CUBE");
                format!(" GROUP BY CUBE ({})", list(&keys))
            }
            _ => {
                self.note("GROUPING SETS");
                format!(" GROUP BY GROUPING SETS (({}), ({}), ())", list(&keys), keys[0].sql)
            }
        };
        if let Some(key) = keys.first().filter(|_| self.draw.chance(50)) {
            items.push(Column { sql: format!("grouping({})", key.sql), kind: Kind::Int, plain: false });
        }
        let (items, columns) = items_of(&items);
        Query { sql: format!("SELECT {items} {}{by}", block.text()), columns }
    }
}
