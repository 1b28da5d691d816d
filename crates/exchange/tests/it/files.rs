//! Files and folders of files become tables of the lake.

use crate::fixture::Fixture;

#[test]
fn files_of_every_form_become_tables_and_stay_what_they_are() {
    let fixture = Fixture::new();
    let zone = fixture.lake.directory().join("zone");
    let write = |name: &str, text: &str| std::fs::write(zone.join(name), text).unwrap();
    let copy = |query: &str, name: &str| {
        fixture.lake.others.execute(&format!("COPY ({query}) TO '{}'", zone.join(name).display())).unwrap();
    };
    write("people.csv", "id,name\n1,\"it's, me\"\n2,\n");
    write("events.jsonl", "{\"id\": 1, \"tags\": [\"a\"], \"o\": {\"x\": \"y\\\"\"}}\n{\"id\": 2}\n");
    std::fs::create_dir(zone.join("sales 2026")).unwrap();
    copy("SELECT range AS id, range * 1.5 AS amount FROM range(1000)", "sales 2026/a.parquet");
    assert_eq!(fixture.run("CREATE SOURCE people FROM zone.people KEY (id)").1, [2, 2, 0]);
    assert_eq!(fixture.run("CREATE SOURCE events FROM zone.\"events.jsonl\"").1, [2, 2, 0]);
    assert_eq!(fixture.run("CREATE SOURCE sales FROM zone.\"sales 2026\" KEY (id) CURSOR (id)").1, [1000, 1000, 0]);
    assert_eq!(fixture.here("SELECT id, name FROM people"), ["1|it's, me", "2|"]);
    assert_eq!(fixture.here("SELECT id, tags, o.x FROM events"), ["1|[a]|y\"", "2||"]);
    fixture.lake.run("CREATE DYNAMIC TABLE total TARGET_LAG = '1 hour' REFRESH_MODE = INCREMENTAL AS SELECT count(*) AS n, sum(amount) AS s FROM sales").unwrap();

    write("people.csv", "id,name\n1,\"it's, me\"\n3,c\n");
    assert_eq!(fixture.run("REFRESH SOURCE people").1, [2, 1, 1]);
    assert_eq!(fixture.run("REFRESH SOURCE events").1, [2, 0, 0]);
    // Another file, with a column more.
    copy("SELECT range AS id, 0.5 AS amount, 'n' AS note FROM range(1000, 1500)", "sales 2026/b.parquet");
    assert_eq!(fixture.run("REFRESH SOURCE sales"), ("COMPARE".to_owned(), [1500, 500, 0]));
    copy("SELECT range AS id, 0.5 AS amount, 'n' AS note FROM range(1500, 1600)", "sales 2026/c.parquet");
    let (action, [read, inserted, deleted]) = fixture.run("REFRESH SOURCE sales");
    assert_eq!((action.as_str(), inserted, deleted), ("CURSOR", 100, 0));
    // As far behind as is usual for numbers.
    assert_eq!(read, 1_101);
    let reports = fixture.lake.refresh(&["total"]).unwrap();
    assert_eq!(format!("{:?}", reports[0].action.unwrap()), "Incremental");
    fixture.lake.verify().unwrap();
    assert_eq!(fixture.here("SELECT n FROM total"), ["1600"]);
    std::fs::remove_dir_all(zone.join("sales 2026")).unwrap();
    let error = fixture.give("REFRESH SOURCE sales").unwrap_err();
    assert!(error.message().contains("there is no file or folder"), "{error}");
    assert_eq!(fixture.here("SELECT n FROM total"), ["1600"]);
}

#[test]
fn files_of_several_forms_under_one_name_are_not_guessed_at() {
    let fixture = Fixture::new();
    let zone = fixture.lake.directory().join("zone");
    std::fs::create_dir(zone.join("mixed")).unwrap();
    std::fs::write(zone.join("mixed/a.csv"), "id,v\n1,a\n2,b\n").unwrap();
    fixture.give("CREATE SOURCE mixed FROM zone.mixed").unwrap();
    let parquet = zone.join("mixed/b.parquet");
    fixture.lake.others.execute(&format!("COPY (SELECT 9 AS id, 'p' AS v) TO '{}'", parquet.display())).unwrap();
    let error = fixture.give("REFRESH SOURCE mixed").unwrap_err();
    assert!(error.message().contains("several things: mixed/*.parquet, mixed/*.csv"), "{error}");
    assert_eq!(fixture.here("FROM mixed"), ["1|a", "2|b"]);
}

#[test]
fn a_source_touches_no_table_that_it_has_not_made() {
    let fixture = Fixture::new();
    std::fs::write(fixture.lake.directory().join("zone/p.csv"), "id,v\n1,a\n").unwrap();
    fixture.give("CREATE SOURCE p FROM zone.p KEY (id)").unwrap();
    let refused = |text: &str, why: &str| {
        let error = fixture.lake.run(text).unwrap_err();
        assert!(error.message().contains(why), "{error}");
    };
    fixture.lake.run("DROP TABLE lake.p; CREATE TABLE lake.b AS SELECT 7 AS id").unwrap();
    refused("CREATE DYNAMIC TABLE p TARGET_LAG = '1 hour' AS SELECT id FROM b", "is the name of a source");
    fixture
        .lake
        .run("CREATE DYNAMIC TABLE d TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS SELECT id FROM b")
        .unwrap();
    refused("ALTER DYNAMIC TABLE d RENAME TO p", "is the name of a source");
    let error = fixture.give("CREATE SOURCE d FROM zone.p").unwrap_err();
    assert!(error.message().contains("is a dynamic table"), "{error}");
    // Somebody's own table.
    fixture.lake.run("CREATE TABLE lake.p AS SELECT 7::BIGINT AS id, 'mine' AS v").unwrap();
    for text in ["REFRESH SOURCE p", "REFRESH SOURCE p FULL"] {
        let error = fixture.give(text).unwrap_err();
        assert!(error.message().contains("is a table that the source has not made"), "{error}");
    }
    fixture.give("DROP SOURCE p").unwrap();
    assert_eq!(fixture.here("FROM p"), ["7|mine"]);
}
