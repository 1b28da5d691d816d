//! Places for lakes: a folder of its own, and a catalog of each kind.

use lake::{Lake, Options, Session, Settings, SnapshotId};
use sql::names::TableName;
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    DuckDb,
    Sqlite,
    Postgres,
}

pub const KINDS: [Kind; 3] = [Kind::DuckDb, Kind::Sqlite, Kind::Postgres];

pub struct Place {
    pub folder: TempDir,
    pub options: Options,
}

impl Place {
    pub fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = match kind {
            Kind::DuckDb => format!("ducklake:{}", folder.path().join("lake.ducklake").display()),
            Kind::Sqlite => format!("ducklake:sqlite:{}", folder.path().join("lake.sqlite").display()),
            Kind::Postgres => {
                let url = testkit::postgres::Postgres::shared().unwrap().fresh_database().unwrap();
                format!("ducklake:postgres:{url}")
            }
        };
        let data_path = (kind == Kind::Postgres).then(|| folder.path().join("data").display().to_string());
        let (settings, _) = Settings::parse("threads=2").unwrap();
        Self { options: Options { path, data_path, settings, ..Options::default() }, folder }
    }

    pub fn open(&self) -> Lake {
        Lake::open(&self.options).unwrap()
    }
}

pub fn table(name: &str) -> TableName {
    TableName::new("main", name)
}

pub fn now(session: &Session) -> SnapshotId {
    session.current_snapshot().unwrap().id
}

/// The rows of a query as one text each, sorted.
pub fn rows(session: &Session, sql: &str) -> Vec<String> {
    let rows = session.query(sql).unwrap_or_else(|error| panic!("{error}\n{sql}")).rows;
    let text = |row: Vec<Option<String>>| {
        row.into_iter().map(|value| value.unwrap_or_else(|| "NULL".to_owned())).collect::<Vec<_>>().join("|")
    };
    let mut rows: Vec<String> = rows.into_iter().map(text).collect();
    rows.sort();
    rows
}
