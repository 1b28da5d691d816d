//! `refresh`: brings dynamic tables up to date now, or shows what that would change.

use ::refresh::{DryRun, DynamicTables, RefreshReport, RefreshRequest};
use error::Result;
use registry::RefreshTrigger;

use crate::args::RefreshArgs;
use crate::commands::{Context, names};
use crate::listing::{Cell, Listing, duration, moment, optional};
use crate::printer::Format;

/// Refreshes the named dynamic tables, or all.
pub fn run(context: &mut Context<'_>, args: &RefreshArgs) -> Result<()> {
    let request =
        RefreshRequest { names: names(&args.names)?, full: args.full, trigger: RefreshTrigger::Manual, worker: None };
    let tables = context.open()?;
    if args.dry_run { dry_run(context, &tables, &request) } else { refresh(context, &tables, &request) }
}

fn refresh(context: &mut Context<'_>, tables: &DynamicTables, request: &RefreshRequest) -> Result<()> {
    let progress = context.printer.progress("refreshing");
    let result = tables.refresh(request);
    drop(progress);
    let reports = context.or_cancelled(result)?;
    print(context, &reports);
    Ok(())
}

/// Prints what came of refreshes; those that failed count for the exit code.
pub fn print(context: &mut Context<'_>, reports: &[RefreshReport]) {
    let wide = context.printer.format() != Format::Table;
    let mut columns =
        vec!["name", "state", "action", "reason", "rows_read", "rows_inserted", "rows_deleted", "duration"];
    if wide {
        columns.extend(["data_version", "data_timestamp", "lag", "error"]);
    }
    let mut listing = Listing::new(columns);
    for report in reports {
        let mut row = vec![
            report.name.to_string().into(),
            report.state.as_str().into(),
            optional(report.action, |action| action.as_str().into()),
            report.reason.as_str().into(),
            report.rows_read.into(),
            report.rows_inserted.into(),
            report.rows_deleted.into(),
            duration(report.duration),
        ];
        if wide {
            row.extend([
                optional(report.data_version, Into::into),
                moment(report.data_timestamp),
                optional(report.lag, duration),
                optional(report.error.as_ref(), |error| error.message().into()),
            ]);
        }
        listing.row(row);
    }
    context.printer.listing_or(&listing, "there is no dynamic table to refresh");
    for report in reports {
        if let Some(error) = &report.error {
            context.failed(error);
        }
    }
}

/// Like [`print()`], but says nothing about nothing.
pub fn print_some(context: &mut Context<'_>, reports: &[RefreshReport]) {
    if !reports.is_empty() {
        print(context, reports);
    }
}

/// How many rows a first refresh computed. Of those that a table being replaced has already, none is written.
pub fn refreshed_rows(report: &RefreshReport) -> Cell {
    report.rows_read.into()
}

fn dry_run(context: &mut Context<'_>, tables: &DynamicTables, request: &RefreshRequest) -> Result<()> {
    let progress = context.printer.progress("computing what would change");
    let result = tables.dry_run(request);
    drop(progress);
    let runs = context.or_cancelled(result)?;
    let wide = context.printer.format() != Format::Table;
    let mut columns = vec!["name", "action", "reason", "rows_inserted", "rows_deleted"];
    if wide {
        columns.extend(["sample", "error"]);
    }
    let mut listing = Listing::new(columns);
    for run in &runs {
        let mut row = vec![
            run.name.to_string().into(),
            optional(run.action, |action| action.as_str().into()),
            run.reason.as_str().into(),
            run.rows_inserted.into(),
            run.rows_deleted.into(),
        ];
        if wide {
            row.push(sample(run).to_value().into());
            row.push(optional(run.error.as_ref(), |error| error.message().into()));
        }
        listing.row(row);
    }
    context.printer.listing_or(&listing, "there is no dynamic table to refresh");
    for run in runs.iter().filter(|run| !wide && !run.sample.rows.is_empty()) {
        context.printer.say(&format!("\n{}", run.name));
        context.printer.listing(&sample(run));
    }
    context.printer.say("\nnothing was changed (--dry-run)");
    for error in runs.iter().filter_map(|run| run.error.as_ref()) {
        context.failed(error);
    }
    Ok(())
}

fn sample(run: &DryRun) -> Listing {
    Listing::from_rows(&run.sample)
}
