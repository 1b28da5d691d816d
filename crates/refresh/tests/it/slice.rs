//! One table, one refresh, end to end.

use registry::RefreshAction;
use testkit::lake::ThrowAway;

#[test]
fn a_table_follows_its_source() {
    let lake = ThrowAway::new().unwrap();
    lake.run(
        "CREATE TABLE lake.orders AS SELECT i AS id, i % 7 AS customer, i * 10 AS price FROM range(5000) t(i);
         CREATE DYNAMIC TABLE big TARGET_LAG = '5 minutes' AS SELECT id, price FROM orders WHERE price > 100;
         CREATE DYNAMIC TABLE per_customer TARGET_LAG = '5 minutes' AS
           SELECT customer, count(*) AS n, sum(price) AS total, count(price) AS priced FROM orders GROUP BY customer;
         CREATE DYNAMIC TABLE greatest TARGET_LAG = '5 minutes' CARDINALITY_THRESHOLD = 1 AS
           SELECT customer, max(price) AS highest FROM orders GROUP BY ALL;",
    )
    .unwrap();
    lake.verify().unwrap();
    lake.run(
        "INSERT INTO lake.orders VALUES (5001, 3, 7), (5002, 3, 1000000), (5003, NULL, NULL);
         UPDATE lake.orders SET price = price + 1 WHERE id = 17;
         DELETE FROM lake.orders WHERE id IN (4999, 20)",
    )
    .unwrap();
    let reports = lake.refresh(&[]).unwrap();
    for report in &reports {
        assert_eq!(report.action, Some(RefreshAction::Incremental), "{report:?}");
    }
    lake.verify().unwrap();
    let reports = lake.refresh(&[]).unwrap();
    for report in &reports {
        assert_eq!(report.action, Some(RefreshAction::NoData), "{report:?}");
    }
}
