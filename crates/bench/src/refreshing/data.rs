//! The sources: orders, customers and nations in the proportions of TPC-H, and how they change.

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
}

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
        "CREATE TABLE lake.nation AS SELECT i AS n_nationkey, 'nation ' || i AS n_name FROM range(25) t(i)",
    )?;
    Ok(())
}

/// Orders with the keys of a relation `t(i)`.
fn orders(keys: &str, customers: u64, salt: u64) -> String {
    format!(
        "SELECT i, hash(i + {salt}) % {customers}, ['F', 'O', 'P'][1 + (hash(i * 3 + {salt}) % 3)::INTEGER], \
         ((hash(i * 7 + {salt}) % 50000000) / 100)::DECIMAL(15, 2), DATE '1992-01-01' + (i % 2400)::INTEGER, \
         ['1-URGENT', '2-HIGH', '3-MEDIUM'][1 + (hash(i * 11) % 3)::INTEGER], 'comment of ' || i FROM {keys} t(i)"
    )
}

/// Changes a share of the orders: a third come, a third go, a third get another price. Different ones in each round.
pub(crate) fn change(lake: &ThrowAway, size: Size, change: Change, share: f64, round: u64) -> Result<()> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of rows"
    )]
    let rows = ((size.orders as f64 * share / 3.0) as u64).max(1);
    let customers = size.orders / 10;
    // New keys lie behind all others.
    let from = size.orders * 2 + round * rows;
    let which = |part: u64| match change {
        Change::Scattered => {
            let every = (size.orders / rows).max(3);
            format!("o_orderkey % {every} = {}", (round * 3 + part) % every)
        }
        Change::Recent => {
            let back = size.orders - (round * 2 + part + 1) * rows;
            format!("o_orderkey >= {back} AND o_orderkey < {}", back + rows)
        }
    };
    let others = &lake.others;
    others.execute("BEGIN")?;
    others.execute(&format!(
        "INSERT INTO lake.orders {}",
        orders(&format!("range({from}, {})", from + rows), customers, round)
    ))?;
    others.execute(&format!("DELETE FROM lake.orders WHERE {}", which(0)))?;
    others.execute(&format!("UPDATE lake.orders SET o_totalprice = o_totalprice + 1 WHERE {}", which(1)))?;
    others.execute("COMMIT")?;
    Ok(())
}
