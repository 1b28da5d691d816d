//! Aggregates whose touched groups are computed again.

use crate::support::{Way, holds, is_refused};

#[test]
fn functions_that_cannot_be_taken_back() {
    holds(
        &[
            "SELECT g, median(x) AS m FROM fact GROUP BY g",
            "SELECT k, count(DISTINCT g) AS n, list(x ORDER BY x, id) AS l FROM fact GROUP BY k",
            "SELECT k, string_agg(g, ',' ORDER BY g) AS s, arg_max(id, (x, id)) AS a FROM fact GROUP BY k",
            "SELECT g, quantile_disc(x, 0.3) AS q, mode(k ORDER BY k) AS m FROM fact GROUP BY ALL",
            "SELECT k % 3 AS m, count(*) AS n FROM fact GROUP BY ALL HAVING m <> 1",
            "SELECT k % 3 AS k, median(x) AS x FROM fact GROUP BY ALL HAVING k <> 1 AND x > 0",
            "SELECT k % 3 AS m, median(x) AS n FROM fact AS f GROUP BY ALL HAVING f.g > 'b' AND NOT (k % 3 = 1) OR max(x) > 3",
            "SELECT g, sum(f) AS s FROM fact WHERE NOT isnan(f) GROUP BY g",
        ],
        &[Way::Groups],
    );
}

#[test]
fn conditions_on_groups() {
    holds(
        &[
            "SELECT k, count(DISTINCT x) AS n FROM fact GROUP BY k HAVING count(*) > 2",
            "SELECT k, median(x) AS m FROM fact GROUP BY k HAVING m > 0",
        ],
        &[Way::Groups],
    );
}

#[test]
fn one_group_of_all_rows() {
    holds(
        &[
            "SELECT median(x) AS m, count(DISTINCT k) AS n FROM fact",
            "SELECT mode(k ORDER BY k) AS m FROM fact HAVING count(*) > 5",
        ],
        &[Way::Groups],
    );
}

#[test]
fn sums_that_depend_on_an_order_are_found_by_their_keys_or_not_at_all() {
    is_refused("SELECT sum(f) AS s FROM fact GROUP BY k", "a GROUP BY key is not in the select list");
}
