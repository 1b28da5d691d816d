//! One SELECT: plain, grouped, distinct, windowed, limited, starred.

use super::from::From;
use super::{Column, Grammar, Kind, Query, list};

/// FROM and WHERE of a SELECT.
pub(super) struct Block {
    pub from: From,
    filter: String,
}

impl Block {
    pub(super) fn text(&self) -> String {
        format!("FROM {}{}", self.from.sql, self.filter)
    }
}

/// The select list with a name for each item.
pub(super) fn items_of(items: &[Column]) -> (String, Vec<(String, Kind)>) {
    let texts: Vec<String> =
        items.iter().enumerate().map(|(number, item)| format!("{} AS c{number}", item.sql)).collect();
    let columns = items.iter().enumerate().map(|(number, item)| (format!("c{number}"), item.kind)).collect();
    (texts.join(", "), columns)
}

impl Grammar<'_> {
    /// A SELECT whose columns have these kinds, if any are wanted.
    pub(super) fn select(&mut self, top: bool, want: Option<&[Kind]>) -> Query {
        if want.is_none() && self.draw.chance(5) {
            return self.starred();
        }
        let from = self.from();
        let filter = if self.draw.chance(40) {
            let predicate = self.predicate(&from.scope, 2);
            format!(" WHERE {predicate}")
        } else {
            String::new()
        };
        let block = Block { from, filter };
        if from_is_noisy(&block) {
            return self.plain(&block, want);
        }
        match self.draw.weighted(&[30, 34, 8, 15, 4, 6]) {
            1 => self.grouped(&block, top, want),
            2 => self.distinct(&block, want),
            3 => self.windowed(&block, want),
            4 => self.distinct_on(&block, want),
            5 => self.limited(&block, want),
            _ => self.plain(&block, want),
        }
    }

    fn items(&mut self, scope: &[Column], want: Option<&[Kind]>) -> Vec<Column> {
        if let Some(kinds) = want {
            return kinds
                .iter()
                .map(|kind| Column { sql: self.expression(*kind, scope, 1), kind: *kind, plain: false })
                .collect();
        }
        let mut items = Vec::new();
        for _ in 0..self.draw.between(1, 5) {
            if !scope.is_empty() && self.draw.chance(60) {
                items.push(self.draw.pick(scope).clone());
                continue;
            }
            let kind = self.kind_in(scope);
            items.push(Column { sql: self.expression(kind, scope, 2), kind, plain: false });
        }
        items
    }

    fn plain(&mut self, block: &Block, want: Option<&[Kind]>) -> Query {
        self.note("projection");
        let mut items = self.items(&block.from.scope, want);
        if want.is_none()
            && self.draw.chance(6)
            && let Some(column) = self.column(&block.from.scope, Kind::List)
        {
            self.note("UNNEST in SELECT");
            items.push(Column { sql: format!("unnest({})", column.sql), kind: Kind::Int, plain: false });
        }
        let (items, columns) = items_of(&items);
        Query { sql: format!("SELECT {items} {}", block.text()), columns }
    }

    fn distinct(&mut self, block: &Block, want: Option<&[Kind]>) -> Query {
        self.note("DISTINCT");
        let items = self.items(&block.from.scope, want);
        let (items, columns) = items_of(&items);
        Query { sql: format!("SELECT DISTINCT {items} {}", block.text()), columns }
    }

    fn distinct_on(&mut self, block: &Block, want: Option<&[Kind]>) -> Query {
        let scope = &block.from.scope;
        if scope.is_empty() {
            return self.plain(block, want);
        }
        self.note("DISTINCT ON");
        let key = self.draw.pick(scope).clone();
        let items = self.items(scope, want);
        let (items, columns) = items_of(&items);
        let order = self.total_order(scope);
        let sql = format!("SELECT DISTINCT ON ({}) {items} {} ORDER BY {}, {order}", key.sql, block.text(), key.sql);
        Query { sql, columns }
    }

    fn windowed(&mut self, block: &Block, want: Option<&[Kind]>) -> Query {
        let scope = &block.from.scope;
        let partition = self.partition(scope);
        let windows: Vec<Column> = (0..self.draw.between(1, 4)).map(|_| self.window(scope, &partition)).collect();
        let qualify = if self.draw.chance(35) {
            self.note("QUALIFY");
            match self.draw.below(3) {
                0 => {
                    let by = if partition.is_empty() {
                        String::new()
                    } else {
                        format!("PARTITION BY {} ", list(&partition))
                    };
                    let order = self.total_order(scope);
                    let operator = *self.draw.pick(&["= 1", "<= 2", "> 1"]);
                    format!(" QUALIFY row_number() OVER ({by}ORDER BY {order}) {operator}")
                }
                1 => format!(" QUALIFY {} IS NOT NULL", windows[0].sql),
                _ => {
                    let predicate = self.simple_predicate(scope, 0);
                    format!(" QUALIFY {} IS NOT NULL AND {predicate}", windows[0].sql)
                }
            }
        } else {
            String::new()
        };
        let items = match want {
            Some(kinds) => {
                let mut all = scope.clone();
                all.extend(windows);
                kinds
                    .iter()
                    .map(|kind| Column { sql: self.expression(*kind, &all, 1), kind: *kind, plain: false })
                    .collect()
            }
            None => {
                let mut items = self.items(scope, None);
                items.extend(windows);
                items
            }
        };
        let (items, columns) = items_of(&items);
        Query { sql: format!("SELECT {items} {}{qualify}", block.text()), columns }
    }

    fn limited(&mut self, block: &Block, want: Option<&[Kind]>) -> Query {
        self.note("LIMIT");
        let scope = &block.from.scope;
        let items = self.items(scope, want);
        let (items, columns) = items_of(&items);
        if scope.is_empty() {
            return Query { sql: format!("SELECT {items} {} LIMIT 1", block.text()), columns };
        }
        let order = self.total_order(scope);
        let count = self.draw.between(0, 8);
        let offset = if self.draw.chance(30) { " OFFSET 2" } else { "" };
        Query { sql: format!("SELECT {items} {} ORDER BY {order} LIMIT {count}{offset}", block.text()), columns }
    }

    /// `*` in its variants, over one relation: over a join it would name columns twice.
    fn starred(&mut self) -> Query {
        self.note("star");
        let relation = self.relation();
        let alias = self.alias();
        let scope = super::scope_of(&relation, &alias);
        let filter =
            if self.draw.chance(50) { format!(" WHERE {}", self.predicate(&scope, 1)) } else { String::new() };
        let mut columns = relation.columns.clone();
        let (first, kind) = columns[0].clone();
        let star = match self.draw.below(5) {
            1 if columns.len() > 1 => {
                columns.remove(0);
                format!("* EXCLUDE ({first})")
            }
            2 if kind == Kind::Int => format!("* REPLACE (({first} % 5) AS {first})"),
            3 => {
                columns.truncate(1);
                format!("COLUMNS('^{first}$')")
            }
            4 => format!("{alias}.*"),
            _ => "*".to_owned(),
        };
        Query { sql: format!("SELECT {star} FROM {} AS {alias}{filter}", relation.name), columns }
    }
}

fn from_is_noisy(block: &Block) -> bool {
    block.from.scope.iter().any(|column| column.kind == Kind::Noisy)
}
