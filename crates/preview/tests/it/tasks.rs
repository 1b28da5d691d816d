//! Previews that a worker carries out.

use std::time::{Duration, Instant};

use error::Code;
use preview::{PreviewStatus, PreviewTasks, PreviewWorker, WorkerOptions};
use registry::TaskState;
use serde_json::{Value, json};

use crate::world::World;

fn start(world: &World, lease: Duration) -> PreviewWorker {
    let queues = vec!["preview".to_owned(), "default".to_owned()];
    PreviewWorker::start(&world.previews, &WorkerOptions { name: "w".to_owned(), queues, lease })
}

fn ended(tasks: &PreviewTasks, world: &World, id: &str) -> PreviewStatus {
    let began = Instant::now();
    loop {
        let status = tasks.look(world.pipeline, id, Some("ann"));
        if !matches!(status.state, "PENDING" | "STARTED") || began.elapsed() > Duration::from_secs(20) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

const LEASE: Duration = Duration::from_secs(30);

#[test]
fn a_task_goes_through_its_states_and_is_its_callers_own() {
    let world = World::new();
    let tasks = PreviewTasks::new(world.previews.clone());
    let submit = |more| tasks.submit(world.pipeline, &world.asked(more), Some("ann".to_owned()));
    let id = submit(json!({ "sql": "SELECT count(*) AS n FROM orders" })).unwrap().task_id;
    let shown = serde_json::to_value(tasks.look(world.pipeline, &id, Some("ann"))).unwrap();
    assert_eq!(shown, json!({ "task_id": id, "state": "PENDING", "status": "queued" }));
    let wrong = submit(json!({ "sql": "DROP TABLE orders" })).unwrap().task_id;
    let worker = start(&world, LEASE);
    let status = ended(&tasks, &world, &id);
    assert_eq!((status.state, status.status), ("SUCCESS", "completed"));
    let result: Value = serde_json::from_str(status.result.unwrap().get()).unwrap();
    assert_eq!((&result["data"], &result["error"]), (&json!([{ "n": 1000 }]), &Value::Null));
    // A query that is wrong is a result as well.
    let status = ended(&tasks, &world, &wrong);
    let result: Value = serde_json::from_str(status.result.unwrap().get()).unwrap();
    assert_eq!((status.state, result["columns"].as_array().unwrap().len()), ("SUCCESS", 0));
    assert!(result["error"].as_str().unwrap().contains("only a SELECT"));

    // Rows are not in the registry in clear, and nobody else sees them.
    let kept = world.previews.registry().task(id.parse().unwrap()).unwrap().unwrap();
    assert!(kept.result.unwrap().starts_with("v2:"));
    for (pipeline, caller) in
        [(world.pipeline, Some("bob")), (world.pipeline, None), (world.pipeline + 1, Some("ann"))]
    {
        assert_eq!(tasks.look(pipeline, &id, caller).state, "PENDING");
        assert!(!tasks.cancel(pipeline, &id, caller).unwrap());
    }
    assert_eq!(tasks.look(world.pipeline, "no-uuid", None).state, "PENDING");
    worker.stop(LEASE);
}

#[test]
fn a_pipeline_reaches_its_own_connections_only() {
    let world = World::new();
    let tasks = PreviewTasks::new(world.previews.clone());
    let other = crate::world::to_postgres(&world.connections, "other", &world.database);
    for (pipeline, more, what) in [
        (world.pipeline, json!({ "source_id": other }), "the source is not"),
        (world.pipeline, json!({ "destination_id": other }), "the destination is none"),
        (99, json!({}), "there is no pipeline 99"),
    ] {
        let error = tasks.submit(pipeline, &world.asked(more), None).unwrap_err();
        assert!(error.message().contains(what) && matches!(error.code(), Code::Permission | Code::Query), "{error}");
    }
}

#[test]
fn a_running_task_is_cancelled() {
    let world = World::new();
    let tasks = PreviewTasks::new(world.previews.clone());
    let asked = world.asked(json!({ "table_name": "slow" }));
    let id = tasks.submit(world.pipeline, &asked, Some("ann".to_owned())).unwrap().task_id;
    let worker = start(&world, LEASE);
    let began = Instant::now();
    while tasks.look(world.pipeline, &id, Some("ann")).state == "PENDING" && began.elapsed() < Duration::from_secs(10)
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let running = serde_json::to_value(tasks.look(world.pipeline, &id, Some("ann"))).unwrap();
    assert_eq!(running["meta"], json!({ "status": "executing", "table_name": "slow" }));
    assert_eq!((&running["state"], &running["status"]), (&json!("STARTED"), &json!("running")));
    assert!(tasks.cancel(world.pipeline, &id, Some("ann")).unwrap());
    let status = ended(&tasks, &world, &id);
    assert_eq!((status.state, status.status), ("REVOKED", "cancelled"));
    assert!(!tasks.cancel(world.pipeline, &id, Some("ann")).unwrap());
    worker.stop(LEASE);
}

#[test]
fn a_worker_that_is_to_stop_gives_back_what_it_cannot_end() {
    let world = World::new();
    let tasks = PreviewTasks::new(world.previews.clone());
    let asked = world.asked(json!({ "table_name": "slow" }));
    let id = tasks.submit(world.pipeline, &asked, Some("ann".to_owned())).unwrap().task_id;
    let worker = start(&world, LEASE);
    let began = Instant::now();
    while worker.active() == 0 && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    worker.stop(Duration::ZERO);
    let task = world.previews.registry().task(id.parse().unwrap()).unwrap().unwrap();
    assert_eq!((task.state, task.attempts), (TaskState::Pending, 0));
}

#[test]
fn a_task_of_a_worker_that_died_is_carried_out_by_the_next() {
    let world = World::new();
    let tasks = PreviewTasks::new(world.previews.clone());
    let id =
        tasks.submit(world.pipeline, &world.asked(json!({ "limit": 1 })), Some("ann".to_owned())).unwrap().task_id;
    let claimed = world.previews.registry().claim_task("dead", &["preview"], Duration::from_millis(1)).unwrap();
    assert_eq!(claimed.unwrap().state, TaskState::Started);
    std::thread::sleep(Duration::from_millis(20));
    let worker = start(&world, LEASE);
    assert_eq!(ended(&tasks, &world, &id).state, "SUCCESS");
    worker.stop(LEASE);
}
