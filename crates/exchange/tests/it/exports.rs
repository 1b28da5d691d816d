//! What changes in a table of the lake arrives at PostgreSQL, once.

use std::time::Duration;

use error::Code;
use exchange::{Done, Stop};
use registry::{RunTrigger, TransferKind};

use crate::fixture::Fixture;

const DAILY: &str = "CREATE DYNAMIC TABLE daily TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS \
    SELECT day, count(*) AS n, sum(amount) AS total FROM sales GROUP BY day";

#[test]
fn the_changes_of_a_dynamic_table_arrive_by_its_key() {
    let fixture = Fixture::new();
    fixture.lake.run("CREATE TABLE sales (day DATE, amount DECIMAL(10,2)); INSERT INTO sales SELECT '2026-01-01'::DATE + (range % 100)::INT, range FROM range(1000)").unwrap();
    fixture.lake.run(DAILY).unwrap();
    assert_eq!(
        fixture.run("CREATE EXPORT daily FROM daily TO crm.\"Daily 'x\"\"\" KEY (day) SCHEDULE = '1 minute'"),
        ("FIRST".to_owned(), [100, 100, 0])
    );
    let there = "\"Daily 'x\"\"\"";
    fixture.same(there, "daily", "day, n, total");
    assert_eq!(
        fixture.there(&format!(
            "SELECT count(*) FROM pg_index WHERE indrelid = '{}'::regclass AND indisprimary",
            there.replace('\'', "''")
        )),
        "1"
    );
    assert_eq!(fixture.run("REFRESH EXPORT daily").0, "NO_DATA");
    fixture.lake.run("INSERT INTO sales VALUES ('2027-01-01', 1.5), ('2026-01-01', 7); DELETE FROM sales WHERE day = '2026-01-02'").unwrap();
    fixture.lake.refresh(&["daily"]).unwrap();
    let Done::Explained(explained) = fixture.give("EXPLAIN EXPORT daily").unwrap() else { panic!("no explanation") };
    assert!(explained.lines.contains(&("mode", "CHANGES".to_owned())), "{explained:?}");
    // One comes, one goes, one takes the place of another.
    assert_eq!(fixture.run("REFRESH EXPORT daily"), ("CHANGES".to_owned(), [4, 2, 2]));
    fixture.same(there, "daily", "day, n, total");
    assert_eq!(fixture.run("REFRESH EXPORT daily").0, "NO_DATA");

    // Somebody has been there.
    fixture.there(&format!("DELETE FROM {there} WHERE day = '2027-01-01'"));
    fixture.lake.run("INSERT INTO sales VALUES ('2027-01-01', 1.5)").unwrap();
    fixture.lake.refresh(&["daily"]).unwrap();
    let error = fixture.give("REFRESH EXPORT daily").unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(
        error.message().contains("0 rows where 1 were to change") && error.hint().unwrap().contains("FULL"),
        "{error}"
    );
    assert_eq!(fixture.run("REFRESH EXPORT daily FULL").0, "REPLACE");
    fixture.same(there, "daily", "day, n, total");

    fixture.lake.run("CREATE OR REPLACE DYNAMIC TABLE daily TARGET_LAG = '1 hour' AS SELECT day, count(*) AS n, sum(amount) AS total, max(amount) AS most FROM sales GROUP BY day").unwrap();
    let error = fixture.give("REFRESH EXPORT daily").unwrap_err();
    assert!(error.code() == Code::Schema && error.message().contains("no column that takes most"), "{error}");
    fixture.there(&format!("ALTER TABLE {there} ADD most VARCHAR(9)"));
    assert_eq!(fixture.run("REFRESH EXPORT daily").0, "REPLACE");
    fixture.same(there, "daily", "day, n, total, most");
    assert_eq!(fixture.there("SELECT count(*) FROM dynamic_tables_export"), "1");
    fixture.give("DROP EXPORT daily").unwrap();
    assert_eq!(fixture.there("SELECT count(*) FROM dynamic_tables_export"), "0");
    assert_eq!(fixture.there("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'dynamic_tables_stage%'"), "0");
}

#[test]
fn a_table_without_a_key_arrives_as_a_multiset_with_all_its_types() {
    let fixture = Fixture::new();
    fixture
        .lake
        .run(
            "CREATE TABLE t (\"it's \"\"a\" VARCHAR, n DECIMAL(20,4), h HUGEINT, f DOUBLE, z TIMESTAMPTZ, d DATE, u UUID, b BLOB, \
             l INTEGER[], s STRUCT(a VARCHAR), i INTERVAL, v VARCHAR, x BOOLEAN); \
             INSERT INTO t SELECT 'q''\"', 1.2345, 170141183460469231731687303715884105727, 'nan', '2026-03-29 01:30:00+00', \
             'infinity', '018f0000-0000-7000-8000-000000000001', '\\x00\\xFF', [1, NULL], {'a': 'its \"'}, INTERVAL '1 month', 'abcdef', true FROM range(3); \
             INSERT INTO t (v) VALUES (NULL), (NULL)",
        )
        .unwrap();
    // A table that is there already, with types of its own; one column more, and names in another case.
    fixture.there(
        "CREATE TABLE t (id SERIAL, \"it's \"\"a\" TEXT, n NUMERIC(20,4), h NUMERIC, f FLOAT8, z TIMESTAMPTZ, d DATE, u UUID, b BYTEA, \
         l INT[], s JSONB, i INTERVAL, \"V\" VARCHAR(8), x BOOLEAN)",
    );
    assert_eq!(fixture.run("CREATE EXPORT t FROM t TO crm.t"), ("FIRST".to_owned(), [5, 5, 0]));
    let shown = "\"it's \"\"a\", n, h, f, z AT TIME ZONE 'UTC', d, u, b, l, s, i, \"V\", x";
    let row = "q'\"|1.2345|170141183460469231731687303715884105727|NaN|2026-03-29 01:30:00|infinity|018f0000-0000-7000-8000-000000000001|\\x00ff|{1,NULL}|{\"a\": \"its \\\"\"}|1 mon|abcdef|t";
    assert_eq!(fixture.there(&format!("SELECT {shown} FROM t WHERE x LIMIT 1")), row);
    // Two of three that are the same go, one that is NULL goes, and another interval is another value.
    fixture.lake.run("DELETE FROM t WHERE rowid IN (SELECT rowid FROM t WHERE x LIMIT 2); DELETE FROM t WHERE rowid IN (SELECT rowid FROM t WHERE x IS NULL LIMIT 1)").unwrap();
    assert_eq!(fixture.run("REFRESH EXPORT t").1, [2, 0, 3]);
    assert_eq!(fixture.there("SELECT count(*), count(x) FROM t"), "2|1");
    fixture.lake.run("UPDATE t SET i = INTERVAL '30 days' WHERE x").unwrap();
    assert_eq!(fixture.run("REFRESH EXPORT t").1, [2, 1, 1]);
    assert_eq!(fixture.there("SELECT i FROM t WHERE x"), "30 days");
    // What does not fit is not cut off.
    fixture.lake.run("INSERT INTO t (v) VALUES ('longer than eight')").unwrap();
    let error = fixture.give("REFRESH EXPORT t").unwrap_err();
    assert!(error.message().starts_with("value too long for type character varying(8)"), "{error}");
    fixture.lake.run("DELETE FROM t WHERE v LIKE 'longer%'").unwrap();
    assert_eq!(fixture.run("REFRESH EXPORT t").1, [0, 0, 0]);
    let made = fixture.run("CREATE EXPORT made FROM t TO crm.made");
    assert_eq!(made.1, [2, 2, 0]);
    assert_eq!(
        fixture.there("SELECT string_agg(data_type, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'made'"),
        "text,numeric,numeric,double precision,timestamp with time zone,date,uuid,bytea,ARRAY,jsonb,interval,text,boolean"
    );
}

#[test]
fn what_cannot_be_exported_says_why() {
    let fixture = Fixture::new();
    fixture.lake.run("CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 1), (1, 2)").unwrap();
    fixture.there(
        "CREATE TABLE full_one (a INT, b INT); INSERT INTO full_one VALUES (1, 1); CREATE TABLE narrow (a INT)",
    );
    for (text, code, what) in [
        ("CREATE EXPORT e FROM nope TO crm.e", Code::Query, "there is no table main.nope"),
        ("CREATE EXPORT e FROM t TO zone.e", Code::Query, "exported to PostgreSQL only"),
        ("CREATE EXPORT e FROM t TO crm.e KEY (x)", Code::Query, "has no column x"),
        ("CREATE EXPORT e FROM t TO crm.e KEY (a)", Code::Schema, "does not tell the rows"),
        ("CREATE EXPORT e FROM t TO crm.full_one", Code::Query, "has rows already"),
        ("CREATE EXPORT e FROM t TO crm.narrow", Code::Schema, "no column that takes b"),
        ("CREATE EXPORT e FROM t TO crm.nowhere.e", Code::Query, "\"nowhere\" not found"),
        ("CREATE OR REPLACE EXPORT e FROM t TO crm.e", Code::Query, "is not replaced"),
    ] {
        let error = fixture.give(text).unwrap_err();
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.message().contains(what), "{text}: {error}");
    }
    assert_eq!(fixture.there("SELECT a, b FROM full_one"), "1|1");
    let Done::Listed(none) = fixture.give("SHOW EXPORTS").unwrap() else { panic!("no list") };
    assert!(none.is_empty());
}

#[test]
fn nothing_is_doubled_or_lost_however_often_it_is_stopped() {
    let fixture = Fixture::new();
    fixture.lake.run("CREATE TABLE t AS SELECT range % 1000 AS a, 'x' AS b FROM range(5000)").unwrap();
    fixture.run("CREATE EXPORT t FROM t TO crm.t");
    let export = fixture.exchange.list(TransferKind::Export).unwrap().remove(0).transfer;
    let mut stopped = 0;
    for (round, delay) in [0, 30, 60, 90, 130, 180, 250].into_iter().enumerate() {
        fixture
            .lake
            .run(&format!(
                "DELETE FROM t WHERE a % 10 = {round}; INSERT INTO t SELECT range % 1000, 'r{round}' FROM range(2000)"
            ))
            .unwrap();
        let stop = Stop::default();
        let stopper = stop.clone();
        let result = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                stopper.request();
            });
            fixture.exchange.run(&export, RunTrigger::Schedule, false, "w", &stop)
        });
        stopped += usize::from(result.is_err());
    }
    assert!(stopped > 0);
    // The database loses its connections in the middle as well.
    fixture.lake.run("DELETE FROM t WHERE a < 500").unwrap();
    let result = std::thread::scope(|scope| {
        let (postgres, database) = (fixture.postgres, fixture.database.clone());
        let killing = scope.spawn(move || {
            for _ in 0..15 {
                postgres.psql(&database, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'dynamic-tables' AND datname = current_database()").unwrap();
            }
        });
        let result = fixture.exchange.run(&export, RunTrigger::Schedule, false, "w", &Stop::default());
        killing.join().unwrap();
        result
    });
    drop(result);
    fixture.run("REFRESH EXPORT t");
    fixture.same("t", "t", "a, b");
    assert_eq!(fixture.there("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'dynamic_tables_stage%'"), "0");
}
