//! Formats, exit codes, and readers that go away.

use std::io::Read as _;

use insta::assert_snapshot;

use crate::program::Program;

const ROWS: &str = "SELECT 1 AS a, 'x, \"y\"' AS b, NULL AS c, true AS d, 1.50::DECIMAL(5,2) AS e UNION ALL \
                    SELECT 2, 'two\nlines', 'c', false, 2 ORDER BY a";

#[test]
fn rows_in_every_format() {
    let program = Program::new();
    assert_snapshot!(program.ok(&["sql", "-c", ROWS]), @r#"
    a  b       c     d      e
    1  x, "y"  NULL  true   1.50
    2  two     c     false  2.00
       lines
    "#);
    assert_snapshot!(program.ok(&["sql", "-c", ROWS, "--format", "json"]), @r#"
    [
      {"a":1,"b":"x, \"y\"","c":null,"d":true,"e":"1.50"},
      {"a":2,"b":"two\nlines","c":"c","d":false,"e":"2.00"}
    ]
    "#);
    assert_snapshot!(program.ok(&["sql", "-c", ROWS, "--format", "csv"]), @r#"
    a,b,c,d,e
    1,"x, ""y""",,true,1.50
    2,"two
    lines",c,false,2.00
    "#);
}

#[test]
fn errors_in_json_if_asked_for() {
    let program = Program::new();
    assert_snapshot!(program.fails(1, &["sql", "-c", "CREATE DYNAMIC TABLE t TARGET_LAG = 'soon' AS SELECT 1", "--format", "json"]), @r#"{"error":{"code":"QUERY","message":"invalid TARGET_LAG \"soon\": it does not begin with a number","context":{"file":"-c"},"where":{"line":1,"column":37,"excerpt":"1 | CREATE DYNAMIC TABLE t TARGET_LAG = 'soon' AS SELECT 1\n  |                                     ^^^^^^"},"why":[],"hint":"Write a number of seconds, minutes, hours or days, such as '5 minutes', or DOWNSTREAM.","transient":false}}"#);
}

#[test]
fn a_command_line_that_is_wrong_is_the_users_error() {
    let program = Program::new();
    for arguments in [&["lst"][..], &["create"], &["list", "--colour"], &["history", "--limit", "many"], &[]] {
        let run = program.run(arguments);
        assert_eq!(run.code, 1, "{arguments:?} {run:?}");
        assert!(run.stdout.is_empty() || arguments.is_empty(), "{run:?}");
    }
    assert_snapshot!(program.fails(1, &["lst", "--format", "json"]), @r#"{"error":{"code":"CONFIGURATION","message":"unrecognized subcommand 'lst'","context":{},"why":[],"hint":"--help shows what can be said.","transient":false}}"#);
    assert!(program.ok(&["--version"]).starts_with("dynamic-tables "));
}

#[test]
fn help_teaches() {
    let program = Program::new();
    let help = program.ok(&["--help"]);
    for part in ["Examples:", "Exit codes:", "CREATE DYNAMIC TABLE", "DYNAMIC_TABLES_PG_URL"] {
        assert!(help.contains(part), "{part}");
    }
    for verb in [
        "create", "validate", "list", "status", "alter", "refresh", "drop", "rename", "history", "graph", "top",
        "verify", "sql", "worker", "serve",
    ] {
        let help = program.ok(&[verb, "--help"]);
        assert!(help.contains("Example"), "{verb} --help shows no example");
    }
    assert!(program.ok(&["completions", "bash"]).contains("dynamic-tables"));
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let program = Program::new();
    let mut child = program
        .command(&[
            "sql",
            "-c",
            "SELECT * FROM range(1000000); CREATE TABLE afterwards AS SELECT 1 AS a",
            "--format",
            "csv",
        ])
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let run = crate::program::finish(child);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.stderr, "");
    assert_eq!(program.sql("SELECT a FROM afterwards"), ["1"]);
}

#[test]
fn values_do_not_steer_the_terminal() {
    let program = Program::new();
    let select = ["sql", "-c", "SELECT 'a' || chr(27) || '[2Jb' AS x"];
    assert_eq!(program.ok(&select).trim_end(), "x\na\\u{1b}[2Jb");
    let csv = program.ok(&[&select[..], &["--format", "csv"]].concat());
    assert!(csv.contains("a\u{1b}[2Jb"), "a program gets what is there: {csv:?}");
}
