//! The first rows of an order, of all rows and of each partition.

use crate::support::{Way, holds};

#[test]
fn first_rows_of_all() {
    holds(
        &[
            "SELECT id, x FROM fact ORDER BY id, x LIMIT 5",
            "SELECT id, k, x FROM fact WHERE g IS NOT NULL ORDER BY x DESC NULLS LAST LIMIT 3",
            "SELECT k FROM fact UNION ALL SELECT weight FROM dim ORDER BY 1 DESC LIMIT 6",
        ],
        &[Way::FirstRows, Way::Groups],
    );
}

#[test]
fn first_rows_of_each_partition() {
    holds(
        &[
            "SELECT k, id, x FROM fact QUALIFY row_number() OVER (PARTITION BY k ORDER BY id DESC) = 1",
            "SELECT k, id, x, g FROM fact QUALIFY row_number() OVER (PARTITION BY k ORDER BY x, id) <= 2",
            "SELECT DISTINCT ON (k) k, id, x FROM fact ORDER BY k, id DESC",
        ],
        &[Way::FirstRows, Way::Groups],
    );
}
