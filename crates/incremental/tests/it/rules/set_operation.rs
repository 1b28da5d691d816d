//! EXCEPT and INTERSECT, with and without ALL.

use crate::support::{Way, holds};

#[test]
fn except_and_intersect() {
    holds(
        &[
            "SELECT k FROM fact EXCEPT SELECT k FROM dim",
            "SELECT k FROM fact EXCEPT ALL SELECT k FROM dim",
            "SELECT k, g FROM fact INTERSECT SELECT k, name FROM dim",
            "SELECT x FROM fact INTERSECT ALL SELECT weight FROM dim",
            "SELECT k FROM fact EXCEPT (SELECT k FROM dim INTERSECT SELECT x FROM fact)",
            "SELECT k, count(*) AS n FROM fact GROUP BY k EXCEPT SELECT k, weight FROM dim",
        ],
        &[Way::Groups],
    );
}
