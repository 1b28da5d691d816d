//! Compactions are listed as they were written down, and forgotten with the rest of the history.

use error::Code;
use registry::{Compaction, CompactionFilter};
use uuid::Uuid;

use crate::fixture::{Fixture, name, time};

over_both_stores! {
    compactions_are_written_down_and_forgotten,
}

fn compactions_are_written_down_and_forgotten(fixture: &Fixture) {
    let registry = &fixture.registry;
    let done = Compaction {
        id: Uuid::now_v7(),
        table: Uuid::now_v7(),
        name: name("daily"),
        is_state: false,
        started_at: time("2026-01-01T00:00:00Z"),
        duration_ms: 120,
        files_before: 40,
        files_after: Some(2),
        rows_before: 10_000,
        deleted_before: 500,
        inlined_before: 7,
        error_code: None,
        error_message: None,
        worker: Some("w".to_owned()),
    };
    let failed = Compaction {
        id: Uuid::now_v7(),
        table: Uuid::now_v7(),
        is_state: true,
        started_at: time("2026-01-03T00:00:00Z"),
        files_after: None,
        error_code: Some(Code::Conflict),
        error_message: Some("somebody else".to_owned()),
        worker: None,
        ..done.clone()
    };
    registry.record_compaction(&done).unwrap();
    registry.record_compaction(&failed).unwrap();
    let listed = |filter: CompactionFilter| registry.compactions(&filter, 10).unwrap();
    let all = CompactionFilter::default();
    assert_eq!(listed(all.clone()), [failed.clone(), done.clone()]);
    assert_eq!(registry.compactions(&all, 1).unwrap(), std::slice::from_ref(&failed));
    assert_eq!(listed(CompactionFilter { table: Some(done.table), ..all.clone() }), [done]);
    assert_eq!(listed(CompactionFilter { only_failures: true, ..all.clone() }), std::slice::from_ref(&failed));
    assert_eq!(
        listed(CompactionFilter { since: Some(time("2026-01-02T00:00:00Z")), ..all.clone() }),
        std::slice::from_ref(&failed)
    );
    let said = "SELECT name, files_before, files_after FROM compaction_history ORDER BY started_at";
    assert_eq!(fixture.ask(said), "daily|40|2\ndaily|40|");
    registry.prune_history(time("2026-01-02T00:00:00Z")).unwrap();
    assert_eq!(listed(all), [failed]);
}
