//! What holds in every world.

use std::time::Duration;

use scheduler::Limits;

use crate::simulation::{Setting, Simulation};
use crate::world::{Mixture, SECOND, Time};

fn setting(seed: u64, workers: usize, until: Time) -> Setting {
    Setting {
        workers,
        poll_interval: Duration::from_secs(5),
        limits: Limits { most_tables: 20, longest: Duration::from_secs(3) },
        shortest_sleep: 0,
        until,
        seed,
        thorough: true,
    }
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    }
}

fn mixture() -> Mixture {
    Mixture {
        parts: 12,
        largest_part: 9,
        lags: (60.0, 7_200.0),
        longest_share: 0.2,
        load: 0.6,
        restless: 0.5,
        poisoned: 0.0,
        shaky: 0.0,
        suspended: 0.0,
        disabled: 0.05,
        until: 6 * 3_600 * SECOND,
    }
}

#[test]
fn lag_is_kept_whenever_capacity_allows() {
    for seed in seeds(40) {
        let workers = 1 + usize::try_from(seed % 4).unwrap();
        let mixture = Mixture { load: 0.6 * workers as f64, ..mixture() };
        let world = mixture.world(seed);
        let mut simulation = Simulation::new(&world, setting(seed, workers, mixture.until));
        simulation.run();
        let mut worst = (0.0, 0, 0);
        for (id, lag) in simulation.healthy() {
            let progress = &simulation.progress[id];
            let over = (progress.worst_lag - lag) as f64 / 1_000.0;
            if over > worst.0 {
                worst = (over, id, lag);
            }
        }
        println!(
            "seed {seed} workers {workers} looks {} batches {} busy {:.2} longest {:.1} over {worst:?}",
            simulation.looks,
            simulation.batches,
            simulation.busy / mixture.until as f64,
            simulation.longest_batch / 1000.0
        );
    }
}
