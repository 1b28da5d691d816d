//! ROLLUP, CUBE and GROUPING SETS: one GROUP BY for each set.

use crate::support::{Way, holds};

#[test]
fn grouping_sets() {
    holds(
        &[
            "SELECT k, g, count(*) AS n, sum(x) AS s, grouping(k, g) AS l FROM fact GROUP BY ROLLUP (k, g)",
            "SELECT coalesce(g, 'all') AS c, k % 2 AS h, max(x) AS m FROM fact GROUP BY CUBE (g, k % 2)",
            "SELECT g, d.name, count(*) AS n FROM fact f JOIN dim d USING (k) GROUP BY GROUPING SETS ((g), (d.name), ()) HAVING count(*) > 2",
        ],
        &[Way::Linear],
    );
}
