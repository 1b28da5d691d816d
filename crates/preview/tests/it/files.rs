//! Previews of files and of a lake.

use connection::Kind;
use serde_json::json;

use crate::world::{World, create};

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
