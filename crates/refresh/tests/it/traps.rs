//! What must force a full refresh or an error, never a wrong table. Each test shows first that the naive way, applying
//! the raw change feed, gives a wrong table.

use error::Code;
use refresh::{RefreshReport, RefreshRequest};
use registry::{RefreshAction, RefreshState, RefreshTrigger};
use sql::names::ObjectName;
use testkit::lake::ThrowAway;

const TABLE: &str =
    "CREATE DYNAMIC TABLE copied TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS SELECT id, v FROM src";

fn lake() -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(&format!("CREATE TABLE lake.src AS SELECT i AS id, i * 2 AS v FROM range(50) t(i); {TABLE}")).unwrap();
    lake
}

/// The stored rows with the raw feed since their data version applied, as sorted text: what a trusting refresh would
/// make of the table. `None` when the feed cannot even be read.
fn naive(lake: &ThrowAway) -> Option<Vec<Vec<Option<String>>>> {
    let table = lake.tables.registry().load_all().unwrap().swap_remove(0);
    let from = table.progress.data_version.unwrap() + 1;
    let to = lake.others.current_snapshot().unwrap().id;
    lake.rows(&format!(
        "SELECT id, v FROM lake.copied UNION ALL SELECT id, v FROM ducklake_table_insertions('lake', 'main', 'src', {from}, {to}) \
         EXCEPT ALL SELECT id, v FROM ducklake_table_deletions('lake', 'main', 'src', {from}, {to})"
    ))
    .ok()
}

fn truth(lake: &ThrowAway) -> Vec<Vec<Option<String>>> {
    lake.rows("SELECT id, v FROM lake.src").unwrap()
}

fn refreshed(lake: &ThrowAway) -> RefreshReport {
    let report = lake.refresh(&["copied"]).unwrap().swap_remove(0);
    lake.verify().unwrap();
    assert_eq!(lake.rows("SELECT id, v FROM lake.copied").unwrap(), truth(lake));
    report
}

fn attempt(lake: &ThrowAway) -> RefreshReport {
    let request = RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None };
    lake.tables.refresh(&request).unwrap().swap_remove(0)
}

#[test]
fn a_source_that_was_replaced() {
    let lake = lake();
    lake.run("CREATE OR REPLACE TABLE lake.src AS SELECT i AS id, i AS v FROM range(20) t(i)").unwrap();
    assert_ne!(naive(&lake), Some(truth(&lake)), "the feed shows only the new table's rows");
    let report = refreshed(&lake);
    assert_eq!(report.action, Some(RefreshAction::Reinitialize));
    assert!(report.reason.contains("replaced"), "{}", report.reason);
}

#[test]
fn a_source_that_was_dropped_and_created_again() {
    let lake = lake();
    lake.run("DROP TABLE lake.src; CREATE TABLE lake.src (id BIGINT, v BIGINT); INSERT INTO lake.src VALUES (1, 1)")
        .unwrap();
    assert_ne!(naive(&lake), Some(truth(&lake)));
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::Reinitialize));
}

#[test]
fn a_source_that_is_gone() {
    let lake = lake();
    let before = lake.rows("FROM lake.copied").unwrap();
    lake.run("DROP TABLE lake.src").unwrap();
    let report = attempt(&lake);
    assert_eq!(report.state, RefreshState::Failed);
    let error = report.error.unwrap();
    assert!(error.message().contains("src"), "{error}");
    assert_eq!(lake.rows("FROM lake.copied").unwrap(), before, "the old content stays");
}

#[test]
fn a_snapshot_that_was_expired() {
    let lake = lake();
    lake.run("DELETE FROM lake.src WHERE id < 10; INSERT INTO lake.src VALUES (100, 1); INSERT INTO lake.src VALUES (101, 1)")
        .unwrap();
    lake.run("CALL ducklake_expire_snapshots('lake', older_than => now() + INTERVAL 1 DAY)").unwrap();
    assert_ne!(naive(&lake), Some(truth(&lake)), "the feed has lost a part of the window");
    let report = refreshed(&lake);
    assert_eq!(report.action, Some(RefreshAction::Reinitialize));
    assert!(report.reason.contains("expired"), "{}", report.reason);
}

#[test]
fn a_snapshot_that_was_expired_behind_the_back_of_others() {
    let lake = lake();
    lake.run("DELETE FROM lake.src WHERE id < 10; CREATE TABLE lake.other (x INTEGER)").unwrap();
    lake.run("CALL ducklake_expire_snapshots('lake', older_than => now() + INTERVAL 1 DAY)").unwrap();
    lake.run("INSERT INTO lake.other VALUES (1)").unwrap();
    assert_ne!(naive(&lake), Some(truth(&lake)), "what is left tells of no change to the source");
    let report = refreshed(&lake);
    assert_eq!(report.action, Some(RefreshAction::Reinitialize));
    assert!(report.reason.contains("expired"), "{}", report.reason);
}

/// What a lake looks like that was restored from a backup: the registry has seen snapshots that it does not have.
#[test]
fn a_lake_that_is_older_than_what_was_read_from_it() {
    let lake = lake();
    let registry = lake.tables.registry();
    let table = registry.load_all().unwrap().swap_remove(0);
    let ahead = registry::Advance {
        table: table.definition.id,
        refresh_id: table.progress.refresh_id,
        data_version: lake.others.current_snapshot().unwrap().id + 5,
        data_timestamp: table.progress.data_timestamp.unwrap(),
    };
    assert_eq!(registry.advance(&[ahead]).unwrap(), 1);
    lake.run("DELETE FROM lake.src WHERE id < 10").unwrap();
    let report = refreshed(&lake);
    assert_eq!(report.action, Some(RefreshAction::Reinitialize));
    assert!(report.reason.contains("older"), "{}", report.reason);
}

#[test]
fn a_column_that_changed_its_type() {
    let lake = ThrowAway::new().unwrap();
    lake.run(&format!("CREATE TABLE lake.src (id INTEGER, v INTEGER); INSERT INTO lake.src VALUES (1, 2); {TABLE}"))
        .unwrap();
    lake.run("ALTER TABLE lake.src ALTER v TYPE BIGINT; INSERT INTO lake.src VALUES (2, 5000000000)").unwrap();
    // The naive way cannot hold the new value in the old column.
    let stored = lake.others.describe("FROM lake.copied").unwrap();
    assert_eq!(stored[1].1, "INTEGER");
    let report = refreshed(&lake);
    assert_eq!(report.action, Some(RefreshAction::Reinitialize));
    assert_eq!(lake.others.describe("FROM lake.copied").unwrap()[1].1, "BIGINT");
}

#[test]
fn a_used_column_that_went_away() {
    let lake = lake();
    let before = lake.rows("FROM lake.copied").unwrap();
    lake.run("ALTER TABLE lake.src RENAME COLUMN v TO w").unwrap();
    let report = attempt(&lake);
    let error = report.error.unwrap();
    assert_eq!(error.code(), Code::Schema, "{error}");
    assert!(error.message().contains("\"v\""), "{error}");
    assert_eq!(lake.rows("FROM lake.copied").unwrap(), before);
}

#[test]
fn a_column_that_was_dropped_and_added_again() {
    let lake = lake();
    lake.run("ALTER TABLE lake.src DROP COLUMN v; ALTER TABLE lake.src ADD COLUMN v BIGINT DEFAULT 7").unwrap();
    assert_ne!(naive(&lake), Some(truth(&lake)), "the feed shows no change at all");
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::Reinitialize));
}

#[test]
fn a_definition_that_changed() {
    let lake = lake();
    lake.run("INSERT INTO lake.src VALUES (100, 1)").unwrap();
    lake.run("CREATE OR REPLACE DYNAMIC TABLE copied TARGET_LAG = '1 minute' AS SELECT id, v + 1 AS v FROM src")
        .unwrap();
    lake.verify().unwrap();
    let expected = lake.rows("SELECT id, v + 1 FROM lake.src").unwrap();
    assert_eq!(lake.rows("FROM lake.copied").unwrap(), expected);
}

#[test]
fn a_view_that_changed_below_the_definition() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.base AS SELECT i AS id, i AS v FROM range(5) t(i);
         CREATE VIEW lake.src AS SELECT * FROM lake.base WHERE v > 1;
         CREATE DYNAMIC TABLE copied TARGET_LAG = '1 minute' AS SELECT id, v FROM src",
    )
    .unwrap();
    lake.run("CREATE OR REPLACE VIEW lake.src AS SELECT * FROM lake.base WHERE v > 3").unwrap();
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::Reinitialize));
}

#[test]
fn somebody_else_wrote_to_the_table() {
    let lake = lake();
    lake.run("DELETE FROM lake.copied WHERE id = 3; INSERT INTO lake.copied VALUES (999, 999)").unwrap();
    assert_ne!(naive(&lake), Some(truth(&lake)), "the sources did not change, so nothing would be refreshed");
    assert!(lake.verify().is_err(), "verify sees it");
    let report = refreshed(&lake);
    assert!(report.reason.contains("somebody else wrote"), "{}", report.reason);
    assert_eq!((report.rows_inserted, report.rows_deleted), (1, 1), "only the difference is written");
}

#[test]
fn somebody_else_wrote_while_the_sources_changed_too() {
    let lake = lake();
    lake.run("INSERT INTO lake.copied VALUES (999, 999); INSERT INTO lake.src VALUES (60, 1)").unwrap();
    assert_ne!(naive(&lake), Some(truth(&lake)));
    assert!(refreshed(&lake).reason.contains("somebody else wrote"));
}

#[test]
fn somebody_else_dropped_the_table() {
    let lake = lake();
    lake.run("DROP TABLE lake.copied").unwrap();
    assert_eq!(naive(&lake), None);
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::Reinitialize));
    lake.run("INSERT INTO lake.src VALUES (77, 7)").unwrap();
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::Incremental));
}

#[test]
fn compaction_of_the_table_is_not_somebody_elses_write() {
    let lake = lake();
    lake.run("INSERT INTO lake.src VALUES (77, 7); DELETE FROM lake.src WHERE id = 4").unwrap();
    refreshed(&lake);
    lake.run(
        "CALL ducklake_flush_inlined_data('lake'); CALL ducklake_merge_adjacent_files('lake');
         CALL ducklake_rewrite_data_files('lake', delete_threshold => 0); INSERT INTO lake.src VALUES (78, 8)",
    )
    .unwrap();
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::Incremental));
}

#[test]
fn the_registry_was_set_back_after_the_lake_commit() {
    let lake = lake();
    // As if the process had died between the two commits: the registry is the one from before the refresh.
    let old = lake.directory().join("old.sqlite").display().to_string();
    for suffix in ["", "-wal"] {
        let file = lake.directory().join(format!("registry.sqlite{suffix}"));
        if file.exists() {
            std::fs::copy(file, format!("{old}{suffix}")).unwrap();
        }
    }
    lake.run("INSERT INTO lake.src VALUES (100, 1)").unwrap();
    refreshed(&lake);
    let registry = registry::Registry::open(&format!("sqlite:{old}")).unwrap();
    let from = registry.load_all().unwrap()[0].progress.data_version.unwrap() + 1;
    let tables = refresh::DynamicTables::open(lake::Lake::open(lake.options()).unwrap(), registry).unwrap();
    // The naive way would apply the insertion a second time.
    let to = lake.others.current_snapshot().unwrap().id;
    let twice = lake.rows(&format!(
        "SELECT id, v FROM lake.copied UNION ALL SELECT id, v FROM ducklake_table_insertions('lake', 'main', 'src', {from}, {to})"
    ));
    assert_ne!(twice.unwrap(), truth(&lake));
    let request = RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None };
    let report = tables.refresh(&request).unwrap().swap_remove(0);
    assert_eq!((report.rows_inserted, report.rows_deleted), (0, 0), "{report:?}");
    assert!(tables.verify(&[]).unwrap()[0].equal());
    let history = tables.registry().history(&registry::HistoryFilter::default(), 10).unwrap();
    assert!(history.iter().any(|row| row.reason.as_deref().is_some_and(|reason| reason.contains("recovered"))));
}

#[test]
fn the_watermark_was_lost() {
    let lake = lake();
    lake.run("INSERT INTO lake.src VALUES (100, 1); DELETE FROM lake.__dynamic_tables.watermarks").unwrap();
    let report = refreshed(&lake);
    assert_eq!(report.action, Some(RefreshAction::Reinitialize), "{}", report.reason);
}

#[test]
fn a_replacement_that_died_before_it_was_registered() {
    let lake = lake();
    let old = lake.tables.registry().load_all().unwrap().swap_remove(0);
    lake.run("CREATE OR REPLACE DYNAMIC TABLE copied TARGET_LAG = '1 minute' AS SELECT id, -v AS v FROM src")
        .unwrap();
    // What the registry says between the publication and the registration of a new definition.
    let new = lake.tables.registry().load_all().unwrap().swap_remove(0);
    let definition = registry::Definition {
        fingerprint: String::new(),
        revision: new.definition.revision,
        ..old.definition.clone()
    };
    let alteration = registry::Alteration { definition, sources: old.sources, progress: None };
    lake.tables.registry().alter(&[alteration]).unwrap();
    assert_ne!(lake.rows("SELECT id, v FROM lake.copied").unwrap(), truth(&lake), "the content is the new query's");
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::Reinitialize));
    assert_eq!(refreshed(&lake).action, Some(RefreshAction::NoData));
}

#[test]
fn the_bookkeeping_is_no_source() {
    let lake = lake();
    let error = lake
        .run("CREATE DYNAMIC TABLE marks TARGET_LAG = '1 minute' AS SELECT * FROM __dynamic_tables.watermarks")
        .unwrap_err();
    assert!(error.message().contains("bookkeeping") && error.span().is_some(), "{error:?}");
}

#[test]
fn a_sum_beyond_what_files_hold_exactly_is_not_added_to() {
    let lake = ThrowAway::new().unwrap();
    // Values that leave the catalog for a file, where a HUGEINT is a DOUBLE.
    lake.run(
        "CREATE TABLE lake.src AS SELECT i % 100 AS k, 9007199254740993 + i AS v FROM range(5000) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS
             SELECT k, count(*) AS n, count(v) AS c, sum(v) AS s FROM lake.src GROUP BY k",
    )
    .unwrap();
    lake.run("CALL ducklake_flush_inlined_data('lake')").unwrap();
    for _ in 0..40 {
        lake.run("INSERT INTO lake.src SELECT i, 1 FROM range(100) t(i)").unwrap();
        lake.refresh(&[]).unwrap();
    }
    lake.verify().unwrap();
    // Had 1 been added to a rounded sum forty times, nothing would have become of it.
    let off = "SELECT max(abs(s::DOUBLE - e::DOUBLE)) <= 64 FROM lake.t JOIN \
               (SELECT k, sum(v) AS e FROM lake.src GROUP BY k) USING (k)";
    assert_eq!(lake.rows(off).unwrap(), [[Some("true".to_owned())]]);
}

#[test]
fn an_unchanged_upstream_is_read_although_the_snapshot_that_published_it_was_expired() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.a AS SELECT i AS k, i * 2 AS x FROM range(2000) t(i);
         CREATE TABLE lake.b AS SELECT i AS k, i * 3 AS y FROM range(2000) t(i);
         CREATE DYNAMIC TABLE one TARGET_LAG = '1 hour' AS SELECT k, x FROM lake.a WHERE x > 10;
         CREATE DYNAMIC TABLE two TARGET_LAG = '1 hour' AS SELECT one.k, x, y FROM lake.one JOIN lake.b ON one.k = b.k",
    )
    .unwrap();
    lake.refresh(&[]).unwrap();
    for _ in 0..3 {
        lake.run("INSERT INTO lake.b VALUES (7, 1)").unwrap();
        lake.run("CALL ducklake_expire_snapshots('lake', older_than => now())").unwrap();
        lake.tables.explain(&ObjectName::parse("two").unwrap()).unwrap();
        lake.refresh(&[]).unwrap();
        lake.verify().unwrap();
    }
}
