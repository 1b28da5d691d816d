//! What the parts cost that need no lake: analysing a query, and finding out what is due among very many tables. `make bench-pure`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use incremental::Plan;
use jiff::Timestamp;
use scheduler::{Lag, Limits, Moment, Schedule, Table};
use testkit::rules::{TableOf, World};

const QUERIES: [(&str, &str); 5] = [
    ("filter", "SELECT id, k, v FROM lake.main.orders WHERE v > 10"),
    ("fold", "SELECT k, count(*) AS n, sum(v) AS v FROM lake.main.orders GROUP BY k"),
    (
        "join of 3, fold",
        "SELECT r.name, count(*) AS n, avg(o.v) AS v FROM lake.main.orders o JOIN lake.main.customers c ON o.k = c.id \
         JOIN lake.main.regions r ON c.region = r.id WHERE o.v > 3 GROUP BY r.name",
    ),
    (
        "window",
        "SELECT id, k, sum(v) OVER (PARTITION BY k ORDER BY id) AS running FROM lake.main.orders \
         QUALIFY row_number() OVER (PARTITION BY k ORDER BY id) < 4",
    ),
    (
        "subqueries",
        "WITH top AS (SELECT k, max(v) AS v FROM lake.main.orders GROUP BY k) SELECT c.id, c.region, top.v FROM lake.main.customers c \
         LEFT JOIN top ON top.k = c.id WHERE c.region IN (SELECT id FROM lake.main.regions WHERE name <> 'none') \
         AND NOT EXISTS (SELECT 1 FROM lake.main.orders o WHERE o.k = c.id AND o.v < 0)",
    ),
];

fn world() -> World {
    let mut world = World::new().unwrap();
    for (name, columns) in [
        ("orders", &[("id", "BIGINT"), ("k", "BIGINT"), ("v", "BIGINT")][..]),
        ("customers", &[("id", "BIGINT"), ("region", "BIGINT")]),
        ("regions", &[("id", "BIGINT"), ("name", "VARCHAR")]),
    ] {
        let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
        world.add(TableOf { name: name.to_owned(), columns }).unwrap();
    }
    world
}

fn analysis(criterion: &mut Criterion) {
    let world = world();
    let mut group = criterion.benchmark_group("analyse a query");
    for (name, text) in QUERIES {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let query = world.parser.parse(black_box(text)).unwrap();
                Plan::analyse(&query, &world, &world.parser, "lake", "main").unwrap()
            });
        });
    }
    group.finish();
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Chains of ten, of which every second one is due.
fn tables(count: usize) -> Vec<Table<usize>> {
    let table = |id: usize| {
        let lag = if id % 10 == 9 { Lag::Within(Duration::from_secs(300)) } else { Lag::Downstream };
        let mut table = Table::new(id, lag);
        table.upstream = if id.is_multiple_of(10) { Vec::new() } else { vec![id - 1] };
        table.data_timestamp = Some(at(if (id / 10).is_multiple_of(2) { 0 } else { 390 }));
        table.expected_duration = Duration::from_millis(50);
        table
    };
    (0..count).map(table).collect()
}

fn scheduling(criterion: &mut Criterion) {
    let moment = Moment::new(at(400), Duration::from_secs(5));
    let limits = Limits { most_tables: 64, longest: Duration::from_secs(5) };
    let mut group = criterion.benchmark_group("schedule");
    group.sample_size(20);
    for count in [1_000, 10_000] {
        let tables = tables(count);
        group.bench_with_input(BenchmarkId::new("know the tables", count), &tables, |bencher, tables| {
            bencher.iter(|| Schedule::new(tables.clone()).unwrap());
        });
        let schedule = Schedule::new(tables).unwrap();
        let due = schedule.due(&moment);
        assert_eq!(due.due.len(), count / 2);
        group.bench_with_input(BenchmarkId::new("what is due", count), &schedule, |bencher, schedule| {
            bencher.iter(|| schedule.due(black_box(&moment)));
        });
        group.bench_with_input(BenchmarkId::new("batches of it", count), &schedule, |bencher, schedule| {
            bencher.iter(|| schedule.batches(&due, black_box(&moment), &limits, &|_| false));
        });
    }
    group.finish();
}

criterion_group!(pure, analysis, scheduling);
criterion_main!(pure);
