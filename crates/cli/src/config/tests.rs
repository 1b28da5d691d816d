#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::file::parse_file;
use super::*;

fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: Some(value.to_owned()), origin: Origin::Flag(format!("--{key}")) }
}

#[test]
fn a_catalog_is_a_file_memory_or_elsewhere() {
    let file = |path: &str| Catalog::File(PathBuf::from(path));
    assert_eq!(local_catalog("./lake.ducklake"), file("./lake.ducklake"));
    assert_eq!(local_catalog("ducklake:/data/lake.db"), file("/data/lake.db"));
    assert_eq!(local_catalog("ducklake:sqlite:lake.sqlite"), file("lake.sqlite"));
    assert_eq!(local_catalog("DuckLake:SQLite:lake.sqlite"), file("lake.sqlite"));
    assert_eq!(local_catalog(":memory:"), Catalog::Memory);
    assert_eq!(local_catalog("ducklake:postgres:dbname=m"), Catalog::Remote);
    assert_eq!(local_catalog("ducklake:s3://bucket/lake.ducklake"), Catalog::Remote);
}

#[test]
fn the_registry_stands_beside_a_local_lake() {
    assert_eq!(default_registry(DEFAULT_LAKE).unwrap(), "dynamic_tables.sqlite");
    assert_eq!(default_registry("/data/lake.db").unwrap(), "/data/dynamic_tables.sqlite");
    let error = default_registry("ducklake:postgres:dbname=m password=pw").unwrap_err();
    assert_eq!(error.code(), Code::Configuration);
    assert!(!error.to_string().contains("pw"), "{error}");
}

#[test]
fn durations_are_seconds_or_words() {
    assert_eq!(seconds(&setting("poll-interval", "60"), 1).unwrap(), Duration::from_secs(60));
    assert_eq!(seconds(&setting("poll-interval", " 2 minutes "), 1).unwrap(), Duration::from_secs(120));
    for wrong in ["0", "-1", "soon", "1e3", ""] {
        let error = seconds(&setting("poll-interval", wrong), 1).unwrap_err();
        assert_eq!(error.code(), Code::Configuration, "{wrong}");
        assert!(error.to_string().contains("--poll-interval"), "{error}");
    }
}

#[test]
fn levels_and_formats_do_not_mind_case() {
    assert_eq!(log_level(&setting("log-level", "warning")).unwrap(), LogLevel::Warning);
    assert_eq!(log_level(&setting("log-level", "Debug")).unwrap(), LogLevel::Debug);
    assert!(log_level(&setting("log-level", "loud")).is_err());
    assert_eq!(format(&setting("format", "JSON")).unwrap(), Format::Json);
    assert!(format(&setting("format", "yaml")).is_err());
}

#[test]
fn the_file_is_flat_and_takes_underscores_and_a_table_of_duckdb_settings() {
    let text = "poll_interval = 30\nlog-level = \"DEBUG\"\n[duckdb_settings]\nthreads = 4\nmemory_limit = \"1'GB\"\n";
    let file = parse_file(PathBuf::from("x.toml"), text).unwrap();
    assert_eq!(file.get("poll-interval").unwrap().1, "30");
    assert_eq!(file.get("log-level").unwrap().1, "DEBUG");
    assert_eq!(file.get("duckdb-settings").unwrap().1, "threads=4;memory_limit='1''GB'");
}

#[test]
fn a_wrong_file_says_where_and_an_unknown_key_what_was_meant() {
    let error = parse_file(PathBuf::from("x.toml"), "a = 1\nb = = 2\n").err().unwrap();
    assert_eq!(error.span().unwrap().line_and_column().0, 2);
    let file = parse_file(PathBuf::from("x.toml"), "poll-intervall = 5\n").unwrap();
    let error = file.refuse_unknown(&[setting("poll-interval", "1")]).unwrap_err();
    assert_eq!(error.hint(), Some("Did you mean poll-interval?"));
}
