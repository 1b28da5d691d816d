//! Arrow Flight SQL, asked by a client of it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, SqlInfo};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use lake::{Parameters, Take};
use prost::Message as _;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::Channel;

use crate::client::{DAILY, ORDERS, Served};

/// A client that waits for what it asks.
struct Flight {
    runtime: Runtime,
    client: FlightSqlServiceClient<Channel>,
}

impl Flight {
    fn of(served: &Served) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = format!("http://{}", served.flight);
        let channel = runtime.block_on(Channel::from_shared(address).unwrap().connect()).unwrap();
        Self { runtime, client: FlightSqlServiceClient::new(channel) }
    }

    fn with_token(served: &Served, token: &str) -> Self {
        let mut flight = Self::of(served);
        flight.client.set_token(token.to_owned());
        flight
    }

    fn info(&mut self, sql: &str) -> Result<FlightInfo, FlightError> {
        self.runtime.block_on(self.client.execute(sql.to_owned(), None))
    }

    fn rows_of(&mut self, info: FlightInfo) -> Result<RecordBatch, FlightError> {
        self.runtime.block_on(async {
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            let mut stream = self.client.do_get(ticket).await?;
            let mut batches = Vec::new();
            while let Some(batch) = stream.next().await {
                batches.push(batch?);
            }
            let schema = stream.schema().unwrap().clone();
            assert_eq!(*schema, info.try_decode_schema().unwrap(), "what was announced came");
            Ok(concat_batches(&schema, &batches).unwrap())
        })
    }

    fn query(&mut self, sql: &str) -> Result<RecordBatch, FlightError> {
        let info = self.info(sql)?;
        self.rows_of(info)
    }

    fn one(&mut self, sql: &str) -> i64 {
        self.query(sql).unwrap().column(0).as_primitive::<Int64Type>().value(0)
    }

    /// The code that a statement is refused with.
    #[track_caller]
    fn refused(&mut self, sql: &str) -> (Code, String) {
        code(self.query(sql).unwrap_err())
    }
}

#[track_caller]
fn code(error: FlightError) -> (Code, String) {
    let FlightError::Tonic(status) = error else { panic!("{error}") };
    (status.code(), status.message().to_owned())
}

/// What DuckDB gives in process.
struct InProcess(Option<SchemaRef>, Vec<RecordBatch>);

impl Take for InProcess {
    fn schema(&mut self, schema: &SchemaRef) -> error::Result<ControlFlow<()>> {
        self.0 = Some(Arc::clone(schema));
        Ok(ControlFlow::Continue(()))
    }

    fn batch(&mut self, batch: &RecordBatch) -> error::Result<ControlFlow<()>> {
        self.1.push(batch.clone());
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn results_are_those_of_duckdb() {
    let served = Served::with_daily();
    let results = tempfile::tempdir().unwrap();
    let session = lake::Lake::open_closed(served.lake.options(), 1, results.path()).unwrap().remove(0);
    let mut flight = Flight::of(&served);
    for sql in [
        "SELECT * FROM daily ORDER BY day",
        "SELECT day, amount FROM lake.main.daily WHERE false",
        "SELECT i, i::HUGEINT AS h, i / 7 AS d, (i / 7)::DECIMAL(18, 3) AS x, i::VARCHAR AS t, i % 2 = 0 AS b, \
         DATE '2026-01-01' + i::INTEGER AS day, TIMESTAMP '2026-01-01 01:02:03.456789' + to_hours(i) AS at, \
         TIMESTAMPTZ '2026-01-01 00:00:00+00' AS z, [i, NULL] AS l, {'a': i, 'b': 'x'} AS s, MAP {'k': i} AS m, \
         CASE WHEN i % 3 = 0 THEN NULL ELSE i END AS n, 'ä€' AS u, '\\x00'::BLOB AS bytes, TIME '12:30:00' AS time, \
         uuid_extract_version(UUID '0195f000-0000-7000-8000-000000000000') AS v FROM range(5000) AS r(i) ORDER BY i",
        "SELECT 1 AS a, 2 AS a, 3",
        "SELECT o.id, d.amount FROM orders AS o JOIN daily AS d USING (day) ORDER BY o.id LIMIT 10 OFFSET 3",
        "(SELECT 1 AS a UNION ALL SELECT 2) ORDER BY a LIMIT 1",
    ] {
        let mut expected = InProcess(None, Vec::new());
        session.stream(sql, &Parameters::default(), &mut expected).unwrap();
        let expected = concat_batches(expected.0.as_ref().unwrap(), &expected.1).unwrap();
        assert_eq!(flight.query(sql).unwrap(), expected, "{sql}");
    }
    // An ENUM comes as text.
    let texts = flight.query("SELECT 'b'::ENUM('a', 'b') AS e").unwrap();
    assert_eq!(texts.column(0).as_string::<i32>().value(0), "b");
}

#[test]
fn prepared_statements_take_values() {
    let served = Served::with_daily();
    let mut flight = Flight::of(&served);
    let Flight { runtime, client } = &mut flight;
    runtime.block_on(async {
        let sql = "SELECT count(*) AS n FROM orders WHERE day >= $1 AND amount = $2";
        let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
        let names = |schema: &Schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        assert_eq!(names(prepared.parameter_schema().unwrap()), ["1", "2"]);
        assert_eq!(names(prepared.dataset_schema().unwrap()), ["n"]);
        for (day, amount, expected) in [(0, 0, 143), (9, 0, 14), (0, 99, 0)] {
            let values: [(&str, ArrayRef); 2] =
                [("a", Arc::new(Int64Array::from(vec![day]))), ("b", Arc::new(Int64Array::from(vec![amount])))];
            prepared.set_parameters(RecordBatch::try_from_iter(values).unwrap()).unwrap();
            let info = prepared.execute().await.unwrap();
            let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
            let batch = rows.next().await.unwrap().unwrap();
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), expected);
        }
        // Two rows are two queries, and a statement needs all its values.
        let values: [(&str, ArrayRef); 1] = [("a", Arc::new(Int64Array::from(vec![1, 2])))];
        prepared.set_parameters(RecordBatch::try_from_iter(values).unwrap()).unwrap();
        assert!(prepared.execute().await.unwrap_err().to_string().contains("one row"));
        prepared.close().await.unwrap();

        let sql = "SELECT $text || 'x', date_diff('day', $day::DATE, DATE '2026-01-03')::INTEGER, $nothing IS NULL";
        let mut named = client.prepare(sql.to_owned(), None).await.unwrap();
        let values: [(&str, ArrayRef); 3] = [
            ("nothing", Arc::new(StringArray::from(vec![None::<&str>]))),
            ("day", Arc::new(Date32Array::from(vec![20_454]))),
            ("text", Arc::new(StringArray::from(vec!["it's"]))),
        ];
        named.set_parameters(RecordBatch::try_from_iter(values).unwrap()).unwrap();
        let info = named.execute().await.unwrap();
        let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        let batch = rows.next().await.unwrap().unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "it'sx");
        assert_eq!(batch.column(1).as_primitive::<Int32Type>().value(0), 2);
        assert!(batch.column(2).as_boolean().value(0));
    });
}

#[test]
fn what_there_is_can_be_asked_for() {
    let served = Served::with_daily();
    served.lake.run("CREATE VIEW shown AS SELECT id, 'x' AS text FROM orders; CREATE SCHEMA other").unwrap();
    let mut flight = Flight::of(&served);
    let ask = |flight: &mut Flight, include_schema: bool, kinds: &[&str]| {
        let request = CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: None,
            table_name_filter_pattern: None,
            table_types: kinds.iter().map(ToString::to_string).collect(),
            include_schema,
        };
        let info = flight.runtime.block_on(flight.client.get_tables(request)).unwrap();
        flight.rows_of(info).unwrap()
    };
    let all = ask(&mut flight, true, &[]);
    let text = |batch: &RecordBatch, column: usize| -> Vec<String> {
        batch.column(column).as_string::<i32>().iter().map(|value| value.unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(text(&all, 2), ["daily", "orders", "shown"]);
    assert_eq!(text(&all, 3), ["DYNAMIC TABLE", "TABLE", "VIEW"]);
    let schemas = all.column(4).as_binary::<i32>();
    let shown = Schema::try_from(arrow_flight::IpcMessage(schemas.value(2).to_vec().into())).unwrap();
    assert_eq!(shown.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "text"]);
    assert_eq!(text(&ask(&mut flight, false, &["DYNAMIC TABLE"]), 2), ["daily"]);

    let catalogs = flight.runtime.block_on(flight.client.get_catalogs()).unwrap();
    assert_eq!(text(&flight.rows_of(catalogs).unwrap(), 0), ["lake"]);
    let request = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let schemas = flight.runtime.block_on(flight.client.get_db_schemas(request)).unwrap();
    assert_eq!(text(&flight.rows_of(schemas).unwrap(), 1), ["main"]);
    let kinds = flight.runtime.block_on(flight.client.get_table_types()).unwrap();
    assert_eq!(flight.rows_of(kinds).unwrap().num_rows(), 3);
    let info = flight.runtime.block_on(flight.client.get_sql_info(vec![SqlInfo::FlightSqlServerName])).unwrap();
    assert_eq!(flight.rows_of(info).unwrap().num_rows(), 1);
}

#[test]
fn what_may_not_be_run_over_http_may_not_be_run_here() {
    let served = Served::with_daily();
    let folder = served.lake.directory().display().to_string();
    let mut flight = Flight::of(&served);
    for (sql, expected) in [
        (format!("SELECT * FROM read_text('{folder}/catalog.sqlite')"), Code::PermissionDenied),
        ("SELECT * FROM duckdb_secrets()".to_owned(), Code::PermissionDenied),
        ("SELECT * FROM lake.__dynamic_tables.watermark".to_owned(), Code::PermissionDenied),
        ("SELECT current_setting('threads')".to_owned(), Code::PermissionDenied),
        ("SET threads = 1".to_owned(), Code::PermissionDenied),
        ("DELETE FROM orders".to_owned(), Code::PermissionDenied),
        ("SELECT * FROM nothing".to_owned(), Code::InvalidArgument),
        ("SELEC 1".to_owned(), Code::InvalidArgument),
        ("SELECT 1; SELECT 2".to_owned(), Code::InvalidArgument),
        (String::new(), Code::InvalidArgument),
    ] {
        let (code, message) = flight.refused(&sql);
        assert_eq!(code, expected, "{sql}: {message}");
        let prepared = flight.runtime.block_on(flight.client.prepare(sql.clone(), None));
        assert!(prepared.is_err(), "{sql}");
    }
    // A failure in the middle of the rows is said at their end.
    let late =
        flight.refused("SELECT CASE WHEN i = 900000 THEN error('late') ELSE i END FROM range(1000000) AS r(i)");
    assert!(late.0 == Code::InvalidArgument && late.1.contains("late"), "{late:?}");
    // A ticket says what any statement says, and is believed no more.
    let forged = arrow_flight::Ticket::new(
        arrow_flight::sql::ProstMessageExt::as_any(&arrow_flight::sql::TicketStatementQuery {
            statement_handle: json!({ "sql": "SELECT * FROM duckdb_secrets()" }).to_string().into(),
        })
        .encode_to_vec(),
    );
    let answer = flight.runtime.block_on(flight.client.do_get(forged));
    assert!(answer.is_err());
    assert_eq!(flight.one("SELECT count(*) FROM orders"), 1000);
}

#[test]
fn tokens_and_roles_are_those_of_http() {
    let served = Served::with_tokens(
        "reader=read:reader-reader-reader; chief=admin:chief-chief-chief; old=admin:old-old-old-old-old@2020-01-01",
    );
    served.lake.run(ORDERS).unwrap();
    assert_eq!(Flight::of(&served).refused("SELECT 1").0, Code::Unauthenticated);
    for wrong in ["reader-reader-reade", "old-old-old-old-old", ""] {
        assert_eq!(Flight::with_token(&served, wrong).refused("SELECT 1").0, Code::Unauthenticated);
    }
    let mut reader = Flight::with_token(&served, "reader-reader-reader");
    assert_eq!(reader.one("SELECT count(*) FROM orders"), 1000);
    assert_eq!(reader.refused(DAILY).0, Code::PermissionDenied);
    let insert = || "INSERT INTO orders VALUES (7000, 1, 1), (7001, 1, 1)".to_owned();
    let refused = reader.runtime.block_on(reader.client.execute_update(insert(), None));
    assert!(refused.unwrap_err().to_string().contains("role admin"));
    // A name and the token as the password.
    let mut chief = Flight::of(&served);
    let forged = chief.runtime.block_on(chief.client.handshake("chief", "chief-chief-chie"));
    assert!(forged.is_err());
    let token = chief.runtime.block_on(chief.client.handshake("anybody", "chief-chief-chief")).unwrap();
    assert_eq!(token, "chief-chief-chief".as_bytes());
    assert_eq!(chief.runtime.block_on(chief.client.execute_update(insert(), None)).unwrap(), 2);
    assert_eq!(reader.one("SELECT count(*) FROM orders"), 1002);
}

#[test]
fn our_statements_answer_with_rows() {
    let served = Served::new();
    served.lake.run(ORDERS).unwrap();
    let mut flight = Flight::of(&served);
    let text = |batch: &RecordBatch, column: &str| {
        batch.column_by_name(column).unwrap().as_string::<i32>().value(0).to_owned()
    };
    assert_eq!(text(&flight.query(DAILY).unwrap(), "state"), "SUCCESS");
    let shown = flight.query("SHOW DYNAMIC TABLES").unwrap();
    assert_eq!((text(&shown, "name"), text(&shown, "refresh_mode")), ("daily".to_owned(), "INCREMENTAL".to_owned()));
    assert!(text(&flight.query("DESCRIBE DYNAMIC TABLE daily").unwrap(), "query").contains("sum(amount)"));
    assert!(flight.query("EXPLAIN DYNAMIC TABLE daily").unwrap().num_rows() >= 2);
    flight.client.set_header("x-write", "true");
    assert_eq!(flight.one("INSERT INTO orders VALUES (7000, 1, 1000)"), 1);
    assert_eq!(text(&flight.query("ALTER DYNAMIC TABLE daily REFRESH").unwrap(), "state"), "SUCCESS");
    assert_eq!(flight.one("SELECT sum(amount)::BIGINT FROM daily"), 3997);
    assert_eq!(
        flight.runtime.block_on(flight.client.execute_update("DROP DYNAMIC TABLE daily".to_owned(), None)).unwrap(),
        0
    );
    assert_eq!(flight.query("SHOW DYNAMIC TABLES").unwrap().num_rows(), 0);
    let failed = flight.refused("CREATE DYNAMIC TABLE d TARGET_LAG = '1 hour' AS SELECT nothing FROM orders");
    assert_eq!(failed.0, Code::InvalidArgument, "{}", failed.1);
}

#[test]
fn several_dynamic_tables_are_read_at_one_data_version() {
    let served = Served::with_daily();
    let total = "CREATE DYNAMIC TABLE total TARGET_LAG = '1 hour' AS SELECT sum(amount) AS amount FROM orders";
    served.lake.run(total).unwrap();
    served.lake.refresh(&[]).unwrap();
    served.lake.run("INSERT INTO orders VALUES (8000, 1, 1000)").unwrap();
    served.lake.refresh(&["daily"]).unwrap();
    let sql = "SELECT ((SELECT sum(amount) FROM daily) - (SELECT amount FROM total))::BIGINT";
    let mut flight = Flight::of(&served);
    assert_eq!(flight.one(sql), 1000);
    flight.client.set_header("x-consistent", "true");
    let rows = flight.query(sql).unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), 0);
    let version = rows.schema().metadata()["data_version"].clone();
    served.lake.refresh(&["total"]).unwrap();
    let mut later = Flight::of(&served);
    later.client.set_header("x-data-version", version);
    assert_eq!(later.one("SELECT amount::BIGINT FROM total"), 2997);
    later.client.set_header("x-data-version", "0");
    assert_eq!(later.refused("SELECT * FROM total").0, Code::Aborted);
    later.client.set_header("x-data-version", "new");
    assert_eq!(later.refused("SELECT * FROM total").0, Code::InvalidArgument);
}

#[test]
fn a_client_that_vanishes_leaves_nothing_running() {
    let served = Served::with_daily();
    // More than there are sessions.
    for _ in 0..6 {
        let mut flight = Flight::of(&served);
        let info = flight.info("SELECT i, repeat('x', 100) FROM range(1000000000) AS r(i)").unwrap();
        let Flight { runtime, client } = &mut flight;
        runtime.block_on(async {
            let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
            assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
        });
    }
    let began = Instant::now();
    assert_eq!(Flight::of(&served).one("SELECT count(*) FROM orders"), 1000);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(served.stop() < Duration::from_secs(4));
}

#[test]
fn a_query_ends_when_its_time_is_over() {
    let served = Served::with_daily();
    let mut flight = Flight::of(&served);
    flight.client.set_header("x-timeout-seconds", "0.5");
    let began = Instant::now();
    let (code, message) =
        flight.refused("SELECT sum(a.i * b.i) FROM range(10000000) AS a(i), range(10000000) AS b(i)");
    assert!(code == Code::ResourceExhausted && message.contains("longer than 0.5"), "{code:?} {message}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// More rows than the memory that is allowed for them.
#[cfg(target_os = "linux")]
#[test]
fn a_large_result_takes_no_memory() {
    let resident = || -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let served = Served::with_daily();
    let mut flight = Flight::of(&served);
    assert_eq!(flight.one("SELECT 1::BIGINT"), 1);
    let before = resident();
    let info = flight.info("SELECT i, repeat('x', 100) AS t FROM range(2100000) AS r(i)").unwrap();
    let Flight { runtime, client } = &mut flight;
    let (rows, sum, most) = runtime.block_on(async {
        let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        let (mut rows, mut sum, mut most) = (0, 0, 0);
        while let Some(batch) = stream.next().await {
            let batch = batch.unwrap();
            rows += batch.num_rows();
            sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
            most = most.max(resident());
        }
        (rows, sum, most)
    });
    assert_eq!((rows, sum), (2_100_000, 2_099_999 * 1_050_000));
    // Some 230 MiB went through; other tests run in this process.
    assert!(most.saturating_sub(before) < 150 << 20, "{} MiB", most.saturating_sub(before) >> 20);
}
