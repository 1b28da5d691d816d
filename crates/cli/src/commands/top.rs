//! `top`: workers, refreshes that run and the most urgent tables, once or again every second.

use std::io::IsTerminal as _;
use std::time::Duration;

use ::refresh::{Activity, Watched};
use error::Result;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::args::TopArgs;
use crate::commands::Context;
use crate::listing::{Cell, Listing, duration, moment, optional};
use crate::printer::Format;

mod screen;

/// Shows what is going on; on a terminal until `q` is pressed.
pub fn run(context: &mut Context<'_>, args: &TopArgs) -> Result<()> {
    let tables = context.open()?;
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if is_terminal && !args.once && context.printer.format() == Format::Table {
        return screen::watch(&|| tables.activity());
    }
    let sections = sections(&tables.activity()?);
    match context.printer.format() {
        Format::Table => {
            for (index, section) in sections.iter().enumerate() {
                if index > 0 {
                    context.printer.say("");
                }
                context.printer.listing_or(&section.listing, section.nothing);
            }
        }
        // One listing has one header: of the three, the tables.
        Format::Csv => sections.iter().rev().take(1).for_each(|tables| context.printer.listing(&tables.listing)),
        Format::Json | Format::Dot | Format::Svg => {
            let object: Map<String, Value> =
                sections.iter().map(|section| (section.title.to_owned(), section.listing.to_value())).collect();
            context.printer.text(&serde_json::to_string_pretty(&object).unwrap_or_default());
        }
    }
    Ok(())
}

/// One of the three lists.
struct Section {
    title: &'static str,
    listing: Listing,
    /// What is said where it is empty.
    nothing: &'static str,
}

fn sections(activity: &Activity) -> [Section; 3] {
    [
        Section { title: "workers", listing: workers(activity), nothing: "no worker has reported" },
        Section { title: "running", listing: running(activity), nothing: "no refresh is running" },
        Section { title: "tables", listing: tables(activity), nothing: "there is no dynamic table" },
    ]
}

fn workers(activity: &Activity) -> Listing {
    let mut listing =
        Listing::new(["worker", "state", "claims", "concurrency", "queues", "version", "started_at", "last_report"]);
    for reported in &activity.workers {
        let worker = &reported.worker;
        let claims = activity.claims.iter().filter(|claim| claim.is_live && claim.worker == worker.id).count();
        listing.row(vec![
            worker.id.as_str().into(),
            if reported.is_live { worker.state.as_str() } else { "GONE" }.into(),
            claims.into(),
            worker.concurrency.into(),
            worker.queues.join(", ").into(),
            worker.version.as_str().into(),
            moment(Some(reported.started_at)),
            duration(since(activity.at, reported.heartbeat_at)),
        ]);
    }
    listing
}

/// Refreshes that run, and tables that are claimed though none does.
fn running(activity: &Activity) -> Listing {
    let mut listing = Listing::new(["table", "running", "trigger", "worker", "claim"]);
    let mut shown = Vec::new();
    for refresh in &activity.running {
        let claim = activity.claims.iter().find(|claim| claim.table == refresh.table);
        shown.push(refresh.table);
        listing.row(vec![
            refresh.name.to_string().into(),
            duration(since(activity.at, refresh.started_at)),
            refresh.trigger.as_str().into(),
            optional(refresh.worker.as_deref(), Into::into),
            optional(claim.map(|claim| claim.is_live), claim_word),
        ]);
    }
    for claim in activity.claims.iter().filter(|claim| !shown.contains(&claim.table)) {
        listing.row(vec![
            claim.name.to_string().into(),
            Cell::none(),
            Cell::none(),
            claim.worker.as_str().into(),
            claim_word(claim.is_live),
        ]);
    }
    listing
}

fn claim_word(is_live: bool) -> Cell {
    if is_live { "LIVE" } else { "EXPIRED" }.into()
}

fn tables(activity: &Activity) -> Listing {
    let columns = ["table", "activity", "current_lag", "target_lag", "lag_used", "last_refresh_status", "last_error"];
    let mut listing = Listing::new(columns).dispensable(["last_error"]);
    for table in &activity.tables {
        let status = &table.status;
        listing.row(vec![
            status.name.to_string().into(),
            activity_of(table).into(),
            optional(status.lag, duration),
            status.target_lag.as_str().into(),
            optional(table.lag_used, |used| {
                Cell::shown((used * 1000.0).round() / 1000.0, format!("{:.0} %", used * 100.0))
            }),
            optional(status.last_refresh_status.as_deref(), Into::into),
            optional(status.last_error.as_deref(), Into::into),
        ]);
    }
    listing
}

/// What a table does.
fn activity_of(table: &Watched) -> &str {
    if table.status.executing_refresh.is_some() {
        "REFRESHING"
    } else if table.is_due {
        "DUE"
    } else if table.status.measured_against.is_none() {
        "UNSCHEDULED"
    } else if table.status.scheduling_state == "RUNNING" {
        "WAITING"
    } else {
        &table.status.scheduling_state
    }
}

fn since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}
