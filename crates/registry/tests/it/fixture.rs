//! A fresh registry, and things to put into it.

use jiff::Timestamp;
use registry::{
    Definition, DynamicTable, Progress, Refresh, RefreshTrigger, Registry, SchedulingState, Source, SourceKind,
};
use sql::names::TableName;
use sql::properties::{Properties, TargetLag};
use testkit::postgres::Postgres;
use testkit::sqlite;
use uuid::Uuid;

/// A registry of one test, and the way around it.
pub struct Fixture {
    pub registry: Registry,
    pub url: String,
    database: Option<String>,
    /// Removed at the end.
    _folder: Option<tempfile::TempDir>,
}

impl Fixture {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("registry.sqlite").display());
        Self { registry: Registry::open(&url).unwrap(), url, database: None, _folder: Some(folder) }
    }

    pub fn postgres() -> Self {
        let url = Postgres::shared().unwrap().fresh_database().unwrap();
        let database = url.rsplit('/').next().unwrap().to_owned();
        Self { registry: Registry::open(&url).unwrap(), url, database: Some(database), _folder: None }
    }

    /// What an operator sees who asks with the database's own shell: rows as lines, columns separated by `|`.
    pub fn ask(&self, sql: &str) -> String {
        match &self.database {
            Some(database) => Postgres::shared().unwrap().psql(database, sql).unwrap(),
            None => sqlite::ask(&self.url, sql).unwrap(),
        }
    }
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn name(name: &str) -> TableName {
    TableName::new("main", name)
}

/// A dynamic table over the lake's table `orders`.
pub fn table(table: &str) -> DynamicTable {
    let lag: TargetLag = "5 minutes".parse().unwrap();
    DynamicTable {
        definition: Definition {
            id: Uuid::now_v7(),
            name: name(table),
            query: "SELECT customer, sum(amount) AS total FROM orders GROUP BY customer".to_owned(),
            properties: Properties { target_lag: Some(lag), ..Properties::default() },
            default_schema: "main".to_owned(),
            fingerprint: "f1".to_owned(),
            revision: 1,
            state: SchedulingState::Running,
            refresh_mode_reason: None,
            time_dependent: false,
            incremental: true,
            columns: vec![("customer".to_owned(), "VARCHAR".to_owned()), ("total".to_owned(), "HUGEINT".to_owned())],
            created_at: time("2026-01-02T03:04:05.678901Z"),
            updated_at: time("2026-01-02T03:04:05.678901Z"),
        },
        sources: vec![Source {
            name: name("orders"),
            kind: SourceKind::Table,
            lake_table_id: Some(7),
            upstream: None,
            columns: vec![
                ("customer".to_owned(), "VARCHAR".to_owned()),
                ("amount".to_owned(), "DECIMAL(10,2)".to_owned()),
            ],
        }],
        progress: Progress::default(),
    }
}

/// A dynamic table that reads another one.
pub fn table_over(own: &str, upstream: &DynamicTable) -> DynamicTable {
    let mut made = table(own);
    made.sources = vec![Source {
        name: upstream.definition.name.clone(),
        kind: SourceKind::DynamicTable,
        lake_table_id: Some(8),
        upstream: Some(upstream.definition.id),
        columns: vec![("total".to_owned(), "HUGEINT".to_owned())],
    }];
    made
}

/// Progress of a table that has content.
pub fn published(data_version: i64, snapshot: i64, refresh_id: &str) -> Progress {
    Progress {
        data_version: Some(data_version),
        data_timestamp: Some(time("2026-03-04T05:06:07.000001Z")),
        snapshot: Some(snapshot),
        refresh_id: Some(refresh_id.to_owned()),
        fence: snapshot,
        ..Progress::default()
    }
}

pub fn refresh_of(table: &DynamicTable, worker: &str) -> Refresh {
    let definition = &table.definition;
    let mut refresh =
        Refresh::begin(definition.id, definition.name.clone(), RefreshTrigger::Scheduled, Some(worker.to_owned()));
    // Registries keep microseconds.
    refresh.started_at = Timestamp::from_microsecond(refresh.started_at.as_microsecond()).unwrap();
    refresh
}
