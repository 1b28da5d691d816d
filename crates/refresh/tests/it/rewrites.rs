//! What `explain` offers to write a query as is incremental, and gives what it says.

use refresh::Rewrite;
use sql::names::ObjectName;
use testkit::lake::ThrowAway;

fn lake() -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, nullif(i % 7, 3) AS k, 'g' || (i % 4) AS g, (i * 7 % 50)::INTEGER AS x,
           (i % 13) / 8.0::DOUBLE AS f FROM range(300) t(i);
         CREATE TABLE lake.dim AS SELECT nullif(i, 2) AS k, i * 5 AS weight, 'n' || i AS name FROM range(5) t(i);",
    )
    .unwrap();
    lake
}

fn offered(lake: &ThrowAway, query: &str) -> Vec<Rewrite> {
    lake.run(&format!("CREATE OR REPLACE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS {query}")).unwrap();
    lake.tables.explain(&ObjectName::parse("t").unwrap()).unwrap().rewrites
}

/// Every offer must be incremental; one that keeps the result must keep it while the sources change.
fn hold(lake: &ThrowAway, query: &str, rewrite: &Rewrite, change: &str) {
    let sql = &rewrite.sql;
    lake.run(&format!("CREATE OR REPLACE DYNAMIC TABLE u TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {sql}"))
        .unwrap_or_else(|error| panic!("{query}\n{sql}\n{error}"));
    lake.run(change).unwrap();
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    if rewrite.effect.is_none() {
        assert_eq!(lake.rows("FROM lake.t").unwrap(), lake.rows("FROM lake.u").unwrap(), "{query}\n{sql}");
        assert_eq!(
            lake.others.describe("FROM lake.t").unwrap(),
            lake.others.describe("FROM lake.u").unwrap(),
            "{sql}"
        );
    }
}

#[test]
fn offers_that_keep_the_result() {
    let lake = lake();
    for query in [
        "SELECT id, g FROM src WHERE k IN (SELECT k FROM dim WHERE weight > 4) AND x > 3",
        "SELECT id FROM src WHERE EXISTS (SELECT 1 FROM dim d WHERE d.k = src.k AND d.weight > src.x)",
        "SELECT id FROM src AS s WHERE NOT EXISTS (SELECT 1 FROM dim WHERE dim.k = s.k) AND g = 'g1'",
        "SELECT s.g, count(*) AS n FROM src s JOIN dim USING (k) WHERE s.x IN (SELECT weight FROM dim) GROUP BY s.g",
        "SELECT g, sum(x) AS s, rank() OVER (PARTITION BY g ORDER BY sum(x) DESC, k) AS r, k FROM src GROUP BY g, k",
        "SELECT src.g, k, count(*) AS n FROM src GROUP BY src.g, k QUALIFY row_number() OVER (PARTITION BY g ORDER BY count(*) DESC, k) = 1",
        "SELECT upper(g) AS u, k, sum(sum(x)) OVER (PARTITION BY upper(g)) AS total FROM src GROUP BY 1, 2 HAVING count(*) > 3",
        "SELECT DISTINCT g, sum(f) AS s FROM src GROUP BY g",
        "SELECT g, k, sum(x) AS s, row_number() OVER (PARTITION BY g ORDER BY k) AS r FROM src WHERE k IN (SELECT k FROM dim) GROUP BY g, k",
    ] {
        let rewrites = offered(&lake, query);
        assert_eq!(rewrites.len(), 1, "{query}: {rewrites:?}");
        assert_eq!(rewrites[0].effect, None);
        let change = "INSERT INTO lake.src SELECT max(id) + 1, 1, 'g1', 5, 1.5 FROM lake.src;
             INSERT INTO lake.src VALUES (0, NULL, 'g9', NULL, NULL); UPDATE lake.dim SET k = (k + 1) % 6;
             DELETE FROM lake.src WHERE id = (SELECT max(id) - 7 FROM lake.src)";
        hold(&lake, query, &rewrites[0], change);
    }
}

#[test]
fn offers_that_say_what_becomes_of_the_result() {
    for (query, columns) in [
        ("SELECT sum(f) AS s FROM src GROUP BY g", "s DOUBLE, g VARCHAR"),
        (
            "SELECT s, count(*) AS n FROM (SELECT g, sum(f) AS s FROM src GROUP BY g) GROUP BY s",
            "s DECIMAL(38,4), n BIGINT",
        ),
    ] {
        let lake = lake();
        let rewrites = offered(&lake, query);
        let rewrite = rewrites.iter().find(|rewrite| rewrite.effect.is_some()).unwrap();
        hold(&lake, query, rewrite, "UPDATE lake.src SET f = f + 0.25 WHERE id % 2 = 0");
        let described = lake.others.describe("FROM lake.u").unwrap();
        let described: Vec<String> = described.into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        assert_eq!(described.join(", "), columns, "{query}");
    }
}

#[test]
fn nothing_is_offered_where_nothing_small_helps() {
    let lake = lake();
    for query in [
        "SELECT id, x FROM src",
        "SELECT id, random() AS r FROM src",
        "SELECT id FROM src ORDER BY id LIMIT 5",
        "SELECT id FROM src WHERE k NOT IN (SELECT k FROM dim WHERE k IS NOT NULL)",
        "SELECT id FROM src WHERE EXISTS (SELECT max(weight) FROM dim WHERE dim.k = src.k)",
        "SELECT id FROM src WHERE x > now()::DATE - DATE '2020-01-01'",
        "SELECT DISTINCT sum(f) AS s FROM src GROUP BY g ORDER BY ALL LIMIT 2",
    ] {
        assert_eq!(offered(&lake, query), [], "{query}");
    }
}
