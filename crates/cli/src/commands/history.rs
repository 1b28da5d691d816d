//! `history`: past refreshes, the latest first.

use std::time::Duration;

use ::sql::names::ObjectName;
use error::Result;

use crate::args::HistoryArgs;
use crate::commands::Context;
use crate::listing::{Cell, Listing, duration, moment, optional};
use crate::printer::Format;

/// Shows the refreshes of one dynamic table, or of all.
pub fn run(context: &mut Context<'_>, args: &HistoryArgs) -> Result<()> {
    let name = args.name.as_deref().map(ObjectName::parse).transpose()?;
    let tables = context.open()?;
    let refreshes = tables.history(name.as_ref(), args.limit)?;
    let wide = context.printer.format() != Format::Table;
    let shown = |column: &str| wide || NARROW.contains(&column);
    let mut listing = Listing::new(COLUMNS.into_iter().filter(|column| shown(column)));
    for refresh in &refreshes {
        let row = fields(refresh);
        listing.row(row.into_iter().filter(|(column, _)| shown(column)).map(|(_, cell)| cell).collect());
    }
    context.printer.listing_or(&listing, "there was no refresh yet");
    Ok(())
}

/// These columns are enough on a terminal.
const NARROW: [&str; 10] = [
    "name",
    "started_at",
    "state",
    "trigger",
    "action",
    "reason",
    "rows_inserted",
    "rows_deleted",
    "duration",
    "error_message",
];

const COLUMNS: [&str; 20] = [
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
    "data_version",
    "data_timestamp",
    "snapshot",
    "lag_before_seconds",
    "lag_after_seconds",
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
        optional(refresh.data_version, Into::into),
        moment(refresh.data_timestamp),
        optional(refresh.snapshot, Into::into),
        optional(refresh.lag_before_seconds, Into::into),
        optional(refresh.lag_after_seconds, Into::into),
        optional(refresh.error_code, |code| code.as_str().into()),
        text(&refresh.error_message),
        text(&refresh.worker),
        refresh.id.to_string().into(),
    ];
    COLUMNS.into_iter().zip(cells).collect()
}
