//! What a refresh costs, by shape of the query, size of the sources, how their files lie, and how much has changed: the same
//! table forced to go in full, forced to go incrementally, and left to AUTO, side by side over the same changes.

mod contest;
mod data;
mod shapes;

pub(crate) use data::{Change, Layout, Size, change, make};

use error::Result;

use crate::figures::{median, milliseconds, ratio};
use crate::refreshing::contest::{Contest, Outcome};
use crate::report::{Bound, Scene};

/// AUTO may take so many times as long as the better of the two forced modes.
const REGRET: f64 = 1.1;

/// What is measured: sizes, layouts, kinds of changes, and their shares of the orders.
struct Grid {
    sizes: &'static [Size],
    layouts: &'static [Layout],
    changes: &'static [Change],
    shares: &'static [f64],
}

const QUICK: Grid = Grid {
    sizes: &[Size { orders: 150_000 }],
    layouts: &[Layout::OneFile],
    changes: &[Change::Scattered],
    shares: &[0.001],
};

const WHOLE: Grid = Grid {
    sizes: &[Size { orders: 150_000 }, Size { orders: 1_500_000 }, Size { orders: 15_000_000 }],
    layouts: &[Layout::OneFile, Layout::ManyFiles],
    changes: &[Change::Scattered, Change::Recent],
    shares: &[0.0001, 0.01],
};

/// Runs all shapes over the whole grid.
///
/// # Errors
/// What lake or registry say, and a table that differs from its query.
pub fn run(quick: bool) -> Result<Scene> {
    let grid = if quick { QUICK } else { WHOLE };
    let mut rows = Vec::new();
    let mut regrets = Vec::new();
    for size in grid.sizes {
        for layout in grid.layouts {
            let contest = Contest::begin(*size, *layout)?;
            for change in grid.changes {
                for share in grid.shares {
                    let outcomes = contest.play(*change, *share)?;
                    for outcome in &outcomes {
                        rows.push(row(*size, *layout, *change, *share, outcome));
                        regrets.push(outcome.regret());
                    }
                }
            }
            contest.verify()?;
        }
    }
    regrets.sort_by(f64::total_cmp);
    let within = regrets.iter().filter(|regret| **regret <= REGRET).count();
    let worst = regrets.last().copied().unwrap_or_default();
    Ok(Scene {
        name: "refresh",
        about: "One table, three times: forced to go in full, forced to go incrementally, and left to AUTO, each refreshed in a commit of its \
                own after the same changes (ms; medians of five, AUTO after the three refreshes that it may take to find out). Query: what \
                computing the result takes without writing it. All tables are verified against their queries at the end."
            .to_owned(),
        columns: vec![
            "shape", "orders", "files", "change", "share", "query", "full", "incremental", "AUTO", "AUTO went", "full / incremental",
            "AUTO / better",
        ],
        rows,
        notes: vec![format!("AUTO was within {REGRET} of the better way in {within} of {} places.", regrets.len())],
        bounds: vec![Bound::at_most("AUTO as a multiple of the better forced mode, at the worst place", worst, REGRET)],
    })
}

fn row(size: Size, layout: Layout, change: Change, share: f64, outcome: &Outcome) -> Vec<String> {
    let (full, incremental, auto) = (median(&outcome.full), median(&outcome.incremental), median(&outcome.auto));
    vec![
        outcome.shape.to_owned(),
        size.orders.to_string(),
        layout.name().to_owned(),
        change.name().to_owned(),
        format!("{} %", share * 100.0),
        milliseconds(median(&outcome.query)),
        milliseconds(full),
        milliseconds(incremental),
        milliseconds(auto),
        outcome.auto_went.clone(),
        format!("{:.2}", ratio(full, incremental)),
        format!("{:.2}", outcome.regret()),
    ]
}
