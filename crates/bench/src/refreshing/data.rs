//! The sources: orders, customers and nations in the proportions of TPC-H, a wide table, and how they change.

use error::Result;
use testkit::lake::ThrowAway;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub orders: u64,
}

/// How the orders lie in files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    OneFile,
    ManyFiles,
}

/// Which rows change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// Orders of all times.
    Scattered,
    /// The newest orders.
    Recent,
    /// Orders of all times, but of few customers: one in a hundred has all changes.
    Skewed,
}

/// Columns of the wide table, besides its key, and how many times as many orders as rows in it there are.
const WIDE_COLUMNS: u64 = 60;
const WIDE_SHARE: u64 = 10;

const FILES: u64 = 60;

impl Layout {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneFile => "one",
            Self::ManyFiles => "60",
        }
    }
}

impl Change {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Scattered => "scattered",
            Self::Recent => "recent",
            Self::Skewed => "skewed",
        }
    }
}

/// Makes the sources.
pub(crate) fn make(lake: &ThrowAway, size: Size, layout: Layout) -> Result<()> {
    let customers = size.orders / 10;
    let others = &lake.others;
    others.execute(
        "CREATE TABLE lake.orders (o_orderkey BIGINT, o_custkey BIGINT, o_status VARCHAR, o_totalprice DECIMAL(15, 2), o_orderdate DATE, \
         o_priority VARCHAR, o_comment VARCHAR)",
    )?;
    let files = match layout {
        Layout::OneFile => 1,
        Layout::ManyFiles => FILES,
    };
    for file in 0..files {
        let (from, to) = (size.orders * file / files, size.orders * (file + 1) / files);
        others
            .execute(&format!("INSERT INTO lake.orders {}", orders(&format!("range({from}, {to})"), customers, 0)))?;
    }
    others.execute(&format!(
        "CREATE TABLE lake.customer AS SELECT i AS c_custkey, hash(i) % 25 AS c_nationkey, \
         ['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'MACHINERY', 'HOUSEHOLD'][1 + (hash(i + 1) % 5)::INTEGER] AS c_segment \
         FROM range({customers}) t(i)"
    ))?;
    others.execute(
        "CREATE TABLE lake.nation AS SELECT i AS n_nationkey, 'nation ' || i AS n_name, i % 5 AS n_regionkey FROM range(25) t(i); \
         CREATE TABLE lake.region AS SELECT i AS r_regionkey, 'region ' || i AS r_name FROM range(5) t(i); \
         CREATE TABLE lake.priority AS SELECT unnest(['1-URGENT', '2-HIGH', '3-MEDIUM']) AS p_priority, unnest([1, 2, 3]) AS p_rank",
    )?;
    others.execute(&format!(
        "CREATE TABLE lake.wide AS {}",
        wide(&format!("range({})", (size.orders / WIDE_SHARE).max(1)), 0)
    ))?;
    Ok(())
}

/// Rows of the wide table with the keys of a relation `t(i)`.
fn wide(keys: &str, salt: u64) -> String {
    let columns: String = (0..WIDE_COLUMNS)
        .map(|column| match column % 3 {
            0 => format!(", hash(i + {column} + {salt}) % 1000 AS c{column}"),
            1 => format!(", (hash(i * {column} + {salt}) % 100000 / 100)::DECIMAL(15, 2) AS c{column}"),
            _ => format!(", 'text ' || (hash(i - {column}) % 50) AS c{column}"),
        })
        .collect();
    format!("SELECT i AS w_key{columns} FROM {keys} t(i)")
}

/// Orders with the keys of a relation `t(i)`.
fn orders(keys: &str, customers: u64, salt: u64) -> String {
    format!(
        "SELECT i, hash(i + {salt}) % {customers}, ['F', 'O', 'P'][1 + (hash(i * 3 + {salt}) % 3)::INTEGER], \
         ((hash(i * 7 + {salt}) % 50000000) / 100)::DECIMAL(15, 2), DATE '1992-01-01' + (i % 2400)::INTEGER, \
         ['1-URGENT', '2-HIGH', '3-MEDIUM'][1 + (hash(i * 11) % 3)::INTEGER], 'comment of ' || i FROM {keys} t(i)"
    )
}

/// Changes a share of the orders and of the wide table: a third come, a third go, a third get another value. Different ones in
/// each round.
pub(crate) fn change(lake: &ThrowAway, size: Size, change: Change, share: f64, round: u64) -> Result<()> {
    let customers = size.orders / 10;
    let others = &lake.others;
    others.execute("BEGIN")?;
    let rows = part(size.orders, share);
    // New keys lie behind all others.
    let from = size.orders * 2 + round * rows;
    let mut new = orders(&format!("range({from}, {})", from + rows), customers, round);
    if matches!(change, Change::Skewed) {
        new = format!("SELECT * REPLACE ({} AS o_custkey) FROM ({new}) AS o(i, o_custkey)", of_few("i", customers));
    }
    others.execute(&format!("INSERT INTO lake.orders {new}"))?;
    let which = |third| which("o_orderkey", "o_custkey", size.orders, rows, change, round, third);
    others.execute(&format!("DELETE FROM lake.orders WHERE {}", which(0)))?;
    others.execute(&format!("UPDATE lake.orders SET o_totalprice = o_totalprice + 1 WHERE {}", which(1)))?;
    let all = (size.orders / WIDE_SHARE).max(1);
    let rows = part(all, share);
    let from = all * 2 + round * rows;
    others.execute(&format!("INSERT INTO lake.wide {}", wide(&format!("range({from}, {})", from + rows), round)))?;
    let which = |third| self::which("w_key", "c0", all, rows, change, round, third);
    others.execute(&format!("DELETE FROM lake.wide WHERE {}", which(0)))?;
    others.execute(&format!("UPDATE lake.wide SET c1 = c1 + 1 WHERE {}", which(1)))?;
    others.execute("COMMIT")?;
    Ok(())
}

/// A third of a share of so many rows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of rows"
)]
fn part(rows: u64, share: f64) -> u64 {
    ((rows as f64 * share / 3.0) as u64).max(1)
}

/// One of every hundred customers, by the key of an order.
fn of_few(key: &str, customers: u64) -> String {
    format!("(hash({key}) % {}) * 100", (customers / 100).max(1))
}

/// The condition for about so many rows, other ones for each third and, as long as there are enough, in each round.
fn which(key: &str, group: &str, all: u64, rows: u64, change: Change, round: u64, third: u64) -> String {
    let every = (all / rows).max(3);
    let turn = |every: u64| (round * 3 + third) % every;
    match change {
        Change::Scattered => format!("{key} % {every} = {}", turn(every)),
        Change::Recent => {
            let back = all.saturating_sub((round * 2 + third + 1) * rows);
            format!("{key} >= {back} AND {key} < {}", back + rows)
        }
        Change::Skewed => {
            let every = (every / 100).max(3);
            format!("{group} % 100 = 0 AND {key} % {every} = {}", turn(every))
        }
    }
}
