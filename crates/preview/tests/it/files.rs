//! Previews of files and of a lake.

use connection::Kind;
use serde_json::json;

use crate::world::{World, create, options};

#[test]
fn files_of_a_folder_are_tables_and_nothing_beyond_it_is() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("data");
    std::fs::create_dir_all(inside.join("events")).unwrap();
    std::fs::write(inside.join("people.csv"), "id,name\n1,ann\n2,bob\n").unwrap();
    std::fs::write(inside.join("events").join("1.json"), "{\"a\":1}\n{\"a\":2}\n").unwrap();
    std::fs::write(folder.path().join("secret.csv"), "x\n42\n").unwrap();
    let files = create(&world.connections, "drop-zone", Kind::Files, &[("path", inside.to_str().unwrap())]);
    let preview = |table: &str, sql: Option<&str>| {
        world.preview(json!({ "source_id": files, "table_name": table, "sql": sql }))
    };
    assert_eq!(preview("people", None).data.get(), r#"[{"id":1,"name":"ann"},{"id":2,"name":"bob"}]"#);
    assert_eq!(preview("people.csv", None).row_count, 2);
    assert_eq!(preview("events", Some("SELECT sum(a) AS s FROM events")).data.get(), r#"[{"s":3}]"#);
    let joined = preview("people", Some("SELECT name FROM people JOIN events ON a = id ORDER BY 1"));
    assert_eq!(joined.data.get(), r#"[{"name":"ann"},{"name":"bob"}]"#);
    let filtered = json!({ "source_id": files, "table_name": "people", "filter_sql": "name LIKE 'b%'" });
    assert_eq!(world.rows(filtered), json!([{ "id": 2, "name": "bob" }]));
    for (table, sql) in [
        ("../secret", None),
        ("gone", None),
        ("people", Some("FROM \"../secret\"")),
        ("people", Some("FROM '/etc/passwd'")),
        ("people", Some("FROM \"*\"")),
        ("people", Some("FROM read_csv('people.csv')")),
        (".hidden", None),
    ] {
        let answer = preview(table, sql);
        assert!(answer.error.is_some(), "{table} {sql:?}: {}", answer.data.get());
    }
    world.previews.test("drop-zone").unwrap();
    std::fs::remove_dir_all(&inside).unwrap();
    assert!(world.previews.test("drop-zone").is_err());
}

#[test]
fn a_lake_is_a_source_as_well_and_its_own_tables_are_not() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = format!("ducklake:sqlite:{}", folder.path().join("lake.sqlite").display());
    let data_path = Some(format!("{}/", folder.path().join("data").display()));
    let extension_directory = options().extension_directory;
    let lake = lake::Lake::open(&lake::Options {
        path: path.clone(),
        data_path,
        extension_directory,
        ..lake::Options::default()
    });
    let session = lake.unwrap().session().unwrap();
    session.execute("CREATE TABLE t AS SELECT i AS a FROM range(1000) r(i)").unwrap();
    session.execute("CREATE SCHEMA s; CREATE TABLE s.u AS SELECT 7 AS b").unwrap();
    let number = create(&world.connections, "house", Kind::DuckLake, &[("path", &path)]);
    let preview = |sql: &str| world.preview(json!({ "source_id": number, "table_name": "t", "sql": sql }));
    assert_eq!(preview("SELECT sum(a) AS s, any_value(b) AS b FROM t, s.u").data.get(), r#"[{"s":499500,"b":7}]"#);
    assert_eq!(preview("SELECT count(*) AS n FROM t AT (VERSION => 1)").data.get(), r#"[{"n":1000}]"#);
    for sql in [
        "FROM __ducklake_metadata_pg_src_house.ducklake_metadata",
        "FROM __ducklake_metadata_pg_src_house.main.ducklake_metadata",
        "FROM ducklake_snapshots('pg_src_house')",
        "FROM pg_src_house.information_schema.tables",
    ] {
        assert_eq!(preview(sql).error_code.as_deref(), Some("PERMISSION"), "{sql}");
    }
    world.previews.test("house").unwrap();
    let gone =
        create(&world.connections, "gone", Kind::DuckLake, &[("path", "ducklake:sqlite:/nowhere/lake.sqlite")]);
    assert!(world.preview(json!({ "source_id": gone, "table_name": "t" })).error.is_some());
}
