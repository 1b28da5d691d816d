//! Ctrl-C.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Program, finish};

#[test]
fn during_create_leaves_nothing() {
    let program = Program::with_orders();
    let before = program.inventory();
    // More work than any machine does in the time of this test.
    let long = "CREATE DYNAMIC TABLE long TARGET_LAG = '1 hour' AS \
                SELECT count(*) AS n, sum(hash(a.i, b.i)) AS h FROM range(3000000) a(i), range(3000000) b(i), orders";
    program.file("long.sql", long);
    let child = program.command(&["create", "-f", "long.sql"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let started = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let run = finish(child);
    assert_eq!(run.code, 130, "{run:?}");
    assert!(run.stderr.contains("cancelled"), "{run:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(program.inventory(), before);
    // The name is free.
    program.sql("CREATE DYNAMIC TABLE long TARGET_LAG = '1 hour' AS SELECT id FROM orders");
    program.ok(&["verify"]);
}
