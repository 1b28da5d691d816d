//! The columns of a source change: what a query does not look at changes nothing, what it looks at is followed or missed by
//! name, and a table that follows stays the same table for whoever reads it.

use error::Code;
use refresh::{RefreshReport, RefreshRequest};
use registry::{RefreshAction, RefreshTrigger};
use sql::names::TableName;
use testkit::lake::{CatalogKind, ThrowAway};

/// A star, a table that reads the star's first columns by name, one that reads all of it, and one of named columns.
const TABLES: &str = "
    CREATE TABLE lake.src AS SELECT i AS id, (i % 50)::INTEGER AS k, i::INTEGER AS v FROM range(2000) t(i);
    CREATE DYNAMIC TABLE star TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT * FROM src;
    CREATE DYNAMIC TABLE counted TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS
      SELECT k, count(*) AS n FROM star GROUP BY k;
    CREATE DYNAMIC TABLE all_of_it TARGET_LAG = '1 hour' AS SELECT * FROM star WHERE id < 1500;
    CREATE DYNAMIC TABLE named TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT id, k FROM src;";

fn lakes() -> impl Iterator<Item = ThrowAway> {
    [CatalogKind::Sqlite, CatalogKind::DuckDb].into_iter().map(|kind| {
        let lake = ThrowAway::with(kind, "").unwrap();
        lake.run(TABLES).unwrap();
        lake
    })
}

fn id_of(lake: &ThrowAway, table: &str) -> i64 {
    lake.others.table(&TableName::new("main", table), None).unwrap().unwrap().id
}

fn columns(lake: &ThrowAway, table: &str) -> Vec<String> {
    let columns = lake.others.describe(&format!("FROM lake.{table}")).unwrap();
    columns.into_iter().map(|(name, data_type)| format!("{name} {data_type}")).collect()
}

/// Refreshes everything; every table must then be its query, and its name that of the same table of the lake.
fn refreshed(lake: &ThrowAway) -> impl Fn(&str) -> RefreshAction {
    let names = ["star", "counted", "all_of_it", "named"];
    let before = names.map(|name| id_of(lake, name));
    let reports = lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    assert_eq!(names.map(|name| id_of(lake, name)), before, "altered, not replaced");
    move |name| {
        let report: &RefreshReport = reports.iter().find(|report| report.name.name == name).unwrap();
        report.action.unwrap()
    }
}

fn failure(lake: &ThrowAway, table: &str) -> error::Error {
    let request = RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None };
    let reports = lake.tables.refresh(&request).unwrap();
    reports.into_iter().find(|report| report.name.name == table).unwrap().error.unwrap()
}

#[test]
fn an_added_column() {
    for lake in lakes() {
        let before = lake.others.current_snapshot().unwrap().id;
        lake.run("ALTER TABLE lake.src ADD COLUMN extra VARCHAR; UPDATE lake.src SET extra = 'x' WHERE id < 100")
            .unwrap();
        let action = refreshed(&lake);
        assert_eq!(action("star"), RefreshAction::Reinitialize);
        assert_eq!(action("all_of_it"), RefreshAction::Reinitialize, "the star of a star follows in the same pass");
        assert_eq!(action("counted"), RefreshAction::Incremental);
        assert_eq!(action("named"), RefreshAction::NoData);
        assert_eq!(columns(&lake, "star"), ["id BIGINT", "k INTEGER", "v INTEGER", "extra VARCHAR"]);
        assert_eq!(
            lake.rows("SELECT count(extra), count(*) FROM lake.star").unwrap(),
            lake.rows("SELECT 100, 2000").unwrap()
        );
        // As it was before can still be seen.
        let then = lake.others.describe(&format!("FROM lake.star AT (VERSION => {before})")).unwrap();
        assert_eq!(then.len(), 3);
        lake.run("INSERT INTO lake.src VALUES (5000, 7, 7, 'y'); UPDATE lake.src SET extra = 'z' WHERE id = 3")
            .unwrap();
        let action = refreshed(&lake);
        assert!(
            ["star", "counted", "all_of_it", "named"].iter().all(|name| action(name) == RefreshAction::Incremental)
        );
    }
}

#[test]
fn an_added_column_that_is_null_everywhere() {
    for lake in lakes() {
        lake.run("ALTER TABLE lake.src ADD COLUMN extra VARCHAR").unwrap();
        let reports = lake.refresh(&["star"]).unwrap();
        assert_eq!((reports[0].rows_inserted, reports[0].rows_deleted), (0, 0));
        let action = refreshed(&lake);
        assert_eq!(action("counted"), RefreshAction::NoData);
        assert_eq!(columns(&lake, "all_of_it").len(), 4);
    }
}

#[test]
fn a_widened_type() {
    for lake in lakes() {
        lake.run(
            "ALTER TABLE lake.src ALTER v SET DATA TYPE BIGINT; INSERT INTO lake.src VALUES (5000, 7, 5000000000)",
        )
        .unwrap();
        let action = refreshed(&lake);
        assert_eq!(action("star"), RefreshAction::Reinitialize);
        assert_eq!(action("counted"), RefreshAction::Incremental);
        assert_eq!(columns(&lake, "all_of_it"), ["id BIGINT", "k INTEGER", "v BIGINT"]);
        assert_eq!(lake.rows("SELECT max(v) FROM lake.star").unwrap(), [[Some("5000000000".to_owned())]]);
        assert_eq!(action("named"), RefreshAction::Incremental);
        let history = lake.tables.registry().history(&registry::HistoryFilter::default(), 10).unwrap();
        let star = history.iter().find(|row| row.name.name == "star").unwrap();
        assert_eq!((star.rows_inserted, star.rows_deleted), (Some(1), Some(0)), "what did not change is not written");
    }
}

#[test]
fn a_type_that_is_another_one() {
    let lake = lakes().next().unwrap();
    lake.run("CREATE OR REPLACE TABLE lake.src AS SELECT id, k, 'v' || v AS v FROM lake.src").unwrap();
    let before = id_of(&lake, "star");
    let reports = lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    assert!(reports.iter().any(|report| report.action == Some(RefreshAction::Reinitialize)), "{reports:?}");
    assert_ne!(id_of(&lake, "star"), before, "numbers cannot become words in place");
    assert_eq!(columns(&lake, "all_of_it"), ["id BIGINT", "k INTEGER", "v VARCHAR"]);
    lake.run("INSERT INTO lake.src VALUES (5000, 7, 'x')").unwrap();
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
}

#[test]
fn a_column_that_went_away() {
    for lake in lakes() {
        lake.run("ALTER TABLE lake.src DROP COLUMN v").unwrap();
        let action = refreshed(&lake);
        assert_eq!(action("named"), RefreshAction::NoData, "it does not look at it");
        assert_eq!(columns(&lake, "star"), ["id BIGINT", "k INTEGER"]);
        assert_eq!(columns(&lake, "all_of_it"), ["id BIGINT", "k INTEGER"]);
        lake.run("ALTER TABLE lake.src DROP COLUMN k").unwrap();
        for table in ["named", "counted"] {
            let error = failure(&lake, table);
            assert_eq!(error.code(), Code::Schema, "{error}");
            assert!(error.message().contains("\"k\""), "{table}: {error}");
        }
    }
}

#[test]
fn a_renamed_column() {
    for lake in lakes() {
        lake.run("ALTER TABLE lake.src RENAME COLUMN v TO w").unwrap();
        let action = refreshed(&lake);
        assert_eq!(action("named"), RefreshAction::NoData, "it does not look at it");
        assert_eq!(columns(&lake, "star"), ["id BIGINT", "k INTEGER", "w INTEGER"]);
        lake.run("ALTER TABLE lake.src RENAME COLUMN k TO kk").unwrap();
        let error = failure(&lake, "named");
        assert_eq!(error.code(), Code::Schema, "{error}");
        assert!(error.message().contains("\"k\""), "{error}");
    }
}

#[test]
fn a_source_that_was_replaced() {
    for lake in lakes() {
        lake.run("CREATE OR REPLACE TABLE lake.src AS SELECT i AS id, 3 AS k, 4 AS v FROM range(10) t(i)").unwrap();
        let action = refreshed(&lake);
        assert_eq!((action("star"), action("named")), (RefreshAction::Reinitialize, RefreshAction::Reinitialize));
        assert_eq!(action("counted"), RefreshAction::Incremental);
    }
}
