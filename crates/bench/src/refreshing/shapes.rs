//! The queries, from those that cost nothing to keep to those that have to read whole groups again.

/// A kind of query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub name: &'static str,
    pub query: &'static str,
}

/// All of them.
pub(crate) const SHAPES: [Shape; 11] = [
    Shape {
        name: "filter",
        query: "SELECT o_orderkey, o_custkey, o_totalprice FROM orders WHERE o_status = 'F' AND o_totalprice > 250000",
    },
    Shape {
        name: "projection",
        query: "SELECT o_orderkey, year(o_orderdate) AS y, o_totalprice * 2 AS p FROM orders",
    },
    Shape {
        name: "fold",
        query: "SELECT o_custkey, count(*) AS n, sum(o_totalprice) AS total FROM orders GROUP BY o_custkey",
    },
    Shape {
        name: "join of 2, fold",
        query: "SELECT c_custkey, c_segment, count(*) AS n, sum(o_totalprice) AS total FROM orders JOIN customer \
                ON o_custkey = c_custkey GROUP BY c_custkey, c_segment",
    },
    Shape {
        name: "join of 3, fold",
        query: "SELECT n_name, year(o_orderdate) AS y, count(*) AS n, sum(o_totalprice) AS total FROM orders JOIN customer \
                ON o_custkey = c_custkey JOIN nation ON c_nationkey = n_nationkey GROUP BY n_name, y",
    },
    Shape {
        name: "median by group",
        query: "SELECT o_custkey, median(o_totalprice) AS m, count(DISTINCT o_priority) AS p FROM orders GROUP BY o_custkey",
    },
    Shape {
        name: "window",
        query: "SELECT o_custkey, o_orderkey, sum(o_totalprice) OVER (PARTITION BY o_custkey ORDER BY o_orderdate, o_orderkey) AS running \
                FROM orders",
    },
    Shape {
        name: "latest row",
        query: "SELECT * FROM orders QUALIFY row_number() OVER (PARTITION BY o_custkey ORDER BY o_orderdate DESC, o_orderkey DESC) = 1",
    },
    Shape {
        name: "outer join",
        query: "SELECT c_custkey, c_segment, o_orderkey, o_totalprice FROM customer LEFT JOIN orders ON o_custkey = c_custkey \
                AND o_totalprice > 450000",
    },
    Shape {
        name: "semi join",
        query: "SELECT c_custkey, c_segment FROM customer WHERE EXISTS (SELECT 1 FROM orders WHERE o_custkey = c_custkey \
                AND o_totalprice > 490000)",
    },
    Shape { name: "distinct", query: "SELECT DISTINCT o_custkey, o_priority FROM orders" },
];
