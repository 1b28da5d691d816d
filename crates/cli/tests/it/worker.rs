//! `worker`: the flags of the program; how it works is tested where it is made.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{DAILY, Program, finish};

const LAGGING: &str = "1 second";

#[test]
fn it_refreshes_what_is_due_and_ends_on_sigterm() {
    let program = Program::with_orders();
    program.sql(&DAILY.replace("5 minutes", LAGGING));
    let mut command = program.command(&["worker", "--log-format", "json"]);
    let child = command.env("DYNAMIC_TABLES_POLL_INTERVAL", "1").spawn().unwrap();
    program.sql("INSERT INTO orders VALUES (4, '2026-01-03', 2, 65)");
    // Created while it runs.
    program.sql(&format!("CREATE DYNAMIC TABLE names TARGET_LAG = '{LAGGING}' AS SELECT name FROM customers"));
    program.sql("INSERT INTO customers VALUES (3, 'Cem')");
    let mut caught_up = false;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(500));
        let counts = program.sql("SELECT (SELECT count(*) FROM daily), (SELECT count(*) FROM names)");
        caught_up = counts == ["3,3"];
        if caught_up {
            break;
        }
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let run = finish(child);
    assert!(caught_up, "{run:?}");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.lines().all(|line| line.starts_with('{')), "{run:?}");
    assert!(run.stderr.contains("INCREMENTAL"), "{run:?}");
    program.ok(&["verify"]);
}

#[test]
fn wrong_flags_are_refused_before_anything_starts() {
    let program = Program::new();
    for arguments in
        [["--poll-interval", "0"], ["--poll-interval", "-5"], ["--log-level", "LOUD"], ["--grace-period", "x"]]
    {
        let error = program.fails(1, &[&["worker"][..], &arguments].concat());
        assert!(error.contains(arguments[0]), "{error}");
    }
    assert_eq!(std::fs::read_dir(program.path()).unwrap().count(), 0);
}
