//! The figures as Prometheus reads them, and the alert rules and the dashboard that are made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::client::Served;

/// A family of figures: its type, and its samples by name and labels.
#[derive(Default)]
struct Family {
    kind: String,
    has_help: bool,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads the text format as strictly as Prometheus' own rules are: each family described once, before its samples, which
/// stand together; names and labels of the right letters; no sample twice.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some((mark, rest)) =
            ["HELP", "TYPE"].iter().find_map(|mark| Some((*mark, line.strip_prefix(&format!("# {mark} "))?)))
        {
            let (name, what) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            if name != current {
                assert!(!families.contains_key(name), "described twice, or apart: {line}");
                name.clone_into(&mut current);
            }
            let family = families.entry(name.to_owned()).or_default();
            match mark {
                "HELP" => assert!(!std::mem::replace(&mut family.has_help, true) && !what.is_empty(), "{line}"),
                _ => {
                    assert!(family.kind.is_empty() && ["counter", "gauge", "histogram"].contains(&what), "{line}");
                    what.clone_into(&mut family.kind);
                }
            }
            continue;
        }
        assert!(!line.starts_with('#'), "neither help nor type nor a sample: {line}");
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap_or_else(|_| panic!("{line}")) };
        let (name, labels) = match sample.split_once('{') {
            Some((name, labels)) => (name, labels_of(labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}")))),
            None => (sample, BTreeMap::new()),
        };
        assert!(is_name(name), "{line}");
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("not described: {line}"));
        let ending = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("not of {current}: {line}"));
        let fits = match family.kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&ending),
            _ => ending.is_empty(),
        };
        assert!(fits, "{} {line}", family.kind);
        assert!(seen.insert((name.to_owned(), labels.clone())), "twice: {line}");
        family.samples.push((name.to_owned(), labels, value));
    }
    families
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

/// Labels, whose values hold `\\`, `\"` and `\n` for what they cannot hold.
fn labels_of(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        assert!(is_name(name), "{name}");
        let mut value = String::new();
        let mut letters = rest.char_indices();
        let end = loop {
            match letters.next() {
                Some((end, '"')) => break end,
                Some((_, '\\')) => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, letter @ ('"' | '\\'))) => value.push(letter),
                    other => panic!("{other:?} in {rest}"),
                },
                Some((_, letter)) => value.push(letter),
                None => panic!("{rest}"),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
        text = rest[end + 1..].strip_prefix(',').unwrap_or(&rest[end + 1..]);
    }
    labels
}

fn ops(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops").join(name)
}

/// The names of our figures in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("dynamic_tables_")).map(str::to_owned).collect()
}

#[test]
fn figures_rules_and_dashboard_fit_together() {
    let served = Served::with_daily();
    served.lake.run("CREATE SCHEMA \"odd \"\"one\\\"; CREATE DYNAMIC TABLE \"odd \"\"one\\\".\"line\nbreak\" TARGET_LAG = '1 hour' AS SELECT 1 AS one").unwrap();
    served.finish(&served.post("/api/v1/refresh", &json!({ "full": true })));
    served.sql(&json!({ "sql": "SELECT nothing" }));
    let text = served.get("/metrics").text();
    let families = families(&text);
    for (name, family) in &families {
        assert!(family.has_help && !family.kind.is_empty(), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
        assert!(family.samples.iter().all(|(_, _, value)| *value >= 0.0), "{name}");
    }
    let tables: BTreeSet<&str> = families["dynamic_tables_lag_seconds"]
        .samples
        .iter()
        .map(|(_, labels, _)| labels["table"].as_str())
        .collect();
    assert_eq!(tables, BTreeSet::from(["main.daily", "\"odd \"\"one\\\".\"line\nbreak\""]));
    let durations = &families["dynamic_tables_refresh_duration_seconds"].samples;
    for (_, labels, count) in durations.iter().filter(|(name, ..)| name.ends_with("_count")) {
        let of_it = |known: &&(String, BTreeMap<String, String>, f64)| {
            known.0.ends_with("_bucket") && labels.iter().all(|(name, value)| known.1.get(name) == Some(value))
        };
        let buckets: Vec<f64> = durations.iter().filter(of_it).map(|(_, _, value)| *value).collect();
        assert!(buckets.is_sorted() && buckets.last() == Some(count), "{labels:?}: {buckets:?}");
    }

    let rules = std::fs::read_to_string(ops("alerts.yaml")).unwrap();
    let dashboard = std::fs::read_to_string(ops("grafana.json")).unwrap();
    for (file, text) in [("alerts.yaml", rules), ("grafana.json", dashboard)] {
        for name in names_in(&text) {
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
            assert!(
                families.contains_key(family) || families.contains_key(&name),
                "{file} asks for {name}, which is not there"
            );
        }
    }
    ask_promtool(&text);
}

/// Has Prometheus' own tool look at all of it, where it is installed; the rest of the test stands without.
fn ask_promtool(figures: &str) {
    let promtool = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    let run = |arguments: &[&str], input: &str| {
        let child = Command::new(&promtool)
            .args(arguments)
            .current_dir(ops(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => panic!("{error}"),
        };
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
        true
    };
    if !run(&["check", "metrics"], figures) {
        eprintln!(
            "SKIPPED: there is no promtool on the path (PROMTOOL names one): figures and rules were only read by this test"
        );
        return;
    }
    run(&["check", "rules", "alerts.yaml"], "");
    run(&["test", "rules", "alerts_test.yaml"], "");
}
