//! What the lake's own records say: changes, tables, views.

use lake::ChangeKind;
use sql::names::TableName;

use crate::place::{KINDS, Place, now, rows, table};

#[test]
fn changes_name_what_happened_to_which_table() {
    for kind in KINDS {
        let place = Place::new(kind);
        let session = place.open().session().unwrap();
        let start = now(&session);
        session.execute("CREATE TABLE t (a INTEGER, b INTEGER)").unwrap();
        let id = session.table(&table("t"), None).unwrap().unwrap().id;
        let steps = [
            ("INSERT INTO t VALUES (1, 1)", vec![ChangeKind::Inserted]),
            ("INSERT INTO t SELECT i, i FROM range(100) r(i)", vec![ChangeKind::Inserted]),
            ("UPDATE t SET b = b + 1 WHERE a > 40", vec![ChangeKind::Inserted, ChangeKind::Deleted]),
            ("DELETE FROM t WHERE a < 50", vec![ChangeKind::Deleted]),
            ("ALTER TABLE t ADD COLUMN c INTEGER", vec![ChangeKind::Altered]),
            ("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)", vec![ChangeKind::Compacted]),
            ("DROP TABLE t", vec![ChangeKind::Dropped]),
        ];
        for (statement, expected) in steps {
            let before = now(&session);
            session.query(statement).unwrap();
            let changes = session.changes_since(before).unwrap();
            assert!(changes.changes.iter().all(|change| change.table_id == Some(id) && !change.ours), "{changes:?}");
            let mut kinds: Vec<ChangeKind> = changes.changes.iter().map(|change| change.kind).collect();
            kinds.dedup();
            let of = |kind: ChangeKind| kinds.contains(&kind);
            assert!(
                expected.iter().all(|kind| of(*kind)) && kinds.iter().all(|kind| expected.contains(kind)),
                "{kind:?} {statement}: {kinds:?}"
            );
        }
        let all = session.changes_since(start).unwrap();
        assert_eq!(all.changes[0].name, Some(("main".to_owned(), "t".to_owned())));
        assert_eq!(all.changes[0].kind, ChangeKind::Created);
        assert_eq!(all.current.id, now(&session));
        assert_eq!(session.changes_since(all.current.id).unwrap().changes, []);
        assert_eq!(all.oldest, 0);
        assert!(session.snapshot(all.current.id + 1).unwrap().is_none());
        assert!(session.snapshot(start).unwrap().unwrap().time <= all.current.time);
        session.query("CALL ducklake_expire_snapshots('lake', versions => [0, 1])").unwrap();
        let known = session.changes_since(start).unwrap();
        assert_eq!(known.oldest, 2);
        assert_eq!((known.changes[0].snapshot, known.changes[0].kind), (1, ChangeKind::Forgotten));
        assert!(known.changes[1..].iter().all(|change| change.kind != ChangeKind::Forgotten));
        assert!(session.snapshot(1).unwrap().is_none());
    }
}

#[test]
fn tables_as_they_are_and_were() {
    for kind in KINDS {
        let place = Place::new(kind);
        let session = place.open().session().unwrap();
        session.execute("CREATE SCHEMA \"odd, s\"; CREATE TABLE \"odd, s\".\"T 1\" (a INTEGER NOT NULL, s STRUCT(x INTEGER, y VARCHAR[]), d DECIMAL(10, 2))").unwrap();
        let before = now(&session);
        session.execute("ALTER TABLE \"odd, s\".\"T 1\" RENAME COLUMN a TO aa; ALTER TABLE \"odd, s\".\"T 1\" ADD COLUMN n BIGINT").unwrap();
        session.execute("INSERT INTO \"odd, s\".\"T 1\" SELECT i, NULL, 1, 2 FROM range(100) r(i)").unwrap();
        session.execute("INSERT INTO \"odd, s\".\"T 1\" VALUES (1, NULL, 1, 2)").unwrap();
        session.execute("DELETE FROM \"odd, s\".\"T 1\" WHERE aa < 50").unwrap();
        session
            .execute("CREATE VIEW v AS SELECT aa + 1 AS b FROM \"odd, s\".\"T 1\"; CREATE TABLE empty (x INTEGER)")
            .unwrap();

        let name = TableName::new("ODD, S", "t 1");
        let table_now = session.table(&name, None).unwrap().unwrap();
        assert_eq!((table_now.name.schema.as_str(), table_now.name.name.as_str()), ("odd, s", "T 1"));
        assert_eq!((table_now.rows, table_now.files), (50, 1), "{kind:?}");
        assert!(table_now.bytes > 0);
        let columns: Vec<(&str, &str, bool)> =
            table_now.columns.iter().map(|c| (c.name.as_str(), c.data_type.as_str(), c.nullable)).collect();
        assert_eq!(
            columns,
            [
                ("aa", "INTEGER", false),
                ("s", "STRUCT(x INTEGER, y VARCHAR[])", true),
                ("d", "DECIMAL(10,2)", true),
                ("n", "BIGINT", true),
            ]
        );
        let table_then = session.table(&name, Some(before)).unwrap().unwrap();
        assert_eq!(table_then.id, table_now.id);
        assert_eq!(table_then.columns.len(), 3);
        assert_eq!(table_then.columns[0].name, "a");
        assert_eq!(table_then.columns[0].column_id, table_now.columns[0].column_id);
        assert!(session.table(&name, Some(0)).unwrap().is_none());
        assert!(session.table(&table("v"), None).unwrap().is_none());

        let tables = session.tables().unwrap();
        assert_eq!(tables.len(), 2);
        assert!(tables.contains(&table_now), "{tables:?}");
        let view = session.view(&table("V")).unwrap().unwrap();
        assert_eq!(rows(&session, &format!("SELECT count(*) FROM ({view})")), ["50"]);
        assert!(session.view(&table("empty")).unwrap().is_none());
    }
}
