//! Ctrl-C.

use std::io::{BufRead as _, BufReader, Read as _};
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
    let mut child = program.command(&["create", "-f", "long.sql", "--log-level", "DEBUG"]).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("signals cancel what runs") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it began");
    }
    std::thread::sleep(Duration::from_secs(2));
    let started = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    let run = finish(child);
    assert_eq!(run.code, 130, "{run:?} {said}");
    assert!(said.contains("error[RESOURCE]: cancelled"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_eq!(program.inventory(), before);
    // The name is free.
    program.sql("CREATE DYNAMIC TABLE long TARGET_LAG = '1 hour' AS SELECT id FROM orders");
    program.ok(&["verify"]);
}
