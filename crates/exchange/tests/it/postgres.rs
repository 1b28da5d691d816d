//! PostgreSQL tables become tables of the lake, and stay what they are there by writing differences only.

use error::Code;
use exchange::{Done, Stop};
use registry::{RunTrigger, TransferKind};
use sql::names::TableName;

use crate::fixture::Fixture;

const ORDERS: &str = "CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT, amount NUMERIC(12,2), updated_at TIMESTAMPTZ);
    INSERT INTO orders SELECT i, 'c' || i % 7, i, '2026-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 5000) i";

fn total(fixture: &Fixture) -> String {
    let reports = fixture.lake.refresh(&["total"]).unwrap();
    fixture.lake.verify().unwrap();
    format!("{:?}", reports[0].action.unwrap())
}

#[test]
fn a_dynamic_table_over_a_source_stays_incremental() {
    let fixture = Fixture::new();
    fixture.there(ORDERS);
    // The key is the primary key.
    assert_eq!(fixture.run("CREATE SOURCE orders FROM crm.orders"), ("FIRST".to_owned(), [5000, 5000, 0]));
    fixture
        .lake
        .run("CREATE DYNAMIC TABLE total TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT customer, count(*) AS n, sum(amount) AS s FROM orders GROUP BY customer")
        .unwrap();
    assert_eq!(fixture.run("REFRESH SOURCE orders"), ("COMPARE".to_owned(), [5000, 0, 0]));
    let quiet = fixture.lake.others.current_snapshot().unwrap();
    fixture.there(
        "UPDATE orders SET amount = amount + 1 WHERE id IN (1, 2); DELETE FROM orders WHERE id = 3; \
         INSERT INTO orders VALUES (9001, 'new', NULL, NULL)",
    );
    assert_eq!(fixture.run("REFRESH SOURCE orders"), ("COMPARE".to_owned(), [5000, 3, 3]));
    // One commit holds all of it.
    assert_eq!(fixture.lake.others.current_snapshot().unwrap().id, quiet.id + 1);
    assert_eq!(total(&fixture), "Incremental");
    fixture.same("orders", "orders", "id, customer, amount");

    // By its schedule the worker sees that the source has changed.
    fixture.there("UPDATE orders SET customer = 'c''x' WHERE id = 9001");
    fixture.run("REFRESH SOURCE orders");
    let look = fixture.lake.another().unwrap().look(&refresh::Poll {
        interval: std::time::Duration::from_secs(1),
        queues: Vec::new(),
        now: Some(jiff::Timestamp::now() + std::time::Duration::from_secs(7200)),
    });
    assert_eq!(look.unwrap().work.iter().map(refresh::Work::len).sum::<usize>(), 1);
    assert_eq!(total(&fixture), "Incremental");

    let error = fixture.give("DROP SOURCE orders").unwrap_err();
    assert_eq!(error.code(), Code::Dependency);
    fixture.give("DROP SOURCE orders KEEP TABLE").unwrap();
    assert_eq!(fixture.here("SELECT count(*) FROM orders"), ["5000"]);
    let Done::Listed(none) = fixture.give("SHOW SOURCES").unwrap() else { panic!("no list") };
    assert!(none.is_empty());
}

#[test]
fn a_cursor_reads_what_is_new_and_loses_nothing_at_its_boundary() {
    let fixture = Fixture::new();
    fixture.there(ORDERS);
    fixture.there("CREATE TABLE asked (q TEXT); CREATE INDEX ON orders (updated_at)");
    fixture.run("CREATE SOURCE orders FROM crm.orders KEY (ID) CURSOR (updated_at) LOOKBACK = '5 minutes'");
    let newest = fixture.there("SELECT max(updated_at) FROM orders");
    // One with the newest value, one that was committed late, one that is new, and one that a cursor cannot see to be gone.
    fixture.there(&format!(
        "INSERT INTO orders VALUES (5001, 'equal', 1, '{newest}'), (5002, 'late', 1, '{newest}'::timestamptz - interval '4 minutes'), \
         (5003, 'new', 1, '{newest}'::timestamptz + interval '1 day'); DELETE FROM orders WHERE id = 7; \
         UPDATE orders SET customer = 'changed', updated_at = '{newest}'::timestamptz + interval '1 hour' WHERE id = 8"
    ));
    let Done::Explained(explained) = fixture.give("EXPLAIN SOURCE orders").unwrap() else { panic!("no explanation") };
    let asks = explained.lines.iter().find(|(what, _)| *what == "asks PostgreSQL").unwrap();
    assert!(asks.1.contains("WHERE \"updated_at\" >= '2026-01-04 11:15:00+00'::timestamptz"), "{}", asks.1);
    let (action, [read, inserted, deleted]) = fixture.run("REFRESH SOURCE orders");
    assert_eq!((action.as_str(), inserted, deleted), ("CURSOR", 4, 1));
    assert!(read < 20, "{read}");
    // The other end was asked no more than that, and answers it by its index.
    let plan = fixture.there(&format!("SET enable_seqscan = off; EXPLAIN {}", asks.1));
    assert!(plan.contains("Index Scan") || plan.contains("Bitmap"), "{plan}");
    assert_eq!(fixture.here("SELECT count(*) FROM orders WHERE id = 7"), ["1"]);
    // A comparison does.
    assert_eq!(fixture.run("REFRESH SOURCE orders FULL"), ("COMPARE".to_owned(), [5002, 0, 1]));
    fixture.same("orders", "orders", "id, customer, amount");
    // Where everything is compared so often, a cursor is no reason not to.
    fixture.give("ALTER SOURCE orders SET COMPARE = '1 second'").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(fixture.run("REFRESH SOURCE orders").0, "COMPARE");
    fixture.there("DELETE FROM orders");
    fixture.run("REFRESH SOURCE orders FULL");
    assert_eq!(fixture.here("SELECT count(*) FROM orders"), ["0"]);
    fixture.give("ALTER SOURCE orders SET COMPARE = NEVER").unwrap();
    assert_eq!(fixture.run("REFRESH SOURCE orders"), ("COMPARE".to_owned(), [0, 0, 0]));
}

#[test]
fn rows_without_a_key_are_a_multiset() {
    let fixture = Fixture::new();
    fixture.there(
        "CREATE TABLE log (a INT, b TEXT, i INTERVAL); \
         INSERT INTO log VALUES (1, 'x', '1 month'), (1, 'x', '1 month'), (1, 'x', '1 month'), (NULL, NULL, NULL), (NULL, NULL, NULL), (2, 'y', NULL)",
    );
    fixture.run("CREATE SOURCE log FROM crm.log");
    fixture.there(
        "DELETE FROM log WHERE ctid IN (SELECT ctid FROM log WHERE a = 1 LIMIT 1); INSERT INTO log VALUES (2, 'y', NULL), (NULL, NULL, NULL)",
    );
    assert_eq!(fixture.run("REFRESH SOURCE log"), ("COMPARE".to_owned(), [7, 2, 1]));
    fixture.same("log", "log", "a, b");
    // Equal to the engine, and yet another value.
    fixture.there("UPDATE log SET i = '30 days' WHERE ctid = (SELECT min(ctid) FROM log WHERE a = 1)");
    assert_eq!(fixture.run("REFRESH SOURCE log").1, [7, 1, 1]);
    assert_eq!(fixture.here("SELECT i FROM log WHERE a = 1"), ["1 month", "30 days"]);
    fixture.there("ALTER TABLE log ADD c INT; UPDATE log SET c = 5 WHERE a = 2");
    assert_eq!(fixture.run("REFRESH SOURCE log").1, [7, 2, 2]);
    assert_eq!(fixture.here("SELECT a, c FROM log WHERE a = 2"), ["2|5", "2|5"]);
    fixture.there("TRUNCATE log");
    assert_eq!(fixture.run("REFRESH SOURCE log").1, [0, 0, 7]);
}

#[test]
fn nasty_names_and_types_arrive_as_they_are() {
    let fixture = Fixture::new();
    fixture.there(
        "CREATE SCHEMA \"Odd \"\"schema\"; CREATE TYPE mood AS ENUM ('fine', 'it''s bad'); CREATE DOMAIN money2 AS NUMERIC(10,2); \
         CREATE TABLE \"Odd \"\"schema\".\"it's a \"\"table\" (\"the \"\"key'\" INT PRIMARY KEY, n NUMERIC, m NUMERIC(10,2), d money2, \
         t TIMESTAMPTZ, u UUID, j JSON, b JSONB, e mood, es mood[], a INT[], ns NUMERIC[], f FLOAT8, y BYTEA, c CHAR(5), i INTERVAL, ip INET); \
         INSERT INTO \"Odd \"\"schema\".\"it's a \"\"table\" VALUES (1, 1.234567890123456789012345678901234567890123, 1.10, 2.20, \
         '2026-03-29 02:30:00.123456+02', '018f0000-0000-7000-8000-000000000001', '{\"a\":  1}', '{\"b\": \"it''s\"}', 'it''s bad', \
         '{fine,\"it''s bad\"}', '{1,NULL,3}', '{1.5,NaN}', 'NaN', '\\x00ff27', 'ab', '1 mon 2 days 03:04:05', '10.0.0.1/8'), \
         (2, 'NaN', NULL, NULL, 'infinity', NULL, NULL, NULL, NULL, '{}', NULL, NULL, '-infinity', '', '', NULL, NULL)",
    );
    let Done::Created(_, notices) =
        fixture.give("CREATE SOURCE \"odd \"\"source'\" FROM crm.\"Odd \"\"schema\".\"it's a \"\"table\"").unwrap()
    else {
        panic!("not created")
    };
    assert!(notices.iter().any(|notice| notice.starts_with("n is a numeric without a scale")), "{notices:?}");
    let row = fixture.here(
        "SELECT n, m, d, t AT TIME ZONE 'UTC', u, j, b, e, es, a, ns, f, hex(y), c, i, ip FROM \"odd \"\"source'\"",
    );
    assert_eq!(
        row,
        [
            "1.234567890123456789012345678901234567890123|1.10|2.20|2026-03-29 00:30:00.123456|018f0000-0000-7000-8000-000000000001|\
             {\"a\":  1}|{\"b\": \"it's\"}|it's bad|[fine, 'it\\'s bad']|[1, NULL, 3]|[1.5, NaN]|nan|00FF27|ab|1 month 2 days 03:04:05|10.0.0.1/8",
            "NaN|||infinity|||||[]|||-inf||||",
        ]
    );
    assert_eq!(fixture.run("REFRESH SOURCE \"odd \"\"source'\"").1, [2, 0, 0]);
    // A NaN where the lake can have none is no silent zero.
    fixture.there("UPDATE \"Odd \"\"schema\".\"it's a \"\"table\" SET m = 'NaN' WHERE \"the \"\"key'\" = 2");
    let error = fixture.give("REFRESH SOURCE \"odd \"\"source'\"").unwrap_err();
    assert!(error.message().contains("NaN") && error.hint().is_some(), "{error}");
}

#[test]
fn changed_columns_are_followed_as_far_as_nothing_is_lost() {
    let fixture = Fixture::new();
    fixture.there(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b TEXT); INSERT INTO t VALUES (1, 10, 'x'), (2, 20, NULL)",
    );
    fixture.run("CREATE SOURCE t FROM crm.t CURSOR (a)");
    fixture.lake.run("CREATE DYNAMIC TABLE total TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT sum(a) AS s, count(b) AS n FROM t").unwrap();
    fixture.there("ALTER TABLE t ADD \"new \"\"col\" TEXT DEFAULT 'd'; ALTER TABLE t ADD empty INT; ALTER TABLE t ALTER a TYPE BIGINT");
    assert_eq!(fixture.run("REFRESH SOURCE t"), ("COMPARE".to_owned(), [2, 2, 2]));
    fixture.same("t", "t", "id, a, \"new \"\"col\"");
    fixture.lake.refresh(&["total"]).unwrap();
    fixture.lake.verify().unwrap();
    assert_eq!(fixture.run("REFRESH SOURCE t").0, "CURSOR");

    fixture.there("ALTER TABLE t DROP \"new \"\"col\"; ALTER TABLE t ALTER b TYPE INT USING length(b)");
    let error = fixture.give("REFRESH SOURCE t").unwrap_err();
    assert_eq!(error.code(), Code::Schema);
    assert!(
        error.message().contains("b was VARCHAR and is INTEGER") && error.message().contains("is gone"),
        "{error}"
    );
    assert_eq!(fixture.here("SELECT count(\"new \"\"col\") FROM t"), ["2"]);
    fixture.run("REFRESH SOURCE t FULL");
    fixture.same("t", "t", "id, a, b");
    assert_eq!(fixture.here("SELECT column_name FROM (DESCRIBE t)"), ["a", "b", "empty", "id"]);
    fixture.there("ALTER TABLE t ALTER id TYPE TEXT");
    assert_eq!(fixture.run("REFRESH SOURCE t FULL").0, "REPLACE");
    fixture.same("t", "t", "id, a, b");
    fixture.there("DROP TABLE t");
    assert_eq!(fixture.give("REFRESH SOURCE t").unwrap_err().code(), Code::Query);
    // What fails again and again is in the history.
    let Done::Described(described, runs) = fixture.give("DESCRIBE SOURCE t").unwrap() else {
        panic!("not described")
    };
    assert_eq!((runs.len(), runs[0].state.as_str(), described.transfer.progress.failures), (7, "FAILED", 1));
}

#[test]
fn what_cannot_be_a_source_says_why_and_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.there("CREATE TABLE t (id INT, at FLOAT8, \"Id\" INT); CREATE TABLE e (); CREATE TABLE r (rowid INT); CREATE TABLE k (id INT, x INT); INSERT INTO k VALUES (1, 1), (1, 2)");
    fixture.lake.run("CREATE TABLE taken (a INT)").unwrap();
    for (text, code, what) in [
        ("CREATE SOURCE s FROM nowhere.t", Code::Query, "there is no connection"),
        ("CREATE SOURCE s FROM crm.missing", Code::Query, "there is no table public.missing"),
        ("CREATE SOURCE s FROM crm.t", Code::Schema, "names are the same here: id, Id"),
        ("CREATE SOURCE s FROM crm.e", Code::Query, "there is no table"),
        ("CREATE SOURCE s FROM crm.r", Code::Schema, "cannot have a column rowid"),
        ("CREATE SOURCE s FROM crm.k KEY (nope)", Code::Query, "no column nope"),
        ("CREATE SOURCE s FROM crm.k CURSOR (x)", Code::Query, "CURSOR needs a KEY"),
        ("CREATE SOURCE s FROM crm.k KEY (x) CURSOR (id) LOOKBACK = '5 minutes'", Code::Query, "is no time"),
        ("CREATE SOURCE s FROM crm.k COMPARE = '1 day'", Code::Query, "there is none"),
        ("CREATE SOURCE s FROM crm.k KEY (id)", Code::Schema, "1 of its values are there more than once"),
        ("CREATE SOURCE taken FROM crm.k", Code::Query, "there is a table main.taken already"),
        ("CREATE SOURCE s FROM zone.x", Code::Query, "there is no file or folder"),
        ("CREATE SOURCE s FROM zone.\"../x\"", Code::Query, "is not the name of a file"),
        ("REFRESH SOURCE s", Code::Query, "source main.s does not exist"),
    ] {
        let error = fixture.give(text).unwrap_err();
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.message().contains(what), "{text}: {error}");
    }
    let error = fixture.give("CREATE SOURCE s FROM locked.k").unwrap_err();
    assert!(!format!("{error:?} {error}").contains("no-such-passw0rd"), "{error:?}");
    let Done::Listed(none) = fixture.give("SHOW SOURCES").unwrap() else { panic!("no list") };
    assert!(none.is_empty());
    assert_eq!(
        fixture.here(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' AND database_name = current_database()"
        ),
        ["taken"]
    );
}

#[test]
fn two_at_once_come_to_one_and_what_is_stopped_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.there("CREATE TABLE t (id INT PRIMARY KEY, x TEXT); INSERT INTO t SELECT i, 'x' || i FROM generate_series(1, 60000) i");
    fixture.run("CREATE SOURCE t FROM crm.t");
    fixture.there("UPDATE t SET x = x || '!' WHERE id % 2 = 0");
    let source = fixture.exchange.list(TransferKind::Source).unwrap().remove(0).transfer;
    assert_eq!(source.name, TableName::new("main", "t"));
    // Stopped at moments that come as they come: either nothing of it happened, or all of it.
    for delay in [0, 40, 90, 180] {
        let stop = Stop::default();
        let stopper = stop.clone();
        let result = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(delay));
                stopper.request();
            });
            fixture.exchange.run(&source, RunTrigger::Schedule, false, "w", &stop)
        });
        let changed = fixture.here("SELECT count(*) FROM t WHERE x LIKE '%!'");
        let is_done = result.is_ok();
        assert!(changed == ["30000"] || (!is_done && changed == ["0"]), "{changed:?} {result:?}");
    }
    // Over connections of their own; one of them has to come second.
    fixture.there("UPDATE t SET x = x || '?' WHERE id % 3 = 0");
    let other = exchange::Exchange::new(lake::Lake::open(fixture.lake.options()).unwrap(), connections(&fixture));
    let results = std::thread::scope(|scope| {
        let both = [&fixture.exchange, &other].map(|exchange| {
            let source = &source;
            scope.spawn(move || exchange.run(source, RunTrigger::Schedule, false, "w", &Stop::default()))
        });
        both.map(|one| one.join().unwrap())
    });
    assert!(results.iter().any(Result::is_ok), "{results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.code(), Code::Conflict, "{error}");
    }
    fixture.run("REFRESH SOURCE t");
    assert_eq!(
        fixture.here("SELECT count(*), count(DISTINCT id), count(*) FILTER (x LIKE '%?') FROM t"),
        ["60000|60000|20000"]
    );
}

fn connections(fixture: &Fixture) -> connection::Connections {
    let registry = registry::Registry::open(fixture.lake.registry_url()).unwrap();
    let chain = connection::Chain::new(|name| {
        (name == "CREDENTIAL_ENCRYPTION_KEY").then(|| "0123456789abcdef0123456789ABCDEF".to_owned())
    });
    connection::Connections::new(registry, chain.unwrap())
}
