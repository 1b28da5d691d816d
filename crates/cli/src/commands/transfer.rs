//! Statements about sources and exports.

use std::time::Duration;

use ::connection::{Chain, Connections};
use ::refresh::DynamicTables;
use ::sql::properties::TargetLag;
use ::sql::statement::{Direction, TransferStatement};
use error::Result;
use exchange::{Described, Done, Exchange, Ran, Stop};
use registry::TransferRun;

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

fn ran_once(context: &mut Context<'_>, ran: &Ran) {
    let mut listing =
        Listing::new(["name", "action", "reason", "rows_read", "rows_inserted", "rows_deleted", "snapshot", "ms"]);
    let outcome = &ran.outcome;
    listing.row(vec![
        ran.name.to_string().into(),
        text(outcome.action.as_deref()),
        text(outcome.reason.as_deref()),
        number(outcome.rows_read),
        number(outcome.rows_inserted),
        number(outcome.rows_deleted),
        outcome.snapshot.map_or_else(Cell::none, Cell::from),
        number(outcome.duration_ms),
    ]);
    context.printer.listing(&listing);
}

fn list(context: &mut Context<'_>, statement: &TransferStatement, all: &[Described]) {
    let empty = match statement.direction {
        Direction::Source => "there is no source",
        Direction::Export => "there is no export",
    };
    let mut listing =
        Listing::new(["name", "connection", "outside", "key", "cursor", "schedule", "state", "lag", "last_error"]);
    for described in all {
        listing.row(row(described));
    }
    context.printer.listing_or(&listing, empty);
}

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
    let names = ["name", "connection", "outside", "key", "cursor", "schedule", "state", "lag", "last_error"];
    for (name, cell) in names.into_iter().zip(row(described)) {
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
    let mut listing = Listing::new([
        "started_at",
        "state",
        "trigger",
        "action",
        "reason",
        "rows_read",
        "rows_inserted",
        "rows_deleted",
        "snapshot",
        "ms",
        "error",
    ]);
    for run in runs {
        let outcome = &run.outcome;
        listing.row(vec![
            run.started_at.to_string().into(),
            run.state.as_str().into(),
            run.trigger.as_str().into(),
            text(outcome.action.as_deref()),
            text(outcome.reason.as_deref()),
            number(outcome.rows_read),
            number(outcome.rows_inserted),
            number(outcome.rows_deleted),
            outcome.snapshot.map_or_else(Cell::none, Cell::from),
            number(outcome.duration_ms),
            text(outcome.error_message.as_deref()),
        ]);
    }
    context.printer.listing_or(&listing, "it has not run yet");
}

fn text(value: Option<&str>) -> Cell {
    value.map_or_else(Cell::none, Cell::from)
}

fn number(value: Option<u64>) -> Cell {
    value.map_or_else(Cell::none, Cell::from)
}
