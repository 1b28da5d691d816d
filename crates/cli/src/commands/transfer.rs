//! Statements about sources and exports.

use std::time::Duration;

use ::connection::{Chain, Connections};
use ::refresh::DynamicTables;
use ::sql::properties::TargetLag;
use ::sql::statement::{Direction, TransferStatement};
use error::Result;
use exchange::{Described, Done, Exchange, Ran, Stop};
use registry::{RunOutcome, TransferRun};

use crate::commands::Context;
use crate::listing::{Cell, Listing};

/// Runs a statement about sources or exports.
pub fn execute(context: &mut Context<'_>, tables: &DynamicTables, statement: &TransferStatement) -> Result<()> {
    let connections = Connections::new(tables.registry().as_ref().clone(), Chain::of_process()?);
    let stop = Stop::default();
    let stops = stop.clone();
    context.cancellation.instead(move || stops.request());
    let done = Exchange::new(tables.lake().clone(), connections).execute(statement, &stop);
    // From here on Ctrl-C is for the dynamic tables again.
    let interrupter = tables.interrupter();
    context.cancellation.instead(move || interrupter.interrupt());
    match done? {
        Done::Created(ran, notices) => {
            for notice in notices {
                context.printer.warning(&format!("{}: {notice}", ran.name));
            }
            ran_once(context, &ran);
        }
        Done::Ran(ran) => ran_once(context, &ran),
        Done::Changed(name, result) => {
            let mut listing = Listing::new(["name", "result"]);
            listing.row(vec![name.to_string().into(), result.into()]);
            context.printer.listing(&listing);
        }
        Done::Listed(all) => list(context, statement, &all),
        Done::Described(described, runs) => {
            describe(context, &described);
            history(context, &runs);
        }
        Done::Explained(explained) => {
            let mut listing = Listing::new(["what", "is"]);
            for (what, is) in explained.lines {
                listing.row(vec![what.into(), is.into()]);
            }
            context.printer.listing(&listing);
        }
    }
    Ok(())
}

/// The columns of what came of a run.
const OUTCOME: [&str; 7] = ["action", "reason", "rows_read", "rows_inserted", "rows_deleted", "snapshot", "ms"];

/// Its cells, in the order of [`OUTCOME`].
fn outcome(outcome: &RunOutcome) -> [Cell; 7] {
    [
        text(outcome.action.as_deref()),
        text(outcome.reason.as_deref()),
        number(outcome.rows_read),
        number(outcome.rows_inserted),
        number(outcome.rows_deleted),
        outcome.snapshot.map_or_else(Cell::none, Cell::from),
        number(outcome.duration_ms),
    ]
}

fn ran_once(context: &mut Context<'_>, ran: &Ran) {
    let mut listing = Listing::new(["name"].into_iter().chain(OUTCOME));
    listing.row([ran.name.to_string().into()].into_iter().chain(outcome(&ran.outcome)).collect());
    context.printer.listing(&listing);
}

/// The columns of a source or an export.
const COLUMNS: [&str; 9] =
    ["name", "connection", "outside", "key", "cursor", "schedule", "state", "lag", "last_error"];

fn list(context: &mut Context<'_>, statement: &TransferStatement, all: &[Described]) {
    let empty = match statement.direction {
        Direction::Source => "there is no source",
        Direction::Export => "there is no export",
    };
    let mut listing = Listing::new(COLUMNS);
    for described in all {
        listing.row(row(described));
    }
    context.printer.listing_or(&listing, empty);
}

/// Its cells, in the order of [`COLUMNS`].
fn row(described: &Described) -> Vec<Cell> {
    let transfer = &described.transfer;
    let lag = |seconds: u64| TargetLag::Duration(Duration::from_secs(seconds)).to_string();
    let seconds = |duration: Duration| Cell::shown(duration.as_secs(), lag(duration.as_secs()));
    vec![
        transfer.name.to_string().into(),
        described.connection.as_str().into(),
        described.outside.as_str().into(),
        Cell::shown(serde_json::json!(described.key), described.key.join(", ")),
        text(described.cursor.as_deref()),
        transfer.schedule.map_or_else(|| Cell::shown(serde_json::Value::Null, "MANUAL".to_owned()), seconds),
        if transfer.is_suspended { "SUSPENDED".into() } else { "RUNNING".into() },
        described.lag.map_or_else(Cell::none, seconds),
        text(transfer.progress.last_error.as_deref()),
    ]
}

fn describe(context: &mut Context<'_>, described: &Described) {
    let transfer = &described.transfer;
    let mut listing = Listing::new(["what", "is"]);
    for (name, cell) in COLUMNS.into_iter().zip(row(described)) {
        listing.row(vec![name.into(), cell]);
    }
    if let Some(reads) = &described.reads {
        listing.row(vec!["reads".into(), reads.to_string().into()]);
    }
    listing.row(vec!["suspended_reason".into(), text(transfer.suspended_reason.as_deref())]);
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(Cell::none, |time| time.to_string().into());
    listing.row(vec!["created_at".into(), time(Some(transfer.created_at))]);
    listing.row(vec!["fresh_at".into(), time(transfer.progress.fresh_at)]);
    listing.row(vec!["compared_at".into(), time(transfer.progress.compared_at)]);
    context.printer.listing(&listing);
}

fn history(context: &mut Context<'_>, runs: &[TransferRun]) {
    let mut listing = Listing::new(["started_at", "state", "trigger"].into_iter().chain(OUTCOME).chain(["error"]));
    for run in runs {
        let begun = [run.started_at.to_string().into(), run.state.as_str().into(), run.trigger.as_str().into()];
        let error = text(run.outcome.error_message.as_deref());
        listing.row(begun.into_iter().chain(outcome(&run.outcome)).chain([error]).collect());
    }
    context.printer.listing_or(&listing, "it has not run yet");
}

fn text(value: Option<&str>) -> Cell {
    value.map_or_else(Cell::none, Cell::from)
}

fn number(value: Option<u64>) -> Cell {
    value.map_or_else(Cell::none, Cell::from)
}
