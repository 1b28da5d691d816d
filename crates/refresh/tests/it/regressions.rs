//! Wrong tables that were once made: each test is the shortest way there.

use std::time::Duration;

use refresh::RefreshReport;
use registry::RefreshAction;
use testkit::lake::ThrowAway;

fn lake(text: &str) -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(text).unwrap();
    lake
}

/// A dynamic table `t` of a query that has to have an incremental rule.
fn table(query: &str) -> String {
    format!("CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {query}")
}

/// A dynamic table `t` of whatever query.
fn any_table(query: &str) -> String {
    format!("CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS {query}")
}

/// Refreshes everything, and compares `t` with its query both by the product's oracle and as plain SQL.
fn right(lake: &ThrowAway, query: &str) -> Vec<RefreshReport> {
    let reports = lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    assert_eq!(lake.rows("FROM lake.t").unwrap(), lake.rows(query).unwrap(), "{query}");
    reports
}

#[test]
fn a_replaced_source_goes_on_changing() {
    let query = "SELECT id FROM src";
    for mode in ["INCREMENTAL", "AUTO", "FULL"] {
        let lake = lake(&format!(
            "CREATE TABLE lake.src (id INTEGER);
             CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = {mode} AS {query}"
        ));
        lake.run("CREATE OR REPLACE TABLE lake.src AS SELECT 1::INTEGER AS id").unwrap();
        right(&lake, query);
        lake.run("INSERT INTO lake.src VALUES (2)").unwrap();
        right(&lake, query);
    }
}

#[test]
fn a_refresh_that_the_registry_never_heard_of_filled_an_empty_table() {
    let lake = lake(&format!("CREATE TABLE lake.src (id INTEGER); {}", any_table("SELECT id FROM src")));
    let registry = lake.registry_url().strip_prefix("sqlite:").unwrap().to_owned();
    let before = format!("{registry}.before");
    for part in ["", "-wal", "-shm"] {
        let file = format!("{registry}{part}");
        if std::path::Path::new(&file).exists() {
            std::fs::copy(&file, format!("{before}{part}")).unwrap();
        }
    }
    lake.run("INSERT INTO lake.src VALUES (1), (2)").unwrap();
    lake.refresh(&[]).unwrap();
    // Another process, whose registry is the one from before the refresh.
    let restored = registry::Registry::open(&format!("sqlite:{before}")).unwrap();
    let another = refresh::DynamicTables::open(::lake::Lake::open(lake.options()).unwrap(), restored).unwrap();
    lake.run("INSERT INTO lake.src VALUES (3)").unwrap();
    let request = refresh::RefreshRequest {
        names: Vec::new(),
        full: false,
        trigger: registry::RefreshTrigger::Manual,
        worker: None,
    };
    let report = another.refresh(&request).unwrap().swap_remove(0);
    assert!(report.error.is_none(), "{report:?}");
    assert_eq!(lake.rows("FROM lake.t").unwrap(), lake.rows("FROM lake.src").unwrap());
}

#[test]
fn a_definition_is_replaced_although_no_source_changed() {
    let lake = lake(&format!("CREATE TABLE lake.src AS SELECT 1 AS id; {}", any_table("SELECT id FROM src")));
    lake.refresh(&[]).unwrap();
    lake.run("CREATE DYNAMIC TABLE reader TARGET_LAG = '1 hour' AS SELECT * FROM t").unwrap();
    lake.run("CREATE TABLE lake.other (x INTEGER)").unwrap();
    lake.refresh(&[]).unwrap();
    lake.run("CREATE OR REPLACE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS SELECT id + 10 AS id FROM src").unwrap();
    assert_eq!(lake.rows("FROM lake.t").unwrap(), lake.rows("SELECT 11").unwrap());
    right(&lake, "SELECT id + 10 FROM lake.src");
    assert_eq!(lake.rows("FROM lake.reader").unwrap(), lake.rows("SELECT 11").unwrap());
}

#[test]
fn macros_of_the_engine_are_what_they_call() {
    let query = "SELECT geomean(v) AS mean FROM src";
    let lake = lake(&format!("CREATE TABLE lake.src AS SELECT 4.0::DOUBLE AS v; {}", any_table(query)));
    lake.run("INSERT INTO lake.src VALUES (9)").unwrap();
    right(&lake, query);
    assert!(lake.run(&table("SELECT v, ago(INTERVAL 1 DAY) AS then FROM src").replace(" t ", " u ")).is_err());
}

#[test]
fn a_field_is_not_the_column_of_its_name() {
    let query = "SELECT s.x AS sx, x, count(*) AS n FROM src GROUP BY x, s.x";
    let lake = lake(&format!("CREATE TABLE lake.src AS SELECT 1 AS x, {{'x': 2}} AS s; {}", table(query)));
    lake.run("INSERT INTO lake.src VALUES (1, {'x': 2}), (2, {'x': 1})").unwrap();
    right(&lake, query);
}

#[test]
fn a_field_that_was_dropped_and_added_again() {
    let query = "SELECT id, s.b AS b FROM src";
    let lake = lake(&format!("CREATE TABLE lake.src AS SELECT 1 AS id, {{'a': 1, 'b': 2}} AS s; {}", table(query)));
    lake.run("ALTER TABLE lake.src DROP COLUMN s.b").unwrap();
    lake.run("ALTER TABLE lake.src ADD COLUMN s.b INTEGER").unwrap();
    let reports = right(&lake, query);
    assert_eq!(reports[0].action, Some(RefreshAction::Reinitialize));
}

#[test]
fn values_that_are_equal_and_yet_differ() {
    let query = "SELECT id, v::VARCHAR AS v, d::VARCHAR AS d FROM src";
    let lake = lake(&format!(
        "CREATE TABLE lake.src AS SELECT 1 AS id, INTERVAL '1 month' AS v, 0.0::DOUBLE AS d; {}",
        table(query)
    ));
    lake.run("UPDATE lake.src SET v = INTERVAL '30 days'").unwrap();
    right(&lake, query);
    lake.run("UPDATE lake.src SET d = '-0.0'::DOUBLE").unwrap();
    right(&lake, query);
}

#[test]
fn a_sum_that_is_taken_as_a_floating_point_number() {
    let query = "SELECT g, count(*) AS n, sum(v) AS s, count(v) AS c FROM src GROUP BY g";
    let lake =
        lake(&format!("CREATE TABLE lake.src AS SELECT 1 AS g, 102::UHUGEINT AS v, 1 AS id; {}", table(query)));
    lake.run("INSERT INTO lake.src VALUES (1, 340282366920938463463374607431768211455, 2)").unwrap();
    right(&lake, query);
    lake.run("DELETE FROM lake.src WHERE id = 2").unwrap();
    right(&lake, query);
}

#[test]
fn aliases_of_the_select_list_in_other_places() {
    for query in [
        "SELECT v % 3 AS g, count(*) AS n FROM src WHERE g > 0 GROUP BY g",
        "SELECT v + 1 AS d, d * 2 AS e, count(*) AS n FROM src GROUP BY ALL",
        "WITH c(p, q) AS (SELECT v, v + 1 FROM src) SELECT * FROM c AS r(x)",
        "SELECT rowid AS place, v FROM src",
    ] {
        let lake =
            lake(&format!("CREATE TABLE lake.src AS SELECT i AS v FROM range(2000) AS r(i); {}", any_table(query)));
        lake.run("INSERT INTO lake.src VALUES (3001)").unwrap();
        lake.refresh(&[]).unwrap();
        lake.run("DELETE FROM lake.src WHERE v = 2").unwrap();
        right(&lake, query);
    }
}

#[test]
fn tables_that_are_named_in_arguments() {
    for query in ["SELECT id FROM query_table('src')", "SELECT id FROM query('SELECT id FROM src')"] {
        let lake = lake(&format!("CREATE TABLE lake.src AS SELECT 1 AS id; {}", any_table(query)));
        lake.run("INSERT INTO lake.src VALUES (2)").unwrap();
        right(&lake, "SELECT id FROM lake.src");
    }
}

#[test]
fn what_a_call_leaves_out_can_be_the_time_or_a_setting() {
    let source = "CREATE TABLE lake.src AS SELECT 1 AS id, TIMESTAMP '2026-01-01' AS born";
    for item in ["age(born)", "getvariable('none')", "current_setting('threads')"] {
        let refused = lake(source).run(&table(&format!("SELECT id, {item} AS v FROM src"))).unwrap_err();
        assert!(refused.message().contains("gives another value in every query"), "{item}: {refused}");
    }
    let query = "SELECT id, age(TIMESTAMP '2026-02-01', born) AS v FROM src";
    let lake = lake(&format!("{source}; {}", table(query)));
    lake.run("INSERT INTO lake.src VALUES (2, '2025-01-01')").unwrap();
    right(&lake, "SELECT id, age(TIMESTAMP '2026-02-01', born) AS v FROM lake.src");
}

#[test]
fn which_of_equal_rows_comes_first_does_not_depend_on_where_they_stand() {
    for query in [
        "SELECT id, row_number() OVER (PARTITION BY k ORDER BY x) AS r FROM src",
        "SELECT k, id FROM src QUALIFY row_number() OVER (PARTITION BY k ORDER BY x) = 1",
        "SELECT DISTINCT ON (k) k, id FROM src ORDER BY k, x",
        "SELECT k, first(id) AS f, any_value(id) AS a, arg_max(id, x) AS m FROM src GROUP BY k",
        "SELECT k, list(id) AS l, string_agg(id::VARCHAR, ',') AS s FROM src GROUP BY k",
        "SELECT k, count(*) AS n, list(id) FILTER (x = 1) AS l FROM src GROUP BY ALL",
        "SELECT s, count(*) AS n FROM (SELECT k, string_agg(DISTINCT id::VARCHAR, ',') AS s FROM src GROUP BY k) GROUP BY s",
        "SELECT s, count(*) AS n FROM (SELECT k, quantile_cont(id, 0.5) AS s FROM src GROUP BY k) GROUP BY s",
    ] {
        let lake = lake(&format!(
            "CREATE TABLE lake.src AS SELECT i AS id, i % 2 AS k, 1 AS x, '' AS unused FROM range(6) r(i); {}",
            table(query)
        ));
        lake.verify().unwrap_or_else(|error| panic!("{query}: {error}"));
        for change in [
            // The row is written anew, and stands behind the others from now on.
            "UPDATE lake.src SET unused = 'x' WHERE id < 2",
            "INSERT INTO lake.src VALUES (6, 0, 1, '')",
            "UPDATE lake.src SET unused = 'y' WHERE id IN (0, 3)",
            "DELETE FROM lake.src WHERE id = 1",
        ] {
            lake.run(change).unwrap();
            let reports = lake.refresh(&[]).unwrap();
            assert_ne!(reports[0].action, Some(RefreshAction::Full), "{query}: {}", reports[0].reason);
            lake.verify().unwrap_or_else(|error| panic!("{query}, {change}: {error}"));
        }
    }
}

#[test]
fn the_time_zone_of_a_process_is_not_that_of_a_result() {
    let query = "SELECT moment::DATE AS day, count(*) AS n FROM src GROUP BY 1";
    let lake = ThrowAway::with(testkit::lake::CatalogKind::Sqlite, "").unwrap();
    lake.run("CREATE TABLE lake.src AS SELECT TIMESTAMPTZ '2024-01-01 02:00:00+00' AS moment").unwrap();
    lake.others.execute("SET GLOBAL TimeZone = 'America/New_York'").unwrap();
    lake.run(&table(query)).unwrap();
    assert_eq!(lake.rows("SELECT day::VARCHAR FROM lake.t").unwrap(), [[Some("2024-01-01".to_owned())]]);
}

#[test]
fn readers_follow_a_renamed_table_that_qualifies_its_columns() {
    let lake = lake(&format!(
        "CREATE TABLE lake.src AS SELECT 1 AS id; {};
         CREATE DYNAMIC TABLE reader TARGET_LAG = '1 hour' AS SELECT t.id FROM t",
        any_table("SELECT id FROM src")
    ));
    lake.run("ALTER DYNAMIC TABLE t RENAME TO u; INSERT INTO lake.src VALUES (2)").unwrap();
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    assert_eq!(lake.rows("FROM lake.reader").unwrap(), lake.rows("FROM lake.src").unwrap());
}

const LEASE: refresh::Lease =
    refresh::Lease { length: Duration::from_millis(50), heartbeat: Duration::from_secs(60) };

#[test]
fn an_upstream_table_that_another_process_took_past_the_version() {
    let lake = lake(
        "CREATE TABLE lake.src AS SELECT 1 AS id;
         CREATE DYNAMIC TABLE u TARGET_LAG = '1 minute' AS SELECT count(*) AS n FROM src;
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' AS
         SELECT u.n = c.n AS agree FROM u, (SELECT count(*) AS n FROM src) AS c",
    );
    lake.run("INSERT INTO lake.src VALUES (2)").unwrap();
    let another = lake.another().unwrap();
    let refreshed = std::cell::Cell::new(false);
    // Between what this process saw to be the newest version and its first table.
    let meanwhile = || {
        if !refreshed.replace(true) {
            lake.run("INSERT INTO lake.src VALUES (3)").unwrap();
            let names = vec![sql::names::ObjectName::parse("u").unwrap()];
            let trigger = registry::RefreshTrigger::Manual;
            std::thread::sleep(LEASE.length);
            another.refresh(&refresh::RefreshRequest { names, full: false, trigger, worker: None }).unwrap();
        }
        false
    };
    // A worker that was stopped for longer than its lease still believes in its claim.
    lake.tables.set_lease(LEASE);
    let now = Some(jiff::Timestamp::now() + Duration::from_secs(3_000));
    let look =
        lake.tables.look(&refresh::Poll { interval: Duration::from_secs(1), queues: Vec::new(), now }).unwrap();
    assert_eq!(look.work.len(), 1);
    lake.tables.carry_out(&look.work[0], "worker", &meanwhile, &mut |_| {}).unwrap();
    assert!(refreshed.get());
    assert_eq!(lake.rows("FROM lake.t").unwrap(), [[Some("true".to_owned())]]);
    lake.refresh(&[]).unwrap();
    assert_eq!(lake.rows("FROM lake.t").unwrap(), [[Some("true".to_owned())]]);
}

/// Each of these was found by reading to lose or keep a wrong row: a query, what to change, twice over.
#[test]
fn rows_that_a_change_touches_are_found_by_whatever_name_they_go() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.t (id INTEGER, k INTEGER, g VARCHAR, v INTEGER, z INTEGER, o INTEGER);
         CREATE TABLE lake.s (k INTEGER, w INTEGER, x INTEGER, y INTEGER, n VARCHAR);
         CREATE TABLE lake.u (k INTEGER, w INTEGER);
         CREATE TABLE lake.a (k INTEGER, x INTEGER); CREATE TABLE lake.b (k INTEGER, x INTEGER, y INTEGER);
         CREATE TABLE lake.c (k INTEGER, y INTEGER, z INTEGER); CREATE TABLE lake.txt (x VARCHAR);
         INSERT INTO lake.t VALUES (1, 1, 'abc', 2, 100, 1), (2, 1, 'ABC', 3, 1, 2), (3, 2, 'abc', 10, 5, 1), (4, NULL, 'd', 1, 1, 1);
         INSERT INTO lake.s VALUES (1, 5, 1, 0, 'abc'), (2, 6, 2, 9, 'q'); INSERT INTO lake.u VALUES (1, 3), (2, 4);
         INSERT INTO lake.a VALUES (1, 1), (1, 10); INSERT INTO lake.c VALUES (9, 5, 1); INSERT INTO lake.txt VALUES ('01'), ('7')",
    )
    .unwrap();
    let queries = [
        "SELECT g, sum((SELECT max(s.w) FROM s WHERE s.k = t.k)) AS x FROM t GROUP BY g
         UNION ALL SELECT g, sum((SELECT max(u.w) FROM u WHERE u.k = t.k)) AS x FROM t GROUP BY g",
        "SELECT a.x, b.y, c.y AS cy FROM (a LEFT JOIN b ON a.x = b.x) FULL JOIN c ON b.y = c.y",
        "SELECT k, a.x, b.y, c.z FROM a RIGHT JOIN b USING (k) LEFT JOIN c USING (k)",
        "SELECT k, a.x, b.y, c.z FROM a FULL JOIN b USING (k) FULL JOIN c USING (k)",
        "SELECT id, rank() OVER (PARTITION BY k ORDER BY o ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS r FROM t",
        "SELECT id, sum(v) OVER (PARTITION BY k ORDER BY o ROWS BETWEEN 9 PRECEDING AND 9 FOLLOWING EXCLUDE GROUP) AS r FROM t",
        "SELECT k, count(*) AS n, (SELECT count(*) FROM s WHERE k > 0) AS c FROM t GROUP BY ROLLUP (k)",
        "SELECT k, (SELECT max(w) FROM s WHERE k = 2) AS m, rank() OVER (ORDER BY count(*)) AS r FROM t GROUP BY k",
        "SELECT DISTINCT ON (g) lower(g) AS g, v FROM t ORDER BY g, v",
        "SELECT DISTINCT ON (k) k, o AS raw, -o AS o FROM t ORDER BY k, o",
        "SELECT lower(g) AS g, count(*) AS n FROM t GROUP BY 1 HAVING g IN (SELECT n FROM s)",
        "SELECT k, sum(v) AS v FROM t GROUP BY k HAVING v IN (SELECT w FROM s)",
        "SELECT id FROM t WHERE EXISTS (SELECT s.x AS z FROM s WHERE z = s.k AND s.y < t.v)",
        "SELECT id FROM t ORDER BY id LIMIT 2.5",
        "SELECT txt.x, b.y FROM txt LEFT JOIN b ON txt.x = b.y",
        "SELECT t.k, c FROM t, LATERAL (SELECT count(*) AS c FROM u WHERE u.w < t.v AND u.k IN (SELECT k FROM c)) l WHERE t.k IN (SELECT k FROM s)",
        "SELECT id FROM t WHERE EXISTS (SELECT 'x' FROM s WHERE s.k = t.k LIMIT 1)",
        "SELECT DISTINCT ON (k) k, o, 'x' AS kind FROM t ORDER BY k, o",
        "SELECT v + 1 AS q FROM t WHERE q > 2 AND k IN (SELECT k FROM s)",
        "SELECT k FROM t EXCEPT SELECT x FROM txt WHERE x <> '01'",
    ];
    for (number, query) in queries.iter().enumerate() {
        lake.run(&format!(
            "CREATE DYNAMIC TABLE q{number} TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {query}"
        ))
        .or_else(|_| lake.run(&format!("CREATE DYNAMIC TABLE q{number} TARGET_LAG = '1 hour' AS {query}")))
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    lake.verify().unwrap();
    for change in [
        "UPDATE lake.u SET w = w + 1",
        "INSERT INTO lake.b VALUES (5, 1, 5)",
        "INSERT INTO lake.c VALUES (5, 6, 30)",
        "INSERT INTO lake.t VALUES (5, 1, 'ABC', 1, 1, 7), (6, 2, 'aBc', 5, 5, 0)",
        "INSERT INTO lake.s VALUES (1, 6, 1, 0, 'd'), (7, 15, 3, 1, 'abc')",
        "BEGIN; INSERT INTO lake.b VALUES (8, 1, 1); INSERT INTO lake.txt VALUES ('1'); COMMIT",
        "BEGIN; INSERT INTO lake.s VALUES (9, 1, 1, 1, NULL); INSERT INTO lake.t VALUES (7, 7, 'x', 9, 9, 9); COMMIT",
        "DELETE FROM lake.b WHERE k = 5",
        "UPDATE lake.t SET v = v + 1 WHERE id % 2 = 0",
        "DELETE FROM lake.s WHERE k = 7",
    ] {
        lake.run(change).unwrap();
        lake.refresh(&[]).unwrap_or_else(|error| panic!("{change}: {error}"));
        lake.verify().unwrap_or_else(|error| panic!("{change}: {error}"));
        for (number, query) in queries.iter().enumerate() {
            let difference = format!(
                "SELECT count(*) FROM ((FROM lake.q{number} EXCEPT ALL ({query})) UNION ALL (({query}) EXCEPT ALL FROM lake.q{number}))"
            );
            assert_eq!(lake.rows(&difference).unwrap(), [[Some("0".to_owned())]], "{query}\n{change}");
        }
    }
}

/// DuckLake keeps few rows in its catalog, and loses quotes of texts in a STRUCT there.
/// Texts that a collation takes for equal are different rows all the same.
#[test]
fn a_change_of_case_is_a_change_whatever_the_collation() {
    let projected = "SELECT id, n COLLATE NOCASE AS n FROM src";
    let deeper = "SELECT m FROM (SELECT n COLLATE NOCASE AS m FROM src)";
    for query in [projected, deeper] {
        let lake = lake(&format!(
            "CREATE TABLE lake.src AS FROM (VALUES (1, 'a'), (2, 'B')) AS v(id, n); {}",
            any_table(query)
        ));
        lake.run("UPDATE lake.src SET n = 'A' WHERE id = 1; UPDATE lake.src SET n = 'b' WHERE id = 2").unwrap();
        let reports = lake.refresh(&[]).unwrap();
        assert_eq!(reports[0].action, Some(RefreshAction::Full), "{reports:?}");
        lake.verify().unwrap();
        let plain = query.replace(" COLLATE NOCASE", "");
        assert_eq!(lake.rows("FROM lake.t").unwrap(), lake.rows(&plain).unwrap(), "{query}");
        let refused = lake.run(&table(query).replace(" t ", " u ")).unwrap_err();
        assert!(refused.message().contains("COLLATE makes texts equal"), "{refused}");
    }
    // What only compares by a collation has a rule.
    let compared = "SELECT id, n, n COLLATE NOCASE = 'x' AS is_x FROM src WHERE n COLLATE NOCASE = 'x'";
    let lake =
        lake(&format!("CREATE TABLE lake.src AS FROM (VALUES (1, 'x'), (2, 'B')) AS v(id, n); {}", table(compared)));
    for name in ["X", "y", "x"] {
        lake.run(&format!("UPDATE lake.src SET n = '{name}'")).unwrap();
        right(&lake, compared);
    }
}

#[test]
fn texts_in_structs_keep_their_quotes() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src (id INTEGER, g VARCHAR);
         INSERT INTO lake.src VALUES (1, 'it''s'), (2, 'say \"no\"');
         CREATE DYNAMIC TABLE rows_as_structs TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS
         SELECT id, {'a': id, 'b': g} AS s, [{'c': g}] AS l FROM src;
         CREATE DYNAMIC TABLE averages TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS
         SELECT {'b': g} AS s, avg(id) AS m FROM src GROUP BY s",
    )
    .unwrap();
    lake.verify().unwrap();
    for id in 3..6 {
        lake.run(&format!(
            "INSERT INTO lake.src VALUES ({id}, 'that''s {id}'); DELETE FROM lake.src WHERE id = {id} - 2"
        ))
        .unwrap();
        lake.refresh(&[]).unwrap();
        lake.verify().unwrap();
    }
    // What has no such column stays in the catalog.
    lake.run("CREATE DYNAMIC TABLE plain TARGET_LAG = '1 hour' AS SELECT id, g FROM src").unwrap();
    assert_eq!(
        lake.rows("SELECT count(*) FROM ducklake_list_files('lake', 'plain')").unwrap(),
        [[Some("0".to_owned())]]
    );
}

/// Tables that are refreshed together read a small source once, but not one that says where its rows are stored.
#[test]
fn where_a_row_is_stored_is_read_from_the_table_itself() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS v FROM range(30) t(i);
         CREATE DYNAMIC TABLE places TARGET_LAG = '1 hour' AS SELECT rowid AS place, v FROM src;
         CREATE DYNAMIC TABLE summed TARGET_LAG = '1 hour' AS SELECT sum(v) AS v, count(*) AS n FROM src;
         CREATE DYNAMIC TABLE listed TARGET_LAG = '1 hour' AS SELECT v FROM src;
         DELETE FROM lake.src WHERE v < 10",
    )
    .unwrap();
    lake.refresh(&[]).unwrap();
    assert_eq!(lake.rows("FROM lake.places").unwrap(), lake.rows("SELECT rowid, v FROM lake.src").unwrap());
    lake.verify().unwrap();
}

#[test]
fn texts_in_structs_keep_their_quotes_where_the_lake_wants_its_rows_in_the_catalog() {
    let lake = ThrowAway::new().unwrap();
    let table =
        "CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT {'b': g} AS s FROM src";
    lake.run("CREATE TABLE lake.src (g VARCHAR); INSERT INTO lake.src VALUES ('it''s')").unwrap();
    lake.run("CALL lake.set_option('data_inlining_row_limit', 1000)").unwrap();
    let refused = lake.run(table).unwrap_err();
    assert_eq!(refused.code(), error::Code::Configuration, "{refused}");
    assert!(
        refused.hint().unwrap().contains("set_option('data_inlining_row_limit', 0, schema => 'main')"),
        "{refused:?}"
    );
    lake.run("CALL lake.set_option('data_inlining_row_limit', 0, schema => 'main')").unwrap();
    lake.run(table).unwrap();
    lake.verify().unwrap();
    lake.run("CALL lake.set_option('data_inlining_row_limit', 500, schema => 'main')").unwrap();
    for name in ["that''s", "\"x\""] {
        lake.run(&format!("INSERT INTO lake.src VALUES ('{name}')")).unwrap();
        lake.refresh(&[]).unwrap();
        lake.verify().unwrap();
    }
}

/// The lake's files keep HUGEINT as DOUBLE, so that the stored key of a group is another one than that in the change.
#[test]
fn groups_with_keys_that_files_do_not_keep_exactly() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.t AS SELECT i AS g, i % 2 AS h, 9007199254740993 + i * 2 AS v FROM range(60) r(i);
         CREATE DYNAMIC TABLE grouped REFRESH_MODE = INCREMENTAL TARGET_LAG = '1 hour' AS
           SELECT v::HUGEINT AS hv, avg(g) AS a FROM t GROUP BY v::HUGEINT;
         CREATE DYNAMIC TABLE counted REFRESH_MODE = INCREMENTAL TARGET_LAG = '1 hour' AS
           SELECT v::HUGEINT AS hv, count(*) AS n FROM t GROUP BY v::HUGEINT;
         CREATE DYNAMIC TABLE sums REFRESH_MODE = INCREMENTAL TARGET_LAG = '1 hour' AS
           SELECT DISTINCT s FROM (SELECT g, sum(v) AS s FROM t GROUP BY g);
         CREATE DYNAMIC TABLE first REFRESH_MODE = INCREMENTAL TARGET_LAG = '1 hour' AS
           SELECT h, v::HUGEINT AS hv, g FROM t QUALIFY row_number() OVER (PARTITION BY h ORDER BY g) <= 2;
         CREATE DYNAMIC TABLE ranked REFRESH_MODE = INCREMENTAL TARGET_LAG = '1 hour' AS
           SELECT v::HUGEINT AS hv, g, rank() OVER (PARTITION BY v::HUGEINT ORDER BY g) AS r FROM t",
    )
    .unwrap();
    let counts = || {
        let count =
            |name: &str| lake.rows(&format!("SELECT count(*) FROM lake.{name}")).unwrap()[0][0].clone().unwrap();
        ["grouped", "counted", "sums", "first", "ranked"].map(count)
    };
    lake.run("DELETE FROM lake.t WHERE g < 10").unwrap();
    lake.refresh(&[]).unwrap();
    assert_eq!(counts(), ["50", "50", "50", "4", "50"]);
    assert_eq!(lake.rows("SELECT min(g) FROM lake.first").unwrap()[0][0].as_deref(), Some("10"));
    // Another row of groups that there are.
    lake.run("INSERT INTO lake.t SELECT g + 100, h, v FROM lake.t WHERE g BETWEEN 20 AND 40").unwrap();
    lake.refresh(&[]).unwrap();
    assert_eq!(counts(), ["50", "50", "50", "4", "71"]);
    assert_eq!(lake.rows("SELECT sum(n) FROM lake.counted").unwrap()[0][0].as_deref(), Some("71"));
}
