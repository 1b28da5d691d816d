//! LIMIT where it is not the top of a plain query.

use crate::support::{Way, holds, is_refused};

#[test]
fn limits_of_and_below_other_operators() {
    holds(
        &[
            "SELECT k, count(*) AS n FROM fact GROUP BY k ORDER BY n DESC, k LIMIT 3",
            "SELECT id, k FROM fact ORDER BY amount DESC, seen, id LIMIT 4 OFFSET 2",
            "SELECT k, count(*) AS n FROM (SELECT k FROM fact ORDER BY x, id LIMIT 5) GROUP BY k",
            "SELECT DISTINCT g FROM fact ORDER BY g LIMIT 2",
            "SELECT id, k FROM fact LIMIT 4",
            "SELECT d.name, t.id FROM dim d, LATERAL (SELECT f.id FROM fact f WHERE f.k = d.k ORDER BY f.id DESC LIMIT 2) t",
        ],
        &[Way::Groups],
    );
}

#[test]
fn a_share_of_the_rows_has_no_rule() {
    is_refused("SELECT id FROM fact ORDER BY id LIMIT 10%", "percentage");
}
