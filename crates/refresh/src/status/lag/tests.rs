#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use registry::RefreshTrigger;
use sql::names::TableName;
use uuid::Uuid;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn whole(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// A refresh from `started` to `completed` that found this lag, and left that one if it succeeded.
fn refresh(started: i64, completed: i64, lag_before: Option<i64>, lag_after: Option<i64>) -> Refresh {
    #[allow(clippy::cast_precision_loss)]
    let lag = |lag: i64| lag as f64;
    Refresh {
        started_at: at(started),
        completed_at: Some(at(completed)),
        state: if lag_after.is_some() { RefreshState::Succeeded } else { RefreshState::Failed },
        lag_before_seconds: lag_before.map(lag),
        lag_after_seconds: lag_after.map(lag),
        ..Refresh::begin(Uuid::nil(), TableName::new("main", "t"), RefreshTrigger::Scheduled, None)
    }
}

fn statistics(refreshes: &[Refresh], now: i64, lag_now: Option<i64>, target: i64) -> Option<LagStatistics> {
    lag_statistics(refreshes, at(0), at(now), lag_now.map(whole), Some(whole(target)))
}

#[test]
fn a_quiet_table_has_no_lag() {
    let quiet = statistics(&[], 100, Some(0), 10).unwrap();
    assert_eq!((quiet.mean, quiet.maximum, quiet.above_target), (whole(0), whole(0), Some(whole(0))));
    assert_eq!((quiet.measured, quiet.within_target_ratio), (whole(100), Some(1.0)));
}

#[test]
fn the_line_rises_for_its_last_part_through_the_refresh_and_falls_when_it_succeeds() {
    // Something is committed at 40; the refresh runs from 50 to 60, and nothing is committed after that.
    let sums = statistics(&[refresh(50, 60, Some(10), Some(10))], 100, Some(0), 15).unwrap();
    assert_eq!(sums.maximum, whole(20));
    assert_eq!(sums.mean, Duration::from_secs(2), "20 * 20 / 2 over 100");
    assert_eq!(sums.above_target, Some(whole(5)));
    assert_eq!(sums.within_target_ratio, Some(0.95));
}

#[test]
fn a_refresh_that_failed_changes_nothing() {
    let succeeded = refresh(80, 90, Some(40), Some(10));
    let without = statistics(std::slice::from_ref(&succeeded), 100, Some(0), 15);
    let with = statistics(&[succeeded, refresh(50, 60, Some(10), None)], 100, Some(0), 15);
    assert_eq!(with, without);
    assert_eq!(with.unwrap().maximum, whole(50));
}

#[test]
fn the_open_end_counts() {
    let behind = statistics(&[refresh(0, 10, Some(0), Some(10))], 100, Some(60), 30).unwrap();
    assert_eq!((behind.maximum, behind.above_target), (whole(60), Some(whole(30))));
}

#[test]
fn before_the_first_content_nothing_is_measured() {
    assert_eq!(statistics(&[], 100, None, 10), None);
    assert_eq!(statistics(&[refresh(10, 20, None, None)], 100, None, 10), None);
    let first = statistics(&[refresh(10, 20, None, Some(10))], 100, Some(0), 10).unwrap();
    assert_eq!(first.measured, whole(80));
}

#[test]
fn content_is_not_staler_than_its_last_refresh_left_it() {
    // A clock that was put forward between two refreshes.
    let rows = [refresh(10, 20, Some(0), Some(10)), refresh(50, 60, Some(5_000), Some(10))];
    assert_eq!(statistics(&rows, 100, Some(0), 10).unwrap().maximum, whole(50), "right until 10, published at 60");
}

#[test]
fn without_a_target_nothing_is_above_it() {
    let free = lag_statistics(&[], at(0), at(10), Some(whole(5)), None).unwrap();
    assert_eq!((free.maximum, free.above_target, free.within_target_ratio), (whole(5), None, None));
}

/// A table second by second: what is committed when, and when it is refreshed.
#[derive(Clone, Debug)]
struct World {
    length: i64,
    since: i64,
    target: i64,
    commits: Vec<i64>,
    /// Seconds of rest, seconds of work, whether it goes well.
    refreshes: Vec<(i64, i64, bool)>,
}

fn worlds() -> impl Strategy<Value = World> {
    let commits = prop::collection::btree_set(1..400_i64, 0..40);
    let refreshes = prop::collection::vec((0..40_i64, 1..20_i64, prop::bool::weighted(0.7)), 0..30);
    (50..400_i64, 0..50_i64, 1..40_i64, commits, refreshes).prop_map(|(length, since, target, commits, refreshes)| {
        World { length, since, target, commits: commits.into_iter().collect(), refreshes }
    })
}

impl World {
    /// The first commit after `seen`, if it was made by `time`.
    fn missed(&self, seen: i64, time: i64) -> Option<i64> {
        self.commits.iter().copied().find(|commit| *commit > seen && *commit <= time)
    }

    /// The history that is written, and since when the content is the newest of which moment: (from, seen).
    fn lived(&self) -> (Vec<Refresh>, Vec<(i64, i64)>) {
        let mut history = Vec::new();
        let mut content = vec![(0, 0)];
        let (mut clock, mut seen) = (0, 0);
        for (rest, work, well) in &self.refreshes {
            let (started, completed) = (clock + rest, clock + rest + work);
            if completed > self.length {
                break;
            }
            match self.missed(seen, started) {
                // Nothing new: the data version moves and nobody writes it down.
                None => {
                    seen = started;
                    content.push((started, seen));
                    clock = started;
                }
                Some(commit) => {
                    let lag_after = well.then_some(work).copied();
                    history.push(refresh(started, completed, Some(started - commit), lag_after));
                    if *well {
                        seen = started;
                        content.push((completed, seen));
                    }
                    clock = completed;
                }
            }
        }
        (history, content)
    }
}

proptest! {
    /// Against the lag added up second by second, by somebody who sees every commit.
    #[test]
    fn history_tells_what_the_lag_was(world in worlds()) {
        let (history, content) = world.lived();
        let seen_at = |time: i64| content.iter().rev().find(|(from, _)| *from <= time).unwrap().1;
        let (mut area, mut maximum, mut above) = (0.0, 0, 0);
        for time in world.since..world.length {
            let Some(commit) = world.missed(seen_at(time), time) else { continue };
            let lag = time - commit;
            #[allow(clippy::cast_precision_loss)]
            { area += lag as f64 + 0.5; }
            maximum = maximum.max(lag + 1);
            above += i64::from(lag >= world.target);
        }
        let lag_now = world.missed(seen_at(world.length), world.length).map_or(0, |commit| world.length - commit);
        let since = at(world.since);
        let found = lag_statistics(&history, since, at(world.length), Some(whole(lag_now)), Some(whole(world.target)));
        if world.since >= world.length {
            prop_assert_eq!(found, None);
            return Ok(());
        }
        let found = found.unwrap();
        #[allow(clippy::cast_precision_loss)]
        let mean = area / (world.length - world.since) as f64;
        prop_assert!((found.mean.as_secs_f64() - mean).abs() < 1e-6, "{found:?}, mean {mean}");
        prop_assert_eq!(found.maximum, whole(maximum));
        prop_assert_eq!(found.above_target, Some(whole(above)));
    }
}
