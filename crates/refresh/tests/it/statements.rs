//! What a refresh says to the lake: nothing twice, and nothing that it need not say. The statements are those of the log.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use testkit::lake::ThrowAway;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// The statement that an event tells of.
pub fn sql_of(event: &Event<'_>) -> Option<String> {
    struct Sql(String);
    impl Visit for Sql {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "sql" {
                write!(self.0, "{value:?}").unwrap();
            }
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "sql" {
                self.0.push_str(value);
            }
        }
    }
    let mut sql = Sql(String::new());
    event.record(&mut sql);
    (!sql.0.is_empty()).then_some(sql.0)
}

/// Whether an event may be a statement to the lake.
pub fn is_statement(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::TRACE && metadata.target().starts_with("lake")
}

/// Keeps the SQL of every statement to the lake.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_statement(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().extend(sql_of(event));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The statements of a piece of work.
fn of(work: impl FnOnce()) -> Vec<String> {
    let statements = Statements::default();
    tracing::subscriber::with_default(statements.clone(), work);
    let said = statements.0.lock().unwrap();
    assert!(!said.is_empty(), "nothing was said, or the log says it otherwise");
    said.clone()
}

/// The statements of a refresh in a process that has refreshed the table before.
fn of_refresh(lake: &ThrowAway, name: &str) -> Vec<String> {
    of(|| assert_eq!(lake.refresh(&[name]).unwrap()[0].action.map(|action| action.as_str()), Some("INCREMENTAL")))
}

fn count(statements: &[String], part: &str) -> usize {
    statements.iter().filter(|sql| sql.contains(part)).count()
}

/// Statements that look at the lake's catalog, not at rows.
fn of_catalog(statements: &[String]) -> Vec<&String> {
    statements.iter().filter(|sql| sql.contains("__ducklake_metadata")).collect()
}

fn said_twice(statements: &[String]) -> Vec<&String> {
    let is_question = |sql: &&String| {
        let said = ["BEGIN", "COMMIT", "ROLLBACK", "SET", "RESET"];
        !said.iter().any(|word| sql.split_whitespace().next() == Some(word))
    };
    let twice = |sql: &&String| statements.iter().filter(|other| other == sql).count() > 1;
    statements.iter().filter(is_question).filter(twice).collect()
}

/// A lake with a source that has more columns than are read, a second source, a fold over one and a join of both.
fn lake() -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 500 AS k, i % 7 AS v, 'not read ' || i AS text FROM range(20000) t(i);
         CREATE TABLE lake.dim AS SELECT i AS k, 'name ' || i AS name FROM range(2000) t(i);
         CREATE DYNAMIC TABLE folded TARGET_LAG = '1 day' REFRESH_MODE = INCREMENTAL AS
           SELECT k, count(*) AS n, sum(v) AS total FROM src GROUP BY k;
         CREATE DYNAMIC TABLE grouped TARGET_LAG = '1 day' REFRESH_MODE = INCREMENTAL AS
           SELECT k, median(v) AS middle FROM src GROUP BY k;
         CREATE DYNAMIC TABLE joined TARGET_LAG = '1 day' REFRESH_MODE = INCREMENTAL AS
           SELECT id, name FROM src JOIN dim USING (k)",
    )
    .unwrap();
    // The first refresh learns what a process need not ask again.
    lake.run("INSERT INTO lake.src VALUES (-1, 1, 1, 'x'); DELETE FROM lake.src WHERE id = 3").unwrap();
    lake.refresh(&["folded", "grouped", "joined"]).unwrap();
    lake
}

#[test]
fn nothing_is_asked_twice() {
    let lake = lake();
    for _ in 0..2 {
        lake.run("INSERT INTO lake.src VALUES (-2, 2, 1, 'x'); UPDATE lake.src SET v = v + 1 WHERE id % 1000 = 5")
            .unwrap();
        let said = of(|| drop(lake.refresh(&["folded", "grouped", "joined"]).unwrap()));
        // Before and after a change is read, over SQLite: whether somebody deleted rows meanwhile.
        let (marks, said): (Vec<String>, Vec<String>) =
            said.into_iter().partition(|sql| sql.contains("max(delete_file_id)"));
        let reads = said.iter().filter(|sql| sql.contains("ducklake_table_deletions")).count();
        assert_eq!(marks.len(), 2 * reads, "{marks:#?}");
        assert_eq!(said_twice(&said), Vec::<&String>::new());
        // What happened since the data version; which tables the names mean, how much changed, and what of it the catalog
        // holds, for the one source and for what else a table reads; whether that still holds when it is published, where the
        // watermarks lie, and the commit.
        let catalog = of_catalog(&said);
        assert!(catalog.len() <= 10, "{catalog:#?}");
        assert_eq!(count(&said, "ducklake_current_snapshot"), 0);
        lake.verify().unwrap();
    }
    let said = of(|| {
        lake.run("CREATE DYNAMIC TABLE another TARGET_LAG = '1 day' AS SELECT k, avg(v) AS mean FROM src GROUP BY k")
            .unwrap();
    });
    assert_eq!(count(&said, "count_star() AS n"), 0);
    // Bound once while it is analysed, whatever is asked before and after.
    assert_eq!(
        said.iter().filter(|sql| sql.starts_with("SELECT * FROM \"lake\".\"main\".\"src\"")).count(),
        1,
        "{said:#?}"
    );
    lake.verify().unwrap();
}

#[test]
fn the_mark_of_a_state_is_read_only_if_another_process_wrote_it() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 500 AS k, i % 7 AS v FROM range(20000) t(i);
         CREATE DYNAMIC TABLE kept TARGET_LAG = '1 day' REFRESH_MODE = INCREMENTAL AS SELECT k, avg(v) AS mean FROM src GROUP BY k",
    )
    .unwrap();
    let change = || lake.run("UPDATE lake.src SET v = v + 1 WHERE id % 1000 = 5").unwrap();
    let mark = |said: &[String]| said.iter().filter(|sql| sql.starts_with("SELECT __dt_mark")).count();
    change();
    assert_eq!(mark(&of_refresh(&lake, "kept")), 1);
    change();
    let said = of_refresh(&lake, "kept");
    assert_eq!(mark(&said), 0, "{said:#?}");
    lake.verify().unwrap();

    // Another process publishes: what this one knows is not what stands there any more.
    change();
    let other = lake.another().unwrap();
    let request = refresh::RefreshRequest {
        names: vec![sql::names::ObjectName::parse("kept").unwrap()],
        full: false,
        trigger: registry::RefreshTrigger::Manual,
        worker: None,
    };
    assert!(other.refresh(&request).unwrap()[0].error.is_none());
    change();
    assert_eq!(mark(&of_refresh(&lake, "kept")), 1);
    lake.verify().unwrap();

    // Somebody edits the state: it is not continued, though this process wrote it.
    let id = lake.rows("SELECT table_name FROM duckdb_tables() WHERE schema_name = '__dynamic_tables' AND table_name LIKE 'state_%'").unwrap();
    for state in id.iter().filter_map(|row| row[0].as_ref()) {
        lake.run(&format!(
            "UPDATE lake.__dynamic_tables.{state} SET __dt_rows = __dt_rows + 1 WHERE __dt_mark IS NULL"
        ))
        .unwrap();
    }
    change();
    let report = &lake.refresh(&["kept"]).unwrap()[0];
    assert_eq!(report.action.map(|action| action.as_str()), Some("FULL"), "{report:?}");
    lake.verify().unwrap();

    // Nor is one that was dropped.
    for state in id.iter().filter_map(|row| row[0].as_ref()) {
        lake.run(&format!("DROP TABLE lake.__dynamic_tables.{state}")).unwrap();
    }
    change();
    lake.refresh(&["kept"]).unwrap();
    lake.verify().unwrap();
    change();
    lake.refresh(&["kept"]).unwrap();
    lake.verify().unwrap();
}

#[test]
fn only_what_changed_is_read_of_the_feed() {
    let lake = lake();
    // Nothing was deleted: the deletions, which cost most, are not asked for. Nor is the other source, nor unused columns.
    lake.run("INSERT INTO lake.src SELECT 30000 + i, i % 500, 1, 'new' FROM range(50) t(i)").unwrap();
    for name in ["folded", "joined"] {
        let said = of_refresh(&lake, name);
        assert_eq!(count(&said, "ducklake_table_insertions("), 1, "{said:#?}");
        assert_eq!(count(&said, "ducklake_table_deletions("), 0, "{said:#?}");
        assert_eq!(count(&said, "ducklake_table_changes"), 0);
        let feed: Vec<&String> = said.iter().filter(|sql| sql.contains("ducklake_table_insertions(")).collect();
        assert!(!feed[0].contains("text") && !feed[0].contains("'dim'"), "{feed:?}");
    }
    lake.verify().unwrap();
    lake.run("DELETE FROM lake.src WHERE id % 1000 = 7").unwrap();
    let said = of_refresh(&lake, "folded");
    assert_eq!(
        (count(&said, "ducklake_table_insertions("), count(&said, "ducklake_table_deletions(")),
        (1, 1),
        "{said:#?}"
    );
    lake.verify().unwrap();
}

#[test]
fn a_window_of_many_snapshots_takes_as_many_statements_as_one() {
    let lake = lake();
    let change = |number: usize| {
        lake.run(&format!(
            "INSERT INTO lake.src VALUES ({}, {number}, 1, 'x'); DELETE FROM lake.src WHERE id = {}",
            40_000 + number,
            100 + number
        ))
        .unwrap();
    };
    change(0);
    let one = of_refresh(&lake, "folded").len();
    for number in 1..=30 {
        change(number);
    }
    let many = of_refresh(&lake, "folded");
    assert_eq!(many.len(), one, "{many:#?}");
    lake.verify().unwrap();
}

#[test]
fn the_steps_of_a_refresh_are_all_of_it() {
    let lake = lake();
    lake.run("CREATE DYNAMIC TABLE small TARGET_LAG = '1 day' REFRESH_MODE = INCREMENTAL AS SELECT id, v::UTINYINT AS v FROM src")
        .unwrap();
    lake.run("INSERT INTO lake.src VALUES (-3, 2, -1, 'x')").unwrap();
    let reports = lake.tables.refresh(&refresh::RefreshRequest {
        names: Vec::new(),
        full: false,
        trigger: registry::RefreshTrigger::Manual,
        worker: None,
    });
    assert_eq!(reports.unwrap().iter().filter(|report| report.error.is_some()).count(), 1);
    let history = lake.tables.registry().history(&registry::HistoryFilter::default(), 4).unwrap();
    for past in &history {
        let steps = past.steps.as_ref().unwrap().as_array().unwrap();
        let (waited, worked): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step["step"] == "wait");
        let sum = |steps: &[&serde_json::Value]| steps.iter().map(|step| step["ms"].as_f64().unwrap()).sum::<f64>();
        let took = past.duration_ms.unwrap() as f64;
        assert!((sum(&worked) - took).abs() < 5.0 + took / 20.0, "{took} ms, but for {waited:?}: {worked:?}");
        let failed = past.state == registry::RefreshState::Failed;
        assert_eq!(failed, steps.iter().any(|step| step["step"] == "until it failed"), "{past:?}");
    }
    assert!(history.iter().any(|past| past.state == registry::RefreshState::Failed));
}
