//! One load of a source: what is there is read once, told apart from what the lake has, and the difference is published in one
//! commit, together with the source's watermark: whoever does the same at the same time comes to nothing.

use std::time::Duration;

use error::{Code, Error, Result};
use lake::{
    Delete, NotPublished, Provenance, Publication, Receipt, Session, SnapshotId, TableChange, Watermark,
    WatermarkMove, loses_in_catalog,
};
use registry::{RunOutcome, Transfer};
use sql::names::{TableName, quote_identifier, quote_literal, same_identifier};
use sql::statement::Lookback;
use uuid::Uuid;

use crate::definition::{self, SourceDefinition, USUAL_LOOKBACK, USUAL_LOOKBACK_COUNT};
use crate::difference::Difference;
use crate::outside::Outside;
use crate::relation::{Bound, Relation};
use crate::shape::{Columns, Reshaping, reshape};
use crate::types::CursorKind;
use crate::whole::whole;

/// How a source is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// There is no table yet.
    First,
    /// Everything is read and compared.
    Compare,
    /// What is new by the cursor is read and compared.
    Cursor,
    /// Everything is read and put in the place of what there was.
    Replace,
}

impl Mode {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "FIRST",
            Self::Compare => "COMPARE",
            Self::Cursor => "CURSOR",
            Self::Replace => "REPLACE",
        }
    }

    /// Whether everything was read.
    pub const fn is_complete(self) -> bool {
        !matches!(self, Self::Cursor)
    }
}

/// What a load is going to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub mode: Mode,
    /// Why nothing cheaper.
    pub reason: String,
    pub bound: Option<Bound>,
    pub reshaping: Reshaping,
    pub key: Vec<String>,
    /// The snapshot that is compared with.
    version: SnapshotId,
    watermark: Option<Watermark>,
}

/// What is known about when everything was last compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Everything is to be taken over, columns too.
    pub full: bool,
    /// Everything was compared, and not longer ago than it is to be.
    pub compared_lately: bool,
}

/// How often it is tried to publish over others' commits.
const ATTEMPTS: u32 = 12;

/// The local table of what was read, and those of the difference.
const WANTED: &str = "temp.main.\"__wanted\"";
const PAIRS: &str = "temp.main.\"__pairs\"";
const TOO_MANY: &str = "temp.main.\"__too_many\"";
const GONE: &str = "temp.main.\"__gone\"";
const COME: &str = "temp.main.\"__come\"";

/// Decides what a load does.
pub(crate) fn plan(session: &Session, source: &Transfer, relation: &Relation, asked: Asked) -> Result<Plan> {
    let told: SourceDefinition = definition::read(source)?;
    let key = checked_key(&told, relation)?;
    let cursor = checked_cursor(&told, relation, &key)?;
    let id = source.id.to_string();
    let watermark = session.watermarks()?.into_iter().find(|mark| mark.table_id == id);
    let version = session.current_snapshot()?.id;
    let wanted: Columns = columns(relation);
    let mut plan = Plan {
        mode: Mode::First,
        reason: "there is no table yet".to_owned(),
        bound: None,
        reshaping: Reshaping::default(),
        key,
        version,
        watermark,
    };
    let Some(table) = session.shape(&source.name, Some(version))? else {
        if plan.watermark.is_some() {
            "somebody has dropped the table".clone_into(&mut plan.reason);
        }
        plan.reshaping.kept = wanted;
        return Ok(plan);
    };
    if plan.watermark.is_none() || !is_its_own(session, &id, &source.name)? {
        return Err(Error::new(Code::Dependency, format!("{} is a table that the source has not made", source.name))
            .with_hint("Rename or drop that table, or the source."));
    }
    let stored: Columns = table.columns.into_iter().map(|column| (column.name, column.data_type)).collect();
    let quoted = source.name.quoted(session.alias());
    plan.reshaping = reshape(&quoted, &source.name, &stored, &wanted, asked.full)?;
    let is_kept = |name: &String| plan.reshaping.kept.iter().any(|(kept, _)| same_identifier(kept, name));
    (plan.mode, plan.reason) = if !plan.key.iter().all(is_kept) {
        (Mode::Replace, "the type of a column of the key has changed".to_owned())
    } else if asked.full {
        (Mode::Compare, "everything was asked for".to_owned())
    } else if !plan.reshaping.is_nothing() {
        (Mode::Compare, format!("the columns have changed: {}", plan.reshaping.told.join(", ")))
    } else if cursor.is_none() {
        (Mode::Compare, "there is no cursor".to_owned())
    } else if !asked.compared_lately {
        (Mode::Compare, "everything was last compared too long ago".to_owned())
    } else {
        (Mode::Cursor, "only what is new by the cursor".to_owned())
    };
    if let (Mode::Cursor, Some((column, kind))) = (plan.mode, cursor) {
        plan.bound = bound(session, &quoted, version, &column, kind, told.lookback)?;
        if plan.bound.is_none() {
            (plan.mode, plan.reason) = (Mode::Compare, "no row has a value of the cursor yet".to_owned());
        }
    }
    Ok(plan)
}

/// Whether a table of this name is the one that a load of the source has made, as the commit that made it says. Where its
/// snapshot was expired, nobody can tell.
fn is_its_own(session: &Session, id: &str, name: &TableName) -> Result<bool> {
    let Some(table) = session.table(name, None)? else { return Ok(true) };
    let said = session.texts(&format!(
        "SELECT commit_extra_info FROM ducklake_snapshots({}) WHERE snapshot_id = {}",
        quote_literal(session.alias()),
        table.begin_snapshot
    ))?;
    Ok(said.first().is_none_or(|said| said.as_deref().is_some_and(|said| said.contains(id))))
}

/// Names and types as they are in the lake.
fn columns(relation: &Relation) -> Columns {
    relation.columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect()
}

fn checked_key(told: &SourceDefinition, relation: &Relation) -> Result<Vec<String>> {
    for name in &told.key {
        if relation.column(name).is_none() {
            return Err(Error::new(
                Code::Schema,
                format!("{} has no column {name}, which is of its KEY", told.table),
            ));
        }
    }
    Ok(told.key.clone())
}

/// The cursor, if there is one that can be used.
pub(crate) fn checked_cursor(
    told: &SourceDefinition,
    relation: &Relation,
    key: &[String],
) -> Result<Option<(String, CursorKind)>> {
    let Some(name) = &told.cursor else { return Ok(None) };
    let Some(column) = relation.column(name) else {
        return Err(Error::new(Code::Schema, format!("{} has no column {name}, which is its CURSOR", told.table)));
    };
    let Some(kind) = CursorKind::of(&column.data_type) else {
        return Err(Error::new(Code::Schema, format!("{name} cannot be a CURSOR: it is {}", column.data_type))
            .with_hint("A cursor is a whole number, a DECIMAL, a date, a time, a text or a UUID that grows with every change."));
    };
    if key.is_empty() {
        return Err(Error::new(Code::Query, "CURSOR needs a KEY")
            .with_hint("Rows at the boundary are read again and told apart by their key: KEY (id)."));
    }
    match told.lookback {
        Some(Lookback::Seconds(_)) if !kind.is_time() => {
            Err(Error::new(Code::Query, format!("LOOKBACK is a duration, and {name} is no time"))
                .with_hint("Write a number: LOOKBACK = 1000."))
        }
        Some(Lookback::Count(_)) if !kind.is_number() => Err(Error::new(
            Code::Query,
            format!("LOOKBACK is a number, and {name} is none"),
        )
        .with_hint(
            "Of a time write a duration, LOOKBACK = '10 minutes'; has its column got another type at the other end?",
        )),
        _ => Ok(Some((column.name.clone(), kind))),
    }
}

/// The value from which on is read: the newest that the lake has, and a bit before that.
fn bound(
    session: &Session,
    table: &str,
    version: SnapshotId,
    column: &str,
    kind: CursorKind,
    lookback: Option<Lookback>,
) -> Result<Option<Bound>> {
    let name = quote_identifier(column);
    let seconds = match lookback {
        Some(Lookback::Seconds(seconds)) => seconds,
        _ => USUAL_LOOKBACK.as_secs(),
    };
    let count = match lookback {
        Some(Lookback::Count(count)) => count,
        _ => USUAL_LOOKBACK_COUNT,
    };
    let first = match kind {
        CursorKind::Integer => format!("greatest(max({name})::HUGEINT - {count}, {})", i64::MIN),
        CursorKind::Decimal => format!("max({name}) - {count}"),
        // Of days, the whole one in which that was.
        CursorKind::Date => format!("(max({name}) FILTER (isfinite({name})) - INTERVAL {seconds} SECONDS)::DATE"),
        CursorKind::Timestamp | CursorKind::TimestampTz => {
            format!("max({name}) FILTER (isfinite({name})) - INTERVAL {seconds} SECONDS")
        }
        CursorKind::Text | CursorKind::Uuid => format!("max({name})"),
    };
    let found = session.texts(&format!("SELECT ({first})::VARCHAR FROM {table} AT (VERSION => {version})"))?;
    let from = found.into_iter().next().flatten();
    Ok(from.map(|from| Bound { column: column.to_owned(), kind, from }))
}

/// Does it. The outcome has everything but how long it took.
pub(crate) fn load(
    session: &Session,
    outside: &Outside<'_>,
    source: &Transfer,
    relation: &Relation,
    plan: Plan,
    run: Uuid,
) -> Result<RunOutcome> {
    let read = session
        .create_as(&format!("CREATE OR REPLACE TEMP TABLE {WANTED} AS {}", relation.select(plan.bound.as_ref())))
        .map_err(|error| unread(outside.told(error)))?;
    check_key(session, relation, &plan.key)?;
    let stored = format!("{} AT (VERSION => {})", source.name.quoted(session.alias()), plan.version);
    let difference =
        Difference { stored: &stored, wanted: WANTED, columns: &plan.reshaping.kept, added: &plan.reshaping.added };
    let (delete, insert, gone, come) = whole(session, &source.name, || compare(session, &plan, &difference, read))?;
    let mut outcome = RunOutcome {
        action: Some(plan.mode.as_str().to_owned()),
        reason: Some(plan.reason.clone()),
        rows_read: Some(read),
        rows_inserted: Some(come),
        rows_deleted: Some(gone),
        snapshot: Some(plan.version),
        ..RunOutcome::default()
    };
    if gone == 0 && come == 0 && plan.reshaping.is_nothing() && plan.mode != Mode::First {
        return Ok(outcome);
    }
    let change = TableChange {
        table: source.name.clone(),
        statements: statements(session, source, &plan),
        delete: if gone == 0 { Delete::None } else { delete },
        columns: plan.reshaping.all().into_iter().map(str::to_owned).collect(),
        insert: (come > 0).then_some(insert),
        to_file: plan.reshaping.kept.iter().any(|(_, data_type)| loses_in_catalog(data_type)),
    };
    outcome.snapshot = Some(publish(session, source, plan, change, run)?.snapshot.id);
    Ok(outcome)
}

/// Which rows go and which come: the rows that go, a SELECT of those that come, and how many each are.
fn compare(
    session: &Session,
    plan: &Plan,
    difference: &Difference<'_>,
    read: u64,
) -> Result<(Delete, String, u64, u64)> {
    let list: Vec<String> = plan.reshaping.all().iter().map(|name| quote_identifier(name)).collect();
    let list = list.join(", ");
    Ok(match plan.mode {
        Mode::First | Mode::Replace => {
            let delete = if plan.mode == Mode::First { Delete::None } else { Delete::All };
            let gone = match plan.mode {
                Mode::First => 0,
                _ => session
                    .counts(&format!("SELECT count(*) FROM {}", difference.stored))?
                    .first()
                    .copied()
                    .unwrap_or_default(),
            };
            (delete, format!("SELECT {list} FROM {WANTED}"), gone, read)
        }
        Mode::Compare | Mode::Cursor if !plan.key.is_empty() => {
            let complete = plan.mode.is_complete();
            session.create_as(&format!(
                "CREATE OR REPLACE TEMP TABLE {PAIRS} AS {}",
                difference.pairs(&plan.key, complete)
            ))?;
            let counts = session.counts(&format!("SELECT count(gone), count(come) FROM {PAIRS}"))?;
            let delete = Delete::RowIds(format!("SELECT gone FROM {PAIRS} WHERE gone IS NOT NULL"));
            let insert = format!(
                "SELECT {list} FROM {WANTED} WHERE rowid IN (SELECT come FROM {PAIRS} WHERE come IS NOT NULL)"
            );
            (delete, insert, counts[0], counts[1])
        }
        Mode::Compare | Mode::Cursor => {
            session.create_as(&format!("CREATE OR REPLACE TEMP TABLE {TOO_MANY} AS {}", difference.too_many()))?;
            let gone = session
                .create_as(&format!("CREATE OR REPLACE TEMP TABLE {GONE} AS {}", difference.row_ids_of(TOO_MANY)))?;
            let come =
                session.create_as(&format!("CREATE OR REPLACE TEMP TABLE {COME} AS {}", difference.too_few()))?;
            (Delete::RowIds(format!("SELECT __row_id FROM {GONE}")), format!("SELECT {list} FROM {COME}"), gone, come)
        }
    })
}

fn statements(session: &Session, source: &Transfer, plan: &Plan) -> Vec<String> {
    if plan.mode != Mode::First {
        return plan.reshaping.statements.clone();
    }
    let columns: Vec<String> = plan
        .reshaping
        .kept
        .iter()
        .map(|(name, data_type)| format!("{} {data_type}", quote_identifier(name)))
        .collect();
    vec![format!("CREATE TABLE {} ({})", source.name.quoted(session.alias()), columns.join(", "))]
}

/// What the key of a source must be where nobody makes sure of it.
fn check_key(session: &Session, relation: &Relation, key: &[String]) -> Result<()> {
    if key.is_empty() || relation.guarantees(key) {
        return Ok(());
    }
    let named: Vec<String> = key.iter().map(|column| quote_identifier(column)).collect();
    let nulls: Vec<String> = named.iter().map(|column| format!("{column} IS NULL")).collect();
    let list = named.join(", ");
    let counts = session.counts(&format!(
        "SELECT (SELECT count(*) FROM {WANTED} WHERE {}), \
         (SELECT count(*) FROM (SELECT 1 FROM {WANTED} GROUP BY {list} HAVING count(*) > 1))",
        nulls.join(" OR ")
    ))?;
    let what = match (counts.first().copied().unwrap_or_default(), counts.get(1).copied().unwrap_or_default()) {
        (0, 0) => return Ok(()),
        (0, twice) => format!("{twice} of its values are there more than once"),
        (nulls, _) => format!("{nulls} rows have NULL in it"),
    };
    Err(Error::new(Code::Schema, format!("KEY ({}) does not tell the rows apart: {what}", key.join(", ")))
        .with_hint("Name columns that do; without KEY (and CURSOR), rows are compared as a whole."))
}

fn unread(error: Error) -> Error {
    match error.code() {
        Code::Query if error.hint().is_none() => error.with_hint(
            "A value does not fit its column here, or the columns changed meanwhile. A view there that casts such values can be read instead.",
        ),
        _ => error,
    }
}

/// Publishes, over others' commits if need be: what they did to other tables makes no difference, and what somebody did to this one
/// makes it fail.
fn publish(session: &Session, source: &Transfer, plan: Plan, change: TableChange, run: Uuid) -> Result<Receipt> {
    let id = source.id.to_string();
    let moved = Watermark {
        table_id: id.clone(),
        data_version: plan.version,
        fingerprint: "source".to_owned(),
        refresh_id: run.to_string(),
        fence: plan.watermark.as_ref().map_or(0, |mark| mark.fence),
    };
    let remark = serde_json::json!({ "source": { "format": 1, "id": id, "load": run, "mode": plan.mode.as_str() } });
    let publication = Publication {
        statements_before: Vec::new(),
        changes: vec![change],
        watermarks: vec![WatermarkMove { expected: plan.watermark, new: Some(moved) }],
        provenance: Provenance::default(),
        remark: Some(remark.to_string()),
        message: format!("load {} from a source", source.name),
        after: None,
    };
    publish_over_others(session, &publication)
}

/// Publishes something that nobody else's commit to other tables makes wrong.
pub(crate) fn publish_over_others(session: &Session, publication: &Publication) -> Result<Receipt> {
    let mut attempt = 0;
    loop {
        let failure = match session.publish(publication) {
            Ok(receipt) => return Ok(receipt),
            Err(NotPublished::Overtaken(_)) => {
                return Err(Error::new(Code::Conflict, "somebody else has loaded the source meanwhile"));
            }
            Err(NotPublished::Change { table, failure }) => failure.with_context("table", table.to_string()),
            Err(NotPublished::Failed(failure)) => failure,
        };
        attempt += 1;
        if failure.code() != Code::Conflict || !failure.is_transient() || attempt == ATTEMPTS {
            return Err(failure.without_span());
        }
        std::thread::sleep(Duration::from_millis(20 << attempt.min(6)));
    }
}

/// Forgets the source's watermark, and drops its table unless that is to stay, or is another one by now. Whether it was dropped.
pub(crate) fn forget(session: &Session, id: Uuid, name: &TableName, keeps_table: bool) -> Result<bool> {
    let id = id.to_string();
    let drops = !keeps_table && is_its_own(session, &id, name)?;
    let watermark = session.watermarks()?.into_iter().find(|mark| mark.table_id == id);
    let Some(watermark) = watermark else { return Ok(drops) };
    let drop = format!("DROP TABLE IF EXISTS {}", name.quoted(session.alias()));
    let publication = Publication {
        statements_before: if drops { vec![drop] } else { Vec::new() },
        watermarks: vec![WatermarkMove { expected: Some(watermark), new: None }],
        remark: Some(serde_json::json!({ "source": { "format": 1, "id": id, "dropped": true } }).to_string()),
        message: format!("drop the source {}", quote_literal(&name.to_string())),
        ..Publication::default()
    };
    publish_over_others(session, &publication)?;
    Ok(drops)
}
