//! A lake with a PostgreSQL database and a folder behind connections.

use connection::{Chain, Connections, Kind, NewConnection, Setting};
use error::Result;
use exchange::{Done, Exchange, Ran, Stop};
use lake::Lake;
use registry::Registry;
use sql::statement::{Statement, parse_statements};
use testkit::lake::ThrowAway;
use testkit::postgres::{PASSWORD, Postgres, USER};

pub struct Fixture {
    pub lake: ThrowAway,
    pub exchange: Exchange,
    pub postgres: &'static Postgres,
    pub database: String,
}

impl Fixture {
    /// With the connections `crm` and `zone`.
    pub fn new() -> Self {
        let lake = ThrowAway::new().unwrap();
        let postgres = Postgres::shared().unwrap();
        let database = postgres.fresh_database().unwrap().rsplit('/').next().unwrap().to_owned();
        let registry = Registry::open(lake.registry_url()).unwrap();
        let chain = Chain::new(|name| {
            (name == "CREDENTIAL_ENCRYPTION_KEY").then(|| "0123456789abcdef0123456789ABCDEF".to_owned())
        });
        let connections = Connections::new(registry, chain.unwrap());
        let connect = |name: &str, kind, settings: &[(&str, &str)]| {
            let settings =
                settings.iter().map(|(name, value)| Setting { name: (*name).to_owned(), value: (*value).to_owned() });
            let new = NewConnection {
                name: name.to_owned(),
                kind,
                settings: settings.collect(),
                or_replace: false,
                if_not_exists: false,
            };
            connections.create(&new).unwrap();
        };
        let port = postgres.port().to_string();
        let place = [("host", "127.0.0.1"), ("port", port.as_str()), ("database", database.as_str()), ("user", USER)];
        connect("crm", Kind::Postgres, &[place.as_slice(), &[("password", PASSWORD)]].concat());
        connect("locked", Kind::Postgres, &[place.as_slice(), &[("password", "no-such-passw0rd")]].concat());
        let folder = lake.directory().join("zone");
        std::fs::create_dir(&folder).unwrap();
        connect("zone", Kind::Files, &[("path", folder.to_str().unwrap())]);
        let exchange = Exchange::new(Lake::open(lake.options()).unwrap(), connections);
        Self { lake, exchange, postgres, database }
    }

    /// Runs SQL at the other end.
    pub fn there(&self, sql: &str) -> String {
        self.postgres.psql(&self.database, sql).unwrap()
    }

    /// Runs a statement about sources or exports.
    pub fn give(&self, text: &str) -> Result<Done> {
        match parse_statements(text)?.pop().unwrap().value {
            Statement::Transfer(statement) => self.exchange.execute(&statement, &Stop::default()),
            other => panic!("{text} is {other:?}"),
        }
    }

    /// Runs a statement that runs a source or an export: action, and rows read, inserted and deleted.
    pub fn run(&self, text: &str) -> (String, [u64; 3]) {
        let ran: Box<Ran> = match self.give(text).unwrap() {
            Done::Created(ran, _) | Done::Ran(ran) => ran,
            other => panic!("{text} came to {other:?}"),
        };
        let outcome = ran.outcome;
        let count = |count: Option<u64>| count.unwrap_or_default();
        let rows = [count(outcome.rows_read), count(outcome.rows_inserted), count(outcome.rows_deleted)];
        (outcome.action.unwrap_or_default(), rows)
    }

    /// The rows of a query on the lake, each as one text, sorted.
    pub fn here(&self, query: &str) -> Vec<String> {
        let rows = self.lake.rows(query).unwrap();
        let mut rows: Vec<String> = rows
            .into_iter()
            .map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"))
            .collect();
        rows.sort();
        rows
    }

    /// The rows of a table at the other end and of the same columns of one of the lake, as texts.
    pub fn same(&self, there: &str, here: &str, columns: &str) {
        let mut rows: Vec<String> =
            self.there(&format!("SELECT {columns} FROM {there}")).lines().map(str::to_owned).collect();
        rows.sort();
        let found = self.here(&format!("SELECT {columns} FROM {here}"));
        let differ: Vec<_> = found.iter().zip(&rows).filter(|(found, row)| found != row).take(3).collect();
        assert!(
            found.len() == rows.len() && differ.is_empty(),
            "{} and {} rows: {differ:?}",
            found.len(),
            rows.len()
        );
    }
}
