//! Random changes to a fixed pair of tables, reproducible from a seed.
//!
//! The tables hold what real data holds: NULLs, duplicates, empty strings, NaN, negative zero, large decimals,
//! timestamps with time zone. A script is made of what users and maintenance do to a lake.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Makes random changes.
pub struct Changes {
    random: StdRng,
    next_id: i64,
    added_columns: u32,
}

/// The statements that create the tables `fact` and `dim`, filled with `rows` rows and a few.
#[must_use]
pub fn schema(rows: i64) -> Vec<String> {
    vec![
        "CREATE TABLE lake.fact (id BIGINT, k INTEGER, g VARCHAR, x INTEGER, amount DECIMAL(18, 2), f DOUBLE, \
         seen TIMESTAMPTZ, unused VARCHAR)"
            .to_owned(),
        "CREATE TABLE lake.dim (k INTEGER, name VARCHAR, region VARCHAR, weight BIGINT NOT NULL)".to_owned(),
        fact_rows(0, rows),
        "INSERT INTO lake.dim SELECT CASE WHEN i = 7 THEN NULL ELSE i % 9 END, \
         CASE WHEN i % 5 = 0 THEN '' WHEN i % 11 = 0 THEN NULL ELSE 'n' || (i % 6) END, \
         ['north', 'south', NULL][1 + i % 3], i FROM range(14) t(i)"
            .to_owned(),
    ]
}

fn fact_rows(from: i64, rows: i64) -> String {
    format!(
        "INSERT INTO lake.fact (id, k, g, x, amount, f, seen, unused) SELECT i, \
         CASE WHEN i % 13 = 0 THEN NULL ELSE i % 9 END, \
         CASE WHEN i % 17 = 0 THEN NULL WHEN i % 7 = 0 THEN '' ELSE 'g' || (i % 4) END, \
         CASE WHEN i % 11 = 0 THEN NULL ELSE (i * 7919) % 50 - 10 END, \
         CASE WHEN i % 19 = 0 THEN NULL ELSE ((i * 104729) % 100000)::DECIMAL(18, 2) / 100 * CASE WHEN i % 29 = 0 THEN 1000000000 ELSE 1 END END, \
         CASE WHEN i % 23 = 0 THEN 'nan'::DOUBLE WHEN i % 31 = 0 THEN -0.0 ELSE (i % 8) / 4.0 END, \
         TIMESTAMPTZ '2024-03-30 22:00:00+00' + INTERVAL (i % 100) HOUR, \
         'u' || i FROM range({from}, {}) t(i)",
        from + rows
    )
}

impl Changes {
    /// Changes for tables that [`schema`] filled with `rows` rows.
    #[must_use]
    pub fn new(seed: u64, rows: i64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), next_id: rows, added_columns: 0 }
    }

    /// The statements of one step: what one user or one maintenance run does between two refreshes.
    pub fn step(&mut self, maintenance: bool) -> Vec<String> {
        let mut statements = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            match self.random.random_range(0..if maintenance { 14 } else { 11 }) {
                0..=2 => statements.push(self.insert()),
                3 | 4 => statements.push(self.update()),
                5 => statements.push(self.update_key()),
                6 => statements.push(self.delete()),
                7 => statements.push(self.change_dim()),
                8 => {
                    statements.push("BEGIN".to_owned());
                    for _ in 0..self.random.random_range(2..4) {
                        let statement = match self.random.random_range(0..4) {
                            0 => self.insert(),
                            1 => self.update(),
                            2 => self.delete(),
                            _ => self.change_dim(),
                        };
                        statements.push(statement);
                    }
                    statements.push("COMMIT".to_owned());
                }
                9 => statements.push(self.merge()),
                10 if self.random.random_bool(0.2) => {
                    statements.push("DELETE FROM lake.dim".to_owned());
                    statements
                        .push("INSERT INTO lake.dim SELECT i, 'n' || i, 'north', i FROM range(9) t(i)".to_owned());
                }
                10 if self.random.random_bool(0.3) => {
                    self.added_columns += 1;
                    statements.push(format!(
                        "ALTER TABLE lake.fact ADD COLUMN added{} INTEGER DEFAULT 1",
                        self.added_columns
                    ));
                }
                10 => statements.push("UPDATE lake.fact SET unused = unused || '!' WHERE id % 3 = 0".to_owned()),
                11 => statements.push("CALL ducklake_merge_adjacent_files('lake')".to_owned()),
                12 => statements.push("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)".to_owned()),
                _ => statements.push("CALL ducklake_flush_inlined_data('lake')".to_owned()),
            }
        }
        statements
    }

    fn insert(&mut self) -> String {
        let rows = *[1, 3, 12, 40].choose(&mut self.random).unwrap_or(&1);
        let from = self.next_id;
        // Sometimes the same rows again: duplicates are rows of their own.
        if self.random.random_bool(0.15) {
            return fact_rows((from - rows).max(0), rows);
        }
        self.next_id += rows;
        fact_rows(from, rows)
    }

    fn some(&mut self) -> String {
        let modulus = *[2, 3, 5, 17, 101].choose(&mut self.random).unwrap_or(&5);
        format!("id % {modulus} = {}", self.random.random_range(0..modulus))
    }

    fn update(&mut self) -> String {
        let set = *[
            "x = x + 1",
            "x = NULL",
            "amount = coalesce(amount, 0) + 0.01",
            "f = f + 1",
            "x = 3, amount = NULL",
            "x = x",
            "seen = seen + INTERVAL 1 DAY",
        ]
        .choose(&mut self.random)
        .unwrap_or(&"x = 0");
        format!("UPDATE lake.fact SET {set} WHERE {}", self.some())
    }

    fn update_key(&mut self) -> String {
        let set = *["k = (k + 1) % 9", "k = NULL", "g = 'g1'", "g = NULL", "k = 3, g = ''"]
            .choose(&mut self.random)
            .unwrap_or(&"k = 0");
        format!("UPDATE lake.fact SET {set} WHERE {}", self.some())
    }

    fn delete(&mut self) -> String {
        match self.random.random_range(0..12) {
            0 => "DELETE FROM lake.fact".to_owned(),
            1 => "TRUNCATE lake.fact".to_owned(),
            2 => "DELETE FROM lake.fact WHERE k = 4".to_owned(),
            _ => format!("DELETE FROM lake.fact WHERE {}", self.some()),
        }
    }

    fn change_dim(&mut self) -> String {
        let key = self.random.random_range(0..9);
        match self.random.random_range(0..5) {
            0 => format!("UPDATE lake.dim SET region = 'west' WHERE k = {key}"),
            1 => format!("UPDATE lake.dim SET k = NULL WHERE k = {key}"),
            2 => format!("DELETE FROM lake.dim WHERE k = {key}"),
            3 => format!("UPDATE lake.dim SET weight = weight + 1 WHERE k >= {key}"),
            _ => format!("INSERT INTO lake.dim VALUES ({key}, 'again', 'south', 5), ({key}, NULL, NULL, 6)"),
        }
    }

    fn merge(&mut self) -> String {
        let from = self.next_id - 5;
        self.next_id += 5;
        format!(
            "MERGE INTO lake.fact USING (SELECT i AS id, (i % 9)::INTEGER AS k, 'm' AS g FROM range({from}, {}) t(i)) s \
             ON fact.id = s.id WHEN MATCHED THEN UPDATE SET k = s.k, g = s.g \
             WHEN NOT MATCHED THEN INSERT (id, k, g) VALUES (s.id, s.k, s.g)",
            from + 10
        )
    }
}
