//! What others do between two steps of a refresh: right after the statement that the log tells of.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use error::Code;
use refresh::{DynamicTables, Lease, Poll, RefreshReport, RefreshRequest};
use registry::{RefreshState, RefreshTrigger};
use sql::names::TableName;
use sql::statement::{Statement, parse_statements};
use testkit::lake::ThrowAway;
use tracing::{Event, Metadata, Subscriber, span};

use crate::statements::{is_statement, sql_of};

/// Something that happens once.
type Act = Box<dyn FnOnce()>;

thread_local! {
    /// What happens after which statement.
    static PENDING: RefCell<Option<(String, Act)>> = const { RefCell::new(None) };
}

/// Lets happen what is pending in the thread that says the statement.
struct Meanwhile(Mutex<Vec<String>>);

impl Subscriber for Meanwhile {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_statement(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let Some(sql) = sql_of(event) else { return };
        let now = |pending: &mut (String, Act)| sql.contains(&pending.0);
        if let Some((_, act)) = PENDING.with(|pending| pending.borrow_mut().take_if(now)) {
            act();
        }
        self.0.lock().unwrap().push(sql);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Works, and has `act` happen right after the first statement to the lake with this part.
fn meanwhile<T>(part: &str, act: impl FnOnce() + 'static, work: impl FnOnce() -> T) -> T {
    PENDING.set(Some((part.to_owned(), Box::new(act))));
    let dispatch = tracing::Dispatch::new(Meanwhile(Mutex::default()));
    let result = tracing::dispatcher::with_default(&dispatch, work);
    let said = dispatch.downcast_ref::<Meanwhile>().unwrap().0.lock().unwrap().join("\n");
    assert!(PENDING.take().is_none(), "{part} was never said:\n{said}");
    result
}

/// Statements of somebody else, over a connection of their own.
fn statements(lake: &ThrowAway, text: &'static str) -> impl FnOnce() + 'static {
    let others = ::lake::Lake::open(lake.options()).unwrap().session().unwrap();
    move || {
        others.execute(text).unwrap();
    }
}

fn request(names: &[&str], full: bool) -> RefreshRequest {
    let names = names.iter().map(|name| sql::names::ObjectName::parse(name).unwrap()).collect();
    RefreshRequest { names, full, trigger: RefreshTrigger::Manual, worker: None }
}

fn refresh(lake: &ThrowAway, name: &str) -> RefreshReport {
    lake.tables.refresh(&request(&[name], false)).unwrap().pop().unwrap()
}

/// A source, and a dynamic table over it that waits for its first refresh.
const NOT_FILLED: &str = "CREATE TABLE lake.src AS SELECT i AS id, i % 5 AS k FROM range(2000) t(i);
    CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS SELECT id, k FROM src";

#[test]
fn a_table_that_somebody_made_under_the_name_is_not_overwritten() {
    let lake = ThrowAway::new().unwrap();
    lake.run(NOT_FILLED).unwrap();
    for made in [
        "TABLE lake.t AS SELECT 7::BIGINT AS id, 7::BIGINT AS k",
        "TABLE lake.t AS SELECT 'mine' AS other",
        "VIEW lake.t AS SELECT 7 AS id",
    ] {
        lake.run(&format!("CREATE {made}")).unwrap();
        for full in [false, true] {
            let report = lake.tables.refresh(&request(&["t"], full)).unwrap().pop().unwrap();
            let error = report.error.unwrap();
            assert_eq!((error.code(), error.is_transient()), (Code::Query, false), "{error}");
            assert!(error.message().contains("is the name of a plain"), "{error}");
            assert!(error.hint().is_some());
        }
        let run = lake.tables.dry_run(&request(&["t"], false)).unwrap().pop().unwrap();
        assert!(run.error.unwrap().message().contains("is the name of a plain"));
        let content = lake.rows("FROM lake.t").unwrap();
        assert_eq!(content.len(), 1, "{content:?}");
        lake.run(&format!("DROP {} lake.t", &made[..5])).unwrap();
    }
    lake.refresh(&["t"]).unwrap();
    lake.verify().unwrap();
}

#[test]
fn a_table_that_somebody_makes_under_the_name_while_it_is_filled_is_not_overwritten() {
    let lake = ThrowAway::new().unwrap();
    lake.run(NOT_FILLED).unwrap();
    let make = "CREATE TABLE lake.t AS SELECT 7::BIGINT AS id, 7::BIGINT AS k";
    // After it was looked for, and within the transaction that publishes it.
    for part in ["TEMP TABLE", "SET fence = fence + 1"] {
        let filled = meanwhile(part, statements(&lake, make), || refresh(&lake, "t"));
        let error = filled.error.unwrap();
        assert_eq!((error.code(), error.is_transient()), (Code::Query, false), "{part}: {error}");
        assert!(error.message().contains("is the name of a plain table"), "{part}: {error}");
        assert_eq!(lake.rows("FROM lake.t").unwrap().len(), 1, "{part}");
        lake.run("DROP TABLE lake.t").unwrap();
    }
    let by_hand = meanwhile("TEMP TABLE", statements(&lake, "CREATE TABLE lake.u (id INTEGER)"), || {
        lake.run("CREATE DYNAMIC TABLE u TARGET_LAG = '1 hour' AS SELECT id FROM src")
    });
    assert!(by_hand.unwrap_err().message().contains("is the name of a plain table"));
    assert_eq!(lake.rows("FROM lake.u").unwrap().len(), 0);
    lake.refresh(&["t"]).unwrap();
    lake.verify().unwrap();
}

/// A table that is called `t` in the registry and `u` in the lake, and one that reads it.
fn half_renamed() -> ThrowAway {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 5 AS k FROM range(2000) t(i);
         CREATE TABLE lake.other (id INTEGER);
         CREATE DYNAMIC TABLE t TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS SELECT id, k FROM src;
         CREATE DYNAMIC TABLE reader TARGET_LAG = '1 minute' AS SELECT t.k, count(*) AS n FROM t GROUP BY k",
    )
    .unwrap();
    let dying = lake.another().unwrap();
    let rename = parse("ALTER DYNAMIC TABLE t RENAME TO u");
    // After the commit it is looked up.
    let died = catch_unwind(AssertUnwindSafe(|| {
        meanwhile("commit_extra_info = ", || panic!("the process dies"), || run(&dying, &rename))
    }));
    assert!(died.is_err());
    assert_eq!(lake.rows("SELECT count(*) FROM lake.u").unwrap(), [[Some("2000".to_owned())]]);
    assert_eq!(names(&lake), ["reader", "t"]);
    lake
}

fn parse(text: &str) -> Statement {
    parse_statements(text).unwrap().pop().unwrap().value
}

fn run(tables: &DynamicTables, statement: &Statement) -> error::Result<Vec<TableName>> {
    match statement {
        Statement::Alter { name, if_exists, action } => Ok(vec![tables.alter(name, *if_exists, action)?.name]),
        Statement::Drop { name, if_exists, cascade } => tables.drop(name, *if_exists, *cascade),
        other => panic!("{other:?}"),
    }
}

fn names(lake: &ThrowAway) -> Vec<String> {
    let tables = lake.tables.registry().load_all().unwrap();
    tables.into_iter().map(|table| table.definition.name.name).collect()
}

/// Every table is what its query gives, by its one name, and goes on being so.
fn is_whole(lake: &ThrowAway, name: &str) {
    assert_eq!(names(lake), if name < "reader" { [name, "reader"] } else { ["reader", name] });
    lake.run("INSERT INTO lake.src VALUES (5000, 1)").unwrap();
    let reports = lake.refresh(&[]).unwrap();
    let report = reports.iter().find(|report| report.name.name == name).unwrap();
    assert_eq!((report.rows_inserted, report.rows_deleted), (1, 0), "{report:?}");
    lake.verify().unwrap();
    assert_eq!(lake.rows(&format!("FROM lake.{name}")).unwrap(), lake.rows("FROM lake.src").unwrap());
    assert_eq!(lake.rows("SELECT sum(n) FROM lake.reader").unwrap(), [[Some("2001".to_owned())]]);
    let left =
        lake.rows("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = 'main'");
    assert_eq!(left.unwrap().len(), 4);
}

#[test]
fn a_renaming_that_a_process_died_in_is_finished_by_saying_it_again() {
    let lake = half_renamed();
    assert_eq!(run(&lake.tables, &parse("ALTER DYNAMIC TABLE t RENAME TO u")).unwrap()[0].name, "u");
    is_whole(&lake, "u");
    let lake = half_renamed();
    assert_eq!(run(&lake.tables, &parse("ALTER DYNAMIC TABLE t RENAME TO a")).unwrap()[0].name, "a");
    assert_eq!(names(&lake), ["a", "reader"]);
    lake.refresh(&[]).unwrap();
    lake.verify().unwrap();
    assert!(lake.rows("FROM lake.t").is_err() && lake.rows("FROM lake.u").is_err());
}

#[test]
fn a_renaming_that_a_process_died_in_is_finished_by_a_refresh() {
    let lake = half_renamed();
    for report in lake.refresh(&["reader"]).unwrap() {
        assert_ne!(report.name.name, "t");
    }
    is_whole(&lake, "u");
}

#[test]
fn a_renaming_that_a_process_died_in_is_finished_by_a_worker() {
    let lake = half_renamed();
    // No source changes, so that looking alone could move the data versions on.
    lake.run("INSERT INTO lake.other VALUES (1)").unwrap();
    let now = Some(jiff::Timestamp::now() + Duration::from_secs(100));
    let look = lake.tables.look(&Poll { interval: Duration::from_secs(1), queues: Vec::new(), now }).unwrap();
    assert_eq!((look.advanced, look.work.len()), (0, 1));
    let done = lake.tables.carry_out(&look.work[0], "worker", &|| false, &mut |_| {}).unwrap();
    assert_eq!(done.failed, 0);
    is_whole(&lake, "u");
}

#[test]
fn a_renaming_that_a_process_died_in_is_no_obstacle_to_dropping() {
    let lake = half_renamed();
    run(&lake.tables, &parse("DROP DYNAMIC TABLE t CASCADE")).unwrap();
    assert_eq!(names(&lake), Vec::<String>::new());
    assert!(lake.rows("FROM lake.u").is_err() && lake.rows("FROM lake.reader").is_err());
}

/// Whether nothing is left of `t`, and there can be another one.
fn is_gone(lake: &ThrowAway) {
    assert_eq!(names(lake), Vec::<String>::new());
    let marks = lake.rows("SELECT table_id FROM lake.__dynamic_tables.watermarks WHERE table_id <> ''");
    assert!(marks.map_or(true, |marks| marks.is_empty()));
    lake.run("CREATE DYNAMIC TABLE t TARGET_LAG = '1 hour' AS SELECT id FROM src").unwrap();
    lake.verify().unwrap();
}

#[test]
fn a_table_that_is_just_being_filled_is_dropped_after_that() {
    let lake = ThrowAway::new().unwrap();
    lake.run(NOT_FILLED).unwrap();
    let others = lake.another().unwrap();
    let (dropped, is_dropped) = std::sync::mpsc::channel();
    let drop_it = move || {
        let (told, hears) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let result = run(&others, &parse("DROP DYNAMIC TABLE t"));
            let _ = told.send(());
            dropped.send(result).unwrap();
        });
        // Long enough for one that does not wait.
        let _ = hears.recv_timeout(Duration::from_secs(2));
    };
    let report = meanwhile("TEMP TABLE", drop_it, || refresh(&lake, "t"));
    assert!(report.error.is_none(), "{report:?}");
    assert_eq!(is_dropped.recv().unwrap().unwrap().len(), 1);
    is_gone(&lake);
}

#[test]
fn a_table_is_not_filled_after_it_was_dropped_though_the_claim_was_lost() {
    let lake = ThrowAway::new().unwrap();
    lake.run(NOT_FILLED).unwrap();
    let lease = Lease { length: Duration::from_millis(20), heartbeat: Duration::from_secs(60) };
    lake.tables.set_lease(lease);
    let others = lake.another().unwrap();
    let drop_it = move || {
        std::thread::sleep(2 * lease.length);
        run(&others, &parse("DROP DYNAMIC TABLE t")).unwrap();
    };
    let report = meanwhile("TEMP TABLE", drop_it, || refresh(&lake, "t"));
    assert_eq!(report.state, RefreshState::Skipped, "{report:?}");
    lake.tables.set_lease(Lease::default());
    is_gone(&lake);
}
