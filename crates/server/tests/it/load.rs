//! Many tables, many readers.

use std::time::Instant;

use crate::client::{ORDERS, Served};

/// Prints what it measures; the bound that must hold is that of a program that is not optimised.
#[test]
fn a_thousand_tables_are_listed_for_two_hundred_readers() {
    let served = Served::new();
    served.lake.run(ORDERS).unwrap();
    let count = std::env::var("SERVE_TABLES").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    let create = |number| {
        format!(
            "CREATE DYNAMIC TABLE t{number} TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS SELECT count(*) AS n FROM orders"
        )
    };
    let statements: Vec<String> = (0..count).map(create).collect();
    served.lake.run(&statements.join(";")).unwrap();
    let client = served.client;
    let ask = || {
        let began = Instant::now();
        let answer = client.get("/api/v1/dynamic-tables");
        assert_eq!(answer.json().as_array().unwrap().len(), count);
        began.elapsed()
    };
    let mut alone: Vec<_> = (0..21).map(|_| ask()).collect();
    let mut together: Vec<_> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..200).map(|_| scope.spawn(ask)).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    alone.sort();
    together.sort();
    let (alone, together) = (alone[10], together[100]);
    println!("{count} tables: {alone:?} at the median for one reader, {together:?} for 200 at once");
    assert!(alone.as_secs_f64() < 5.0 && together.as_secs_f64() < 20.0);
}
