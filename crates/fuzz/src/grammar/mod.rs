//! Random queries. Every one is meant to bind and to have one right answer: orders are total, and no function is used
//! whose value depends on anything else than the multiset of its input.

mod aggregate;
mod expression;
mod from;
mod group;
mod predicate;
mod select;
mod window;

use std::collections::BTreeSet;

use crate::draw::Draw;

/// What an expression gives, as far as the grammar must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any integer.
    Int,
    /// A decimal.
    Dec,
    /// Text.
    Str,
    /// A DOUBLE that is a multiple of a small power of two, so that sums are exact.
    Float,
    /// A DOUBLE that is the same at every evaluation, but whose sums are not.
    Real,
    /// A DOUBLE that can differ in its last digits between two evaluations.
    Noisy,
    /// A date.
    Date,
    /// A timestamp.
    Ts,
    /// A timestamp with time zone.
    Tz,
    /// A truth value.
    Bool,
    /// A list of integers.
    List,
    /// `STRUCT(a INTEGER, b VARCHAR)`.
    Struct,
}

/// Something that can stand in FROM by its name.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<(String, Kind)>,
}

/// A query and its columns.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its text.
    pub sql: String,
    /// Its columns, as far as others may use them.
    pub columns: Vec<(String, Kind)>,
}

/// An expression that may be used in a place.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    sql: String,
    kind: Kind,
    /// A plain column, which a subquery may refer to.
    plain: bool,
}

/// Makes queries.
pub struct Grammar<'a> {
    draw: &'a mut Draw,
    relations: Vec<Relation>,
    /// What the query is made of.
    pub operators: BTreeSet<&'static str>,
    /// How many more subqueries there may be.
    budget: usize,
    aliases: usize,
    /// Doubles may be cast to text, which tells apart what is equal.
    text_of_floats: bool,
}

impl<'a> Grammar<'a> {
    /// A grammar over these relations.
    pub fn new(draw: &'a mut Draw, relations: Vec<Relation>, text_of_floats: bool) -> Self {
        Self { draw, relations, operators: BTreeSet::new(), budget: 4, aliases: 0, text_of_floats }
    }

    /// A query.
    pub fn query(mut self) -> (Query, BTreeSet<&'static str>) {
        self.budget = self.draw.below(6);
        let query = self.body(true, None);
        (query, self.operators)
    }

    /// A query that may stand anywhere; its columns have these kinds, if any are wanted.
    fn body(&mut self, top: bool, want: Option<&[Kind]>) -> Query {
        if self.budget == 0 {
            return self.select(top, want);
        }
        match self.draw.weighted(&[70, 14, 12, if want.is_none() { 2 } else { 0 }]) {
            0 => self.select(top, want),
            1 => self.set_operation(want),
            2 => self.with(top, want),
            _ => self.recursive(),
        }
    }

    fn note(&mut self, operator: &'static str) {
        self.operators.insert(operator);
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    /// What a subquery costs.
    fn spend(&mut self) {
        self.budget = self.budget.saturating_sub(1);
    }

    fn set_operation(&mut self, want: Option<&[Kind]>) -> Query {
        self.spend();
        let kinds: Vec<Kind> = match want {
            Some(kinds) => kinds.to_vec(),
            None => (0..self.draw.between(1, 4))
                .map(|_| *self.draw.pick(&[Kind::Int, Kind::Str, Kind::Int, Kind::Date, Kind::Dec, Kind::Bool]))
                .collect(),
        };
        let (left, right) = (self.body(false, Some(&kinds)), self.body(false, Some(&kinds)));
        let words = [
            "UNION ALL",
            "UNION",
            "EXCEPT",
            "EXCEPT ALL",
            "INTERSECT",
            "INTERSECT ALL",
            "UNION ALL BY NAME",
            "UNION BY NAME",
        ];
        let word = *self.draw.pick(&words);
        self.note(word);
        Query { sql: format!("({}) {word} ({})", left.sql, right.sql), columns: left.columns }
    }

    fn with(&mut self, top: bool, want: Option<&[Kind]>) -> Query {
        self.spend();
        self.note("WITH");
        let inner = self.body(false, None);
        let name = self.alias();
        let materialized = *self.draw.pick(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
        self.relations.push(Relation { name: name.clone(), columns: inner.columns.clone() });
        let before = self.relations.len();
        // Drawn often enough to be used, and sometimes twice.
        if self.draw.chance(60) {
            self.relations.push(Relation { name: name.clone(), columns: inner.columns.clone() });
            self.relations.push(Relation { name: name.clone(), columns: inner.columns });
        }
        let outer = self.body(top, want);
        self.relations.truncate(before - 1);
        let outer_sql =
            if outer.sql.starts_with("WITH ") { format!("SELECT * FROM ({})", outer.sql) } else { outer.sql };
        let sql = format!("WITH {name} AS {materialized}({}) {outer_sql}", inner.sql);
        Query { sql, columns: outer.columns }
    }

    fn recursive(&mut self) -> Query {
        self.spend();
        self.note("WITH RECURSIVE");
        let (name, alias) = (self.alias(), self.alias());
        let relation = self.relation();
        let sql = format!(
            "WITH RECURSIVE {name}(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM {name} WHERE n < 4) \
             SELECT {name}.n AS c0, count({alias}.*) AS c1 FROM {name} LEFT JOIN {} AS {alias} ON {name}.n % 2 = 0 GROUP BY ALL",
            relation.name
        );
        Query { sql, columns: vec![("c0".to_owned(), Kind::Int), ("c1".to_owned(), Kind::Int)] }
    }

    fn relation(&mut self) -> Relation {
        self.draw.pick(&self.relations).clone()
    }
}

/// The columns of a relation under an alias.
fn scope_of(relation: &Relation, alias: &str) -> Vec<Column> {
    let mut scope = Vec::new();
    for (name, kind) in &relation.columns {
        scope.push(Column { sql: format!("{alias}.{name}"), kind: *kind, plain: true });
    }
    scope
}

/// A list of expressions.
fn list(columns: &[Column]) -> String {
    columns.iter().map(|column| column.sql.as_str()).collect::<Vec<_>>().join(", ")
}
