//! Subqueries in expressions.

use crate::support::{Way, holds};

#[test]
fn in_and_not_in() {
    holds(
        &[
            "SELECT id, k FROM fact WHERE k IN (SELECT k FROM dim WHERE name = 'a')",
            "SELECT id FROM fact WHERE k NOT IN (SELECT k FROM dim WHERE weight > 0)",
            // A NULL that comes or goes touches every row, whatever its key.
            "SELECT id FROM fact WHERE k NOT IN (SELECT CASE WHEN weight = 0 THEN NULL ELSE 99 END FROM dim)",
            "SELECT id FROM fact WHERE k NOT IN (SELECT CASE WHEN weight = 1 THEN NULL ELSE 99 END FROM dim)",
            "SELECT id FROM fact WHERE k NOT IN (SELECT CASE WHEN weight = 2 THEN NULL ELSE 99 END FROM dim)",
            "SELECT id FROM fact WHERE k NOT IN (SELECT CASE WHEN weight = 3 THEN NULL ELSE 99 END FROM dim)",
            "SELECT id FROM fact WHERE (k, x) IN (SELECT k, weight FROM dim)",
            "SELECT id, k IN (SELECT k FROM dim WHERE weight > 1) AS found FROM fact",
            "SELECT id FROM fact WHERE k IN (SELECT k FROM dim) OR x = 3",
            "SELECT id FROM fact WHERE x > ANY (SELECT weight FROM dim)",
            "SELECT id FROM fact WHERE x < ALL (SELECT weight FROM dim WHERE name = 'a')",
            "SELECT id FROM fact WHERE k IN (SELECT k FROM fact GROUP BY k HAVING count(*) > 2)",
        ],
        &[Way::Groups],
    );
}

#[test]
fn exists() {
    holds(
        &[
            "SELECT id, g FROM fact f WHERE EXISTS (SELECT 1 FROM dim d WHERE d.k = f.k AND d.weight > f.x)",
            "SELECT id, g FROM fact f WHERE NOT EXISTS (SELECT 1 FROM dim WHERE dim.k = f.k)",
            "SELECT id FROM fact WHERE EXISTS (SELECT 1 FROM dim WHERE weight = 2)",
            "SELECT id FROM fact f WHERE EXISTS (SELECT 1 FROM dim d WHERE d.weight < f.x)",
        ],
        &[Way::Groups],
    );
}

#[test]
fn scalar_subqueries() {
    holds(
        &[
            "SELECT id, x FROM fact WHERE x > (SELECT avg(x) FROM fact)",
            "SELECT id, (SELECT max(d.weight) FROM dim d WHERE d.k = f.k) AS w FROM fact f",
            "SELECT id, k FROM fact f WHERE x = (SELECT max(i.x) FROM fact i WHERE i.k = f.k)",
            "SELECT k, sum(x) AS s FROM fact GROUP BY k HAVING sum(x) > (SELECT avg(weight) FROM dim)",
            "SELECT name FROM dim WHERE k IN (SELECT k FROM fact f WHERE x IN (SELECT weight FROM dim) AND amount > (SELECT avg(i.amount) FROM fact i WHERE i.k = f.k))",
        ],
        &[Way::Groups],
    );
}
