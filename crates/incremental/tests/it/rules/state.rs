//! Changes folded into a state table, where the result does not hold what folding needs.

use crate::support::{Way, holds};

#[test]
fn what_the_result_lacks() {
    holds(
        &[
            "SELECT k, sum(x) AS s FROM fact GROUP BY k",
            "SELECT g, avg(x) AS a, count(*) AS n FROM fact GROUP BY g",
            "SELECT k, avg(amount) AS a, max(x) AS m FROM fact GROUP BY k",
            "SELECT k, sum(x) AS s FROM fact GROUP BY k HAVING count(*) > 2",
            "SELECT k, sum(x) + count(*) AS s, bool_or(x > 0) AS b FROM fact GROUP BY k",
            "SELECT avg(x) AS a FROM fact",
            "SELECT d.name, sum(f.x) AS s FROM fact f JOIN dim d USING (k) GROUP BY d.name",
        ],
        &[Way::State, Way::Groups],
    );
}
