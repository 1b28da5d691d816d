#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::schedule::{Schedule, Table};

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

fn table(id: &'static str, lag: Lag, upstream: &[&'static str]) -> Table<&'static str> {
    Table { upstream: upstream.to_vec(), ..Table::new(id, lag) }
}

fn within(id: &'static str, lag: u64, upstream: &[&'static str]) -> Table<&'static str> {
    table(id, Lag::Within(minutes(lag)), upstream)
}

fn downstream(id: &'static str, upstream: &[&'static str]) -> Table<&'static str> {
    table(id, Lag::Downstream, upstream)
}

fn lags(tables: Vec<Table<&'static str>>) -> impl Fn(&'static str) -> EffectiveLag<&'static str> {
    let schedule = Schedule::new(tables).unwrap();
    move |id| schedule.effective_lag(&id).unwrap().clone()
}

fn own(lag: u64) -> EffectiveLag<&'static str> {
    EffectiveLag::Within { lag: minutes(lag), asked_by: None }
}

fn asked(lag: u64, reader: &'static str) -> EffectiveLag<&'static str> {
    EffectiveLag::Within { lag: minutes(lag), asked_by: Some(reader) }
}

fn follows(lag: u64) -> EffectiveLag<&'static str> {
    EffectiveLag::Follows { lag: minutes(lag) }
}

#[test]
fn the_smallest_lag_that_is_asked_wins() {
    let lag =
        lags(vec![within("a", 60, &[]), within("b", 5, &["a"]), within("c", 1, &["a"]), within("d", 90, &["c"])]);
    assert_eq!(lag("a"), asked(1, "c"));
    assert_eq!(lag("b"), own(5));
    assert_eq!(lag("c"), own(1));
    assert_eq!(lag("d"), own(90));
}

#[test]
fn it_is_asked_through_several_tables() {
    let lag =
        lags(vec![within("a", 60, &[]), downstream("b", &["a"]), downstream("c", &["b"]), within("d", 5, &["c"])]);
    assert_eq!([lag("a"), lag("b"), lag("c"), lag("d")], [asked(5, "b"), asked(5, "c"), asked(5, "d"), own(5)]);
}

#[test]
fn an_equal_lag_is_its_own() {
    let lag = lags(vec![within("a", 5, &[]), within("b", 5, &["a"])]);
    assert_eq!([lag("a"), lag("b")], [own(5), own(5)]);
}

#[test]
fn downstream_at_the_end_follows_what_it_reads() {
    let lag = lags(vec![within("a", 5, &[]), within("b", 60, &[]), downstream("c", &["a"]), downstream("d", &["c"])]);
    assert_eq!([lag("a"), lag("b"), lag("c"), lag("d")], [own(5), own(60), follows(5), follows(5)]);
}

#[test]
fn a_follower_takes_the_other_tables_that_it_reads_along() {
    let lag = lags(vec![
        within("a", 5, &[]),
        within("b", 60, &[]),
        downstream("b2", &[]),
        downstream("c", &["a", "b", "b2"]),
    ]);
    assert_eq!([lag("a"), lag("c"), lag("b"), lag("b2")], [own(5), follows(5), asked(5, "c"), asked(5, "c")]);
}

#[test]
fn downstream_with_nothing_around_is_never_scheduled() {
    let lag = lags(vec![downstream("a", &[]), downstream("b", &["a"]), downstream("c", &["plain"])]);
    assert_eq!(lag("a"), EffectiveLag::Unscheduled(Unscheduled::NothingToFollow));
    assert_eq!(lag("b"), EffectiveLag::Unscheduled(Unscheduled::UpstreamUnscheduled));
    assert_eq!(lag("c"), EffectiveLag::Unscheduled(Unscheduled::NothingToFollow));
    assert_eq!(lag("a").duration(), None);
    assert!(Unscheduled::NothingToFollow.to_string().contains("it reads none that it could follow"));
}

#[test]
fn suspended_and_disabled_tables_ask_for_nothing() {
    let suspended = Table { suspended: true, ..within("b", 1, &["a"]) };
    let lag = lags(vec![within("a", 60, &[]), suspended, table("c", Lag::Disabled, &["a"])]);
    assert_eq!([lag("a"), lag("b")], [own(60), own(1)]);
    assert_eq!(lag("c"), EffectiveLag::Unscheduled(Unscheduled::Disabled));
}

#[test]
fn downstream_with_readers_asleep_waits_for_them() {
    let suspended = Table { suspended: true, ..within("b", 1, &["a"]) };
    let lag = lags(vec![within("z", 5, &[]), downstream("a", &["z"]), suspended, table("c", Lag::Disabled, &["a"])]);
    assert_eq!(lag("a"), EffectiveLag::Unscheduled(Unscheduled::NothingAsks));
    assert_eq!(lag("z"), own(5));
}

#[test]
fn a_disabled_table_is_not_asked_and_asks_on_for_nobody() {
    let lag = lags(vec![within("a", 60, &[]), table("b", Lag::Disabled, &["a"]), within("c", 5, &["b"])]);
    assert_eq!([lag("a"), lag("c")], [own(60), own(5)]);
    let lag = lags(vec![table("b", Lag::Disabled, &[]), downstream("c", &["b"])]);
    assert_eq!(lag("c"), EffectiveLag::Unscheduled(Unscheduled::UpstreamUnscheduled));
}
