//! Failures that pass, and outages.

use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

use registry::{Refresh, RefreshState, RefreshTrigger};
use testkit::lake::ThrowAway;
use worker::{Options, Shutdown, Worker};

use crate::worked::{hasty, history, value, wait_for, while_working, with_openings};

const DAILY: &str = "CREATE TABLE lake.orders AS SELECT i AS id, i % 10 AS day, i AS amount FROM range(5000) t(i);
     CREATE DYNAMIC TABLE daily TARGET_LAG = '1 second' AS
     SELECT day, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY day";

/// Many enough that they go to a file of their own.
const MORE: &str = "INSERT INTO lake.orders SELECT i, i % 10, i FROM range(5000, 9000) t(i)";

fn newest_file(lake: &ThrowAway) -> PathBuf {
    let files = lake.rows("SELECT data_file FROM ducklake_list_files('lake', 'orders')").unwrap();
    files
        .iter()
        .map(|row| PathBuf::from(row[0].clone().unwrap()))
        .max_by_key(|file| file.metadata().unwrap().modified().unwrap())
        .unwrap()
}

#[test]
fn a_failure_that_passes_is_retried_with_growing_pauses() {
    let lake = ThrowAway::new().unwrap();
    lake.run(DAILY).unwrap();
    let (_, summary) = while_working(&lake, hasty(), |_| {
        // The file that the next refresh has to read cannot be read for a while.
        let before = value(&lake, "SELECT count(*) FROM ducklake_list_files('lake', 'orders')");
        let data = lake.directory().join("data");
        let hidden = lake.directory().join("hidden");
        lake.others.execute("BEGIN").unwrap();
        lake.others.execute(MORE).unwrap();
        let file = newest_new_file(&data);
        std::fs::rename(&file, &hidden).unwrap();
        std::fs::create_dir(&file).unwrap();
        lake.others.execute("COMMIT").unwrap();
        assert_ne!(value(&lake, "SELECT count(*) FROM ducklake_list_files('lake', 'orders')"), before);
        assert_eq!(newest_file(&lake), file);
        let failed = || -> Vec<Refresh> {
            history(&lake).into_iter().filter(|refresh| refresh.state == RefreshState::Failed).collect()
        };
        wait_for("three failures", || failed().len() >= 3);
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(&hidden, &file).unwrap();
        wait_for("recovery", || value(&lake, "SELECT sum(orders) FROM lake.daily") == "9000");
        let begun: Vec<i64> = failed().iter().rev().map(|refresh| refresh.started_at.as_millisecond()).collect();
        let pauses: Vec<i64> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // Half a second to a second, then one to two, from the end of the second in which it failed.
        assert!((500..=2_900).contains(&pauses[0]), "{pauses:?}");
        assert!((1_000..=3_900).contains(&pauses[1]), "{pauses:?}");
    });
    assert!(summary.failed >= 3 && summary.refreshed > summary.failed, "{summary:?}");
    lake.verify().unwrap();
    let table = lake.tables.registry().load_all().unwrap().remove(0);
    assert_eq!((table.progress.consecutive_failures, table.progress.retry_at), (0, None));
    assert!(table.definition.state.is_running());
}

fn newest_new_file(folder: &std::path::Path) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.into_iter().max_by_key(|file| file.metadata().unwrap().modified().unwrap()).unwrap()
}

#[test]
fn an_outage_is_waited_out() {
    let lake = ThrowAway::new().unwrap();
    lake.run(DAILY).unwrap();
    let registry = testkit::postgres::Postgres::shared().unwrap();
    let url = registry.fresh_database().unwrap();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let lake_options = lake.options().clone();
    let shared = refresh::DynamicTables::open(
        lake::Lake::open(&lake_options).unwrap(),
        registry::Registry::open(&url).unwrap(),
    )
    .unwrap();
    let statement = sql::statement::parse_statements(
        "CREATE DYNAMIC TABLE total TARGET_LAG = '1 second' AS SELECT count(*) AS n FROM orders",
    )
    .unwrap()
    .remove(0);
    let sql::statement::Statement::Create(create) = statement.value else { panic!("a CREATE") };
    shared.create(&create, &statement.text).unwrap();
    drop(shared);
    // The first opening works; after the cut two more do not, beside those that the database itself refuses.
    let failures = AtomicU32::new(0);
    let (_, summary) = with_openings(lake_options, url, hasty(), &failures, |_| {
        lake.others.execute(MORE).unwrap();
        wait_for("the first refresh", || value(&lake, "SELECT n FROM lake.total") == "9000");
        failures.store(2, std::sync::atomic::Ordering::SeqCst);
        registry.psql("postgres", &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).unwrap();
        let cut =
            format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'");
        registry.psql("postgres", &cut).unwrap();
        lake.others.execute("DELETE FROM lake.orders WHERE id < 100").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(value(&lake, "SELECT n FROM lake.total"), "9000");
        registry.psql("postgres", &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).unwrap();
        wait_for("the refresh after the outage", || value(&lake, "SELECT n FROM lake.total") == "8900");
    });
    assert_eq!(summary.failed, 0, "{summary:?}");
}

#[test]
fn one_look_is_enough_where_one_is_asked_for() {
    let lake = ThrowAway::new().unwrap();
    lake.run(DAILY).unwrap();
    lake.others.execute(MORE).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let once = Options { once: true, name: Some("once".to_owned()), ..hasty() };
    let summary = Worker::new(once, |_| lake.another()).run(&Shutdown::new()).unwrap();
    assert_eq!((summary.refreshed, summary.failed), (1, 0));
    assert!(summary.check().is_ok());
    let newest = history(&lake).remove(0);
    assert_eq!(newest.worker.as_deref(), Some("once"));
    assert_eq!(newest.trigger, RefreshTrigger::Scheduled);
}
