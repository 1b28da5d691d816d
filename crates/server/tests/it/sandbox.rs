//! What a reader's SQL cannot reach.

use serde_json::json;

use crate::client::Served;

#[test]
fn files_network_settings_secrets_and_the_registry_are_out_of_reach() {
    let served = Served::with_daily();
    let folder = served.lake.directory().display().to_string();
    std::fs::write(served.lake.directory().join("secret.csv"), "a\nTOP-SECRET\n").unwrap();
    for sql in [
        format!("SELECT * FROM '{folder}/secret.csv'"),
        format!("SELECT * FROM read_csv('{folder}/secret.csv')"),
        format!("SELECT * FROM read_text('{folder}/secret.csv')"),
        format!("SELECT * FROM glob('{folder}/*')"),
        format!("SELECT * FROM sqlite_scan('{folder}/registry.sqlite', 'dynamic_table')"),
        format!("SELECT * FROM sqlite_query('{folder}/registry.sqlite', 'SELECT 1')"),
        format!("ATTACH '{folder}/registry.sqlite' AS r (TYPE sqlite)"),
        format!("COPY (SELECT 1) TO '{folder}/written.csv'"),
        format!("SELECT * FROM query('FROM read_text(''{folder}/secret.csv'')')"),
        "SELECT * FROM read_text('https://example.com/')".to_owned(),
        "SELECT * FROM duckdb_settings()".to_owned(),
        "SELECT * FROM duckdb_settings".to_owned(),
        "SELECT * FROM duckdb_secrets()".to_owned(),
        "SELECT * FROM duckdb_databases()".to_owned(),
        "SELECT * FROM pragma_database_list".to_owned(),
        "SELECT * FROM information_schema.tables".to_owned(),
        "SELECT * FROM pg_catalog.pg_tables".to_owned(),
        "SELECT * FROM sqlite_master".to_owned(),
        "SELECT current_setting('temp_directory')".to_owned(),
        "SELECT * FROM __ducklake_metadata_lake.ducklake_snapshot".to_owned(),
        "SELECT * FROM __ducklake_metadata_lake.main.ducklake_snapshot".to_owned(),
        "SELECT * FROM ducklake_snapshots('lake')".to_owned(),
        "SELECT * FROM dynamic_tables()".to_owned(),
        "SELECT * FROM lake.__dynamic_tables.watermark".to_owned(),
        "WITH RECURSIVE duckdb_settings AS (FROM duckdb_settings UNION ALL FROM duckdb_settings) FROM duckdb_settings".to_owned(),
        "SET threads = 1".to_owned(),
        "RESET lock_configuration".to_owned(),
        "INSTALL httpfs".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "DELETE FROM orders".to_owned(),
        "USE memory".to_owned(),
        "CHECKPOINT lake".to_owned(),
    ] {
        for format in ["json", "parquet"] {
            let answer = served.sql(&json!({ "sql": sql, "format": format }));
            assert!(matches!(answer.status, 400 | 403), "{sql}: {} {}", answer.status, answer.text());
            assert!(matches!(answer.code().as_str(), "QUERY" | "PERMISSION"), "{sql}");
            assert!(!answer.text().contains("TOP-SECRET"));
        }
    }
    assert!(!served.lake.directory().join("written.csv").exists());
    assert_eq!(served.sql(&json!({ "sql": "SELECT count(*) AS n FROM orders" })).json()["rows"][0]["n"], 1000);
}

#[test]
fn the_engine_itself_is_closed_whatever_gets_past_the_look_at_the_query() {
    let served = Served::with_daily();
    let results = tempfile::tempdir().unwrap();
    let sessions = lake::Lake::open_closed(served.lake.options(), 2, results.path()).unwrap();
    let folder = served.lake.directory().display().to_string();
    for sql in [
        format!("SELECT * FROM read_text('{folder}/catalog.sqlite')"),
        format!("SELECT * FROM glob('{folder}/*')"),
        format!("ATTACH '{folder}/other.db' AS other"),
        format!("COPY (SELECT 1) TO '{folder}/written.csv'"),
        "SET threads = 1".to_owned(),
        "SET enable_external_access = true".to_owned(),
        "SET lock_configuration = false".to_owned(),
        "LOAD httpfs".to_owned(),
        "INSTALL httpfs".to_owned(),
        "INSERT INTO orders VALUES (1, 1, 1)".to_owned(),
        "DROP TABLE orders".to_owned(),
        "CREATE TABLE lake.main.t AS SELECT 1".to_owned(),
    ] {
        assert!(sessions[1].query(&sql).is_err(), "{sql}");
    }
    // It reads what is written meanwhile.
    served.lake.run("INSERT INTO orders VALUES (9000, 1, 1); CREATE TABLE new AS SELECT 1 AS a").unwrap();
    assert_eq!(sessions[0].query("SELECT count(*) FROM orders").unwrap().rows[0][0].as_deref(), Some("1001"));
    assert_eq!(sessions[1].query("SELECT a FROM new").unwrap().rows.len(), 1);
}

#[test]
fn a_catalog_that_takes_one_engine_cannot_be_served() {
    let lake = testkit::lake::ThrowAway::with(testkit::lake::CatalogKind::DuckDb, "").unwrap();
    let results = tempfile::tempdir().unwrap();
    let refused = lake::Lake::open_closed(lake.options(), 1, results.path()).err().unwrap();
    assert!(matches!(refused.code(), error::Code::Configuration | error::Code::Connection), "{refused}");
}
