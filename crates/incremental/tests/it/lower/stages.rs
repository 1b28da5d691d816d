//! Operators below others: a stage is read as it was, as it is, and as what changed.

use crate::support::{Way, holds};

#[test]
fn operators_over_groups() {
    holds(
        &[
            "SELECT n, count(*) AS groups FROM (SELECT k, count(*) AS n FROM fact GROUP BY k) GROUP BY n",
            "SELECT g, count(*) AS n FROM (SELECT * FROM fact QUALIFY row_number() OVER (PARTITION BY k ORDER BY id DESC, x) = 1) GROUP BY g",
            "SELECT g, k, n, rank() OVER (PARTITION BY g ORDER BY n DESC) AS r FROM (SELECT g, k, count(*) AS n FROM fact GROUP BY g, k)",
            "SELECT s.name, count(*) AS n FROM (SELECT f.id, d.name FROM fact f LEFT JOIN dim d ON f.k = d.k) s GROUP BY s.name",
        ],
        &[Way::Groups],
    );
}

#[test]
fn linear_operators_over_groups() {
    holds(
        &[
            "SELECT f.id, t.n FROM fact f JOIN (SELECT k, count(*) AS n FROM fact GROUP BY k) t ON f.k = t.k",
            "SELECT k, count(*) AS n FROM fact GROUP BY k UNION ALL SELECT k, weight FROM dim",
        ],
        &[Way::Linear],
    );
}

#[test]
fn a_stage_that_is_read_twice() {
    holds(
        &[
            "WITH t AS (SELECT k, count(*) AS n FROM fact GROUP BY k) SELECT a.k, b.n FROM t a JOIN t b ON a.n = b.n",
            "WITH t AS (SELECT DISTINCT k FROM (SELECT k FROM fact UNION ALL SELECT weight FROM dim)) \
             SELECT a.k AS a, b.k AS b FROM t a, t b UNION ALL SELECT k, k FROM t",
        ],
        &[Way::Linear],
    );
}

#[test]
fn a_stage_with_a_column_of_no_type() {
    holds(
        &[
            "SELECT t.k, t.nothing, d.name FROM (SELECT DISTINCT k, NULL AS nothing FROM fact) t JOIN dim d ON t.k = d.k",
            "SELECT t.k, len(t.empty) AS n FROM (SELECT DISTINCT k, [] AS empty FROM fact) t JOIN dim d ON t.k = d.k",
        ],
        &[Way::Linear],
    );
}
