//! What a refresh costs, by shape of the query, size of the sources, how their files lie, and how much has changed: the same
//! table forced to go in full, forced to go incrementally, and left to AUTO, side by side over the same changes.

mod contest;
mod data;
mod floor;
mod regret;
mod shapes;

pub(crate) use data::{Change, Layout, Size, change, make};

use std::time::Duration;

use error::Result;

use crate::figures::{median, milliseconds, ratio};
use crate::refreshing::contest::{Contest, Outcome};
use crate::refreshing::regret::Regrets;
use crate::report::{Bound, Scene};

/// A refresh may take so many times as long as the same by hand, or so much longer where that is more.
const ABOVE_FLOOR: f64 = 1.25;
const OVERHEAD: Duration = Duration::from_millis(15);

/// AUTO may take so many times as long as the better of the two forced modes.
const REGRET: f64 = 1.1;

/// What is measured: sizes, layouts, kinds of changes, and their shares of the orders.
struct Grid {
    sizes: &'static [Size],
    layouts: &'static [Layout],
    changes: &'static [Change],
    shares: &'static [f64],
    /// How many refreshes are measured, if it is not the usual number.
    measured: Option<u64>,
}

const QUICK: Grid = Grid {
    sizes: &[Size { orders: 150_000 }],
    layouts: &[Layout::OneFile],
    changes: &[Change::Scattered],
    shares: &[0.001],
    measured: Some(3),
};

const WHOLE: Grid = Grid {
    sizes: &[Size { orders: 150_000 }, Size { orders: 1_500_000 }, Size { orders: 15_000_000 }],
    layouts: &[Layout::OneFile, Layout::ManyFiles],
    changes: &[Change::Scattered, Change::Recent, Change::Skewed],
    shares: &[0.0001, 0.01],
    measured: None,
};

/// Runs all shapes over the whole grid; with `orders`, over sources of that size only.
///
/// # Errors
/// What lake or registry say, and a table that differs from its query.
pub fn run(quick: bool, orders: Option<u64>) -> Result<Scene> {
    let grid = if quick { QUICK } else { WHOLE };
    let mut rows = Vec::new();
    let mut regrets = Regrets::default();
    let (mut at_floor, mut above_floor) = (0, Vec::new());
    let sizes = orders.map_or_else(|| grid.sizes.to_vec(), |orders| vec![Size { orders }]);
    for size in &sizes {
        for layout in grid.layouts {
            let contest = Contest::begin(*size, *layout, grid.measured)?;
            for change in grid.changes {
                for share in grid.shares {
                    let outcomes = contest.play(*change, *share)?;
                    for outcome in &outcomes {
                        let row = row(*size, *layout, *change, *share, outcome);
                        regrets.add(row[..PLACE].join(", "), outcome.regret());
                        rows.push(row);
                        above_floor.push(outcome.above_floor());
                        at_floor += usize::from(is_at_floor(outcome));
                    }
                }
            }
            contest.verify()?;
        }
    }
    above_floor.sort_by(f64::total_cmp);
    let middle = above_floor.get(above_floor.len() / 2).copied().unwrap_or_default();
    Ok(Scene {
        name: "refresh",
        about: "One table, or a chain of them, four times: forced to go in full, forced to go incrementally, left to AUTO, and kept by hand, each \
                after the same changes and in a commit of its own (ms, medians; AUTO after the three refreshes that it may take to find out). \
                Query: computing the result without writing it. Floor: the statements that somebody would write who knows the keys of the \
                tables, commit included. All tables, those kept by hand too, are verified against their queries."
            .to_owned(),
        columns: vec![
            "shape", "orders", "files", "change", "share", "query", "floor", "full", "incremental", "AUTO", "AUTO went",
            "full / incremental", "incremental / floor", "AUTO / better",
        ],
        rows,
        notes: vec![
            regrets.sentence(REGRET),
            format!(
                "The incremental refresh was at its floor, at most {ABOVE_FLOOR} of it or {} ms above it, in {at_floor} of {} places.",
                OVERHEAD.as_millis(),
                regrets.len()
            ),
        ],
        bounds: vec![
            Bound::at_most("AUTO as a multiple of the better forced mode, at the worst place", regrets.worst(), REGRET),
            Bound::at_most("AUTO as a multiple of the better forced mode, at the median place", regrets.median(), REGRET),
            Bound::at_most("the incremental refresh as a multiple of its floor, at the median place", middle, ABOVE_FLOOR),
        ],
    })
}

/// So many columns say where something was measured.
const PLACE: usize = 5;

fn is_at_floor(outcome: &Outcome) -> bool {
    let (incremental, floor) = (median(&outcome.incremental), median(&outcome.floor));
    ratio(incremental, floor) <= ABOVE_FLOOR || incremental <= floor + OVERHEAD
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
        milliseconds(median(&outcome.floor)),
        milliseconds(full),
        milliseconds(incremental),
        milliseconds(auto),
        outcome.auto_went.clone(),
        format!("{:.2}", ratio(full, incremental)),
        format!("{:.2}", outcome.above_floor()),
        format!("{:.2}", outcome.regret()),
    ]
}
