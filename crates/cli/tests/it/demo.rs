//! The demo, with a day.

use crate::program::Program;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/flights/data");

#[test]
fn the_demo_shows_what_it_promises() {
    let program = Program::new();
    let run = program.run(&["demo", "--data", DATA, "--days", "1"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.stdout.lines().last(), Some("verified: 9 of 9 dynamic tables equal their queries"), "{run:?}");

    // Its own commands work on what it left.
    let lake =
        format!("ducklake:sqlite:{}", program.path().canonicalize().unwrap().join("demo-lake/lake.sqlite").display());
    assert_eq!(run.stdout.matches(&lake).count(), 3, "{run:?}");
    let sql = |query: &str| {
        let out = program.ok(&["--duckdb-path", &lake, "sql", "--format", "csv", "-c", query]);
        out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let history = program.ok(&["--duckdb-path", &lake, "history", "--limit", "1000", "--format", "csv"]);
    let manual =
        |action: &str| history.lines().filter(|line| line.contains("MANUAL") && line.contains(action)).count();
    assert!(manual("INCREMENTAL") >= 10, "{history}");
    assert_eq!(manual("FULL"), 0, "{history}");
    let explained = program.ok(&["--duckdb-path", &lake, "explain", "unknown_destinations"]);
    assert!(explained.contains("Exists  [recompute the rows with affected keys]"), "{explained}");

    // Timetable, departures, arrivals and corrections lead to what was published in the end.
    let arrived = format!(
        "SELECT * FROM read_parquet('{DATA}/flights.parquet') WHERE make_date(year, month, day) <= DATE '2013-12-01'"
    );
    let differences = |a: &str, b: &str| sql(&format!("SELECT count(*) FROM (({a}) EXCEPT ALL ({b}))"));
    assert_eq!(differences("SELECT * FROM flights", &arrived), ["0"]);
    assert_eq!(differences(&arrived, "SELECT * FROM flights"), ["0"]);
}

#[test]
fn the_demo_deletes_nothing_but_its_own() {
    let program = Program::new();
    program.file("mine.txt", "keep me");
    let error = program.fails(1, &["demo", "--data", DATA, "--keep", "."]);
    assert!(error.contains("not empty") && error.contains("--keep"), "{error}");
    assert!(program.path().join("mine.txt").exists());
    let error = program.fails(1, &["demo", "--data", "."]);
    assert!(error.contains("airlines.parquet") && error.contains("--data"), "{error}");
    assert!(!program.path().join("demo-lake").exists());
}
