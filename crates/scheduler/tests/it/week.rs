//! Ten thousand tables for a week.

use std::time::Duration;

use scheduler::Limits;

use crate::simulation::{Setting, Simulation};
use crate::world::{Mixture, SECOND};

#[test]
fn ten_thousand_tables_for_a_week() {
    let until = 7 * 86_400 * SECOND;
    let mixture = Mixture {
        parts: 1_000,
        largest_part: 19,
        lags: (3_600.0 * 6.0, 86_400.0 * 3.0),
        longest_share: 0.05,
        load: 2.4,
        restless: 0.3,
        poisoned: 0.01,
        shaky: 0.02,
        suspended: 0.01,
        disabled: 0.02,
        until,
    };
    let world = mixture.world(1);
    let started = std::time::Instant::now();
    let mut simulation = Simulation::new(
        &world,
        Setting {
            workers: 4,
            poll_interval: Duration::from_secs(900),
            limits: Limits { most_tables: 200, longest: Duration::from_secs(300) },
            shortest_sleep: 600 * SECOND,
            until,
            seed: 1,
            thorough: false,
        },
    );
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
        "tables {} {:?} looks {} batches {} busy {:.2} longest {:.1} over {worst:?}",
        world.members.len(),
        started.elapsed(),
        simulation.looks,
        simulation.batches,
        simulation.busy / mixture.until as f64,
        simulation.longest_batch / 1000.0
    );
}
