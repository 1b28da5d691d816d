//! The delta rules alone: the same random queries and changes of rows over plain tables in memory, without lake, registry or
//! snapshots, and therefore many times as many. Every way that a rule offers has to be right, not only the one that a refresh
//! would take.

use std::collections::HashMap;
use std::time::Duration;

use error::{Error, Result};
use incremental::clock::Clock;
use incremental::render::Reading;
use incremental::{Catalog as _, Plan, apply};
use lake::Rows;
use testkit::rules::{STORED, TableOf, World, changes, stages};

use crate::compare::{difference, same_columns};
use crate::limit::within;
use crate::round::Round;
use crate::run::{Verdict, has_several_windows};
use crate::script::Step;

/// No case takes longer for one change.
const LONGEST: Duration = Duration::from_secs(20);
/// No result has more rows at first.
const MOST_ROWS: usize = 5_000;
/// A clock that stands still: no query of the grammar asks for the time.
const NOON: &str = "2024-01-01 12:00:00+00";

struct Case<'a> {
    name: &'a str,
    query: &'a str,
    plan: Plan,
    columns: Vec<String>,
    /// The temporary table with the rows that it has by now.
    kept: String,
    verdict: Verdict,
}

/// Runs the cases of a round, or one of them, and says what came of each.
///
/// # Errors
/// When the tables cannot be made.
pub fn run(round: &Round, wanted: Option<u64>) -> Result<HashMap<String, Verdict>> {
    let mut world = World::new()?;
    world.run("ATTACH ':memory:' AS next; USE next.main")?;
    for statement in &round.setup {
        world.run(statement)?;
    }
    for table in tables(&world)? {
        world.add(table)?;
    }
    publish(&world)?;
    let mut verdicts = HashMap::new();
    let mut cases = Vec::new();
    for case in round.cases.iter().filter(|case| wanted.is_none_or(|number| number == case.number)) {
        match limited(&world, || begin(&world, &case.name, &case.query.sql)) {
            Ok(begun) => cases.push(begun),
            Err(verdict) => drop(verdicts.insert(case.name.clone(), *verdict)),
        }
    }
    for step in &round.steps {
        match step {
            // A statement that fails has changed nothing, which is as good as any change.
            Step::Sql(text) => drop(world.run(text)),
            _ => {
                // A transaction that failed in the middle.
                drop(world.run("ROLLBACK"));
                copy(&world, "temp.main.new_", "next.main.")?;
                for case in cases.iter_mut().filter(|case| is_watched(&case.verdict)) {
                    limited(&world, || refresh(&world, case))?;
                }
                publish(&world)?;
            }
        }
    }
    verdicts.extend(cases.into_iter().map(|case| (case.name.to_owned(), case.verdict)));
    Ok(verdicts)
}

fn limited<T>(world: &World, work: impl FnOnce() -> T) -> T {
    let handle = world.interrupt_handle();
    within(LONGEST, move || handle.interrupt(), work)
}

/// What takes too long says nothing; anything else that does not work is wrong.
fn failed(verdict: &mut Verdict, what: &str, cause: &Error) {
    match cause.message().contains("INTERRUPT") {
        true => verdict.invalid = Some("it takes too long".to_owned()),
        false => verdict.wrong = Some(format!("{what}: {cause}")),
    }
}

fn is_watched(verdict: &Verdict) -> bool {
    verdict.incremental && verdict.invalid.is_none() && verdict.wrong.is_none() && !verdict.unstable
}

fn tables(world: &World) -> Result<Vec<TableOf>> {
    let select = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = 'next' \
                  ORDER BY table_name, column_index";
    let mut tables: Vec<TableOf> = Vec::new();
    for row in world.rows(select)? {
        let [Some(table), Some(column), Some(data_type)] = row.as_slice() else { continue };
        if tables.last().is_none_or(|last| last.name != *table) {
            tables.push(TableOf { name: table.clone(), columns: Vec::new() });
        }
        if let Some(last) = tables.last_mut() {
            last.columns.push((column.clone(), data_type.clone()));
        }
    }
    Ok(tables)
}

/// What is new becomes what was there.
fn publish(world: &World) -> Result<()> {
    copy(world, "lake.main.", "next.main.")
}

fn copy(world: &World, to: &str, from: &str) -> Result<()> {
    for TableOf { name, .. } in world.tables() {
        world.run(&format!("DELETE FROM {to}{name}; INSERT INTO {to}{name} FROM {from}{name}"))?;
    }
    Ok(())
}

/// The first content of a case.
fn begin<'a>(world: &World, name: &'a str, query: &'a str) -> std::result::Result<Case<'a>, Box<Verdict>> {
    let invalid = |cause: String| Box::new(Verdict { invalid: Some(cause), ..Verdict::default() });
    let wrong = |cause: String| Box::new(Verdict { wrong: Some(cause), ..Verdict::default() });
    let expected = rows(world, query).map_err(|cause| invalid(cause.message().to_owned()))?;
    if expected.rows.len() > MOST_ROWS {
        return Err(invalid("the result is too large to be compared again and again".to_owned()));
    }
    let plan = world.plan(query).map_err(|cause| wrong(format!("cannot be analysed: {cause}")))?;
    let columns = plan.output.iter().map(|(name, _)| name.clone()).collect();
    let mut verdict = Verdict { incremental: plan.incremental(), ..Verdict::default() };
    if !verdict.incremental {
        verdict.refused = Some(plan.reasons.first().map_or_else(String::new, |reason| reason.text.clone()));
    }
    let kept = format!("kept_{name}");
    let mut case = Case { name, query, plan, columns, kept, verdict };
    let first = || -> Result<Rows> {
        let state = world.state(&case.plan, clock())?;
        let old = case.plan.whole(&world.renderer(&case.plan, &state), Reading::Old)?;
        world.keep(&case.kept, &old)?;
        rows(world, &format!("SELECT * FROM temp.main.{}", case.kept))
    };
    match first() {
        Err(cause) => failed(&mut case.verdict, "cannot be computed", &cause),
        Ok(found) => compare(world, &mut case, &expected, &found, "the first content"),
    }
    Ok(case)
}

/// Brings a case from the old content of its tables to the new one, in every way.
fn refresh(world: &World, case: &mut Case<'_>) -> Result<()> {
    let expected = match rows(world, case.query) {
        Ok(expected) => expected,
        Err(cause) => {
            case.verdict.invalid = Some(cause.message().to_owned());
            return Ok(());
        }
    };
    let before = format!("SELECT * FROM temp.main.{}", case.kept);
    let all = || {
        world.keep(STORED, &before)?;
        let mut state = world.state(&case.plan, clock())?;
        stages(world, &case.plan, &mut state)?;
        changes(world, &case.plan, &state)
    };
    let ways = match all() {
        Ok(ways) => ways,
        Err(cause) => {
            failed(&mut case.verdict, "the change cannot be computed", &cause);
            return Ok(());
        }
    };
    let list = apply::column_list(&case.columns);
    for (way, mut terms) in ways {
        *case.verdict.actions.entry(way.name()).or_default() += 1;
        terms.push((true, format!("SELECT {list} FROM temp.main.{STORED}")));
        let applied = || -> Result<(u64, Rows)> {
            world.keep("net", &apply::net(&apply::weighted(&terms), &case.columns))?;
            let lacking = world.count(&format!("SELECT count(*) FROM temp.main.net WHERE {} < 0", apply::WEIGHT))?;
            world.keep(&case.kept, &apply::inserts("temp.main.net", &case.columns))?;
            Ok((lacking, rows(world, &format!("SELECT {list} FROM temp.main.{}", case.kept))?))
        };
        match applied() {
            Err(cause) => failed(&mut case.verdict, way.name(), &cause),
            Ok((0, found)) => compare(world, case, &expected, &found, way.name()),
            // A group that was computed again with the same rows, told apart otherwise: computed in full, as it has to be.
            Ok(_) if has_several_windows(case.query) => case.verdict.unstable = true,
            Ok((lacking, found)) => {
                compare(world, case, &expected, &found, way.name());
                if !case.verdict.unstable {
                    case.verdict.wrong = Some(format!("{}: {lacking} rows go that are not there", way.name()));
                }
            }
        }
        if !is_watched(&case.verdict) {
            return Ok(());
        }
    }
    Ok(())
}

fn clock() -> Clock {
    Clock { old: Some(NOON.to_owned()), new: NOON.to_owned() }
}

fn rows(world: &World, select: &str) -> Result<Rows> {
    Ok(Rows { columns: world.describe(select)?, rows: world.rows(select)? })
}

fn compare(world: &World, case: &mut Case<'_>, expected: &Rows, found: &Rows, when: &str) {
    let Some(difference) = difference(expected, found) else { return };
    let chosen_by_one = case.query.contains(" QUALIFY ") && expected.rows.len() == found.rows.len();
    let told_apart = has_several_windows(case.query) && (chosen_by_one || same_columns(expected, found));
    if told_apart || has_several_answers(world, case.query, expected) {
        case.verdict.unstable = true;
    } else {
        case.verdict.wrong = Some(format!("{when}: {difference}"));
    }
}

/// Whether another order of the rows gives another result.
fn has_several_answers(world: &World, query: &str, expected: &Rows) -> bool {
    (0..6).any(|salt| {
        let shuffled = world.tables().iter().try_for_each(|TableOf { name, .. }| {
            world.run(&format!("CREATE OR REPLACE TABLE {name} AS FROM {name} ORDER BY hash({salt}, {name})"))
        });
        shuffled.is_err() || !rows(world, query).is_ok_and(|again| difference(expected, &again).is_none())
    })
}
