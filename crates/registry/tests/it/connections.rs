//! Connections and pipelines are kept, changed by one at a time, and not dropped while they are used.

use std::collections::BTreeMap;

use error::Code;
use jiff::Timestamp;
use registry::{Connection, Pipeline};
use uuid::Uuid;

use crate::fixture::Fixture;

over_both_stores! {
    a_connection_is_kept_changed_and_dropped,
    names_that_become_the_same_are_the_same,
    a_pipeline_holds_its_connections,
}

fn connection(name: &str) -> Connection {
    let now: Timestamp = "2026-01-02T03:04:05.123456Z".parse().unwrap();
    Connection {
        number: 0,
        id: Uuid::now_v7(),
        name: name.to_owned(),
        kind: "postgres".to_owned(),
        settings: BTreeMap::from([("host".to_owned(), "db".to_owned())]),
        secrets: BTreeMap::from([("password".to_owned(), "v2:sealed".to_owned())]),
        revision: 1,
        created_at: now,
        updated_at: now,
    }
}

fn a_connection_is_kept_changed_and_dropped(fixture: &Fixture) {
    let registry = &fixture.registry;
    let mut crm = connection("crm");
    crm.number = registry.create_connection(&crm).unwrap();
    assert_eq!(registry.connection("CRM").unwrap().unwrap(), crm);
    assert_eq!(registry.connection_by_number(crm.number).unwrap().unwrap(), crm);
    assert_eq!(registry.connection("other").unwrap(), None);

    let stale = crm.clone();
    crm.settings.insert("port".to_owned(), "5433".to_owned());
    registry.alter_connection(&crm).unwrap();
    crm.revision += 1;
    assert_eq!(registry.connections().unwrap(), [crm.clone()]);
    assert_eq!(registry.alter_connection(&stale).unwrap_err().code(), Code::Conflict);

    assert!(registry.drop_connection(crm.id).unwrap());
    assert!(!registry.drop_connection(crm.id).unwrap());
}

fn names_that_become_the_same_are_the_same(fixture: &Fixture) {
    let registry = &fixture.registry;
    registry.create_connection(&connection("my-crm")).unwrap();
    let error = registry.create_connection(&connection("MY_crm")).unwrap_err();
    assert!(error.message().contains("exists already"), "{error}");
    let mut other = connection("other");
    registry.create_connection(&other).unwrap();
    other.name = "My_CRM".to_owned();
    assert_eq!(registry.alter_connection(&other).unwrap_err().code(), Code::Query);
}

fn a_pipeline_holds_its_connections(fixture: &Fixture) {
    let registry = &fixture.registry;
    let numbers: Vec<i64> =
        ["a", "b", "c"].into_iter().map(|name| registry.create_connection(&connection(name)).unwrap()).collect();
    let mut pipeline = Pipeline {
        number: 0,
        name: "nightly".to_owned(),
        source: numbers[0],
        destinations: vec![numbers[1], numbers[2]],
        created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    pipeline.number = registry.create_pipeline(&pipeline).unwrap();
    assert_eq!(registry.pipeline(pipeline.number).unwrap().unwrap(), pipeline);
    assert_eq!(registry.pipelines().unwrap(), [pipeline.clone()]);
    assert_eq!(registry.create_pipeline(&pipeline).unwrap_err().code(), Code::Query);
    let unknown = Pipeline { name: "x".to_owned(), destinations: vec![99_999], ..pipeline.clone() };
    assert!(registry.create_pipeline(&unknown).unwrap_err().message().contains("that exist"));
    assert_eq!(registry.pipelines().unwrap().len(), 1);

    let source = registry.connection("a").unwrap().unwrap();
    assert_eq!(registry.drop_connection(source.id).unwrap_err().code(), Code::Dependency);
    assert!(registry.drop_pipeline(pipeline.number).unwrap());
    assert!(!registry.drop_pipeline(pipeline.number).unwrap());
    assert!(registry.drop_connection(source.id).unwrap());
}
