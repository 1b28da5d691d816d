//! What is drawn from the seed: the rounds, and which faults happen at which step.

use failpoint::POINTS;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

/// Which database holds the catalog of the lake, or the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// An SQLite file.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
}

/// One round as it is drawn.
#[derive(Clone, Debug)]
pub struct Round {
    /// Its number within the run.
    pub number: u64,
    /// Where what is drawn during the round comes from.
    pub seed: u64,
    /// The catalog of the lake.
    pub catalog: Kind,
    /// The registry.
    pub registry: Kind,
    /// How many workers.
    pub workers: usize,
    /// How many threads each of them computes with.
    pub threads: usize,
    /// The lag of the tables.
    pub lag_seconds: u64,
    /// How many faults.
    pub faults: u64,
    /// Whether the creation of the tables is disturbed as well.
    pub disturbed_creation: bool,
}

/// What a run fixes for all its rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed {
    /// The catalog of the lake.
    pub catalog: Option<Kind>,
    /// The registry.
    pub registry: Option<Kind>,
    /// How many workers.
    pub workers: Option<usize>,
    /// How many threads each of them computes with.
    pub threads: Option<usize>,
}

impl Round {
    /// Round `number` of a seed.
    #[must_use]
    pub fn draw(seed: u64, number: u64, fixed: Fixed) -> Self {
        let seed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(number * 2 + 1).rotate_left(29);
        let mut random = StdRng::seed_from_u64(seed);
        // Both registries and both catalogs come by within any four rounds.
        let kind = |bit: u64| if bit == 0 { Kind::Sqlite } else { Kind::Postgres };
        let workers = random.random_range(1..=4);
        Self {
            number,
            seed,
            catalog: fixed.catalog.unwrap_or_else(|| kind(number % 2)),
            registry: fixed.registry.unwrap_or_else(|| kind(number.div_ceil(2) % 2)),
            workers: fixed.workers.unwrap_or(workers),
            threads: fixed.threads.unwrap_or_else(|| usize::from(random.random_bool(0.5)) + 1),
            lag_seconds: random.random_range(1..=3),
            faults: random.random_range(6..=10),
            disturbed_creation: random.random_bool(0.3),
        }
    }
}

/// What can happen at a step, most frequent first. A process that dies is what must be survived above all.
const ACTIONS: [(&str, usize); 7] =
    [("kill", 4), ("error", 3), ("stop", 2), ("cut", 2), ("enospc", 2), ("exit", 1), ("panic", 1)];

/// Steps that only the creation of tables comes by.
const AT_CREATION: [&str; 2] = ["first-refresh", "watermarks-created"];

/// Steps that neither workers nor the creation of tables come by.
const ELSEWHERE: [&str; 1] = ["renamed"];

/// A fault at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The step.
    pub point: &'static str,
    /// What happens there.
    pub action: &'static str,
}

/// Every fault at every step that a worker comes by, in random order, dealt one after the other and again from the
/// beginning. One that was dealt but did not happen comes back.
pub struct Deck {
    random: StdRng,
    left: Vec<Fault>,
}

impl Deck {
    /// The deck of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), left: Vec::new() }
    }

    /// The next fault. Where there is no connection there is none to be cut.
    pub fn deal(&mut self, has_connections: bool) -> Fault {
        loop {
            let fault = self.next();
            if has_connections || fault.action != "cut" {
                return fault;
            }
        }
    }

    fn next(&mut self) -> Fault {
        if let Some(fault) = self.left.pop() {
            return fault;
        }
        for point in POINTS.iter().filter(|point| !AT_CREATION.contains(point) && !ELSEWHERE.contains(point)) {
            for (action, weight) in ACTIONS {
                self.left.extend(vec![Fault { point, action }; weight]);
            }
        }
        self.left.shuffle(&mut self.random);
        self.left.pop().unwrap_or(Fault { point: "look", action: "kill" })
    }

    /// Puts one back that did not happen, below the others.
    pub fn give_back(&mut self, fault: Fault) {
        self.left.insert(0, fault);
    }
}

/// A fault for a process that creates tables: what can be done again.
pub fn at_creation(random: &mut StdRng) -> String {
    let point = POINTS.iter().filter(|point| !matches!(**point, "look" | "adopt" | "changes-read"));
    let point = point.filter(|point| !ELSEWHERE.contains(point));
    let points: Vec<_> = point.collect();
    let point = points.choose(random).map_or("first-refresh", |point| **point);
    let time = if AT_CREATION.contains(&point) && point != "first-refresh" { 1 } else { random.random_range(1..=6) };
    let action = ["kill", "kill", "error", "exit", "panic"].choose(random).unwrap_or(&"kill");
    format!("{point}={action}@{time}")
}
