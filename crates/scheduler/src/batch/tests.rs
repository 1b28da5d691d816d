#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::lag::Lag;
use crate::schedule::{DEFAULT_QUEUE, Table};

const LIMITS: Limits = Limits { most_tables: 3, longest: Duration::from_secs(60) };

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// At second 1000, a table with content of that age and a lag of 100 seconds.
fn aged(id: &'static str, age: i64, upstream: &[&'static str]) -> Table<&'static str> {
    Table {
        upstream: upstream.to_vec(),
        data_timestamp: Some(at(1_000 - age)),
        ..Table::new(id, Lag::Within(seconds(100)))
    }
}

fn batches_without(tables: Vec<Table<&'static str>>, taken: &[&str], limits: &Limits) -> Vec<Batch<&'static str>> {
    let schedule = Schedule::new(tables).unwrap();
    let moment = Moment::new(at(1_000), seconds(10));
    schedule.batches(&schedule.due(&moment), &moment, limits, &|id| taken.contains(id))
}

fn batches(tables: Vec<Table<&'static str>>) -> Vec<Batch<&'static str>> {
    batches_without(tables, &[], &LIMITS)
}

fn tables(batches: &[Batch<&'static str>]) -> Vec<Vec<&'static str>> {
    batches.iter().map(|batch| batch.tables.clone()).collect()
}

#[test]
fn the_most_urgent_come_first_and_share_batches() {
    let due =
        vec![aged("a", 100, &[]), aged("b", 110, &[]), aged("c", 95, &[]), aged("d", 120, &[]), aged("e", 10, &[])];
    let batches = batches(due);
    assert_eq!(tables(&batches), [vec!["a", "b", "d"], vec!["c"]]);
    assert_eq!(batches[0].urgency.to_string(), "1.2");
    assert_eq!(batches[1].urgency.to_string(), "0.95");
    assert_eq!(batches[0].queue, DEFAULT_QUEUE);
}

#[test]
fn equal_urgency_keeps_the_order_of_the_graph() {
    let due = ["d", "b", "c", "a"].map(|id| aged(id, 100, &[])).to_vec();
    assert_eq!(tables(&batches(due)), [vec!["d", "b", "c"], vec!["a"]]);
}

#[test]
fn a_group_is_never_torn() {
    let due = vec![
        aged("a", 100, &[]),
        aged("x", 105, &[]),
        aged("b", 50, &["a"]),
        aged("c", 120, &["b"]),
        aged("d", 100, &["b"]),
    ];
    let batches = batches(due);
    assert_eq!(tables(&batches), [vec!["a", "b", "c", "d"], vec!["x"]]);
}

#[test]
fn a_batch_takes_no_longer_than_its_limit() {
    let slow = |id, age, takes| Table { expected_duration: seconds(takes), ..aged(id, age, &[]) };
    let due =
        vec![slow("a", 104, 30), slow("b", 103, 40), slow("c", 102, 20), slow("d", 110, 1_000), slow("e", 101, 1)];
    let batches = batches(due);
    // What exceeds the limit goes alone and does not part those behind it.
    assert_eq!(tables(&batches), [vec!["d"], vec!["a"], vec!["b", "c"], vec!["e"]]);
    assert_eq!(batches.iter().map(|batch| batch.expected.as_secs()).collect::<Vec<_>>(), [1_000, 30, 60, 1]);
}

#[test]
fn what_is_barely_due_does_not_join_what_is_overdue() {
    let due = vec![aged("a", 300, &[]), aged("b", 100, &[]), aged("c", 160, &[])];
    assert_eq!(tables(&batches(due)), [vec!["a", "c"], vec!["b"]]);
}

#[test]
fn a_group_with_a_taken_table_is_left_out_as_a_whole() {
    let due = vec![aged("a", 100, &[]), aged("b", 120, &["a"]), aged("c", 110, &["a"]), aged("d", 100, &[])];
    assert_eq!(tables(&batches_without(due, &["a"], &LIMITS)), [["d"]]);
}

#[test]
fn a_group_goes_to_the_queue_of_its_most_urgent_table() {
    let queue = |queue: &str, table| Table { queue: queue.to_owned(), ..table };
    let due = vec![
        queue("other", aged("a", 50, &[])),
        queue("heavy", aged("b", 130, &["a"])),
        queue("light", aged("c", 110, &["a"])),
        aged("d", 120, &[]),
        queue("heavy", aged("e", 100, &[])),
    ];
    let limits = Limits { most_tables: 10, ..LIMITS };
    let batches = batches_without(due, &[], &limits);
    assert_eq!(tables(&batches), [vec!["a", "b", "c", "e"], vec!["d"]]);
    assert_eq!(batches.iter().map(|batch| batch.queue.as_str()).collect::<Vec<_>>(), ["heavy", DEFAULT_QUEUE]);
}

#[test]
fn first_content_is_as_urgent_as_a_lag_used_up_when_it_was_asked_for() {
    let empty =
        |id, since: Option<i64>| Table { data_timestamp: None, wanted_since: since.map(at), ..aged(id, 0, &[]) };
    let due = vec![empty("new", Some(950)), empty("unknown", None), aged("a", 140, &[]), aged("b", 160, &[])];
    let limits = Limits { most_tables: 1, ..LIMITS };
    assert_eq!(tables(&batches_without(due, &[], &limits)), [["b"], ["new"], ["a"], ["unknown"]]);
}

#[test]
fn what_keeps_failing_and_what_reads_it_wait_for_what_is_later() {
    let limits = Limits { most_tables: 1, ..LIMITS };
    let failing = |id, retry_at| Table { retry_at: Some(at(retry_at)), ..aged(id, 900, &[]) };
    let due = vec![failing("a", 980), failing("b", 850), aged("c", 95, &[])];
    let found = batches_without(due, &[], &limits);
    assert_eq!(tables(&found), [["b"], ["c"], ["a"]]);
    assert_eq!(found[0].urgency.to_string(), "1.5");
    // It never was more urgent than by its age.
    let fresher = Table { retry_at: Some(at(0)), ..aged("a", 100, &[]) };
    assert_eq!(batches(vec![fresher])[0].urgency.to_string(), "1");
    let empty = Table { data_timestamp: None, wanted_since: Some(at(0)), ..aged("r", 0, &["a"]) };
    assert_eq!(tables(&batches(vec![failing("a", 980), empty, aged("c", 95, &[])])), [vec!["c"], vec!["a", "r"]]);
}

#[test]
fn a_clock_put_back_is_urgent_but_not_for_ever_first() {
    let ahead = Table { data_timestamp: Some(at(100_000)), ..aged("a", 0, &[]) };
    let found = batches(vec![ahead, aged("b", 300, &[])]);
    assert_eq!(tables(&found), [["b"], ["a"]]);
}

#[test]
fn a_worker_that_finds_all_taken_pauses() {
    let schedule = Schedule::new(vec![aged("a", 100, &[]), aged("b", 88, &[])]).unwrap();
    let moment = Moment::new(at(1_000), seconds(10));
    let decision = schedule.due(&moment);
    assert!(schedule.batches(&decision, &moment, &LIMITS, &|_| true).is_empty());
    assert_eq!(decision.sleep(&moment), Duration::ZERO);
    // It looks again when the next table is due, after the pause, or when it polls.
    assert_eq!(decision.sleep_beside_taken(&moment, seconds(60)), seconds(2));
    assert_eq!(decision.sleep_beside_taken(&moment, seconds(1)), seconds(1));
    let alone = Schedule::new(vec![aged("a", 100, &[])]).unwrap().due(&moment);
    assert_eq!(alone.sleep_beside_taken(&moment, seconds(60)), seconds(10));
}
