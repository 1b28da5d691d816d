//! Publishing: all or nothing, fenced by watermarks, told by provenance.

use error::{Code, Error};
use lake::{Delete, Provenance, ProvenanceEntry, Publication, Session, TableChange, Watermark, WatermarkMove};

use crate::place::{KINDS, Kind, Place, now, rows, table};

fn watermark(table_id: &str, refresh: u32) -> Watermark {
    Watermark {
        table_id: table_id.to_owned(),
        data_version: i64::from(refresh),
        fingerprint: "f'1".to_owned(),
        refresh_id: format!("r{refresh}"),
        fence: i64::from(refresh),
    }
}

/// The refresh of one table that appends one row.
fn append(table_id: &str, from: Option<u32>, to: u32) -> Publication {
    Publication {
        changes: vec![TableChange {
            table: table("dt"),
            statements: Vec::new(),
            delete: Delete::None,
            columns: vec!["a".to_owned(), "s".to_owned()],
            insert: Some(format!("SELECT {to}, 'new'")),
            to_file: false,
        }],
        watermarks: vec![WatermarkMove {
            expected: from.map(|from| watermark(table_id, from)),
            new: Some(watermark(table_id, to)),
        }],
        provenance: Provenance {
            refreshes: vec![ProvenanceEntry {
                table_id: table_id.to_owned(),
                schema: "main".to_owned(),
                name: "dt".to_owned(),
                data_version: i64::from(to),
                fingerprint: "f'1".to_owned(),
                refresh_id: format!("r{table_id}{to}"),
            }],
            compacted: Vec::new(),
        },
        message: "refresh dt's rows".to_owned(),
        ..Publication::default()
    }
}

fn new_lake(kind: Kind) -> (Place, lake::Lake, Session) {
    let place = Place::new(kind);
    let lake = place.open();
    let session = lake.session().unwrap();
    (place, lake, session)
}

#[test]
fn one_commit_moves_rows_watermark_and_provenance() {
    for kind in KINDS {
        let (_place, _lake, session) = new_lake(kind);
        assert_eq!(session.watermarks().unwrap(), []);
        let start = now(&session);
        let mut first = append("id", None, 1);
        first.statements_before = vec!["CREATE TABLE lake.main.dt (a INTEGER, s VARCHAR)".to_owned()];
        first.changes[0].insert = Some("SELECT i, 'old' FROM range(100) r(i)".to_owned());
        let snapshot = session.publish(&first).unwrap().snapshot;
        assert_eq!(session.current_snapshot().unwrap(), snapshot);
        assert_eq!(session.watermarks().unwrap(), [watermark("id", 1)]);

        session.execute("CREATE TEMP TABLE gone AS SELECT rowid AS r FROM dt WHERE a % 2 = 0").unwrap();
        let mut second = append("id", Some(1), 2);
        second.changes[0].delete = Delete::RowIds("SELECT r FROM gone -- the even ones".to_owned());
        let snapshot = session.publish(&second).unwrap().snapshot;
        assert_eq!(rows(&session, "SELECT s, count(*) FROM dt GROUP BY s"), ["new|1", "old|50"]);
        let told = session.provenance_since(start).unwrap();
        // The commit that creates the table of watermarks is ours as well, and publishes nothing.
        assert_eq!(told.len(), 3);
        assert_eq!(told[0].2.refreshes, []);
        assert_eq!((told[2].0, told[2].1, &told[2].2), (snapshot.id, snapshot.time, &second.provenance));
        assert!(session.changes_since(snapshot.id - 1).unwrap().changes.iter().all(|change| change.ours));
        let said = format!(
            "SELECT author, commit_message FROM ducklake_snapshots('lake') WHERE snapshot_id = {}",
            snapshot.id
        );
        assert_eq!(rows(&session, &said), ["dynamic-tables|refresh dt's rows"]);

        let mut third = append("id", Some(2), 3);
        third.changes[0].delete = Delete::All;
        session.publish(&third).unwrap();
        assert_eq!(rows(&session, "FROM dt"), ["3|new"]);
        let mut last = append("id", Some(3), 4);
        last.changes.clear();
        last.watermarks[0].new = None;
        session.publish(&last).unwrap();
        assert_eq!(session.watermarks().unwrap(), []);
        assert_eq!(rows(&session, "FROM dt"), ["3|new"]);
    }
}

#[test]
fn a_watermark_that_moved_stops_the_publication() {
    for kind in KINDS {
        let (_place, _lake, session) = new_lake(kind);
        session.execute("CREATE TABLE dt (a INTEGER, s VARCHAR)").unwrap();
        session.publish(&append("id", None, 1)).unwrap();
        session.publish(&append("id", Some(1), 2)).unwrap();
        let before = (now(&session), rows(&session, "FROM dt"));
        let removal = {
            let mut removal = append("id", Some(1), 3);
            removal.watermarks[0].new = None;
            removal
        };
        for stale in [
            append("id", Some(1), 3),
            append("id", None, 3),
            append("other", Some(1), 3),
            append("id", Some(2), 1),
            removal,
        ] {
            let error = Error::from(session.publish(&stale).unwrap_err());
            assert_eq!((error.code(), error.is_transient()), (Code::Conflict, false), "{error}");
        }
        assert_eq!((now(&session), rows(&session, "FROM dt")), before);
    }
}

#[test]
fn a_failure_leaves_nothing_half_done() {
    for kind in KINDS {
        let (_place, _lake, session) = new_lake(kind);
        session.execute("CREATE TABLE dt (a INTEGER, s VARCHAR)").unwrap();
        session.publish(&append("id", None, 1)).unwrap();
        let before = (now(&session), rows(&session, "FROM dt"), session.watermarks().unwrap());
        for insert in ["SELECT 'no number', 's'", "SELECT a FROM missing", "SELECT 1"] {
            let mut failing = append("id", Some(1), 2);
            failing.statements_before = vec!["CREATE TABLE lake.main.half (a INTEGER)".to_owned()];
            failing.changes.push(TableChange {
                table: table("dt"),
                statements: Vec::new(),
                delete: Delete::All,
                columns: vec!["a".to_owned(), "s".to_owned()],
                insert: Some(insert.to_owned()),
                to_file: false,
            });
            let error = Error::from(session.publish(&failing).unwrap_err());
            assert_eq!(error.code(), Code::Query, "{error}");
        }
        assert_eq!((now(&session), rows(&session, "FROM dt"), session.watermarks().unwrap()), before);
        // And the session goes on.
        session.publish(&append("id", Some(1), 2)).unwrap();
    }
}

/// Two publishers of the same table at the same moment, each on an instance of its own where the catalog allows it:
/// however they race, exactly one wins.
fn race(kind: Kind, from: Option<u32>) {
    let (place, lake, session) = new_lake(kind);
    session.execute("CREATE TABLE dt (a INTEGER, s VARCHAR)").unwrap();
    // Another table's watermark, so that the table of watermarks exists.
    session.publish(&append("other", None, 1)).unwrap();
    if let Some(from) = from {
        session.publish(&append("id", None, from)).unwrap();
    }
    let before: usize = rows(&session, "FROM dt").len();
    let other = if kind == Kind::DuckDb { lake.clone() } else { place.open() };
    let sessions = [lake.session().unwrap(), other.session().unwrap()];
    let results: Vec<_> = std::thread::scope(|scope| {
        let publishers: Vec<_> = sessions
            .into_iter()
            .enumerate()
            .map(|(index, session)| {
                scope.spawn(move || {
                    let publication = append("id", from, 10 + u32::try_from(index).unwrap());
                    // The caller's part: a transient conflict is tried again.
                    loop {
                        match session.publish(&publication).map_err(Error::from) {
                            Err(error) if error.is_transient() => {}
                            other => return other,
                        }
                    }
                })
            })
            .collect();
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{kind:?} {from:?} {results:?}");
    let lost = results.into_iter().find_map(Result::err).unwrap();
    assert_eq!((lost.code(), lost.is_transient()), (Code::Conflict, false), "{lost}");
    assert_eq!(rows(&session, "FROM dt").len(), before + 1);
    assert_eq!(session.watermarks().unwrap().len(), 2);
}

#[test]
fn of_two_publishers_one_wins() {
    for kind in KINDS {
        race(kind, Some(1));
        race(kind, None);
    }
}

#[test]
fn appends_alone_would_both_commit() {
    // Why there are watermarks: without one, two open transactions that append to the same table both commit.
    for kind in [Kind::DuckDb, Kind::Postgres] {
        let (_place, lake, one) = new_lake(kind);
        one.execute("CREATE TABLE dt (a INTEGER); CREATE TABLE wm (v INTEGER); INSERT INTO wm VALUES (1)").unwrap();
        let two = lake.session().unwrap();
        for (statement, both) in [("INSERT INTO dt VALUES (1)", true), ("UPDATE wm SET v = v + 1", false)] {
            for session in [&one, &two] {
                session.execute("BEGIN").unwrap();
                session.execute(statement).unwrap();
            }
            one.execute("COMMIT").unwrap();
            let second = two.execute("COMMIT");
            assert_eq!(second.is_ok(), both, "{kind:?} {second:?}");
            if let Err(error) = second {
                assert_eq!((error.code(), error.is_transient()), (Code::Conflict, true), "{error}");
            }
        }
    }
}

#[test]
fn the_watermarks_are_created_once() {
    for kind in KINDS {
        let (place, lake, session) = new_lake(kind);
        session.execute("CREATE TABLE dt (a INTEGER, s VARCHAR)").unwrap();
        session.publish(&append("a", None, 1)).unwrap();
        let after_first = now(&session);
        session.publish(&append("b", None, 1)).unwrap();
        assert_eq!(now(&session), after_first + 1);
        drop((session, lake));
        let again = place.open().session().unwrap();
        again.publish(&append("c", None, 1)).unwrap();
        assert_eq!(now(&again), after_first + 2);
        assert_eq!(again.watermarks().unwrap().len(), 3);
        // They cost no file.
        let files =
            again.table(&sql::names::TableName::new("__dynamic_tables", "watermarks"), None).unwrap().unwrap().files;
        assert_eq!(files, 0, "{kind:?}");
    }
}
