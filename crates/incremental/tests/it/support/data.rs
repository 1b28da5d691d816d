//! Random rows and random changes of them. There are few values, so that rows, keys and extremes meet; NULLs and equal rows
//! are among them.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use testkit::rules::{TableOf, World};

/// A table of the tests: its name and its columns, each with its type and the values that it can have.
pub struct Values {
    pub name: &'static str,
    pub columns: &'static [(&'static str, &'static str, &'static [&'static str])],
    /// How many rows it has at first, at most.
    pub rows: usize,
}

const FEW: &[&str] = &["NULL", "0", "1", "2", "3"];

pub const TABLES: [Values; 2] = [
    Values {
        name: "fact",
        columns: &[
            ("id", "INTEGER", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
            ("k", "INTEGER", FEW),
            ("g", "VARCHAR", &["NULL", "''", "'a'", "'b'", "'c'"]),
            ("x", "INTEGER", &["NULL", "-2", "-1", "0", "1", "2", "3"]),
            ("amount", "DECIMAL(9, 2)", &["NULL", "0.50", "-1.25", "3.00", "2000000.01"]),
            ("f", "DOUBLE", &["NULL", "0.5", "-1.25", "'nan'", "8"]),
            (
                "seen",
                "TIMESTAMPTZ",
                &["NULL", "'2024-01-01 00:00:00+00'", "'2024-01-01 12:00:00+00'", "'2024-01-02 00:00:00+00'"],
            ),
        ],
        rows: 14,
    },
    Values {
        name: "dim",
        columns: &[
            ("k", "INTEGER", FEW),
            ("name", "VARCHAR", &["NULL", "'a'", "'b'", "'n'"]),
            ("weight", "INTEGER", &["NULL", "0", "1", "2", "3"]),
        ],
        rows: 6,
    },
];

/// The rows of each table, as they are written in VALUES.
pub type Rows = [Vec<String>; 2];

/// The tables, empty.
pub fn world() -> World {
    let mut world = World::new().unwrap();
    world.run("PRAGMA disable_optimizer").unwrap();
    for table in TABLES {
        let columns = table.columns.iter().map(|(name, kind, _)| ((*name).to_owned(), (*kind).to_owned()));
        world.add(TableOf { name: table.name.to_owned(), columns: columns.collect() }).unwrap();
    }
    world
}

/// Fills the tables.
pub fn fill(world: &World, old: &Rows, new: &Rows) {
    for ((table, old), new) in TABLES.iter().zip(old).zip(new) {
        for (place, rows) in [("lake.main.", old), ("temp.main.new_", new)] {
            let name = format!("{place}{}", table.name);
            world.run(&format!("DELETE FROM {name}")).unwrap();
            if !rows.is_empty() {
                world.run(&format!("INSERT INTO {name} VALUES {}", rows.join(", "))).unwrap();
            }
        }
    }
}

/// Makes rows from a seed.
pub struct Data {
    random: StdRng,
}

impl Data {
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    /// Rows before and after the change of a round. The first rounds are those that rules forget.
    pub fn round(&mut self, round: u64) -> (Rows, Rows) {
        let old = [0, 1].map(|table| self.rows(table));
        let nothing = [Vec::new(), Vec::new()];
        match round {
            0 => (nothing, old),
            1 => (old, nothing),
            2 => {
                let new = [0, 1].map(|table| [old[table].clone(), self.rows(table)].concat());
                (old, new)
            }
            3 => (old.clone(), [self.changed(0, &old[0]), old[1].clone()]),
            4 => (old.clone(), [old[0].clone(), self.changed(1, &old[1])]),
            _ => {
                let new = [0, 1].map(|table| self.changed(table, &old[table]));
                (old, new)
            }
        }
    }

    fn rows(&mut self, table: usize) -> Vec<String> {
        let count = self.random.random_range(0..=TABLES[table].rows);
        (0..count).map(|_| self.row(table)).collect()
    }

    fn row(&mut self, table: usize) -> String {
        let values = TABLES[table].columns.iter();
        let values: Vec<&str> = values.map(|(_, _, values)| *values.choose(&mut self.random).unwrap()).collect();
        format!("({})", values.join(", "))
    }

    /// Some rows go, some become others, some come.
    fn changed(&mut self, table: usize, rows: &[String]) -> Vec<String> {
        let mut changed = Vec::new();
        for row in rows {
            match self.random.random_range(0..10) {
                0 | 1 => {}
                2 => changed.push(self.row(table)),
                3 => changed.extend([row.clone(), row.clone()]),
                _ => changed.push(row.clone()),
            }
        }
        for _ in 0..self.random.random_range(0..3) {
            changed.push(self.row(table));
        }
        changed
    }
}
