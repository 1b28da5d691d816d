//! Whether there is anything new, and those who wait for it.

use std::thread;
use std::time::{Duration, Instant};

use error::Code;
use registry::{Advance, Alteration, FinishedRefresh, Progress, ProgressChange, Refresh, Registry, SchedulingState};
use testkit::postgres::Postgres;

use crate::fixture::{Fixture, published, refresh_of, table, time};

over_both_stores! {
    the_counter_moves_with_every_change_and_with_nothing_else,
    a_change_that_fails_does_not_count,
    a_deleted_counter_comes_back,
    the_time_is_that_of_the_database,
    who_waits_is_woken_by_a_change,
    who_waits_is_woken_by_a_released_claim,
    what_happened_before_waiting_is_not_missed,
    a_release_before_the_first_wait_is_not_missed,
    who_waits_in_vain_is_told_at_the_limit,
    several_wait_and_work_at_once,
}

const LONG: Duration = Duration::from_secs(600);
/// Waiting longer than this is hanging.
const LIMIT: Duration = Duration::from_secs(20);

fn changes(fixture: &Fixture) -> i64 {
    fixture.registry.news().unwrap().changes
}

fn the_counter_moves_with_every_change_and_with_nothing_else(fixture: &Fixture) {
    let registry = &fixture.registry;
    let made = table("daily");
    let id = made.definition.id;
    let steps = std::cell::RefCell::new(changes(fixture));
    let expect = |moved: i64, what: &str| {
        let before = steps.replace(changes(fixture));
        assert_eq!(*steps.borrow(), before + moved, "{what}");
    };
    registry.create(&made).unwrap();
    expect(1, "create");
    let alteration =
        Alteration { definition: made.definition.clone(), sources: made.sources.clone(), progress: None };
    registry.alter(&[alteration]).unwrap();
    expect(1, "alter");
    registry.set_state(&[id], &SchedulingState::Running).unwrap();
    expect(1, "set_state");

    let finished = |progress, sources| {
        let refresh = refresh_of(&made, "w");
        registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
        expect(0, "begin_refreshes");
        registry.finish_refreshes(&[FinishedRefresh { refresh, progress, sources }]).unwrap();
    };
    finished(None, None);
    expect(0, "finish_refreshes without progress");
    finished(Some(ProgressChange { before: Progress::default(), after: published(10, 11, "r1") }), None);
    expect(1, "finish_refreshes with progress");
    finished(None, Some(made.sources.clone()));
    expect(1, "finish_refreshes with sources");
    let advance = |data_version| Advance {
        table: id,
        refresh_id: Some("r1".to_owned()),
        data_version,
        data_timestamp: time("2026-07-08T09:10:11Z"),
    };
    registry.advance(&[advance(20)]).unwrap();
    expect(1, "advance");
    registry.advance(&[advance(20)]).unwrap();
    expect(0, "advance that moves nothing");

    let claim = registry.claim("w", &[id], LONG).unwrap().unwrap();
    registry.renew(&claim, LONG).unwrap();
    registry.release(&claim).unwrap();
    registry.reap_orphans().unwrap();
    registry.prune_history(time("2026-01-01T00:00:00Z")).unwrap();
    registry.load_all().unwrap();
    expect(0, "claims and tidying up");
    registry.set_state(&[uuid::Uuid::now_v7()], &SchedulingState::Running).unwrap();
    registry.alter(&[]).unwrap();
    registry.finish_refreshes(&[]).unwrap();
    expect(0, "nothing");
    assert_eq!(registry.drop(&[id]).unwrap(), 1);
    expect(1, "drop");
    assert_eq!(registry.drop(&[id]).unwrap(), 0);
    expect(0, "drop of what is gone");
}

fn a_change_that_fails_does_not_count(fixture: &Fixture) {
    fixture.registry.create(&table("daily")).unwrap();
    let before = changes(fixture);
    fixture.registry.create(&table("daily")).unwrap_err();
    assert_eq!(changes(fixture), before);
}

fn a_deleted_counter_comes_back(fixture: &Fixture) {
    fixture.registry.create(&table("a")).unwrap();
    fixture.registry.create(&table("b")).unwrap();
    let before = changes(fixture);
    fixture.ask("DELETE FROM registry_state");
    assert_eq!(changes(fixture), 0);
    // Also backwards it has moved, as it does when an old backup is restored.
    assert!(fixture.registry.wait_for_news(before, LIMIT).unwrap());
    fixture.registry.create(&table("c")).unwrap();
    assert_eq!(changes(fixture), 1);
}

fn the_time_is_that_of_the_database(fixture: &Fixture) {
    let first = fixture.registry.news().unwrap().now;
    thread::sleep(Duration::from_millis(20));
    let second = fixture.registry.news().unwrap().now;
    assert!(first < second, "{first} {second}");
    let away = jiff::Timestamp::now().duration_since(second);
    assert!(away.as_secs().abs() < 30, "{away}");
}

/// Whether a thread that waits is woken by `event`, and how long after it.
fn woken(fixture: &Fixture, event: impl FnOnce(&Registry)) -> (bool, Duration) {
    let elsewhere = Registry::open(&fixture.url).unwrap();
    let since = changes(fixture);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| (fixture.registry.wait_for_news(since, LIMIT).unwrap(), Instant::now()));
        thread::sleep(Duration::from_millis(400));
        assert!(!waiting.is_finished());
        event(&elsewhere);
        let happened = Instant::now();
        let (news, woken) = waiting.join().unwrap();
        (news, woken.saturating_duration_since(happened))
    })
}

fn assert_woken(fixture: &Fixture, event: impl FnOnce(&Registry)) {
    let (news, after) = woken(fixture, event);
    assert!(news);
    assert!(after < Duration::from_secs(1), "{after:?}");
}

fn who_waits_is_woken_by_a_change(fixture: &Fixture) {
    // More than once, over the same connection.
    for number in 0..3 {
        assert_woken(fixture, |registry| registry.create(&table(&format!("t{number}"))).unwrap());
    }
}

fn who_waits_is_woken_by_a_released_claim(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    for _ in 0..2 {
        let claim = fixture.registry.claim("w", &[made.definition.id], LONG).unwrap().unwrap();
        assert_woken(fixture, |registry| registry.release(&claim).unwrap());
    }
}

fn what_happened_before_waiting_is_not_missed(fixture: &Fixture) {
    let made = table("daily");
    let since = changes(fixture);
    fixture.registry.create(&made).unwrap();
    let begun = Instant::now();
    assert!(fixture.registry.wait_for_news(since, LIMIT).unwrap());
    let since = changes(fixture);
    for _ in 0..2 {
        let claim = fixture.registry.claim("w", &[made.definition.id], LONG).unwrap().unwrap();
        fixture.registry.release(&claim).unwrap();
        assert!(fixture.registry.wait_for_news(since, LIMIT).unwrap());
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // None of it is news again.
    assert!(!fixture.registry.wait_for_news(since, Duration::from_millis(300)).unwrap());
}

/// As when a claim is refused, and given back before the worker that was refused has begun to wait.
fn a_release_before_the_first_wait_is_not_missed(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let elsewhere = Registry::open(&fixture.url).unwrap();
    let claim = elsewhere.claim("w1", &[made.definition.id], LONG).unwrap().unwrap();
    let since = changes(fixture);
    assert_eq!(fixture.registry.claim("w2", &[made.definition.id], LONG).unwrap(), None);
    elsewhere.release(&claim).unwrap();
    let begun = Instant::now();
    assert!(fixture.registry.wait_for_news(since, LIMIT).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn who_waits_in_vain_is_told_at_the_limit(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let since = changes(fixture);
    let limit = Duration::from_millis(700);
    for _ in 0..2 {
        let begun = Instant::now();
        let (news, ()) = thread::scope(|scope| {
            let waiting = scope.spawn(|| fixture.registry.wait_for_news(since, limit).unwrap());
            // Heartbeats and beginnings of others wake nobody.
            let claim = fixture.registry.claim("w", &[made.definition.id], LONG).unwrap();
            let refresh = Refresh { claim: claim.map(|claim| claim.id), ..refresh_of(&made, "w") };
            (waiting.join().unwrap(), fixture.registry.begin_refreshes(&[refresh]).unwrap())
        });
        assert!(!news);
        assert!(begun.elapsed() >= limit && begun.elapsed() < limit * 4, "{:?}", begun.elapsed());
    }
    assert!(!fixture.registry.wait_for_news(since, Duration::ZERO).unwrap());
}

fn several_wait_and_work_at_once(fixture: &Fixture) {
    let since = changes(fixture);
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..6).map(|_| scope.spawn(|| fixture.registry.wait_for_news(since, LIMIT).unwrap())).collect();
        thread::sleep(Duration::from_millis(200));
        // Those who wait keep no connection from those who work.
        assert!(fixture.registry.load_all().unwrap().is_empty());
        fixture.registry.create(&table("daily")).unwrap();
        assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
    });
}

/// Several registries may share a database: those who wait for one are not woken by another.
#[test]
fn registries_of_one_database_hear_only_their_own_news() {
    let postgres = Postgres::shared().unwrap();
    let url = postgres.fresh_database().unwrap();
    let database = url.rsplit('/').next().unwrap();
    // Also a name that needs quotes, and one that differs only in case.
    postgres.psql(database, "CREATE SCHEMA team; CREATE SCHEMA \"Team\"").unwrap();
    let of_team = |team: &str| Registry::open(&format!("{url}?options=-csearch_path%3D{team}")).unwrap();
    let (first, second) = (of_team("team"), of_team("%22Team%22"));
    let since = first.news().unwrap().changes;
    assert!(!first.wait_for_news(since, Duration::from_millis(10)).unwrap());
    second.create(&table("daily")).unwrap();
    assert!(!first.wait_for_news(since, Duration::from_millis(300)).unwrap());
    first.create(&table("daily")).unwrap();
    assert!(first.wait_for_news(since, LIMIT).unwrap());
}

#[test]
fn a_lost_connection_is_told_and_made_again() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.create_database("registry").unwrap();
    let registry = Registry::open(&url).unwrap();
    let since = registry.news().unwrap().changes;
    let begun = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| registry.wait_for_news(since, LIMIT).unwrap_err());
        thread::sleep(Duration::from_millis(700));
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'registry'";
        postgres.psql("postgres", end).unwrap();
        assert_eq!(waiting.join().unwrap().code(), Code::Connection);
    });
    assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
    assert!(!registry.wait_for_news(since, Duration::from_millis(100)).unwrap());
    drop(postgres);
    assert_eq!(registry.wait_for_news(since, LIMIT).unwrap_err().code(), Code::Connection);
}

/// A registry that is dropped inside an async runtime, as a server does, must not panic.
#[test]
fn a_registry_that_has_waited_may_be_dropped_anywhere() {
    let fixture = Fixture::postgres();
    for inside in [false, true] {
        let registry = Registry::open(&fixture.url).unwrap();
        assert!(!registry.wait_for_news(registry.news().unwrap().changes, Duration::ZERO).unwrap());
        match inside {
            false => drop(registry),
            true => tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { drop(registry) }),
        }
    }
}
