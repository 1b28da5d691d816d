//! Ten thousand tables for a week.

use std::time::Duration;

use scheduler::Limits;

use crate::laws::assert_lag_is_kept;
use crate::simulation::{Setting, Simulation};
use crate::world::{Mixture, SECOND};

#[test]
fn ten_thousand_tables_for_a_week() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let until = 7 * 86_400 * SECOND;
    let mixture = Mixture {
        parts: 1_000,
        largest_part: 19,
        lags: (43_200.0, 86_400.0 * 6.0),
        longest_share: 0.05,
        longest: 600.0,
        load: 2.0,
        restless: 0.3,
        loaded_at: None,
        poisoned: 0.01,
        shaky: 0.02,
        suspended: 0.01,
        disabled: 0.02,
        until,
    };
    let world = mixture.world(seed);
    let setting = Setting {
        workers: 4,
        poll_interval: Duration::from_secs(900),
        limits: Limits { most_tables: 200, longest: Duration::from_secs(1_200) },
        // A look at so many tables takes its time: the workers look on the hour and every ten minutes.
        shortest_sleep: 600 * SECOND,
        know_each_other: true,
        suspend_after: Some(5),
        until,
        measured_from: 86_400 * SECOND,
        seed,
        thorough: false,
    };
    let mut simulation = Simulation::new(&world, setting);
    simulation.run();
    assert!(world.members.len() > 9_000);
    assert_lag_is_kept(&simulation);
}
