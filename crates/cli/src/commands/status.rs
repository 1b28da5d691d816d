//! `status`: how fresh dynamic tables are, how fresh they have been, and how their last refresh went.

use ::refresh::{Status, StatusRequest};
use error::Result;
use jiff::Timestamp;

use crate::args::StatusArgs;
use crate::commands::{Context, names};
use crate::listing::{Cell, Listing, Record, bytes, duration, moment, optional};
use crate::printer::Format;
use crate::since::since;

/// Shows the named dynamic tables, or all.
pub fn run(context: &mut Context<'_>, args: &StatusArgs) -> Result<()> {
    let lag_since = Some(since(&args.since, Timestamp::now())?);
    let names = names(&args.names)?;
    let tables = context.open()?;
    let statuses = tables.statuses(&StatusRequest { names, lag_since })?;
    // No terminal is wide enough for all columns: for a person one field per line, as `list` gives the overview.
    if context.printer.format() == Format::Table && !statuses.is_empty() {
        for (index, status) in statuses.iter().enumerate() {
            if index > 0 {
                context.printer.say("");
            }
            let mut record = Record::default();
            for (name, cell) in fields(status).into_iter().chain(lag_fields(status)) {
                record.field(name, cell);
            }
            context.printer.record(&record);
        }
        return Ok(());
    }
    let mut listing = Listing::new(COLUMNS.into_iter().chain(LAG_COLUMNS));
    for status in &statuses {
        listing.row(fields(status).into_iter().chain(lag_fields(status)).map(|(_, cell)| cell).collect());
    }
    context.printer.listing_or(&listing, "there is no dynamic table");
    Ok(())
}

/// These columns are enough for an overview on a terminal.
const NARROW: [&str; 9] = [
    "schema",
    "name",
    "scheduling_state",
    "target_lag",
    "current_lag",
    "refresh_mode",
    "last_refresh_status",
    "rows",
    "bytes",
];

/// One line for each; with all columns if `wide`.
pub fn listing(statuses: &[Status], wide: bool) -> Listing {
    let shown = |name: &str| wide || NARROW.contains(&name);
    let columns = COLUMNS.into_iter().filter(|name| shown(name));
    let mut listing = Listing::new(columns).dispensable(one_schema(statuses).into_iter().chain(["bytes", "rows"]));
    for status in statuses {
        listing.row(fields(status).into_iter().filter(|(name, _)| shown(name)).map(|(_, cell)| cell).collect());
    }
    listing
}

/// One line for each: the lag, now and over a stretch of time.
pub fn lag_listing(statuses: &[Status]) -> Listing {
    let shown = |name: &str| ["schema", "name", "target_lag", "current_lag"].contains(&name);
    let columns = COLUMNS.into_iter().filter(|name| shown(name)).chain(LAG_COLUMNS);
    let dispensable = one_schema(statuses).into_iter().chain(["lag_measured", "lag_since"]);
    let mut listing = Listing::new(columns).dispensable(dispensable);
    for status in statuses {
        let cells = fields(status).into_iter().filter(|(name, _)| shown(name)).chain(lag_fields(status));
        listing.row(cells.map(|(_, cell)| cell).collect());
    }
    listing
}

/// The column of the schema, if it says the same in every line.
fn one_schema(statuses: &[Status]) -> Option<&'static str> {
    let all_equal = statuses.windows(2).all(|pair| pair[0].name.schema == pair[1].name.schema);
    all_equal.then_some("schema")
}

const COLUMNS: [&str; 19] = [
    "schema",
    "name",
    "scheduling_state",
    "suspended_reason",
    "target_lag",
    "effective_lag",
    "current_lag",
    "refresh_mode",
    "refresh_mode_reason",
    "data_version",
    "data_timestamp",
    "last_refresh_time",
    "last_refresh_status",
    "last_refresh_action",
    "last_error",
    "executing_refresh",
    "rows",
    "bytes",
    "comment",
];

/// Everything known of one dynamic table as it is now, in the order of [`COLUMNS`].
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
        optional(status.executing_refresh, |id| id.to_string().into()),
        optional(status.rows, Into::into),
        optional(status.bytes, bytes),
        text(&status.comment),
    ];
    COLUMNS.into_iter().zip(cells).collect()
}

const LAG_COLUMNS: [&str; 6] =
    ["mean_lag", "maximum_lag", "time_above_target_lag", "time_within_target_lag_ratio", "lag_since", "lag_measured"];

/// How fresh it has been, in the order of [`LAG_COLUMNS`].
fn lag_fields(status: &Status) -> Vec<(&'static str, Cell)> {
    let known = status.lag_statistics;
    let cells = [
        optional(known, |known| duration(known.mean)),
        optional(known, |known| duration(known.maximum)),
        optional(known.and_then(|known| known.above_target), duration),
        optional(known.and_then(|known| known.within_target_ratio), share),
        moment(known.map(|known| known.since)),
        optional(known, |known| duration(known.measured)),
    ];
    LAG_COLUMNS.into_iter().zip(cells).collect()
}

/// A share: `99.95 %` for a person, never rounded up to all of it; 0.9995 for a program.
fn share(share: f64) -> Cell {
    Cell::shown((share * 1e6).round() / 1e6, format!("{:.2} %", (share * 10_000.0).floor() / 100.0))
}
