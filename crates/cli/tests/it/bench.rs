//! `bench`: measured on a copy, and nothing is left of it.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Program, finish};

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// What the original must still be afterwards: its newest snapshot, its tables, what the registry knows.
fn state(program: &Program) -> (Vec<String>, (Vec<String>, Vec<String>), usize) {
    let history = program.ok(&["history", "--format", "csv"]);
    (program.sql("SELECT max(snapshot_id) FROM lake.snapshots()"), program.inventory(), history.lines().count())
}

fn lake() -> (Program, String) {
    let program = Program::with_orders();
    program.sql(
        "INSERT INTO orders SELECT 1000 + i, DATE '2026-02-01' + (i // 20)::INTEGER, i % 7, i % 50 FROM range(3000) r(i);
         CREATE VIEW paid AS SELECT * FROM orders WHERE amount > 1;
         CREATE DYNAMIC TABLE daily TARGET_LAG = '5 minutes' AS
             SELECT day, name, count(*) AS orders FROM paid JOIN customers ON customer = customers.id GROUP BY day, name;
         CREATE DYNAMIC TABLE sample TARGET_LAG = '5 minutes' AS SELECT * FROM daily USING SAMPLE 3 ROWS;
         INSERT INTO orders SELECT 9000 + i, '2026-02-02', 1, 3 FROM range(15) r(i);
         DELETE FROM orders WHERE id % 10 = 3; INSERT INTO customers VALUES (3, 'Cy'), (3, 'Cy');
         DELETE FROM customers WHERE id = 3",
    );
    let scratch = program.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    (program, scratch.display().to_string())
}

#[test]
fn all_ways_are_measured_and_nothing_is_left() {
    let (program, scratch) = lake();
    let before = state(&program);
    let out = program.ok(&["bench", "daily", "--rounds", "3", "--folder", &scratch, "--format", "json"]);
    let trial: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(trial["changes"], "the last commits of the sources");
    assert_eq!(trial["rows_changed"], "15, 303, 2, 2");
    let ways = trial["ways"].as_array().unwrap();
    let modes: Vec<&str> = ways.iter().map(|way| way["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["FULL", "INCREMENTAL", "AUTO"]);
    for way in ways {
        assert!(way["median_ms"].as_f64().unwrap() > 0.0 && way["not_measured"].is_null(), "{way}");
    }
    assert_eq!((&ways[0]["went"], &ways[1]["went"]), (&"FULL".into(), &"INCREMENTAL".into()));
    // A table that has only one way, over another dynamic table.
    let table = program.ok(&["bench", "sample", "--rounds", "1", "--folder", &scratch]);
    assert!(table.contains("There is only one way to refresh this table."), "{table}");
    assert!(program.fails(1, &["bench", "nothing"]).contains("does not exist"));
    assert_eq!(files(Path::new(&scratch)), Vec::<String>::new());
    assert_eq!(state(&program), before);
}

#[test]
fn an_interrupted_one_leaves_nothing_either() {
    let (program, scratch) = lake();
    let before = state(&program);
    let child = program.command(&["bench", "daily", "--rounds", "1000", "--folder", &scratch]).spawn().unwrap();
    let began = Instant::now();
    let is_at_work =
        || files(Path::new(&scratch)).iter().any(|name| Path::new(&scratch).join(name).join("data").exists());
    while !is_at_work() {
        assert!(began.elapsed() < Duration::from_secs(60), "it did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let run = finish(child);
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert_eq!(files(Path::new(&scratch)), Vec::<String>::new());
    assert_eq!(state(&program), before);
}
