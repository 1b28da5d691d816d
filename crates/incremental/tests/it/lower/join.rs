//! Joins that keep rows without a partner.

use crate::support::{Way, holds};

#[test]
fn outer_joins() {
    holds(
        &[
            "SELECT f.id, f.x, d.name FROM fact f LEFT JOIN dim d USING (k)",
            "SELECT f.k, f.id, d.name FROM fact f LEFT JOIN dim d ON f.k = d.k AND d.weight > f.x WHERE f.id % 2 = 0",
            "SELECT f.id FROM fact f LEFT JOIN dim d ON f.k = d.k WHERE d.k IS NULL",
            "SELECT f.id, d.name FROM fact f RIGHT JOIN dim d ON d.k = f.k",
            "SELECT f.id, f.k AS fk, d.k AS dk FROM fact f FULL JOIN dim d ON f.k = d.k",
            "SELECT f.id, d.name, e.weight FROM fact f LEFT JOIN (dim d LEFT JOIN dim e ON d.weight = e.k) ON f.k = d.k",
        ],
        &[Way::Groups],
    );
}

#[test]
fn semi_and_anti_joins() {
    holds(
        &[
            "SELECT f.id, f.g FROM fact f SEMI JOIN dim d ON f.k = d.k AND d.weight > 1",
            "SELECT f.id, f.g FROM fact f ANTI JOIN dim d ON f.k = d.k",
            "SELECT f.id, f.g FROM fact f ANTI JOIN dim d ON f.x < d.weight",
        ],
        &[Way::Groups],
    );
}

#[test]
fn joins_without_an_equality() {
    holds(
        &[
            "SELECT f.id, d.name FROM fact f LEFT JOIN dim d ON f.k < d.k",
            "SELECT f.id, f.x, d.name FROM fact f FULL JOIN dim d ON f.x < d.weight",
            "SELECT f.id, d.weight FROM fact f ASOF JOIN (SELECT DISTINCT weight FROM dim) d ON f.x >= d.weight",
            "SELECT d.name, t.n FROM dim d LEFT JOIN LATERAL (SELECT count(*) AS n FROM fact f WHERE f.k = d.k) t ON true",
        ],
        &[Way::Groups],
    );
}
