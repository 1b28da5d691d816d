//! Heavy tables that have nothing to do with each other: one after the other, and by as many workers at once.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use error::{Code, Error, Result};
use jiff::Timestamp;
use refresh::Poll;
use testkit::lake::ThrowAway;

use crate::figures::{longest, milliseconds, ratio, timed};
use crate::report::{Bound, Scene};

const TABLES: usize = 4;

/// Refreshes heavy tables alone, then all at once.
///
/// # Errors
/// What lake or registry say.
pub fn run(quick: bool) -> Result<Scene> {
    let rows = if quick { 400_000 } else { 3_000_000 };
    let lake = ThrowAway::new()?;
    for number in 0..TABLES {
        lake.run(&format!(
            "CREATE TABLE lake.s{number} AS SELECT i AS id, (i * 7919) % 200000 AS k, hash(i) % 1000 AS v FROM range({rows}) t(i);
             CREATE DYNAMIC TABLE t{number} TARGET_LAG = '1 hour' REFRESH_MODE = FULL AS
             SELECT k, median(v) AS m, count(DISTINCT v) AS d, max(v) AS hi FROM s{number} GROUP BY k"
        ))?;
    }
    change(&lake)?;
    let mut alone = Vec::new();
    let busy = ProcessTime::now();
    for number in 0..TABLES {
        alone.push(timed(|| lake.refresh(&[&format!("t{number}")]))?.1);
    }
    let work = busy.elapsed();
    change(&lake)?;
    let now = Timestamp::now() + Duration::from_hours(2);
    let workers = (0..TABLES).map(|_| lake.another()).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    let done: Vec<usize> = std::thread::scope(|scope| {
        let work = |(number, tables): (usize, refresh::DynamicTables)| -> Result<usize> {
            let poll = Poll { interval: Duration::from_secs(60), queues: Vec::new(), now: Some(now) };
            let mut refreshed = 0;
            loop {
                let look = tables.look(&poll)?;
                let Some(work) = look.work.first() else { return Ok(refreshed) };
                refreshed += tables.carry_out(work, &format!("bench {number}"), &|| false, &mut |_| {})?.refreshed;
            }
        };
        let running: Vec<_> =
            workers.into_iter().enumerate().map(|worker| scope.spawn(move || work(worker))).collect();
        let joined = |worker: std::thread::ScopedJoinHandle<'_, Result<usize>>| {
            worker.join().unwrap_or_else(|_| Err(Error::new(Code::Internal, "a worker panicked")))
        };
        running.into_iter().map(joined).collect::<Result<_>>()
    })?;
    let together = began.elapsed();
    if done.iter().sum::<usize>() != TABLES {
        return Err(Error::new(Code::Internal, format!("the workers refreshed {done:?} tables")));
    }
    lake.verify()?;
    let (slowest, sum) = (longest(&alone), alone.iter().sum::<Duration>());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // One query uses several cores by itself: all of them cannot be faster than the machine.
    let best = slowest.max(work / u32::try_from(cores).unwrap_or(1));
    let shown = |times: &[Duration]| times.iter().map(|time| milliseconds(*time)).collect::<Vec<_>>().join(", ");
    Ok(Scene {
        name: "workers",
        about: format!(
            "{TABLES} tables of {rows} source rows each with a query for the whole machine, computed in full (ms): each by itself, \
             by {TABLES} workers at once, and the least that {cores} cores need for the processor time of all."
        ),
        columns: vec!["each alone", "slowest", "one after the other", "at once", "least", "tables per worker"],
        rows: vec![vec![
            shown(&alone),
            milliseconds(slowest),
            milliseconds(sum),
            milliseconds(together),
            milliseconds(best),
            done.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        ]],
        notes: Vec::new(),
        bounds: vec![Bound::at_most(
            format!("{TABLES} workers at once as a multiple of what {cores} cores allow"),
            ratio(together, best),
            1.2,
        )],
    })
}

fn change(lake: &ThrowAway) -> Result<()> {
    for number in 0..TABLES {
        lake.run(&format!("INSERT INTO lake.s{number} SELECT i, (i * 7919) % 200000, 7 FROM range(30000) t(i)"))?;
    }
    Ok(())
}
