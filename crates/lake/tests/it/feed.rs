//! A change window gives the right change, and the raw feed of DuckLake does not.
//!
//! The oracle is time travel: the rows at the start plus the window's change are the rows at its end. The scripts
//! of random changes take their seed from `FEED_SEED` and run for `FEED_SECONDS` each.

use std::time::{Duration, Instant};

use lake::{Break, Session, Window, WindowRule, at_sql};

use crate::place::{KINDS, Kind, Place, now, rows, table};
use crate::random_changes::{Script, apply};

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// How many rows are wrong if `delta` (of the columns and `w`) is added to the table's old rows.
fn wrong_rows(session: &Session, delta: &str, names: &[&str], from: i64, to: i64) -> i64 {
    let list = names.join(", ");
    let (group, all) =
        if names.is_empty() { ("one", "1 AS one, ".to_owned()) } else { (list.as_str(), format!("{list}, ")) };
    let end = |version: i64| at_sql("lake", &table("t"), &columns(names), Some(version));
    let sql = format!(
        "SELECT count(*) FROM (SELECT sum(w) AS total FROM (\
           SELECT {all}1 AS w FROM {} UNION ALL SELECT {all}w FROM ({delta}) UNION ALL SELECT {all}-1 FROM {}\
         ) GROUP BY {group} HAVING total <> 0)",
        end(from),
        end(to),
    );
    rows(session, &sql)[0].parse().unwrap()
}

/// The feed as it is.
fn raw(from: i64, to: i64) -> String {
    let feed = |feed: &str| format!("ducklake_table_{feed}('lake', 'main', 't', {}, {to})", from + 1);
    format!(
        "SELECT id, k, v, 1 AS w FROM {} UNION ALL SELECT id, k, v, -1 FROM {}",
        feed("insertions"),
        feed("deletions")
    )
}

/// The window's change is right: of all columns, of some and of none, and without rows that did not change.
fn check(session: &Session, window: &Window) {
    for names in [&["id", "k", "v"][..], &["k"], &[]] {
        let delta = window.delta_sql(&columns(names), "w");
        let wrong = wrong_rows(session, &delta, names, window.from, window.to);
        assert_eq!(wrong, 0, "{names:?} {window:?}\n{delta}");
    }
    if !matches!(window.rule, WindowRule::Broken(_)) {
        let mut whole = window.clone();
        whole.rule = WindowRule::BothEnds;
        let whole = whole.delta_sql(&columns(&["k"]), "w");
        assert_eq!(wrong_rows(session, &whole, &["k"], window.from, window.to), 0, "{window:?}\n{whole}");
    }
    let with_row_id = window.delta_with_row_id_sql("r", &columns(&["id", "k", "v"]), "w");
    let vain = format!(
        "SELECT count(*) FROM (SELECT r FROM ({with_row_id}) GROUP BY r, id, k, v HAVING count(*) > 1 OR sum(w) NOT IN (1, -1))"
    );
    assert_eq!(rows(session, &vain), ["0"], "{window:?}");
}

fn start(kind: Kind) -> (Place, lake::Lake, Session) {
    let place = Place::new(kind);
    let lake = place.open();
    let session = lake.session().unwrap();
    session.execute("CREATE TABLE t (id INTEGER, k INTEGER, v VARCHAR)").unwrap();
    (place, lake, session)
}

/// Of an SQLite catalog one statement can see the lists of deleted rows from before and from after a commit.
#[test]
fn a_feed_beside_deletions_is_read_again_and_in_the_end_not_at_all() {
    for (deletions, readings, rule) in
        [(0, 1, WindowRule::DistinctFeed), (2, 3, WindowRule::DistinctFeed), (99, 7, WindowRule::BothEnds)]
    {
        let (_place, lake, session) = start(Kind::Sqlite);
        session.execute("CALL lake.set_option('data_inlining_row_limit', 0)").unwrap();
        session.execute(FILL).unwrap();
        session.execute("DELETE FROM t WHERE id = 0").unwrap();
        let from = now(&session);
        session.execute("DELETE FROM t WHERE id = 1").unwrap();
        session.execute("UPDATE t SET v = 'u' WHERE id = 2").unwrap();
        let window = session.window(&table("t"), from, now(&session)).unwrap();
        assert_eq!(window.rule, WindowRule::DistinctFeed);
        let writer = lake.session().unwrap();
        let mut read = 0;
        let last = session
            .read_in_peace(&window, |window| {
                if read < deletions {
                    writer.execute(&format!("DELETE FROM t WHERE id = {}", read + 10)).unwrap();
                }
                read += 1;
                Ok(window.clone())
            })
            .unwrap();
        assert_eq!((read, last.rule), (readings, rule));
        check(&session, &last);
    }
}

#[test]
fn maintenance_beside_a_read_of_an_sqlite_catalog_makes_it_doubtful() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute("CREATE TABLE other AS SELECT 1 AS a").unwrap();
        session.execute(FILL).unwrap();
        let since = now(&session);
        let whole = |name: &str| session.reading_holds(&[], since, || vec![table(name)]).unwrap();
        session.execute("INSERT INTO t VALUES (100, 1, 'few')").unwrap();
        assert!(whole("t"));
        session.execute("CALL ducklake_flush_inlined_data('lake', table_name => 't')").unwrap();
        assert_eq!(whole("t"), !matches!(kind, Kind::Sqlite), "{kind:?}");
        assert!(whole("other"));
    }
}

const FILL: &str = "INSERT INTO t SELECT i, i % 5, 'v' FROM range(30) r(i)";

#[test]
fn the_raw_feed_repeats_rows_deleted_in_one_transaction() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute("CALL lake.set_option('data_inlining_row_limit', 0)").unwrap();
        session.execute(FILL).unwrap();
        let from = now(&session);
        session
            .execute(
                "BEGIN; UPDATE t SET v = v || 'u' WHERE id % 2 = 0; UPDATE t SET v = v || 'u' WHERE id % 5 = 0; \
                 DELETE FROM t WHERE id % 2 = 1; COMMIT",
            )
            .unwrap();
        let to = now(&session);
        let window = session.window(&table("t"), from, to).unwrap();
        assert_eq!(window.rule, WindowRule::DistinctFeed);
        check(&session, &window);
        let wrong = wrong_rows(&session, &raw(from, to), &["id", "k", "v"], from, to);
        assert!(wrong > 0, "{kind:?}: the raw feed has been mended: its rule can be used");
    }
}

#[test]
fn the_raw_feed_of_a_window_over_a_rewrite_is_wrong() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute(FILL).unwrap();
        let from = now(&session);
        session.execute("DELETE FROM t WHERE id % 2 = 0").unwrap();
        session.execute("INSERT INTO t SELECT 100 + i, 1, 'n' FROM range(30) r(i)").unwrap();
        session.execute("DELETE FROM t WHERE id % 3 = 0").unwrap();
        session.query("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)").unwrap();
        let to = now(&session);
        let window = session.window(&table("t"), from, to).unwrap();
        assert_eq!(window.rule, WindowRule::CandidateRowIds);
        check(&session, &window);
        let wrong = wrong_rows(&session, &raw(from, to), &["id", "k", "v"], from, to);
        assert!(wrong > 0, "{kind:?}: the raw feed has been mended: its rule can be used");
    }
}

#[test]
fn insertions_touched_again_in_their_transaction_are_not_only_insertions() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        let from = now(&session);
        session.execute(&format!("BEGIN; {FILL}; UPDATE t SET v = v || 'u' WHERE id % 2 = 0; COMMIT")).unwrap();
        let to = now(&session);
        let window = session.window(&table("t"), from, to).unwrap();
        assert_eq!(window.rule, WindowRule::DistinctFeed);
        check(&session, &window);
        // DuckLake says that the commit inserted, and nothing else.
        let made = session.changes_since(from).unwrap().changes;
        assert!(made.iter().all(|change| change.kind == lake::ChangeKind::Inserted), "{kind:?} {made:?}");
    }
}

#[test]
fn distinct_rows_of_the_feed_do_not_tell_either() {
    // Set, set back and deleted in one transaction: the feed has the first value as deleted twice, and both are real.
    let (_place, _lake, session) = start(Kind::DuckDb);
    session.execute("CALL lake.set_option('data_inlining_row_limit', 0)").unwrap();
    session.execute(FILL).unwrap();
    let from = now(&session);
    let toggle = "UPDATE t SET v = if(v = 'v', 'w', 'v') WHERE id % 2 = 0";
    session.execute(&format!("BEGIN; {toggle}; {toggle}; DELETE FROM t WHERE id < 15; COMMIT")).unwrap();
    let to = now(&session);
    check(&session, &session.window(&table("t"), from, to).unwrap());
    let feed = |feed: &str, weight: i8| {
        let feed = format!("ducklake_table_{feed}('lake', 'main', 't', {to}, {to})");
        format!("SELECT id, k, v, {weight} AS w FROM (SELECT DISTINCT snapshot_id, rowid, id, k, v FROM {feed})")
    };
    let distinct = format!("{} UNION ALL {}", feed("insertions", 1), feed("deletions", -1));
    assert!(wrong_rows(&session, &distinct, &["id", "k", "v"], from, to) > 0);
}

#[test]
fn an_old_version_is_read_right_after_a_rewrite() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute("INSERT INTO t SELECT i, i, 'v' FROM range(1000) r(i)").unwrap();
        let version = now(&session);
        session.execute("DELETE FROM t WHERE id < 100 OR id >= 900").unwrap();
        session.query("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)").unwrap();
        let count = format!("SELECT count(*) FROM t AT (VERSION => {version}) WHERE id < 100");
        let distinct =
            format!("SELECT min(id), max(id) FROM (SELECT DISTINCT id, v FROM t AT (VERSION => {version}))");
        assert_eq!(rows(&session, &count), ["100"]);
        assert_eq!(rows(&session, &distinct), ["0|999"]);
        // As DuckDB would do it by itself. If this fails, the engine was mended and sessions need not forbid it.
        session.execute("SET GLOBAL disabled_optimizers = ''").unwrap();
        assert_eq!(rows(&session, &count), ["0"], "{kind:?}");
        assert_ne!(rows(&session, &distinct), ["0|999"], "{kind:?}");
    }
}

#[test]
fn rows_in_the_catalog_are_counted_for_each_table() {
    let (_place, _lake, session) = start(Kind::Sqlite);
    session.execute("CREATE TABLE u AS SELECT 1 AS a FROM range(2)").unwrap();
    session.execute("CREATE TABLE v AS SELECT 1 AS a FROM range(4)").unwrap();
    let counted = |session: &Session| -> Vec<u64> {
        let tables = session.tables().unwrap();
        ["u", "v"].iter().map(|name| tables.iter().find(|known| known.name == table(name)).unwrap().rows).collect()
    };
    assert_eq!(counted(&session), [2, 4]);
    // As DuckDB would do it by itself. If this fails, the engine was mended and sessions need not forbid it.
    session.execute("SET GLOBAL disabled_optimizers = ''").unwrap();
    assert_ne!(counted(&session), [2, 4]);
}

#[test]
fn an_asof_join_does_not_depend_on_how_many_rows_it_joins() {
    let (_place, _lake, session) = start(Kind::Sqlite);
    session.execute("CREATE TABLE f AS SELECT 1 AS k, NULL::INTEGER AS x FROM range(100)").unwrap();
    session.execute("CREATE TABLE d AS SELECT 1 AS k, 3 AS w").unwrap();
    let joined =
        |rows: u32| format!("SELECT count(*) FROM (FROM f LIMIT {rows}) t ASOF JOIN d ON t.k = d.k AND t.x >= d.w");
    assert_eq!(rows(&session, &joined(1)), ["1"]);
    assert_eq!(rows(&session, &joined(100)), ["100"]);
    // As DuckDB would do it by itself. If this fails, the engine was mended and sessions need not set it.
    session.execute("SET GLOBAL asof_loop_join_threshold = 64").unwrap();
    assert_eq!(rows(&session, &joined(1)), ["0"]);
    assert_eq!(rows(&session, &joined(100)), ["100"]);
}

#[test]
fn maintenance_after_a_window_changes_its_rule() {
    let (_place, _lake, session) = start(Kind::Sqlite);
    session.execute(FILL).unwrap();
    let from = now(&session);
    session.execute("INSERT INTO t SELECT 100 + i, 1, 'n' FROM range(20) r(i)").unwrap();
    let to = now(&session);
    let early = session.window(&table("t"), from, to).unwrap();
    assert_eq!((early.rule, early.inserted, early.deleted), (WindowRule::Insertions, 20, 0));
    session.execute("DELETE FROM t WHERE id % 3 = 0").unwrap();
    assert!(session.reading_holds(&[&early], early.seen, Vec::new).unwrap());
    let known = session.changes_since(from).unwrap();
    session.query("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)").unwrap();
    assert!(!session.reading_holds(&[&early], early.seen, Vec::new).unwrap());
    // What was known before the maintenance leads to the rule that was right then, which does not hold any more.
    let stale = session.windows_known(&[table("t")], from, to, known.happened.as_ref()).unwrap();
    assert_eq!((stale[0].rule, stale[0].seen), (WindowRule::Insertions, known.current.id));
    assert!(!session.reading_holds(&[&stale[0]], stale[0].seen, Vec::new).unwrap());
    // What reaches less far back is of no use.
    let short = session.changes_since(to).unwrap();
    assert_eq!(
        session.windows_known(&[table("t")], from, to, short.happened.as_ref()).unwrap()[0].rule,
        WindowRule::CandidateRowIds
    );
    let late = session.window(&table("t"), from, to).unwrap();
    assert_eq!(late.rule, WindowRule::CandidateRowIds);
    assert!(session.reading_holds(&[&late], late.seen, Vec::new).unwrap());
    check(&session, &late);
}

#[test]
fn a_window_without_changes_costs_no_reading() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute(FILL).unwrap();
        session.execute("INSERT INTO t VALUES (1, 1, 'x')").unwrap();
        let from = now(&session);
        session.execute("CREATE TABLE other (a INTEGER); INSERT INTO other VALUES (1)").unwrap();
        session.query("CALL ducklake_flush_inlined_data('lake')").unwrap();
        session.query("CALL ducklake_merge_adjacent_files('lake')").unwrap();
        let window = session.window(&table("t"), from, now(&session)).unwrap();
        assert!(window.is_unchanged(), "{window:?}");
        check(&session, &window);
        assert!(session.window(&table("t"), from, from).unwrap().is_unchanged());
    }
}

#[test]
fn an_update_of_a_column_that_is_not_asked_for_is_no_change() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute(FILL).unwrap();
        session.execute("INSERT INTO t VALUES (100, NULL, 'inlined'), (101, 1, NULL)").unwrap();
        let from = now(&session);
        session.execute("UPDATE t SET v = 'other'").unwrap();
        let plain = session.window(&table("t"), from, now(&session)).unwrap();
        assert_eq!(plain.rule, WindowRule::DistinctFeed);
        let count = |window: &Window, names: &[&str]| {
            rows(&session, &format!("SELECT count(*) FROM ({})", window.delta_sql(&columns(names), "w")))[0].clone()
        };
        assert_eq!((count(&plain, &["id", "k"]), count(&plain, &["v"])), ("0".to_owned(), "64".to_owned()));
        session.query("CALL ducklake_flush_inlined_data('lake')").unwrap();
        session.query("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)").unwrap();
        let maintained = session.window(&table("t"), from, plain.to).unwrap();
        assert_eq!(maintained.rule, WindowRule::CandidateRowIds);
        assert_eq!((count(&maintained, &["id", "k"]), count(&maintained, &["v"])), ("0".to_owned(), "64".to_owned()));
    }
}

#[test]
fn what_breaks_a_window() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute(FILL).unwrap();
        let from = now(&session);
        let rule = |from: i64, to: i64| session.window(&table("t"), from, to).unwrap().rule;

        // Dropped and added again, a column has other values without any row having changed.
        session.execute("ALTER TABLE t DROP COLUMN v; ALTER TABLE t ADD COLUMN v VARCHAR DEFAULT 'new'").unwrap();
        assert_eq!(rule(from, now(&session)), WindowRule::Broken(Break::Redefined));

        // The feed of a replaced table shows only the new one's rows.
        let from = now(&session);
        session.execute("CREATE OR REPLACE TABLE t AS SELECT 1 AS id, 1 AS k, 'v' AS v").unwrap();
        assert_eq!(rule(from, now(&session)), WindowRule::Broken(Break::Replaced));

        let from = now(&session);
        session.execute("ALTER TABLE t RENAME TO u").unwrap();
        assert_eq!(rule(from, now(&session)), WindowRule::Broken(Break::Dropped));
        assert_eq!(rule(from, from), WindowRule::Broken(Break::Dropped));
        session.execute("ALTER TABLE u RENAME TO t").unwrap();
        assert_eq!(rule(from, now(&session)), WindowRule::Unchanged, "renaming there and back changes no row");

        let from = now(&session);
        session.execute("INSERT INTO t VALUES (2, 2, 'v'); INSERT INTO t VALUES (3, 3, 'v'); INSERT INTO t VALUES (4, 4, 'v')").unwrap();
        let to = now(&session);
        for expired in [from + 1, from] {
            session.query(&format!("CALL ducklake_expire_snapshots('lake', versions => [{expired}])")).unwrap();
            assert_eq!(rule(from, to), WindowRule::Broken(Break::Expired), "{kind:?}");
        }
        let gone = session.query(&format!("SELECT * FROM t AT (VERSION => {from})")).unwrap_err();
        assert_eq!(gone.code(), error::Code::Dependency, "{gone}");
        session.execute("DROP TABLE t").unwrap();
        assert_eq!(rule(to, now(&session)), WindowRule::Broken(Break::Dropped));
    }
}

#[test]
fn columns_added_and_renamed_since_are_not_in_the_way() {
    for kind in KINDS {
        let (_place, _lake, session) = start(kind);
        session.execute(FILL).unwrap();
        let from = now(&session);
        session.execute("INSERT INTO t SELECT 100 + i, 1, 'n' FROM range(20) r(i)").unwrap();
        let to = now(&session);
        session
            .execute("ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 3; ALTER TABLE t RENAME COLUMN v TO w")
            .unwrap();
        let window = session.window(&table("t"), from, to).unwrap();
        assert_eq!(window.rule, WindowRule::CandidateRowIds);
        check(&session, &window);
    }
}

#[test]
fn the_rule_in_use_is_right_in_every_window() {
    let seed = std::env::var("FEED_SEED").map_or(1, |seed| seed.parse().unwrap());
    let seconds = std::env::var("FEED_SECONDS").map_or(15.0, |seconds| seconds.parse().unwrap());
    let mut tally = std::collections::BTreeMap::<String, usize>::new();
    for maintenance in [false, true] {
        let deadline = Instant::now() + Duration::from_secs_f64(seconds);
        let mut number = 0;
        while Instant::now() < deadline {
            number += 1;
            let script = Script::random(seed * 1_000_003 + number, maintenance);
            // Catalogs differ in how they keep inlined rows; the cheapest to open is the most used.
            let kind = match number % 10 {
                0 => Kind::Postgres,
                1..=3 => Kind::Sqlite,
                _ => Kind::DuckDb,
            };
            for rule in run(kind, &script) {
                *tally.entry(format!("{} {rule}", if maintenance { "maintained" } else { "plain" })).or_default() +=
                    1;
            }
        }
        println!("{number} scripts, with maintenance: {maintenance}");
    }
    println!("{tally:#?}");
}

/// Runs a script and checks every window between the snapshots it made; the result are the rules used.
fn run(kind: Kind, script: &Script) -> Vec<String> {
    let (_place, _lake, session) = start(kind);
    let rows_inlined = script.inlining_limit;
    session.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {rows_inlined})")).unwrap();
    if script.partitioned {
        session.execute("ALTER TABLE t SET PARTITIONED BY (k)").unwrap();
    }
    let mut versions = vec![now(&session)];
    for operation in &script.operations {
        apply(&session, operation);
        let version = now(&session);
        if versions.last() != Some(&version) {
            versions.push(version);
        }
    }
    // What each version holds is read once; what was expired meanwhile has no windows to check.
    for version in &versions {
        let (name, rows) = (kept(*version), at_sql("lake", &table("t"), &columns(&COLUMNS), Some(*version)));
        let _ = session.execute(&format!("CREATE TEMP TABLE {name} AS FROM {rows}"));
    }
    let mut rules = Vec::new();
    for (index, &from) in versions.iter().enumerate() {
        for &to in &versions[index + 1..] {
            let window = session.window(&table("t"), from, to).unwrap();
            rules.push(format!("{:?}", window.rule));
            // All columns every time, and in turn one of them or none.
            let few: &[&str] = if rules.len() % 2 == 0 { &["k"] } else { &[] };
            if !matches!(window.rule, WindowRule::Broken(_)) {
                for names in [&COLUMNS[..], few] {
                    let wrong = wrong_against_kept(&session, &window, names);
                    assert_eq!(wrong, ["0|0"], "{kind:?} {names:?} {window:?}, versions {versions:?}\n{script}");
                }
            }
        }
    }
    rules
}

const COLUMNS: [&str; 3] = ["id", "k", "v"];

fn kept(version: i64) -> String {
    format!("temp.kept_{version}")
}

/// How many rows are wrong, and how many row ids are given in vain, compared with the versions that were kept.
fn wrong_against_kept(session: &Session, window: &Window, names: &[&str]) -> Vec<String> {
    let delta = window.delta_with_row_id_sql("r", &columns(names), "w");
    session.execute(&format!("CREATE OR REPLACE TEMP TABLE delta AS {delta}")).unwrap();
    let list: String = names.iter().map(|name| format!("{name}, ")).collect();
    let (from, to) = (kept(window.from), kept(window.to));
    rows(
        session,
        &format!(
            "SELECT (SELECT count(*) FROM (SELECT {list}sum(w) AS total FROM (\
               SELECT {list}1 AS w FROM {from} UNION ALL SELECT {list}w FROM temp.delta UNION ALL SELECT {list}-1 FROM {to}\
             ) GROUP BY ALL HAVING total <> 0)), \
             (SELECT count(*) FROM (SELECT {list}r FROM temp.delta GROUP BY ALL HAVING count(*) > 1 OR sum(w) NOT IN (1, -1)))"
        ),
    )
}
