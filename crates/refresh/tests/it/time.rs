//! `now()` in WHERE is the data timestamp: rows come and go by the time alone, by a rule, and the result can be checked.

use std::thread::sleep;
use std::time::{Duration, Instant};

use refresh::{Poll, RefreshReport};
use registry::RefreshAction;
use testkit::lake::ThrowAway;

fn lake_with_events() -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.others
        .execute("CREATE TABLE lake.events (id BIGINT, k INTEGER, seen TIMESTAMPTZ, ends TIMESTAMPTZ)")
        .unwrap();
    // Some rows are old, some will become too old in a few seconds, some stay, and some will come into sight.
    lake.others
        .execute(
            "INSERT INTO lake.events SELECT i, i % 3, now() - INTERVAL 1 HOUR + INTERVAL 1 SECOND * (i % 5 - 1) * 4, \
             now() + INTERVAL 1 SECOND * (i % 4) * 4 FROM range(2000) r(i)",
        )
        .unwrap();
    lake
}

fn action(reports: &[RefreshReport], name: &str) -> (RefreshAction, u64, u64) {
    let report = reports.iter().find(|report| report.name.name == name).unwrap();
    (report.action.unwrap(), report.rows_inserted, report.rows_deleted)
}

#[test]
fn rows_leave_and_enter_a_window_of_time() {
    let lake = lake_with_events();
    let tables = [
        ("recent", "SELECT id, k FROM events WHERE seen > now() - INTERVAL 1 HOUR"),
        ("counted", "SELECT k, count(*) AS n FROM events WHERE seen > now() - INTERVAL '1 hour' GROUP BY k"),
        ("over", "SELECT id FROM events WHERE ends < current_timestamp AND seen IS NOT NULL"),
        ("within", "SELECT id FROM events WHERE seen > now() - INTERVAL 1 HOUR AND ends < now() + INTERVAL 6 SECOND"),
        ("days", "SELECT id FROM events WHERE seen::DATE >= current_date - 1"),
        (
            "of_some",
            "SELECT k, max(id) AS id FROM events WHERE k IN (SELECT k FROM events WHERE ends > now()) GROUP BY k",
        ),
        ("first", "SELECT id, seen FROM events WHERE seen > now() - INTERVAL 1 HOUR ORDER BY seen, id LIMIT 10"),
    ];
    for (name, query) in tables {
        lake.run(&format!(
            "CREATE DYNAMIC TABLE {name} TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS {query}"
        ))
        .unwrap();
    }
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    let mut left = 0;
    let mut came = 0;
    for step in 0..3 {
        sleep(Duration::from_millis(4_000));
        // In a lake in which nothing happens the time passes all the same.
        if step == 1 {
            lake.others.execute("INSERT INTO lake.events VALUES (9999, 1, now(), now())").unwrap();
        }
        let reports = lake.refresh(&[]).unwrap();
        lake.verify().unwrap();
        for (name, _) in tables {
            assert!(matches!(action(&reports, name).0, RefreshAction::Incremental | RefreshAction::NoData), "{name}");
        }
        left += action(&reports, "recent").2;
        came += action(&reports, "over").1;
    }
    assert!(left >= 400, "{left} rows became too old");
    assert!(came >= 400, "{came} rows were over");
}

#[test]
fn our_own_publications_do_not_hold_the_time_up() {
    let lake = lake_with_events();
    lake.run("CREATE DYNAMIC TABLE over TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS SELECT id FROM events WHERE ends < now()")
        .unwrap();
    for _ in 0..2 {
        sleep(Duration::from_millis(4_500));
        let reports = lake.refresh(&[]).unwrap();
        let (_, came, _) = action(&reports, "over");
        assert!(came >= 500, "{came} rows were over");
        lake.verify().unwrap();
    }
}

#[test]
fn the_time_elsewhere_is_a_value_that_differs_from_query_to_query() {
    let lake = lake_with_events();
    for query in ["SELECT id, now() AS t FROM events", "SELECT k FROM events GROUP BY k HAVING max(seen) < now()"] {
        let refused = lake
            .run(&format!("CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS {query}"))
            .unwrap_err();
        assert!(refused.message().contains("now() gives another value in every query"), "{refused}");
    }
}

#[test]
fn a_refresh_that_failed_does_not_make_the_content_newer() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, i::VARCHAR AS v, now() AS seen FROM range(10) r(i);
         CREATE DYNAMIC TABLE recent TARGET_LAG = '1 hour' AS
           SELECT id, v::INTEGER AS v FROM src WHERE seen > now() - INTERVAL 1 HOUR",
    )
    .unwrap();
    let lag = || lake.tables.status(None).unwrap().swap_remove(0).lag.unwrap();
    let began = Instant::now();
    lake.run("INSERT INTO lake.src VALUES (10, 'x', now())").unwrap();
    sleep(Duration::from_secs(2));
    assert!(lake.refresh(&[]).unwrap_err().message().contains("'x'"));
    assert!(lag() >= Duration::from_secs(2), "{:?}", lag());
    // It is due by what it holds, not by when that could not be renewed.
    let almost = Duration::from_secs(3_600).saturating_sub(began.elapsed());
    let now = Some(jiff::Timestamp::now() + almost);
    let look = lake.tables.look(&Poll { interval: Duration::from_millis(1), queues: Vec::new(), now }).unwrap();
    assert_eq!(look.work.len(), 1);
    lake.run("DELETE FROM lake.src WHERE v = 'x'").unwrap();
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
}
