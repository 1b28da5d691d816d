//! Registries that open, and those that do not.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use error::{Code, Error};
use registry::Registry;
use testkit::postgres::{PASSWORD, Postgres};

use crate::fixture::{Fixture, table};

over_both_stores! {
    what_was_recorded_is_there_when_it_is_opened_again,
    a_newer_version_is_refused_and_left_alone,
    many_threads_share_one_registry,
    clones_and_debug_output_show_no_password,
}

fn what_was_recorded_is_there_when_it_is_opened_again(fixture: &Fixture) {
    let made = table("daily");
    fixture.registry.create(&made).unwrap();
    let again = Registry::open(&fixture.url).unwrap();
    assert_eq!(again.load_all().unwrap(), [made]);
    assert_eq!(fixture.ask("SELECT version FROM dynamic_tables_migration ORDER BY 1"), "1\n2\n3\n4\n5");
}

fn a_newer_version_is_refused_and_left_alone(fixture: &Fixture) {
    fixture.ask(
        "INSERT INTO dynamic_tables_migration (version, description, success, checksum, execution_time) \
         VALUES (99, 'from the future', true, 'x', 0)",
    );
    let error = Registry::open(&fixture.url).unwrap_err();
    assert_eq!(error.code(), Code::Configuration);
    assert_eq!(error.message(), "the registry is of version 99, and this program knows versions up to 5");
    assert!(error.hint().unwrap().starts_with("Nothing was changed."));
    assert_eq!(fixture.ask("SELECT count(*) FROM dynamic_tables_migration"), "6");
}

fn many_threads_share_one_registry(fixture: &Fixture) {
    thread::scope(|scope| {
        for number in 0..12 {
            let registry = fixture.registry.clone();
            scope.spawn(move || {
                registry.create(&table(&format!("t{number}"))).unwrap();
                registry.load_all().unwrap();
            });
        }
    });
    assert_eq!(fixture.registry.load_all().unwrap().len(), 12);
}

/// As SQLite does on a full disk.
#[test]
fn a_transaction_that_sqlite_rolled_back_by_itself_spoils_nothing() {
    let fixture = Fixture::sqlite();
    fixture.ask(
        "CREATE TRIGGER full BEFORE INSERT ON dynamic_table BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END",
    );
    for _ in 0..8 {
        let error = fixture.registry.create(&table("daily")).unwrap_err();
        assert!(error.message().contains("full"), "{error}");
    }
    fixture.ask("DROP TRIGGER full");
    fixture.registry.create(&table("daily")).unwrap();
}

fn clones_and_debug_output_show_no_password(fixture: &Fixture) {
    let shown = format!("{:?} {}", fixture.registry.clone(), fixture.registry.address());
    assert_no_secret(&shown);
}

fn assert_no_secret(text: &str) {
    for secret in [PASSWORD.to_owned(), PASSWORD.replace('@', "%40"), "wr0ng".to_owned()] {
        assert!(!text.contains(&secret), "{text}");
    }
}

fn refused(url: &str) -> Error {
    let begun = Instant::now();
    let error = Registry::open(url).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(error.hint().is_some(), "{error:?}");
    assert_no_secret(&format!("{error} {error:?} {:?}", error.hint()));
    error
}

#[test]
fn two_open_a_new_registry_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let file = folder.path().join(format!("{round}.sqlite")).display().to_string();
        let database = Postgres::shared().unwrap().fresh_database().unwrap();
        thread::scope(|scope| {
            for url in [&file, &file, &file, &file, &database, &database, &database, &database] {
                scope.spawn(move || Registry::open(url).unwrap().load_all().unwrap());
            }
        });
    }
}

#[test]
fn a_registry_in_memory_is_gone_with_its_last_clone() {
    let registry = Registry::open(":memory:").unwrap();
    registry.create(&table("daily")).unwrap();
    assert_eq!(registry.clone().load_all().unwrap().len(), 1);
    assert!(Registry::open(":memory:").unwrap().load_all().unwrap().is_empty());
}

#[test]
fn a_wrong_password_is_named_but_not_shown() {
    let url = Fixture::postgres().url.replace(&PASSWORD.replace('@', "%40"), "wr0ng%40pass");
    let error = refused(&url);
    assert_eq!(error.code(), Code::Permission);
    assert!(error.to_string().contains("postgresql://postgres:***@127.0.0.1"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_told_within_seconds() {
    // A port that nobody listens on any more.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let error = refused(&format!("postgresql://u:wr0ng@127.0.0.1:{port}/d"));
    assert_eq!(error.code(), Code::Connection);
    assert!(error.is_transient());
    assert!(error.to_string().contains("postgresql://u:***@127.0.0.1"), "{error}");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_told_within_seconds() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let error = refused(&format!("postgresql://u:wr0ng@127.0.0.1:{port}/d"));
    assert_eq!(error.code(), Code::Connection);
}

#[test]
fn a_host_that_does_not_exist_is_told() {
    assert_eq!(refused("postgresql://u:wr0ng@no-such-host.invalid/d").code(), Code::Connection);
}

#[test]
fn encryption_that_the_server_does_not_have_is_told() {
    let error = refused(&format!("{}?sslmode=require", Fixture::postgres().url));
    assert_eq!(error.code(), Code::Connection);
}

#[test]
fn connections_are_encrypted_as_sslmode_says() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.create_database("registry").unwrap();
    // The server's own account makes the certificate, in its data folder, as the server demands.
    let make_certificate = "umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
         -subj /CN=localhost -keyout server.key -out server.crt 2>/dev/null";
    postgres.psql("postgres", &format!("COPY (SELECT 1) TO PROGRAM '{make_certificate}'")).unwrap();
    postgres.psql("postgres", "ALTER SYSTEM SET ssl = on").unwrap();
    postgres.psql("postgres", "SELECT pg_reload_conf()").unwrap();
    thread::sleep(Duration::from_millis(300));

    let registry = Registry::open(&format!("{url}?sslmode=require")).unwrap();
    registry.load_all().unwrap();
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'dynamic-tables'";
    assert_eq!(postgres.psql("registry", encrypted).unwrap(), "t");
    // Nobody vouches for this certificate.
    assert_eq!(refused(&format!("{url}?sslmode=verify-full")).code(), Code::Connection);
}

#[test]
fn a_database_that_does_not_exist_is_told() {
    let error = refused(&Postgres::shared().unwrap().url("no_such_database"));
    assert_eq!(error.code(), Code::Configuration);
    assert!(error.message().contains("no_such_database"), "{error}");
}

#[test]
fn a_user_who_may_not_create_tables_is_told() {
    let postgres = Postgres::shared().unwrap();
    let database = postgres.fresh_database().unwrap();
    postgres.psql("postgres", "CREATE ROLE guest LOGIN PASSWORD 'wr0ng'").unwrap();
    let host = database.split('@').next_back().unwrap();
    let error = refused(&format!("postgresql://guest:wr0ng@{host}"));
    assert_eq!(error.code(), Code::Permission);
}

#[test]
fn each_schema_has_a_registry_of_its_own() {
    let postgres = Postgres::shared().unwrap();
    let url = postgres.fresh_database().unwrap();
    let database = url.rsplit('/').next().unwrap();
    postgres.psql(database, "CREATE SCHEMA team_a; CREATE SCHEMA team_b").unwrap();
    let of_team = |team: &str| Registry::open(&format!("{url}?options=-csearch_path%3D{team}")).unwrap();
    of_team("team_a").create(&table("daily")).unwrap();
    assert_eq!(of_team("team_a").load_all().unwrap().len(), 1);
    assert!(of_team("team_b").load_all().unwrap().is_empty());
    assert_eq!(postgres.psql(database, "SELECT name FROM team_a.dynamic_tables").unwrap(), "daily");
}

#[test]
fn files_that_cannot_be_a_registry_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/registry.sqlite");
    let error = refused(&format!("sqlite:{}", missing.display()));
    assert_eq!(error.code(), Code::Configuration);
    assert_eq!(error.message(), "the folder of the registry does not exist");
    assert!(!folder.path().join("missing").exists());

    assert_eq!(refused(&folder.path().display().to_string()).code(), Code::Configuration);

    let other = folder.path().join("notes.txt");
    std::fs::write(&other, "not a database, but long enough to be taken for one. ".repeat(50)).unwrap();
    let error = refused(&other.display().to_string());
    assert_eq!(error.code(), Code::Configuration);
    assert!(std::fs::read_to_string(&other).unwrap().starts_with("not a database"));
}

#[test]
fn a_server_that_goes_away_is_told_and_comes_back() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.create_database("registry").unwrap();
    let registry = Registry::open(&url).unwrap();
    registry.create(&table("daily")).unwrap();
    // The server ends all connections, as it does when it restarts.
    postgres
        .psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'registry'")
        .unwrap();
    let answered = (0..3).any(|_| registry.load_all().is_ok_and(|tables| tables.len() == 1));
    assert!(answered);
    drop(postgres);
    let begun = Instant::now();
    let error = registry.load_all().unwrap_err();
    assert_eq!(error.code(), Code::Connection, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
