//! Sources and exports are kept, changed by one at a time, claimed by one worker, and remember their runs.

use std::time::Duration;

use error::Code;
use jiff::Timestamp;
use registry::{Connection, RunOutcome, RunTrigger, Transfer, TransferKind, TransferProgress, TransferRun};
use sql::names::TableName;
use uuid::Uuid;

use crate::fixture::Fixture;

over_both_stores! {
    a_source_is_kept_changed_claimed_and_dropped,
}

const LEASE: Duration = Duration::from_secs(60);

fn a_source_is_kept_changed_claimed_and_dropped(fixture: &Fixture) {
    let registry = &fixture.registry;
    let now: Timestamp = "2026-01-02T03:04:05.123456Z".parse().unwrap();
    let connection = Connection {
        number: 0,
        id: Uuid::now_v7(),
        name: "crm".to_owned(),
        kind: "postgres".to_owned(),
        settings: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let number = registry.create_connection(&connection).unwrap();
    let mut source = Transfer {
        id: Uuid::now_v7(),
        kind: TransferKind::Source,
        name: TableName::new("main", "Odd \"name\""),
        connection: number,
        definition: serde_json::json!({ "table": "orders" }),
        schedule: Some(Duration::from_secs(600)),
        is_suspended: false,
        suspended_reason: None,
        revision: 1,
        created_at: now,
        updated_at: now,
        progress: TransferProgress::default(),
    };
    registry.create_transfer(&source).unwrap();
    let twin = Transfer { id: Uuid::now_v7(), name: TableName::new("MAIN", "ODD \"NAME\""), ..source.clone() };
    assert_eq!(registry.create_transfer(&twin).unwrap_err().code(), Code::Query);
    registry.create_transfer(&Transfer { kind: TransferKind::Export, ..twin.clone() }).unwrap();
    assert_eq!(registry.transfer(TransferKind::Source, &twin.name).unwrap().as_ref(), Some(&source));
    assert_eq!(registry.drop_connection(connection.id).unwrap_err().code(), Code::Dependency);

    let stale = source.clone();
    source.schedule = None;
    registry.alter_transfer(&source).unwrap();
    source.revision += 1;
    assert_eq!(registry.transfers(TransferKind::Source).unwrap(), [source.clone()]);
    assert_eq!(registry.alter_transfer(&stale).unwrap_err().code(), Code::Conflict);

    assert!(registry.claim_transfer(source.id, "a", LEASE).unwrap());
    assert!(!registry.claim_transfer(source.id, "b", LEASE).unwrap());
    assert!(registry.renew_transfer(source.id, "a", Duration::from_millis(1)).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    assert!(registry.claim_transfer(source.id, "b", LEASE).unwrap());
    assert!(!registry.renew_transfer(source.id, "a", LEASE).unwrap());
    registry.release_transfer(source.id, "b").unwrap();
    assert!(registry.claim_transfer(source.id, "a", LEASE).unwrap());

    let mut run = TransferRun {
        id: Uuid::now_v7(),
        transfer: source.id,
        started_at: now,
        completed_at: None,
        state: "EXECUTING".to_owned(),
        trigger: RunTrigger::Manual,
        worker: Some("a".to_owned()),
        outcome: RunOutcome::default(),
    };
    registry.begin_transfer_run(&run).unwrap();
    assert_eq!(registry.transfer_runs(source.id, 9).unwrap(), [run.clone()]);
    let died = run.clone();
    run.id = Uuid::now_v7();
    run.started_at = now + Duration::from_secs(1);
    registry.begin_transfer_run(&run).unwrap();
    run.completed_at = Some(now + Duration::from_secs(2));
    run.state = "SUCCEEDED".to_owned();
    run.outcome = RunOutcome { action: Some("COMPARE".to_owned()), rows_read: Some(7), ..RunOutcome::default() };
    let progress = TransferProgress { fresh_at: Some(now), failures: 2, ..TransferProgress::default() };
    registry.finish_transfer_run(&run, &progress, Some("too often")).unwrap();
    let runs = registry.transfer_runs(source.id, 9).unwrap();
    assert_eq!(runs[0], run);
    assert_eq!((runs[1].id, runs[1].state.as_str()), (died.id, "FAILED"));
    let stored = registry.transfer(TransferKind::Source, &source.name).unwrap().unwrap();
    assert_eq!(stored.progress, progress);
    assert!(stored.is_suspended && stored.suspended_reason.as_deref() == Some("too often"));

    assert!(registry.drop_transfer(source.id).unwrap() && !registry.drop_transfer(source.id).unwrap());
    assert!(registry.transfer_runs(source.id, 9).unwrap().is_empty());
}
