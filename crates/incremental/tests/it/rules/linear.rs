//! Filters, projections, UNNEST, UNION ALL and inner joins.

use crate::support::{Way, holds};

#[test]
fn filters_and_projections() {
    holds(
        &[
            "SELECT id, x, amount FROM fact WHERE x > 0 OR x IS NULL",
            "SELECT k, g FROM fact",
            "SELECT * EXCLUDE (seen) FROM fact WHERE k IS DISTINCT FROM 1",
            "SELECT id % 3 AS d, coalesce(g, '?') || x AS t, f FROM fact",
            "SELECT id, unnest([x, k]) AS v FROM fact WHERE id % 2 = 0",
        ],
        &[Way::Linear],
    );
}

#[test]
fn inner_joins() {
    holds(
        &[
            "SELECT f.id, f.x, d.name FROM fact f JOIN dim d ON f.k = d.k",
            "SELECT k, f.g, d.name FROM fact f JOIN dim d USING (k) WHERE f.x > d.weight",
            "SELECT f.id, d.name FROM fact f JOIN dim d ON f.k < d.k",
            "SELECT a.name AS a, b.weight AS b FROM dim a, dim b",
            "SELECT f.id, d.name, e.weight FROM fact f, dim d, dim e WHERE f.k = d.k AND e.k = f.x",
            "SELECT a.id AS a, b.id AS b FROM fact a JOIN fact b ON a.k = b.k AND a.id < b.id",
            "SELECT * FROM (SELECT k, g FROM fact) NATURAL JOIN (SELECT k, name FROM dim)",
            "SELECT f.k, u.v FROM fact f, unnest([f.x, 1]) u(v)",
        ],
        &[Way::Linear],
    );
}

#[test]
fn unions_of_all_rows() {
    holds(
        &[
            "SELECT k, x::BIGINT AS v FROM fact WHERE x > 0 UNION ALL SELECT k, weight FROM dim",
            "SELECT k, g FROM fact UNION ALL BY NAME SELECT name AS g, weight FROM dim",
            "SELECT u.k, d.name FROM (SELECT k FROM fact UNION ALL SELECT weight FROM dim) u JOIN dim d ON u.k = d.k",
            "SELECT k FROM dim UNION ALL SELECT k FROM dim UNION ALL SELECT 7",
        ],
        &[Way::Linear],
    );
}
