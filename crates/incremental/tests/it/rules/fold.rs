//! Changes folded into the stored rows.

use crate::support::{Way, holds};

#[test]
fn counts_and_sums() {
    holds(
        &[
            "SELECT k, count(*) AS n, count(x) AS nx, sum(x) AS s FROM fact GROUP BY k",
            "SELECT g, count(*) AS n, count_if(x > 0) AS pos FROM fact GROUP BY g",
            "SELECT k, g, count(*) AS n, count(amount) AS na, sum(amount) AS s FROM fact GROUP BY k, g",
            "SELECT k, count(*) AS n, count(*) FILTER (x > 0) AS m FROM fact GROUP BY k",
            "SELECT d.name, count(*) AS n, count(f.x) AS nx, sum(f.x) AS s FROM fact f JOIN dim d USING (k) GROUP BY d.name",
        ],
        &[Way::Groups],
    );
}

#[test]
fn the_result_itself_holds_what_folding_needs() {
    holds(
        &[
            "SELECT k, count(*) AS n, count(x) AS nx, sum(x) AS s FROM fact GROUP BY k",
            "SELECT k, g, count(*) AS n, count(amount) AS na, sum(amount) AS s FROM fact GROUP BY k, g",
            "SELECT k, count(*) AS n, max(x) AS hi, min(x) AS lo FROM fact GROUP BY k",
            "SELECT count(*) AS n, count(x) AS nx, sum(x) AS s FROM fact",
        ],
        &[Way::Fold, Way::Groups],
    );
}
