//! Previews wait for each other, and what takes too much is stopped.

use std::time::{Duration, Instant};

use preview::Options;
use serde_json::json;

use crate::world::{World, options};

#[test]
fn many_previews_wait_for_their_turn() {
    let world = World::with(Options { concurrency: 2, cache: Duration::ZERO, ..options() });
    std::thread::scope(|scope| {
        for number in 0..12 {
            let world = &world;
            scope.spawn(move || {
                assert_eq!(world.rows(json!({ "sql": format!("SELECT {number} AS n") })), json!([{ "n": number }]));
            });
        }
        let mut most = 0;
        let began = Instant::now();
        while world.previews.figures().released < 12 && began.elapsed() < Duration::from_secs(60) {
            most = most.max(world.previews.figures().in_use);
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(most <= 2, "{most}");
    });
    let figures = world.previews.figures();
    assert_eq!((figures.acquired, figures.released, figures.in_use), (12, 12, 0));
    assert!(figures.waited >= 8, "{figures:?}");
}

#[test]
fn memory_is_limited() {
    let memory = ("64MB".to_owned(), 64_000_000);
    let world = World::with(Options { memory, ..options() });
    let sql = "SELECT list(a) AS l FROM range(100000000) r(a)";
    let answer = world.preview(json!({ "sql": sql }));
    assert_eq!(answer.error_code.as_deref(), Some("RESOURCE"), "{:?}", answer.error);
    assert_eq!(world.rows(json!({ "sql": "SELECT 1 AS a" })), json!([{ "a": 1 }]));
}
