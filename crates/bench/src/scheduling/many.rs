//! Hundreds of small tables that are due at once: in common commits, and one commit each.

use std::fmt::Write as _;
use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;
use refresh::{AutoPolicy, DynamicTables, Poll};
use testkit::lake::{CatalogKind, ThrowAway};

use crate::figures::{milliseconds, ratio, timed};
use crate::report::{Bound, Scene};
use crate::steps::steps;

const SOURCES: usize = 10;

/// Makes all tables due, and refreshes some of them one by one, then all of them together.
///
/// # Errors
/// What lake or registry say.
pub fn run(quick: bool) -> Result<Scene> {
    let count = if quick { 100 } else { 1_000 };
    let alone = if quick { 20 } else { 50 };
    let mut rows = Vec::new();
    let mut bounds = Vec::new();
    let mut notes = Vec::new();
    for (kind, name) in [(CatalogKind::Sqlite, "SQLite"), (CatalogKind::Postgres, "PostgreSQL")] {
        let lake = ThrowAway::with(kind, "")?;
        lake.tables.set_auto(AutoPolicy::default());
        make(&lake, count)?;
        // What a process finds out once about each table it has found out.
        change(&lake)?;
        work(&lake.tables)?;
        change(&lake)?;
        let ((refreshed, batches), took) = timed(|| work(&lake.tables))?;
        if refreshed != count {
            return Err(Error::new(Code::Internal, format!("{refreshed} of {count} tables were refreshed")));
        }
        let where_it_went = steps(&lake.tables, count)?;
        change(&lake)?;
        let (_, by_themselves) =
            timed(|| (0..alone).try_for_each(|number| lake.refresh(&[&format!("t{number}")]).map(drop)))?;
        let each = by_themselves / alone;
        lake.verify()?;
        let (by_hand_each, by_hand_share) = by_hand(&lake, alone)?;
        let share = took / u32::try_from(count).unwrap_or(u32::MAX);
        let gain = ratio(each, share);
        rows.push(vec![
            name.to_owned(),
            count.to_string(),
            batches.to_string(),
            milliseconds(took),
            milliseconds(share),
            milliseconds(each),
            format!("{gain:.1}"),
            milliseconds(by_hand_share),
            milliseconds(by_hand_each),
            format!("{:.1}", ratio(by_hand_each, by_hand_share)),
        ]);
        notes.push(format!("{name}: {where_it_went}"));
        bounds.push(Bound::at_least(
            format!("{name}: throughput in common commits as a multiple of one commit each"),
            gain,
            10.0,
        ));
    }
    Ok(Scene {
        name: "many",
        about: format!(
            "{count} tables of one row each over {SOURCES} sources that all change at once (ms): refreshed by one worker in as few \
             commits as it makes, and {alone} of them with a claim and a commit of their own. All verified afterwards. By hand: nothing but the DELETE and the INSERT of the one row, \
             {alone} in one transaction and in one each."
        ),
        columns: vec![
            "catalog",
            "tables",
            "batches",
            "all",
            "each of them",
            "each alone",
            "gain",
            "by hand, of them",
            "by hand, alone",
            "gain by hand",
        ],
        rows,
        notes,
        bounds,
    })
}

fn make(lake: &ThrowAway, count: usize) -> Result<()> {
    let mut text = String::new();
    for source in 0..SOURCES {
        let _ = writeln!(
            text,
            "CREATE TABLE lake.s{source} AS SELECT i AS id, i % 100 AS k, i AS v FROM range(1000) t(i);"
        );
    }
    for number in 0..count {
        let _ = writeln!(
            text,
            "CREATE DYNAMIC TABLE t{number} TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS \
             SELECT k, count(*) AS n, sum(v) AS v FROM s{} WHERE k = {} GROUP BY k;",
            number % SOURCES,
            number / SOURCES % 100,
        );
    }
    lake.run(&text)?;
    lake.refresh(&[])?;
    Ok(())
}

/// What the engine takes for the writing alone: with a commit for each table, and for each of them in a common one.
fn by_hand(lake: &ThrowAway, tables: u32) -> Result<(Duration, Duration)> {
    for number in 0..tables {
        lake.run(&format!("CREATE TABLE lake.by_hand{number} AS SELECT 1 AS k, 1 AS n, 1 AS v"))?;
    }
    let write = |number: u32| -> Result<()> {
        lake.others.execute(&format!("DELETE FROM lake.by_hand{number}"))?;
        lake.others.execute(&format!("INSERT INTO lake.by_hand{number} VALUES (1, 2, 3)"))?;
        Ok(())
    };
    let (_, together) = timed(|| {
        lake.others.execute("BEGIN")?;
        (0..tables).try_for_each(write)?;
        lake.others.execute("COMMIT")
    })?;
    let (_, each) = timed(|| {
        (0..tables).try_for_each(|number| {
            lake.others.execute("BEGIN")?;
            write(number)?;
            lake.others.execute("COMMIT").map(|_| ())
        })
    })?;
    Ok((each / tables, together / tables))
}

fn change(lake: &ThrowAway) -> Result<()> {
    for source in 0..SOURCES {
        lake.run(&format!("INSERT INTO lake.s{source} SELECT i, i % 100, i FROM range(100) t(i)"))?;
    }
    Ok(())
}

/// Does what a worker does until nothing is due: how many tables it refreshed, in how many batches.
fn work(tables: &DynamicTables) -> Result<(usize, usize)> {
    let now = Timestamp::now() + Duration::from_hours(2);
    let poll = Poll { interval: Duration::from_secs(60), queues: Vec::new(), now: Some(now) };
    let (mut refreshed, mut batches) = (0, 0);
    loop {
        let look = tables.look(&poll)?;
        if look.work.is_empty() {
            return Ok((refreshed, batches));
        }
        for work in &look.work {
            refreshed += tables.carry_out(work, "bench", &|| false, &mut |_| {})?.refreshed;
            batches += 1;
        }
    }
}
