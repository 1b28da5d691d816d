//! Ways in that are none. Each statement meets two walls, and each wall by itself: the walk over its tree, and an engine that is
//! shut; the tests beside this crate try the ways around both as a process.

use error::Code;
use lake::{PostgresPlace, RecordBatch, Sandbox, SandboxLimits, SchemaRef, Take};
use sql::query::Parser;
use std::ops::ControlFlow;
use testkit::postgres::{PASSWORD, Postgres, USER};

use crate::names::{Names, Side};
use crate::walk::walk;

/// Statements that are refused whatever they would do.
const REFUSED: [&str; 135] = [
    // What word lists let through.
    "ATTACH 'x.db' AS y",
    "DETACH pg_src_crm",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL httpfs FROM 'http://127.0.0.1/'",
    "SET memory_limit = '100GB'",
    "SET GLOBAL lock_configuration = false",
    "RESET memory_limit",
    "PRAGMA database_list",
    "PRAGMA threads = 64",
    "IMPORT DATABASE '/tmp/x'",
    "EXPORT DATABASE '/tmp/x'",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "USE pg_dwh",
    "CALL postgres_execute('pg_src_crm', 'DROP TABLE orders')",
    "FROM '/etc/passwd'",
    "FROM \"/etc/passwd\"",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '*.csv'",
    "SELECT * FROM 'http://127.0.0.1:1/x.parquet'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM postgres_query('pg_src_crm', 'SELECT 1')",
    "SELECT * FROM postgres_execute('pg_src_crm', 'SELECT 1')",
    "SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 'orders')",
    "SELECT * FROM postgres_scan_pushdown('host=127.0.0.1', 'public', 'orders')",
    "SELECT * FROM postgres_attach('host=127.0.0.1')",
    "SELECT * FROM pg_clear_cache()",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('orders')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM duckdb_secrets()",
    // Functions that read files.
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_parquet('/etc/passwd')",
    "SELECT * FROM parquet_scan('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM parquet_schema('/etc/passwd')",
    "SELECT * FROM parquet_kv_metadata('/etc/passwd')",
    "SELECT * FROM parquet_file_metadata('/etc/passwd')",
    "SELECT * FROM parquet_bloom_probe('/etc/passwd', 'a', 1)",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_json_auto('/etc/passwd')",
    "SELECT * FROM read_json_objects('/etc/passwd')",
    "SELECT * FROM read_ndjson('/etc/passwd')",
    "SELECT * FROM read_ndjson_objects('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM sqlite_scan('/tmp/x', 'y')",
    "SELECT * FROM sqlite_query('x', 'y')",
    "SELECT * FROM sqlite_attach('/tmp/x')",
    "SELECT * FROM iceberg_scan('/tmp/x')",
    "SELECT * FROM delta_scan('/tmp/x')",
    "SELECT * FROM ducklake_snapshots('x')",
    "SELECT * FROM seq_scan('x')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    // The same, hidden.
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM orders WHERE customer IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM orders WHERE EXISTS (FROM read_text('/etc/passwd'))",
    "WITH x AS (FROM read_text('/etc/passwd')) SELECT 1",
    "WITH x AS MATERIALIZED (FROM read_text('/etc/passwd')) SELECT * FROM x",
    "WITH RECURSIVE x AS (FROM read_text('/etc/passwd') UNION ALL FROM x) SELECT * FROM x",
    "SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')",
    "SELECT 1 EXCEPT SELECT content FROM read_text('/etc/passwd')",
    "SELECT * FROM orders JOIN read_text('/etc/passwd') ON true",
    "SELECT * FROM orders, LATERAL (FROM read_text(customer))",
    "SELECT * FROM (VALUES ((SELECT content FROM read_text('/etc/passwd'))))",
    "SELECT id FROM orders ORDER BY (SELECT 1 FROM glob('*'))",
    "SELECT id FROM orders GROUP BY id HAVING (SELECT 1 FROM glob('*'))",
    "SELECT id FROM orders LIMIT (SELECT count(*) FROM glob('*'))",
    "SELECT id FROM orders QUALIFY (SELECT 1 FROM glob('*'))",
    "SELECT list_transform([1], x -> (SELECT content FROM read_text('/etc/passwd')))",
    "SELECT CASE WHEN true THEN (SELECT content FROM read_text('/etc/passwd')) END",
    "SELECT sum(id) FILTER (id IN (SELECT 1 FROM glob('*'))) FROM orders",
    "SELECT sum(id) OVER (ORDER BY (SELECT 1 FROM glob('*'))) FROM orders",
    "SELECT * FROM orders TABLESAMPLE 10% , read_text('/etc/passwd')",
    "SELECT * FROM range((SELECT count(*) FROM glob('*')))",
    "SELECT 1 /* */ FROM /**/ READ_TEXT /**/ ('/etc/passwd')",
    "SELECT 1 FROM \"read_text\"('/etc/passwd')",
    "SELECT 1 FROM main.read_text('/etc/passwd')",
    "SELECT 1 FROM system.main.read_text('/etc/passwd')",
    "SELECT * FROM (PIVOT orders ON customer USING sum(id))",
    "PIVOT orders ON customer",
    // What is about the engine.
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM duckdb_functions()",
    "SELECT * FROM duckdb_temporary_files()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM pragma_database_size()",
    "SELECT * FROM pragma_storage_info('orders')",
    "SELECT * FROM test_all_types()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT current_setting('memory_limit')",
    "SELECT getenv('HOME')",
    "SELECT getvariable('x')",
    "SELECT nextval('s')",
    "SELECT write_log('x')",
    "SELECT set_config('a', 'b', false)",
    "SELECT pg_sleep(10)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT dblink('x', 'y')",
    "SELECT no_such_function(1)",
    // Other relations.
    "SELECT * FROM other.public.orders",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_shadow",
    "SELECT * FROM pg_src_crm.pg_catalog.pg_authid",
    "SELECT * FROM pg_src_crm.information_schema.columns",
    "SELECT * FROM temp.x",
    "SELECT * FROM system.main.duckdb_settings",
    "SELECT * FROM system.information_schema.tables",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "DESCRIBE orders",
    "SUMMARIZE orders",
    "SELECT * FROM (DESCRIBE orders)",
    "SELECT * FROM (SHOW TABLES)",
    // What changes something, and two at once.
    "INSERT INTO orders VALUES (1)",
    "UPDATE orders SET id = 1",
    "DELETE FROM orders",
    "TRUNCATE orders",
    "DROP TABLE orders",
    "CREATE TABLE x AS SELECT 1",
    "CREATE MACRO f(a) AS a",
    "CREATE SECRET s (TYPE s3)",
    "COPY orders TO '/tmp/x.csv'",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
    "MERGE INTO orders USING orders o ON true WHEN MATCHED THEN DELETE",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE p AS SELECT 1",
    "SELECT 1; DROP TABLE orders",
];

/// Statements that word lists refuse, or that look bad, and that are harmless.
const HARMLESS: [&str; 12] = [
    "SELECT replace('a', 'a', 'b') AS x",
    "SELECT * REPLACE (id + 1 AS id) FROM orders",
    "SELECT 'DROP TABLE orders; --' AS x",
    "SELECT 1 AS \"update\"",
    "SELECT id AS \"drop\" /* DELETE */ FROM orders -- TRUNCATE",
    "SELECT 1 AS execute",
    "SELECT customer AS \"into\" FROM orders WHERE customer = 'call'",
    "SELECT '/etc/passwd' AS x",
    "SELECT 1 AS \"read_text\"",
    "SELECT $$SELECT 1; DROP TABLE x$$ AS x",
    "SELECT e.id FROM orders e WHERE e.customer NOT IN ('grant', 'revoke')",
    "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 5) SELECT * FROM r",
];

fn names() -> Names {
    let side = |alias: &str| Side { alias: alias.to_owned(), schema: "public".to_owned() };
    Names {
        source: side("pg_src_crm"),
        destination: Some(side("pg_dwh")),
        table: ("public".to_owned(), "orders".to_owned()),
        filtered: None,
        relations: Vec::new(),
    }
}

/// An engine over a database with a table, shut.
fn engine() -> (Sandbox, tempfile::TempDir, String) {
    let postgres = Postgres::shared().unwrap();
    let database = postgres.fresh_database().unwrap().rsplit('/').next().unwrap().to_owned();
    postgres
        .psql(&database, "CREATE TABLE orders (id BIGINT, customer TEXT); INSERT INTO orders VALUES (1, 'a')")
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let limits = SandboxLimits { memory: "512MB".to_owned(), threads: 2, disk: "512MB".to_owned() };
    let extensions = std::env::var_os("DYNAMIC_TABLES_EXTENSION_DIRECTORY").map(std::path::PathBuf::from);
    let sandbox = Sandbox::open(&limits, folder.path(), extensions.as_deref()).unwrap();
    let place = PostgresPlace {
        host: "127.0.0.1".to_owned(),
        port: postgres.port().to_string(),
        database: database.clone(),
        user: USER.to_owned(),
        password: Some(PASSWORD.to_owned()),
        keywords: Vec::new(),
        session: vec![("default_transaction_read_only", "on".to_owned())],
    };
    sandbox.attach_postgres("pg_src_crm", &place).unwrap();
    sandbox.attach_postgres("pg_dwh", &place).unwrap();
    sandbox.close(&[]).unwrap();
    (sandbox, folder, database)
}

/// What a statement shows, as far as it can be shown.
#[derive(Default)]
struct Shown(String);

impl Take for Shown {
    fn schema(&mut self, _schema: &SchemaRef) -> error::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    fn batch(&mut self, batch: &RecordBatch) -> error::Result<ControlFlow<()>> {
        self.0.push_str(&format!("{batch:?}"));
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn the_walk_refuses_all_of_them() {
    let parser = Parser::new().unwrap();
    let mut named: Vec<&str> = Vec::new();
    for text in REFUSED {
        match walk(&parser, text, &mut names()) {
            Err(error) => assert!(matches!(error.code(), Code::Permission | Code::Query), "{text}: {error}"),
            // A name of a file is the name of a relation of the source, which has none such.
            Ok(node) => {
                let sql = parser.to_sql(&node).unwrap();
                assert!(sql.contains("pg_src_crm.public.\""), "{text}: {sql}");
                named.push(text);
            }
        }
    }
    assert!(named.len() <= 6, "{named:?}");
    for text in HARMLESS {
        walk(&parser, text, &mut names()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn the_engine_alone_gives_nothing_away_either() {
    // Its own folder, into which it spills, stays open to it; a folder beside that does not.
    let (sandbox, _own, database) = engine();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret.csv"), "x\nroot:secret\n").unwrap();
    for text in REFUSED.iter().filter(|text| !text.contains("pg_sleep") && !text.starts_with("DETACH")) {
        let mut shown = Shown::default();
        if let Err(error) = sandbox.stream(text, &mut shown) {
            shown.0.push_str(error.message());
        }
        for after in ["root:", PASSWORD, "password="] {
            assert!(!shown.0.contains(after), "{text}: {}", shown.0);
        }
    }
    let file = folder.path().join("secret.csv");
    for text in [format!("FROM '{}'", file.display()), format!("FROM read_text('{}')", file.display())] {
        assert!(sandbox.stream(&text, &mut Shown::default()).is_err(), "{text}");
    }
    // What was attached stays usable, also by a connection that is made after the secret is gone.
    let mut shown = Shown::default();
    sandbox.stream("SELECT count(*) FROM pg_src_crm.public.orders, pg_dwh.public.orders", &mut shown).unwrap();
    assert_eq!(Postgres::shared().unwrap().psql(&database, "SELECT id, customer FROM orders").unwrap(), "1|a");
    assert!(!std::path::Path::new("/tmp/x.csv").exists());
}
