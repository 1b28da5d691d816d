#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::due::{Decision, Moment, Reason};
use crate::lag::Lag;
use crate::schedule::Table;

const LAG: u64 = 300;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Polls every 10 seconds, so that the margin of the lag used here is 10 seconds.
fn moment(second: i64) -> Moment {
    Moment::new(at(second), seconds(10))
}

/// A table with content of second 0.
fn table(id: &'static str, lag: u64, takes: u64, upstream: &[&'static str]) -> Table<&'static str> {
    Table {
        upstream: upstream.to_vec(),
        data_timestamp: Some(at(0)),
        expected_duration: seconds(takes),
        ..Table::new(id, Lag::Within(seconds(lag)))
    }
}

fn decide(tables: &[Table<&'static str>], second: i64) -> Decision<&'static str> {
    Schedule::new(tables.to_vec()).unwrap().due(&moment(second))
}

fn ids(decision: &Decision<&'static str>) -> Vec<&'static str> {
    decision.due.iter().map(|due| due.id).collect()
}

/// The tables that are due first, and when.
fn first(tables: &[Table<&'static str>]) -> (i64, Vec<&'static str>) {
    let next = decide(tables, 0).next.unwrap();
    assert_eq!(next.subsec_nanosecond(), 0);
    assert_eq!(ids(&decide(tables, next.as_second() - 1)), Vec::<&str>::new());
    (next.as_second(), ids(&decide(tables, next.as_second())))
}

#[test]
fn a_table_starts_early_by_what_it_takes_and_a_margin() {
    let start = |lag: u64, takes: u64, poll: u64| {
        Aim::new(at(0), seconds(lag), seconds(poll)).start(seconds(takes)).as_second()
    };
    assert_eq!(start(300, 0, 10), 290);
    assert_eq!(start(300, 60, 10), 230);
    // The margin is at most a tenth of the lag: with a poll interval of a minute a lag of 20 seconds can be kept too.
    assert_eq!(start(20, 0, 60), 18);
    // What takes longer than its lag is always due, but for a pause after its data timestamp.
    assert_eq!(start(300, 295, 10), 10);
    assert_eq!(start(300, 10_000, 10), 10);
    assert_eq!(Aim::new(Timestamp::MAX, seconds(LAG), Duration::ZERO).deadline, Timestamp::MAX);
    assert_eq!(Aim::new(at(0), Duration::MAX, Duration::ZERO).deadline, Timestamp::MAX);
}

#[test]
fn what_comes_along_has_to_fit_as_well_and_counts_once() {
    let diamond = [
        table("base", 36_000, 40, &[]),
        table("left", 36_000, 20, &["base"]),
        table("right", 36_000, 20, &["base"]),
        table("top", LAG, 10, &["left", "right"]),
    ];
    assert_eq!(first(&diamond), (200, vec!["base", "left", "right", "top"]));
    // The chain of a table that takes most of its lag counts too.
    let slow = [table("base", 36_000, 100, &[]), table("top", LAG, 100, &["base"])];
    assert_eq!(first(&slow), (90, vec!["base", "top"]));
}

#[test]
fn followers_have_to_fit_as_well() {
    let follower = Table { lag: Lag::Downstream, ..table("follower", 0, 50, &["base"]) };
    assert_eq!(first(&[table("base", LAG, 10, &[]), follower]), (230, vec!["base", "follower"]));
}

#[test]
fn tables_that_share_a_source_and_a_deadline_start_early_enough_for_all() {
    let mut tables = vec![table("base", 36_000, 10, &[])];
    tables.extend(["a", "b", "c", "d"].map(|id| table(id, LAG, 20, &["base"])));
    assert_eq!(first(&tables), (200, vec!["base", "a", "b", "c", "d"]));
    // Without a common table they are computed side by side.
    tables.iter_mut().for_each(|table| table.upstream.clear());
    assert_eq!(first(&tables), (270, vec!["a", "b", "c", "d"]));
}

#[test]
fn what_would_be_due_before_its_group_has_ended_joins_it() {
    let tables =
        |lag: u64| [table("base", 36_000, 10, &[]), table("a", LAG, 20, &["base"]), table("b", lag, 20, &["base"])];
    // By itself it would have to start at second 269, one second before the others have ended.
    assert_eq!(first(&tables(329)), (240, vec!["base", "a", "b"]));
    assert_eq!(first(&tables(400)), (260, vec!["base", "a"]));
}

#[test]
fn a_report_over_many_tables_does_not_make_them_due_early() {
    let bases = ["a", "b", "c", "d"];
    let mut tables: Vec<_> = bases.map(|id| table(id, LAG, 100, &[])).to_vec();
    tables.push(table("report", 36_000, 1, &bases));
    assert_eq!(first(&tables), (190, bases.to_vec()));
}

#[test]
fn a_group_that_takes_most_of_its_lag_starts_table_by_table() {
    let mut tables = vec![table("base", 36_000, 10, &[])];
    tables.extend(["a", "b", "c", "d"].map(|id| table(id, LAG, 50, &["base"])));
    // The first two fit into half of the lag.
    assert_eq!(first(&tables), (180, vec!["base", "a", "b"]));
    assert_eq!(ids(&decide(&tables, 229)), ["base", "a", "b"]);
    assert_eq!(ids(&decide(&tables, 230)), ["base", "a", "b", "c", "d"]);
}

#[test]
fn a_failing_table_does_not_make_others_start_earlier() {
    let failing = Table { retry_at: Some(at(0)), ..table("failing", LAG, 100, &["base"]) };
    let tables = [table("base", LAG, 10, &[]), failing];
    let decision = decide(&tables, 200);
    assert_eq!(decision.due[0].reason, Reason::Needed { by: "failing" });
    assert_eq!(first(&[tables[0].clone(), Table { expected_duration: seconds(5), ..tables[1].clone() }]).0, 275);
    let healthy = Table { retry_at: None, ..tables[1].clone() };
    assert_eq!(first(&[tables[0].clone(), healthy]).0, 180);
}

#[test]
fn workers_that_know_how_many_they_are_make_room_for_each_other() {
    let tables: Vec<_> = ["a", "b", "c", "d"].map(|id| table(id, LAG, 30, &[])).to_vec();
    let schedule = Schedule::new(tables).unwrap();
    let next = |workers| schedule.due(&Moment { batches_at_a_time: workers, ..moment(0) }).next.unwrap().as_second();
    assert_eq!(next(None), 260);
    assert_eq!(next(Some(4)), 237);
    assert_eq!(next(Some(2)), 215);
    assert_eq!(next(Some(1)), 170);
    assert_eq!(next(Some(0)), 260);
    // Not before half of the lag has passed.
    let many: Vec<Table<usize>> = (0..100)
        .map(|id| Table {
            data_timestamp: Some(at(0)),
            expected_duration: seconds(30),
            ..Table::new(id, Lag::Within(seconds(LAG)))
        })
        .collect();
    let one = Moment { batches_at_a_time: Some(1), ..moment(0) };
    assert_eq!(Schedule::new(many).unwrap().due(&one).next, Some(at(150)));
}

/// Would take minutes if anything were gone through once for each table.
#[test]
fn ten_thousand_tables_in_chains_stars_and_ladders() {
    let count = 10_000_usize;
    let forms: [fn(usize) -> Vec<usize>; 5] = [
        |id| if id == 0 { vec![] } else { vec![id - 1] },
        |id| if id == 0 { vec![] } else { vec![0] },
        |id| if id == 9_999 { (0..id).collect() } else { vec![] },
        |id| (id.saturating_sub(3)..id).collect(),
        |id| if id < 100 { vec![] } else { (0..100).collect() },
    ];
    for upstream in forms {
        for lag in [
            |_| Lag::Within(seconds(86_400)),
            |id| if id % 3 == 2 { Lag::Within(seconds(60)) } else { Lag::Downstream },
        ] as [fn(usize) -> Lag; 2]
        {
            let tables = (0..count).map(|id| Table {
                upstream: upstream(id),
                data_timestamp: Some(at(0)),
                expected_duration: seconds(1),
                ..Table::new(id, lag(id))
            });
            let schedule = Schedule::new(tables.collect()).unwrap();
            for second in [0, 50, 80_000] {
                let moment = Moment { batches_at_a_time: Some(4), ..moment(second) };
                let decision = schedule.due(&moment);
                let limits = crate::Limits { most_tables: 100, longest: seconds(60) };
                let batches = schedule.batches(&decision, &moment, &limits, &|_| false);
                let taken: usize = batches.iter().map(|batch| batch.tables.len()).sum();
                assert_eq!(taken, decision.due.len());
            }
        }
    }
}
