//! What somebody would write who keeps one table by hand, knows its keys, and wants it to be right: the floor under every
//! refresh of it. The change is read from the feed, only the columns that are used, once for all tables of a chain.

use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use lake::{Session, SnapshotId};

/// How a result is kept by hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Floor {
    /// Each row comes from one row of a source with a key: those that went are deleted by it, those that came inserted.
    Rows {
        source: &'static str,
        key: &'static str,
        /// Columns of the source.
        reads: &'static str,
        select: &'static str,
        from: &'static str,
        condition: &'static str,
    },
    /// Counts and sums by group are added to.
    Folded(Fold),
    /// All rows of some keys are computed again.
    Keyed {
        /// The columns of the orders on which the result depends: of rows that are the same in them nothing changed.
        reads: &'static str,
        /// Which changes matter.
        condition: &'static str,
        target_key: &'static str,
        /// The rows of the keys in `__k`.
        query: &'static str,
    },
}

/// `count(*)` and the sum of prices by group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold {
    /// Columns of the orders.
    pub reads: &'static str,
    /// The expressions of the groups, and their columns in the result.
    pub keys: &'static [(&'static str, &'static str)],
    pub from: &'static str,
}

impl Floor {
    const fn source(&self) -> &'static str {
        match self {
            Self::Rows { source, .. } => source,
            Self::Folded(_) | Self::Keyed { .. } => "orders",
        }
    }

    const fn reads(&self) -> &'static str {
        match self {
            Self::Rows { reads, .. } | Self::Folded(Fold { reads, .. }) | Self::Keyed { reads, .. } => reads,
        }
    }
}

/// Brings tables that hold what their queries gave at a snapshot up to the newest one, in one commit. What it took.
///
/// # Errors
/// What the lake says, and a change for which the feed alone would not be right.
pub(crate) fn keep(session: &Session, floors: &[Floor], tables: &[String], from: SnapshotId) -> Result<Duration> {
    let began = Instant::now();
    let to = session.current_snapshot()?.id;
    // The first table of a chain reads all that the others read.
    let Some(first) = floors.first() else { return Ok(Duration::ZERO) };
    let feed = |feed: &str, weight: i8| {
        format!(
            "SELECT snapshot_id AS __s, rowid AS __r, {weight} AS __w, {} \
             FROM ducklake_table_{feed}('lake', 'main', '{}', {}, {to})",
            first.reads(),
            first.source(),
            from + 1
        )
    };
    session.execute(&format!(
        "CREATE OR REPLACE TEMP TABLE __f AS {} UNION ALL {}",
        feed("insertions", 1),
        feed("deletions", -1)
    ))?;
    // A row that is named twice in a commit is one that the feed does not tell rightly.
    let doubtful = "SELECT count(*) - count(DISTINCT (__s, __r, __w)) FROM __f";
    if session.counts(doubtful)? != [0] {
        return Err(Error::new(Code::Internal, "the floor is not right for changes that touch a row twice"));
    }
    // A row that came and was changed in one commit has its first version in the feed twice: as one that came and one that went.
    session.execute(
        "CREATE OR REPLACE TEMP TABLE __d AS SELECT * EXCLUDE (__s, __r, __w), sum(__w)::BIGINT AS __w FROM __f \
         GROUP BY ALL HAVING sum(__w) <> 0",
    )?;
    let mut publish = Vec::new();
    for (number, (floor, table)) in floors.iter().zip(tables).enumerate() {
        publish.extend(prepare(session, floor, table, number)?);
    }
    session.execute("BEGIN")?;
    for statement in &publish {
        session.execute(statement)?;
    }
    session.execute("COMMIT")?;
    Ok(began.elapsed())
}

/// Computes what changes in one table; the statements that write it.
fn prepare(session: &Session, floor: &Floor, table: &str, number: usize) -> Result<Vec<String>> {
    match floor {
        Floor::Rows { key, select, from, condition, .. } => Ok(vec![
            format!(
                "DELETE FROM lake.{table} WHERE {key} IN (SELECT {key} FROM {from} WHERE __w < 0 AND ({condition}))"
            ),
            format!("INSERT INTO lake.{table} SELECT {select} FROM {from} WHERE __w > 0 AND ({condition})"),
        ]),
        Floor::Folded(Fold { keys, from, .. }) => {
            let change = format!("__g{number}");
            let columns: Vec<&str> = keys.iter().map(|(_, column)| *column).collect();
            let grouped: Vec<String> =
                keys.iter().map(|(expression, column)| format!("{expression} AS {column}")).collect();
            session.execute(&format!(
                "CREATE OR REPLACE TEMP TABLE {change} AS SELECT {}, sum(__w)::BIGINT AS n, sum(__w * o_totalprice) AS total \
                 FROM {from} GROUP BY ALL",
                grouped.join(", ")
            ))?;
            let same: Vec<String> = columns.iter().map(|column| format!("t.{column} = g.{column}")).collect();
            let values: Vec<String> = columns.iter().map(|column| format!("g.{column}")).collect();
            let mut statements = vec![format!(
                "MERGE INTO lake.{table} AS t USING {change} AS g ON {} \
                 WHEN MATCHED THEN UPDATE SET n = t.n + g.n, total = t.total + g.total \
                 WHEN NOT MATCHED THEN INSERT VALUES ({}, g.n, g.total)",
                same.join(" AND "),
                values.join(", ")
            )];
            // Only groups that lost rows can be empty.
            if session.counts(&format!("SELECT count(*) FROM {change} WHERE n < 0"))? != [0] {
                statements.push(format!("DELETE FROM lake.{table} WHERE n = 0"));
            }
            Ok(statements)
        }
        Floor::Keyed { condition, target_key, query, .. } => {
            session.execute(&format!(
                "CREATE OR REPLACE TEMP TABLE __k AS SELECT DISTINCT o_custkey FROM __d WHERE {condition}"
            ))?;
            session.execute(&format!("CREATE OR REPLACE TEMP TABLE __n AS {query}"))?;
            Ok(vec![
                format!("DELETE FROM lake.{table} WHERE {target_key} IN (FROM __k)"),
                format!("INSERT INTO lake.{table} FROM __n"),
            ])
        }
    }
}
