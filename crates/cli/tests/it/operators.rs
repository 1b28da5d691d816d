//! What an operator looks at: lag over time, failures, the graph.

use insta::assert_snapshot;

use crate::program::{FILTERS, Program};

/// `daily` over `orders`, `weekly` over it, `pairs` over it and `customers`, and `fragile`, whose last refresh failed.
fn with_a_graph() -> Program {
    let program = Program::with_daily();
    program.sql(
        "CREATE DYNAMIC TABLE weekly TARGET_LAG = '1 hour' AS SELECT date_trunc('week', day) AS week, sum(orders) AS orders FROM daily GROUP BY 1;
         CREATE VIEW named AS SELECT name FROM customers;
         CREATE DYNAMIC TABLE pairs TARGET_LAG = DOWNSTREAM AS SELECT d.day, n.name FROM daily d, named n;
         CREATE DYNAMIC TABLE fragile TARGET_LAG = '10 seconds' AS SELECT id, CASE WHEN id > 99 THEN error('too large') ELSE 1 END AS ok FROM orders;
         INSERT INTO orders VALUES (100, '2026-01-03', 1, 1)",
    );
    program.run(&["refresh", "fragile"]);
    program.ok(&["suspend", "weekly"]);
    program
}

#[test]
fn the_graph_in_every_format() {
    let program = with_a_graph();
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["graph"]), @r"
        table  kind  scheduling_state  current_lag  target_lag  refresh_mode  last_refresh_status
        main.customers  TABLE
        └─ main.pairs  DYNAMIC_TABLE  RUNNING  [n]  DOWNSTREAM  INCREMENTAL  SUCCEEDED
        main.named  VIEW
        └─ main.pairs (see above)  DYNAMIC_TABLE
        main.orders  TABLE
        ├─ main.daily  DYNAMIC_TABLE  RUNNING  [n]  5 minutes  INCREMENTAL  SUCCEEDED
        │  ├─ main.pairs (see above)  DYNAMIC_TABLE
        │  └─ main.weekly  DYNAMIC_TABLE  SUSPENDED  [n]  1 hour  INCREMENTAL  SUCCEEDED
        └─ main.fragile  DYNAMIC_TABLE  RUNNING  [n]  10 seconds  FULL  FAILED
        ");
        assert_snapshot!(program.ok(&["graph", "weekly", "--format", "dot"]), @r#"
        digraph dynamic_tables {
          rankdir=LR;
          node [shape=box, fontname="sans-serif"];
          "main.orders";
          "main.daily" [style=rounded, label="main.daily\nRUNNING\nlag [n] of 5 minutes"];
          "main.weekly" [style=rounded, label="main.weekly\nSUSPENDED\nlag [n] of 1 hour", color=grey];
          "main.orders" -> "main.daily";
          "main.daily" -> "main.weekly";
        }
        "#);
    });
    let csv = program.ok(&["graph", "pairs", "--format", "csv"]);
    let edges: Vec<String> = csv.lines().map(|line| line.split(',').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_snapshot!(edges.join("\n"), @r"
    source source_kind dynamic_table
    main.customers TABLE main.pairs
    main.named VIEW main.pairs
    main.orders TABLE main.daily
    main.daily DYNAMIC_TABLE main.pairs
    ");
    let json = program.ok(&["graph", "--format", "json"]);
    assert!(json.contains("\"from\": \"main.daily\",\n      \"to\": \"main.weekly\""), "{json}");
    assert_snapshot!(program.fails(1, &["graph", "nothing"]), @r"
    error[QUERY]: main.nothing is no dynamic table and none reads it
      hint: `dynamic-tables graph` shows those that are there.
    ");
    assert_snapshot!(program.fails(1, &["list", "--format", "dot"]), @r"
    error[CONFIGURATION]: only a graph and an explanation can be printed as dot
      hint: Give --format table, json or csv.
    ");
}

#[test]
fn failures_and_lag_over_time() {
    let program = with_a_graph();
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["history", "--errors", "--since", "1 hour"]), @r"
        name  started_at  state  trigger  action  reason  rows_read  rows_inserted  rows_deleted  duration  lag_before  lag_after  worker
        main.fragile  [time]  FAILED  MANUAL  QUERY: too large  [n]  [n]
        ");
        assert_snapshot!(program.ok(&["list", "--lag", "--since", "1h", "--like", "%ly"]), @r"
        schema  name  target_lag  current_lag  mean_lag  maximum_lag  time_above_target_lag  time_within_target_lag_ratio  lag_since  lag_measured
        main  daily  5 minutes  [n]  [n]  [n]  [n]  100.00 %  [time]  [n]
        main  weekly  1 hour  [n]  [n]  [n]  [n]  100.00 %  [time]  [n]
        ");
    });
    let none = program.ok(&["history", "--errors", "--since", "2099-01-01"]);
    assert_eq!(none, "there was no such refresh\n");
    let found: Vec<_> = program.ok(&["list", "--lag", "--format", "csv"]).lines().map(str::to_owned).collect();
    assert_eq!(
        found[0],
        "schema,name,target_lag,current_lag,mean_lag,maximum_lag,time_above_target_lag,time_within_target_lag_ratio,lag_since,lag_measured"
    );
    assert_snapshot!(program.fails(1, &["history", "--since", "soon"]), @r#"
    error[CONFIGURATION]: invalid --since "soon": it does not begin with a number
      hint: Write how long ago, such as '90 minutes' or 7d, or a moment, such as 2026-01-31T08:00Z.
    "#);
    assert_snapshot!(program.fails(1, &["list", "--since", "7d"]).lines().next().unwrap_or_default(), @r"
    error: the following required arguments were not provided:
    ");
}

#[test]
fn top_shows_the_most_urgent_first() {
    let program = with_a_graph();
    let top = program.ok(&["top"]);
    let (activity, tables) = top.split_once("\n\ntable ").unwrap();
    assert_eq!(activity, "no worker has reported\n\nno refresh is running");
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let order: Vec<String> = tables.lines().skip(1).map(first).collect();
    assert_eq!(order, ["main.fragile", "main.daily", "main.pairs", "main.weekly"], "{top}");
    assert!(tables.contains("SUSPENDED") && tables.contains("too large"), "{top}");
    let json = program.ok(&["top", "--once", "--format", "json"]);
    assert!(json.starts_with("{\n  \"workers\": [],\n  \"running\": [],\n  \"tables\": ["), "{json}");
}

#[test]
fn the_past_of_the_graph() {
    let program = with_a_graph();
    program.ok(&["alter", "weekly", "--set", "TARGET_LAG='1 day'"]);
    program.ok(&["drop", "fragile"]);
    insta::with_settings!({ filters => FILTERS }, {
        assert_snapshot!(program.ok(&["graph", "weekly", "--history"]), @r"
        valid_from  valid_to  name  alter_trigger  scheduling_state  target_lag  refresh_mode  inputs
        [time]  main.weekly  ALTER_TARGET_LAG  SUSPENDED  1 day  INCREMENTAL  main.daily
        [time]  [time]  main.weekly  SUSPEND  SUSPENDED  1 hour  INCREMENTAL  main.daily
        [time]  [time]  main.weekly  CREATE_DYNAMIC_TABLE  RUNNING  1 hour  INCREMENTAL  main.daily
        ");
    });
    let dropped = program.ok(&["graph", "fragile", "--history", "--limit", "1", "--format", "csv"]);
    assert!(dropped.contains(",main.fragile,DROP,"), "{dropped}");
    program.fails(1, &["graph", "nothing", "--history"]);
}
