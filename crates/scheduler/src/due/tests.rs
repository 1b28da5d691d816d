#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::*;
use crate::lag::Unscheduled;

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

/// A table that has content of second 0.
fn table(id: &'static str, lag: Lag, upstream: &[&'static str]) -> Table<&'static str> {
    Table { upstream: upstream.to_vec(), data_timestamp: Some(at(0)), ..Table::new(id, lag) }
}

fn within(id: &'static str, upstream: &[&'static str]) -> Table<&'static str> {
    table(id, Lag::Within(seconds(LAG)), upstream)
}

fn slow(id: &'static str, upstream: &[&'static str]) -> Table<&'static str> {
    table(id, Lag::Within(seconds(36_000)), upstream)
}

fn downstream(id: &'static str, upstream: &[&'static str]) -> Table<&'static str> {
    table(id, Lag::Downstream, upstream)
}

fn decide(tables: Vec<Table<&'static str>>, second: i64) -> Decision<&'static str> {
    Schedule::new(tables).unwrap().due(&moment(second))
}

fn due(decision: &Decision<&'static str>) -> Vec<(&'static str, Reason<&'static str>)> {
    decision.due.iter().map(|due| (due.id, due.reason.clone())).collect()
}

fn by_lag() -> Reason<&'static str> {
    Reason::Lag { due_at: at(290) }
}

#[test]
fn a_table_is_due_when_its_lag_demands_it() {
    let decision = decide(vec![within("a", &[])], 289);
    assert_eq!((due(&decision), decision.next), (vec![], Some(at(290))));
    assert_eq!(decision.sleep(&moment(289)), seconds(1));
    let decision = decide(vec![within("a", &[])], 290);
    assert_eq!((due(&decision), decision.next), (vec![("a", by_lag())], None));
    assert_eq!(decision.sleep(&moment(290)), Duration::ZERO);
}

#[test]
fn sleep_is_bounded_by_the_poll_interval() {
    assert_eq!(decide(vec![within("a", &[])], 0).sleep(&moment(0)), seconds(10));
    let nothing = decide(vec![], 0);
    assert_eq!((nothing.next, nothing.sleep(&moment(0))), (None, seconds(10)));
}

#[test]
fn a_table_without_content_is_due_at_once_with_all_it_reads() {
    let empty = Table { data_timestamp: None, ..slow("b", &["a"]) };
    let decision = decide(vec![empty, slow("a", &[])], 1);
    assert_eq!(due(&decision), [("a", Reason::Needed { by: "b" }), ("b", Reason::Initialize)]);
    let follower = Table { data_timestamp: None, ..downstream("b", &["a"]) };
    assert_eq!(due(&decide(vec![slow("a", &[]), follower], 1))[1], ("b", Reason::Initialize));
}

#[test]
fn a_due_table_takes_upstream_along_but_not_downstream() {
    let tables = vec![slow("a", &[]), slow("b", &["a"]), within("c", &["b"]), slow("d", &["c"]), slow("e", &["a"])];
    let decision = decide(tables, 290);
    assert_eq!(due(&decision), [("a", by_lag()), ("b", by_lag()), ("c", by_lag())]);
    // Fresher than it needs to be, it still goes to the data version of the others.
    let fresher = Table { data_timestamp: Some(at(200)), ..slow("a", &[]) };
    let decision = decide(vec![fresher, within("c", &["a"]), slow("e", &[])], 290);
    assert_eq!(due(&decision), [("a", Reason::Needed { by: "c" }), ("c", by_lag())]);
    assert_eq!(decision.next, Some(at(490)));
}

#[test]
fn downstream_tables_follow_in_the_same_round() {
    let tables = vec![within("a", &[]), slow("z", &[]), downstream("b", &["a", "z"]), downstream("c", &["b"])];
    let fresher = |mut tables: Vec<Table<&'static str>>| {
        tables[1].data_timestamp = Some(at(100));
        tables
    };
    let decision = decide(fresher(tables.clone()), 290);
    assert_eq!(
        due(&decision),
        [
            ("a", by_lag()),
            ("z", Reason::Needed { by: "b" }),
            ("b", Reason::Follows { upstream: "a" }),
            ("c", Reason::Follows { upstream: "b" }),
        ]
    );
    assert!(due(&decide(tables, 280)).is_empty());
}

#[test]
fn never_scheduled_is_never_due() {
    let empty = Table { data_timestamp: None, ..downstream("a", &[]) };
    let disabled = Table { data_timestamp: None, ..table("b", Lag::Disabled, &[]) };
    let schedule = Schedule::new(vec![empty, disabled]).unwrap();
    let decision = schedule.due(&moment(1_000_000));
    assert_eq!(decision, Decision { due: vec![], skipped: vec![], next: None });
    assert_eq!(schedule.effective_lag(&"a"), Some(&EffectiveLag::Unscheduled(Unscheduled::NothingToFollow)));
}

#[test]
fn what_reads_a_suspended_table_is_skipped_and_nothing_else_is() {
    let suspended = Table { suspended: true, ..within("b", &["a"]) };
    let tables = vec![
        within("a", &[]),
        suspended,
        within("c", &["b"]),
        within("d", &["c"]),
        within("e", &["a"]),
        downstream("f", &["e", "b"]),
    ];
    let decision = decide(tables, 290);
    assert_eq!(due(&decision), [("a", by_lag()), ("e", by_lag())]);
    let obstacle = || Obstacle::Suspended { upstream: "b" };
    let skipped: Vec<_> = decision.skipped.iter().map(|skipped| (skipped.id, skipped.obstacle.clone())).collect();
    assert_eq!(skipped, [("c", obstacle()), ("d", obstacle()), ("f", obstacle())]);
    assert_eq!(decision.next, None);
}

#[test]
fn a_disabled_table_is_read_as_it_is() {
    let disabled = Table { suspended: true, ..table("b", Lag::Disabled, &["a"]) };
    let decision = decide(vec![slow("a", &[]), disabled, within("c", &["b"])], 290);
    assert_eq!(due(&decision), [("c", by_lag())]);
    let empty = Table { data_timestamp: None, ..table("b", Lag::Disabled, &[]) };
    let decision = decide(vec![empty, within("c", &["b"]), within("d", &["c"])], 290);
    assert!(decision.due.is_empty());
    assert_eq!(decision.skipped[1], Skipped { id: "d", obstacle: Obstacle::Empty { upstream: "b" } });
}

#[test]
fn a_failed_table_waits_and_so_does_what_reads_it() {
    let failed = |at: Timestamp| Table { retry_at: Some(at), ..within("a", &[]) };
    let tables = |retry: i64| vec![failed(at(retry)), within("b", &["a"]), within("c", &[])];
    let decision = decide(tables(400), 300);
    assert_eq!(due(&decision), [("c", by_lag())]);
    let obstacle = Obstacle::Retry { table: "a", at: at(400) };
    assert_eq!(
        decision.skipped,
        [Skipped { id: "a", obstacle: obstacle.clone() }, Skipped { id: "b", obstacle: obstacle.clone() }]
    );
    assert_eq!(decision.next, Some(at(400)));
    assert_eq!(obstacle.to_string(), "a has failed and is tried again at 1970-01-01T00:06:40Z");
    let decision = decide(tables(400), 400);
    assert_eq!(due(&decision), [("a", Reason::Retry), ("b", by_lag()), ("c", by_lag())]);
    // It is not due when its wait is over, but only then is known when it will be.
    assert_eq!(decide(tables(285), 280).next, Some(at(285)));
    let decision = decide(tables(285), 285);
    assert_eq!((due(&decision), decision.next), (vec![], Some(at(290))));
}

#[test]
fn a_suspension_outlasts_a_retry() {
    let failed = Table { retry_at: Some(at(400)), ..within("a", &[]) };
    let suspended = Table { suspended: true, ..within("b", &[]) };
    let decision = decide(vec![failed, suspended, within("c", &["a", "b"])], 300);
    assert_eq!(decision.skipped[1], Skipped { id: "c", obstacle: Obstacle::Suspended { upstream: "b" } });
}

#[test]
fn a_clock_put_back_does_not_stop_refreshes() {
    let ahead = |by: i64| Table { data_timestamp: Some(at(1_000 + by)), ..within("a", &[]) };
    // Clocks of several machines differ a little: no reason to hurry.
    assert_eq!(decide(vec![ahead(5)], 1_000).next, Some(at(1_295)));
    assert_eq!(due(&decide(vec![ahead(3_600)], 1_000)), [("a", Reason::ClockPutBack)]);
    let stuck = Table { retry_at: Some(at(1_000_000)), ..within("a", &[]) };
    assert_eq!(due(&decide(vec![stuck], 300)), [("a", Reason::Retry)]);
}

#[test]
fn ten_thousand_tables_in_one_decision() {
    let mut tables = Vec::new();
    for number in 0..10_000_u32 {
        let lag = if number % 3 == 0 { Lag::Downstream } else { Lag::Within(seconds(60 + u64::from(number))) };
        let upstream = if number == 0 { vec![] } else { vec![number / 2, number - 1] };
        tables.push(Table { upstream, data_timestamp: Some(at(0)), ..Table::new(number, lag) });
    }
    tables[0].upstream.clear();
    let decision = Schedule::new(tables).unwrap().due(&moment(1_000_000));
    assert_eq!(decision.due.len(), 10_000);
}

fn any_tables() -> impl Strategy<Value = Vec<Table<usize>>> {
    let lag = prop_oneof![
        3 => (1_u64..100).prop_map(|lag| Lag::Within(seconds(lag))),
        2 => Just(Lag::Downstream),
        1 => Just(Lag::Disabled),
    ];
    let time = |none: u32, latest: i64| prop_oneof![none => Just(None), 4 => (0..latest).prop_map(|second| Some(at(second)))];
    let upstream = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    let one = (lag, prop::bool::weighted(0.1), time(1, 200), time(20, 400), 0_u64..50, upstream);
    prop::collection::vec(one, 1..12).prop_map(|tables| {
        let build = |(id, (lag, suspended, data_timestamp, retry_at, expected, upstream)): (
            usize,
            (_, _, _, _, _, Vec<prop::sample::Index>),
        )| Table {
            upstream: if id == 0 { vec![] } else { upstream.iter().map(|index| index.index(id)).collect() },
            suspended,
            data_timestamp,
            expected_duration: seconds(expected),
            retry_at,
            ..Table::new(id, lag)
        };
        tables.into_iter().enumerate().map(build).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_due_can_be_refreshed_together(tables in any_tables(), now in 0_i64..400) {
        let schedule = Schedule::new(tables.clone()).unwrap();
        let decision = schedule.due(&moment(now));
        let ids: Vec<usize> = decision.due.iter().map(|due| due.id).collect();
        prop_assert_eq!(&schedule.graph().sorted(&ids), &ids);
        for id in &ids {
            let table = &tables[*id];
            prop_assert!(!table.suspended && table.lag != Lag::Disabled);
            prop_assert!(table.retry_at.is_none_or(|retry_at| retry_at <= at(now)));
            for upstream in &table.upstream {
                let source = &tables[*upstream];
                let read_as_it_is = source.lag == Lag::Disabled && source.data_timestamp.is_some();
                prop_assert!(ids.contains(upstream) || read_as_it_is, "{} reads {}", id, upstream);
            }
            for reader in schedule.graph().downstream(id) {
                let follows = matches!(schedule.effective_lag(&reader), Some(EffectiveLag::Follows { .. }));
                let skipped = decision.skipped.iter().any(|skipped| skipped.id == reader);
                prop_assert!(!follows || ids.contains(&reader) || skipped || tables[reader].suspended);
            }
        }
        for skipped in &decision.skipped {
            prop_assert!(!ids.contains(&skipped.id));
        }
    }

    #[test]
    fn nothing_becomes_due_before_the_next_time_and_something_does_then(tables in any_tables(), now in 0_i64..400) {
        let schedule = Schedule::new(tables.clone()).unwrap();
        let decision = schedule.due(&moment(now));
        if decision.due.is_empty() && let Some(next) = decision.next {
            prop_assert!(next > at(now));
            let just_before = next.checked_sub(Duration::from_nanos(1)).unwrap();
            let due_then = |then: Timestamp| schedule.due(&Moment { now: then, ..moment(now) }).due;
            prop_assert!(due_then(just_before).is_empty());
            let wait_is_over = tables.iter().any(|table| table.retry_at == Some(next));
            prop_assert!(wait_is_over || !due_then(next).is_empty());
        }
    }

    #[test]
    fn no_table_is_held_to_less_than_what_comes_along_with_it(tables in any_tables()) {
        let schedule = Schedule::new(tables.clone()).unwrap();
        let lag = |id: usize| schedule.effective_lag(&id).unwrap().duration();
        for table in tables.iter().filter(|table| !table.suspended) {
            if let (Lag::Within(own), Some(effective)) = (table.lag, lag(table.id)) {
                prop_assert!(effective <= own);
            }
            for upstream in table.upstream.iter().filter(|upstream| tables[**upstream].lag != Lag::Disabled) {
                if let Some(asked) = lag(table.id) {
                    prop_assert!(lag(*upstream).is_some_and(|lag| lag <= asked));
                }
            }
        }
    }
}
