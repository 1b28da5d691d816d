//! The queries, from those that cost nothing to keep to those that have to read whole groups again, each with how it would be
//! kept by hand.

use crate::refreshing::floor::{Floor, Fold};

/// A kind of query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub name: &'static str,
    /// The query; of several, each may read the one before as `{before}`.
    pub queries: &'static [&'static str],
    /// How to keep the results by hand, in their order.
    pub floors: &'static [Floor],
}

const JOINED: &str = "__d JOIN customer ON o_custkey = c_custkey";

/// All of them.
pub(crate) const SHAPES: [Shape; 14] = [
    Shape {
        name: "filter",
        queries: &[
            "SELECT o_orderkey, o_custkey, o_totalprice FROM orders WHERE o_status = 'F' AND o_totalprice > 250000",
        ],
        floors: &[Floor::Rows {
            source: "orders",
            key: "o_orderkey",
            reads: "o_orderkey, o_custkey, o_totalprice, o_status",
            select: "o_orderkey, o_custkey, o_totalprice",
            from: "__d",
            condition: "o_status = 'F' AND o_totalprice > 250000",
        }],
    },
    Shape {
        name: "projection",
        queries: &["SELECT o_orderkey, year(o_orderdate) AS y, o_totalprice * 2 AS p FROM orders"],
        floors: &[Floor::Rows {
            source: "orders",
            key: "o_orderkey",
            reads: "o_orderkey, o_orderdate, o_totalprice",
            select: "o_orderkey, year(o_orderdate), o_totalprice * 2",
            from: "__d",
            condition: "true",
        }],
    },
    Shape {
        name: "wide table",
        queries: &["SELECT * FROM wide WHERE c0 < 500"],
        floors: &[Floor::Rows {
            source: "wide",
            key: "w_key",
            reads: "COLUMNS(c -> c NOT IN ('snapshot_id', 'rowid'))",
            select: "* EXCLUDE (__w)",
            from: "__d",
            condition: "c0 < 500",
        }],
    },
    Shape {
        name: "fold",
        queries: &["SELECT o_custkey, count(*) AS n, sum(o_totalprice) AS total FROM orders GROUP BY o_custkey"],
        floors: &[Floor::Folded(Fold {
            reads: "o_custkey, o_totalprice",
            keys: &[("o_custkey", "o_custkey")],
            from: "__d",
        })],
    },
    Shape {
        name: "join of 2, fold",
        queries: &[
            "SELECT c_custkey, c_segment, count(*) AS n, sum(o_totalprice) AS total FROM orders JOIN customer \
             ON o_custkey = c_custkey GROUP BY c_custkey, c_segment",
        ],
        floors: &[Floor::Folded(Fold {
            reads: "o_custkey, o_totalprice",
            keys: &[("c_custkey", "c_custkey"), ("c_segment", "c_segment")],
            from: JOINED,
        })],
    },
    Shape {
        name: "join of 3, fold",
        queries: &[
            "SELECT n_name, year(o_orderdate) AS y, count(*) AS n, sum(o_totalprice) AS total FROM orders JOIN customer \
             ON o_custkey = c_custkey JOIN nation ON c_nationkey = n_nationkey GROUP BY n_name, y",
        ],
        floors: &[Floor::Folded(Fold {
            reads: "o_custkey, o_totalprice, o_orderdate",
            keys: &[("n_name", "n_name"), ("year(o_orderdate)", "y")],
            from: "__d JOIN customer ON o_custkey = c_custkey JOIN nation ON c_nationkey = n_nationkey",
        })],
    },
    Shape {
        name: "join of 5, fold",
        queries: &[
            "SELECT r_name, p_rank, c_segment, count(*) AS n, sum(o_totalprice) AS total FROM orders JOIN customer \
             ON o_custkey = c_custkey JOIN nation ON c_nationkey = n_nationkey JOIN region ON n_regionkey = r_regionkey \
             JOIN priority ON o_priority = p_priority GROUP BY r_name, p_rank, c_segment",
        ],
        floors: &[Floor::Folded(Fold {
            reads: "o_custkey, o_totalprice, o_priority",
            keys: &[("r_name", "r_name"), ("p_rank", "p_rank"), ("c_segment", "c_segment")],
            from: "__d JOIN customer ON o_custkey = c_custkey JOIN nation ON c_nationkey = n_nationkey \
                   JOIN region ON n_regionkey = r_regionkey JOIN priority ON o_priority = p_priority",
        })],
    },
    Shape {
        name: "median by group",
        queries: &[
            "SELECT o_custkey, median(o_totalprice) AS m, count(DISTINCT o_priority) AS p FROM orders GROUP BY o_custkey",
        ],
        floors: &[Floor::Keyed {
            reads: "o_custkey, o_totalprice, o_priority",
            condition: "true",
            target_key: "o_custkey",
            query: "SELECT o_custkey, median(o_totalprice), count(DISTINCT o_priority) FROM orders \
                    WHERE o_custkey IN (FROM __k) GROUP BY o_custkey",
        }],
    },
    Shape {
        name: "window",
        queries: &[
            "SELECT o_custkey, o_orderkey, sum(o_totalprice) OVER (PARTITION BY o_custkey ORDER BY o_orderdate, o_orderkey) AS running \
             FROM orders",
        ],
        floors: &[Floor::Keyed {
            reads: "o_custkey, o_orderkey, o_totalprice, o_orderdate",
            condition: "true",
            target_key: "o_custkey",
            query: "SELECT o_custkey, o_orderkey, sum(o_totalprice) OVER (PARTITION BY o_custkey ORDER BY o_orderdate, o_orderkey) \
                    FROM orders WHERE o_custkey IN (FROM __k)",
        }],
    },
    Shape {
        name: "latest row",
        queries: &[
            "SELECT * FROM orders QUALIFY row_number() OVER (PARTITION BY o_custkey ORDER BY o_orderdate DESC, o_orderkey DESC) = 1",
        ],
        floors: &[Floor::Keyed {
            reads: "COLUMNS(c -> c NOT IN ('snapshot_id', 'rowid'))",
            condition: "true",
            target_key: "o_custkey",
            query: "SELECT * FROM orders WHERE o_custkey IN (FROM __k) \
                    QUALIFY row_number() OVER (PARTITION BY o_custkey ORDER BY o_orderdate DESC, o_orderkey DESC) = 1",
        }],
    },
    Shape {
        name: "outer join",
        queries: &[
            "SELECT c_custkey, c_segment, o_orderkey, o_totalprice FROM customer LEFT JOIN orders ON o_custkey = c_custkey \
             AND o_totalprice > 450000",
        ],
        floors: &[Floor::Keyed {
            reads: "o_custkey, o_orderkey, o_totalprice",
            condition: "o_totalprice > 450000",
            target_key: "c_custkey",
            query: "SELECT c_custkey, c_segment, o_orderkey, o_totalprice FROM (FROM customer WHERE c_custkey IN (FROM __k)) \
                    LEFT JOIN (FROM orders WHERE o_custkey IN (FROM __k) AND o_totalprice > 450000) ON o_custkey = c_custkey",
        }],
    },
    Shape {
        name: "semi join",
        queries: &[
            "SELECT c_custkey, c_segment FROM customer WHERE EXISTS (SELECT 1 FROM orders WHERE o_custkey = c_custkey \
             AND o_totalprice > 490000)",
        ],
        floors: &[Floor::Keyed {
            reads: "o_custkey, o_totalprice",
            condition: "o_totalprice > 490000",
            target_key: "c_custkey",
            query: "SELECT c_custkey, c_segment FROM customer WHERE c_custkey IN (FROM __k) AND c_custkey IN \
                    (SELECT o_custkey FROM orders WHERE o_custkey IN (FROM __k) AND o_totalprice > 490000)",
        }],
    },
    Shape {
        name: "distinct",
        queries: &["SELECT DISTINCT o_custkey, o_priority FROM orders"],
        floors: &[Floor::Keyed {
            reads: "o_custkey, o_priority",
            condition: "true",
            target_key: "o_custkey",
            query: "SELECT DISTINCT o_custkey, o_priority FROM orders WHERE o_custkey IN (FROM __k)",
        }],
    },
    Shape {
        name: "chain of three",
        queries: &[
            "SELECT o_orderkey, c_custkey, c_nationkey, o_totalprice FROM orders JOIN customer ON o_custkey = c_custkey",
            "SELECT c_custkey, c_nationkey, count(*) AS n, sum(o_totalprice) AS total FROM {before} GROUP BY c_custkey, c_nationkey",
            "SELECT c_nationkey, sum(n) AS n, sum(total) AS total FROM {before} GROUP BY c_nationkey",
        ],
        floors: &[
            Floor::Rows {
                source: "orders",
                key: "o_orderkey",
                reads: "o_orderkey, o_custkey, o_totalprice",
                select: "o_orderkey, c_custkey, c_nationkey, o_totalprice",
                from: JOINED,
                condition: "true",
            },
            Floor::Folded(Fold {
                reads: "o_custkey, o_totalprice",
                keys: &[("c_custkey", "c_custkey"), ("c_nationkey", "c_nationkey")],
                from: JOINED,
            }),
            Floor::Folded(Fold {
                reads: "o_custkey, o_totalprice",
                keys: &[("c_nationkey", "c_nationkey")],
                from: JOINED,
            }),
        ],
    },
];
