//! Tables that are refreshed together: one data version, one commit, and what happens to the others when one cannot.

use std::cell::Cell;
use std::time::{Duration, Instant};

use refresh::{Lease, Poll};
use registry::{HistoryFilter, Refresh, RefreshState};
use testkit::lake::ThrowAway;
use testkit::sqlite;

const DIAMOND: &str = "
    CREATE TABLE lake.src AS SELECT i AS id, i % 7 AS k, i AS v FROM range(100) t(i);
    CREATE DYNAMIC TABLE a TARGET_LAG = '1 hour' AS SELECT id, k, v FROM src WHERE v >= 0;
    CREATE DYNAMIC TABLE b TARGET_LAG = '1 hour' AS SELECT k, count(*) AS n, sum(v) AS s FROM a GROUP BY k;
    CREATE DYNAMIC TABLE c TARGET_LAG = '1 hour' AS SELECT k, max(v) AS m FROM a GROUP BY k;
    CREATE DYNAMIC TABLE d TARGET_LAG = '1 hour' AS SELECT b.k, b.n, b.s, c.m FROM b JOIN c USING (k)";

fn lake(text: &str) -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(text).unwrap();
    lake
}

fn number(lake: &ThrowAway, query: &str) -> i64 {
    lake.rows(query).unwrap()[0][0].as_ref().unwrap().parse().unwrap()
}

fn newest(lake: &ThrowAway) -> i64 {
    number(lake, "SELECT id FROM lake.current_snapshot()")
}

fn refresh_all(lake: &ThrowAway) -> Vec<refresh::RefreshReport> {
    let request = refresh::RefreshRequest {
        names: Vec::new(),
        full: false,
        trigger: registry::RefreshTrigger::Manual,
        worker: None,
    };
    lake.tables.refresh(&request).unwrap()
}

fn states(reports: &[refresh::RefreshReport]) -> Vec<(String, RefreshState)> {
    let mut states: Vec<_> = reports.iter().map(|report| (report.name.name.clone(), report.state)).collect();
    states.sort_by(|one, other| one.0.cmp(&other.0));
    states
}

fn history(lake: &ThrowAway) -> Vec<Refresh> {
    lake.tables.registry().history(&HistoryFilter::default(), 1_000).unwrap()
}

#[test]
fn a_diamond_is_one_commit_and_never_torn() {
    let lake = lake(DIAMOND);
    let created = newest(&lake);
    for change in [
        "INSERT INTO lake.src SELECT i, i % 7, i FROM range(100, 150) t(i)",
        "UPDATE lake.src SET k = (k + 1) % 7 WHERE id % 3 = 0",
        "DELETE FROM lake.src WHERE id % 5 = 0",
    ] {
        lake.run(change).unwrap();
        let version = newest(&lake);
        let reports = refresh_all(&lake);
        assert!(reports.iter().all(|report| report.state == RefreshState::Succeeded), "{reports:?}");
        assert!(reports.iter().all(|report| report.data_version == Some(version)), "{reports:?}");
        assert_eq!(newest(&lake), version + 1, "one commit for four tables");
        lake.verify().unwrap();
    }
    // Whatever snapshot a reader is at, the tables agree with one another.
    for snapshot in created..=newest(&lake) {
        let at = format!("AT (VERSION => {snapshot})");
        let torn = number(
            &lake,
            &format!(
                "SELECT count(*) FROM (SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM lake.a {at} GROUP BY k) AS own \
                 FULL JOIN (FROM lake.d {at}) AS d USING (k) WHERE (own.n, own.s, own.m) IS DISTINCT FROM (d.n, d.s, d.m)"
            ),
        );
        assert_eq!(torn, 0, "at snapshot {snapshot}");
    }
}

#[test]
fn one_that_fails_takes_along_only_its_readers() {
    let lake = lake(
        "CREATE TABLE lake.src AS SELECT i AS id, '1' AS v FROM range(10) t(i);
         CREATE DYNAMIC TABLE a TARGET_LAG = '1 hour' AS SELECT count(*) AS n FROM src;
         CREATE DYNAMIC TABLE b TARGET_LAG = '1 hour' AS SELECT id, v::INTEGER AS v FROM src;
         CREATE DYNAMIC TABLE c TARGET_LAG = '1 hour' AS SELECT sum(v) AS s FROM b;
         CREATE DYNAMIC TABLE d TARGET_LAG = '1 hour' AS SELECT n + 1 AS n FROM a",
    );
    lake.run("INSERT INTO lake.src VALUES (10, 'x')").unwrap();
    let version = newest(&lake);
    let reports = refresh_all(&lake);
    let expected = [
        ("a", RefreshState::Succeeded),
        ("b", RefreshState::Failed),
        ("c", RefreshState::UpstreamFailed),
        ("d", RefreshState::Succeeded),
    ];
    assert_eq!(states(&reports), expected.map(|(name, state)| (name.to_owned(), state)));
    assert_eq!(newest(&lake), version + 1);
    assert_eq!((number(&lake, "FROM lake.d"), number(&lake, "FROM lake.c")), (12, 10));
    lake.run("UPDATE lake.src SET v = '2' WHERE id = 10").unwrap();
    refresh_all(&lake);
    lake.verify().unwrap();
    assert_eq!(number(&lake, "FROM lake.c"), 12);
    assert!(history(&lake).iter().all(|refresh| refresh.state != RefreshState::Executing));
}

#[test]
fn one_that_cannot_be_written_is_left_out_of_the_commit() {
    let lake = lake(DIAMOND);
    // Nothing that a refresh looks at, until a NULL comes.
    lake.run("ALTER TABLE lake.b ALTER COLUMN k SET NOT NULL; INSERT INTO lake.src VALUES (1000, NULL, 5)").unwrap();
    let version = newest(&lake);
    let reports = refresh_all(&lake);
    let expected = [
        ("a", RefreshState::Succeeded),
        ("b", RefreshState::Failed),
        ("c", RefreshState::Succeeded),
        ("d", RefreshState::UpstreamFailed),
    ];
    assert_eq!(states(&reports), expected.map(|(name, state)| (name.to_owned(), state)));
    assert_eq!(newest(&lake), version + 1);
    assert_eq!(number(&lake, "SELECT count(*) FROM lake.c WHERE k IS NULL"), 1);
    assert_eq!(number(&lake, "SELECT count(*) FROM lake.d WHERE k IS NULL"), 0);
    lake.run("DELETE FROM lake.src WHERE k IS NULL").unwrap();
    refresh_all(&lake);
    lake.verify().unwrap();
}

const SHORT: Lease = Lease { length: Duration::from_millis(20), heartbeat: Duration::from_secs(60) };

/// Two tables that have nothing to do with one another, so that something can happen between computing the first and the
/// second.
const APART: &str = "
    CREATE TABLE lake.one AS SELECT i AS id, i % 3 AS k FROM range(2000) t(i);
    CREATE TABLE lake.two AS SELECT i AS id FROM range(10) t(i);
    CREATE DYNAMIC TABLE first TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT k, count(*) AS n FROM one GROUP BY k;
    CREATE DYNAMIC TABLE second TARGET_LAG = '1 hour' AS SELECT count(*) AS n FROM two;
    CREATE DYNAMIC TABLE reader TARGET_LAG = '1 hour' AS SELECT sum(n) AS n FROM first";

/// Lets a worker refresh what is due, and does something before each group of tables.
fn work(lake: &ThrowAway, between: &dyn Fn(u32)) -> refresh::Done {
    let now = Some(jiff::Timestamp::now() + Duration::from_secs(4_000));
    let look = lake.tables.look(&Poll { interval: Duration::from_secs(1), queues: Vec::new(), now }).unwrap();
    assert_eq!(look.work.len(), 1);
    let groups = Cell::new(0);
    let stop = || {
        groups.set(groups.get() + 1);
        between(groups.get());
        false
    };
    let done = lake.tables.carry_out(&look.work[0], "worker", &stop, &mut |_| {}).unwrap();
    // Twice, and once more for what had to be done again.
    assert_eq!(groups.get(), 3);
    done
}

#[test]
fn what_fails_is_tried_again_by_the_lag_that_its_readers_ask_of_it() {
    let lake = lake(
        "CREATE TABLE lake.src AS SELECT i AS id, i::VARCHAR AS v FROM range(2000) t(i);
         CREATE DYNAMIC TABLE numbers TARGET_LAG = DOWNSTREAM AS SELECT id, v::INTEGER AS v FROM src;
         CREATE DYNAMIC TABLE summed TARGET_LAG = '10 minutes' AS SELECT sum(v) AS v FROM numbers",
    );
    lake.run("INSERT INTO lake.src VALUES (5000, 'x')").unwrap();
    let now = Some(jiff::Timestamp::now() + Duration::from_secs(4_000));
    let look = lake.tables.look(&Poll { interval: Duration::from_secs(1), queues: Vec::new(), now }).unwrap();
    let done = lake.tables.carry_out(&look.work[0], "worker", &|| false, &mut |_| {}).unwrap();
    assert_eq!((done.refreshed, done.failed), (2, 2));
    let tables = lake.tables.registry().load_all().unwrap();
    let numbers = tables.iter().find(|table| table.definition.name.name == "numbers").unwrap();
    let wait = numbers.progress.retry_at.unwrap().duration_since(jiff::Timestamp::now()).as_secs();
    assert!((500..=600).contains(&wait), "{wait}");
}

/// It is in what the publication holds, and not in what the readers of the table were computed from.
#[test]
fn what_somebody_writes_between_computing_and_publishing_is_in_nothing_in_the_end() {
    let lake = lake(APART);
    lake.run("INSERT INTO lake.one VALUES (5000, 1); INSERT INTO lake.two VALUES (10)").unwrap();
    let now = Some(jiff::Timestamp::now() + Duration::from_secs(4_000));
    let look = lake.tables.look(&Poll { interval: Duration::from_secs(1), queues: Vec::new(), now }).unwrap();
    let groups = Cell::new(0);
    let stop = || {
        groups.set(groups.get() + 1);
        if groups.get() == 2 {
            lake.others.execute("INSERT INTO lake.first VALUES (77, 1000)").unwrap();
        }
        false
    };
    let done = lake.tables.carry_out(&look.work[0], "worker", &stop, &mut |_| {}).unwrap();
    assert_eq!((groups.get(), done.refreshed, done.failed), (2, 3, 0));
    assert_eq!(number(&lake, "SELECT count(*) FROM lake.first WHERE k = 77"), 1);
    let reports = refresh_all(&lake);
    assert!(reports.iter().all(|report| report.state == RefreshState::Succeeded), "{reports:?}");
    lake.verify().unwrap();
    assert_eq!(number(&lake, "SELECT n FROM lake.reader"), 2001);
    lake.run("DELETE FROM lake.one WHERE id < 100").unwrap();
    refresh_all(&lake);
    lake.verify().unwrap();
}

#[test]
fn what_somebody_else_published_meanwhile_is_not_published_again() {
    let lake = lake(APART);
    lake.run("INSERT INTO lake.one VALUES (5000, 1); INSERT INTO lake.two VALUES (10)").unwrap();
    lake.tables.set_lease(SHORT);
    let another = lake.another().unwrap();
    let done = work(&lake, &|group| {
        if group == 2 {
            std::thread::sleep(SHORT.length);
            let names = vec![sql::names::ObjectName::parse("first").unwrap()];
            let trigger = registry::RefreshTrigger::Manual;
            another.refresh(&refresh::RefreshRequest { names, full: false, trigger, worker: None }).unwrap();
        }
    });
    assert_eq!((done.refreshed, done.failed), (3, 0));
    lake.verify().unwrap();
    assert_eq!(lake.rows("FROM lake.first").unwrap().len(), 3);
    assert_eq!((number(&lake, "FROM lake.reader"), number(&lake, "FROM lake.second")), (2001, 11));
    let mine = history(&lake)
        .into_iter()
        .find(|refresh| refresh.name.name == "first" && refresh.worker.as_deref() == Some("worker"));
    assert_eq!(mine.unwrap().state, RefreshState::Skipped);
}

#[test]
fn a_change_whose_source_was_compacted_meanwhile_is_computed_again() {
    let lake = lake(APART);
    lake.run("INSERT INTO lake.one SELECT i, 1 FROM range(5000, 5100) t(i); INSERT INTO lake.two VALUES (10)")
        .unwrap();
    let done = work(&lake, &|group| {
        if group == 2 {
            lake.others.execute("CALL ducklake_merge_adjacent_files('lake')").unwrap();
        }
    });
    assert_eq!((done.refreshed, done.failed), (3, 0));
    lake.verify().unwrap();
    assert_eq!(number(&lake, "FROM lake.reader"), 2100);
}

#[test]
fn many_small_tables_share_a_commit() {
    let lake = lake("CREATE TABLE lake.src AS SELECT i AS id FROM range(10) t(i)");
    for table in 0..30 {
        lake.run(&format!(
            "CREATE DYNAMIC TABLE t{table} TARGET_LAG = '1 hour' AS SELECT id + {table} AS id FROM src WHERE id > {table} % 5"
        ))
        .unwrap();
    }
    lake.run("INSERT INTO lake.src VALUES (100)").unwrap();
    let version = newest(&lake);
    let reports = refresh_all(&lake);
    assert_eq!(reports.len(), 30);
    // On a busy machine those that are computed are published before the last one is.
    assert!(newest(&lake) <= version + 15, "{} commits", newest(&lake) - version);
    lake.verify().unwrap();
}

#[test]
fn a_table_that_is_refreshed_by_hand_only_is_read_as_it_stood_at_the_data_version() {
    let lake = lake(
        "CREATE TABLE lake.src AS SELECT i AS id FROM range(10) t(i);
         CREATE DYNAMIC TABLE a SCHEDULER = DISABLE AS SELECT count(*) AS n FROM src;
         CREATE DYNAMIC TABLE b TARGET_LAG = '1 hour' AS SELECT n, (SELECT count(*) FROM src) AS m FROM a",
    );
    lake.run("INSERT INTO lake.src VALUES (10)").unwrap();
    refresh_all(&lake);
    // Both in one run, and yet the reader is at a data version at which the other one was not refreshed yet.
    assert_eq!(lake.rows("FROM lake.b").unwrap(), [[Some("10".to_owned()), Some("11".to_owned())]]);
    lake.verify().unwrap();
    refresh_all(&lake);
    assert_eq!(lake.rows("FROM lake.b").unwrap(), [[Some("11".to_owned()), Some("11".to_owned())]]);
}

#[test]
fn a_claim_that_cannot_be_given_back_is_given_back_as_soon_as_it_can_be() {
    let lake = lake(
        "CREATE TABLE lake.src AS SELECT i AS id FROM range(10) t(i);
         CREATE DYNAMIC TABLE a TARGET_LAG = '1 hour' AS SELECT count(*) AS n FROM src",
    );
    let claims = || lake.tables.registry().claims().unwrap();
    let full = "CREATE TRIGGER full BEFORE DELETE ON refresh_claim BEGIN SELECT raise(ABORT, 'disk full'); END";
    sqlite::ask(lake.registry_url(), full).unwrap();
    lake.run("INSERT INTO lake.src VALUES (10)").unwrap();
    assert_eq!(states(&refresh_all(&lake)), [("a".to_owned(), RefreshState::Succeeded)]);
    assert!(claims()[0].is_live);
    sqlite::ask(lake.registry_url(), "DROP TRIGGER full").unwrap();
    let began = Instant::now();
    // The lease would hold it for five minutes.
    while !claims().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    lake.verify().unwrap();
}

#[test]
fn maintenance_beside_a_full_refresh_over_sqlite_makes_it_look_again() {
    let lake = lake(
        "CREATE TABLE lake.one AS SELECT i AS id, i % 3 AS k FROM range(2000) t(i);
         CREATE TABLE lake.two AS SELECT i AS id FROM range(10) t(i);
         CREATE DYNAMIC TABLE first TARGET_LAG = '1 hour' REFRESH_MODE = FULL AS SELECT k, count(*) AS n FROM one GROUP BY k;
         CREATE DYNAMIC TABLE second TARGET_LAG = '1 hour' AS SELECT count(*) AS n FROM two",
    );
    lake.run("INSERT INTO lake.one VALUES (5000, 1); INSERT INTO lake.two VALUES (10)").unwrap();
    let done = work(&lake, &|group| {
        if group == 2 {
            // One statement can see the rows neither in the catalog nor in the file.
            lake.others.execute("CALL ducklake_flush_inlined_data('lake', table_name => 'one')").unwrap();
        }
    });
    assert_eq!((done.refreshed, done.failed), (2, 0));
    lake.verify().unwrap();
}

#[test]
fn what_a_process_that_died_published_is_seen_where_there_is_nothing_to_publish() {
    let lake = lake(
        "CREATE TABLE lake.src AS SELECT i AS id, 'a' AS v FROM range(10) t(i);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT id, v FROM src",
    );
    lake.run("INSERT INTO lake.src VALUES (10, 'a')").unwrap();
    refresh_all(&lake);
    let ask = |statement: &str| sqlite::ask(lake.registry_url(), statement).unwrap();
    ask("CREATE TABLE kept AS SELECT * FROM dynamic_table_progress");
    lake.run("UPDATE lake.src SET v = 'b' WHERE id = 3").unwrap();
    let request = refresh::RefreshRequest {
        names: Vec::new(),
        full: false,
        trigger: registry::RefreshTrigger::Manual,
        worker: None,
    };
    lake.another().unwrap().refresh(&request).unwrap();
    assert_eq!(number(&lake, "SELECT count(*) FROM lake.t WHERE v = 'b'"), 1);
    // It died before the registry heard of it, and what it saw is taken back.
    ask("INSERT OR REPLACE INTO dynamic_table_progress SELECT * FROM kept");
    lake.run("UPDATE lake.src SET v = 'a' WHERE id = 3").unwrap();
    refresh_all(&lake);
    assert_eq!(number(&lake, "SELECT count(*) FROM lake.t WHERE v = 'b'"), 0);
    lake.verify().unwrap();
}
