//! State tables: folded aggregates whose own columns do not suffice. The state is never continued when it is not that of the
//! table, and goes with it.

use refresh::{RefreshReport, RefreshRequest};
use registry::{RefreshAction, RefreshState, RefreshTrigger};
use sql::names::{ObjectName, TableName};
use testkit::lake::ThrowAway;

const QUERY: &str = "SELECT k, avg(v) AS m, max(v) AS hi FROM lake.src GROUP BY k";

fn lake_with(query: &str) -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(&format!(
        "CREATE TABLE lake.src AS SELECT i AS id, CASE WHEN i % 9 < 8 THEN i % 9 END AS k, i AS v FROM range(5000) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS {query}"
    ))
    .unwrap();
    lake
}

fn lake() -> ThrowAway {
    lake_with(QUERY)
}

/// The state tables in the lake.
fn states(lake: &ThrowAway) -> Vec<TableName> {
    let tables = lake.others.tables().unwrap().into_iter().map(|table| table.name);
    tables.filter(|name| name.schema == "__dynamic_tables" && name.name.starts_with("state_")).collect()
}

fn state(lake: &ThrowAway) -> String {
    let [name] = <[TableName; 1]>::try_from(states(lake)).unwrap();
    name.quoted("lake")
}

fn refreshed(lake: &ThrowAway, query: &str) -> RefreshReport {
    let report = lake.refresh(&[]).unwrap().swap_remove(0);
    lake.verify().unwrap();
    assert_eq!(lake.rows("FROM lake.t").unwrap(), lake.rows(query).unwrap(), "{report:?}");
    report
}

fn folded(lake: &ThrowAway, query: &str) {
    let report = refreshed(lake, query);
    assert_eq!(report.action, Some(RefreshAction::Incremental), "{report:?}");
    assert!(report.reason.starts_with("folded the change into its groups (state table"), "{}", report.reason);
}

#[test]
fn a_change_is_folded() {
    let lake = lake();
    let explanation = lake.tables.explain(&ObjectName::parse("t").unwrap()).unwrap();
    assert_eq!(
        explanation.tree[0].rule.as_deref(),
        Some("fold the change into its groups; the state table holds count(*), count(v), sum(v), max(v)")
    );
    lake.run("INSERT INTO lake.src VALUES (5000, 3, 7), (5001, NULL, NULL), (5002, 77, 1); DELETE FROM lake.src WHERE id = 20")
        .unwrap();
    folded(&lake, QUERY);
    // A group that lost its last row goes, from the state as well.
    lake.run("DELETE FROM lake.src WHERE k = 77 OR k IS NULL").unwrap();
    folded(&lake, QUERY);
    let rows = lake.rows(&format!("SELECT count(*), count(__dt_mark) FROM {}", state(&lake))).unwrap();
    assert_eq!(rows, [[Some("9".to_owned()), Some("1".to_owned())]], "eight groups and the mark");
}

#[test]
fn a_lost_extreme_is_looked_for_in_its_group_only() {
    let lake = lake();
    lake.run("DELETE FROM lake.src WHERE v = 4999; INSERT INTO lake.src VALUES (6000, 1, 5)").unwrap();
    let report = refreshed(&lake, QUERY);
    assert!(report.reason.contains("1 group had lost an extreme"), "{}", report.reason);
    // What came is beyond what went: nothing has to be looked for.
    lake.run("UPDATE lake.src SET v = 9000 WHERE v = 4998").unwrap();
    let report = refreshed(&lake, QUERY);
    assert!(report.reason.starts_with("folded the change into its groups (state table):"), "{}", report.reason);
}

/// The result's own columns hold the extremes too.
#[test]
fn a_lost_extreme_without_a_state() {
    let query = "SELECT k, count(*) AS n, max(v) AS hi, min(v) AS lo FROM lake.src GROUP BY k";
    let lake = lake_with(query);
    assert_eq!(states(&lake), []);
    lake.run("DELETE FROM lake.src WHERE v IN (4999, 8); INSERT INTO lake.src VALUES (6000, 1, 5)").unwrap();
    let report = refreshed(&lake, query);
    assert!(report.reason.contains("2 groups had lost an extreme"), "{}", report.reason);
    lake.run("DELETE FROM lake.src WHERE v = 100; DELETE FROM lake.src WHERE k = 2").unwrap();
    let report = refreshed(&lake, query);
    assert!(report.reason.starts_with("folded the change into its groups:"), "{}", report.reason);
}

/// Without GROUP BY there is a row also when there are no rows, and its extremes are NULL then.
#[test]
fn the_one_group_is_emptied_and_filled_again() {
    for query in [
        "SELECT avg(v) AS m, min(v) AS lo, count(v) + 1 AS n FROM lake.src",
        "SELECT count(*) AS n, max(v) AS hi FROM lake.src",
    ] {
        let lake = ThrowAway::new().unwrap();
        lake.run(&format!(
            "CREATE TABLE lake.src AS SELECT i AS v FROM range(20) t(i);
             CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {query}"
        ))
        .unwrap();
        for change in
            ["DELETE FROM lake.src", "INSERT INTO lake.src VALUES (5), (NULL)", "DELETE FROM lake.src WHERE v = 5"]
        {
            lake.run(change).unwrap();
            let report = refreshed(&lake, query);
            assert!(report.reason.starts_with("folded the change into its groups"), "{}", report.reason);
        }
    }
}

#[test]
fn a_state_that_somebody_dropped() {
    let lake = lake();
    lake.run(&format!("DROP TABLE {}; INSERT INTO lake.src VALUES (5000, 3, 7)", state(&lake))).unwrap();
    let report = refreshed(&lake, QUERY);
    assert_eq!(report.reason, "its state table cannot be continued: there is none");
    lake.run("INSERT INTO lake.src VALUES (5001, 3, 7)").unwrap();
    folded(&lake, QUERY);
}

#[test]
fn a_state_that_somebody_edited() {
    let lake = lake();
    lake.run(&format!("UPDATE {} SET __dt_rows = __dt_rows + 1, __dt_s1 = 0 WHERE __dt_k0 = 3", state(&lake)))
        .unwrap();
    let verification = lake.tables.verify(&[]).unwrap().swap_remove(0);
    assert_eq!((verification.missing, verification.surplus, verification.wrong_state_rows), (0, 0, 2));
    assert!(!verification.equal());
    // Something else happens, so that the data version moves on: the edit must not be forgotten.
    lake.run("CREATE TABLE lake.other (i INTEGER)").unwrap();
    let report = refreshed(&lake, QUERY);
    assert_eq!(report.reason, "its state table cannot be continued: somebody else changed it");
    assert_eq!((report.rows_inserted, report.rows_deleted), (0, 0));
    lake.run("INSERT INTO lake.src VALUES (5001, 3, 7)").unwrap();
    folded(&lake, QUERY);
}

/// What happened between the publication and the data version that it moved on to has been looked at.
#[test]
fn a_state_is_continued_after_the_snapshots_up_to_its_data_version_were_expired() {
    let lake = lake();
    lake.run("CREATE TABLE lake.other (i INTEGER)").unwrap();
    assert_eq!(lake.refresh(&[]).unwrap()[0].action, Some(RefreshAction::NoData));
    lake.run("CALL ducklake_expire_snapshots('lake', older_than => now())").unwrap();
    lake.run("INSERT INTO lake.src VALUES (5000, 3, 7)").unwrap();
    folded(&lake, QUERY);
}

/// In full, because the sources had become small, and without a difference: nothing was published, and yet the state is not
/// what it was.
#[test]
fn a_state_that_was_left_behind_is_not_continued() {
    let query = "SELECT k, avg(v) AS m FROM lake.src GROUP BY k";
    let lake = ThrowAway::new().unwrap();
    lake.run(&format!(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 5 AS k, (i % 5)::BIGINT AS v FROM range(1500) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS {query}"
    ))
    .unwrap();
    let action = |lake: &ThrowAway| lake.refresh(&[]).unwrap()[0].action;
    lake.run("DELETE FROM lake.src WHERE id >= 900").unwrap();
    assert_eq!(action(&lake), Some(RefreshAction::Full));
    lake.verify().unwrap();
    lake.run("INSERT INTO lake.src SELECT i, i % 5, i % 5 FROM range(900, 1050) t(i)").unwrap();
    action(&lake);
    lake.verify().unwrap();
    lake.run("INSERT INTO lake.src SELECT i, 0, 100 FROM range(1050, 1150) t(i)").unwrap();
    action(&lake);
    lake.verify().unwrap();
    // Once it is made anew, it is continued.
    lake.run("INSERT INTO lake.src VALUES (2000, 0, 1000)").unwrap();
    folded(&lake, query);
}

#[test]
fn a_state_is_not_continued_over_a_time_without_one() {
    let query = "SELECT k, avg(v) AS m FROM lake.src GROUP BY k";
    let lake = ThrowAway::new().unwrap();
    lake.run(&format!(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 5 AS k, (i % 5)::BIGINT AS v FROM range(1500) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {query};
         ALTER DYNAMIC TABLE t SET REFRESH_MODE = FULL;
         INSERT INTO lake.src VALUES (2000, 3, 3)"
    ))
    .unwrap();
    assert_eq!(lake.refresh(&[]).unwrap()[0].action, Some(RefreshAction::Full));
    lake.run("ALTER DYNAMIC TABLE t SET REFRESH_MODE = INCREMENTAL; INSERT INTO lake.src VALUES (2001, 3, 1000)")
        .unwrap();
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
}

#[test]
fn a_state_that_somebody_replaced_or_altered() {
    for edit in ["CREATE OR REPLACE TABLE {} AS SELECT 1 AS x", "ALTER TABLE {} DROP COLUMN __dt_mark"] {
        let lake = lake();
        lake.run(&edit.replace("{}", &state(&lake))).unwrap();
        lake.run("INSERT INTO lake.src VALUES (5000, 3, 7)").unwrap();
        let report = refreshed(&lake, QUERY);
        assert_eq!(report.reason, "its state table cannot be continued: somebody else changed it", "{edit}");
        lake.run("INSERT INTO lake.src VALUES (5001, 3, 7)").unwrap();
        folded(&lake, QUERY);
    }
}

#[test]
fn compaction_of_a_state_is_no_edit() {
    let lake = lake();
    lake.run("INSERT INTO lake.src VALUES (5000, 3, 7); DELETE FROM lake.src WHERE id = 4").unwrap();
    folded(&lake, QUERY);
    lake.run(
        "CALL ducklake_flush_inlined_data('lake'); CALL ducklake_merge_adjacent_files('lake');
         CALL ducklake_rewrite_data_files('lake', delete_threshold => 0); INSERT INTO lake.src VALUES (5001, 3, 8)",
    )
    .unwrap();
    folded(&lake, QUERY);
}

#[test]
fn a_definition_that_changed() {
    let lake = lake();
    let other = "SELECT k, bool_and(v > 3) AS b FROM lake.src GROUP BY k HAVING sum(v) > 10";
    lake.run(&format!("CREATE OR REPLACE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS {other}")).unwrap();
    lake.run("INSERT INTO lake.src VALUES (5000, 3, 1)").unwrap();
    folded(&lake, other);
    let without = "SELECT id, v FROM lake.src WHERE v > 3";
    lake.run(&format!("CREATE OR REPLACE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS {without}")).unwrap();
    assert_eq!(states(&lake), [], "a query that needs no state has none");
    refreshed(&lake, without);
}

#[test]
fn a_dropped_table_takes_its_state_along() {
    let lake = lake();
    assert_eq!(states(&lake).len(), 1);
    lake.run("DROP DYNAMIC TABLE t").unwrap();
    assert_eq!(states(&lake), []);
}

#[test]
fn no_state_where_everything_is_computed_each_time() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.small AS SELECT i AS v FROM range(10) t(i);
         CREATE TABLE lake.big AS SELECT i AS v FROM range(5000) t(i);
         CREATE DYNAMIC TABLE of_small TARGET_LAG = '1 hour' AS SELECT avg(v) AS m FROM small;
         CREATE DYNAMIC TABLE in_full TARGET_LAG = '1 hour' REFRESH_MODE = FULL AS SELECT avg(v) AS m FROM big;
         CREATE DYNAMIC TABLE by_itself TARGET_LAG = '1 hour' AS SELECT count(*) AS n FROM big;",
    )
    .unwrap();
    assert_eq!(states(&lake), []);
    lake.run("INSERT INTO lake.small SELECT i FROM range(5000) t(i)").unwrap();
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    assert_eq!(states(&lake).len(), 1, "it has grown");
    lake.run("INSERT INTO lake.small VALUES (7)").unwrap();
    let reports = lake.refresh(&["of_small"]).unwrap();
    assert_eq!(reports[0].action, Some(RefreshAction::Incremental), "{reports:?}");
    lake.verify().unwrap();
}

#[test]
fn a_group_that_having_hides_is_not_forgotten() {
    let query = "SELECT k, sum(v) AS s FROM lake.src GROUP BY k HAVING count(*) > 600";
    let lake = lake_with(query);
    for _ in 0..3 {
        // At first nothing of it is to be seen in the table, but the state has to follow.
        lake.run("INSERT INTO lake.src SELECT 7000 + i, 3, i FROM range(20) t(i)").unwrap();
        folded(&lake, query);
    }
    assert_eq!(lake.rows("FROM lake.t").unwrap().len(), 1);
    lake.run("DELETE FROM lake.src WHERE k = 3 AND v % 2 = 0").unwrap();
    folded(&lake, query);
    assert_eq!(lake.rows("FROM lake.t").unwrap().len(), 0);
}

/// As text, so that not one digit may differ.
#[test]
fn averages_are_the_engines_to_the_last_digit() {
    let query = "SELECT k, avg(wide)::VARCHAR AS w, avg(price)::VARCHAR AS p, avg(v)::VARCHAR AS v, avg(tiny)::VARCHAR AS t, \
                 avg(rate)::VARCHAR AS r, round(avg(price), 2) AS rounded FROM lake.numbers GROUP BY k";
    let lake = ThrowAway::new().unwrap();
    let rows = |from: i64| {
        format!(
            "SELECT i % 700 AS k, (hash(i) >> 2)::BIGINT - 1000000000000000000 AS wide, \
             ((hash(i + 1) >> 16)::BIGINT % 10000000000000)::DECIMAL(18,3) / 7 AS price_, (hash(i) % 1000003)::INTEGER AS v, \
             (hash(i) % 211)::UTINYINT AS tiny, (hash(i + 2) % 999)::DECIMAL(4,1) / 10 AS rate_ FROM range({from}, {}) t(i)",
            from + 9_000
        )
    };
    let columns = "k, wide, price_::DECIMAL(18,4) AS price, v, tiny, rate_::DECIMAL(4,2) AS rate";
    lake.run(&format!("CREATE TABLE lake.numbers AS SELECT {columns} FROM ({})", rows(0))).unwrap();
    lake.run(&format!("CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {query}")).unwrap();
    refreshed(&lake, query);
    lake.run(&format!("INSERT INTO lake.numbers SELECT {columns} FROM ({})", rows(9_000))).unwrap();
    folded(&lake, query);
    lake.run("DELETE FROM lake.numbers WHERE v % 5 = 1").unwrap();
    folded(&lake, query);
}

#[test]
fn a_sum_that_overflows_fails_and_changes_nothing() {
    let lake = ThrowAway::new().unwrap();
    let query = "SELECT k, sum(v) + 0 AS s FROM lake.src GROUP BY k";
    lake.run(&format!(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 3 AS k, i::DECIMAL(38,0) AS v FROM range(2000) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS {query}"
    ))
    .unwrap();
    let before = lake.rows("FROM lake.t").unwrap();
    lake.run(&format!("INSERT INTO lake.src VALUES (3000, 0, {0}), (3001, 0, {0})", "9".repeat(38))).unwrap();
    let request = RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None };
    let report = lake.tables.refresh(&request).unwrap().swap_remove(0);
    assert_eq!(report.state, RefreshState::Failed);
    assert_eq!(lake.rows("FROM lake.t").unwrap(), before);
    lake.run("DELETE FROM lake.src WHERE id >= 3000; INSERT INTO lake.src VALUES (4000, 1, 5)").unwrap();
    folded(&lake, query);
}

/// The process died between the lake's commit and the registry's: the state belongs to what the lake says.
#[test]
fn a_refresh_that_the_registry_did_not_hear_of() {
    let lake = lake();
    let old = lake.directory().join("old.sqlite").display().to_string();
    for suffix in ["", "-wal"] {
        let file = lake.directory().join(format!("registry.sqlite{suffix}"));
        if file.exists() {
            std::fs::copy(file, format!("{old}{suffix}")).unwrap();
        }
    }
    lake.run("INSERT INTO lake.src VALUES (5000, 3, 7)").unwrap();
    folded(&lake, QUERY);
    let registry = registry::Registry::open(&format!("sqlite:{old}")).unwrap();
    let tables = refresh::DynamicTables::open(lake::Lake::open(lake.options()).unwrap(), registry).unwrap();
    tables.set_auto(testkit::lake::BY_RULE);
    lake.run("INSERT INTO lake.src VALUES (5001, 3, 7)").unwrap();
    let request = RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None };
    let report = tables.refresh(&request).unwrap().swap_remove(0);
    assert_eq!(report.action, Some(RefreshAction::Incremental), "{report:?}");
    assert!(tables.verify(&[]).unwrap()[0].equal());
}

#[test]
fn a_dry_run_leaves_the_state_alone() {
    let lake = lake();
    lake.run("INSERT INTO lake.src VALUES (5000, 3, 7)").unwrap();
    let before = lake.rows(&format!("FROM {}", state(&lake))).unwrap();
    let request = RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None };
    let run = lake.tables.dry_run(&request).unwrap().swap_remove(0);
    assert_eq!((run.rows_inserted, run.rows_deleted), (1, 1), "{run:?}");
    assert_eq!(lake.rows(&format!("FROM {}", state(&lake))).unwrap(), before);
    folded(&lake, QUERY);
}
