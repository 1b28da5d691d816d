//! Extensions, with real files but without a network: what is there, what is wrong with it, and every way of
//! getting it that fails.
//!
//! A DuckDB repository may be a folder laid out like an extension directory, so the directory that set-up filled
//! serves as the mirror here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use error::Code;
use lake::extensions::{self, Engine, Installed, Installer, Source, Sources};
use tempfile::TempDir;

/// One of those that are not compiled into any build of the engine.
const NAME: &str = "sqlite_scanner";

fn install(name: &str, directory: &Path, sources: Sources) -> error::Result<Installed> {
    Installer::new(Some(directory), sources).unwrap().install(name)
}

/// The directory that set-up filled, as a repository.
fn mirror() -> String {
    let file = extensions::status(None).unwrap().into_iter().find(|status| status.name == NAME).unwrap().file;
    let file = file.expect("run `make setup` first: the extension is not installed");
    let root: &Path = file.ancestors().nth(3).unwrap();
    root.to_str().unwrap().to_owned()
}

fn from_mirror() -> Sources {
    Sources { order: vec![Source::Repository], repository: Some(mirror()), package_index: None }
}

fn file_in(directory: &TempDir) -> PathBuf {
    extensions::install_directory(Some(directory.path()), &Engine::here().unwrap())
        .unwrap()
        .join(format!("{NAME}.duckdb_extension"))
}

fn reasons(error: &error::Error) -> String {
    error.context().iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}

#[test]
fn what_set_up_installed_is_found_and_loads() {
    for status in extensions::status(None).unwrap() {
        assert!(status.loadable.is_ok(), "{}: {:?}", status.name, status.loadable);
        assert!(status.version.is_some(), "{}", status.name);
    }
}

#[test]
fn an_empty_directory_has_no_lake_and_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    let started = Instant::now();
    let statuses = extensions::status(Some(directory.path())).unwrap();
    let lake = statuses.into_iter().find(|status| status.name == "ducklake").unwrap();
    assert_eq!((lake.file, lake.version), (None, None));
    let error = lake.loadable.unwrap_err();
    assert_eq!(error.code(), Code::Configuration);
    assert_eq!(error.message(), "the DuckDB extension ducklake is not installed");
    assert!(error.hint().unwrap().contains("dynamic-tables extensions install ducklake"));
    assert!(started.elapsed() < Duration::from_secs(5), "loading went to the network");
}

#[test]
fn installing_from_a_mirror_is_done_once() {
    let directory = TempDir::new().unwrap();
    let first = install("sqlite", directory.path(), from_mirror()).unwrap();
    assert_eq!((first.name.as_str(), first.from), (NAME, Source::Repository));
    assert_eq!(first.file.as_ref().unwrap(), &file_in(&directory));
    // With no way left to try, only what is present can succeed.
    let none = Sources { order: Vec::new(), ..Sources::default() };
    let second = install(NAME, directory.path(), none).unwrap();
    assert_eq!(second.from, Source::Present);
}

#[test]
fn a_broken_file_is_told_from_a_missing_one_and_is_replaced() {
    let directory = TempDir::new().unwrap();
    let file = file_in(&directory);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, vec![0; 100_000]).unwrap();

    let connection = duckdb::Connection::open_in_memory().unwrap();
    extensions::configure(&connection, Some(directory.path())).unwrap();
    let error = extensions::load(&connection, NAME).unwrap_err();
    assert_eq!(error.message(), "the DuckDB extension sqlite_scanner does not load");

    let installed = install(NAME, directory.path(), from_mirror()).unwrap();
    assert_eq!(installed.from, Source::Repository);
    assert!(fs::metadata(&file).unwrap().len() > 1_000_000);
}

#[test]
fn a_repository_that_never_answers_costs_seconds_and_is_asked_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = TempDir::new().unwrap();
    let sources = Sources {
        repository: Some(format!("http://{}", silent.local_addr().unwrap())),
        // Nothing listens on port 1.
        package_index: Some("http://127.0.0.1:1/simple".to_owned()),
        ..Sources::default()
    };
    let mut installer = Installer::new(Some(directory.path()), sources).unwrap();
    let started = Instant::now();
    let error = installer.install(NAME).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    let started = Instant::now();
    installer.install("tpch").unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4), "asked again: {:?}", started.elapsed());
    assert_eq!(error.code(), Code::Connection);
    assert!(error.is_transient());
    let reasons = reasons(&error);
    assert!(reasons.contains("repository: http://127.0.0.1:"), "{reasons}");
    assert!(reasons.contains("gave no answer within 4 s"), "{reasons}");
    assert!(reasons.contains("pip: "), "{reasons}");
    assert!(error.hint().unwrap().contains("duckdb-extension-sqlite-scanner"));
    let left: Vec<_> = fs::read_dir(file_in(&directory).parent().unwrap()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_repository_without_the_extension_is_not_one_that_cannot_be_reached() {
    let directory = TempDir::new().unwrap();
    let error = install("no_such_thing", directory.path(), from_mirror()).unwrap_err();
    assert!(reasons(&error).contains("no_such_thing.duckdb_extension"), "{}", reasons(&error));
}

#[test]
fn a_refused_connection_says_so() {
    let directory = TempDir::new().unwrap();
    let sources = Sources {
        order: vec![Source::Repository],
        repository: Some("http://127.0.0.1:1".to_owned()),
        package_index: None,
    };
    let error = install(NAME, directory.path(), sources).unwrap_err();
    assert_eq!(reasons(&error), "repository: http://127.0.0.1:1 cannot be reached\n");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = install(NAME, &file, from_mirror()).unwrap_err();
    assert_eq!(error.code(), Code::Permission);
    assert!(error.context()[0].1.starts_with(file.to_str().unwrap()));
}

/// Set-up goes this way on a machine that cannot reach DuckDB's repository; here only on demand.
#[test]
#[ignore = "needs a Python package index"]
fn installing_from_the_package_index() {
    let directory = TempDir::new().unwrap();
    let sources = Sources { order: vec![Source::Pip], ..Sources::default() };
    let installed = install(NAME, directory.path(), sources.clone()).unwrap();
    assert_eq!(installed.from, Source::Pip);
    let entries: Vec<_> = fs::read_dir(file_in(&directory).parent().unwrap()).unwrap().collect();
    assert_eq!(entries.len(), 1, "left behind: {entries:?}");
    let error = install("no_such_thing", directory.path(), sources).unwrap_err();
    assert!(reasons(&error).contains("No matching distribution"), "{}", reasons(&error));
}
