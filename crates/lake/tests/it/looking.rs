//! Questions about one snapshot: they do not see what is committed meanwhile, and what does not bind does not end them.

use crate::place::{KINDS, Kind, Place};

#[test]
fn a_look_sees_one_snapshot() {
    for kind in KINDS {
        let place = Place::new(kind);
        let lake = place.open();
        let (session, others) = (lake.work_session().unwrap(), lake.session().unwrap());
        others.execute("CREATE TABLE t(a INTEGER)").unwrap();
        let look = session.look().unwrap();
        assert_eq!(look.describe("FROM lake.main.t").unwrap().len(), 1, "{kind:?}");
        others.execute("ALTER TABLE t ADD COLUMN b VARCHAR").unwrap();
        assert_eq!(look.describe("FROM lake.main.t").unwrap().len(), 1, "{kind:?}");
        drop(look);
        assert_eq!(session.look().unwrap().describe("FROM lake.main.t").unwrap().len(), 2, "{kind:?}");
    }
}

#[test]
fn what_does_not_bind_does_not_end_a_look() {
    for kind in KINDS {
        let place = Place::new(kind);
        let lake = place.open();
        let session = lake.work_session().unwrap();
        session.execute("CREATE TABLE lake.main.t(a INTEGER)").unwrap();
        let look = session.look().unwrap();
        // The last ones spoil the transaction that they are bound in.
        for query in
            ["SELECT b FROM lake.main.t", "FROM lake.main.u", "SELECT regexp_matches('a', '(')", "FROM 'x.csv'"]
        {
            assert!(look.describe(query).is_err(), "{kind:?}: {query}");
            let columns = look.describe("FROM lake.main.t").unwrap();
            assert_eq!(columns, [("a".to_owned(), "INTEGER".to_owned())], "{kind:?}: {query}");
        }
        drop(look);
        session.execute("BEGIN; ROLLBACK").unwrap();
    }
}

#[test]
fn what_was_read_is_told() {
    let place = Place::new(Kind::Sqlite);
    let lake = place.open();
    let session = lake.session().unwrap();
    session.execute("CREATE TABLE t (k INTEGER, v VARCHAR)").unwrap();
    for file in 0..6 {
        session.execute(&format!("INSERT INTO t SELECT {file} * 1000 + i, 'v' FROM range(1000) r(i)")).unwrap();
    }
    session.execute("CREATE TEMP TABLE keys AS SELECT 5000 + i AS k FROM range(0, 100, 7) r(i)").unwrap();
    session.execute("SELECT 1 FROM t").unwrap();
    assert!(session.take_scans().is_empty(), "nobody asked");
    session.watch_scans(true).unwrap();
    let join = |condition: &str| {
        session
            .create_as(&format!("CREATE OR REPLACE TEMP TABLE found AS SELECT t.* FROM t JOIN keys ON {condition}"))
            .unwrap()
    };
    assert_eq!(join("t.k = keys.k"), 15);
    let scan = session.take_scans().remove(0);
    assert_eq!((scan.table.as_str(), scan.files), ("t", 1));
    assert!(scan.rows < 1_000 && scan.filters.contains("k>=5000"), "{scan:?}");
    // What is compared like this is looked for everywhere, which is why it is not where nothing is NULL.
    assert_eq!(join("t.k IS NOT DISTINCT FROM keys.k"), 15);
    let scan = session.take_scans().remove(0);
    assert_eq!((scan.files, scan.rows, scan.filters.as_str()), (6, 6_000, ""));
    session.execute("DELETE FROM t WHERE k < 1500").unwrap();
    let scans = session.take_scans();
    assert!(scans.iter().any(|scan| scan.files == 2), "{scans:?}");
    session.watch_scans(false).unwrap();
    session.execute("SELECT 1 FROM t").unwrap();
    assert!(session.take_scans().is_empty());
}
