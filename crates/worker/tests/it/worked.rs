//! A worker in a thread of its own, over a throw-away lake.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use lake::Lake;
use refresh::DynamicTables;
use registry::{HistoryFilter, Refresh, Registry};
use testkit::lake::ThrowAway;
use worker::{Options, Shutdown, Summary, Worker};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Options for tests: looks often.
pub fn hasty() -> Options {
    Options { poll_interval: Duration::from_millis(200), ..Options::default() }
}

/// Runs a worker over the lake while `test` runs, then stops it. The first openings after the start fail as often as
/// `failures` says.
pub fn while_working<T>(lake: &ThrowAway, options: Options, test: impl FnOnce(&Shutdown) -> T) -> (T, Summary) {
    with_openings(lake.options().clone(), lake.registry_url().to_owned(), options, &AtomicU32::new(0), test)
}

pub fn with_openings<T>(
    lake: lake::Options,
    registry: String,
    options: Options,
    failures: &AtomicU32,
    test: impl FnOnce(&Shutdown) -> T,
) -> (T, Summary) {
    let open = |_| -> Result<DynamicTables> {
        if failures.load(Ordering::SeqCst) > 0 {
            failures.fetch_sub(1, Ordering::SeqCst);
            return Err(Error::new(Code::Connection, "away"));
        }
        DynamicTables::open(Lake::open(&lake)?, Registry::open(&registry)?)
    };
    let worker = Worker::new(options, open);
    let shutdown = Shutdown::new();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| worker.run(&shutdown));
        // Also when the test panics, or the scope would wait for the worker for ever.
        let stop = StopAtEnd(&shutdown);
        let result = test(&shutdown);
        drop(stop);
        (result, running.join().unwrap().unwrap())
    })
}

struct StopAtEnd<'a>(&'a Shutdown);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// Waits until something holds.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The one value of a query.
pub fn value(lake: &ThrowAway, query: &str) -> String {
    lake.rows(query).unwrap()[0][0].clone().unwrap_or_default()
}

/// The refreshes so far, the newest first.
pub fn history(lake: &ThrowAway) -> Vec<Refresh> {
    lake.tables.registry().history(&HistoryFilter::default(), 1_000).unwrap()
}
