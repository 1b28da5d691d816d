//! Random scripts of changes to one table `t (id, k, v)`: every kind of DML, several statements in a transaction,
//! schema changes and maintenance.

use std::fmt;

use lake::Session;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Statements that belong together; several are one transaction.
pub type Operation = Vec<String>;

pub struct Script {
    pub operations: Vec<Operation>,
    /// 0 or 10: whether small changes stay in the catalog.
    pub inlining_limit: u32,
    pub partitioned: bool,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "inlining limit {}, partitioned {}", self.inlining_limit, self.partitioned)?;
        for operation in &self.operations {
            writeln!(f, "  {};", operation.join("; "))?;
        }
        Ok(())
    }
}

impl Script {
    pub fn random(seed: u64, maintenance: bool) -> Self {
        let mut writer = Writer { random: StdRng::seed_from_u64(seed), next_id: 0 };
        let inlining_limit = if writer.random.random_bool(0.5) { 0 } else { 10 };
        let partitioned = writer.random.random_bool(0.25);
        let length = writer.random.random_range(2..9);
        let operations = (0..length).map(|_| writer.operation(maintenance)).collect();
        Self { operations, inlining_limit, partitioned }
    }
}

/// Runs an operation. Some cannot be done (nothing to expire, a conflict within a MERGE): then nothing happens.
pub fn apply(session: &Session, operation: &Operation) {
    for statement in operation {
        if session.query(statement).is_err() {
            let _ = session.execute("ROLLBACK");
            return;
        }
    }
}

struct Writer {
    random: StdRng,
    next_id: u32,
}

impl Writer {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())]
    }

    fn insert(&mut self) -> String {
        let (count, first) = (self.one_of(&[1, 3, 8, 30]), self.next_id);
        self.next_id += count;
        format!(
            "INSERT INTO t (id, k, v) SELECT {first} + i, nullif((i + {first}) % 5, 4), 'v' FROM range({count}) r(i)"
        )
    }

    /// Sets a value, or sets it back: a row that has the value it had before is the hardest to tell.
    fn update(&mut self) -> String {
        if self.random.random_bool(0.4) {
            return format!("UPDATE t SET v = if(v = 'v', 'w', 'v') WHERE id % {} = 0", self.one_of(&[1, 2, 3]));
        }
        format!("UPDATE t SET v = v || 'u' WHERE id % {} = 0", self.one_of(&[2, 3, 5]))
    }

    fn delete(&mut self) -> String {
        let divisor = self.one_of(&[2, 3, 5, 7]);
        let remainder = self.random.random_range(0..divisor);
        format!("DELETE FROM t WHERE id % {divisor} = {remainder}")
    }

    fn operation(&mut self, maintenance: bool) -> Operation {
        let plain = [60, 30, 20, 40, 30, 5, 15, 4];
        let upkeep = [10, 10, 10, 6, 8];
        let weights: Vec<u32> = plain.into_iter().chain(upkeep.into_iter().filter(|_| maintenance)).collect();
        let mut drawn = self.random.random_range(0..weights.iter().sum::<u32>());
        let chosen = weights.iter().position(|weight| {
            let here = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        });
        let statement = match chosen.unwrap_or_default() {
            0 => self.insert(),
            1 => self.update(),
            2 => format!("UPDATE t SET k = coalesce(k, 0) + 1 WHERE id % {} = 0", self.one_of(&[2, 3, 5])),
            3 => self.delete(),
            4 => return self.transaction(),
            5 => self.one_of(&["TRUNCATE t", "DELETE FROM t"]).to_owned(),
            6 => format!(
                "MERGE INTO t USING (SELECT i AS id, 7 AS k, 'm' AS v FROM range({}) r(i) WHERE i % {} = 0) AS s ON t.id = s.id \
                 WHEN MATCHED THEN UPDATE SET k = s.k, v = s.v WHEN NOT MATCHED THEN INSERT (id, k, v) VALUES (s.id, s.k, s.v)",
                self.next_id.max(1),
                self.one_of(&[2, 3, 5])
            ),
            7 => format!("ALTER TABLE t ADD COLUMN c{} INTEGER DEFAULT 1", self.random.random_range(0..1_000_000)),
            8 => "CALL ducklake_merge_adjacent_files('lake')".to_owned(),
            9 => "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)".to_owned(),
            10 => "CALL ducklake_flush_inlined_data('lake')".to_owned(),
            11 => "CHECKPOINT lake".to_owned(),
            _ => format!("CALL ducklake_expire_snapshots('lake', versions => [{}])", self.random.random_range(2..8)),
        };
        vec![statement]
    }

    fn transaction(&mut self) -> Operation {
        let mut statements = vec!["BEGIN".to_owned()];
        for _ in 0..self.random.random_range(2..5) {
            let statement = match self.random.random_range(0..3) {
                0 => self.insert(),
                1 => self.update(),
                _ => self.delete(),
            };
            statements.push(statement);
        }
        statements.push("COMMIT".to_owned());
        statements
    }
}
