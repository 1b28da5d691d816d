//! A task is carried out by one worker at a time, once more if that one is lost, and ends once.

use std::time::Duration;

use error::Code;
use jiff::Timestamp;
use registry::{Registry, Renewal, Task, TaskCounts, TaskState};
use serde_json::json;
use uuid::Uuid;

use crate::fixture::Fixture;

over_both_stores! {
    a_task_is_claimed_once_and_ends_once,
    a_task_of_a_lost_worker_is_begun_once_more,
    a_task_is_cancelled_where_it_is,
    a_queue_is_full_at_some_time,
    many_workers_share_a_queue,
}

const LEASE: Duration = Duration::from_secs(60);
const NONE: Duration = Duration::from_millis(1);

fn add(registry: &Registry, queue: &str) -> Uuid {
    let task = Task {
        id: Uuid::now_v7(),
        queue: queue.to_owned(),
        kind: "preview".to_owned(),
        subject: "1".to_owned(),
        requested_by: Some("ann".to_owned()),
        state: TaskState::Pending,
        payload: json!({ "sql": "SELECT 1" }),
        result: None,
        error: None,
        is_cancelled: false,
        attempts: 0,
        created_at: Timestamp::now(),
    };
    registry.add_task(&task, 10).unwrap();
    task.id
}

fn a_task_is_claimed_once_and_ends_once(fixture: &Fixture) {
    let registry = &fixture.registry;
    let (first, second) = (add(registry, "preview"), add(registry, "preview"));
    add(registry, "other");
    assert_eq!(registry.task_counts().unwrap(), TaskCounts { pending: 3, started: 0 });
    let claimed = registry.claim_task("w1", &["preview", "default"], LEASE).unwrap().unwrap();
    assert_eq!((claimed.id, claimed.state, claimed.attempts), (first, TaskState::Started, 1));
    assert_eq!(claimed.payload, json!({ "sql": "SELECT 1" }));
    assert_eq!(registry.claim_task("w2", &["preview"], LEASE).unwrap().unwrap().id, second);
    assert!(registry.claim_task("w2", &["preview"], LEASE).unwrap().is_none());
    assert_eq!(registry.renew_task(first, "w1", LEASE).unwrap(), Renewal::Held);
    assert_eq!(registry.renew_task(first, "w2", LEASE).unwrap(), Renewal::Lost);
    assert!(!registry.finish_task(first, "w2", TaskState::Success, Some("x".to_owned()), None).unwrap());
    assert!(registry.release_task(first, "w1").unwrap() && !registry.release_task(first, "w1").unwrap());
    let again = registry.claim_task("w1", &["preview"], LEASE).unwrap().unwrap();
    assert_eq!((again.id, again.attempts), (first, 1));
    assert!(registry.finish_task(first, "w1", TaskState::Success, Some("{}".to_owned()), None).unwrap());
    assert!(!registry.finish_task(first, "w1", TaskState::Failure, None, None).unwrap());
    let ended = registry.task(first).unwrap().unwrap();
    assert_eq!((ended.state, ended.result.as_deref()), (TaskState::Success, Some("{}")));
    assert_eq!(registry.forget_tasks(LEASE).unwrap(), 0);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(registry.forget_tasks(NONE).unwrap(), 1);
    assert!(registry.task(first).unwrap().is_none());
}

fn a_task_of_a_lost_worker_is_begun_once_more(fixture: &Fixture) {
    let registry = &fixture.registry;
    let id = add(registry, "preview");
    for attempt in 1..=2 {
        let claimed = registry.claim_task("lost", &["preview"], NONE).unwrap().unwrap();
        assert_eq!((claimed.id, claimed.attempts), (id, attempt));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(registry.claim_task("w", &["preview"], LEASE).unwrap().is_none());
    let ended = registry.task(id).unwrap().unwrap();
    assert_eq!(ended.state, TaskState::Failure);
    assert!(ended.error.unwrap().contains("lost"));
    assert_eq!(registry.renew_task(id, "lost", LEASE).unwrap(), Renewal::Lost);
}

fn a_task_is_cancelled_where_it_is(fixture: &Fixture) {
    let registry = &fixture.registry;
    let (runs, waits) = (add(registry, "preview"), add(registry, "preview"));
    registry.claim_task("w", &["preview"], LEASE).unwrap().unwrap();
    assert!(registry.cancel_task(waits).unwrap() && registry.cancel_task(runs).unwrap());
    assert!(!registry.cancel_task(waits).unwrap() && !registry.cancel_task(Uuid::now_v7()).unwrap());
    assert_eq!(registry.task(waits).unwrap().unwrap().state, TaskState::Revoked);
    assert_eq!(registry.renew_task(runs, "w", LEASE).unwrap(), Renewal::Cancelled);
    assert!(registry.finish_task(runs, "w", TaskState::Revoked, None, None).unwrap());
    assert!(registry.claim_task("w", &["preview"], LEASE).unwrap().is_none());
}

fn a_queue_is_full_at_some_time(fixture: &Fixture) {
    for _ in 0..10 {
        add(&fixture.registry, "preview");
    }
    let first = fixture.registry.claim_task("w", &["preview"], LEASE).unwrap().unwrap();
    add(&fixture.registry, "preview");
    let more = Task { id: Uuid::now_v7(), ..first };
    let error = fixture.registry.add_task(&more, 10).unwrap_err();
    assert_eq!((error.code(), error.is_transient()), (Code::Resource, true));
}

fn many_workers_share_a_queue(fixture: &Fixture) {
    let mut ids: Vec<Uuid> = (0..10).map(|_| add(&fixture.registry, "preview")).collect();
    let mut taken: Vec<Uuid> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                scope.spawn(move || {
                    let claim = || fixture.registry.claim_task(&format!("w{worker}"), &["preview"], LEASE).unwrap();
                    std::iter::from_fn(claim).map(|task| task.id).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    ids.sort();
    taken.sort();
    assert_eq!(taken, ids);
}
