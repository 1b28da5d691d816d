//! PIVOT and UNPIVOT.

use crate::support::{Way, holds};

#[test]
fn unpivot() {
    holds(
        &["SELECT id, n, v FROM (SELECT id, x, k FROM fact) UNPIVOT (v FOR n IN (x, k)) WHERE v > 1"],
        &[Way::Linear],
    );
}

#[test]
fn pivot() {
    holds(
        &[
            "SELECT * FROM (SELECT g, k, x FROM fact) PIVOT (sum(x) AS s, count(*) AS n FOR k IN (1, 2, 3) GROUP BY g)",
            "SELECT * FROM (SELECT k, g, x FROM fact) PIVOT (max(x) FOR k IN (1, 2))",
        ],
        &[Way::Linear],
    );
}
