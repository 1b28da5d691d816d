//! Compaction rewrites files and changes no row, of whatever version, for whatever reader.

use lake::{Compaction, Lake, Session, WindowRule, at_sql};

use crate::place::{KINDS, Kind, Place, now, rows, table};

const ALL: Compaction = Compaction { flush: true, rewrite: true };

const ROWS: &str = "SELECT id, k, v FROM t";

/// A table that lies badly: many files, most with deleted rows, and rows in the catalog.
fn scattered(session: &Session) {
    session.execute("CREATE TABLE t AS SELECT i AS id, i % 7 AS k, 'v' || i AS v FROM range(500) r(i)").unwrap();
    for round in 0..12 {
        let width = if round % 3 == 0 { 4 } else { 40 };
        session
            .execute(&format!(
                "BEGIN; DELETE FROM t WHERE id % 12 = {round} AND id < {width} * 10; \
                 INSERT INTO t SELECT i, {round}, 'r' FROM range({width}) r(i); COMMIT"
            ))
            .unwrap();
    }
}

fn start(kind: Kind) -> (Place, Lake, Session) {
    let place = Place::new(kind);
    let lake = place.open();
    let session = lake.session().unwrap();
    scattered(&session);
    (place, lake, session)
}

fn at(session: &Session, version: i64) -> Vec<String> {
    let columns = ["id", "k", "v"].map(str::to_owned);
    rows(session, &format!("SELECT * FROM {}", at_sql("lake", &table("t"), &columns, Some(version))))
}

#[test]
fn compaction_leaves_few_files_and_every_row_where_it_was() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        let [first, before] = [now(&session) - 6, now(&session)];
        let (rows_first, rows_before) = (at(&session, first), at(&session, before));
        let stored = session.stored(&[table("t"), table("nothing")]).unwrap();
        assert_eq!(stored[1], None);
        let stored = stored[0].unwrap();
        assert!(stored.files > 5 && stored.deleted > 50 && stored.inlined > 10, "{kind:?} {stored:?}");
        session.compact(&table("t"), ALL).unwrap();
        let after = session.stored(&[table("t")]).unwrap()[0].unwrap();
        assert!(after.files <= 2, "{kind:?} {after:?}");
        assert_eq!((after.deleted, after.inlined), (0, 0), "{kind:?}");
        assert_eq!(after.rows, session.table(&table("t"), None).unwrap().unwrap().rows, "{kind:?}");
        assert_eq!(rows(&session, ROWS), rows_before, "{kind:?}");
        assert_eq!((at(&session, first), at(&session, before)), (rows_first, rows_before), "{kind:?}");
        // All that the lake says of it is that files were rewritten, and that it was us.
        let changes = session.changes_since(before).unwrap().changes;
        assert!(!changes.is_empty());
        assert!(
            changes.iter().all(|change| change.ours && change.kind == lake::ChangeKind::Compacted),
            "{changes:?}"
        );
        // There is nothing left to do, and so no commit.
        let version = now(&session);
        session.compact(&table("t"), ALL).unwrap();
        assert_eq!(now(&session), version, "{kind:?}");
    }
}

#[test]
fn a_window_that_begins_with_compaction_is_read_as_if_there_had_been_none() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        let from = now(&session);
        session.compact(&table("t"), ALL).unwrap();
        assert!(session.window(&table("t"), from, now(&session)).unwrap().is_unchanged(), "{kind:?}");
        session.execute("INSERT INTO t SELECT 1000 + i, 1, 'n' FROM range(50) r(i)").unwrap();
        let inserted = session.window(&table("t"), from, now(&session)).unwrap();
        assert_eq!((inserted.rule, inserted.inserted), (WindowRule::Insertions, 50), "{kind:?}");
        session.execute("DELETE FROM t WHERE id % 5 = 0; UPDATE t SET v = 'u' WHERE id % 5 = 1").unwrap();
        let changed = session.window(&table("t"), from, now(&session)).unwrap();
        assert_eq!(changed.rule, WindowRule::DistinctFeed, "{kind:?}");
        for window in [&inserted, &changed] {
            let columns = ["id", "k", "v"].map(str::to_owned);
            let end = |version: i64| at_sql("lake", &table("t"), &columns, Some(version));
            let wrong = format!(
                "SELECT count(*) FROM (SELECT sum(w) AS total FROM (SELECT *, 1 AS w FROM {} UNION ALL FROM ({}) \
                 UNION ALL SELECT *, -1 FROM {}) GROUP BY id, k, v HAVING total <> 0)",
                end(window.from),
                window.delta_sql(&columns, "w"),
                end(window.to)
            );
            assert_eq!(rows(&session, &wrong), ["0"], "{kind:?} {window:?}");
        }
        // What changed before it is told by the rule that is always right.
        session.compact(&table("t"), ALL).unwrap();
        let disturbed = session.window(&table("t"), from, now(&session)).unwrap();
        assert_eq!(disturbed.rule, WindowRule::CandidateRowIds, "{kind:?}");
    }
}

/// Rewriting by itself would make them miss rows: see decision 6.
#[test]
fn whoever_reads_older_versions_with_all_optimizations_sees_all_rows() {
    for kind in KINDS {
        let place = Place::new(kind);
        let lake = place.open();
        let session = lake.session().unwrap();
        session
            .execute("CREATE TABLE t AS SELECT i AS id, nullif(i % 9, 0) AS k, 'v' || i AS v FROM range(1000) r(i)")
            .unwrap();
        let version = now(&session);
        session.execute("DELETE FROM t WHERE id < 900 OR k IS NULL").unwrap();
        session.compact(&table("t"), ALL).unwrap();
        drop((session, lake));
        // Who has just opened the lake.
        let lake = place.open();
        let session = lake.session().unwrap();
        session.execute("SET disabled_optimizers = ''").unwrap();
        let of_old = |condition: &str| {
            let sql = format!("SELECT count(*) FROM lake.t AT (VERSION => {version}) WHERE {condition}");
            session.execute(&sql).unwrap();
            rows(&session, &sql)
        };
        assert_eq!(of_old("id < 100"), ["100"], "{kind:?}");
        assert_eq!(of_old("k IS NULL"), ["112"], "{kind:?}");
        assert_eq!(of_old("v < 'v2'"), ["112"], "{kind:?}");
    }
}

/// The number of files, and of row groups, that hold some of these ids.
fn holding(session: &Session, ids: &str) -> (usize, usize) {
    let files = rows(session, "SELECT data_file FROM ducklake_list_files('lake', 't')");
    let groups = |file: &String| {
        let sql = format!(
            "SELECT count(*) FROM parquet_metadata('{file}') WHERE path_in_schema = 'id' \
             AND stats_max_value::BIGINT >= (SELECT min(x) FROM range({ids}) r(x)) \
             AND stats_min_value::BIGINT <= (SELECT max(x) FROM range({ids}) r(x))"
        );
        rows(session, &sql)[0].parse::<usize>().unwrap()
    };
    let groups: Vec<usize> = files.iter().map(groups).collect();
    (groups.iter().filter(|groups| **groups > 0).count(), groups.iter().sum())
}

#[test]
fn a_sorted_table_is_written_and_compacted_in_its_order() {
    for kind in KINDS {
        let place = Place::new(kind);
        let lake = place.open();
        let session = lake.session().unwrap();
        let by = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>();
        session.execute("CALL lake.set_option('parquet_row_group_size', '2048')").unwrap();
        let scrambled = |from: u64| {
            format!("SELECT hash(i) % 20000 AS id, i % 7 AS k, 'v' || i AS v FROM range({from}, {from} + 10000) r(i)")
        };
        session.execute(&format!("CREATE TABLE t AS {}", scrambled(0))).unwrap();
        assert_eq!(holding(&session, "100, 200").1, 5, "{kind:?}: any group may hold any id");
        let before = now(&session);
        assert!(session.sort_by(&table("t"), &by(&["id", "k"])).unwrap());
        assert!(!session.sort_by(&table("T"), &by(&["ID", "k"])).unwrap(), "it is so already");
        assert_eq!(session.sorted_by(&[table("none"), table("t")]).unwrap(), [by(&[]), by(&["id", "k"])]);
        // What is said of it is that nothing happened to its rows, and the feed goes on across it.
        assert!(session.changes_since(before).unwrap().changes.is_empty(), "{kind:?}");
        assert!(session.window(&table("t"), before, now(&session)).unwrap().is_unchanged());
        assert_eq!(session.stored(&[table("t")]).unwrap()[0].unwrap().unsorted, 10_000);
        session.execute(&format!("INSERT INTO t {}", scrambled(10_000))).unwrap();
        let window = session.window(&table("t"), before, now(&session)).unwrap();
        assert_eq!((window.rule, window.inserted), (WindowRule::Insertions, 10_000));
        let came = window.delta_sql(&by(&["id", "k", "v"]), "w");
        assert_eq!(rows(&session, &format!("SELECT count(*), sum(w) FROM ({came})")), ["10000|10000"]);
        assert_eq!(holding(&session, "100, 200"), (2, 6), "{kind:?}: an insertion is sorted");
        let stored = rows(&session, ROWS);
        session.compact(&table("t"), ALL).unwrap();
        assert_eq!(rows(&session, ROWS), stored, "{kind:?}");
        assert_eq!(holding(&session, "100, 200"), (1, 1), "{kind:?}: and so is what is compacted");
        let after = session.stored(&[table("t")]).unwrap()[0].unwrap();
        assert_eq!((after.files, after.unsorted), (1, 0), "{kind:?}");
        assert!(session.sort_by(&table("t"), &[]).unwrap());
        assert_eq!(session.sorted_by(&[table("t")]).unwrap(), [by(&[])]);
        // Somebody else's order is not mistaken for one of columns.
        session.execute("ALTER TABLE t SET SORTED BY (lower(v), id DESC)").unwrap();
        assert_eq!(session.sorted_by(&[table("t")]).unwrap(), [by(&["lower(v)", "id DESC"])]);
    }
}
