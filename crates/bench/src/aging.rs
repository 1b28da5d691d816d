//! What a dynamic table costs to read after very many refreshes, beside a fresh copy of it.

use std::time::Duration;

use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::{Compaction, Stored};
use refresh::Poll;
use sql::names::TableName;
use testkit::lake::ThrowAway;

use crate::figures::{longest, median, milliseconds, ratio, timed};
use crate::refreshing::{Change, Layout, Size, change, make};
use crate::report::{Bound, Scene};

const SIZE: Size = Size { orders: 300_000 };

/// This share of the orders changes before each refresh.
const SHARE: f64 = 0.0005;

/// Reading may take so many times as long as reading a fresh copy.
const WORN: f64 = 1.5;

/// How often each is read.
const READINGS: u32 = 7;

const TABLES: [(&str, &str); 3] = [
    ("rows", "SELECT o_orderkey, o_custkey, o_totalprice, o_comment FROM orders WHERE o_status <> 'F'"),
    ("groups", "SELECT o_custkey, count(*) AS orders, sum(o_totalprice) AS total FROM orders GROUP BY o_custkey"),
    ("few", "SELECT o_priority, count(*) AS orders, sum(o_totalprice) AS total FROM orders GROUP BY o_priority"),
];

/// Refreshes three tables again and again as a worker does, with compaction and without.
///
/// # Errors
/// What lake or registry say, and a table that differs from its query.
pub fn run(quick: bool) -> Result<Scene> {
    let (refreshes, without) = if quick { (60, 60) } else { (1_000, 200) };
    let mut rows = Vec::new();
    let mut bounds = Vec::new();
    let mut notes = Vec::new();
    for (is_on, refreshes) in [(true, refreshes), (false, without)] {
        let mut worn = Vec::new();
        let lake = ThrowAway::new()?;
        make(&lake, SIZE, Layout::OneFile)?;
        for (name, query) in TABLES {
            lake.run(&format!(
                "CREATE DYNAMIC TABLE {name} TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS {query}"
            ))?;
        }
        lake.tables.set_compaction(is_on);
        let mut took = Vec::new();
        for round in 1..=refreshes {
            change(&lake, SIZE, Change::Scattered, SHARE, round)?;
            took.push(timed(|| work(&lake))?.1);
            // The source is not what is measured here.
            if round % 50 == 0 {
                lake.others.compact(&TableName::new("main", "orders"), Compaction { flush: true, rewrite: true })?;
            }
            if round % (refreshes / 4) == 0 {
                for (name, _) in TABLES {
                    let (stored, read, fresh) = look(&lake, name)?;
                    worn.push(ratio(read, fresh));
                    rows.push(vec![
                        name.to_owned(),
                        if is_on { "on" } else { "off" }.to_owned(),
                        round.to_string(),
                        stored.files.to_string(),
                        stored.deleted.to_string(),
                        stored.inlined.to_string(),
                        milliseconds(read),
                        milliseconds(fresh),
                        format!("{:.2}", ratio(read, fresh)),
                    ]);
                }
            }
        }
        lake.verify()?;
        let tenth = took.len() / 10;
        notes.push(format!(
            "Compaction {}: a refresh of all three took {} ms at the beginning, {} ms in the end (medians of a tenth), and {} ms at most.",
            if is_on { "on" } else { "off" },
            milliseconds(median(&took[..tenth])),
            milliseconds(median(&took[took.len() - tenth..])),
            milliseconds(longest(&took)),
        ));
        if is_on {
            let worst = worn.iter().copied().fold(0.0, f64::max);
            bounds.push(Bound::at_most(
                "reading a table as a multiple of reading a fresh copy, at worst",
                worst,
                WORN,
            ));
        }
    }
    Ok(Scene {
        name: "aging",
        about: format!(
            "Three tables over {} orders, of which {} % change before each refresh, refreshed by a worker's steps with compaction and \
             without. Files, deleted and inlined rows are the catalog's; reading computes a sum over every column (ms, medians of {READINGS}), \
             fresh is a copy written at that moment. All tables are verified against their queries at the end.",
            SIZE.orders,
            SHARE * 100.0
        ),
        columns: vec![
            "table",
            "compaction",
            "refreshes",
            "files",
            "deleted",
            "inlined",
            "read",
            "fresh",
            "read / fresh",
        ],
        rows,
        notes,
        bounds,
    })
}

fn work(lake: &ThrowAway) -> Result<()> {
    let now = Timestamp::now() + Duration::from_hours(2);
    let look = lake.tables.look(&Poll { interval: Duration::from_secs(60), queues: Vec::new(), now: Some(now) })?;
    for work in &look.work {
        let done = lake.tables.carry_out(work, "bench", &|| false, &mut |_| {})?;
        if done.failed > 0 {
            return Err(Error::new(Code::Internal, format!("{} refreshes failed", done.failed)));
        }
    }
    Ok(())
}

/// How a table lies, what reading it takes, and what reading a copy takes.
fn look(lake: &ThrowAway, name: &str) -> Result<(Stored, Duration, Duration)> {
    let stored = lake.others.stored(&[TableName::new("main", name)])?.pop().flatten().unwrap_or_default();
    let copy = format!("{name}_fresh");
    lake.others.execute(&format!("CREATE TABLE lake.{copy} AS FROM lake.{name}"))?;
    let read = |table: &str| -> Result<Duration> {
        let sql = format!("SELECT count(*), sum(hash(COLUMNS(*))) FROM lake.{table}");
        Ok(timed(|| lake.others.query(&sql))?.1)
    };
    let (mut worn, mut fresh) = (Vec::new(), Vec::new());
    for _ in 0..READINGS {
        worn.push(read(name)?);
        fresh.push(read(&copy)?);
    }
    lake.others.execute(&format!("DROP TABLE lake.{copy}"))?;
    Ok((stored, median(&worn), median(&fresh)))
}
