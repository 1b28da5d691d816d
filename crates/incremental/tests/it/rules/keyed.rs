//! Groups that are computed again: NULL among the keys, keys that the result does not show, several sets of keys.

use crate::support::{Way, holds};

#[test]
fn distinct_rows() {
    holds(
        &[
            "SELECT DISTINCT g FROM fact",
            "SELECT DISTINCT k, x FROM fact WHERE id > 2",
            "SELECT DISTINCT f.g, d.name FROM fact f JOIN dim d USING (k)",
            "SELECT k, name FROM dim UNION SELECT k, g FROM fact",
        ],
        &[Way::Groups],
    );
}

#[test]
fn keys_that_are_not_shown() {
    holds(
        &["SELECT count(*) AS n FROM fact GROUP BY k", "SELECT max(x) AS m FROM fact GROUP BY k, g, id % 2"],
        &[Way::Groups],
    );
}

#[test]
fn several_sets_of_keys() {
    holds(
        &[
            "SELECT f.id, d.name, e.weight FROM fact f LEFT JOIN dim d ON f.k = d.k LEFT JOIN dim e ON f.x = e.k",
            "SELECT f.id, d.k FROM fact f FULL JOIN dim d ON f.k = d.k",
        ],
        &[Way::Groups],
    );
}
