//! What stands in FROM: relations, subqueries, joins of every kind nested on either side, LATERAL, VALUES, UNNEST.

use super::{Column, Grammar, Kind, Query, Relation, scope_of};

/// A FROM clause and what it offers.
pub(super) struct From {
    pub sql: String,
    pub scope: Vec<Column>,
}

impl Grammar<'_> {
    /// A FROM clause.
    pub(super) fn from(&mut self) -> From {
        let mut from = self.operand();
        for _ in 0..2 {
            if self.budget == 0 || !self.draw.chance(38) {
                break;
            }
            from = self.join(from);
        }
        // A comma binds more loosely than JOIN, so it comes last.
        if self.budget > 0 && self.draw.chance(6) {
            self.spend();
            self.note("comma join");
            let right = self.operand();
            from.sql = format!("{}, {}", from.sql, right.sql);
            from.scope.extend(right.scope);
        }
        if self.draw.chance(6)
            && let Some(column) = self.column(&from.scope, Kind::List)
        {
            self.note("UNNEST in FROM");
            let alias = self.alias();
            from.sql = format!("{}, unnest({}) AS {alias}(v)", from.sql, column.sql);
            from.scope.push(Column { sql: format!("{alias}.v"), kind: Kind::Int, plain: true });
        }
        from
    }

    fn operand(&mut self) -> From {
        let subquery = if self.budget > 0 { 22 } else { 0 };
        match self.draw.weighted(&[74, subquery, 2, 2, subquery / 5, subquery / 5]) {
            1 => {
                self.spend();
                self.note("subquery in FROM");
                let query = self.body(false, None);
                self.derived(&query)
            }
            2 => {
                self.note("VALUES");
                let query = Query {
                    sql: "VALUES (1, 'a'), (2, 'b'), (2, NULL), (NULL, '')".to_owned(),
                    columns: vec![("k".to_owned(), Kind::Int), ("g".to_owned(), Kind::Str)],
                };
                let alias = self.alias();
                let scope = scope_of(&Relation { name: String::new(), columns: query.columns }, &alias);
                From { sql: format!("({}) AS {alias}(k, g)", query.sql), scope }
            }
            3 => {
                self.note("range in FROM");
                let alias = self.alias();
                let scope = vec![Column { sql: format!("{alias}.i"), kind: Kind::Int, plain: true }];
                From { sql: format!("range(4) AS {alias}(i)"), scope }
            }
            4 => {
                self.spend();
                let query = self.by_names();
                self.derived(&query)
            }
            5 => {
                self.spend();
                let query = self.unpivoted();
                self.derived(&query)
            }
            _ => self.named(),
        }
    }

    fn named(&mut self) -> From {
        let relation = self.relation();
        let alias = self.alias();
        From { sql: format!("{} AS {alias}", relation.name), scope: scope_of(&relation, &alias) }
    }

    fn derived(&mut self, query: &Query) -> From {
        let alias = self.alias();
        let relation = Relation { name: String::new(), columns: query.columns.clone() };
        From { sql: format!("({}) AS {alias}", query.sql), scope: scope_of(&relation, &alias) }
    }

    fn join(&mut self, left: From) -> From {
        self.spend();
        match self.draw.below(14) {
            9 => return self.asof(left),
            10 => return self.lateral(left),
            11 | 12 if self.budget > 0 => {
                // A join in parentheses on the right side.
                let inner = self.operand();
                let right = self.join(inner);
                self.note("join nested on the right");
                let right = From { sql: format!("({})", right.sql), ..right };
                return self.joined(left, right);
            }
            _ => {}
        }
        let right = self.operand();
        self.joined(left, right)
    }

    fn joined(&mut self, left: From, right: From) -> From {
        let (word, note) = *self.draw.pick(&[
            ("JOIN", "inner join"),
            ("LEFT JOIN", "left join"),
            ("LEFT JOIN", "left join"),
            ("JOIN", "inner join"),
            ("RIGHT JOIN", "right join"),
            ("FULL JOIN", "full join"),
            ("SEMI JOIN", "semi join"),
            ("ANTI JOIN", "anti join"),
            ("CROSS JOIN", "cross join"),
        ]);
        self.note(note);
        if word == "CROSS JOIN" {
            let sql = format!("{} {word} {}", left.sql, right.sql);
            let mut scope = left.scope;
            scope.extend(right.scope);
            return From { sql, scope };
        }
        let condition = self.condition(&left.scope, &right.scope);
        let sql = format!("{} {word} {} ON {condition}", left.sql, right.sql);
        let mut scope = left.scope;
        if word != "SEMI JOIN" && word != "ANTI JOIN" {
            scope.extend(right.scope);
        }
        From { sql, scope }
    }

    /// Mostly an equality, often with something beside it, sometimes none at all.
    fn condition(&mut self, left: &[Column], right: &[Column]) -> String {
        let mut conditions = Vec::new();
        let pairs = pairs(left, right);
        let both: Vec<Column> = left.iter().chain(right).cloned().collect();
        if pairs.is_empty() {
            self.note("join on anything");
            return self.simple_predicate(&both, 0);
        }
        let (a, b) = self.draw.pick(&pairs).clone();
        match self.draw.weighted(&[70, 8, 14, 6]) {
            0 => conditions.push(format!("{} = {}", a.sql, b.sql)),
            1 => conditions.push(format!("{} IS NOT DISTINCT FROM {}", a.sql, b.sql)),
            2 => {
                self.note("join on an inequality");
                conditions.push(format!("{} {} {}", a.sql, *self.draw.pick(&["<", ">=", "<>"]), b.sql));
            }
            _ => {
                self.note("join on expressions");
                let kind = a.kind;
                let left_side = self.expression(kind, left, 1);
                conditions.push(format!("{left_side} = {}", b.sql));
            }
        }
        if self.draw.chance(22) {
            let (a, b) = self.draw.pick(&pairs).clone();
            conditions.push(format!("{} {} {}", a.sql, *self.draw.pick(&["=", "<", "<>"]), b.sql));
        }
        if self.draw.chance(15) {
            conditions.push(self.simple_predicate(&both, 0));
        }
        conditions.join(" AND ")
    }

    /// The nearest row of a side whose keys are unique, so that there is one nearest row.
    fn asof(&mut self, left: From) -> From {
        let relation = self.relation();
        let inner = self.alias();
        let scope = scope_of(&relation, &inner);
        let orders = [Kind::Int, Kind::Date, Kind::Ts, Kind::Dec];
        let by: Vec<Column> = left.scope.iter().filter(|column| orders.contains(&column.kind)).cloned().collect();
        let pair = pairs(&by, &scope);
        if pair.is_empty() {
            let right = self.named();
            return self.joined(left, right);
        }
        self.note("ASOF join");
        let (a, b) = self.draw.pick(&pair).clone();
        let keys: Vec<(Column, Column)> =
            pairs(&left.scope, &scope).into_iter().filter(|(_, right)| right.sql != b.sql).collect();
        let outer = self.alias();
        let mut condition = format!("{} {} {outer}.o", a.sql, *self.draw.pick(&[">=", "<", ">", "<="]));
        let mut columns = vec![format!("{} AS o", b.sql)];
        let mut groups = vec![b.sql.clone()];
        let mut out = vec![("o".to_owned(), b.kind), ("n".to_owned(), Kind::Int)];
        if !keys.is_empty() && self.draw.chance(75) {
            let (x, y) = self.draw.pick(&keys).clone();
            condition = format!("{} = {outer}.e AND {condition}", x.sql);
            columns.push(format!("{} AS e", y.sql));
            groups.push(y.sql.clone());
            out.push(("e".to_owned(), y.kind));
        }
        columns.push("count(*) AS n".to_owned());
        let word = *self.draw.pick(&["ASOF JOIN", "ASOF LEFT JOIN"]);
        let sql = format!(
            "{} {word} (SELECT {} FROM {} AS {inner} GROUP BY {}) AS {outer} ON {condition}",
            left.sql,
            columns.join(", "),
            relation.name,
            groups.join(", ")
        );
        let mut scope = left.scope;
        scope.extend(scope_of(&Relation { name: String::new(), columns: out }, &outer));
        From { sql, scope }
    }

    fn lateral(&mut self, left: From) -> From {
        self.note("LATERAL");
        let (inner, scope) = self.correlated(&left.scope);
        let alias = self.alias();
        let extreme = self.column(&scope, Kind::Int);
        let (items, columns) = match extreme {
            Some(column) => (
                format!("count(*) AS n, max({}) AS m", column.sql),
                vec![("n".to_owned(), Kind::Int), ("m".to_owned(), Kind::Int)],
            ),
            None => ("count(*) AS n".to_owned(), vec![("n".to_owned(), Kind::Int)]),
        };
        let sql = match self.draw.below(2) {
            0 => format!("{} CROSS JOIN LATERAL (SELECT {items} {inner}) AS {alias}", left.sql),
            _ => format!("{} LEFT JOIN LATERAL (SELECT {items} {inner}) AS {alias} ON true", left.sql),
        };
        let mut all = left.scope;
        all.extend(scope_of(&Relation { name: String::new(), columns }, &alias));
        From { sql, scope: all }
    }

    /// USING and NATURAL, over the columns that both sides name alike.
    fn by_names(&mut self) -> Query {
        let (a, b) = (self.relation(), self.relation());
        let exact = [Kind::Int, Kind::Str, Kind::Date, Kind::Ts, Kind::Bool, Kind::Dec];
        let mut common: Vec<(String, Kind)> = Vec::new();
        for (name, kind) in &a.columns {
            let known = common.iter().any(|(other, _)| other == name);
            if !known && exact.contains(kind) && b.columns.contains(&(name.clone(), *kind)) {
                common.push((name.clone(), *kind));
            }
        }
        if common.is_empty() {
            return self.select(false, None);
        }
        let keys: Vec<(String, Kind)> = self.draw.some(&common, 25);
        let names = keys.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let word = *self.draw.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"]);
        let (left, right) = (self.alias(), self.alias());
        let rest = |relation: &Relation| {
            relation
                .columns
                .iter()
                .find(|(name, kind)| !keys.iter().any(|key| &key.0 == name) && *kind != Kind::Noisy)
                .cloned()
        };
        let mut columns = keys.clone();
        let (mut left_list, mut right_list) = (names.clone(), names.clone());
        if let Some((name, kind)) = rest(&a) {
            left_list.push_str(&format!(", {name} AS p"));
            columns.push(("p".to_owned(), kind));
        }
        let one_sided = word == "SEMI JOIN" || word == "ANTI JOIN";
        if let Some((name, kind)) = rest(&b).filter(|_| !one_sided) {
            right_list.push_str(&format!(", {name} AS q"));
            columns.push(("q".to_owned(), kind));
        }
        let list = columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let sql = if self.draw.chance(35) && !one_sided {
            self.note("NATURAL join");
            format!(
                "SELECT * FROM (SELECT {left_list} FROM {}) AS {left} NATURAL {word} (SELECT {right_list} FROM {}) AS {right}",
                a.name, b.name
            )
        } else {
            self.note("join USING");
            format!(
                "SELECT {list} FROM (SELECT {left_list} FROM {}) AS {left} {word} (SELECT {right_list} FROM {}) AS {right} USING ({names})",
                a.name, b.name
            )
        };
        Query { sql, columns }
    }

    fn unpivoted(&mut self) -> Query {
        let From { sql, scope } = self.named();
        let integers: Vec<Column> = scope.iter().filter(|column| column.kind == Kind::Int).cloned().collect();
        let Some(first) = integers.first() else { return self.select(false, None) };
        self.note("UNPIVOT");
        let second = self.draw.pick(&integers).clone();
        let alias = self.alias();
        let sql = format!(
            "SELECT n, v FROM (SELECT ({})::BIGINT AS p, ({})::BIGINT AS q FROM {sql}) UNPIVOT (v FOR n IN (p, q)) AS {alias}",
            first.sql, second.sql
        );
        Query { sql, columns: vec![("n".to_owned(), Kind::Str), ("v".to_owned(), Kind::Int)] }
    }
}

/// Pairs of columns that can be compared and whose equality means the same row value.
fn pairs(left: &[Column], right: &[Column]) -> Vec<(Column, Column)> {
    let usable = |column: &&Column| column.plain && !matches!(column.kind, Kind::Noisy | Kind::Bool);
    let mut pairs = Vec::new();
    for a in left.iter().filter(usable) {
        for b in right.iter().filter(usable).filter(|b| b.kind == a.kind) {
            pairs.push((a.clone(), b.clone()));
        }
    }
    pairs
}
