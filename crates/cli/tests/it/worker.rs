//! `worker` as its operator sees it: flags, log, signals, and tables that follow their sources.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::postgres::Postgres;

use crate::program::{DAILY, Program};

const PATIENCE: Duration = Duration::from_secs(120);
const HASTY: [&str; 4] = ["--poll-interval", "1", "--log-format", "json"];

/// A worker that runs. Killed if a test forgets it.
struct Running {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a worker and waits until it says so.
    fn start(program: &Program, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let arguments = [&["worker"], &HASTY[..], arguments].concat();
        let mut child = program.command(&arguments).envs(environment.iter().copied()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                written.lock().unwrap().push(event);
            }
        });
        let running = Self { child, log, reader: Some(reader) };
        running.wait_for("the start", || !running.events("worker started").is_empty());
        running
    }

    /// The log lines with this message.
    fn events(&self, message: &str) -> Vec<Value> {
        self.log.lock().unwrap().iter().filter(|event| event["message"] == message).cloned().collect()
    }

    /// The log lines with this message about a table of the schema main.
    fn of(&self, message: &str, table: &str) -> Vec<Value> {
        let table = format!("main.{table}");
        self.events(message).into_iter().filter(|event| event["table"] == table.as_str()).collect()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{:#?}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code, that of a signal with 128 added.
    fn end(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    fn stop(mut self) -> Vec<Value> {
        self.signal(Signal::TERM);
        assert_eq!(self.end(), 0, "{:#?}", self.log.lock().unwrap());
        assert_eq!(self.events("worker stopped").len(), 1);
        assert!(self.log.lock().unwrap().iter().all(Value::is_object), "{:#?}", self.log.lock().unwrap());
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn daily() -> String {
    DAILY.replace("5 minutes", "1 second")
}

#[test]
fn tables_follow_their_sources() {
    let program = Program::with_orders();
    program.sql(&daily().replacen(" AS ", " REFRESH_MODE = INCREMENTAL AS ", 1));
    program.sql(
        "CREATE DYNAMIC TABLE total TARGET_LAG = '1 second' AS SELECT sum(amount) AS amount FROM daily;
         CREATE DYNAMIC TABLE days TARGET_LAG = DOWNSTREAM AS SELECT day FROM daily",
    );
    let worker = Running::start(&program, &["--worker-name", "blue"], &[]);
    program.sql("INSERT INTO orders VALUES (4, '2026-01-03', 2, 65)");
    worker.wait_for("the first change", || {
        program.sql("SELECT (SELECT count(*) FROM daily), (SELECT amount FROM total), (SELECT count(*) FROM days)")
            == ["3,100.00,3"]
    });
    // Created, altered and dropped while it runs.
    program.sql(
        "CREATE DYNAMIC TABLE names TARGET_LAG = '1 second' AS SELECT name FROM customers; DROP DYNAMIC TABLE days",
    );
    program.sql("ALTER DYNAMIC TABLE total SUSPEND");
    program.sql("INSERT INTO customers VALUES (3, 'Cem')");
    program.sql("DELETE FROM orders WHERE id = 4");
    worker.wait_for("the second change", || {
        program.sql("SELECT (SELECT count(*) FROM daily), (SELECT amount FROM total), (SELECT count(*) FROM names)")
            == ["2,100.00,3"]
    });
    program.sql("ALTER DYNAMIC TABLE total RESUME");
    worker.wait_for("the resumed table", || program.sql("SELECT amount FROM total") == ["35.00"]);
    let of_daily = worker.of("refreshed", "daily");
    assert_eq!(of_daily.len(), 2, "{of_daily:#?}");
    let line = &of_daily[0];
    assert_eq!(
        (&line["level"], &line["action"], &line["target_lag"]),
        (&"INFO".into(), &"INCREMENTAL".into(), &"1 second".into())
    );
    assert_eq!(
        (&line["rows_read"], &line["rows_inserted"], &line["rows_deleted"]),
        (&1.into(), &1.into(), &0.into())
    );
    assert!(line["duration_ms"].is_u64() && line["data_version"].is_u64() && line["lag_s"].is_f64(), "{line:#}");
    assert!(line["reason"].as_str().unwrap().len() > 5);
    assert_eq!(worker.events("worker started")[0]["worker"], "blue");
    let log = worker.stop();
    assert!(log.iter().all(|event| event["level"] == "INFO"), "{log:#?}");
    assert!(program.ok(&["history", "daily", "--format", "csv"]).contains("blue"));
    program.ok(&["verify"]);
}

#[test]
fn a_failing_table_stops_only_what_reads_it() {
    let program = Program::with_orders();
    program.sql(&daily());
    program.sql(
        "CREATE DYNAMIC TABLE names TARGET_LAG = '1 second' AS SELECT name FROM customers;
         CREATE DYNAMIC TABLE over_names TARGET_LAG = '1 second' AS SELECT count(*) AS n FROM names",
    );
    let worker = Running::start(&program, &[], &[]);
    program.sql("DROP TABLE customers; INSERT INTO orders VALUES (4, '2026-01-03', 2, 65)");
    worker.wait_for("the other table", || program.sql("SELECT count(*) FROM daily") == ["3"]);
    worker.wait_for("the failure", || !worker.of("refresh failed", "names").is_empty());
    worker.wait_for("its reader", || !worker.of("not refreshed", "over_names").is_empty());
    let failed = worker.of("refresh failed", "names").remove(0);
    assert_eq!((&failed["level"], &failed["transient"]), (&"ERROR".into(), &false.into()));
    assert!(failed["error"].as_str().unwrap().contains("customers"), "{failed:#}");
    assert!(failed["code"].is_string() && failed["retry_at"].is_string(), "{failed:#}");
    // Its content stays readable, and it goes on when what it reads is there again.
    assert_eq!(program.sql("SELECT count(*) FROM names"), ["2"]);
    program.sql("CREATE TABLE customers (id INTEGER, name VARCHAR); INSERT INTO customers VALUES (9, 'Zoe')");
    worker.wait_for("recovery", || program.sql("SELECT n FROM over_names") == ["1"]);
    worker.stop();
    let history = |table: &str| program.ok(&["history", table, "--format", "csv"]);
    assert!(history("names").contains("FAILED"));
    assert!(history("over_names").contains("UPSTREAM_FAILED"));
    program.ok(&["verify"]);
}

/// A table whose next refresh takes hours.
fn with_long_refresh() -> Program {
    let program = Program::with_orders();
    program.sql(
        "CREATE TABLE many (i BIGINT);
         CREATE DYNAMIC TABLE long TARGET_LAG = '1 second' REFRESH_MODE = FULL AS
         SELECT count(*) AS n, sum(hash(a.i, b.i, c.i)) AS h FROM many a, many b, many c",
    );
    program.sql("INSERT INTO many SELECT i FROM range(200000) t(i)");
    program
}

fn executing(program: &Program) -> bool {
    program.ok(&["history", "--format", "csv"]).contains("EXECUTING")
}

#[test]
fn a_signal_rolls_back_what_outlasts_the_grace_period() {
    let program = with_long_refresh();
    let mut worker = Running::start(&program, &["--grace-period", "1"], &[]);
    worker.wait_for("the long refresh", || executing(&program));
    let started = Instant::now();
    worker.signal(Signal::INT);
    assert_eq!(worker.end(), 0);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(worker.of("refresh cancelled", "long").len(), 1);
    assert!(program.ok(&["history", "--format", "csv"]).contains("CANCELLED"));
    assert_eq!(program.sql("SELECT n FROM long"), ["0"]);
}

#[test]
fn a_second_signal_ends_it_at_once_and_a_restart_recovers() {
    let program = with_long_refresh();
    let mut worker = Running::start(&program, &[], &[]);
    worker.wait_for("the long refresh", || executing(&program));
    worker.signal(Signal::TERM);
    worker.wait_for("the first signal", || !worker.events("stopping").is_empty());
    let started = Instant::now();
    worker.signal(Signal::TERM);
    assert_eq!(worker.end(), 143);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    program.sql("DELETE FROM many WHERE i > 20");
    let worker = Running::start(&program, &[], &[]);
    worker.wait_for("recovery", || program.sql("SELECT n FROM long") == ["9261"]);
    let log = worker.stop();
    assert!(log.iter().any(|event| event["refreshes"] == 1 && event["level"] == "WARN"), "{log:#?}");
    assert!(!executing(&program));
    program.ok(&["verify"]);
}

#[test]
fn killed_at_any_moment_it_recovers() {
    let program = Program::with_orders();
    program.sql(&daily());
    program.sql("CREATE DYNAMIC TABLE total TARGET_LAG = '1 second' AS SELECT sum(amount) AS amount FROM daily");
    for round in 0..8 {
        let mut worker = Running::start(&program, &[], &[]);
        let changes = format!(
            "INSERT INTO orders SELECT i, DATE '2026-01-01' + (i % 7)::INTEGER, i, i FROM range({round}000, {round}999) t(i);
             DELETE FROM orders WHERE id % 10 = {round}"
        );
        // The worker is writing, too: SQLite may refuse one of both.
        while program.run(&["sql", "-c", &changes]).code != 0 {}
        std::thread::sleep(Duration::from_millis(600 + 137 * round));
        worker.signal(Signal::KILL);
        assert_eq!(worker.end(), 137);
        program.ok(&["verify"]);
    }
    let worker = Running::start(&program, &[], &[]);
    let expected = program.sql("SELECT sum(amount) FROM orders");
    worker.wait_for("recovery", || program.sql("SELECT amount FROM total") == expected);
    worker.stop();
    assert!(!executing(&program));
    program.ok(&["verify"]);
}

#[test]
fn everything_can_come_from_the_environment_and_flags_win() {
    let program = Program::new();
    let elsewhere = program.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let lake = format!("ducklake:sqlite:{}", elsewhere.join("lake.sqlite").display());
    let registry = format!("sqlite:{}", elsewhere.join("registry.sqlite").display());
    let environment = [
        ("DYNAMIC_TABLES_PG_URL", registry.as_str()),
        ("DYNAMIC_TABLES_DUCKDB_PATH", lake.as_str()),
        ("DYNAMIC_TABLES_POLL_INTERVAL", "7"),
        ("DYNAMIC_TABLES_LOG_LEVEL", "DEBUG"),
        ("DYNAMIC_TABLES_DUCKDB_SETTINGS", "threads=1;memory_limit='200MB'"),
        ("DYNAMIC_TABLES_GRACE_PERIOD", "3"),
        ("DYNAMIC_TABLES_WORKER_NAME", "green"),
    ];
    let run = |arguments: &[&str]| {
        let arguments = [&["worker", "--once", "--log-format", "json"], arguments].concat();
        let output = program.command(&arguments).envs(environment).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let log: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (output.status.code(), log, text)
    };
    // A lake that is named is made where there is none yet.
    let (code, log, text) = run(&[]);
    assert_eq!(code, Some(0), "{text}");
    let started = log.iter().find(|event| event["message"] == "worker started").unwrap();
    assert_eq!((&started["worker"], &started["poll_interval_s"]), (&"green".into(), &7.0.into()));
    assert_eq!(started["grace_period_s"], 3.0);
    assert!(log.iter().any(|event| event["level"] == "DEBUG"));
    assert!(elsewhere.join("lake.sqlite").exists() && elsewhere.join("registry.sqlite").exists());

    let (code, log, text) = run(&["--poll-interval", "9", "--log-level", "INFO", "--worker-name", "red"]);
    assert_eq!(code, Some(0), "{text}");
    let started = log.iter().find(|event| event["message"] == "worker started").unwrap();
    assert_eq!((&started["worker"], &started["poll_interval_s"]), (&"red".into(), &9.0.into()));
    assert!(log.iter().all(|event| event["level"] == "INFO"), "{text}");
    let (code, _, text) = run(&["--duckdb-settings", "no_such_setting=1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no_such_setting"), "{text}");
    let other = format!("sqlite:{}", program.path().join("other.sqlite").display());
    assert_eq!(run(&["--pg-url", &other]).0, Some(0));
    assert!(program.path().join("other.sqlite").exists());
}

#[test]
fn what_is_wrong_at_the_start_ends_it_within_seconds() {
    let program = Program::with_orders();
    let folder = program.path().join("missing").join("lake.sqlite");
    let wrong: [(i32, &[&str], &str); 4] = [
        (2, &["--pg-url", "postgresql://me:geheim@127.0.0.1:1/metadata"], "127.0.0.1:1"),
        (1, &["--duckdb-path", folder.to_str().unwrap()], "missing"),
        (1, &["--duckdb-path", "ducklake:sqlite:dynamic_tables.sqlite"], "DuckLake"),
        (1, &["--schema", "nowhere"], "nowhere"),
    ];
    for (code, arguments, said) in wrong {
        let started = Instant::now();
        let error = program.fails(code, &[&["worker"], arguments].concat());
        assert!(error.contains(said) && error.contains("hint:") && !error.contains("geheim"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(15), "{arguments:?}: {:?}", started.elapsed());
    }
    let empty = Program::new();
    let error = empty.fails(1, &["worker"]);
    assert!(error.contains("there is no lake"), "{error}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn wrong_flags_are_refused_before_anything_starts() {
    let program = Program::new();
    for arguments in
        [["--poll-interval", "0"], ["--poll-interval", "-5"], ["--log-level", "LOUD"], ["--grace-period", "x"]]
    {
        let error = program.fails(1, &[&["worker"][..], &arguments].concat());
        assert!(error.contains(arguments[0]), "{error}");
    }
    assert_eq!(std::fs::read_dir(program.path()).unwrap().count(), 0);
}

#[test]
fn with_a_registry_and_a_lake_in_postgresql_it_waits_for_them() {
    let server = Postgres::shared().unwrap();
    let program = Program::new();
    let registry = server.fresh_database().unwrap();
    let catalog = server.fresh_database().unwrap();
    let databases = [&registry, &catalog].map(|url| url.rsplit('/').next().unwrap().to_owned());
    let lake = format!("ducklake:postgres:{}", server.dsn(&databases[1]));
    let data = program.path().join("data").display().to_string();
    let environment = [
        ("DYNAMIC_TABLES_PG_URL", registry.as_str()),
        ("DYNAMIC_TABLES_DUCKDB_PATH", lake.as_str()),
        ("DYNAMIC_TABLES_DATA_PATH", data.as_str()),
    ];
    let sql = |statements: &str| {
        let output =
            program.command(&["sql", "--format", "csv", "-c", statements]).envs(environment).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text.lines().nth(1).unwrap_or_default().to_owned()
    };
    sql("CREATE TABLE orders (id INTEGER, day DATE, amount INTEGER)");
    sql(&daily());
    let worker = Running::start(&program, &[], &environment);
    for (round, database) in databases.iter().enumerate() {
        sql(&format!("INSERT INTO orders VALUES ({round}, '2026-01-01', 1)"));
        worker.wait_for("the change", || sql("SELECT orders FROM daily") == (2 * round + 1).to_string());
        server.psql("postgres", &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).unwrap();
        let cut =
            format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'");
        server.psql("postgres", &cut).unwrap();
        std::thread::sleep(Duration::from_secs(5));
        let away = || {
            let log = worker.log.lock().unwrap();
            log.iter()
                .filter(|event| event["message"].as_str().is_some_and(|m| m.starts_with("the lake or the")))
                .count()
        };
        worker.wait_for("the outage", || away() == round + 1);
        server.psql("postgres", &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).unwrap();
        sql(&format!("INSERT INTO orders VALUES ({round}, '2026-01-01', 1)"));
        worker.wait_for("the return", || worker.events("lake and registry are back").len() == round + 1);
        worker.wait_for("the change", || sql("SELECT orders FROM daily") == (2 * round + 2).to_string());
        assert_eq!(away(), round + 1);
    }
    let operator = server.psql(&databases[0], "SELECT name, last_refresh_status FROM dynamic_tables").unwrap();
    assert_eq!(operator, "daily|SUCCEEDED");
    let log = worker.stop();
    assert!(!format!("{log:?}").contains("s3cr3t"), "{log:#?}");
}

#[test]
fn idle_with_a_hundred_tables_it_stays_small() {
    let program = Program::with_orders();
    let definitions: String = (0..100)
        .map(|number| {
            format!(
                "CREATE DYNAMIC TABLE t{number} TARGET_LAG = '1 hour' INITIALIZE = ON_SCHEDULE AS
                 SELECT day, count(*) AS orders, sum(amount) AS amount FROM orders JOIN customers c ON c.id = customer
                 WHERE orders.id > {number} GROUP BY day;\n"
            )
        })
        .collect();
    program.file("tables.sql", &definitions);
    program.ok(&["create", "-f", "tables.sql"]);
    let worker = Running::start(&program, &["--log-level", "DEBUG"], &[]);
    // Warm: every table was refreshed by this process before it is idle.
    let refreshed = || worker.events("refreshed").len();
    worker.wait_for("half of the tables", || refreshed() >= 50);
    worker.wait_for("all tables", || refreshed() >= 100);
    let looks = || worker.events("looked at what is due").len();
    let snapshot = || program.sql("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')");
    let (before, newest) = (looks(), snapshot());
    worker.wait_for("idle looks", || looks() > before + 5);
    assert_eq!((snapshot(), refreshed()), (newest, 100));
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 250_000, "{kilobytes} kB");
    worker.stop();
}
