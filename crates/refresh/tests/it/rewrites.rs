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
        "SELECT id, x FROM src QUALIFY row_number() OVER (ORDER BY x DESC NULLS LAST, id, g, f) <= 7",
        "SELECT id FROM src QUALIFY row_number() OVER (ORDER BY id, x, g, f) = 1",
        "SELECT g, count(*) AS n FROM src GROUP BY g HAVING count(*) > 2 AND max(x) < epoch(now())",
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
    let lake = lake();
    let query = "SELECT sum(f) AS s FROM src GROUP BY g";
    let rewrites = offered(&lake, query);
    let rewrite = rewrites.iter().find(|rewrite| rewrite.effect.is_some()).unwrap();
    hold(&lake, query, rewrite, "UPDATE lake.src SET f = f + 0.25 WHERE id % 2 = 0");
    let described = lake.others.describe("FROM lake.u").unwrap();
    let described: Vec<String> = described.into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(described.join(", "), "s DOUBLE, g VARCHAR", "{query}");
}

#[test]
fn nothing_is_offered_where_nothing_small_helps() {
    let lake = lake();
    for query in [
        "SELECT id, x FROM src",
        "SELECT id, random() AS r FROM src",
        "SELECT id, rank() OVER (ORDER BY x) AS r FROM src",
        "SELECT id FROM src QUALIFY row_number() OVER (ORDER BY x) > 7",
        "SELECT id, now() AS t FROM src",
    ] {
        assert_eq!(offered(&lake, query), [], "{query}");
    }
}
