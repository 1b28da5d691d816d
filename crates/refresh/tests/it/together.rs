//! Two processes on one lake and one registry.

use std::time::{Duration, Instant};

use refresh::{DynamicTables, Poll, RefreshReport, RefreshRequest};
use registry::{RefreshState, RefreshTrigger};
use testkit::lake::ThrowAway;

const LEASE: Duration = Duration::from_mins(1);

fn refresh(tables: &DynamicTables) -> Vec<RefreshReport> {
    let request = RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None };
    tables.refresh(&request).unwrap()
}

#[test]
fn two_at_once_apply_a_change_once() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 5 AS k FROM range(3000) t(i);
         CREATE DYNAMIC TABLE appended TARGET_LAG = '1 minute' AS SELECT id FROM src;
         CREATE DYNAMIC TABLE counted TARGET_LAG = '1 minute' AS SELECT k, count(*) AS n FROM src GROUP BY k;
         CREATE DYNAMIC TABLE above TARGET_LAG = '1 minute' AS SELECT k FROM counted WHERE n > 10;",
    )
    .unwrap();
    for round in 0..3 {
        lake.run(&format!("INSERT INTO lake.src SELECT {round} * 100 + i, i % 5 FROM range(50) t(i)")).unwrap();
        let others: Vec<DynamicTables> = (0..2).map(|_| lake.another().unwrap()).collect();
        let reports: Vec<RefreshReport> = std::thread::scope(|scope| {
            let running: Vec<_> = others.into_iter().map(|tables| scope.spawn(move || refresh(&tables))).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for report in &reports {
            let fine = matches!(report.state, RefreshState::Succeeded | RefreshState::Skipped);
            assert!(fine, "{report:?}");
        }
        lake.verify().unwrap();
        assert_eq!(
            lake.rows("SELECT count(*) FROM lake.appended").unwrap()[0][0],
            Some((3050 + round * 50).to_string())
        );
    }
}

#[test]
fn what_one_process_did_the_other_goes_on_from() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id FROM range(3000) t(i);
         CREATE DYNAMIC TABLE appended TARGET_LAG = '1 minute' AS SELECT id FROM src",
    )
    .unwrap();
    let other = lake.another().unwrap();
    for round in 0..4 {
        lake.run(&format!("INSERT INTO lake.src VALUES ({round})")).unwrap();
        let reports = if round % 2 == 0 { refresh(&other) } else { refresh(&lake.tables) };
        assert_eq!(reports[0].rows_inserted, 1, "{reports:?}");
        lake.verify().unwrap();
    }
}

#[test]
fn whoever_refreshes_by_hand_waits_for_one_refresh_and_not_for_the_next() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 5 AS k FROM range(3000) t(i);
         CREATE DYNAMIC TABLE counted TARGET_LAG = '1 second' AS SELECT k, count(*) AS n FROM src GROUP BY k;
         CREATE DYNAMIC TABLE appended TARGET_LAG = '1 second' AS SELECT id FROM src;
         INSERT INTO lake.src VALUES (1, 1)",
    )
    .unwrap();
    let registry = lake.tables.registry();
    let ids: Vec<_> = registry.load_all().unwrap().iter().map(|table| table.definition.id).collect();
    // A worker is at one of them, and would be again at once.
    let running = registry.claim("worker", &ids[..1], LEASE).unwrap().unwrap();
    let by_hand = lake.another().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || refresh(&by_hand));
        let began = Instant::now();
        while registry.taken().unwrap().len() < 2 {
            assert!(began.elapsed() < LEASE, "it does not say that it waits");
            std::thread::sleep(Duration::from_millis(10));
        }
        let now = Some(jiff::Timestamp::now() + LEASE);
        let poll = Poll { interval: LEASE, queues: Vec::new(), now };
        assert!(lake.tables.look(&poll).unwrap().work.is_empty());
        assert_eq!(registry.claim("worker", &ids[1..], LEASE).unwrap(), None);
        registry.release(&running).unwrap();
        assert_eq!(registry.claim("worker", &ids[..1], LEASE).unwrap(), None);
        let reports = waiting.join().unwrap();
        assert!(reports.iter().all(|report| report.state == RefreshState::Succeeded), "{reports:?}");
    });
    // Afterwards it is the worker's turn again.
    assert!(registry.taken().unwrap().is_empty());
    assert!(registry.claim("worker", &ids, LEASE).unwrap().is_some());
    lake.verify().unwrap();
}
