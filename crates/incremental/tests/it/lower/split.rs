//! SELECTs that group and have windows, or have windows and DISTINCT ON, taken apart.

use crate::support::{Way, holds};

#[test]
fn windows_over_groups() {
    holds(
        &[
            "SELECT g, k, sum(x) AS s, rank() OVER (PARTITION BY g ORDER BY sum(x) DESC, k) AS r FROM fact GROUP BY g, k",
            "SELECT k, count(*) AS n, sum(count(*)) OVER () AS everything FROM fact GROUP BY k",
            "SELECT g, k, sum(x) AS s, rank() OVER (PARTITION BY grouping(g), g ORDER BY sum(x), k) AS r FROM fact GROUP BY ROLLUP (g, k)",
        ],
        &[Way::Groups],
    );
}

#[test]
fn distinct_on_over_windows() {
    holds(
        &["SELECT DISTINCT ON (k) k, id, count(*) OVER (PARTITION BY k) AS n FROM fact ORDER BY k, id DESC"],
        &[Way::Groups],
    );
}
