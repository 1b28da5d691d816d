//! Create, change, drop, find.

use std::thread;

use error::Code;
use registry::{
    Advance, Alteration, DynamicTable, LastRefresh, RefreshAction, RefreshState, SchedulingState, Source, SourceKind,
    SuspendedBy,
};
use sql::names::TableName;
use sql::properties::{Properties, RefreshMode, Scheduler, TargetLag};
use uuid::Uuid;

use crate::fixture::{Fixture, name, published, table, table_over, time};

over_both_stores! {
    everything_comes_back_as_it_was_recorded,
    names_are_equal_regardless_of_case,
    odd_names_are_only_names,
    one_of_many_creators_of_a_name_wins,
    a_changed_definition_has_to_be_read_again,
    of_two_changes_at_once_one_wins,
    a_renamed_table_keeps_its_readers,
    a_taken_name_cannot_be_taken_by_renaming,
    a_table_that_others_read_is_not_dropped,
    a_dropped_table_leaves_only_its_history,
    a_reader_of_a_dropped_table_cannot_be_created,
    states_are_set_together_and_leave_the_revision,
    a_change_leaves_the_state_that_was_set_meanwhile,
    a_replaced_table_begins_anew,
    data_versions_advance_together_but_never_over_a_refresh,
    many_data_versions_advance_at_once,
    publications_are_found_by_data_version,
    publications_the_lake_has_forgotten_are_pruned,
}

fn alteration(table: &DynamicTable) -> Alteration {
    Alteration { definition: table.definition.clone(), sources: table.sources.clone(), progress: None }
}

fn everything_comes_back_as_it_was_recorded(fixture: &Fixture) {
    let plain = table("plain");
    let mut full = table_over("full", &plain);
    full.definition.query = "SELECT '$1 ? {} \u{1F980}\n' FROM plain -- ü".to_owned();
    full.definition.properties = Properties {
        target_lag: Some(TargetLag::Downstream),
        refresh_mode: RefreshMode::Full,
        deduplication: true,
        cardinality_threshold: 0.123_456_789,
        parallel_threshold: 9_007_199_254_740_993,
        comment: Some("it's \"odd\"".to_owned()),
        scheduler: Scheduler::Disable,
        ..Properties::default()
    };
    full.definition.refresh_mode_reason = Some("REFRESH_MODE = FULL".to_owned());
    full.definition.incremental = false;
    full.definition.state = SchedulingState::Suspended {
        by: SuspendedBy::Failures,
        reason: Some("five failures".to_owned()),
        since: time("2026-05-06T07:08:09Z"),
    };
    full.sources.push(Source {
        name: TableName::new("Odd Schema", "a view"),
        kind: SourceKind::View,
        lake_table_id: None,
        upstream: None,
        columns: vec![],
    });
    full.sources.extend(table("x").sources);
    full.progress = published(10, 12, "r1");
    full.progress.target_table_id = Some(i64::MAX);
    full.progress.last_refresh = Some(LastRefresh {
        state: RefreshState::Failed,
        action: Some(RefreshAction::Reinitialize),
        at: time("1999-12-31T23:59:59.999999Z"),
        duration_ms: Some(1234),
        error: Some("QUERY: no".to_owned()),
    });
    full.progress.consecutive_failures = 3;
    full.progress.retry_at = Some(time("2026-05-06T07:08:09.1Z"));
    full.progress.rows = Some(5);
    full.progress.bytes = Some(6);
    full.progress.mean_refresh_seconds = Some(0.1);

    fixture.registry.create(&plain).unwrap();
    fixture.registry.create(&full).unwrap();
    assert_eq!(fixture.registry.load_all().unwrap(), [full.clone(), plain.clone()]);
    assert_eq!(fixture.registry.get(&name("full")).unwrap(), Some(full));
    assert_eq!(fixture.registry.get(&name("plain")).unwrap(), Some(plain));
    assert_eq!(fixture.registry.get(&TableName::new("other", "plain")).unwrap(), None);
}

fn names_are_equal_regardless_of_case(fixture: &Fixture) {
    fixture.registry.create(&table("Daily")).unwrap();
    let error = fixture.registry.create(&table("dAILY")).unwrap_err();
    assert_eq!(error.code(), Code::Configuration);
    assert_eq!(error.message(), "dynamic table main.dAILY already exists");
    assert!(!error.is_transient());
    let found = fixture.registry.get(&TableName::new("MAIN", "daily")).unwrap().unwrap();
    assert_eq!(found.definition.name.name, "Daily");
    // Only ASCII letters are folded, as in DuckDB.
    fixture.registry.create(&table("größe")).unwrap();
    fixture.registry.create(&table("GRÖßE")).unwrap();
    assert_eq!(fixture.registry.get(&name("GRöSSE")).unwrap(), None);
    assert_eq!(fixture.registry.get(&name("GRößE")).unwrap().unwrap().definition.name.name, "größe");
}

fn odd_names_are_only_names(fixture: &Fixture) {
    let odd = [
        "Odd name",
        "a.b",
        "\"",
        "x'); DROP TABLE dynamic_table; --",
        "%",
        "_",
        "$1",
        "{}",
        "ünï",
        "\u{1F980}",
        "\\",
    ];
    for odd in odd {
        let mut made = table(odd);
        made.sources[0].name = TableName::new(odd, odd);
        fixture.registry.create(&made).unwrap();
        assert_eq!(fixture.registry.get(&name(odd)).unwrap(), Some(made), "{odd}");
    }
    assert_eq!(fixture.registry.load_all().unwrap().len(), odd.len());
}

fn one_of_many_creators_of_a_name_wins(fixture: &Fixture) {
    let results: Vec<_> = thread::scope(|scope| {
        let creators: Vec<_> = (0..8).map(|_| scope.spawn(|| fixture.registry.create(&table("daily")))).collect();
        creators.into_iter().map(|creator| creator.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.code(), Code::Configuration, "{error}");
    }
    assert_eq!(fixture.registry.load_all().unwrap().len(), 1);
}

fn a_changed_definition_has_to_be_read_again(fixture: &Fixture) {
    let first = table("daily");
    fixture.registry.create(&first).unwrap();
    let mut change = alteration(&first);
    change.definition.query = "SELECT 2".to_owned();
    change.sources.clear();
    fixture.registry.alter(std::slice::from_ref(&change)).unwrap();
    let changed = fixture.registry.get(&name("daily")).unwrap().unwrap();
    assert_eq!(changed.definition.revision, 2);
    assert_eq!(changed.definition.query, "SELECT 2");
    assert!(changed.sources.is_empty());
    assert_eq!(changed.progress, first.progress);

    // One stale revision spoils all changes of the transaction.
    let other = table("other");
    fixture.registry.create(&other).unwrap();
    let mut harmless = alteration(&other);
    harmless.definition.query = "SELECT 3".to_owned();
    let error = fixture.registry.alter(&[harmless, change]).unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(!error.is_transient());
    assert_eq!(fixture.registry.get(&name("other")).unwrap(), Some(other));
    assert_eq!(fixture.registry.get(&name("daily")).unwrap(), Some(changed));
}

fn of_two_changes_at_once_one_wins(fixture: &Fixture) {
    let first = table("daily");
    fixture.registry.create(&first).unwrap();
    let results: Vec<_> = thread::scope(|scope| {
        let change = |number: usize| {
            let mut change = alteration(&first);
            change.definition.query = format!("SELECT {number}");
            fixture.registry.alter(&[change])
        };
        let changers: Vec<_> = (0..6).map(|number| scope.spawn(move || change(number))).collect();
        changers.into_iter().map(|changer| changer.join().unwrap()).collect()
    });
    let winner = results.iter().position(Result::is_ok).unwrap();
    let stored = fixture.registry.get(&name("daily")).unwrap().unwrap();
    assert_eq!(stored.definition.query, format!("SELECT {winner}"));
    assert_eq!(stored.definition.revision, 2);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.code(), Code::Conflict, "{error}");
    }
}

fn a_renamed_table_keeps_its_readers(fixture: &Fixture) {
    let upstream = table("old");
    let reader = table_over("reader", &upstream);
    fixture.registry.create(&upstream).unwrap();
    fixture.registry.create(&reader).unwrap();

    let mut renamed = alteration(&upstream);
    renamed.definition.name = name("new");
    let mut rewritten = alteration(&reader);
    rewritten.definition.query = "SELECT total FROM new".to_owned();
    fixture.registry.alter(&[renamed, rewritten]).unwrap();

    assert_eq!(fixture.registry.get(&name("old")).unwrap(), None);
    assert_eq!(fixture.registry.get(&name("new")).unwrap().unwrap().definition.id, upstream.definition.id);
    let reader = fixture.registry.get(&name("reader")).unwrap().unwrap();
    assert_eq!(reader.sources[0].name, name("new"));
    assert_eq!(reader.sources[0].upstream, Some(upstream.definition.id));
    assert_eq!(reader.definition.query, "SELECT total FROM new");
}

fn a_taken_name_cannot_be_taken_by_renaming(fixture: &Fixture) {
    let (first, second) = (table("first"), table("second"));
    fixture.registry.create(&first).unwrap();
    fixture.registry.create(&second).unwrap();
    let mut renamed = alteration(&second);
    renamed.definition.name = name("FIRST");
    let error = fixture.registry.alter(&[renamed]).unwrap_err();
    assert_eq!(error.code(), Code::Configuration);
    assert_eq!(error.message(), "dynamic table main.FIRST already exists");
    assert_eq!(fixture.registry.get(&name("second")).unwrap(), Some(second));
}

fn a_table_that_others_read_is_not_dropped(fixture: &Fixture) {
    let upstream = table("Odd upstream");
    let (first, second) = (table_over("first", &upstream), table_over("second", &upstream));
    for table in [&upstream, &first, &second] {
        fixture.registry.create(table).unwrap();
    }
    let ids = [upstream.definition.id, first.definition.id, second.definition.id];
    let error = fixture.registry.drop(&ids[..1]).unwrap_err();
    assert_eq!(error.code(), Code::Dependency);
    assert_eq!(error.message(), "cannot drop main.\"Odd upstream\": main.first, main.second depend on it");
    let error = fixture.registry.drop(&ids[..2]).unwrap_err();
    assert_eq!(error.message(), "cannot drop main.\"Odd upstream\": main.second depends on it");
    assert_eq!(fixture.registry.load_all().unwrap(), [upstream, first, second]);
    // Together they go, in whatever order they are named.
    assert_eq!(fixture.registry.drop(&ids).unwrap(), 3);
    assert_eq!(fixture.registry.drop(&ids).unwrap(), 0);
}

fn a_dropped_table_leaves_only_its_history(fixture: &Fixture) {
    let mut made = table("daily");
    made.progress = published(10, 11, "r1");
    fixture.registry.create(&made).unwrap();
    let refresh = crate::fixture::refresh_of(&made, "w");
    fixture.registry.begin_refreshes(&[refresh]).unwrap();
    fixture.registry.drop(&[made.definition.id]).unwrap();
    for (left, table) in
        [(0, "dynamic_table_source"), (0, "dynamic_table_progress"), (0, "publication"), (1, "refresh_history")]
    {
        assert_eq!(fixture.ask(&format!("SELECT count(*) FROM {table}")), left.to_string(), "{table}");
    }
    // The name is free again.
    fixture.registry.create(&table("daily")).unwrap();
}

fn a_reader_of_a_dropped_table_cannot_be_created(fixture: &Fixture) {
    let upstream = table("gone");
    let error = fixture.registry.create(&table_over("reader", &upstream)).unwrap_err();
    assert_eq!(error.code(), Code::Dependency);
    assert_eq!(error.message(), "dynamic table main.gone does not exist any more");
    assert!(fixture.registry.load_all().unwrap().is_empty());
}

fn states_are_set_together_and_leave_the_revision(fixture: &Fixture) {
    let tables = [table("a"), table("b"), table("c")];
    for table in &tables {
        fixture.registry.create(table).unwrap();
    }
    let suspended =
        SchedulingState::Suspended { by: SuspendedBy::User, reason: None, since: time("2026-05-06T07:08:09Z") };
    fixture.registry.set_state(&[tables[0].definition.id, tables[2].definition.id], &suspended).unwrap();
    let states = || fixture.registry.load_all().unwrap().into_iter().map(|table| table.definition.state);
    assert!(states().eq([suspended.clone(), SchedulingState::Running, suspended.clone()]));
    fixture
        .registry
        .set_state(&tables.each_ref().map(|table| table.definition.id), &SchedulingState::Running)
        .unwrap();
    assert!(states().all(|state| state.is_running()));
    fixture.registry.set_state(&[], &suspended).unwrap();
    assert_eq!(fixture.registry.load_all().unwrap(), tables);
}

fn a_change_leaves_the_state_that_was_set_meanwhile(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let suspended =
        SchedulingState::Suspended { by: SuspendedBy::Failures, reason: None, since: time("2026-05-06T07:08:09Z") };
    fixture.registry.set_state(&[made.definition.id], &suspended).unwrap();
    fixture.registry.alter(&[alteration(&made)]).unwrap();
    assert_eq!(fixture.registry.get(&name("daily")).unwrap().unwrap().definition.state, suspended);
}

fn a_replaced_table_begins_anew(fixture: &Fixture) {
    let mut made = table("daily");
    made.progress = published(10, 11, "r1");
    let id = made.definition.id;
    fixture.registry.create(&made).unwrap();
    assert_eq!(fixture.registry.publication_at(id, 10).unwrap(), Some(11));
    let replacement = Alteration { progress: Some(published(20, 21, "r2")), ..alteration(&made) };
    fixture.registry.alter(&[replacement]).unwrap();
    assert_eq!(fixture.registry.publication_at(id, 19).unwrap(), None);
    assert_eq!(fixture.registry.publication_at(id, 20).unwrap(), Some(21));
    assert_eq!(fixture.registry.get(&name("daily")).unwrap().unwrap().progress, published(20, 21, "r2"));
}

fn advance(table: &DynamicTable, refresh_id: Option<&str>, data_version: i64) -> Advance {
    Advance {
        table: table.definition.id,
        refresh_id: refresh_id.map(str::to_owned),
        data_version,
        data_timestamp: time("2026-07-08T09:10:11Z"),
    }
}

fn data_versions_advance_together_but_never_over_a_refresh(fixture: &Fixture) {
    let mut tables = ["a", "b", "c", "d"].map(table);
    for table in &mut tables[..3] {
        table.progress = published(10, 11, "r1");
    }
    for table in &tables {
        fixture.registry.create(table).unwrap();
    }
    let moved = fixture.registry.advance(&[
        advance(&tables[0], Some("r1"), 15),
        advance(&tables[1], Some("another refresh"), 15),
        advance(&tables[2], Some("r1"), 9),
        advance(&tables[3], None, 15),
    ]);
    assert_eq!(moved.unwrap(), 1);
    let stored = fixture.registry.load_all().unwrap();
    let versions: Vec<_> = stored.iter().map(|table| table.progress.data_version).collect();
    assert_eq!(versions, [Some(15), Some(10), Some(10), None]);
    assert_eq!(stored[0].progress.data_timestamp, Some(time("2026-07-08T09:10:11Z")));
    assert_eq!(stored[0].progress.snapshot, Some(11));
    // It needs no publication: the one before still holds its content.
    assert_eq!(fixture.registry.publication_at(tables[0].definition.id, 15).unwrap(), Some(11));
    assert_eq!(fixture.registry.advance(&[]).unwrap(), 0);
}

fn many_data_versions_advance_at_once(fixture: &Fixture) {
    let mut made = table("daily");
    made.progress = published(1, 1, "r1");
    fixture.registry.create(&made).unwrap();
    let mut advances: Vec<Advance> =
        (0..12_000).map(|_| Advance { table: Uuid::now_v7(), ..advance(&made, Some("r1"), 5) }).collect();
    advances.push(advance(&made, Some("r1"), 5));
    assert_eq!(fixture.registry.advance(&advances).unwrap(), 1);
}

fn publications_are_found_by_data_version(fixture: &Fixture) {
    let mut made = table("daily");
    made.progress = published(10, 11, "r1");
    let id = made.definition.id;
    fixture.registry.create(&made).unwrap();
    assert_eq!(fixture.registry.publication_at(id, 9).unwrap(), None);
    assert_eq!(fixture.registry.publication_at(id, 10).unwrap(), Some(11));
    assert_eq!(fixture.registry.publication_at(id, 1000).unwrap(), Some(11));
    assert_eq!(fixture.registry.publication_at(Uuid::now_v7(), 1000).unwrap(), None);
}

fn publications_the_lake_has_forgotten_are_pruned(fixture: &Fixture) {
    let made = table("daily");
    let id = made.definition.id;
    fixture.registry.create(&made).unwrap();
    let mut before = made.progress.clone();
    for version in [10, 20, 30] {
        let after = published(version, version + 1, &format!("r{version}"));
        crate::refreshes::finish(fixture, &made, before, after.clone()).unwrap();
        before = after;
    }
    assert_eq!(fixture.registry.prune_publications(21).unwrap(), 1);
    assert_eq!(fixture.registry.publication_at(id, 19).unwrap(), None);
    assert_eq!(fixture.registry.publication_at(id, 29).unwrap(), Some(21));
    // The latest stays, since it is what the table is.
    assert_eq!(fixture.registry.prune_publications(1000).unwrap(), 1);
    assert_eq!(fixture.registry.publication_at(id, 30).unwrap(), Some(31));
}
