//! `history`: past refreshes, or compactions, the latest first.

use std::time::Duration;

use ::refresh::HistoryRequest;
use ::sql::names::ObjectName;
use error::Result;
use jiff::Timestamp;

use crate::args::HistoryArgs;
use crate::commands::Context;
use crate::listing::{Cell, Listing, duration, moment, optional};
use crate::printer::Format;
use crate::since::since;

/// Shows the refreshes of one dynamic table, or of all.
pub fn run(context: &mut Context<'_>, args: &HistoryArgs) -> Result<()> {
    let request = HistoryRequest {
        name: args.name.as_deref().map(ObjectName::parse).transpose()?,
        only_failures: args.errors,
        since: args.since.as_deref().map(|text| since(text, Timestamp::now())).transpose()?,
        limit: args.limit,
    };
    let tables = context.open()?;
    if args.compactions {
        let compactions = tables.compactions(&request)?;
        context.printer.listing_or(&compaction_listing(&compactions), "no table was compacted");
        return Ok(());
    }
    let refreshes = tables.history(&request)?;
    let everything = request.since.is_none() && !request.only_failures;
    let nothing = if everything { "there was no refresh yet" } else { "there was no such refresh" };
    let listing = match context.printer.format() {
        Format::Table => narrow_listing(&refreshes),
        _ => wide_listing(&refreshes),
    };
    context.printer.listing_or(&listing, nothing);
    Ok(())
}

fn compaction_listing(compactions: &[registry::Compaction]) -> Listing {
    let mut listing = Listing::new([
        "name",
        "part",
        "started_at",
        "state",
        "files_before",
        "files_after",
        "rows_before",
        "deleted_before",
        "inlined_before",
        "duration",
        "error",
        "worker",
    ])
    .dispensable(["worker", "inlined_before", "deleted_before", "rows_before", "error"]);
    for compaction in compactions {
        let error = compaction.error_message.as_deref().map(|message| match compaction.error_code {
            Some(code) => format!("{code}: {message}"),
            None => message.to_owned(),
        });
        listing.row(vec![
            compaction.name.to_string().into(),
            if compaction.is_state { "state" } else { "rows" }.into(),
            moment(Some(compaction.started_at)),
            if error.is_some() { "FAILED" } else { "SUCCEEDED" }.into(),
            compaction.files_before.into(),
            optional(compaction.files_after, Into::into),
            compaction.rows_before.into(),
            compaction.deleted_before.into(),
            compaction.inlined_before.into(),
            duration(Duration::from_millis(compaction.duration_ms)),
            optional(error.as_deref(), Into::into),
            optional(compaction.worker.as_deref(), Into::into),
        ]);
    }
    listing
}

/// What a person wants to know; what a refresh failed of stands where the reason of its action would.
fn narrow_listing(refreshes: &[registry::Refresh]) -> Listing {
    let mut listing = Listing::new(NARROW).dispensable([
        "worker",
        "rows_read",
        "lag_before",
        "trigger",
        "rows_deleted",
        "rows_inserted",
        "lag_after",
        "duration",
    ]);
    for refresh in refreshes {
        let error = refresh.error_message.as_deref().map(|message| match refresh.error_code {
            Some(code) => format!("{code}: {message}"),
            None => message.to_owned(),
        });
        let cell = |(name, cell): (&'static str, Cell)| match (name, &error) {
            ("reason", Some(error)) => error.as_str().into(),
            _ => cell,
        };
        let row = fields(refresh).into_iter().filter(|(name, _)| NARROW.contains(name));
        listing.row(row.map(cell).collect());
    }
    listing
}

fn wide_listing(refreshes: &[registry::Refresh]) -> Listing {
    let mut listing = Listing::new(COLUMNS);
    for refresh in refreshes {
        listing.row(fields(refresh).into_iter().map(|(_, cell)| cell).collect());
    }
    listing
}

/// These columns are enough on a terminal, in the order of [`COLUMNS`].
const NARROW: [&str; 13] = [
    "name",
    "started_at",
    "state",
    "trigger",
    "action",
    "reason",
    "rows_read",
    "rows_inserted",
    "rows_deleted",
    "duration",
    "lag_before",
    "lag_after",
    "worker",
];

const COLUMNS: [&str; 21] = [
    "name",
    "started_at",
    "completed_at",
    "state",
    "trigger",
    "action",
    "reason",
    "rows_read",
    "rows_inserted",
    "rows_deleted",
    "duration",
    "steps",
    "data_version",
    "data_timestamp",
    "snapshot",
    "lag_before",
    "lag_after",
    "error_code",
    "error_message",
    "worker",
    "refresh_id",
];

fn fields(refresh: &registry::Refresh) -> Vec<(&'static str, Cell)> {
    let text = |value: &Option<String>| optional(value.as_deref(), Into::into);
    let cells = [
        refresh.name.to_string().into(),
        moment(Some(refresh.started_at)),
        moment(refresh.completed_at),
        refresh.state.as_str().into(),
        refresh.trigger.as_str().into(),
        optional(refresh.action, |action| action.as_str().into()),
        text(&refresh.reason),
        optional(refresh.rows_read, Into::into),
        optional(refresh.rows_inserted, Into::into),
        optional(refresh.rows_deleted, Into::into),
        optional(refresh.duration_ms, |milliseconds| duration(Duration::from_millis(milliseconds))),
        optional(refresh.steps.clone(), Into::into),
        optional(refresh.data_version, Into::into),
        moment(refresh.data_timestamp),
        optional(refresh.snapshot, Into::into),
        optional(refresh.lag_before_seconds, seconds),
        optional(refresh.lag_after_seconds, seconds),
        optional(refresh.error_code, |code| code.as_str().into()),
        text(&refresh.error_message),
        text(&refresh.worker),
        refresh.id.to_string().into(),
    ];
    COLUMNS.into_iter().zip(cells).collect()
}

fn seconds(seconds: f64) -> Cell {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
