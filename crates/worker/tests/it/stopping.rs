//! Stopping, and what a process that died leaves.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use registry::{Refresh, RefreshState, RefreshTrigger};
use testkit::lake::ThrowAway;
use worker::Options;

use crate::worked::{hasty, history, value, wait_for, while_working};

/// Takes hours, and would be right at once where `many` is empty.
const LONG: &str = "CREATE TABLE lake.many (i BIGINT);
     CREATE DYNAMIC TABLE long TARGET_LAG = '1 second' REFRESH_MODE = FULL AS
     SELECT count(*) AS n, sum(hash(a.i, b.i, c.i)) AS h FROM many a, many b, many c";
const MANY: &str = "INSERT INTO lake.many SELECT i FROM range(200000) t(i)";

fn executing(lake: &ThrowAway) -> bool {
    history(lake).iter().any(|refresh| refresh.state == RefreshState::Executing)
}

#[test]
fn a_refresh_that_outlasts_the_grace_period_is_rolled_back() {
    let lake = ThrowAway::new().unwrap();
    lake.run(LONG).unwrap();
    let options = Options { grace_period: Duration::from_secs(1), ..hasty() };
    let (stopped_at, summary) = while_working(&lake, options, |shutdown| {
        lake.others.execute(MANY).unwrap();
        wait_for("the long refresh", || executing(&lake));
        std::thread::sleep(Duration::from_millis(500));
        shutdown.request();
        Instant::now()
    });
    let took = stopped_at.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(8)).contains(&took), "{took:?}");
    assert_eq!((summary.refreshed, summary.failed), (1, 1));
    let last = history(&lake).remove(0);
    assert_eq!(last.state, RefreshState::Cancelled, "{last:?}");
    // Nobody's fault: neither counted nor waited for.
    let table = lake.tables.registry().load_all().unwrap().remove(0);
    assert_eq!((table.progress.consecutive_failures, table.progress.retry_at), (0, None));
    assert_eq!(value(&lake, "SELECT n FROM lake.long"), "0");
}

#[test]
fn an_idle_worker_stops_at_once() {
    let lake = ThrowAway::new().unwrap();
    lake.run(LONG).unwrap();
    let (stopped_at, _) = while_working(&lake, Options::default(), |_| {
        std::thread::sleep(Duration::from_secs(2));
        Instant::now()
    });
    assert!(stopped_at.elapsed() < Duration::from_secs(2), "{:?}", stopped_at.elapsed());
}

#[test]
fn refreshes_that_died_with_their_process_are_ended() {
    let lake = ThrowAway::new().unwrap();
    lake.run(LONG).unwrap();
    let table = lake.tables.registry().load_all().unwrap().remove(0).definition;
    let place = refresh::place();
    let begun = |worker: Option<&str>, seconds_ago: i64| {
        let mut refresh =
            Refresh::begin(table.id, table.name.clone(), RefreshTrigger::Scheduled, worker.map(str::to_owned));
        refresh.started_at = Timestamp::from_second(Timestamp::now().as_second() - seconds_ago).unwrap();
        lake.tables.registry().begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
        refresh.id
    };
    let dead = [
        begun(Some(&format!("{place}:{}:0a0a0a0a", i32::MAX)), 5),
        begun(Some("blue"), 5),
        begun(Some("elsewhere:1:0a0a0a0a"), 4_000),
        begun(None, 4_000),
    ];
    let perhaps =
        [begun(Some(&format!("{place}:1:0a0a0a0a")), 5), begun(Some("elsewhere:1:0a0a0a0a"), 5), begun(None, 5)];
    let options = Options { name: Some("blue".to_owned()), ..hasty() };
    while_working(&lake, options, |_| {
        wait_for("the burial", || {
            history(&lake).iter().filter(|refresh| refresh.state == RefreshState::Failed).count() == dead.len()
        });
    });
    for refresh in history(&lake) {
        let executing = refresh.state == RefreshState::Executing;
        assert!(!dead.contains(&refresh.id) || !executing, "{refresh:?}");
        assert!(!perhaps.contains(&refresh.id) || executing, "{refresh:?}");
    }
}
