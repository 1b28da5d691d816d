//! A refresh stays within the memory that DuckDB is given, however many groups it touches.

use refresh::RefreshReport;
use registry::RefreshAction;
use testkit::lake::{CatalogKind, ThrowAway};

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "takes minutes and a gigabyte of disk: cargo test -p dynamic-tables-refresh -- --ignored"]
fn ten_million_groups_in_a_gigabyte() {
    let lake = ThrowAway::with(CatalogKind::DuckDb, "memory_limit='1GB';threads=2").unwrap();
    lake.run(
        "CREATE TABLE lake.src AS SELECT i AS id, i % 10000000 AS g, (i * 37) % 1000 AS amount FROM range(20000000) t(i);
         CREATE DYNAMIC TABLE regrouped TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS
           SELECT g, max(amount) AS hi, sum(amount) AS total FROM src GROUP BY g;
         CREATE DYNAMIC TABLE folded TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS
           SELECT g, count(*) AS n, count(amount) AS c, sum(amount) AS total FROM src GROUP BY g;
         INSERT INTO lake.src SELECT 20000000 + i, i, 5000 FROM range(10000000) t(i);",
    )
    .unwrap();
    let reports: Vec<RefreshReport> = lake.refresh(&[]).unwrap();
    for report in &reports {
        assert_eq!(
            (report.action, report.rows_inserted),
            (Some(RefreshAction::Incremental), 10_000_000),
            "{report:?}"
        );
    }
    lake.verify().unwrap();
    // What DuckDB does not count (its threads' stacks, the allocator, decompressed pages in flight) comes on top.
    assert!(peak() < 2_500_000_000, "{} bytes", peak());
}
