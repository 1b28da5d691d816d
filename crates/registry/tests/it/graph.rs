//! The graph's past.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use registry::{
    AlterTrigger, Alteration, DynamicTable, FinishedRefresh, GraphFilter, GraphInput, GraphPeriod, Registry,
    SchedulingState, SourceKind, SuspendedBy,
};
use sql::properties::{Scheduler, TargetLag};
use uuid::Uuid;

use crate::fixture::{Fixture, name, refresh_of, table, table_over, time};

over_both_stores! {
    a_life_in_periods,
    a_renamed_table_takes_its_readers_along,
    sources_count_only_if_they_are_others,
    what_changes_nothing_begins_no_period,
    a_change_that_fails_leaves_the_past_alone,
    the_past_is_filtered_and_limited,
    the_past_is_pruned_but_not_the_present,
    changes_at_once_leave_one_line_of_periods,
    a_clock_that_goes_back_leaves_no_overlap,
    a_registry_of_the_first_version_begins_its_past,
}

/// All periods, the oldest first.
fn past(fixture: &Fixture) -> Vec<GraphPeriod> {
    let mut periods = fixture.registry.graph_history(&GraphFilter::default(), 10_000).unwrap();
    periods.reverse();
    periods
}

fn triggers(fixture: &Fixture, table: &DynamicTable) -> Vec<Vec<AlterTrigger>> {
    let own = past(fixture).into_iter().filter(|period| period.table == table.definition.id);
    own.map(|period| period.alter_trigger).collect()
}

/// The periods of each table follow each other without gap and overlap, and only the last may be open.
fn assert_contiguous(periods: &[GraphPeriod]) {
    let mut ends: BTreeMap<Uuid, Option<Timestamp>> = BTreeMap::new();
    for period in periods {
        assert!(period.valid_to.is_none_or(|end| end >= period.valid_from), "{period:?}");
        if let Some(before) = ends.insert(period.table, period.valid_to) {
            assert_eq!(before, Some(period.valid_from), "{period:?}");
        }
    }
}

fn alter(fixture: &Fixture, table: &str, change: impl FnOnce(&mut Alteration)) {
    let stored = fixture.registry.get(&name(table)).unwrap().unwrap();
    let mut alteration = Alteration { definition: stored.definition, sources: stored.sources, progress: None };
    change(&mut alteration);
    fixture.registry.alter(&[alteration]).unwrap();
}

fn suspended(reason: &str) -> SchedulingState {
    SchedulingState::Suspended {
        by: SuspendedBy::Failures,
        reason: Some(reason.to_owned()),
        since: time("2026-05-06T07:08:09Z"),
    }
}

fn a_life_in_periods(fixture: &Fixture) {
    let registry = &fixture.registry;
    let made = table("daily");
    let id = made.definition.id;
    let begun = registry.news().unwrap().now;
    registry.create(&made).unwrap();
    alter(fixture, "daily", |alteration| alteration.definition.properties.target_lag = Some(TargetLag::Downstream));
    registry.set_state(&[id], &suspended("five failures")).unwrap();
    registry.set_state(&[id], &suspended("six failures")).unwrap();
    registry.set_state(&[id], &SchedulingState::Running).unwrap();
    alter(fixture, "daily", |alteration| {
        alteration.definition.query = "SELECT 1".to_owned();
        alteration.definition.properties.scheduler = Scheduler::Disable;
        alteration.definition.incremental = false;
        alteration.sources.clear();
    });
    registry.drop(&[id]).unwrap();
    let ended = registry.news().unwrap().now;

    let periods = past(fixture);
    assert_contiguous(&periods);
    use AlterTrigger as Word;
    let words: Vec<&[Word]> = periods.iter().map(|period| period.alter_trigger.as_slice()).collect();
    let expected: [&[Word]; 7] = [
        &[Word::CreateDynamicTable],
        &[Word::AlterTargetLag],
        &[Word::Suspend],
        &[Word::Suspend],
        &[Word::Resume],
        &[Word::Replace, Word::Alter],
        &[Word::Drop],
    ];
    assert_eq!(words, expected);
    let first = &periods[0].node;
    assert_eq!(first.name, name("daily"));
    assert_eq!(first.query, made.definition.query);
    assert_eq!((first.target_lag.as_deref(), first.scheduler.as_deref()), (Some("5 minutes"), Some("ENABLE")));
    assert_eq!((first.refresh_mode.as_str(), first.scheduling_state.as_str()), ("INCREMENTAL", "RUNNING"));
    let orders = GraphInput { schema: "main".to_owned(), name: "orders".to_owned(), kind: SourceKind::Table };
    assert_eq!(first.inputs, [orders]);
    assert_eq!(periods[1].node.target_lag.as_deref(), Some("DOWNSTREAM"));
    assert_eq!(periods[2].node.suspended_reason.as_deref(), Some("five failures"));
    assert_eq!(periods[3].node.suspended_reason.as_deref(), Some("six failures"));
    assert_eq!((periods[4].node.scheduling_state.as_str(), &periods[4].node.suspended_reason), ("RUNNING", &None));
    let last = &periods[5].node;
    assert_eq!((last.query.as_str(), last.refresh_mode.as_str(), last.inputs.len()), ("SELECT 1", "FULL", 0));
    assert_eq!(last.scheduler.as_deref(), Some("DISABLE"));
    assert_eq!(periods[6].node, *last);
    assert_eq!(Some(periods[6].valid_from), periods[6].valid_to);
    // By the database's clock.
    assert!(periods[0].valid_from >= begun && periods[6].valid_from <= ended, "{begun} {periods:?} {ended}");
}

fn a_renamed_table_takes_its_readers_along(fixture: &Fixture) {
    let upstream = table("old");
    let (reader, other) = (table_over("reader", &upstream), table("other"));
    for table in [&upstream, &reader, &other] {
        fixture.registry.create(table).unwrap();
    }
    alter(fixture, "old", |alteration| alteration.definition.name = name("new"));
    assert_eq!(triggers(fixture, &upstream)[1..], [[AlterTrigger::Rename]]);
    assert_eq!(triggers(fixture, &reader)[1..], [[AlterTrigger::Rename]]);
    assert_eq!(triggers(fixture, &other).len(), 1);
    let periods = past(fixture);
    assert_contiguous(&periods);
    // Both at once: at no time did the graph hang in the air.
    let renamed: Vec<_> = periods.iter().filter(|period| period.alter_trigger == [AlterTrigger::Rename]).collect();
    assert_eq!(renamed[0].valid_from, renamed[1].valid_from);
    let reading = renamed.iter().find(|period| period.table == reader.definition.id).unwrap();
    assert_eq!(reading.node.inputs[0].name, "new");
}

fn sources_count_only_if_they_are_others(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let mut sources = made.sources.clone();
    let read = |sources: &[registry::Source]| {
        let refresh = refresh_of(&made, "w");
        fixture.registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
        let finished = FinishedRefresh { refresh, progress: None, sources: Some(sources.to_vec()) };
        fixture.registry.finish_refreshes(&[finished]).unwrap();
    };
    // The table was replaced in the lake, but it is still that of this name.
    sources[0].lake_table_id = Some(99);
    read(&sources);
    assert_eq!(past(fixture).len(), 1);
    sources[0].kind = SourceKind::View;
    read(&sources);
    assert_eq!(triggers(fixture, &made)[1..], [[AlterTrigger::Sources]]);
    assert_contiguous(&past(fixture));
}

fn what_changes_nothing_begins_no_period(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    fixture.registry.set_state(&[made.definition.id], &SchedulingState::Running).unwrap();
    alter(fixture, "daily", |alteration| alteration.definition.properties.comment = Some("no matter".to_owned()));
    fixture.registry.drop(&[Uuid::now_v7()]).unwrap();
    assert_eq!(past(fixture).len(), 1);
    fixture.registry.drop(&[made.definition.id]).unwrap();
    fixture.registry.drop(&[made.definition.id]).unwrap();
    assert_eq!(past(fixture).len(), 2);
}

fn a_change_that_fails_leaves_the_past_alone(fixture: &Fixture) {
    let upstream = table("upstream");
    fixture.registry.create(&upstream).unwrap();
    fixture.registry.create(&table_over("reader", &upstream)).unwrap();
    let before = past(fixture);
    fixture.registry.create(&table("reader")).unwrap_err();
    fixture.registry.drop(&[upstream.definition.id]).unwrap_err();
    let mut stale = Alteration { definition: upstream.definition, sources: vec![], progress: None };
    stale.definition.revision = 7;
    stale.definition.query = "SELECT 7".to_owned();
    fixture.registry.alter(&[stale]).unwrap_err();
    assert_eq!(past(fixture), before);
}

fn the_past_is_filtered_and_limited(fixture: &Fixture) {
    let (daily, hourly) = (table("daily"), table("Hourly"));
    fixture.registry.create(&daily).unwrap();
    fixture.registry.create(&hourly).unwrap();
    alter(fixture, "daily", |alteration| alteration.definition.name = name("weekly"));
    let list = |filter: GraphFilter, limit| {
        let periods = fixture.registry.graph_history(&filter, limit).unwrap();
        periods.into_iter().map(|period| period.node.name.name).collect::<Vec<_>>()
    };
    let of = |table: &DynamicTable| GraphFilter { table: Some(table.definition.id), name: None };
    let named = |text: &str| GraphFilter { table: None, name: Some(name(text)) };
    assert_eq!(list(of(&daily), 10), ["weekly", "daily"]);
    assert_eq!(list(of(&daily), 1), ["weekly"]);
    assert_eq!(list(named("DAILY"), 10), ["daily"]);
    assert_eq!(list(named("hourly"), 10), ["Hourly"]);
    assert_eq!(list(GraphFilter::default(), 2)[0], "weekly");
    assert_eq!(list(GraphFilter::default(), 10).len(), 3);
}

fn the_past_is_pruned_but_not_the_present(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    fixture.registry.set_state(&[made.definition.id], &suspended("x")).unwrap();
    thread::sleep(Duration::from_millis(10));
    fixture.registry.prune_history(fixture.registry.news().unwrap().now).unwrap();
    assert_eq!(triggers(fixture, &made), [[AlterTrigger::Suspend]]);
    fixture.registry.set_state(&[made.definition.id], &SchedulingState::Running).unwrap();
    assert_eq!(triggers(fixture, &made), [[AlterTrigger::Suspend], [AlterTrigger::Resume]]);
    assert_contiguous(&past(fixture));
    // Without any past it goes on from here.
    fixture.ask("DELETE FROM graph_history");
    fixture.registry.set_state(&[made.definition.id], &suspended("y")).unwrap();
    assert_eq!(triggers(fixture, &made), [[]]);
}

fn changes_at_once_leave_one_line_of_periods(fixture: &Fixture) {
    const ROUNDS: usize = 30;
    let tables = [table("a"), table("b"), table("c")];
    let ids = tables.each_ref().map(|table| table.definition.id);
    for table in &tables {
        fixture.registry.create(table).unwrap();
    }
    thread::scope(|scope| {
        for order in [[ids[0], ids[1], ids[2]], [ids[2], ids[1], ids[0]]] {
            let registry = Registry::open(&fixture.url).unwrap();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    registry.set_state(&order, &suspended(&format!("{round} {}", order[0]))).unwrap();
                }
            });
        }
        let registry = Registry::open(&fixture.url).unwrap();
        let made = &tables[1];
        scope.spawn(move || {
            for round in 0..ROUNDS {
                let refresh = refresh_of(made, "w");
                registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
                let mut sources = made.sources.clone();
                sources[0].name = name(&format!("orders{round}"));
                let finished = FinishedRefresh { refresh, progress: None, sources: Some(sources) };
                registry.finish_refreshes(&[finished]).unwrap();
            }
        });
    });
    let periods = past(fixture);
    assert_contiguous(&periods);
    assert_eq!(periods.iter().filter(|period| period.valid_to.is_none()).count(), 3);
    let rewired = periods.iter().filter(|period| period.alter_trigger == [AlterTrigger::Sources]);
    assert_eq!(rewired.count(), ROUNDS);
}

fn a_clock_that_goes_back_leaves_no_overlap(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    // As if the clock had been an hour ahead.
    let ahead = fixture.registry.news().unwrap().now + Duration::from_hours(1);
    fixture.ask(&format!("UPDATE graph_history SET valid_from = '{ahead:.6}'"));
    fixture.registry.set_state(&[made.definition.id], &suspended("x")).unwrap();
    let periods = past(fixture);
    assert_contiguous(&periods);
    assert_eq!(periods.len(), 2);
    assert!(periods[1].valid_to.is_none());
}

fn a_registry_of_the_first_version_begins_its_past(fixture: &Fixture) {
    let upstream = table("daily");
    let mut reader = table_over("Odd \"reader\"", &upstream);
    reader.definition.state = suspended("five failures");
    reader.definition.incremental = false;
    reader.sources.push(table("x").sources.remove(0));
    let none = DynamicTable { sources: vec![], ..table("none") };
    for table in [&upstream, &reader, &none] {
        fixture.registry.create(table).unwrap();
    }
    let refresh = refresh_of(&upstream, "w");
    fixture.registry.begin_refreshes(std::slice::from_ref(&refresh)).unwrap();
    let by_program: Vec<_> = past(fixture).into_iter().map(|period| (period.table, period.node)).collect();
    for undo in [
        "DROP TABLE graph_history",
        "DROP TABLE registry_state",
        "DROP TABLE worker",
        "DROP TABLE refresh_claim",
        "DROP TABLE refresh_wish",
        "DROP TABLE task",
        "DROP TABLE pipeline_destination",
        "DROP TABLE pipeline",
        "DROP TABLE transfer_run",
        "DROP TABLE transfer",
        "DROP TABLE connection",
        "DROP TABLE compaction_history",
        "ALTER TABLE refresh_history DROP COLUMN claim_id",
        "ALTER TABLE refresh_history DROP COLUMN steps",
        "ALTER TABLE dynamic_table DROP COLUMN time_dependent",
        "DELETE FROM dynamic_tables_migration WHERE version > 1",
    ] {
        fixture.ask(undo);
    }
    let migrated = Registry::open(&fixture.url).unwrap();
    let mut periods = migrated.graph_history(&GraphFilter::default(), 10).unwrap();
    assert!(periods.iter().all(|period| period.alter_trigger.is_empty() && period.valid_to.is_none()), "{periods:?}");
    periods.sort_by_key(|period| period.table);
    // The migration says the same as the program does, or the next change would seem to change more.
    assert_eq!(periods.into_iter().map(|period| (period.table, period.node)).collect::<Vec<_>>(), by_program);
    assert_eq!(migrated.load_all().unwrap().len(), 3);
    assert_eq!(migrated.news().unwrap().changes, 0);
    assert_eq!(migrated.history(&registry::HistoryFilter::default(), 10).unwrap(), [refresh]);
    migrated.set_state(&[upstream.definition.id], &suspended("x")).unwrap();
    assert_eq!(triggers(fixture, &upstream), [vec![], vec![AlterTrigger::Suspend]]);
    assert_contiguous(&past(fixture));
}
