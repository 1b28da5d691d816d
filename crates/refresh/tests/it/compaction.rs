//! Tables that are refreshed again and again by a worker stay quick to read, and nobody notices anything else.

use std::time::Duration;

use lake::Stored;
use refresh::{Done, DynamicTables, Poll};
use registry::{CompactionFilter, HistoryFilter, RefreshAction, RefreshTrigger};
use sql::names::TableName;
use testkit::lake::ThrowAway;

const TABLES: &str = "CREATE TABLE lake.src AS SELECT i AS id, i % 400 AS k, i AS v, 'name ' || (i % 400) AS name FROM range(4000) t(i);
    CREATE DYNAMIC TABLE large TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
        SELECT id, k, v * 2 AS v, name FROM src WHERE v % 3 <> 0;
    CREATE DYNAMIC TABLE grouped TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS
        SELECT k, avg(v) AS v, count(*) AS n FROM large GROUP BY k";

/// Does what a worker does, once.
fn work(tables: &DynamicTables) -> Done {
    let now = Some(jiff::Timestamp::now() + Duration::from_secs(4_000));
    let look = tables.look(&Poll { interval: Duration::from_secs(1), queues: Vec::new(), now }).unwrap();
    let mut total = Done::default();
    for work in &look.work {
        let done = tables.carry_out(work, "worker", &|| false, &mut |_| {}).unwrap();
        assert_eq!(done.failed, 0);
        total.refreshed += done.refreshed;
        total.compacted += done.compacted;
    }
    total
}

fn change(lake: &ThrowAway, round: u64) {
    lake.run(&format!(
        "BEGIN; DELETE FROM lake.src WHERE id % 97 = {} ; UPDATE lake.src SET v = v + 3 WHERE id % 101 = {}; \
         INSERT INTO lake.src SELECT 10000 + {round} * 40 + i, i * 7 % 400, i, 'n' FROM range(40) t(i); COMMIT",
        round % 97,
        round % 101
    ))
    .unwrap();
}

/// How the tables lie, the state table of the second included.
fn stored(lake: &ThrowAway) -> Vec<Stored> {
    let state = lake.rows("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'state_%'").unwrap();
    let state = TableName::new("__dynamic_tables", state[0][0].clone().unwrap());
    let names = [TableName::new("main", "large"), TableName::new("main", "grouped"), state];
    lake.others.stored(&names).unwrap().into_iter().map(Option::unwrap).collect()
}

/// `REFRESHES` says how often.
#[test]
fn many_refreshes_leave_few_files() {
    let rounds = std::env::var("REFRESHES").map_or(12, |text| text.parse().unwrap());
    let lake = ThrowAway::new().unwrap();
    lake.run(TABLES).unwrap();
    // It can be left to others.
    lake.tables.set_compaction(false);
    for round in 0..30 {
        change(&lake, round);
        assert_eq!(work(&lake.tables).compacted, 0);
    }
    let before = stored(&lake);
    assert!(before[0].files > 30, "{before:?}");
    // Whoever does it begins with what has come together meanwhile.
    let worker = lake.another().unwrap();
    let mut compacted = 0;
    for round in 30..30 + rounds {
        change(&lake, round);
        let done = work(&worker);
        assert_eq!(done.refreshed, 2);
        compacted += done.compacted;
        if done.compacted > 0 {
            // It is no change: nothing is refreshed because of it.
            assert_eq!(work(&worker), Done::default());
            lake.verify().unwrap();
        }
        assert!(stored(&lake).iter().all(|stored| stored.files <= 34 && stored.inlined <= 2_000));
    }
    assert!(compacted >= 3, "{compacted}");
    lake.verify().unwrap();
    assert!(lake.tables.verify(&[]).unwrap().iter().all(|table| table.skipped.is_none()));
    let history = lake.tables.registry().history(&HistoryFilter::default(), 10_000).unwrap();
    let later = history.iter().filter(|refresh| refresh.trigger != RefreshTrigger::Creation);
    let others: Vec<_> = later.filter(|refresh| refresh.action != Some(RefreshAction::Incremental)).collect();
    assert!(others.is_empty(), "compaction is nobody's reason to start over: {others:?}");
    // It is written down, with what it was good for.
    let done = lake.tables.registry().compactions(&CompactionFilter::default(), 100).unwrap();
    assert_eq!(done.len(), compacted);
    for compaction in &done {
        assert!(compaction.files_after < Some(compaction.files_before), "{compaction:?}");
        assert_eq!((compaction.worker.as_deref(), &compaction.error_message), (Some("worker"), &None));
    }
    let named = |state: bool| {
        done.iter().filter(move |compaction| compaction.is_state == state).map(|of| of.name.name.as_str())
    };
    assert!(named(false).any(|name| name == "large") && named(true).all(|name| name == "grouped"));
    let commits =
        lake.rows("SELECT author FROM lake.snapshots() WHERE commit_message = 'compact main.large'").unwrap();
    assert_eq!(commits[0][0].as_deref(), Some("dynamic-tables"));
}
