//! The time in WHERE: rows come and go by it alone.

use crate::support::{Way, holds};

#[test]
fn rows_of_the_last_day() {
    holds(
        &[
            "SELECT id, seen FROM fact WHERE seen > now() - INTERVAL 1 DAY",
            "SELECT f.id, d.name FROM fact f JOIN dim d USING (k) WHERE f.seen < current_timestamp",
            "SELECT id FROM fact WHERE seen < now() UNION ALL SELECT k FROM dim",
        ],
        &[Way::Linear],
    );
}

#[test]
fn groups_of_rows_of_the_last_day() {
    holds(
        &[
            "SELECT k, count(*) AS n, count(x) AS nx, sum(x) AS s FROM fact WHERE seen <= now() GROUP BY k",
            "SELECT d.name, d.k, t.n FROM dim d LEFT JOIN (SELECT k, count(*) AS n FROM fact WHERE seen > now() - INTERVAL 12 HOUR GROUP BY k) t ON t.k = d.k",
            "SELECT id FROM fact WHERE x IN (SELECT x FROM fact WHERE seen < today())",
        ],
        &[Way::Groups],
    );
}
