//! `bench`: which way of refreshing a dynamic table is the quickest, measured on a copy.

use std::time::Duration;

use ::refresh::{Trial, TrialRequest, Way};
use ::sql::names::ObjectName;
use ::sql::properties::RefreshMode;
use error::Result;

use crate::args::BenchArgs;
use crate::commands::Context;
use crate::listing::{Listing, Record, optional};
use crate::printer::Format;

/// Measures all ways and prints them.
pub fn run(context: &mut Context<'_>, args: &BenchArgs) -> Result<()> {
    let request = TrialRequest {
        name: ObjectName::parse(&args.name)?,
        rounds: args.rounds.into(),
        options: context.config.lake.clone(),
        folder: args.folder.clone(),
    };
    let tables = context.open()?;
    let progress = context.printer.progress("copying what the table reads");
    let copied = tables.copy_for_trial(&request);
    drop(progress);
    let copy = context.or_cancelled(copied)?;
    let (ours, copys) = (tables.interrupter(), copy.interrupter());
    context.cancellation.instead(move || {
        ours.interrupt();
        copys.interrupt();
    });
    let progress = context.printer.progress("refreshing the copy");
    let result = context.cancellation.check().and_then(|()| copy.run());
    // What still interrupts would keep the copy from going.
    context.cancellation.instead(|| {});
    drop(copy);
    drop(progress);
    let trial = context.or_cancelled(result)?;
    print(context, &trial);
    Ok(())
}

fn print(context: &mut Context<'_>, trial: &Trial) {
    let medians: Vec<Option<Duration>> = trial.ways.iter().map(|way| median(&way.took)).collect();
    let best = trial.ways.iter().zip(&medians).filter(|(way, _)| way.mode != RefreshMode::Auto);
    let best = best.filter_map(|(_, median)| *median).min();
    let mut ways = Listing::new(["mode", "went", "median_ms", "least_ms", "most_ms", "times_best", "not_measured"]);
    for (way, median) in trial.ways.iter().zip(&medians) {
        let times = median.zip(best).map(|(median, best)| ratio(median, best));
        ways.row(vec![
            way.mode.to_string().into(),
            optional(way.went, |action| action.as_str().into()),
            optional(*median, |time| milliseconds(time).into()),
            optional(way.took.iter().min().copied(), |time| milliseconds(time).into()),
            optional(way.took.iter().max().copied(), |time| milliseconds(time).into()),
            optional(times, Into::into),
            optional(way.refused.as_deref(), Into::into),
        ]);
    }
    let mut record = Record::default();
    record.field("name", trial.name.to_string());
    let sources: Vec<String> = trial.sources.iter().map(|(name, rows)| format!("{name} ({rows} rows)")).collect();
    record.field("sources", sources.join(", "));
    record.field(
        "changes",
        if trial.replayed {
            "the last commits of the sources"
        } else {
            "made up: the sources have no history to replay"
        },
    );
    let rows: Vec<String> = trial.steps.iter().map(u64::to_string).collect();
    record.field("rows_changed", rows.join(", "));
    if context.printer.format() != Format::Table {
        record.field("ways", ways.to_value());
        context.printer.record(&record);
        return;
    }
    context.printer.record(&record);
    context.printer.say("");
    context.printer.listing(&ways);
    context.printer.say(&format!("\n{}", verdict(&trial.ways, &medians)));
}

/// What the figures say.
fn verdict(ways: &[Way], medians: &[Option<Duration>]) -> String {
    let of = |mode: RefreshMode| {
        ways.iter().zip(medians).find(|(way, _)| way.mode == mode).and_then(|(_, median)| *median)
    };
    let said = match (of(RefreshMode::Full), of(RefreshMode::Incremental)) {
        (Some(full), Some(incremental)) if incremental <= full => {
            format!("In full it takes {} times as long as incrementally.", ratio(full, incremental))
        }
        (Some(full), Some(incremental)) => {
            format!("Incrementally it takes {} times as long as in full.", ratio(incremental, full))
        }
        _ => "There is only one way to refresh this table.".to_owned(),
    };
    format!("{said} All copies were equal to their query in the end, and are removed.")
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}

fn ratio(first: Duration, second: Duration) -> f64 {
    (first.as_secs_f64() / second.as_secs_f64().max(1e-9) * 100.0).round() / 100.0
}
