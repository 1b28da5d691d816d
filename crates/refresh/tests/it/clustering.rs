//! Clustered tables: they stay sorted through whatever happens to them, equal their queries, and are read by few files.

use lake::Stored;
use refresh::DynamicTables;
use sql::names::{ObjectName, TableName};
use testkit::lake::ThrowAway;

/// Keys that grow with time, a source of many files, and a row group for every 2,048 rows.
const TABLES: &str = "CALL lake.set_option('parquet_row_group_size', '2048');
    CREATE TABLE lake.src AS SELECT i AS id, hash(i) % 12000 AS k, i % 5 AS kind, i AS v FROM range(30000) t(i);
    CREATE DYNAMIC TABLE sums TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL CLUSTER BY (k) AS
        SELECT kind, k, count(*) AS n, sum(v) AS v FROM src GROUP BY kind, k;
    CREATE DYNAMIC TABLE means TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL CLUSTER BY (K, kind) AS
        SELECT kind, k, avg(v) AS v FROM src GROUP BY kind, k;
    CREATE DYNAMIC TABLE plain TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS SELECT id, k, v + 1 AS w FROM src WHERE v % 3 > 0";

fn sorted_by(lake: &ThrowAway, name: &str) -> Vec<String> {
    lake.others.sorted_by(&[TableName::new("main", name)]).unwrap().remove(0)
}

/// What the state tables are sorted by.
fn states_sorted_by(lake: &ThrowAway) -> Vec<Vec<String>> {
    let names = lake.rows("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'state_%'").unwrap();
    let names = names.into_iter().flatten().flatten().map(|name| TableName::new("__dynamic_tables", name));
    let mut sorted_by = lake.others.sorted_by(&names.collect::<Vec<_>>()).unwrap();
    sorted_by.sort();
    sorted_by
}

fn statement(tables: &DynamicTables, name: &str) -> String {
    tables.describe(&ObjectName::parse(name).unwrap()).unwrap().statement
}

/// Of how many row groups the files of a table consist, and how many of them may hold a key from 100 to 199.
fn groups(lake: &ThrowAway, name: &str) -> (u64, u64) {
    let files = lake.rows(&format!("SELECT data_file FROM ducklake_list_files('lake', '{name}')")).unwrap();
    let files: Vec<String> = files.into_iter().map(|file| format!("'{}'", file[0].as_deref().unwrap())).collect();
    let sql = format!(
        "SELECT count(*), count(*) FILTER (stats_max_value::BIGINT >= 100 AND stats_min_value::BIGINT < 200) \
         FROM parquet_metadata([{}]) WHERE path_in_schema = 'k'",
        files.join(", ")
    );
    let row = lake.rows(&sql).unwrap().remove(0);
    let number = |index: usize| row[index].as_deref().unwrap().parse().unwrap();
    (number(0), number(1))
}

#[test]
fn a_clustered_table_stays_so_whatever_happens_to_it() {
    let lake = ThrowAway::new().unwrap();
    lake.run(TABLES).unwrap();
    assert!(statement(&lake.tables, "sums").contains("\n  CLUSTER BY (k)\n"));
    assert_eq!(
        (sorted_by(&lake, "sums"), sorted_by(&lake, "means")),
        (vec!["k".into()], vec!["k".into(), "kind".into()])
    );
    let (k, kind) = ("__dt_k1".to_owned(), "__dt_k0".to_owned());
    assert_eq!(states_sorted_by(&lake), [vec![k.clone()], vec![k, kind]], "states are sorted by the same keys");
    let (all, some) = groups(&lake, "sums");
    assert!(all >= 10 && some <= 1, "{some} of {all}");
    // Rows come and go, with keys that are NULL.
    lake.run(
        "DELETE FROM lake.src WHERE id % 50 = 0; UPDATE lake.src SET k = k + 1 WHERE id % 31 = 0;
         INSERT INTO lake.src SELECT 100000 + i, CASE WHEN i % 10 > 0 THEN i % 300 END, i % 6, i FROM range(400) t(i)",
    )
    .unwrap();
    let reports = lake.refresh(&[]).unwrap();
    assert!(reports.iter().all(|report| report.action == Some(registry::RefreshAction::Incremental)), "{reports:?}");
    lake.verify().unwrap();
    // Others than those that were sorted when they were made are sorted once their files are rewritten.
    lake.run("ALTER DYNAMIC TABLE plain CLUSTER BY (k)").unwrap();
    assert_eq!(sorted_by(&lake, "plain"), ["k"]);
    assert_eq!(
        lake.refresh(&["plain"]).unwrap()[0].action,
        Some(registry::RefreshAction::NoData),
        "no row has changed"
    );
    let plain = TableName::new("main", "plain");
    let stored =
        |lake: &ThrowAway| -> Stored { lake.others.stored(std::slice::from_ref(&plain)).unwrap()[0].unwrap() };
    assert!(stored(&lake).unsorted > 0);
    let (all, some) = groups(&lake, "plain");
    assert!(some > all / 2, "{some} of {all}");
    lake.others.compact(&plain, lake::Compaction { flush: true, rewrite: true }).unwrap();
    let (all, some) = groups(&lake, "plain");
    assert!(some <= 2 && stored(&lake).unsorted == 0, "{some} of {all}");
    // Another query keeps it, also where the table cannot stay the same table; a column that goes is no longer one.
    lake.run("CREATE OR REPLACE DYNAMIC TABLE sums TARGET_LAG = '1 minute' CLUSTER BY (k) AS SELECT k, count(*) AS n FROM src GROUP BY k")
        .unwrap();
    assert_eq!(sorted_by(&lake, "sums"), ["k"]);
    lake.run("CREATE OR ALTER DYNAMIC TABLE sums TARGET_LAG = '1 minute' CLUSTER BY (n) AS SELECT n, count(*) AS ks FROM (SELECT k, count(*) AS n FROM src GROUP BY k) GROUP BY n")
        .unwrap();
    assert_eq!(sorted_by(&lake, "sums"), ["n"]);
    lake.run("CREATE OR ALTER DYNAMIC TABLE plain TARGET_LAG = '1 minute' CLUSTER BY (w, id) AS SELECT id, k, v + 1 AS w FROM src WHERE v % 3 > 0")
        .unwrap();
    assert_eq!(sorted_by(&lake, "plain"), ["w", "id"], "the same query, another order");
    lake.run("ALTER DYNAMIC TABLE plain DROP CLUSTERING KEY").unwrap();
    assert!(sorted_by(&lake, "plain").is_empty() && !statement(&lake.tables, "plain").contains("CLUSTER"));
    lake.run("ALTER DYNAMIC TABLE means RENAME TO averages").unwrap();
    assert_eq!(sorted_by(&lake, "averages"), ["k", "kind"]);
    // Somebody drops the table: it is made as it was.
    lake.run("DROP TABLE lake.averages").unwrap();
    lake.refresh(&["averages"]).unwrap();
    assert_eq!(sorted_by(&lake, "averages"), ["k", "kind"]);
    lake.verify().unwrap();
}

#[test]
fn a_column_by_which_a_table_is_sorted_may_go() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS a, i % 3 AS b, i AS c FROM range(100) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' CLUSTER BY (a, b, c) AS SELECT * FROM src;
         ALTER TABLE lake.src DROP COLUMN b",
    )
    .unwrap();
    lake.refresh(&["t"]).unwrap();
    assert_eq!(sorted_by(&lake, "t"), ["a"]);
    lake.verify().unwrap();
}

#[test]
fn what_cannot_be_clustered_by_is_refused() {
    let lake = ThrowAway::new().unwrap();
    lake.run("CREATE TABLE lake.src AS SELECT 1 AS a, [1] AS list").unwrap();
    let create = |columns: &str| {
        let text = format!(
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' CLUSTER BY ({columns}) AS SELECT a, list FROM src"
        );
        lake.run(&text).unwrap_err()
    };
    assert_eq!(create("b").message(), "CLUSTER BY: the query gives no column b");
    assert!(create("list").message().contains("INTEGER[]"));
    lake.run("CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' AS SELECT a, list FROM src").unwrap();
    let altered = lake.run("ALTER DYNAMIC TABLE t CLUSTER BY (A, nothing)").unwrap_err();
    assert_eq!(altered.message(), "CLUSTER BY: the query gives no column nothing");
    assert!(sorted_by(&lake, "t").is_empty());
}
