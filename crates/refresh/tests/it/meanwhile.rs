//! What others do between two steps of a refresh: right after the statement that the log tells of.

use std::cell::RefCell;
use std::sync::Mutex;

use error::Code;
use refresh::{RefreshReport, RefreshRequest};
use registry::RefreshTrigger;
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
