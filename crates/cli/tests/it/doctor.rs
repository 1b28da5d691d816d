//! `doctor` and `extensions`.

use crate::program::{DAILY, Program};

#[test]
fn a_healthy_set_up() {
    let program = Program::with_daily();
    let out = program.ok(&["doctor", "--format", "csv"]);
    for part in
        ["engine", "extension ducklake", "extension sqlite_scanner", "lake", "registry", "disk for data", "memory"]
    {
        assert!(out.contains(&format!("{part},OK,")), "{part}\n{out}");
    }
    assert!(!out.contains("FAIL"), "{out}");
}

#[test]
fn an_empty_folder_is_healthy_and_stays_empty() {
    let program = Program::new();
    let out = program.ok(&["doctor"]);
    assert!(out.contains("does not exist yet"), "{out}");
    assert_eq!(std::fs::read_dir(program.path()).unwrap().count(), 0);
}

#[test]
fn what_is_wrong_says_what_to_do() {
    let program = Program::with_orders();
    std::fs::create_dir(program.path().join("none")).unwrap();
    let run = program.run(&[
        "doctor",
        "--format",
        "csv",
        "--extension-directory",
        "none",
        "--pg-url",
        "postgresql://ann:s3cret@127.0.0.1:1/m",
    ]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stdout.contains("extension ducklake,FAIL,"), "{run:?}");
    assert!(run.stdout.contains("registry,FAIL,"), "{run:?}");
    assert!(run.stderr.contains("extensions install") && !run.stderr.contains("s3cret"), "{run:?}");
}

#[test]
fn too_much_memory_is_seen() {
    let program = Program::with_orders();
    let run = program.run(&["doctor", "--duckdb-settings", "memory_limit='900TB'"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("memory_limit"), "{run:?}");
}

#[test]
fn extensions_are_listed() {
    let out = Program::new().ok(&["extensions", "list", "--format", "csv"]);
    assert!(out.contains("ducklake,installed,"), "{out}");
    let out = Program::new().ok(&["extensions", "install", "ducklake", "--format", "csv"]);
    assert!(out.contains("ducklake,already there"), "{out}");
    let error = Program::new().fails(1, &["extensions", "install", "../evil"]);
    assert!(error.contains("error[CONFIGURATION]"), "{error}");
}

#[test]
fn other_kinds_of_catalogs_are_as_good() {
    for lake in ["./lake.ducklake", "ducklake:other.ducklake"] {
        let program = Program::new();
        let at = |arguments: &[&str]| program.ok(&[arguments, &["--duckdb-path", lake]].concat());
        at(&["sql", "-c", "CREATE TABLE orders AS SELECT DATE '2026-01-01' AS day, 3 AS amount"]);
        at(&["sql", "-c", DAILY]);
        assert!(at(&["verify"]).contains("verified: 1 of 1"));
    }
}
