//! A source and a destination in a real PostgreSQL, a pipeline between them, and previews over both.

use std::sync::Arc;

use connection::{Chain, Connections, Kind, NewConnection, Setting};
use jiff::Timestamp;
use preview::{Answer, Asked, Options, Previews};
use registry::{Pipeline, Registry};
use serde_json::{Value, json};
use testkit::postgres::{PASSWORD, Postgres, USER};

pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub struct World {
    pub previews: Arc<Previews>,
    pub connections: Connections,
    pub database: String,
    pub source: i64,
    pub destination: i64,
    pub pipeline: i64,
}

pub fn connections(registry: Registry) -> Connections {
    let chain = Chain::new(|name| (name == "CREDENTIAL_ENCRYPTION_KEY").then(|| KEY.to_owned())).unwrap();
    Connections::new(registry, chain)
}

pub fn options() -> Options {
    let extensions = std::env::var("DYNAMIC_TABLES_EXTENSION_DIRECTORY").ok().map(Into::into);
    let program = env!("CARGO_BIN_EXE_dynamic-tables-sandbox").into();
    Options { extension_directory: extensions, ..Options::new(program, Vec::new()) }
}

pub fn create(connections: &Connections, name: &str, kind: Kind, pairs: &[(&str, &str)]) -> i64 {
    let settings =
        pairs.iter().map(|(name, value)| Setting { name: (*name).to_owned(), value: (*value).to_owned() }).collect();
    let new = NewConnection { name: name.to_owned(), kind, settings, or_replace: false, if_not_exists: false };
    connections.create(&new).unwrap().0.number
}

pub fn to_postgres(connections: &Connections, name: &str, database: &str) -> i64 {
    let port = Postgres::shared().unwrap().port().to_string();
    let pairs =
        [("host", "127.0.0.1"), ("port", &port), ("database", database), ("user", USER), ("password", PASSWORD)];
    create(connections, name, Kind::Postgres, &pairs)
}

pub fn pipeline(registry: &Registry, name: &str, source: i64, destination: i64) -> i64 {
    let (name, destinations) = (name.to_owned(), vec![destination]);
    let pipeline = Pipeline { number: 0, name, source, destinations, created_at: Timestamp::now() };
    registry.create_pipeline(&pipeline).unwrap()
}

const TABLES: &str = "
    CREATE TABLE orders (id BIGINT, customer TEXT, amount NUMERIC(12,2), day DATE);
    INSERT INTO orders SELECT i, 'c' || i % 10, i * 1.25, DATE '2024-01-01' + (i % 30)::INT FROM generate_series(1, 1000) i;
    CREATE SCHEMA archive; CREATE TABLE archive.orders (old BIGINT); INSERT INTO archive.orders VALUES (7);
    CREATE TABLE \"Odd name\" (\"a b\" INT); INSERT INTO \"Odd name\" VALUES (1);
    CREATE VIEW slow AS SELECT pg_sleep(30)::TEXT AS a;";

impl World {
    pub fn new() -> Self {
        Self::with(options())
    }

    pub fn with(options: Options) -> Self {
        let postgres = Postgres::shared().unwrap();
        let database = postgres.fresh_database().unwrap().rsplit('/').next().unwrap().to_owned();
        postgres.psql(&database, TABLES).unwrap();
        let registry = Registry::open(":memory:").unwrap();
        let connections = connections(registry.clone());
        let source = to_postgres(&connections, "crm", &database);
        let destination = to_postgres(&connections, "dwh", &database);
        let pipeline = pipeline(&registry, "nightly", source, destination);
        let previews = Previews::new(connections.clone(), options);
        Self { previews, connections, database, source, destination, pipeline }
    }

    pub fn psql(&self, sql: &str) -> String {
        Postgres::shared().unwrap().psql(&self.database, sql).unwrap()
    }

    pub fn asked(&self, more: Value) -> Asked {
        let mut asked =
            json!({ "source_id": self.source, "destination_id": self.destination, "table_name": "orders" });
        for (key, value) in more.as_object().unwrap() {
            asked[key] = value.clone();
        }
        serde_json::from_value(asked).unwrap()
    }

    pub fn preview(&self, more: Value) -> Answer {
        self.previews.run(&self.asked(more), &mut || true).unwrap()
    }

    /// The rows of a query, which must not fail.
    pub fn rows(&self, more: Value) -> Value {
        let answer = self.preview(more);
        assert_eq!(answer.error, None);
        serde_json::from_str(answer.data.get()).unwrap()
    }
}
