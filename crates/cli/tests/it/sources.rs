//! Sources and exports as real processes run them: killed at any moment, kept fresh by a worker, and without a password in
//! anything that anybody reads.

use std::process::Command;
use std::time::{Duration, Instant};

use testkit::postgres::{PASSWORD, Postgres, USER};

use crate::program::{Program, finish};

#[test]
fn rows_come_and_go_once_though_processes_are_killed_and_a_worker_keeps_to_the_schedule() {
    let program = Program::new();
    let command = |arguments: &[&str]| {
        let mut command: Command = program.command(arguments);
        command
            .env("CREDENTIAL_ENCRYPTION_KEY", "0123456789abcdef0123456789ABCDEF")
            .env("DYNAMIC_TABLES_LOG_LEVEL", "TRACE");
        command
    };
    let mut seen = String::new();
    let mut sql = |statements: &str| {
        let run = finish(command(&["sql", "-c", statements]).spawn().unwrap());
        assert_eq!(run.code, 0, "{statements}\n{}\n{}", run.stdout, run.stderr);
        seen.push_str(&(run.stdout.clone() + &run.stderr));
        run.stdout
    };
    let postgres = Postgres::shared().unwrap();
    let database = postgres.fresh_database().unwrap().rsplit('/').next().unwrap().to_owned();
    let there = |sql: &str| postgres.psql(&database, sql).unwrap();
    there(
        "CREATE TABLE sales (id INT PRIMARY KEY, g INT, v INT); INSERT INTO sales SELECT i, i % 20, i FROM generate_series(1, 20000) i",
    );
    let port = postgres.port();
    sql(&format!(
        "CREATE CONNECTION crm TYPE = postgres HOST = '127.0.0.1' PORT = {port} DATABASE = '{database}' USER = {USER} PASSWORD = '{PASSWORD}'"
    ));
    sql("CREATE SOURCE sales FROM crm.sales; CREATE EXPORT copy FROM sales TO crm.copy");

    const BOTH: &str = "REFRESH SOURCE sales; REFRESH EXPORT copy";
    for (round, delay) in [250, 400, 600, 900].into_iter().enumerate() {
        there(&format!(
            "UPDATE sales SET v = v + 1 WHERE id % 7 = {round}; DELETE FROM sales WHERE id % 101 = {round}; \
             INSERT INTO sales SELECT {round} * 1000 + 100000 + i, 1, i FROM generate_series(1, 300) i"
        ));
        let mut killed = command(&["sql", "-c", BOTH]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    // The claims of processes that were killed end by themselves.
    let began = Instant::now();
    loop {
        let run = finish(command(&["sql", "-c", BOTH]).spawn().unwrap());
        if run.code == 0 {
            break;
        }
        assert!(run.stderr.contains("CONFLICT") && began.elapsed() < Duration::from_secs(90), "{}", run.stderr);
        std::thread::sleep(Duration::from_secs(1));
    }
    let same = "SELECT count(*) FROM ((TABLE sales EXCEPT ALL TABLE copy) UNION ALL (TABLE copy EXCEPT ALL TABLE sales)) AS d";
    assert_eq!(there(same), "0");

    sql("ALTER SOURCE sales SET SCHEDULE = '1 second'; ALTER EXPORT copy SET SCHEDULE = '1 second'");
    there("INSERT INTO sales VALUES (-1, -1, -1)");
    let worker = command(&["worker"]).spawn().unwrap();
    let began = Instant::now();
    while there("SELECT count(*) FROM copy WHERE id = -1") == "0" {
        assert!(began.elapsed() < Duration::from_secs(90), "the worker does not bring the row");
        std::thread::sleep(Duration::from_millis(200));
    }
    let stopped = Command::new("kill").args(["-TERM", &worker.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let log = finish(worker);
    assert_eq!(log.code, 0, "{}", log.stderr);
    assert!(log.stderr.contains("carried out"));
    assert_eq!(there(same), "0");
    let listed = sql("SHOW SOURCES; DESCRIBE SOURCE sales; DESCRIBE EXPORT copy; EXPLAIN SOURCE sales");
    assert!(listed.contains("its process ended before it did") || listed.contains("SUCCEEDED"), "{listed}");
    seen.push_str(&log.stderr);
    assert!(!seen.contains(PASSWORD));
    for file in files(program.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let holds = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert!(!holds, "{} holds the password", file.display());
    }
}

/// All files below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
