//! One run of an export: what has changed in a table of the lake since the position that the other end holds is brought there, and
//! the position with it, in one transaction of the other end. However a run dies, the next one finds both or neither.

use error::{Code, Error, Result};
use lake::{Session, WindowRule};
use registry::{RunOutcome, Transfer};
use sql::names::{quote_identifier, quote_literal, same_identifier};
use uuid::Uuid;

use crate::definition::{self, ExportDefinition};
use crate::destination::{DIFFERS, Destination, Expected, Move, NOT_EMPTY, OVERTAKEN, Position, sent};
use crate::outside::Outside;
use crate::shape::Columns;
use crate::types::must_be_told_apart;
use crate::whole::{READINGS, maintained, whole};

/// What an export is going to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub mode: Mode,
    /// Why nothing cheaper.
    pub reason: String,
    pub columns: Columns,
    pub destination: Destination,
    told: ExportDefinition,
    from: Option<Position>,
    to: Position,
    window: Option<lake::Window>,
}

/// How rows are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All of them, to where nothing is.
    First,
    /// What has changed since the position.
    Changes,
    /// All of them, in place of what is there.
    Replace,
    /// None, as nothing has changed.
    NoData,
}

impl Mode {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "FIRST",
            Self::Changes => "CHANGES",
            Self::Replace => "REPLACE",
            Self::NoData => "NO_DATA",
        }
    }
}

const DELTA: &str = "temp.main.\"__delta\"";
const STAGED: &str = "temp.main.\"__staged\"";

/// Decides what an export does.
pub(crate) fn plan(session: &Session, outside: &Outside<'_>, export: &Transfer, full: bool) -> Result<Plan> {
    let told: ExportDefinition = definition::read(export)?;
    let version = session.current_snapshot()?.id;
    let Some(table) = session.shape(&told.reads, Some(version))? else {
        return Err(Error::new(Code::Dependency, format!("there is no table {} to export", told.reads)));
    };
    let shape = |columns: &[lake::Column]| -> Columns {
        columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect()
    };
    let columns = shape(&table.columns);
    for name in &told.key {
        if !columns.iter().any(|(column, _)| same_identifier(column, name)) {
            return Err(Error::new(
                Code::Schema,
                format!("{} has no column {name}, which is of the KEY", told.reads),
            ));
        }
    }
    let destination = Destination::look(session, outside, told.schema.as_deref(), &told.table, &columns, &told.key)?;
    let from = destination.position(session, outside, export.id)?;
    let to = Position { table_id: table.id, snapshot: version, run: String::new() };
    let mut plan = Plan {
        mode: Mode::Replace,
        reason: String::new(),
        columns,
        destination,
        told,
        from: from.clone(),
        to,
        window: None,
    };
    let Some(position) = from else {
        plan.mode = if full { Mode::Replace } else { Mode::First };
        "the other end has no position of it".clone_into(&mut plan.reason);
        return Ok(plan);
    };
    let mut replace = |reason: &str| {
        reason.clone_into(&mut plan.reason);
    };
    if full {
        replace("everything was asked for");
    } else if plan.destination.is_new() {
        replace("the table at the other end is gone");
    } else if position.table_id != plan.to.table_id {
        replace("the table of the lake is another one than before");
    } else if session.snapshot(position.snapshot)?.is_none() {
        replace("the snapshot of the position was expired");
    } else if position.snapshot > version {
        replace("the lake was put back to an older state");
    } else {
        let before = session.shape(&plan.told.reads, Some(position.snapshot))?;
        if before.is_none_or(|before| shape(&before.columns) != plan.columns) {
            replace("the columns have changed");
            return Ok(plan);
        }
        let window = session.window(&plan.told.reads, position.snapshot, version)?;
        match window.rule {
            WindowRule::Broken(_) => replace("what has changed cannot be told any more"),
            WindowRule::Unchanged => {
                plan.mode = Mode::NoData;
                replace("nothing has changed");
            }
            _ => {
                plan.mode = Mode::Changes;
                plan.reason = format!("what has changed since snapshot {}", position.snapshot);
            }
        }
        plan.window = Some(window);
    }
    Ok(plan)
}

/// Does it. The outcome has everything but how long it took.
pub(crate) fn export(
    session: &Session,
    outside: &Outside<'_>,
    export: &Transfer,
    plan: Plan,
    run: Uuid,
) -> Result<RunOutcome> {
    let outcome = |expected: Expected, read: u64| RunOutcome {
        action: Some(plan.mode.as_str().to_owned()),
        reason: Some(plan.reason.clone()),
        rows_read: Some(read),
        rows_inserted: Some(expected.inserted + expected.updated),
        rows_deleted: Some(expected.deleted + expected.updated),
        snapshot: Some(plan.to.snapshot),
        ..RunOutcome::default()
    };
    let (expected, read) = match (plan.mode, &plan.window) {
        (Mode::NoData, _) => (Expected::default(), 0),
        (Mode::Changes, Some(window)) => changes(session, &plan, window)?,
        _ => everything(session, &plan)?,
    };
    let is_move_only = expected == Expected::default() && plan.mode != Mode::First && plan.mode != Mode::Replace;
    if is_move_only && plan.from.as_ref().is_some_and(|from| from.snapshot == plan.to.snapshot) {
        return Ok(outcome(expected, read));
    }
    let to = Position { run: run.to_string(), ..plan.to.clone() };
    let name = export.name.to_string();
    let moved = Move { export: export.id, name: &name, from: plan.from.as_ref(), to: &to };
    let (here, there) = plan.destination.stage(outside, run);
    let stage = (!is_move_only).then_some(there.as_str());
    let change = plan.destination.change(&moved, stage, expected, plan.mode == Mode::Replace);
    session.execute("BEGIN")?;
    let done = (|| {
        if stage.is_some() {
            session.execute(&format!("CREATE TABLE {here} AS SELECT * FROM {STAGED}"))?;
        }
        session.execute(&format!(
            "CALL postgres_execute({}, {})",
            quote_literal(&outside.alias),
            quote_literal(&change)
        ))?;
        session.execute("COMMIT")
    })();
    if let Err(error) = done {
        // A failed COMMIT has ended the transaction already.
        session.execute("ROLLBACK").ok();
        return Err(refused(outside.told(error), export));
    }
    if stage.is_some() && plan.mode == Mode::Replace {
        tracing::info!(export = %export.name, reason = plan.reason, "everything was exported anew");
    }
    Ok(outcome(expected, read))
}

fn refused(error: Error, export: &Transfer) -> Error {
    let message = error.message();
    let anew = format!("REFRESH EXPORT {} FULL puts everything there anew, in one transaction.", export.name);
    if message.contains(OVERTAKEN) {
        return Error::new(Code::Conflict, "another process has exported meanwhile");
    }
    if message.contains(NOT_EMPTY) {
        return Error::new(Code::Query, "the table at the other end has rows already, and none of this export")
            .with_hint("An export writes to a table of its own: name another one, or empty that. REFRESH EXPORT ... FULL of an export that exists deletes them.");
    }
    if let Some(counts) = message.split(DIFFERS).nth(1) {
        let counts = counts.split("CONTEXT").next().unwrap_or_default().trim_matches([':', ' ', '\n']);
        return Error::new(
            Code::Conflict,
            format!("the rows at the other end are not those that were exported: {counts}"),
        )
        .with_transient(false)
        .with_hint(anew);
    }
    error
}

/// Keeps what has changed locally, as it is sent.
fn changes(session: &Session, plan: &Plan, window: &lake::Window) -> Result<(Expected, u64)> {
    let names: Vec<String> = plan.columns.iter().map(|(name, _)| name.clone()).collect();
    let apart: Vec<String> =
        plan.columns.iter().filter(|(_, kind)| must_be_told_apart(kind)).map(|(name, _)| name.clone()).collect();
    let list: Vec<String> = names.iter().map(|name| quote_identifier(name)).collect();
    let list = list.join(", ");
    let written: String = apart.iter().map(|name| format!(", {}::VARCHAR", quote_identifier(name))).collect();
    let mut window = window.clone();
    for _ in 0..READINGS {
        // The same row may have gone and come as another one of the lake.
        let read = session.read_in_peace(&window, |window| {
            session.create_as(&format!(
                "CREATE OR REPLACE TEMP TABLE {DELTA} AS SELECT {list}, sum(__weight)::BIGINT AS __times FROM ({}) \
                 GROUP BY {list}{written} HAVING sum(__weight) <> 0",
                window.delta_sql_telling_apart(&names, &apart, "__weight")
            ))
        })?;
        if session.reading_holds(&[&window], window.seen, || vec![window.table.clone()])? {
            return stage(session, plan, read);
        }
        window = session.window(&window.table, window.from, window.to)?;
    }
    Err(maintained())
}

/// Keeps all rows locally, as they are sent.
fn everything(session: &Session, plan: &Plan) -> Result<(Expected, u64)> {
    let list: Vec<String> = plan.columns.iter().map(|(name, _)| quote_identifier(name)).collect();
    let read = whole(session, &plan.told.reads, || {
        session.create_as(&format!(
            "CREATE OR REPLACE TEMP TABLE {DELTA} AS SELECT {}, 1::BIGINT AS __times FROM {} AT (VERSION => {})",
            list.join(", "),
            plan.told.reads.quoted(session.alias()),
            plan.to.snapshot
        ))
    })?;
    stage(session, plan, read)
}

/// Says of each row whether it goes (`D`), comes (`I`), or takes the place of that of its key (`U`), and how often.
fn stage(session: &Session, plan: &Plan, read: u64) -> Result<(Expected, u64)> {
    let sent: String = plan
        .columns
        .iter()
        .enumerate()
        .map(|(number, (name, data_type))| format!(", {} AS c{number}", sent(name, data_type)))
        .collect();
    let key: Vec<String> = plan.told.key.iter().map(|name| quote_identifier(name)).collect();
    let kinds = if key.is_empty() {
        format!("SELECT *, CASE WHEN __times < 0 THEN 'D' ELSE 'I' END AS __kind FROM {DELTA}")
    } else {
        check_key(session, plan, &key)?;
        let key = key.join(", ");
        let came = format!("SELECT {key} FROM {DELTA} WHERE __times > 0");
        let went = format!("SELECT {key} FROM {DELTA} WHERE __times < 0");
        format!(
            "SELECT *, 'D' AS __kind FROM {DELTA} ANTI JOIN ({came}) USING ({key}) WHERE __times < 0 \
             UNION ALL SELECT *, 'U' FROM {DELTA} SEMI JOIN ({went}) USING ({key}) WHERE __times > 0 \
             UNION ALL SELECT *, 'I' FROM {DELTA} ANTI JOIN ({went}) USING ({key}) WHERE __times > 0"
        )
    };
    session.create_as(&format!(
        "CREATE OR REPLACE TEMP TABLE {STAGED} AS \
         SELECT __kind AS kind, abs(__times)::BIGINT AS times, row_number() OVER () AS number{sent} FROM ({kinds})"
    ))?;
    let counts = session.counts(&format!(
        "SELECT (sum(times) FILTER (kind = 'D'))::BIGINT, (sum(times) FILTER (kind = 'U'))::BIGINT, \
         (sum(times) FILTER (kind = 'I'))::BIGINT FROM {STAGED}"
    ))?;
    let count = |position: usize| counts.get(position).copied().unwrap_or_default();
    Ok((Expected { deleted: count(0), updated: count(1), inserted: count(2) }, read))
}

fn check_key(session: &Session, plan: &Plan, key: &[String]) -> Result<()> {
    let nulls: Vec<String> = key.iter().map(|column| format!("{column} IS NULL")).collect();
    let counts = session.counts(&format!(
        "SELECT (SELECT count(*) FROM {DELTA} WHERE __times > 0 AND ({})), \
         (SELECT count(*) FROM (SELECT 1 FROM {DELTA} WHERE __times > 0 GROUP BY {} HAVING sum(__times) > 1))",
        nulls.join(" OR "),
        key.join(", ")
    ))?;
    if counts.iter().all(|count| *count == 0) {
        return Ok(());
    }
    Err(Error::new(
        Code::Schema,
        format!("KEY ({}) does not tell the rows of {} apart", plan.told.key.join(", "), plan.told.reads),
    )
    .with_hint("Name columns that are never NULL and do; without KEY the table there is a multiset."))
}

/// Lets the other end forget the export.
pub(crate) fn forget(session: &Session, outside: &Outside<'_>, export: &Transfer) -> Result<()> {
    let told: ExportDefinition = definition::read(export)?;
    let destination = Destination::look(session, outside, told.schema.as_deref(), &told.table, &[], &[])?;
    if destination.position(session, outside, export.id)?.is_none() {
        return Ok(());
    }
    let forgetting = destination.forgetting(export.id);
    session
        .execute(&format!("CALL postgres_execute({}, {})", quote_literal(&outside.alias), quote_literal(&forgetting)))
        .map_err(|error| outside.told(error))?;
    Ok(())
}
