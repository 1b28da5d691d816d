//! Random change scripts: what users, other programs and maintenance do to a lake between two refreshes.

use crate::draw::Draw;
use crate::grammar::Kind;
use crate::schema::{Schema, Table};

/// Makes changes to the tables of a schema, which it keeps up with.
pub struct Changes<'a> {
    schema: &'a mut Schema,
    draw: &'a mut Draw,
    /// The dynamic tables, which somebody else may write to.
    dynamic: &'a [String],
    added: usize,
    /// How often each kind of change is drawn.
    weights: &'static [usize],
}

const ANYTHING: &[usize] = &[34, 16, 16, 14, 3, 8, 4, 2, 1, 9, 3, 2, 4, 2, 2];
const ROWS_ONLY: &[usize] = &[34, 16, 16, 14, 3, 8, 4, 2, 0, 0, 0, 0, 4, 0, 0];

impl<'a> Changes<'a> {
    /// Changes of these tables.
    pub const fn new(schema: &'a mut Schema, draw: &'a mut Draw, dynamic: &'a [String]) -> Self {
        Self { schema, draw, dynamic, added: 0, weights: ANYTHING }
    }

    /// Changes of nothing but rows.
    pub const fn of_rows(schema: &'a mut Schema, draw: &'a mut Draw) -> Self {
        Self { schema, draw, dynamic: &[], added: 0, weights: ROWS_ONLY }
    }

    /// What happens between two refreshes.
    pub fn step(&mut self) -> Vec<String> {
        let mut statements = Vec::new();
        for _ in 0..self.draw.between(1, 6) {
            let number = self.draw.below(self.schema.tables.len());
            let table = self.schema.tables[number].clone();
            match self.draw.weighted(self.weights) {
                0 => statements.push(self.insert(&table)),
                1 => statements.push(self.update(&table, false)),
                2 => statements.push(self.update(&table, true)),
                3 => statements.push(self.delete(&table)),
                4 => statements.push(if self.draw.chance(50) {
                    format!("TRUNCATE {}", table.name)
                } else {
                    format!("DELETE FROM {}", table.name)
                }),
                5 => statements.extend(self.transaction(&table)),
                6 => statements.push(merge(&table, self.draw)),
                7 => {
                    let condition = self.condition(&table);
                    statements.push(format!(
                        "CREATE OR REPLACE TABLE {0} AS SELECT * FROM {0} WHERE {condition}",
                        table.name
                    ));
                }
                8 => {
                    statements.push(format!("DROP TABLE {}", table.name));
                    statements.push(table.definition("CREATE TABLE"));
                    statements.push(self.insert(&table));
                }
                9 => statements.push(self.maintenance()),
                10 => statements.extend(self.reshape(number)),
                11 => statements.push(self.widen(number)),
                12 => {
                    if let Some(column) = table.unused.first() {
                        statements.push(format!(
                            "UPDATE {} SET {column} = coalesce({column}, 0) + 1 WHERE id % 2 = 0",
                            table.name
                        ));
                    }
                }
                13 => statements.push(format!(
                    "CALL ducklake_expire_snapshots('lake', older_than => now() - INTERVAL {} SECOND)",
                    self.draw.below(2)
                )),
                _ if self.dynamic.is_empty() => {}
                _ => {
                    let name = self.draw.pick(self.dynamic).clone();
                    statements.push(match self.draw.below(2) {
                        0 => format!("DELETE FROM {name}"),
                        _ => format!("INSERT INTO {name} SELECT * FROM {name} LIMIT 1"),
                    });
                }
            }
        }
        statements
    }

    fn insert(&mut self, table: &Table) -> String {
        if self.draw.chance(10) {
            let names: Vec<&str> = table.columns.iter().map(|(name, ..)| name.as_str()).collect();
            let names = names.join(", ");
            let condition = self.condition(table);
            return format!("INSERT INTO {0} ({names}) SELECT {names} FROM {0} WHERE {condition}", table.name);
        }
        // More than DuckLake keeps inlined in its catalog, now and then.
        let rows = *self.draw.pick(&[1, 2, 3, 3, 5, 14]);
        self.schema.insert(table, self.draw, rows)
    }

    fn condition(&mut self, table: &Table) -> String {
        match self.draw.below(4) {
            0 => format!("id % 3 = {}", self.draw.below(3)),
            1 => format!("k = {}", self.draw.below(7)),
            2 => "g IS NULL".to_owned(),
            _ => {
                let (name, kind, _) = self.draw.pick(&table.columns).clone();
                let value = self.schema.value(&name, kind, self.draw);
                format!("{name} IS NOT DISTINCT FROM {value}")
            }
        }
    }

    fn update(&mut self, table: &Table, key: bool) -> String {
        let (name, kind, _) =
            if key { self.draw.pick(&table.columns[1..3]).clone() } else { self.draw.pick(&table.columns).clone() };
        let value = match kind {
            Kind::Int if self.draw.chance(40) => format!("({name} + 1) % 9"),
            _ => self.schema.value(&name, kind, self.draw),
        };
        let condition = self.condition(table);
        format!("UPDATE {} SET {name} = {value} WHERE {condition}", table.name)
    }

    fn delete(&mut self, table: &Table) -> String {
        let condition = self.condition(table);
        format!("DELETE FROM {} WHERE {condition}", table.name)
    }

    fn transaction(&mut self, table: &Table) -> Vec<String> {
        let mut statements = vec!["BEGIN".to_owned()];
        for _ in 0..self.draw.between(2, 5) {
            let other = self.draw.pick(&self.schema.tables).clone();
            let table = if self.draw.chance(30) { &other } else { table };
            let statement = match self.draw.below(3) {
                0 => self.insert(table),
                1 => self.update(table, false),
                _ => self.delete(table),
            };
            statements.push(statement);
        }
        statements.push(if self.draw.chance(8) { "ROLLBACK" } else { "COMMIT" }.to_owned());
        statements
    }

    fn maintenance(&mut self) -> String {
        (*self.draw.pick(&[
            "CALL ducklake_merge_adjacent_files('lake')",
            "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)",
            "CALL ducklake_flush_inlined_data('lake')",
            "CHECKPOINT lake",
        ]))
        .to_owned()
    }

    /// Columns that no query names come, go and are renamed.
    fn reshape(&mut self, number: usize) -> Vec<String> {
        let table = &mut self.schema.tables[number];
        self.added += 1;
        let name = format!("added{}", self.added);
        match (self.draw.below(3), table.unused.first().cloned()) {
            (1, Some(unused)) => {
                table.unused.remove(0);
                vec![format!("ALTER TABLE {} DROP COLUMN {unused}", table.name)]
            }
            (2, Some(unused)) => {
                table.unused[0].clone_from(&name);
                vec![format!("ALTER TABLE {} RENAME COLUMN {unused} TO {name}", table.name)]
            }
            _ => {
                table.unused.push(name.clone());
                vec![format!("ALTER TABLE {} ADD COLUMN {name} INTEGER DEFAULT 1", table.name)]
            }
        }
    }

    /// A column that queries use gets a wider type.
    fn widen(&mut self, number: usize) -> String {
        let table = &mut self.schema.tables[number];
        let narrow = table.columns.iter_mut().find(|(_, _, data_type)| *data_type == "INTEGER");
        match narrow {
            Some((name, _, data_type)) => {
                *data_type = "BIGINT";
                format!("ALTER TABLE {} ALTER COLUMN {name} SET DATA TYPE BIGINT", table.name)
            }
            None => format!("DELETE FROM {} WHERE k = 1", table.name),
        }
    }
}

fn merge(table: &Table, draw: &mut Draw) -> String {
    let from = draw.below(60);
    format!(
        "MERGE INTO {0} USING (SELECT i AS id, (i % 7)::INTEGER AS k, 'm' AS g FROM range({from}, {1}) t(i)) s ON {0}.id = s.id \
         WHEN MATCHED THEN UPDATE SET k = s.k, g = s.g WHEN NOT MATCHED THEN INSERT (id, k, g) VALUES (s.id, s.k, s.g)",
        table.name,
        from + 6
    )
}
