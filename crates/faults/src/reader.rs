//! A reader that never stops looking: whether tables that move together agree in every snapshot, and whether each holds
//! what its data version says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use error::Result;
use jiff::Timestamp;
use lake::Session;

use crate::broken;
use crate::tables::{INVARIANTS, Invariant, TABLES, Table, comparison};
use crate::writer::newest_snapshot;

/// After so many looks at the invariants the content of one table is compared.
const LOOKS_PER_COMPARISON: usize = 8;

const PAUSE: Duration = Duration::from_millis(100);

/// Two tables that did not agree in one snapshot.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// What the two said.
    pub said: String,
    /// The one that lags behind; none if both claim the same data version.
    pub behind: Option<&'static str>,
    /// Since when it was seen with the content that it had then.
    pub since: Timestamp,
    /// When that was.
    pub at: Timestamp,
}

/// What a reader saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// In how many snapshots it looked at the invariants.
    pub looks: u64,
    /// How often it compared a table with its query.
    pub comparisons: u64,
    /// Tables that did not agree, each pair once per data versions.
    pub disagreements: Vec<Disagreement>,
    /// Tables that did not hold what their data version says.
    pub wrong: Vec<Wrong>,
}

/// A table that does not hold what its query gives at its data version.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// The table.
    pub table: &'static str,
    /// Rows that it lacks.
    pub missing: u64,
    /// Rows that it has too many.
    pub surplus: u64,
    /// Of which data version its content is said to be.
    pub version: i64,
}

/// What the lake says of a dynamic table's content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    version: i64,
    refresh: String,
}

/// Looks at one lake.
pub struct Reader<'a> {
    session: &'a Session,
    /// The name of each table by its id.
    ids: BTreeMap<String, &'static str>,
    /// What each table's content was last said to be, and since when.
    known: BTreeMap<&'static str, (Mark, Timestamp)>,
    told: BTreeSet<String>,
    seen: Seen,
}

impl<'a> Reader<'a> {
    /// A reader of a lake in which every table has been published.
    ///
    /// # Errors
    /// What the lake says.
    pub fn new(session: &'a Session) -> Result<Self> {
        let (known, told, seen) = (BTreeMap::new(), BTreeSet::new(), Seen::default());
        Ok(Self { session, ids: ids(session)?, known, told, seen })
    }

    /// Reads until it is told to stop.
    ///
    /// # Errors
    /// What the lake says. Whoever only reads is in nobody's way, and nobody may be in its.
    pub fn read(mut self, stop: &AtomicBool) -> Result<Seen> {
        for number in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            self.look(None)?;
            if number % LOOKS_PER_COMPARISON == 0 {
                let table = &TABLES[number / LOOKS_PER_COMPARISON % TABLES.len()];
                let wrong = self.compare(table)?;
                self.seen.wrong.extend(wrong);
                self.seen.comparisons += 1;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(self.seen)
    }

    /// Looks at this snapshot and at every later one in which a dynamic table was published, one after the other: what a
    /// reader that is never too late sees.
    ///
    /// # Errors
    /// What the lake says.
    pub fn look_back(mut self, since: i64) -> Result<Seen> {
        let sql = format!(
            "SELECT s.snapshot_id, strftime(s.snapshot_time::TIMESTAMPTZ AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') \
             FROM __ducklake_metadata_lake.ducklake_snapshot s JOIN __ducklake_metadata_lake.ducklake_snapshot_changes c \
             ON c.snapshot_id = s.snapshot_id \
             WHERE s.snapshot_id = {since} OR s.snapshot_id > {since} AND c.commit_extra_info IS NOT NULL ORDER BY 1"
        );
        for row in self.session.query(&sql)?.rows {
            let [Some(snapshot), Some(time)] = row.as_slice() else { continue };
            let time = time.parse().map_err(|cause| broken("the time of a snapshot", cause))?;
            self.look(Some((snapshot, time)))?;
        }
        Ok(self.seen)
    }
}

/// The id of each dynamic table, as the commits that published it say.
fn ids(session: &Session) -> Result<BTreeMap<String, &'static str>> {
    let sql = "SELECT DISTINCT e->>'name', e->>'table_id' FROM (SELECT unnest(from_json(commit_extra_info->'dynamic_tables'->'refreshes', \
               '[\"JSON\"]')) AS e FROM __ducklake_metadata_lake.ducklake_snapshot_changes WHERE commit_extra_info IS NOT NULL)";
    let mut ids = BTreeMap::new();
    for row in session.query(sql)?.rows {
        let [Some(name), Some(id)] = row.as_slice() else { continue };
        if let Some(table) = TABLES.iter().find(|table| table.name == name) {
            ids.insert(id.clone(), table.name);
        }
    }
    Ok(ids)
}

fn parse_marks(ids: &BTreeMap<String, &'static str>, text: &str) -> BTreeMap<&'static str, Mark> {
    let mark = |word: &str| {
        let mut parts = word.split(' ');
        let (id, version, refresh) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        Some((*ids.get(id)?, Mark { version, refresh: refresh.to_owned() }))
    };
    text.split(',').filter_map(mark).collect()
}

const MARKS: &str = "string_agg(table_id || ' ' || data_version || ' ' || refresh_id, ',')";

impl Reader<'_> {
    /// One statement, and so one snapshot: both sides of every invariant, and what each table's content is said to be. At
    /// the newest snapshot or this one.
    fn look(&mut self, at: Option<(&str, Timestamp)>) -> Result<()> {
        let version = at.map_or_else(String::new, |(snapshot, _)| format!(" AT (VERSION => {snapshot})"));
        let number =
            |(table, sql): (&str, &str)| format!("(SELECT ({sql})::VARCHAR FROM lake.main.{table}{version})");
        let marks = format!("(SELECT {MARKS} FROM lake.__dynamic_tables.watermarks{version} WHERE table_id <> '')");
        let sides = INVARIANTS.iter().flat_map(|invariant| [number(invariant.left), number(invariant.right)]);
        let numbers: Vec<String> = std::iter::once(marks).chain(sides).collect();
        let rows = self.session.query(&format!("SELECT {}", numbers.join(", ")))?.rows;
        let Some(row) = rows.first() else { return Ok(()) };
        let now = at.map_or_else(Timestamp::now, |(_, time)| time);
        let marks = parse_marks(&self.ids, row[0].as_deref().unwrap_or_default());
        for (table, mark) in &marks {
            if self.known.get(table).is_none_or(|(before, _)| before != mark) {
                self.known.insert(table, (mark.clone(), now));
            }
        }
        self.seen.looks += 1;
        for (invariant, sides) in INVARIANTS.iter().zip(row[1..].chunks(2)) {
            if sides[0] != sides[1] {
                self.disagree(invariant, sides, &marks, now);
            }
        }
        Ok(())
    }

    fn disagree(
        &mut self,
        invariant: &Invariant,
        sides: &[Option<String>],
        marks: &BTreeMap<&'static str, Mark>,
        now: Timestamp,
    ) {
        let Invariant { left: (left, left_sql), right: (right, right_sql) } = invariant;
        let version = |table: &str| marks.get(table).map(|mark| mark.version);
        let versions = (version(left), version(right));
        if !self.told.insert(format!("{left}.{left_sql} {right}.{right_sql} {versions:?}")) {
            return;
        }
        let behind = match versions.0.cmp(&versions.1) {
            std::cmp::Ordering::Less => Some(*left),
            std::cmp::Ordering::Greater => Some(*right),
            std::cmp::Ordering::Equal => None,
        };
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        self.seen.disagreements.push(Disagreement {
            said: format!(
                "{left}.{left_sql} = {} at data version {:?}, {right}.{right_sql} = {} at {:?}",
                show(&sides[0]),
                versions.0,
                show(&sides[1]),
                versions.1
            ),
            behind,
            since: behind.and_then(|table| self.known.get(table)).map_or(now, |(_, since)| *since),
            at: now,
        });
    }

    /// Compares a table with its query, at the newest snapshot.
    ///
    /// # Errors
    /// What the lake says.
    pub fn compare(&self, table: &'static Table) -> Result<Option<Wrong>> {
        let session = self.session;
        let snapshot = newest_snapshot(session)?;
        let sql = format!(
            "SELECT {MARKS} FROM lake.__dynamic_tables.watermarks AT (VERSION => {snapshot}) WHERE table_id <> ''"
        );
        let rows = session.query(&sql)?.rows;
        let text = rows.first().and_then(|row| row[0].clone()).unwrap_or_default();
        let Some(mark) = parse_marks(&self.ids, &text).remove(table.name) else {
            return Err(broken("no watermark", table.name));
        };
        let rows = session.query(&comparison(table, snapshot, mark.version))?.rows;
        let count = |column: usize| rows.first().and_then(|row| row[column].as_ref()?.parse::<u64>().ok());
        let (Some(missing), Some(surplus)) = (count(0), count(1)) else {
            return Err(broken("no comparison", table.name));
        };
        let wrong = Wrong { table: table.name, missing, surplus, version: mark.version };
        Ok((missing + surplus > 0).then_some(wrong))
    }
}
