//! Every type of the engine as JSON.

use serde_json::json;

use crate::world::World;

#[test]
fn every_type_is_written_exactly() {
    let world = World::new();
    let cases = [
        ("NULL", "null"),
        ("true", "true"),
        ("(-128)::TINYINT", "-128"),
        ("255::UTINYINT", "255"),
        ("9223372036854775807", "9223372036854775807"),
        ("18446744073709551615::UBIGINT", "18446744073709551615"),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
        ("(-170141183460469231731687303715884105727)::HUGEINT", "-170141183460469231731687303715884105727"),
        ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"),
        ("1.10::DECIMAL(4,2)", "1.10"),
        ("(-0.05)::DECIMAL(4,2)", "-0.05"),
        ("12345678901234567890123456789012345678::DECIMAL(38,0)", "12345678901234567890123456789012345678"),
        ("0.1::FLOAT", "0.1"),
        ("0.1::DOUBLE", "0.1"),
        ("1e300::DOUBLE", "1e300"),
        ("'NaN'::DOUBLE", "\"NaN\""),
        ("'-inf'::FLOAT", "\"-Infinity\""),
        ("DATE '2024-02-29'", "\"2024-02-29\""),
        ("'infinity'::DATE", "\"infinity\""),
        ("DATE '0044-03-15 (BC)'", "\"-000043-03-15\""),
        ("TIME '12:34:56.7'", "\"12:34:56.7\""),
        ("'12:34:56+02'::TIMETZ", "\"12:34:56+02\""),
        ("TIMESTAMP '2024-01-02 03:04:05.678901'", "\"2024-01-02T03:04:05.678901\""),
        ("TIMESTAMP_S '2024-01-02 03:04:05'", "\"2024-01-02T03:04:05\""),
        ("TIMESTAMP_MS '2024-01-02 03:04:05.5'", "\"2024-01-02T03:04:05.5\""),
        ("TIMESTAMP_NS '2024-01-02 03:04:05.123456789'", "\"2024-01-02T03:04:05.123456789\""),
        ("TIMESTAMPTZ '2024-01-02 03:04:05+01'", "\"2024-01-02T02:04:05+00:00\""),
        ("'-infinity'::TIMESTAMP", "\"-infinity\""),
        ("INTERVAL '1 year 2 months 3 days 04:05:06.7'", "\"1 year 2 months 3 days 04:05:06.7\""),
        ("'\\x00\\xFFa'::BLOB", "\"AP9h\""),
        ("'0101'::BIT", "\"0101\""),
        ("'a\"b\\c\u{1}é'", "\"a\\\"b\\\\c\\u0001é\""),
        ("'6f9619ff-8b86-d011-b42d-00cf4fc964ff'::UUID", "\"6f9619ff-8b86-d011-b42d-00cf4fc964ff\""),
        ("'x'::ENUM('x','y')", "\"x\""),
        ("'{\"a\": 1}'::JSON", "\"{\\\"a\\\": 1}\""),
        ("[1.5::DECIMAL(2,1), NULL]", "[1.5,null]"),
        ("[DATE '2024-01-01']", "[\"2024-01-01\"]"),
        ("[[1], []]", "[[1],[]]"),
        ("array_value(1, 2)", "[1,2]"),
        (
            "{'a': 9007199254740993, 'b': 'x'::BLOB, 'c': 'NaN'::DOUBLE}",
            "{\"a\":9007199254740993,\"b\":\"eA==\",\"c\":\"NaN\"}",
        ),
        ("MAP {'k': 1}", "{\"k\":1}"),
        ("MAP {1: DATE '2024-01-01'}", "[{\"key\":1,\"value\":\"2024-01-01\"}]"),
        ("union_value(num := 2)", "\"2\""),
        ("[170141183460469231731687303715884105727::HUGEINT]", "[170141183460469231731687303715884105727]"),
        ("[TIMESTAMP '2024-01-02 03:04:05']", "[\"2024-01-02T03:04:05\"]"),
        ("[INTERVAL '1 day']", "[\"0 months 1 days 0 microseconds\"]"),
        ("['x'::ENUM('x','y')]", "[\"x\"]"),
        ("['6f9619ff-8b86-d011-b42d-00cf4fc964ff'::UUID]", "[\"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"]"),
    ];
    let list: Vec<String> = cases.iter().zip(0..).map(|((sql, _), number)| format!("{sql} AS c{number}")).collect();
    let answer = world.preview(json!({ "sql": format!("SELECT {}", list.join(", ")) }));
    assert_eq!(answer.error, None);
    let expected: Vec<String> =
        cases.iter().zip(0..).map(|((_, json), number)| format!("\"c{number}\":{json}")).collect();
    let data = answer.data.get();
    for ((sql, _), expected) in cases.iter().zip(&expected) {
        assert!(data.contains(expected.as_str()), "{sql}: no {expected} in {data}");
    }
    assert_eq!(data, format!("[{{{}}}]", expected.join(",")));
    // It is JSON for whoever reads it.
    serde_json::from_str::<serde_json::Value>(data).unwrap();
}

#[test]
fn what_a_double_would_lose_is_text_where_that_is_asked_for() {
    let world = World::new();
    let sql =
        "SELECT 9007199254740993 AS a, 1.10::DECIMAL(4,2) AS b, 5 AS c, [9007199254740993] AS d, 2::HUGEINT AS e";
    let answer = world.preview(json!({ "sql": sql, "numbers": "text" }));
    assert_eq!(answer.data.get(), r#"[{"a":"9007199254740993","b":"1.10","c":5,"d":["9007199254740993"],"e":2}]"#);
    assert_eq!(answer.column_types, ["number", "number", "number", "text", "number"]);
}

#[test]
fn results_that_are_too_large_are_refused() {
    let world = World::new();
    let columns: Vec<String> = (0..10_000).map(|number| format!("{number} AS c{number}")).collect();
    let wide = world.preview(json!({ "sql": format!("SELECT {}", columns.join(", ")) }));
    assert!(wide.error.unwrap().contains("10000 columns"));
    let long = world.preview(json!({ "sql": "SELECT repeat('x', 70000000) AS a" }));
    assert!(long.error.unwrap().contains("larger than 64 MiB"));
    let longer = world.preview(json!({ "sql": "SELECT repeat('x', 1000000000) AS a" }));
    assert!(longer.error.is_some());
    assert_eq!(world.rows(json!({ "sql": "SELECT 1 AS a WHERE false" })), json!([]));
}
