//! Where the time of refreshes goes, by what the history says of them.

use std::time::Duration;

use error::Result;
use refresh::DynamicTables;
use registry::HistoryFilter;

use crate::figures::{median, milliseconds};

/// The medians of the steps of the newest refreshes, as a sentence.
pub(crate) fn steps(tables: &DynamicTables, refreshes: usize) -> Result<String> {
    let limit = u32::try_from(refreshes).unwrap_or(u32::MAX);
    let history = tables.registry().history(&HistoryFilter::default(), limit)?;
    let mut steps: Vec<(String, Vec<Duration>)> = Vec::new();
    for step in history.iter().filter_map(|refresh| refresh.steps.as_ref()?.as_array()).flatten() {
        let (Some(name), Some(ms)) = (step["step"].as_str(), step["ms"].as_f64()) else { continue };
        let took = Duration::from_secs_f64(ms / 1e3);
        match steps.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => times.push(took),
            None => steps.push((name.to_owned(), vec![took])),
        }
    }
    let shown = |(name, times): &(String, Vec<Duration>)| format!("{name} {}", milliseconds(median(times)));
    Ok(format!("the steps of a refresh (ms): {}.", steps.iter().map(shown).collect::<Vec<_>>().join(", ")))
}
