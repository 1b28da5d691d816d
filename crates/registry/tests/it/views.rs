//! What a person sees who looks into the database.

use error::Code;
use registry::{LastRefresh, RefreshAction, RefreshState, SchedulingState, SuspendedBy};

use crate::fixture::{Fixture, published, refresh_of, table, table_over, time};

over_both_stores! {
    dynamic_tables_show_what_an_operator_wants,
    dependencies_and_snapshots_are_readable,
    history_is_readable_as_it_is,
}

fn dynamic_tables_show_what_an_operator_wants(fixture: &Fixture) {
    let mut made = table("daily");
    made.definition.properties.comment = Some("per customer".to_owned());
    made.definition.refresh_mode_reason = Some("all operators are incremental".to_owned());
    made.definition.state = SchedulingState::Suspended {
        by: SuspendedBy::Failures,
        reason: Some("five failures in a row".to_owned()),
        since: time("2026-05-06T07:08:09Z"),
    };
    made.progress = published(10, 11, "r1");
    made.progress.data_timestamp = Some(jiff::Timestamp::now() - std::time::Duration::from_secs(100));
    made.progress.last_refresh = Some(LastRefresh {
        state: RefreshState::Failed,
        action: Some(RefreshAction::Full),
        at: time("2026-05-06T07:08:09Z"),
        duration_ms: Some(12),
        error: Some("no such column".to_owned()),
    });
    made.progress.rows = Some(1000);
    made.progress.bytes = Some(4096);
    fixture.registry.create(&made).unwrap();
    let shown = fixture.ask(
        "SELECT schema_name, name, scheduling_state, suspended_by, suspended_reason, target_lag, data_version, \
         refresh_mode, refresh_mode_reason, refresh_mode_wanted, last_refresh_status, last_refresh_action, last_error, \
         rows, bytes, comment FROM dynamic_tables",
    );
    assert_eq!(
        shown,
        "main|daily|SUSPENDED|FAILURES|five failures in a row|5 minutes|10|INCREMENTAL|all operators are incremental|AUTO\
         |FAILED|FULL|no such column|1000|4096|per customer"
    );
    let lag: u64 = fixture.ask("SELECT current_lag_seconds FROM dynamic_tables").parse().unwrap();
    assert!((100..160).contains(&lag), "{lag}");
}

fn dependencies_and_snapshots_are_readable(fixture: &Fixture) {
    let mut upstream = table("daily");
    upstream.progress = published(10, 11, "r1");
    fixture.registry.create(&upstream).unwrap();
    fixture.registry.create(&table_over("monthly", &upstream)).unwrap();
    assert_eq!(fixture.ask("SELECT * FROM dependencies"), "main|monthly|main|daily");
    // The monthly table has no content yet.
    assert_eq!(
        fixture.ask("SELECT name, source_schema, source, source_kind, last_snapshot FROM source_snapshots"),
        "daily|main|orders|TABLE|10"
    );
}

fn history_is_readable_as_it_is(fixture: &Fixture) {
    let mut refresh = refresh_of(&table("daily"), "host-1");
    refresh.started_at = time("2026-05-06T07:08:09.25Z");
    refresh.error_code = Some(Code::Schema);
    fixture.registry.begin_refreshes(&[refresh]).unwrap();
    assert_eq!(
        fixture.ask("SELECT name, state, refresh_trigger, error_code, worker FROM refresh_history"),
        "daily|EXECUTING|SCHEDULED|SCHEMA|host-1"
    );
    let started = fixture.ask("SELECT started_at FROM refresh_history");
    assert!(started.starts_with("2026-05-06T07:08:09.25") || started.starts_with("2026-05-06 "), "{started}");
}
