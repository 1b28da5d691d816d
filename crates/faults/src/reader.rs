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

/// After so many looks at the invariants the content of one table is compared.
const LOOKS_PER_COMPARISON: usize = 8;

const PAUSE: Duration = Duration::from_millis(40);

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
    /// How often it looked at the invariants.
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

/// Reads until it is told to stop.
///
/// # Errors
/// What the lake says; a reader is never in the way of anybody and nobody in its.
pub fn read(session: &Session, stop: &AtomicBool) -> Result<Seen> {
    let ids = ids(session)?;
    let mut seen = Seen::default();
    let mut known: BTreeMap<&'static str, (Mark, Timestamp)> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        look(session, &ids, &mut known, &mut told, &mut seen)?;
        if number % LOOKS_PER_COMPARISON == 0 {
            let table = &TABLES[number / LOOKS_PER_COMPARISON % TABLES.len()];
            seen.wrong.extend(compare(session, &ids, table)?);
            seen.comparisons += 1;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(seen)
}

/// Compares a table with its query, at the newest snapshot.
///
/// # Errors
/// What the lake says.
pub fn compare_now(session: &Session, table: &'static Table) -> Result<Option<Wrong>> {
    compare(session, &ids(session)?, table)
}

/// The id of each dynamic table, as the commits that published it say.
fn ids(session: &Session) -> Result<BTreeMap<String, &'static str>> {
    let sql = "SELECT DISTINCT e->>'name', e->>'table_id' FROM (SELECT unnest(from_json(commit_extra_info->'refreshes', \
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

/// One statement, and so one snapshot: both sides of every invariant, and what each table's content is said to be.
fn look(
    session: &Session,
    ids: &BTreeMap<String, &'static str>,
    known: &mut BTreeMap<&'static str, (Mark, Timestamp)>,
    told: &mut BTreeSet<String>,
    seen: &mut Seen,
) -> Result<()> {
    let number = |(table, sql): (&str, &str)| format!("(SELECT ({sql})::VARCHAR FROM lake.main.{table})");
    let mut numbers = vec![format!("(SELECT {MARKS} FROM lake.__dynamic_tables.watermarks WHERE table_id <> '')")];
    numbers.extend(INVARIANTS.iter().flat_map(|invariant| [number(invariant.left), number(invariant.right)]));
    let rows = session.query(&format!("SELECT {}", numbers.join(", ")))?.rows;
    let Some(row) = rows.first() else { return Ok(()) };
    let now = Timestamp::now();
    let marks = parse_marks(ids, row[0].as_deref().unwrap_or_default());
    for (table, mark) in &marks {
        if known.get(table).is_none_or(|(before, _)| before != mark) {
            known.insert(table, (mark.clone(), now));
        }
    }
    seen.looks += 1;
    for (invariant, sides) in INVARIANTS.iter().zip(row[1..].chunks(2)) {
        if sides[0] == sides[1] {
            continue;
        }
        let Invariant { left: (left, left_sql), right: (right, right_sql) } = invariant;
        let version = |table: &str| marks.get(table).map(|mark| mark.version);
        let versions = (version(left), version(right));
        if !told.insert(format!("{left_sql} {right_sql} {left} {right} {versions:?}")) {
            continue;
        }
        let behind = match versions.0.cmp(&versions.1) {
            std::cmp::Ordering::Less => Some(*left),
            std::cmp::Ordering::Greater => Some(*right),
            std::cmp::Ordering::Equal => None,
        };
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        seen.disagreements.push(Disagreement {
            said: format!(
                "{left}.{left_sql} = {} at data version {:?}, {right}.{right_sql} = {} at {:?}",
                show(&sides[0]),
                versions.0,
                show(&sides[1]),
                versions.1
            ),
            behind,
            since: behind.and_then(|table| known.get(table)).map_or(now, |(_, since)| *since),
            at: now,
        });
    }
    Ok(())
}

fn compare(session: &Session, ids: &BTreeMap<String, &'static str>, table: &'static Table) -> Result<Option<Wrong>> {
    let newest = session.query("SELECT id FROM lake.current_snapshot()")?.rows;
    let snapshot = newest.first().and_then(|row| row[0].as_ref()?.parse::<i64>().ok());
    let snapshot = snapshot.ok_or_else(|| broken("no snapshot", "the lake names none"))?;
    let sql = format!(
        "SELECT {MARKS} FROM lake.__dynamic_tables.watermarks AT (VERSION => {snapshot}) WHERE table_id <> ''"
    );
    let rows = session.query(&sql)?.rows;
    let text = rows.first().and_then(|row| row[0].clone()).unwrap_or_default();
    let Some(mark) = parse_marks(ids, &text).remove(table.name) else {
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
