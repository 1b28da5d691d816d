//! Opening lakes, and everything that can be wrong with what one is told to open.

use std::fs;
use std::process::Command;

use error::{Code, Error};
use lake::{CatalogKind, Lake, Options, Settings};

use crate::place::{KINDS, Kind, Place, rows, table};

fn refused(options: &Options) -> Error {
    match Lake::open(options) {
        Ok(_) => panic!("{} was opened", options.path),
        Err(error) => error,
    }
}

fn at(path: impl std::fmt::Display) -> Options {
    Options { path: path.to_string(), ..Options::default() }
}

#[test]
fn every_kind_is_created_and_opened_again() {
    for kind in KINDS {
        let mut place = Place::new(kind);
        {
            let lake = place.open();
            let session = lake.session().unwrap();
            session.execute("CREATE TABLE t (i INTEGER, s VARCHAR)").unwrap();
            assert_eq!(session.execute("INSERT INTO t SELECT i, 'x' FROM range(100) AS r(i)").unwrap(), 100);
            assert_eq!(session.execute("DELETE FROM t WHERE i < 10").unwrap(), 10);
            assert!(lake.data_path().ends_with('/'));
        }
        // An existing lake knows its own data path.
        place.options.data_path = None;
        let session = place.open().session().unwrap();
        assert_eq!(rows(&session, "SELECT count(*) FROM lake.main.t"), ["90"], "{kind:?}");
    }
}

#[test]
fn a_lake_in_memory_leaves_nothing_behind() {
    let lake = Lake::open(&at(":memory:")).unwrap();
    assert_eq!(lake.kind(), CatalogKind::Memory);
    let data_path = lake.data_path().to_owned();
    let session = lake.session().unwrap();
    session.execute("CREATE TABLE t AS FROM range(100)").unwrap();
    assert!(fs::exists(&data_path).unwrap());
    drop((lake, session));
    assert!(!fs::exists(&data_path).unwrap());
}

#[test]
fn a_call_within_a_transaction_leaves_it_whole() {
    for kind in KINDS {
        let place = Place::new(kind);
        let lake = place.open();
        let session = lake.session().unwrap();
        session.execute("BEGIN").unwrap();
        session.execute("CREATE TABLE t AS SELECT 1 AS a").unwrap();
        session.query("CALL lake.set_commit_message('me', 'why')").unwrap();
        session.execute("COMMIT").unwrap();
        assert_eq!(rows(&lake.session().unwrap(), "SELECT a FROM t"), ["1"], "{kind:?}");
    }
}

#[test]
fn sessions_share_the_lake_and_keep_their_temporary_tables() {
    let place = Place::new(Kind::Sqlite);
    let lake = place.open();
    let (one, two) = (lake.session().unwrap(), lake.session().unwrap());
    one.execute("CREATE TABLE t AS SELECT 1 AS a; CREATE TEMP TABLE mine AS SELECT 2 AS a").unwrap();
    assert_eq!(rows(&two, "SELECT a FROM t"), ["1"]);
    assert_eq!(rows(&one, "SELECT a FROM mine"), ["2"]);
    let error = two.query("SELECT a FROM mine").unwrap_err();
    assert_eq!(error.code(), Code::Query);
    // Of the lake's schema, also in a session that was opened by another name for it.
    let mut options = place.options.clone();
    options.alias = "Other Lake".to_owned();
    let other = Lake::open(&options).unwrap().session().unwrap();
    assert_eq!(rows(&other, "SELECT a FROM \"Other Lake\".main.t"), ["1"]);
    assert_eq!(other.table(&table("T"), None).unwrap().unwrap().rows, 1);
}

#[test]
fn a_plain_database_is_never_made_a_lake() {
    let folder = tempfile::tempdir().unwrap();
    let (duckdb, sqlite) = (folder.path().join("plain.db"), folder.path().join("registry.sqlite"));
    let connection = duckdb::Connection::open(&duckdb).unwrap();
    connection.execute_batch("CREATE TABLE t (a INTEGER)").unwrap();
    drop(connection);
    let place = Place::new(Kind::Sqlite);
    let session = place.open().session().unwrap();
    session
        .execute(&format!("ATTACH '{}' AS s (TYPE sqlite); CREATE TABLE s.t (a INTEGER); DETACH s", sqlite.display()))
        .unwrap();
    for file in [&duckdb, &sqlite] {
        let before = fs::read(file).unwrap();
        let error = refused(&at(file.display()));
        assert_eq!(error.code(), Code::Configuration);
        assert!(error.message().contains("not a DuckLake catalog"), "{error}");
        assert!(error.hint().unwrap().contains("left as it is"));
        assert!(fs::read(file).unwrap() == before, "{} was changed", file.display());
    }
    // A file of the other kind than was said.
    let error = refused(&at(format!("ducklake:sqlite:{}", duckdb.display())));
    assert!(error.message().contains("it is a DuckDB file"), "{error}");
    fs::write(folder.path().join("text.ducklake"), "not a database at all").unwrap();
    let error = refused(&at(folder.path().join("text.ducklake").display()));
    assert!(error.message().contains("neither"), "{error}");
}

#[test]
fn places_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&at(folder.path().join("missing/lake.sqlite").display()));
    assert!(error.message().contains("does not exist"), "{error}");
    assert!(error.hint().unwrap().contains("mkdir"));
    let error = refused(&at(folder.path().display()));
    assert!(error.message().contains("is a directory"), "{error}");
    let options = Options { read_only: true, ..at(folder.path().join("lake.sqlite").display()) };
    assert!(refused(&options).message().contains("there is no lake"));
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "a refused lake left a file behind");
    let options = Options { schema: "none".to_owned(), ..at(folder.path().join("lake.sqlite").display()) };
    assert!(refused(&options).message().contains("no schema \"none\""));
}

#[test]
fn a_new_lake_in_postgres_needs_a_data_path() {
    let mut place = Place::new(Kind::Postgres);
    place.options.data_path = None;
    let error = refused(&place.options);
    assert_eq!(error.code(), Code::Configuration);
    assert!(error.hint().unwrap().contains("--data-path"), "{error}");
}

#[test]
fn an_unreachable_postgres_does_not_show_its_password() {
    for path in [
        "ducklake:postgres:host=127.0.0.1 port=1 user=me password=geheim dbname=d",
        "postgresql://me:geheim@127.0.0.1:1/d",
    ] {
        let error = refused(&at(path));
        assert_eq!(error.code(), Code::Connection, "{error}");
        let everything = format!("{error} {error:?}");
        assert!(!everything.contains("geheim"), "{everything}");
        assert!(error.is_transient());
    }
    let server = testkit::postgres::Postgres::shared().unwrap();
    let wrong = server.dsn("postgres").replace(testkit::postgres::PASSWORD, "geheim");
    let error = refused(&at(format!("ducklake:postgres:{wrong}")));
    assert_eq!(error.code(), Code::Permission, "{error}");
}

#[test]
fn another_data_path_than_the_lakes_is_refused() {
    let mut place = Place::new(Kind::Sqlite);
    drop(place.open());
    place.options.data_path = Some(format!("{}/./lake_data", place.folder.path().display()));
    drop(place.open());
    place.options.data_path = Some(format!("{}/elsewhere", place.folder.path().display()));
    let error = refused(&place.options);
    assert!(error.message().contains("the lake's data path is"), "{error}");
    assert!(!place.folder.path().join("elsewhere").exists());
}

#[test]
fn a_lake_of_another_format_is_refused() {
    let place = Place::new(Kind::DuckDb);
    drop(place.open());
    let file = place.folder.path().join("lake.ducklake");
    for (version, relation) in [("2.0", "newer"), ("0.2", "older")] {
        let connection = duckdb::Connection::open(&file).unwrap();
        connection
            .execute_batch(&format!("UPDATE ducklake_metadata SET value = '{version}' WHERE key = 'version'"))
            .unwrap();
        drop(connection);
        let error = refused(&place.options);
        assert_eq!(error.code(), Code::Configuration);
        assert!(error.message().contains(&format!("the {relation} DuckLake format {version}")), "{error}");
    }
}

/// Not a test by itself: what the test below runs as another process.
#[test]
fn hold_a_lake_open() {
    let Ok(path) = std::env::var("HOLD_LAKE_OPEN") else { return };
    let lake = Lake::open(&at(&path)).unwrap();
    println!("held");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(lake);
}

#[test]
fn a_catalog_in_a_duckdb_file_takes_one_process() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let place = Place::new(Kind::DuckDb);
    drop(place.open());
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opening::hold_a_lake_open", "--nocapture"])
        .env("HOLD_LAKE_OPEN", &place.options.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")));
    let error = refused(&place.options);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(error.code(), Code::Connection, "{error}");
    assert!(error.is_transient());
    assert!(error.hint().unwrap().contains("ducklake:sqlite:"));
}

#[test]
fn settings_and_lake_options_are_applied() {
    let mut place = Place::new(Kind::Sqlite);
    let text = "threads=3; memory_limit='900MB'; TimeZone='UTC'; enable_progress_bar=false; \
                ducklake_inline_threshold=7; ducklake_snapshot_retention_days=30";
    let (settings, warnings) = Settings::parse(text).unwrap();
    assert_eq!(warnings.len(), 2);
    place.options.settings = settings;
    let session = place.open().session().unwrap();
    let value = |name: &str| rows(&session, &format!("SELECT current_setting('{name}')::VARCHAR"));
    assert_eq!(value("threads"), ["3"]);
    assert_eq!(value("memory_limit"), ["858.3 MiB"]);
    let options = "SELECT option_name, value FROM ducklake_options('lake') WHERE option_name LIKE '%inlining%' \
                   OR option_name LIKE 'expire%'";
    assert_eq!(rows(&session, options), ["data_inlining_row_limit|7", "expire_older_than|30 days"]);
}

#[test]
fn a_wrong_setting_names_itself() {
    for (text, message, hint) in [
        ("memory_limt='1GB'", "unknown setting \"memory_limt\"", Some("memory_limit")),
        ("threads=many", "the setting threads does not take the value \"many\"", None),
        ("data_inlining_row_limit=lots", "option data_inlining_row_limit does not take", None),
    ] {
        let mut place = Place::new(Kind::Sqlite);
        place.options.settings = Settings::parse(text).unwrap().0;
        let error = refused(&place.options);
        assert_eq!(error.code(), Code::Configuration, "{error}");
        assert!(error.message().contains(message), "{error}");
        if let Some(hint) = hint {
            assert!(error.hint().unwrap().contains(hint));
        }
    }
}

#[test]
fn a_missing_extension_names_itself() {
    let mut place = Place::new(Kind::DuckDb);
    place.options.extension_directory = Some(place.folder.path().to_owned());
    let error = refused(&place.options);
    assert_eq!(error.code(), Code::Configuration);
    assert!(error.message().contains("ducklake"), "{error}");
    assert!(error.hint().unwrap().contains("dynamic-tables extensions install"));
}

#[test]
fn a_lake_opened_for_reading_is_not_written() {
    for kind in KINDS {
        let mut place = Place::new(kind);
        place.open().session().unwrap().execute("CREATE TABLE t AS SELECT 1 AS a").unwrap();
        place.options.read_only = true;
        let lake = place.open();
        assert!(lake.read_only());
        let session = lake.session().unwrap();
        assert_eq!(rows(&session, "SELECT a FROM t"), ["1"]);
        let error = session.execute("INSERT INTO t VALUES (2)").unwrap_err();
        assert_eq!(error.code(), Code::Permission, "{error}");
        assert!(session.changes_since(0).unwrap().current.id > 0);
    }
}

#[test]
fn failures_of_queries_say_where() {
    let place = Place::new(Kind::Sqlite);
    let session = place.open().session().unwrap();
    let sql = "SELECT 1,\n  nope FROM (SELECT 1 AS a)";
    for error in
        [session.describe(sql).unwrap_err(), session.query(sql).unwrap_err(), session.execute(sql).unwrap_err()]
    {
        assert_eq!(error.code(), Code::Query);
        assert_eq!(error.span().unwrap().line_and_column(), (2, 3), "{error}");
    }
    let error = session.query("SELECT CAST('x' AS INTEGER)").unwrap_err();
    assert_eq!((error.code(), error.is_transient()), (Code::Query, false));
    let error = session.query("SELEC 1").unwrap_err();
    assert_eq!(error.span().unwrap().offset, 0);
}

#[test]
fn results_are_rendered_as_duckdb_does() {
    let place = Place::new(Kind::Sqlite);
    let session = place.open().session().unwrap();
    let result = session
        .query("SELECT 1 AS a, NULL AS a, [1, 2] AS l, {'x': 1.50} AS s, TIMESTAMP '2024-01-02 03:04:05' AS t -- end")
        .unwrap();
    let names: Vec<&str> = result.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "a", "l", "s", "t"]);
    assert_eq!(result.columns[3].1, "STRUCT(x DECIMAL(3,2))");
    let row: Vec<&str> = result.rows[0].iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    assert_eq!(row, ["1", "NULL", "[1, 2]", "{'x': 1.50}", "2024-01-02 03:04:05"]);
    // The order is kept, and so are statements that are no subqueries.
    let ordered = session.query("SELECT i FROM range(1000) AS r(i) ORDER BY i DESC").unwrap().rows;
    assert_eq!(ordered[0][0].as_deref(), Some("999"));
    assert_eq!(rows(&session, "SHOW TABLES"), Vec::<String>::new());
    assert!(session.query("EXPLAIN SELECT 1").unwrap().rows.len() == 1);
    assert_eq!(session.query("CALL pragma_version()").unwrap().columns.len(), 3);
    assert_eq!(session.query("SELECT 1 AS a WHERE false").unwrap().columns[0].0, "a");
}

#[test]
fn a_running_query_can_be_stopped() {
    let place = Place::new(Kind::Sqlite);
    let session = place.open().session().unwrap();
    let handle = session.interrupt_handle();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        handle.interrupt();
    });
    let error = session.query("SELECT sum(hash(a.i + b.i)) FROM range(10000000) a(i), range(1000) b(i)").unwrap_err();
    stopper.join().unwrap();
    assert_eq!(error.code(), Code::Resource, "{error}");
    assert_eq!(error.message(), "the query was cancelled");
}

#[test]
fn too_little_memory_is_a_matter_of_resources() {
    let mut place = Place::new(Kind::Sqlite);
    let temp = place.folder.path().join("spill");
    let text =
        format!("memory_limit='60MB';threads=1;max_temp_directory_size='1MB';temp_directory='{}'", temp.display());
    place.options.settings = Settings::parse(&text).unwrap().0;
    let session = place.open().session().unwrap();
    let error = session.query("SELECT count(*) FROM (SELECT i::VARCHAR || repeat('x', 50) AS s, count(*) FROM range(5000000) r(i) GROUP BY s)").unwrap_err();
    assert_eq!(error.code(), Code::Resource, "{error}");
}
