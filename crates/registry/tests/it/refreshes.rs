//! Refreshes begin, end, are listed and tidied up.

use std::thread;

use error::{Code, Result};
use jiff::{Timestamp, ToSpan as _};
use registry::{
    Abandoned, DynamicTable, FinishedRefresh, HistoryFilter, Progress, ProgressChange, Refresh, RefreshAction,
    RefreshState,
};

use crate::fixture::{Fixture, name, published, refresh_of, table, time};

over_both_stores! {
    a_refresh_is_known_from_its_beginning,
    a_finished_refresh_comes_back_as_it_was,
    progress_history_and_publication_move_together,
    a_refresh_that_lost_the_race_changes_nothing,
    of_two_refreshes_at_once_one_publishes,
    a_group_is_finished_as_a_whole,
    a_failed_refresh_leaves_the_content,
    sources_are_recorded_as_they_were_read,
    history_is_newest_first_filtered_and_limited,
    abandoned_refreshes_are_reaped,
    old_history_is_pruned,
    an_unknown_refresh_cannot_be_finished,
}

/// Begins and finishes a refresh.
pub fn finish(fixture: &Fixture, table: &DynamicTable, before: Progress, after: Progress) -> Result<()> {
    let refresh = refresh_of(table, "w");
    fixture.registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
    fixture.registry.finish_refreshes(&[finished(refresh, before, after)])
}

fn finished(mut refresh: Refresh, before: Progress, after: Progress) -> FinishedRefresh {
    refresh.state = RefreshState::Succeeded;
    refresh.action = Some(RefreshAction::Incremental);
    refresh.completed_at = Some(time("2026-08-09T10:11:12Z"));
    FinishedRefresh { refresh, progress: Some(ProgressChange { before, after }), sources: None }
}

fn all(fixture: &Fixture) -> Vec<Refresh> {
    fixture.registry.history(&HistoryFilter::default(), 1000).unwrap()
}

fn a_refresh_is_known_from_its_beginning(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let refresh = refresh_of(&made, "host-1");
    fixture.registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
    assert_eq!(all(fixture), [refresh]);
}

fn a_finished_refresh_comes_back_as_it_was(fixture: &Fixture) {
    let made = table("Odd \"name\"");
    fixture.registry.create(&made).unwrap();
    let mut refresh = refresh_of(&made, "host-1");
    fixture.registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
    refresh.state = RefreshState::Failed;
    refresh.action = Some(RefreshAction::Full);
    refresh.reason = Some("42 % of the groups are affected".to_owned());
    refresh.completed_at = Some(time("2026-08-09T10:11:12.131415Z"));
    refresh.data_version = Some(10);
    refresh.data_timestamp = Some(time("2026-08-09T10:11:10Z"));
    refresh.snapshot = Some(11);
    refresh.rows_inserted = Some(1);
    refresh.rows_deleted = Some(0);
    refresh.rows_read = Some(20_000_000_000);
    refresh.duration_ms = Some(1500);
    refresh.lag_before_seconds = Some(300.25);
    refresh.lag_after_seconds = Some(1.5);
    refresh.choice = Some(serde_json::json!({"affected": 0.42, "threshold": 0.3, "sources": [{"rows": 12}]}));
    refresh.error_code = Some(Code::Resource);
    refresh.error_message = Some("disk full".to_owned());
    let outcome = FinishedRefresh { refresh: refresh.clone(), progress: None, sources: None };
    fixture.registry.finish_refreshes(&[outcome]).unwrap();
    assert_eq!(all(fixture), [refresh]);
    assert_eq!(fixture.registry.load_all().unwrap(), [made]);
}

fn progress_history_and_publication_move_together(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    finish(fixture, &made, Progress::default(), published(10, 11, "r1")).unwrap();
    finish(fixture, &made, published(10, 11, "r1"), published(20, 21, "r2")).unwrap();
    assert_eq!(fixture.registry.get(&name("daily")).unwrap().unwrap().progress, published(20, 21, "r2"));
    let id = made.definition.id;
    assert_eq!(fixture.registry.publication_at(id, 19).unwrap(), Some(11));
    assert_eq!(fixture.registry.publication_at(id, 20).unwrap(), Some(21));
    // The same data version published again, by a full refresh that was asked for.
    finish(fixture, &made, published(20, 21, "r2"), published(20, 22, "r3")).unwrap();
    assert_eq!(fixture.registry.publication_at(id, 20).unwrap(), Some(22));
    assert!(all(fixture).iter().all(|refresh| refresh.state == RefreshState::Succeeded));
}

fn a_refresh_that_lost_the_race_changes_nothing(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    finish(fixture, &made, Progress::default(), published(10, 11, "r1")).unwrap();
    let stale = [
        Progress::default(),
        published(9, 11, "r1"),
        published(10, 11, "another"),
        Progress { fence: 10, ..published(10, 11, "r1") },
    ];
    for before in stale {
        let error = finish(fixture, &made, before, published(20, 21, "r2")).unwrap_err();
        assert_eq!(error.code(), Code::Conflict);
    }
    assert_eq!(fixture.registry.get(&name("daily")).unwrap().unwrap().progress, published(10, 11, "r1"));
    assert_eq!(fixture.registry.publication_at(made.definition.id, 99).unwrap(), Some(11));
    assert_eq!(all(fixture).iter().filter(|refresh| refresh.state == RefreshState::Executing).count(), 4);
    // A table that was dropped meanwhile is a conflict too.
    fixture.registry.drop(&[made.definition.id]).unwrap();
    let error = finish(fixture, &made, published(10, 11, "r1"), published(20, 21, "r2")).unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
}

fn of_two_refreshes_at_once_one_publishes(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let results: Vec<_> = thread::scope(|scope| {
        let made = &made;
        let publish =
            |number: i64| finish(fixture, made, Progress::default(), published(10, number, &number.to_string()));
        let publishers: Vec<_> = (0..6).map(|number| scope.spawn(move || publish(number))).collect();
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let winner = i64::try_from(results.iter().position(Result::is_ok).unwrap()).unwrap();
    assert_eq!(fixture.registry.publication_at(made.definition.id, 10).unwrap(), Some(winner));
}

fn a_group_is_finished_as_a_whole(fixture: &Fixture) {
    let tables = [table("a"), table("b")];
    let refreshes = tables.each_ref().map(|table| refresh_of(table, "w"));
    for table in &tables {
        fixture.registry.create(table).unwrap();
    }
    fixture.registry.begin_refreshes(&refreshes).unwrap();
    let [first, second] = refreshes;
    let right = finished(first, Progress::default(), published(10, 11, "r1"));
    let wrong = finished(second.clone(), published(9, 9, "r0"), published(10, 11, "r2"));
    fixture.registry.finish_refreshes(&[right.clone(), wrong]).unwrap_err();
    assert_eq!(fixture.registry.load_all().unwrap(), tables);
    let corrected = finished(second, Progress::default(), published(10, 11, "r2"));
    fixture.registry.finish_refreshes(&[right, corrected]).unwrap();
    assert!(fixture.registry.load_all().unwrap().iter().all(|table| table.progress.data_version == Some(10)));
}

fn a_failed_refresh_leaves_the_content(fixture: &Fixture) {
    let mut made = table("daily");
    made.progress = published(10, 11, "r1");
    fixture.registry.create(&made).unwrap();
    let after =
        Progress { consecutive_failures: 1, retry_at: Some(time("2026-09-09T09:09:09Z")), ..published(10, 11, "r1") };
    finish(fixture, &made, published(10, 11, "r1"), after.clone()).unwrap();
    assert_eq!(fixture.registry.get(&name("daily")).unwrap().unwrap().progress, after);
    assert_eq!(fixture.registry.publication_at(made.definition.id, 10).unwrap(), Some(11));
}

fn sources_are_recorded_as_they_were_read(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let refresh = refresh_of(&made, "w");
    fixture.registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
    let mut sources = made.sources.clone();
    sources[0].lake_table_id = Some(99);
    let outcome = finished(refresh, Progress::default(), published(10, 11, "r1"));
    fixture.registry.finish_refreshes(&[FinishedRefresh { sources: Some(sources.clone()), ..outcome }]).unwrap();
    let stored = fixture.registry.get(&name("daily")).unwrap().unwrap();
    assert_eq!(stored.sources, sources);
    assert_eq!(stored.definition.revision, 1);
}

fn history_is_newest_first_filtered_and_limited(fixture: &Fixture) {
    let (daily, hourly) = (table("daily"), table("Hourly"));
    let mut refreshes = Vec::new();
    for number in 0..10 {
        let mut refresh = refresh_of(if number % 2 == 0 { &daily } else { &hourly }, "w");
        // Pairs begin at the same time; then the order of their ids decides.
        refresh.started_at = time("2026-01-01T00:00:00.5Z") + (number / 2).minutes();
        refreshes.push(refresh);
    }
    fixture.registry.begin_refreshes(&refreshes).unwrap();
    refreshes.reverse();
    assert_eq!(all(fixture), refreshes);
    assert_eq!(fixture.registry.history(&HistoryFilter::default(), 3).unwrap(), refreshes[..3]);

    let list = |filter: HistoryFilter| fixture.registry.history(&filter, 100).unwrap();
    let by_table = list(HistoryFilter { table: Some(daily.definition.id), ..HistoryFilter::default() });
    assert_eq!(by_table.len(), 5);
    assert!(by_table.iter().all(|refresh| refresh.table == daily.definition.id));
    let by_name = list(HistoryFilter { name: Some(name("hOURLY")), ..HistoryFilter::default() });
    assert_eq!(by_name.len(), 5);
    let since = list(HistoryFilter { since: Some(time("2026-01-01T00:03:00.5Z")), ..HistoryFilter::default() });
    assert_eq!(since, refreshes[..4]);
    let failed = HistoryFilter { state: Some(RefreshState::Failed), ..HistoryFilter::default() };
    assert!(list(failed).is_empty());
}

fn abandoned_refreshes_are_reaped(fixture: &Fixture) {
    let made = table("daily");
    let [mut old, mut other, recent, mut ended] = ["w1", "w2", "w1", "w1"].map(|worker| refresh_of(&made, worker));
    old.started_at = time("2026-01-01T00:00:00Z");
    other.started_at = old.started_at;
    ended.started_at = old.started_at;
    ended.state = RefreshState::Succeeded;
    fixture.registry.begin_refreshes(&[old.clone(), other.clone(), recent.clone(), ended.clone()]).unwrap();

    let started_before = time("2026-01-02T00:00:00Z");
    let of_one_worker = Abandoned { worker: Some("w1".to_owned()), started_before };
    assert_eq!(fixture.registry.reap_executing(&of_one_worker).unwrap(), 1);
    assert_eq!(fixture.registry.reap_executing(&of_one_worker).unwrap(), 0);
    let reaped = all(fixture).into_iter().find(|refresh| refresh.id == old.id).unwrap();
    assert_eq!(reaped.state, RefreshState::Failed);
    assert_eq!(reaped.error_code, Some(Code::Internal));
    assert_eq!(reaped.error_message.as_deref(), Some("the process died"));
    assert!(reaped.completed_at.is_some());
    let executing = HistoryFilter { state: Some(RefreshState::Executing), ..HistoryFilter::default() };
    assert_eq!(fixture.registry.history(&executing, 10).unwrap(), [recent, other]);
    assert_eq!(fixture.registry.reap_executing(&Abandoned { worker: None, started_before }).unwrap(), 1);
}

fn old_history_is_pruned(fixture: &Fixture) {
    let made = table("daily");
    let [mut old, mut recent, executing] = ["w"; 3].map(|worker| refresh_of(&made, worker));
    old.completed_at = Some(time("2026-01-01T00:00:00Z"));
    recent.completed_at = Some(Timestamp::now());
    fixture.registry.begin_refreshes(&[old, recent.clone(), executing.clone()]).unwrap();
    assert_eq!(fixture.registry.prune_history(time("2026-01-02T00:00:00Z")).unwrap(), 1);
    let left: Vec<_> = all(fixture).into_iter().map(|refresh| refresh.id).collect();
    assert_eq!(left, [executing.id, recent.id]);
}

fn an_unknown_refresh_cannot_be_finished(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let outcome = finished(refresh_of(&made, "w"), Progress::default(), published(10, 11, "r1"));
    let error = fixture.registry.finish_refreshes(&[outcome]).unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(fixture.registry.load_all().unwrap(), [made]);
}
