//! What a dry run says is what a refresh then does, down the whole chain, and a dry run changes nothing.

use refresh::{DryRun, RefreshRequest};
use registry::{DynamicTable, HistoryFilter, RefreshAction, RefreshTrigger};
use sql::names::ObjectName;
use testkit::lake::ThrowAway;

/// A chain of three and a diamond over it, and a table beside it that reads the end of the chain.
const TABLES: &str = "
    CREATE TABLE lake.src AS SELECT i AS id, i % 50 AS k, i * 10 AS price FROM range(4000) t(i);
    CREATE TABLE lake.names AS SELECT i AS k, 'name ' || i AS name FROM range(1500) t(i);
    CREATE DYNAMIC TABLE kept TARGET_LAG = '1 hour' REFRESH_MODE = {mode} AS SELECT id, k, price FROM src WHERE id >= 10;
    CREATE DYNAMIC TABLE counted TARGET_LAG = '1 hour' REFRESH_MODE = {mode} CARDINALITY_THRESHOLD = 1 AS
      SELECT k, count(*) AS n, count(price) AS c, sum(price) AS total FROM kept GROUP BY k;
    CREATE DYNAMIC TABLE highest TARGET_LAG = '1 hour' REFRESH_MODE = {mode} CARDINALITY_THRESHOLD = 1 AS
      SELECT k, max(price) AS top FROM kept GROUP BY k;
    CREATE DYNAMIC TABLE joined TARGET_LAG = '1 hour' CARDINALITY_THRESHOLD = 1 REFRESH_MODE = {last} AS
      SELECT counted.k, n, top, names.name FROM counted JOIN highest USING (k) LEFT JOIN names ON names.k = counted.k;
    CREATE DYNAMIC TABLE sizes TARGET_LAG = DOWNSTREAM AS SELECT n, count(*) AS groups FROM joined GROUP BY n;";

fn lake(mode: &str, last: &str) -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(&TABLES.replace("{mode}", mode).replace("{last}", last)).unwrap();
    lake
}

fn request(names: &[&str], full: bool) -> RefreshRequest {
    let names = names.iter().map(|name| ObjectName::parse(name).unwrap()).collect();
    RefreshRequest { names, full, trigger: RefreshTrigger::Manual, worker: None }
}

/// Everything that a dry run could change.
fn everything(lake: &ThrowAway) -> (i64, Vec<DynamicTable>, usize) {
    let registry = lake.tables.registry();
    let history = registry.history(&HistoryFilter::default(), 1_000).unwrap();
    (lake.others.current_snapshot().unwrap().id, registry.load_all().unwrap(), history.len())
}

fn dry_run(lake: &ThrowAway, request: &RefreshRequest) -> Vec<DryRun> {
    let before = everything(lake);
    let runs = lake.tables.dry_run(request).unwrap();
    assert_eq!(everything(lake), before, "a dry run changes nothing");
    runs
}

/// A reason without its figures: how many rows a source has, the catalog knows only about.
fn roughly(reason: &str) -> String {
    reason.replace(|character: char| character.is_ascii_digit(), "")
}

/// What a table gained and lost since a snapshot, as a dry run shows it.
fn difference(lake: &ThrowAway, table: &str, since: i64) -> Vec<Vec<Option<String>>> {
    let old = format!("SELECT * FROM lake.{table} AT (VERSION => {since})");
    let new = format!("SELECT * FROM lake.{table}");
    lake.rows(&format!(
        "SELECT '+', * FROM ({new} EXCEPT ALL {old}) UNION ALL SELECT '-', * FROM ({old} EXCEPT ALL {new})"
    ))
    .unwrap()
}

/// Rehearses the refresh of `names`, then refreshes everything: both must have done the same.
fn rehearsed(lake: &ThrowAway, names: &[&str], full: bool) -> Vec<Option<RefreshAction>> {
    let since = lake.others.current_snapshot().unwrap().id;
    let runs = dry_run(lake, &request(names, full));
    let mut reports = lake.tables.refresh(&request(names, full)).unwrap();
    let rest = lake.tables.refresh(&request(&[], false)).unwrap();
    for report in rest {
        if !reports.iter().any(|known| known.name == report.name) {
            reports.push(report);
        }
    }
    for run in &runs {
        let report = reports.iter().find(|report| report.name == run.name).unwrap();
        assert_eq!(run.action, report.action, "{run:?}\n{report:?}");
        assert_eq!(roughly(&run.reason), roughly(&report.reason), "{run:?}");
        assert_eq!((run.rows_inserted, run.rows_deleted), (report.rows_inserted, report.rows_deleted), "{run:?}");
        let expected = difference(lake, &run.name.name, since);
        if run.rows_inserted + run.rows_deleted == u64::try_from(expected.len()).unwrap() && expected.len() <= 20 {
            let mut sample = run.sample.rows.clone();
            sample.sort();
            assert_eq!(sample, expected, "{}", run.name);
        }
    }
    lake.verify().unwrap();
    runs.into_iter().map(|run| run.action).collect()
}

const CHANGES: &str = "INSERT INTO lake.src VALUES (5000, 3, 7), (5001, 3, 1000000), (5002, NULL, NULL);
    UPDATE lake.src SET price = price + 1 WHERE id = 17; DELETE FROM lake.src WHERE id IN (3999, 20);
    DELETE FROM lake.names WHERE k = 3";

#[test]
fn an_incremental_chain() {
    use RefreshAction::{Full, Incremental};
    let lake = lake("INCREMENTAL", "INCREMENTAL");
    lake.run(CHANGES).unwrap();
    // The last one is small enough to be computed anew.
    assert_eq!(rehearsed(&lake, &["kept"], false)[..4], [Some(Incremental); 4]);
    lake.run("UPDATE lake.src SET k = 900 WHERE id = 40").unwrap();
    // From the middle: what it reads comes first, what reads it later, and so does what that reads besides.
    let runs = dry_run(&lake, &request(&["counted"], false));
    let mut names: Vec<&str> = runs.iter().map(|run| run.name.name.as_str()).collect();
    assert_eq!((names[0], names[4]), ("kept", "sizes"));
    names.sort_unstable();
    assert_eq!(names, ["counted", "highest", "joined", "kept", "sizes"]);
    assert_eq!(rehearsed(&lake, &[], false)[4], Some(Full));
}

#[test]
fn a_full_chain() {
    let lake = lake("FULL", "FULL");
    lake.run(CHANGES).unwrap();
    assert_eq!(rehearsed(&lake, &["kept"], false)[..4], [Some(RefreshAction::Full); 4]);
    lake.run("DELETE FROM lake.src").unwrap();
    rehearsed(&lake, &["kept"], false);
}

#[test]
fn a_mixed_chain() {
    for (mode, last) in [("FULL", "INCREMENTAL"), ("INCREMENTAL", "FULL"), ("AUTO", "AUTO")] {
        let lake = lake(mode, last);
        lake.run(CHANGES).unwrap();
        rehearsed(&lake, &["kept"], false);
        lake.run("UPDATE lake.src SET price = price * 2 WHERE k < 30; INSERT INTO lake.src VALUES (6000, 77, 1)")
            .unwrap();
        rehearsed(&lake, &["highest"], false);
    }
}

#[test]
fn a_full_refresh_that_is_asked_for() {
    let lake = lake("INCREMENTAL", "INCREMENTAL");
    lake.run(CHANGES).unwrap();
    let actions: Vec<_> =
        dry_run(&lake, &request(&["kept"], true)).into_iter().map(|run| run.action.unwrap()).collect();
    assert_eq!(actions[..2], [RefreshAction::Full, RefreshAction::Incremental]);
    rehearsed(&lake, &["kept"], true);
}

#[test]
fn readers_that_lag_behind() {
    let lake = lake("INCREMENTAL", "INCREMENTAL");
    lake.run(CHANGES).unwrap();
    // What reads it has not seen this yet, and will see some of it go again.
    lake.refresh(&["kept"]).unwrap();
    lake.run("DELETE FROM lake.src WHERE id IN (5000, 17); INSERT INTO lake.src VALUES (5003, 4, 4)").unwrap();
    rehearsed(&lake, &["kept"], false);
}

#[test]
fn nothing_new() {
    let lake = lake("INCREMENTAL", "INCREMENTAL");
    assert_eq!(rehearsed(&lake, &[], false), [Some(RefreshAction::NoData); 5]);
    lake.run("INSERT INTO lake.src VALUES (1, 1, 1)").unwrap();
    let actions = rehearsed(&lake, &["kept"], false);
    assert_eq!(actions[0], Some(RefreshAction::Incremental));
    assert_eq!(actions[1..], [Some(RefreshAction::NoData); 4]);
}

#[test]
fn a_source_that_was_replaced() {
    let lake = lake("INCREMENTAL", "INCREMENTAL");
    lake.run(
        "CREATE OR REPLACE TABLE lake.src AS SELECT i AS id, i % 60 AS k, i * 10 AS price FROM range(4000) t(i)",
    )
    .unwrap();
    let actions = rehearsed(&lake, &["kept"], false);
    assert_eq!(actions[0], Some(RefreshAction::Reinitialize));
    assert_eq!(actions[1], Some(RefreshAction::Incremental));
}

#[test]
fn tables_that_would_get_other_columns() {
    for change in [
        "ALTER TABLE lake.src ADD COLUMN extra INTEGER; UPDATE lake.src SET extra = 5 WHERE id < 7",
        "ALTER TABLE lake.src ADD COLUMN extra INTEGER; UPDATE lake.src SET extra = 5",
        "ALTER TABLE lake.src ALTER v SET DATA TYPE BIGINT; INSERT INTO lake.src VALUES (1, 2, 5000000000)",
        "CREATE OR REPLACE TABLE lake.src AS SELECT v, id, k FROM lake.src",
    ] {
        let lake = ThrowAway::new().unwrap();
        lake.run(
            "CREATE TABLE lake.src AS SELECT i AS id, i % 7 AS k, i::INTEGER AS v FROM range(2000) t(i);
             CREATE DYNAMIC TABLE a TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT * FROM src;
             CREATE DYNAMIC TABLE b TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT * FROM a WHERE id < 9;
             CREATE DYNAMIC TABLE c TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT k, count(*) AS n FROM a GROUP BY k;
             CREATE DYNAMIC TABLE d TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT b.*, n FROM b JOIN c USING (k)",
        )
        .unwrap();
        lake.run(change).unwrap();
        let runs = dry_run(&lake, &request(&["a"], false));
        let reports = lake.refresh(&[]).unwrap();
        for (run, report) in runs.iter().zip(&reports) {
            assert!(run.error.is_none(), "{change}: {run:?}");
            assert_eq!((&run.name, run.action), (&report.name, report.action), "{change}: {run:?}");
            assert_eq!(roughly(&run.reason), roughly(&report.reason), "{change}");
            let written = (report.rows_inserted, report.rows_deleted);
            assert_eq!((run.rows_inserted, run.rows_deleted), written, "{change}: {run:?}");
        }
        lake.verify().unwrap();
    }
}

#[test]
fn tables_without_content_yet() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id FROM range(2000) t(i);
         CREATE DYNAMIC TABLE a TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS SELECT id, id % 3 AS k FROM src",
    )
    .unwrap();
    let runs = dry_run(&lake, &request(&[], false));
    assert_eq!((runs[0].action, runs[0].rows_inserted), (Some(RefreshAction::Reinitialize), 2000));
    let reports = lake.refresh(&[]).unwrap();
    assert_eq!((runs[0].action, runs[0].rows_inserted), (reports[0].action, reports[0].rows_inserted));
}

#[test]
fn what_would_fail_is_said() {
    let lake = lake("INCREMENTAL", "INCREMENTAL");
    lake.run("ALTER TABLE lake.names RENAME COLUMN name TO title; INSERT INTO lake.src VALUES (5000, 3, 7)").unwrap();
    let runs = dry_run(&lake, &request(&["kept"], false));
    assert_eq!(runs[0].action, Some(RefreshAction::Incremental));
    let failed: Vec<(&str, error::Code)> =
        runs.iter().filter_map(|run| Some((run.name.name.as_str(), run.error.as_ref()?.code()))).collect();
    assert_eq!(failed, [("joined", error::Code::Schema), ("sizes", error::Code::Dependency)]);
}

#[test]
fn a_refresh_that_the_registry_has_not_heard_of() {
    let lake = lake("INCREMENTAL", "INCREMENTAL");
    let registry = lake.registry_url().strip_prefix("sqlite:").unwrap().to_owned();
    let before = format!("{registry}.before");
    for part in ["", "-wal", "-shm"] {
        let file = format!("{registry}{part}");
        if std::path::Path::new(&file).exists() {
            std::fs::copy(&file, format!("{before}{part}")).unwrap();
        }
    }
    lake.run("INSERT INTO lake.src VALUES (5000, 3, 7)").unwrap();
    lake.refresh(&["kept"]).unwrap();
    lake.run("INSERT INTO lake.src VALUES (5001, 3, 8)").unwrap();
    let restored = registry::Registry::open(&format!("sqlite:{before}")).unwrap();
    let another = refresh::DynamicTables::open(::lake::Lake::open(lake.options()).unwrap(), restored).unwrap();
    let known = another.registry().load_all().unwrap();
    let runs = another.dry_run(&request(&["kept"], false)).unwrap();
    assert_eq!(another.registry().load_all().unwrap(), known, "the registry is not brought up to the lake");
    assert_eq!((runs[0].rows_inserted, runs[0].rows_deleted), (1, 0), "{runs:?}");
    let reports = another.refresh(&request(&[], false)).unwrap();
    for (run, report) in runs.iter().zip(&reports) {
        assert_eq!((run.rows_inserted, run.rows_deleted), (report.rows_inserted, report.rows_deleted), "{run:?}");
    }
}
