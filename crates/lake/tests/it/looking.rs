//! Questions about one snapshot: they do not see what is committed meanwhile, and what does not bind does not end them.

use crate::place::{KINDS, Place};

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
