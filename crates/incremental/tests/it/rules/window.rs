//! Windows and QUALIFY, by the partitions that all windows share.

use crate::support::{Way, holds, is_refused};

#[test]
fn windows_over_partitions() {
    holds(
        &[
            "SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY id, x, g, amount, f, seen) AS r FROM fact",
            "SELECT id, g, sum(x) OVER (PARTITION BY g) AS s, count(*) OVER (PARTITION BY k, g) AS n FROM fact",
            "SELECT id, x, rank() OVER (PARTITION BY k ORDER BY x) AS r FROM fact WHERE id > 1",
            "SELECT id, lag(x) OVER (PARTITION BY k ORDER BY id, x) AS b FROM fact",
            "SELECT g, count(x) OVER (PARTITION BY g, g ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE GROUP) AS n FROM fact WHERE 'a' ILIKE 'a%'",
            "SELECT d.name, sum(f.x) OVER (PARTITION BY d.name) AS s FROM fact f JOIN dim d USING (k)",
        ],
        &[Way::Groups],
    );
}

#[test]
fn conditions_on_windows() {
    holds(
        &[
            "SELECT id, k FROM fact QUALIFY count(*) OVER (PARTITION BY k) > 2",
            "SELECT id, x FROM fact QUALIFY rank() OVER (PARTITION BY g ORDER BY x DESC) = 1",
        ],
        &[Way::Groups],
    );
}

#[test]
fn a_window_over_everything_has_no_rule() {
    is_refused("SELECT id, rank() OVER (ORDER BY x) AS r FROM fact", "span the whole input");
}
