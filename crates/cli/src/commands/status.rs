//! `status`: how fresh dynamic tables are and how their last refresh went.

use ::refresh::Status;
use error::Result;

use crate::args::StatusArgs;
use crate::commands::{Context, names};
use crate::listing::{Cell, Listing, Record, bytes, duration, moment, optional};
use crate::printer::Format;

/// Shows the named dynamic tables, or all.
pub fn run(context: &mut Context<'_>, args: &StatusArgs) -> Result<()> {
    let names = names(&args.names)?;
    let tables = context.open()?;
    let mut statuses = Vec::new();
    for name in &names {
        statuses.extend(tables.status(Some(name))?);
    }
    if names.is_empty() {
        statuses = tables.status(None)?;
    }
    // No terminal is wide enough for all columns: for a person one field per line, as `list` gives the overview.
    if context.printer.format() == Format::Table && !statuses.is_empty() {
        for (index, status) in statuses.iter().enumerate() {
            if index > 0 {
                context.printer.say("");
            }
            let mut record = Record::default();
            for (name, cell) in fields(status) {
                record.field(name, cell);
            }
            context.printer.record(&record);
        }
        return Ok(());
    }
    let listing = listing(&statuses, true);
    context.printer.listing_or(&listing, "there is no dynamic table");
    Ok(())
}

/// These columns are enough for an overview on a terminal.
const NARROW: [&str; 9] = [
    "schema",
    "name",
    "scheduling_state",
    "target_lag",
    "lag",
    "refresh_mode",
    "last_refresh_status",
    "rows",
    "bytes",
];

/// One line for each; with all columns if `wide`.
pub fn listing(statuses: &[Status], wide: bool) -> Listing {
    let shown = |name: &str| wide || NARROW.contains(&name);
    let mut listing = Listing::new(COLUMNS.into_iter().filter(|name| shown(name)));
    for status in statuses {
        listing.row(fields(status).into_iter().filter(|(name, _)| shown(name)).map(|(_, cell)| cell).collect());
    }
    listing
}

const COLUMNS: [&str; 18] = [
    "schema",
    "name",
    "scheduling_state",
    "suspended_reason",
    "target_lag",
    "effective_lag",
    "lag",
    "refresh_mode",
    "refresh_mode_reason",
    "data_version",
    "data_timestamp",
    "last_refresh_time",
    "last_refresh_status",
    "last_refresh_action",
    "last_error",
    "rows",
    "bytes",
    "comment",
];

/// Everything known of one dynamic table, in the order of [`COLUMNS`].
pub fn fields(status: &Status) -> Vec<(&'static str, Cell)> {
    let text = |value: &Option<String>| optional(value.as_deref(), Into::into);
    let cells = [
        status.name.schema.as_str().into(),
        status.name.name.as_str().into(),
        status.scheduling_state.as_str().into(),
        text(&status.suspended_reason),
        status.target_lag.as_str().into(),
        text(&status.effective_lag),
        optional(status.lag, duration),
        status.refresh_mode.as_str().into(),
        text(&status.refresh_mode_reason),
        optional(status.data_version, Into::into),
        moment(status.data_timestamp),
        moment(status.last_refresh_time),
        text(&status.last_refresh_status),
        text(&status.last_refresh_action),
        text(&status.last_error),
        optional(status.rows, Into::into),
        optional(status.bytes, bytes),
        text(&status.comment),
    ];
    COLUMNS.into_iter().zip(cells).collect()
}
