//! Ways in that are none: each statement is refused or fails, and in no answer is what it was after.

use std::time::Duration;

use preview::Options;
use serde_json::json;
use testkit::postgres::PASSWORD;

use crate::world::{World, options};

/// One of each way; all of them meet the walls one by one in the tests within the crate.
const REFUSED: [&str; 10] = [
    "ATTACH 'x.db' AS y",
    "SET GLOBAL lock_configuration = false",
    "FROM '/etc/passwd'",
    "SELECT * FROM \"/etc/passwd.csv\"",
    "WITH x AS (FROM read_text('/etc/passwd')) SELECT * FROM x",
    "SELECT * FROM postgres_query('pg_src_crm', 'SELECT 1')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT getenv('HOME')",
    "SELECT * FROM pg_src_crm.pg_catalog.pg_authid",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
];

#[test]
fn what_is_no_preview_is_refused() {
    let world = World::new();
    for text in REFUSED {
        let answer = world.preview(json!({ "sql": text }));
        let shown = serde_json::to_string(&answer).unwrap();
        assert!(answer.error.is_some(), "{text} gives {shown}");
        for after in ["root:", PASSWORD, "host=127", "/tmp/dynamic-tables-preview"] {
            assert!(!shown.contains(after), "{text}: {shown}");
        }
    }
    let replace = "SELECT * REPLACE (replace(customer, 'c', 'drop') AS customer) FROM orders -- DELETE";
    assert_eq!(world.preview(json!({ "sql": replace })).error, None);
    assert_eq!(world.psql("SELECT count(*) FROM orders"), "1000");
}

#[test]
fn letters_that_only_look_alike_are_no_way_around() {
    let world = World::new();
    for text in [
        "SELECT * FROM read_te\u{445}t('/etc/passwd')",
        "SELECT * FROM read_text\u{200b}('/etc/passwd')",
        "SELECT\u{a0}*\u{a0}FROM\u{a0}read_text('/etc/passwd')",
        "SELECT 1\u{37e} SELECT 2",
        "SELECT 1 --\u{2028}; DROP TABLE orders",
        "SELECT 1\0; DROP TABLE orders",
    ] {
        let answer = world.preview(json!({ "sql": text }));
        assert!(!answer.data.get().contains("root:"), "{text}");
        assert!(answer.error.is_some() || answer.data.get() == "[{\"1\":1}]", "{text:?}: {}", answer.data.get());
    }
    assert_eq!(world.psql("SELECT count(*) FROM orders"), "1000");
}

#[test]
fn what_takes_everything_takes_what_it_may() {
    let limits = Options {
        soft_limit: Duration::from_millis(1_000),
        hard_limit: Duration::from_secs(4),
        memory: ("128MB".to_owned(), 128_000_000),
        concurrency: 2,
        ..options()
    };
    let world = World::with(limits);
    let bombs = [
        "SELECT count(*) FROM range(1000000000) a, range(1000000000) b, range(1000000000) c",
        "WITH RECURSIVE r AS (SELECT 'x' AS a UNION ALL SELECT a || a FROM r) SELECT max(length(a)) FROM r",
        "SELECT length(repeat(repeat(repeat('x', 100000), 100000), 100000))",
        "SELECT list_sum(list_transform(range(100000000), x -> length(repeat('y', 1000000))))",
        "SELECT count(DISTINCT md5(a::VARCHAR)) FROM range(1000000000) t(a)",
        "SELECT regexp_matches(repeat('a', 1000000), '(((a{1,100}){1,100}){1,100})')",
        "SELECT factorial(100000)",
    ];
    std::thread::scope(|scope| {
        for part in bombs.chunks(bombs.len().div_ceil(2)) {
            let world = &world;
            scope.spawn(move || {
                for text in part {
                    let answer = world.preview(json!({ "sql": text }));
                    assert!(
                        answer.error.is_some(),
                        "{text}: {}",
                        &answer.data.get()[..100.min(answer.data.get().len())]
                    );
                }
            });
        }
    });
    // Nothing is left running.
    assert_eq!(world.previews.figures().in_use, 0);
}
