//! Whether a short target lag is kept while somebody writes all the time.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::Lake;
use refresh::{DynamicTables, LagStatistics, StatusRequest};
use registry::Registry;
use testkit::lake::{CatalogKind, ThrowAway};
use worker::{Options, Shutdown, Worker};

use crate::report::{Bound, Scene};

const TABLES: usize = 50;
const SOURCES: usize = 5;
const LAG: &str = "10 seconds";
const PAUSE: Duration = Duration::from_millis(200);

/// Runs a worker over tables with a lag of ten seconds while their sources change several times a second.
///
/// # Errors
/// What lake or registry say.
pub fn run(quick: bool) -> Result<Scene> {
    let length = Duration::from_secs(if quick { 30 } else { 180 });
    let lake = ThrowAway::with(CatalogKind::Postgres, "")?;
    make(&lake)?;
    let options = lake.options().clone();
    let registry = lake.registry_url().to_owned();
    let open = |_| DynamicTables::open(Lake::open(&options)?, Registry::open(&registry)?);
    let worker = Worker::new(Options { poll_interval: Duration::from_secs(5), ..Options::default() }, open);
    let (shutdown, over, commits) = (Shutdown::new(), AtomicBool::new(false), AtomicU64::new(0));
    let writer = Lake::open(lake.options())?.session()?;
    let began = Timestamp::now();
    let (summary, statistics) = std::thread::scope(|scope| {
        let working = scope.spawn(|| worker.run(&shutdown));
        let (over, commits) = (&over, &commits);
        let writing = scope.spawn(move || write(&writer, over, commits));
        std::thread::sleep(length);
        let statistics = statistics(&lake, began);
        over.store(true, Ordering::SeqCst);
        shutdown.request();
        let panicked = || Error::new(Code::Internal, "a thread panicked");
        writing.join().map_err(|_| panicked())??;
        let summary = working.join().map_err(|_| panicked())??;
        Ok::<_, Error>((summary, statistics?))
    })?;
    lake.refresh(&[])?;
    lake.verify()?;
    let within: Vec<f64> = statistics.iter().filter_map(|table| table.within_target_ratio).collect();
    let mean_within = within.iter().sum::<f64>() / TABLES as f64;
    let worst = within.iter().copied().fold(1.0, f64::min);
    let mean = statistics.iter().map(|table| table.mean.as_secs_f64()).sum::<f64>() / TABLES as f64;
    let longest = statistics.iter().map(|table| table.maximum.as_secs_f64()).fold(0.0, f64::max);
    Ok(Scene {
        name: "lag",
        about: format!(
            "{TABLES} tables (folds, joins, windows, chains of two) over {SOURCES} sources with a target lag of {LAG}, one worker, a \
             commit to one of the sources about every {} ms, for {} s. Catalog in PostgreSQL.",
            PAUSE.as_millis(),
            length.as_secs()
        ),
        columns: vec![
            "commits",
            "refreshes",
            "failed",
            "mean lag (s)",
            "longest lag (s)",
            "within target",
            "of the worst table",
        ],
        rows: vec![vec![
            commits.load(Ordering::SeqCst).to_string(),
            summary.refreshed.to_string(),
            summary.failed.to_string(),
            format!("{mean:.1}"),
            format!("{longest:.1}"),
            format!("{:.2} %", mean_within * 100.0),
            format!("{:.2} %", worst * 100.0),
        ]],
        notes: Vec::new(),
        bounds: vec![Bound::at_least(
            "share of the time within target in %, of the worst table",
            worst * 100.0,
            99.0,
        )],
    })
}

fn make(lake: &ThrowAway) -> Result<()> {
    let mut text = String::new();
    for source in 0..SOURCES {
        let _ = writeln!(
            text,
            "CREATE TABLE lake.s{source} AS SELECT i AS id, i % 1000 AS k, i AS v FROM range(100000) t(i);"
        );
    }
    for number in 0..TABLES {
        let source = number % SOURCES;
        let query = match number / SOURCES % 5 {
            0 => format!("SELECT k, count(*) AS n, sum(v) AS v FROM s{source} GROUP BY k"),
            1 => format!("SELECT a.id, b.n FROM s{source} a JOIN t{source} b ON a.k = b.k WHERE a.v % 100 = 7"),
            2 => format!(
                "SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY v, id) AS r FROM s{source} WHERE k < 200"
            ),
            3 => format!("SELECT k, max(v) AS hi, avg(v) AS m FROM s{source} GROUP BY k"),
            _ => format!("SELECT n, count(*) AS c FROM t{source} GROUP BY n"),
        };
        let _ = writeln!(text, "CREATE DYNAMIC TABLE t{number} TARGET_LAG = '{LAG}' AS {query};");
    }
    lake.run(&text)
}

fn write(session: &lake::Session, over: &AtomicBool, commits: &AtomicU64) -> Result<()> {
    let mut number = 0_u64;
    while !over.load(Ordering::SeqCst) {
        let source = number % SOURCES as u64;
        let statement = match number % 4 {
            3 => format!(
                "UPDATE lake.s{source} SET v = v + 1 WHERE id BETWEEN {0} AND {0} + 20",
                number * 37 % 100_000
            ),
            _ => format!(
                "INSERT INTO lake.s{source} SELECT i, i % 1000, i FROM range({0}, {0} + 50) t(i)",
                number * 50
            ),
        };
        match session.execute(&statement) {
            Ok(_) => drop(commits.fetch_add(1, Ordering::SeqCst)),
            Err(failure) if failure.is_transient() => {}
            Err(failure) => return Err(failure),
        }
        number += 1;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn statistics(lake: &ThrowAway, since: Timestamp) -> Result<Vec<LagStatistics>> {
    let request = StatusRequest { names: Vec::new(), lag_since: Some(since) };
    let statistics: Vec<LagStatistics> =
        lake.tables.statuses(&request)?.into_iter().filter_map(|status| status.lag_statistics).collect();
    match statistics.len() {
        TABLES => Ok(statistics),
        known => Err(Error::new(Code::Internal, format!("the lag of {known} of {TABLES} tables is known"))),
    }
}
