//! An edited definition keeps what it can: the same query is no work, other columns alter the table in place, and of the
//! rows only the difference is written. What reads the table goes on.

use error::Code;
use refresh::{CreateAction, Created};
use registry::{HistoryFilter, RefreshAction};
use sql::names::TableName;
use sql::statement::{Statement, parse_statements};
use testkit::lake::ThrowAway;

const QUERY: &str = "SELECT k, count(*) AS n FROM src WHERE id >= 0 GROUP BY k";

fn lake() -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(&format!(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 50 AS k, i::INTEGER AS v FROM range(2000) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {QUERY};
         CREATE DYNAMIC TABLE reader TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT k FROM t WHERE n > 3;
         CREATE DYNAMIC TABLE star TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT * FROM t"
    ))
    .unwrap();
    lake
}

fn create(lake: &ThrowAway, text: &str) -> error::Result<Created> {
    let statement = parse_statements(text).unwrap().swap_remove(0);
    let Statement::Create(create) = statement.value else { panic!("{text}") };
    lake.tables.create(&create, text)
}

/// Both ways to edit a definition.
fn edited(query: &str) -> [String; 2] {
    ["REPLACE", "ALTER"].map(|way| {
        format!("CREATE OR {way} DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS {query}")
    })
}

fn id_of(lake: &ThrowAway, table: &str) -> i64 {
    lake.others.table(&TableName::new("main", table), None).unwrap().unwrap().id
}

/// What the next refresh of everything does to a table.
fn next(lake: &ThrowAway, table: &str) -> Option<RefreshAction> {
    let reports = lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    reports.into_iter().find(|report| report.name.name == table).unwrap().action
}

#[test]
fn the_same_query_is_no_work() {
    let lake = lake();
    let history = || lake.tables.registry().history(&HistoryFilter::default(), 100).unwrap().len();
    let before = (lake.others.current_snapshot().unwrap().id, history());
    let other_words = "select  k, COUNT(*) n /* how many */\nfrom src\nwhere id>=0 -- all\ngroup by k";
    for text in edited(QUERY).iter().chain(&edited(other_words)) {
        let created = create(&lake, text).unwrap();
        assert_eq!(created.action, CreateAction::Unchanged, "{text}");
        assert!(created.refresh.is_none());
    }
    let altered = create(&lake, &edited(QUERY)[0].replace("1 hour", "2 hours")).unwrap();
    assert_eq!(altered.action, CreateAction::Altered);
    assert_eq!((lake.others.current_snapshot().unwrap().id, history()), before);
    assert_eq!(next(&lake, "t"), Some(RefreshAction::NoData));
    lake.run("INSERT INTO lake.src VALUES (3000, 3, 3)").unwrap();
    assert_eq!(next(&lake, "t"), Some(RefreshAction::Incremental));
}

#[test]
fn an_unfilled_table_is_filled() {
    let lake = lake();
    let text = "CREATE DYNAMIC TABLE late TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS SELECT id FROM src";
    create(&lake, text).unwrap();
    let again = text.replace("CREATE ", "CREATE OR REPLACE ");
    assert!(create(&lake, &again).unwrap().refresh.is_none());
    create(&lake, &again.replace("INITIALIZE = ON_SCHEDULE", "")).unwrap();
    assert_eq!(lake.rows("SELECT count(*) FROM lake.late").unwrap(), [[Some("2000".to_owned())]]);
}

#[test]
fn added_columns_are_backfilled() {
    for way in 0..2 {
        let lake = lake();
        let (before, version) = (id_of(&lake, "t"), lake.others.current_snapshot().unwrap().id);
        let text = &edited("SELECT k, count(*) AS n, max(v) AS top FROM src WHERE id >= 0 GROUP BY k")[way];
        let created = create(&lake, text).unwrap();
        assert_eq!(created.action, CreateAction::Replaced);
        assert_eq!(id_of(&lake, "t"), before, "it is altered, not replaced");
        let expected = lake.rows("SELECT k, count(*), max(v) FROM lake.src GROUP BY k").unwrap();
        assert_eq!(lake.rows("FROM lake.t").unwrap(), expected);
        let then = lake.others.describe(&format!("FROM lake.t AT (VERSION => {version})")).unwrap();
        assert_eq!(then.len(), 2, "its history can still be seen");
        let reports = lake.refresh(&[]).unwrap();
        let of = |name: &str| reports.iter().find(|report| report.name.name == name).unwrap();
        assert_eq!(of("reader").action, Some(RefreshAction::Incremental), "it does not read the new column");
        assert_eq!((of("reader").rows_inserted, of("reader").rows_deleted), (0, 0));
        assert_eq!(of("star").action, Some(RefreshAction::Reinitialize), "it does");
        lake.verify().unwrap();
        assert_eq!(lake.rows("FROM lake.star").unwrap(), expected);
        lake.run("INSERT INTO lake.src VALUES (3000, 3, 3)").unwrap();
        assert_eq!(next(&lake, "t"), Some(RefreshAction::Incremental));
    }
}

#[test]
fn a_changed_query_writes_the_difference() {
    for way in 0..2 {
        let lake = lake();
        let before = id_of(&lake, "t");
        let text = &edited("SELECT k, count(*) AS n FROM src WHERE id >= 10 GROUP BY k")[way];
        let report = create(&lake, text).unwrap().refresh.unwrap();
        assert_eq!((report.rows_inserted, report.rows_deleted), (10, 10), "{report:?}");
        assert_eq!(id_of(&lake, "t"), before);
        assert_eq!(next(&lake, "reader"), Some(RefreshAction::Incremental));
    }
}

#[test]
fn an_equivalent_query_writes_nothing() {
    let lake = lake();
    let report = create(&lake, &edited("SELECT k, count(id) AS n FROM src GROUP BY k")[0]).unwrap().refresh.unwrap();
    assert_eq!((report.rows_inserted, report.rows_deleted), (0, 0), "{report:?}");
    assert_eq!(next(&lake, "reader"), Some(RefreshAction::NoData));
}

#[test]
fn a_column_that_readers_miss() {
    let lake = lake();
    create(&lake, &edited("SELECT k FROM src WHERE id >= 0 GROUP BY k")[0]).unwrap();
    let error = lake.refresh(&["reader"]).unwrap_err();
    assert_eq!(error.code(), Code::Schema);
    assert!(error.message().contains("\"n\""), "{error}");
    create(&lake, &edited(QUERY)[0]).unwrap();
    assert_eq!(next(&lake, "reader"), Some(RefreshAction::Reinitialize), "it is not the column that it was");
}

#[test]
fn an_edit_that_fails_changes_nothing() {
    let lake = lake();
    let (before, rows) = (lake.tables.registry().load_all().unwrap(), lake.rows("FROM lake.t").unwrap());
    let error = create(&lake, &edited("SELECT k, count(*) AS n, error('no')::INTEGER AS x FROM src GROUP BY k")[0]);
    assert!(error.is_err());
    assert_eq!(lake.rows("FROM lake.t").unwrap(), rows);
    let after = lake.tables.registry().load_all().unwrap();
    assert_eq!(before[0].definition.query, after[0].definition.query);
    next(&lake, "t");
}

#[test]
fn duplicate_rows_keep_their_number() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i % 3 AS a, i % 6 AS b FROM range(1200) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT a FROM src",
    )
    .unwrap();
    create(&lake, &edited("SELECT a, nullif(b, 5) AS b FROM src WHERE b > 0 OR a > 0")[1]).unwrap();
    lake.verify().unwrap();
    create(&lake, &edited("SELECT a, CASE WHEN b = 3 THEN 3 END AS b FROM src")[1]).unwrap();
    lake.verify().unwrap();
    create(&lake, &edited("SELECT a FROM src")[1]).unwrap();
    assert_eq!(next(&lake, "t"), Some(RefreshAction::NoData));
}
