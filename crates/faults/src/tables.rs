//! The sources and dynamic tables of a round, and what each dynamic table must hold.
//!
//! `apex` alone has a lag of its own among the tables that it is built from, so all of them are due together: a reader must
//! find them at one data version. The others go their own ways.

use std::fmt::Write as _;

/// A dynamic table.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// How it is kept fresh.
    pub pace: Pace,
    /// Its query over tables named without a schema.
    pub query: &'static str,
    /// What of its rows is compared: everything but the last digits of a quotient.
    pub compared: &'static str,
}

/// How a table is kept fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With the table that reads it.
    Downstream,
    /// Within a lag of its own.
    Lag,
}

/// Upstream first.
pub const TABLES: [Table; 10] = [
    // Nothing is folded or deduplicated here: a row that is lost or doubled shows.
    Table { name: "copies", pace: Pace::Downstream, query: "SELECT id, grp, balance FROM accounts", compared: "*" },
    Table {
        name: "sums",
        pace: Pace::Downstream,
        query: "SELECT grp, count(*) AS n, sum(balance) AS total FROM accounts GROUP BY grp",
        compared: "*",
    },
    // Kept in a state table.
    Table {
        name: "averages",
        pace: Pace::Downstream,
        query: "SELECT grp, avg(balance) AS mean FROM copies GROUP BY grp",
        compared: "grp, round(mean, 6)",
    },
    // Only ever appended to.
    Table {
        name: "appended",
        pace: Pace::Downstream,
        query: "SELECT id, account, amount FROM events",
        compared: "*",
    },
    Table {
        name: "ledger",
        pace: Pace::Downstream,
        query: "SELECT e.id, e.amount, c.grp FROM appended e JOIN copies c ON e.account = c.id",
        compared: "*",
    },
    Table {
        name: "flows",
        pace: Pace::Downstream,
        query: "SELECT grp, count(*) AS entries, sum(amount) AS amount FROM ledger GROUP BY grp",
        compared: "*",
    },
    // The tip of two diamonds: over accounts, and over copies.
    Table {
        name: "apex",
        pace: Pace::Lag,
        query: "SELECT s.grp, s.n, s.total, a.mean, f.entries, f.amount FROM sums s JOIN averages a ON s.grp = a.grp \
                LEFT JOIN flows f ON s.grp = f.grp",
        compared: "grp, n, total, round(mean, 6), entries, amount",
    },
    Table {
        name: "summit",
        pace: Pace::Lag,
        query: "SELECT count(*) AS groups, sum(n) AS n, sum(total) AS total FROM apex",
        compared: "*",
    },
    Table {
        name: "richest",
        pace: Pace::Lag,
        query: "SELECT id, balance FROM accounts ORDER BY balance DESC, id LIMIT 20",
        compared: "*",
    },
    Table {
        name: "ranks",
        pace: Pace::Lag,
        query: "SELECT id, grp, row_number() OVER (PARTITION BY grp ORDER BY balance, id) AS place FROM accounts",
        compared: "*",
    },
];

/// What the sources begin with.
pub const SOURCES: [&str; 2] = [
    "CREATE TABLE lake.main.accounts AS SELECT i::BIGINT AS id, (i % 23)::INTEGER AS grp, \
     (((i * 7919) % 100000) / 100.0)::DECIMAL(18, 2) AS balance FROM range(2000) t(i)",
    "CREATE TABLE lake.main.events AS SELECT i::BIGINT AS id, ((i * 31) % 2000)::BIGINT AS account, \
     (i % 90)::BIGINT AS amount FROM range(3000) t(i)",
];

/// Numbers that agree in every snapshot of the lake. Each is a query that gives one number; beside it stands the table
/// that it is of.
#[derive(Debug)]
pub struct Invariant {
    /// One side.
    pub left: (&'static str, &'static str),
    /// The other.
    pub right: (&'static str, &'static str),
}

/// What a reader can count on: the tables under `apex` move together.
pub const INVARIANTS: [Invariant; 6] = [
    Invariant { left: ("copies", "count(*)"), right: ("sums", "sum(n)") },
    Invariant { left: ("copies", "sum(balance)"), right: ("sums", "sum(total)") },
    Invariant { left: ("ledger", "count(*)"), right: ("flows", "sum(entries)") },
    Invariant { left: ("sums", "sum(n)"), right: ("apex", "sum(n)") },
    Invariant { left: ("sums", "sum(total)"), right: ("apex", "sum(total)") },
    Invariant { left: ("flows", "sum(entries)"), right: ("apex", "sum(entries)") },
];

/// The statements that create the dynamic tables.
#[must_use]
pub fn definitions(lag_seconds: u64) -> String {
    let mut text = String::new();
    for (number, table) in TABLES.iter().enumerate() {
        let lag = match table.pace {
            Pace::Downstream => "DOWNSTREAM".to_owned(),
            // Some are in less of a hurry.
            Pace::Lag => format!("'{} seconds'", lag_seconds + number as u64 % 2),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "CREATE DYNAMIC TABLE IF NOT EXISTS {} TARGET_LAG = {lag} REFRESH_MODE = INCREMENTAL AS {};",
            table.name, table.query
        );
    }
    text
}

/// A query that counts the rows that a table lacks, and those that it has too many, at this snapshot of the lake
/// if its content is of this data version.
#[must_use]
pub fn comparison(table: &Table, snapshot: i64, version: i64) -> String {
    let mut text = String::from("WITH ");
    for source in ["accounts", "events"] {
        let _ = write!(text, "{source} AS (SELECT * FROM lake.main.{source} AT (VERSION => {version})), ");
    }
    for upstream in &TABLES {
        let _ = write!(text, "{} AS ({}), ", upstream.name, upstream.query);
        if upstream.name == table.name {
            break;
        }
    }
    let Table { name, compared, .. } = table;
    let _ = write!(
        text,
        "wanted AS (SELECT {compared} FROM {name}), \
         stored AS (SELECT {compared} FROM lake.main.{name} AT (VERSION => {snapshot})) \
         SELECT (SELECT count(*) FROM (FROM wanted EXCEPT ALL FROM stored)) AS missing, \
         (SELECT count(*) FROM (FROM stored EXCEPT ALL FROM wanted)) AS surplus"
    );
    text
}
