//! What an idle worker costs: one query to the registry and one to the lake per look, and nothing is written.

use std::fmt::Write as _;
use std::time::Duration;

use lake::Lake;
use refresh::DynamicTables;
use registry::Registry;
use sql::statement::{Statement, parse_statements};
use testkit::lake::{CatalogKind, ThrowAway};
use testkit::postgres::Postgres;
use worker::Options;

use crate::worked::{hasty, value, while_working, with_openings};

const TABLES: usize = 10;

/// Tables of every kind: incremental, in full, over each other, with and without a lag of their own.
fn definitions() -> String {
    let mut text = String::new();
    for number in 0..TABLES {
        let (lag, query) = match number % 4 {
            0 => ("10 seconds", "SELECT day, count(*) AS n FROM orders GROUP BY day".to_owned()),
            1 => ("20 seconds", format!("SELECT n, count(*) AS days FROM t{} GROUP BY n", number - 1)),
            2 => ("DOWNSTREAM", "SELECT median(id) AS m FROM orders".to_owned()),
            _ => ("1 hour", "SELECT DISTINCT day FROM orders".to_owned()),
        };
        writeln!(text, "CREATE DYNAMIC TABLE t{number} TARGET_LAG = '{lag}' AS {query};").unwrap();
    }
    text
}

#[test]
fn it_writes_nothing_to_the_lake() {
    let lake = ThrowAway::new().unwrap();
    lake.run("CREATE TABLE lake.orders AS SELECT i AS id, i % 10 AS day FROM range(100) t(i)").unwrap();
    lake.run(&definitions()).unwrap();
    let snapshot = || value(&lake, "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')");
    let refreshes = || crate::worked::history(&lake).len();
    while_working(&lake, hasty(), |_| {
        std::thread::sleep(Duration::from_secs(3));
        let before = (snapshot(), refreshes());
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!((snapshot(), refreshes()), before);
    });
}

/// Counts statements in the server's log, in which they all stand.
#[test]
fn it_asks_each_database_one_question_per_look() {
    let server = Postgres::shared().unwrap();
    let lake = ThrowAway::with(CatalogKind::Postgres, "").unwrap();
    let catalog = lake.options().path.rsplit("dbname=").next().unwrap().to_owned();
    let url = server.fresh_database().unwrap();
    let registry = url.rsplit('/').next().unwrap().to_owned();
    lake.run("CREATE TABLE lake.orders AS SELECT i AS id, i % 10 AS day FROM range(100) t(i)").unwrap();
    let tables = DynamicTables::open(Lake::open(lake.options()).unwrap(), Registry::open(&url).unwrap()).unwrap();
    for statement in parse_statements(&definitions()).unwrap() {
        let Statement::Create(create) = statement.value else { panic!("a CREATE") };
        tables.create(&create, &statement.text).unwrap();
    }
    drop(tables);
    for database in [&catalog, &registry] {
        server.psql("postgres", &format!("ALTER DATABASE {database} SET log_statement = 'all'")).unwrap();
    }
    server.psql("postgres", "ALTER SYSTEM SET log_line_prefix = 'database=%d '").unwrap();
    server.psql("postgres", "SELECT pg_reload_conf()").unwrap();
    let log =
        || server.psql("postgres", "SELECT pg_read_file(current_setting('data_directory') || '/../log')").unwrap();

    let interval = Duration::from_millis(500);
    let options = Options { poll_interval: interval, ..Options::default() };
    let (said, _) = with_openings(lake.options().clone(), url, options, &0.into(), |_| {
        std::thread::sleep(Duration::from_secs(4));
        let before = log().len();
        std::thread::sleep(interval * 20);
        log().split_off(before)
    });
    let statements = |database: &str, mark: &str| {
        let of_database = |line: &&str| line.starts_with(&format!("database={database} "));
        said.lines().filter(of_database).filter(|line| line.contains(mark)).count()
    };
    let looks = statements(&registry, "execute ");
    assert!((10..=21).contains(&looks), "{looks}\n{said}");
    let near = |count: usize, per_look: usize| count.abs_diff(looks * per_look) <= per_look;
    assert!(near(statements(&registry, "SELECT"), 1), "{said}");
    // Of the lake, which snapshot is the newest; what happened is asked only when there is a new one, or now and then.
    let seen = statements(&catalog, "\"ducklake_snapshot\"");
    assert!(seen.abs_diff(looks) <= 3, "{said}");
    assert!(statements(&catalog, "\"changes_made\"") <= 2, "{said}");
    for word in ["INSERT", "UPDATE", "DELETE", "CREATE"] {
        assert_eq!((statements(&catalog, word), statements(&registry, word)), (0, 0), "{said}");
    }
}
