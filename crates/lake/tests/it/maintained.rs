//! Publishing beside somebody's maintenance: what one of them deletes, the other does not bring back.

use std::time::Duration;

use lake::{Delete, Provenance, Publication, Session, TableChange, Watermark, WatermarkMove};

use crate::place::{KINDS, Kind, Place, rows, table};

const MERGE: &str = "CALL ducklake_merge_adjacent_files('lake')";
const REWRITE: &str = "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)";

fn mark(refresh: i64) -> Watermark {
    Watermark {
        table_id: "id".to_owned(),
        data_version: refresh,
        fingerprint: "f".to_owned(),
        refresh_id: format!("r{refresh}"),
        fence: refresh,
    }
}

/// Deletes three rows that lie in files, and inserts one.
fn deletion(session: &Session, from: i64, insert: &str) -> Publication {
    session
        .execute("CREATE OR REPLACE TEMP TABLE gone AS SELECT rowid AS r FROM dt WHERE a BETWEEN 10 AND 12")
        .unwrap();
    Publication {
        changes: vec![TableChange {
            table: table("dt"),
            statements: Vec::new(),
            delete: Delete::RowIds("SELECT r FROM gone".to_owned()),
            insert: Some(insert.to_owned()),
            to_file: false,
        }],
        watermarks: vec![WatermarkMove { expected: (from > 0).then(|| mark(from)), new: Some(mark(from + 1)) }],
        provenance: Provenance::default(),
        message: "refresh dt".to_owned(),
        ..Publication::default()
    }
}

/// A table in several files that have lost rows already, so that each kind of maintenance has something to do.
fn in_files(session: &Session) {
    for from in [0, 20, 40] {
        session.execute(&format!("INSERT INTO dt SELECT i FROM range({from}, {from} + 20) r(i)")).unwrap();
    }
    session.execute("DELETE FROM dt WHERE a IN (5, 45)").unwrap();
}

fn new_lake(kind: Kind) -> (Place, lake::Lake, Session) {
    let place = Place::new(kind);
    let lake = place.open();
    let session = lake.session().unwrap();
    session.execute("CREATE TABLE dt (a BIGINT)").unwrap();
    (place, lake, session)
}

/// What there must be after both came to their ends, whoever of them failed.
fn is_right(session: &Session, published: bool, context: &str) {
    let count = if published { 58 - 3 + 1 } else { 58 };
    assert_eq!(
        rows(session, "SELECT count(*), count(DISTINCT a) FROM dt"),
        [format!("{count}|{count}")],
        "{context}"
    );
    assert_eq!(session.watermarks().unwrap(), [mark(1 + i64::from(published))], "{context}");
}

#[test]
fn a_few_deleted_rows_do_not_come_back() {
    for kind in KINDS {
        for (maintenance, option) in [(MERGE, false), (REWRITE, false), (MERGE, true)] {
            // A writer of an SQLite catalog waits for the other one.
            if option && kind == Kind::Sqlite {
                continue;
            }
            let (place, lake, session) = new_lake(kind);
            if option {
                // The option of a lake counts more than what a session says; this instance may have opened it before.
                session.execute("CALL lake.set_option('data_inlining_row_limit', 15)").unwrap();
            }
            in_files(&session);
            let reopened = if option && kind == Kind::Postgres { place.open() } else { lake.clone() };
            let (publisher, other) = (reopened.session().unwrap(), lake.session().unwrap());
            publisher.publish(&Publication { changes: Vec::new(), ..deletion(&publisher, 0, "") }).unwrap();
            let context = format!("{kind:?} option {option} {maintenance}");

            // Maintenance is open when the rows are deleted.
            other.execute("BEGIN").unwrap();
            let began = other.execute(maintenance);
            let published = publisher.publish(&deletion(&publisher, 1, "SELECT 1000")).is_ok();
            if began.is_err() || other.execute("COMMIT").is_err() {
                other.execute("ROLLBACK").ok();
            }
            is_right(&session, published, &context);
            if published {
                continue;
            }
            // It comes and goes while the publication is open.
            let slow = "SELECT 1000 WHERE (SELECT count(*) FROM range(20000000) r(i) WHERE i % 7 = 3) > 0";
            session.execute("INSERT INTO dt SELECT 2000; DELETE FROM dt WHERE a = 2000").unwrap();
            let published = std::thread::scope(|scope| {
                let publication = deletion(&publisher, 1, slow);
                let publishing = scope.spawn(move || publisher.publish(&publication).is_ok());
                std::thread::sleep(Duration::from_millis(100));
                other.execute(maintenance).ok();
                publishing.join().unwrap()
            });
            is_right(&session, published, &format!("{context}, in between"));
        }
    }
}

#[test]
fn watermarks_that_were_flushed_come_back_to_the_catalog() {
    for kind in KINDS {
        let (_place, _lake, session) = new_lake(kind);
        in_files(&session);
        let files = "SELECT sum(file_count) FROM ducklake_table_info('lake') WHERE table_name = 'watermarks'";
        session.publish(&Publication { changes: Vec::new(), ..deletion(&session, 0, "") }).unwrap();
        session.query("CALL ducklake_flush_inlined_data('lake')").unwrap();
        assert_eq!(rows(&session, files), ["1"], "{kind:?}");
        session.publish(&deletion(&session, 1, "SELECT 1000")).unwrap();
        is_right(&session, true, &format!("{kind:?}"));
        assert_eq!(rows(&session, files), ["0"], "{kind:?}");
        // And they stay there.
        session.publish(&Publication { changes: Vec::new(), ..deletion(&session, 2, "") }).unwrap();
        assert_eq!(rows(&session, files), ["0"], "{kind:?}");
        assert_eq!(session.watermarks().unwrap(), [mark(3)], "{kind:?}");
    }
}
