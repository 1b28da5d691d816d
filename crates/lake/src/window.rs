//! The change of one table between two snapshots, read by the cheapest rule that is right.
//!
//! DuckLake's change feed is not always right (see [`WindowRule`]), without ever saying so. The rules and their
//! bounds come from experiments, which the differential test of this crate repeats: an engine upgrade that changes
//! one of them fails there.

use sql::names::{TableName, quote_identifier, quote_literal};

use crate::SnapshotId;

/// How the change of one table between two snapshots is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The table.
    pub table: TableName,
    /// The change after this snapshot...
    pub from: SnapshotId,
    /// ...up to and with this one.
    pub to: SnapshotId,
    /// How it is read.
    pub rule: WindowRule,
    /// About how many rows came.
    pub inserted: u64,
    /// About how many rows went.
    pub deleted: u64,
    /// The newest snapshot that was looked at when the rule was chosen; see [`Session::reading_holds`](crate::Session::reading_holds).
    pub seen: SnapshotId,
    pub(crate) alias: String,
    pub(crate) table_id: Option<i64>,
    /// The last snapshot up to which nothing but maintenance happened to the table: what the feed tells begins behind it.
    pub(crate) silent_until: SnapshotId,
}

/// The ways of reading a change, from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowRule {
    /// Nothing changed.
    Unchanged,
    /// Nothing but insertions, no row of them touched again, and no maintenance: the feed's insertions.
    Insertions,
    /// No maintenance: the feed, except for the rows it names more than once in a snapshot, which are read at both
    /// ends. (A transaction that touches a row several times reports it several times: some versions are repeated,
    /// some are left out.)
    DistinctFeed,
    /// The rows of every row id the feed names, as they are at both ends. Right where the feed is read in peace: row ids are stable, and
    /// it never omits one that changed. (After maintenance it names rows that did not change.)
    CandidateRowIds,
    /// All rows as they are at both ends, where the feed could not be read in peace: see [`Session::read_in_peace`](crate::Session::read_in_peace).
    BothEnds,
    /// The change cannot be told.
    Broken(Break),
}

/// Why a change cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The name means another table than at the start of the window.
    Replaced,
    /// A column of the same name is another column than at the start of the window.
    Redefined,
    /// A snapshot of the window was expired.
    Expired,
    /// The table is gone.
    Dropped,
}

impl Window {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.rule == WindowRule::Unchanged
    }

    /// A SELECT that gives `columns` and the weight: 1 for a row that came, -1 for one that went. A row that is
    /// the same in these columns at both ends is not given. The columns must exist, under these names, at both
    /// ends. For an unchanged or broken window it gives no rows.
    #[must_use]
    pub fn delta_sql(&self, columns: &[String], weight: &str) -> String {
        let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
        self.render(None, &columns, &[], &quote_identifier(weight))
    }

    /// The same, where a row is only taken for the same at both ends if the columns in `apart` are also written the
    /// same: there are types whose values can be equal and yet differ (an interval of 30 days is one of a month).
    #[must_use]
    pub fn delta_sql_telling_apart(&self, columns: &[String], apart: &[String], weight: &str) -> String {
        let quoted = |columns: &[String]| columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>();
        self.render(None, &quoted(columns), &quoted(apart), &quote_identifier(weight))
    }

    /// The same with the row id as first column.
    #[must_use]
    pub fn delta_with_row_id_sql(&self, row_id: &str, columns: &[String], weight: &str) -> String {
        let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
        self.render(Some(&quote_identifier(row_id)), &columns, &[], &quote_identifier(weight))
    }

    fn render(&self, row_id: Option<&str>, columns: &[String], apart: &[String], weight: &str) -> String {
        let table = self.table.quoted(&self.alias);
        let row = prefix_list(columns);
        let shown = |of: &str| row_id.map_or_else(|| row.clone(), |name| format!("{of} AS {name}, {row}"));
        let whole_end = |end: SnapshotId, sign: i8| {
            format!("SELECT rowid AS {ROW_ID}, {row}{sign} AS {WEIGHT} FROM {table} AT (VERSION => {end})")
        };
        // The rows of some row ids as they are at one end of the window.
        let at_end = |end: SnapshotId, sign: i8, row_ids: &str| {
            format!("{} WHERE rowid IN (SELECT {ROW_ID} FROM {row_ids})", whole_end(end, sign))
        };
        // Rows that are the same at both ends, or that came and went in between, cancel.
        let net = |parts: &[String]| {
            let written = apart.iter().map(|column| format!(", {column}::VARCHAR"));
            let group: String = columns.iter().map(|column| format!(", {column}")).chain(written).collect();
            format!(
                "SELECT {}sum({WEIGHT})::TINYINT AS {weight} FROM ({}) \
                 GROUP BY {ROW_ID}{group} HAVING sum({WEIGHT}) <> 0",
                shown(ROW_ID),
                parts.join(" UNION ALL ")
            )
        };
        match self.rule {
            WindowRule::Unchanged | WindowRule::Broken(_) => format!(
                "SELECT {}1::TINYINT AS {weight} FROM {table} AT (VERSION => {}) WHERE false",
                shown("rowid"),
                self.to
            ),
            WindowRule::Insertions => {
                format!("SELECT {}1::TINYINT AS {weight} FROM {}", shown("rowid"), self.feed("insertions"))
            }
            WindowRule::DistinctFeed => {
                let part = |feed: &str, sign: i8| {
                    let feed = self.feed(feed);
                    format!("SELECT snapshot_id, rowid AS {ROW_ID}, {row}{sign} AS {WEIGHT} FROM {feed}")
                };
                // A row that is named twice in one snapshot is either repeated or had several versions in it, which
                // the feed alone does not tell: such rows are read at both ends. There are none as a rule, and then
                // those reads end before they begin.
                let doubtful = format!(
                    "SELECT DISTINCT {ROW_ID} FROM (SELECT {ROW_ID} FROM {FEED} \
                     GROUP BY snapshot_id, {ROW_ID}, {WEIGHT} HAVING count(*) > 1)"
                );
                format!(
                    "WITH {FEED} AS MATERIALIZED ({} UNION ALL {}), {DOUBTFUL} AS MATERIALIZED ({doubtful}) {}",
                    part("insertions", 1),
                    part("deletions", -1),
                    net(&[
                        format!("SELECT {ROW_ID}, {row}{WEIGHT} FROM {FEED} ANTI JOIN {DOUBTFUL} USING ({ROW_ID})"),
                        at_end(self.to, 1, DOUBTFUL),
                        at_end(self.from, -1, DOUBTFUL),
                    ])
                )
            }
            WindowRule::CandidateRowIds => format!(
                "WITH {CANDIDATES} AS MATERIALIZED (SELECT rowid AS {ROW_ID} FROM {} UNION SELECT rowid FROM {}) {}",
                self.feed("insertions"),
                self.feed("deletions"),
                net(&[at_end(self.to, 1, CANDIDATES), at_end(self.from, -1, CANDIDATES)])
            ),
            WindowRule::BothEnds => net(&[whole_end(self.to, 1), whole_end(self.from, -1)]),
        }
    }

    fn feed(&self, feed: &str) -> String {
        format!(
            "ducklake_table_{feed}({}, {}, {}, {}, {})",
            quote_literal(&self.alias),
            quote_literal(&self.table.schema),
            quote_literal(&self.table.name),
            self.silent_until + 1,
            self.to
        )
    }
}

/// Names that no column of a user's has.
const WEIGHT: &str = "\"__weight\"";
const ROW_ID: &str = "\"__row_id\"";
const FEED: &str = "\"__feed\"";
const DOUBTFUL: &str = "\"__doubtful\"";
const CANDIDATES: &str = "\"__candidates\"";

/// `a, b, ` to put before another column, or nothing.
fn prefix_list(columns: &[String]) -> String {
    columns.iter().map(|column| format!("{column}, ")).collect()
}

/// `columns` of a table as of a snapshot, as a parenthesised relation; no columns means a column `one` to count.
#[must_use]
pub fn at_sql(alias: &str, table: &TableName, columns: &[String], snapshot: Option<SnapshotId>) -> String {
    let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
    let list = if columns.is_empty() { "1 AS one".to_owned() } else { columns.join(", ") };
    let version = snapshot.map_or_else(String::new, |snapshot| format!(" AT (VERSION => {snapshot})"));
    format!("(SELECT {list} FROM {}{version})", table.quoted(alias))
}
