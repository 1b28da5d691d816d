//! Flag > environment > file > default, and what `config` says about it.

use insta::assert_snapshot;

use crate::program::Program;

fn value(program: &Program, key: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let arguments = [&["config", "--format", "csv"], arguments].concat();
    let output = program.command(&arguments).envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.starts_with(&format!("{key},"))).unwrap();
    line.split_once(',').unwrap().1.to_owned()
}

#[test]
fn defaults() {
    assert_snapshot!(Program::new().ok(&["config"]), @r"
    setting                value                        from
    duckdb-path            ducklake:sqlite:lake.sqlite  default
    data-path              lake_data                    default
    lake-alias             lake                         default
    schema                 main                         default
    metadata-schema                                     default
    pg-url                 dynamic_tables.sqlite        default
    duckdb-settings                                     default
    extension-directory                                 default
    log-level                                           default
    log-format             text                         default
    format                 table                        default
    poll-interval          60                           default
    grace-period           30                           default
    worker-name                                         default
    concurrency            2                            default
    queues                                              default
    lease                  300                          default
    heartbeat-interval     30                           default
    compaction             on                           default
    openlineage-url                                     default
    openlineage-api-key                                 default
    openlineage-namespace  dynamic-tables               default
    listen                 127.0.0.1:8642               default
    flight                                              default
    tls-certificate                                     default
    tls-key                                             default
    audit-log                                           default
    tokens                                              default
    max-queries            4                            default
    query-timeout          60                           default
    requests-per-second    200                          default
    preview-worker         false                        default
    preview-soft-limit     120                          default
    preview-hard-limit     180                          default
    preview-row-limit      100                          default
    preview-memory         1GB                          default
    preview-concurrency    4                            default
    ");
}

#[test]
fn names_of_existing_installations_are_understood() {
    let program = Program::new();
    let old = [("TASK_SOFT_TIME_LIMIT", "7"), ("WORKER_CONCURRENCY", "3"), ("WORKER_ENABLED", "true")];
    assert_eq!(value(&program, "preview-soft-limit", &[], &old), "7,environment TASK_SOFT_TIME_LIMIT");
    assert_eq!(value(&program, "preview-concurrency", &[], &old), "3,environment WORKER_CONCURRENCY");
    assert_eq!(value(&program, "concurrency", &[], &old), "3,environment WORKER_CONCURRENCY");
    assert_eq!(value(&program, "preview-worker", &[], &old), "true,environment WORKER_ENABLED");
    let both = [("TASK_SOFT_TIME_LIMIT", "7"), ("WORKER_TASK_SOFT_TIME_LIMIT", "8")];
    assert_eq!(value(&program, "preview-soft-limit", &[], &both), "8,environment WORKER_TASK_SOFT_TIME_LIMIT");
    let ours = [("WORKER_TASK_SOFT_TIME_LIMIT", "8"), ("DYNAMIC_TABLES_PREVIEW_SOFT_LIMIT", "9")];
    assert_eq!(value(&program, "preview-soft-limit", &[], &ours), "9,environment DYNAMIC_TABLES_PREVIEW_SOFT_LIMIT");
    for (variable, wrong) in [
        ("WORKER_TASK_HARD_TIME_LIMIT", "5"),
        ("WORKER_DUCKDB_MEMORY_LIMIT", "much"),
        ("WORKER_ENABLED", "maybe"),
        ("PREVIEW_ROW_LIMIT", "0"),
    ] {
        let output = program.command(&["config"]).env(variable, wrong).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{variable}");
        assert!(said.contains(variable), "{said}");
    }
}

#[test]
fn the_highest_layer_wins() {
    let program = Program::new();
    let variable = [("DYNAMIC_TABLES_SCHEMA", "from_environment")];
    assert_eq!(value(&program, "schema", &[], &[]), "main,default");
    program.file("dynamic-tables.toml", "schema = \"from_file\"\n");
    assert_eq!(value(&program, "schema", &[], &[]), "from_file,file dynamic-tables.toml");
    assert_eq!(value(&program, "schema", &[], &variable), "from_environment,environment DYNAMIC_TABLES_SCHEMA");
    assert_eq!(value(&program, "schema", &["--schema", "from_flag"], &variable), "from_flag,flag --schema");
    program.file("other.toml", "schema = \"from_other\"\npoll-interval = 5\n");
    assert_eq!(value(&program, "schema", &["--config", "other.toml"], &[]), "from_other,file other.toml");
    assert_eq!(value(&program, "poll-interval", &["--config", "other.toml"], &[]), "5,file other.toml");
    // A variable that is set to nothing says nothing.
    assert_eq!(
        value(&program, "schema", &[], &[("DYNAMIC_TABLES_SCHEMA", "")]),
        "from_file,file dynamic-tables.toml"
    );
    assert_eq!(
        value(&program, "poll-interval", &[], &[("DYNAMIC_TABLES_POLL_INTERVAL", "7")]),
        "7,environment DYNAMIC_TABLES_POLL_INTERVAL"
    );
}

#[test]
fn secrets_are_masked() {
    let program = Program::new();
    let shown = program.ok(&["config", "--pg-url", "postgresql://ann:s3cret@db/m?password=s3cret"]);
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("postgresql://ann:***@db/m?password=***"), "{shown}");
    let error = program.fails(1, &["config", "--duckdb-settings", "threads=2;s3_secret_access_key='s3cret'"]);
    assert!(!error.contains("s3cret") && error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    let help =
        program.command(&["--help"]).env("DYNAMIC_TABLES_PG_URL", "postgresql://a:s3cret@b/c").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("s3cret"));
}

#[test]
fn the_registry_is_beside_a_local_lake() {
    let program = Program::new();
    let path = value(&program, "pg-url", &["--duckdb-path", "sub/lake.ducklake"], &[]);
    assert_eq!(path, "sub/dynamic_tables.sqlite,default");
    assert_eq!(value(&program, "data-path", &[], &[]), "lake_data,default");
}

#[test]
fn wrong_values_say_where_they_come_from() {
    let program = Program::new();
    assert_snapshot!(program.fails(1, &["config", "--log-level", "loud"]), @r#"
    error[CONFIGURATION]: invalid value "loud" for --log-level: there is no such level
      from: flag --log-level
      hint: Give TRACE, DEBUG, INFO, WARNING or ERROR.
    "#);
    let run = program.command(&["config"]).env("DYNAMIC_TABLES_POLL_INTERVAL", "0").output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert_snapshot!(String::from_utf8(run.stderr).unwrap(), @r#"
    error[CONFIGURATION]: invalid value "0" for --poll-interval: it must be at least 1 s
      from: environment DYNAMIC_TABLES_POLL_INTERVAL
      hint: Give a number of seconds, such as 60, or a duration, such as '2 minutes'.
    "#);
    program.file("dynamic-tables.toml", "format = \"yaml\"\n");
    assert_snapshot!(program.fails(1, &["config"]), @r#"
    error[CONFIGURATION]: invalid value "yaml" for --format: there is no such format
      from: file dynamic-tables.toml
      hint: Give table, json or csv.
    "#);
    program.file("dynamic-tables.toml", "pg_urll = \"x\"\n");
    assert_snapshot!(program.fails(1, &["config"]), @r#"
    error[CONFIGURATION]: unknown setting "pg-urll"
      file: dynamic-tables.toml
      hint: Did you mean pg-url?
    "#);
    program.file("dynamic-tables.toml", "pg-url = \n");
    assert_snapshot!(program.fails(1, &["config"]), @r"
    error[CONFIGURATION]: the configuration file is not TOML: string values must be quoted, expected literal string
     --> dynamic-tables.toml:1:10
      1 | pg-url = 
        |          ^
    ");
    assert_snapshot!(program.fails(1, &["config", "--config", "missing.toml"]), @r"
    error[CONFIGURATION]: cannot read the configuration file
      file: missing.toml
      why: No such file or directory (os error 2)
    ");
}

#[test]
fn settings_of_duckdb_reach_it() {
    let program = Program::new();
    let query = "SELECT current_setting('threads')::INTEGER AS n";
    let out = program.ok(&["sql", "-c", query, "--format", "csv", "--duckdb-settings", "threads=3"]);
    assert_eq!(out, "n\n3\n");
    let error = program.fails(1, &["sql", "-c", query, "--duckdb-settings", "thraeds=3"]);
    assert!(error.contains("thraeds"), "{error}");
    let error = program.fails(1, &["sql", "-c", query, "--duckdb-settings", "threads"]);
    assert!(error.contains("threads"), "{error}");
    // A name that the documentation of others invented is mapped, and that is said.
    let run = program.run(&["sql", "-c", query, "--duckdb-settings", "ducklake_inline_threshold=100"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("warning:") && run.stderr.contains("data_inlining_row_limit"), "{run:?}");
}

#[test]
fn a_lake_with_another_data_path_is_found_again_without_it() {
    let program = Program::new();
    program.ok(&["sql", "--data-path", "elsewhere", "-c", "CREATE TABLE t AS SELECT 1 AS a"]);
    assert_eq!(program.ok(&["sql", "-c", "FROM t"]).trim_end(), "a\n1");
    assert!(!program.path().join("lake_data").exists());
    let error = program.fails(1, &["list", "--data-path", "other"]);
    assert!(error.contains("leave --data-path out"), "{error}");
}
