//! What workers say of themselves.

use std::thread;
use std::time::Duration;

use registry::{WorkerRecord, WorkerState};

use crate::fixture::Fixture;

over_both_stores! {
    workers_are_shown_as_they_reported,
    a_worker_that_does_not_report_is_not_live,
    workers_that_are_long_gone_are_forgotten,
}

const LONG: Duration = Duration::from_secs(600);

fn worker(id: &str) -> WorkerRecord {
    WorkerRecord {
        id: id.to_owned(),
        host: "host-1".to_owned(),
        process: u32::MAX,
        version: "0.1.0".to_owned(),
        queues: vec!["default".to_owned(), "odd \"queue\"".to_owned()],
        concurrency: 4,
        state: WorkerState::Running,
    }
}

fn workers_are_shown_as_they_reported(fixture: &Fixture) {
    let registry = &fixture.registry;
    let (first, second) = (worker("a"), WorkerRecord { queues: vec![], ..worker("b") });
    registry.report_worker(&second, LONG).unwrap();
    registry.report_worker(&first, LONG).unwrap();
    let shown = registry.workers().unwrap();
    assert_eq!(shown.iter().map(|shown| &shown.worker).collect::<Vec<_>>(), [&first, &second]);
    assert!(shown.iter().all(|shown| shown.is_live && shown.started_at == shown.heartbeat_at), "{shown:?}");

    thread::sleep(Duration::from_millis(10));
    let draining = WorkerRecord { state: WorkerState::Draining, concurrency: 1, ..first };
    registry.report_worker(&draining, LONG).unwrap();
    let again = registry.workers().unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!(again[0].worker, draining);
    assert_eq!(again[0].started_at, shown[0].started_at);
    assert!(again[0].heartbeat_at > shown[0].heartbeat_at);
    // Another process under the same name has started anew.
    registry.report_worker(&WorkerRecord { process: 7, ..draining }, LONG).unwrap();
    assert!(registry.workers().unwrap()[0].started_at > shown[0].started_at);

    registry.forget_worker("a").unwrap();
    registry.forget_worker("never there").unwrap();
    assert_eq!(registry.workers().unwrap().into_iter().map(|shown| shown.worker).collect::<Vec<_>>(), [second]);
}

fn a_worker_that_does_not_report_is_not_live(fixture: &Fixture) {
    let lease = Duration::from_millis(200);
    fixture.registry.report_worker(&worker("a"), lease).unwrap();
    thread::sleep(lease + Duration::from_millis(50));
    assert!(!fixture.registry.workers().unwrap()[0].is_live);
    assert_eq!(fixture.registry.prune_workers().unwrap(), 0);
    fixture.registry.report_worker(&worker("a"), LONG).unwrap();
    assert!(fixture.registry.workers().unwrap()[0].is_live);
}

fn workers_that_are_long_gone_are_forgotten(fixture: &Fixture) {
    for id in ["expired", "long gone", "edited", "live"] {
        fixture.registry.report_worker(&worker(id), LONG).unwrap();
    }
    let now = fixture.registry.news().unwrap().now;
    let expire = |id: &str, at: jiff::Timestamp| {
        fixture.ask(&format!("UPDATE worker SET expires_at = '{at:.6}' WHERE id = '{id}'"));
    };
    expire("expired", now - Duration::from_hours(23));
    expire("long gone", now - Duration::from_hours(25));
    expire("edited", now + Duration::from_hours(25));
    assert_eq!(fixture.registry.prune_workers().unwrap(), 2);
    let left: Vec<_> = fixture.registry.workers().unwrap().into_iter().map(|left| left.worker.id).collect();
    assert_eq!(left, ["expired", "live"]);
}
