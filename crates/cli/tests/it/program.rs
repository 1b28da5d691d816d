//! Runs the program in a folder of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A folder with a lake, a registry and files, gone at the end of the test.
pub struct Program {
    folder: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A lake with `orders` (three rows in two days) and `customers`.
    pub fn with_orders() -> Self {
        let program = Self::new();
        program.sql(
            "CREATE TABLE orders (id INTEGER, day DATE, customer INTEGER, amount DECIMAL(10, 2));
             INSERT INTO orders VALUES (1, '2026-01-01', 1, 10), (2, '2026-01-01', 2, 20), (3, '2026-01-02', 1, 5);
             CREATE TABLE customers (id INTEGER, name VARCHAR);
             INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob')",
        );
        program
    }

    /// The lake with 10,000 orders more, a hundred a day: enough for a change to be worth following.
    pub fn with_many_orders() -> Self {
        let program = Self::with_orders();
        program.sql(
            "INSERT INTO orders SELECT 1000 + i, DATE '2026-02-01' + (i // 2000)::INTEGER, i % 7, i % 50 FROM range(200000) r(i)",
        );
        program
    }

    /// With the dynamic table `daily` over `orders`.
    pub fn with_daily() -> Self {
        let program = Self::with_orders();
        program.sql(DAILY);
        program
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with these arguments, not started yet. The environment has no settings but those added.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dynamic-tables"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DYNAMIC_TABLES_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(self.path()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments).spawn().unwrap())
    }

    /// Runs the program with this text on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // A program that does not want its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        finish(child)
    }

    /// Runs the program, which must succeed; its standard output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}\n{}\n{}", run.stdout, run.stderr);
        run.stdout
    }

    /// Runs the program, which must fail with this exit code; its standard error.
    #[track_caller]
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}\n{}\n{}", run.stdout, run.stderr);
        run.stderr
    }

    /// Runs statements, which must succeed; the rows of a query as CSV without the header, one line each.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> Vec<String> {
        let out = self.ok(&["sql", "--format", "csv", "-c", statements]);
        out.lines().skip(1).map(str::to_owned).collect()
    }

    /// Every table of the lake that users see, and every dynamic table that the registry knows.
    #[track_caller]
    pub fn inventory(&self) -> (Vec<String>, Vec<String>) {
        let tables = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = 'main' \
                      ORDER BY 1; SHOW DYNAMIC TABLES";
        let out = self.ok(&["sql", "--format", "csv", "-c", tables]);
        let (tables, dynamic) = out.split_once("schema,name,").unwrap();
        let tables = tables.lines().skip(1).map(str::to_owned).collect();
        let dynamic = dynamic.lines().skip(1).filter_map(|line| line.split(',').nth(1)).map(str::to_owned).collect();
        (tables, dynamic)
    }
}

/// A dynamic table that is refreshed incrementally.
pub const DAILY: &str = "CREATE DYNAMIC TABLE daily TARGET_LAG = '5 minutes' AS \
     SELECT day, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY day";

/// Waits for the end of a run.
pub fn finish(child: Child) -> Run {
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// For `insta::with_settings!`: what differs from run to run. Runs of blanks shrink, since columns are as wide as
/// what was replaced in them.
pub const FILTERS: [(&str, &str); 8] = [
    (r#""(current_lag|duration|bytes)":[0-9.]+"#, "\"$1\":[n]"),
    (r"\d{4}-\d{2}-\d{2}T[0-9:.]+Z", "[time]"),
    (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", "[time]"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]"),
    (r"\b\d+(\.\d+)? ?(ms|s|kB|MB|B)\b", "[n]"),
    (r"/tmp/\.tmp\w+", "[folder]"),
    (r"[ \t]+\n", "\n"),
    (r"(\S)  +", "$1  "),
];
