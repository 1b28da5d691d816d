#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn parse(name: &str, value: &str) -> Result<Property> {
    Property::new(name.parse()?, value)
}

#[test]
fn names_and_synonyms_in_any_case() {
    assert_eq!("target_lag".parse::<PropertyName>().unwrap(), PropertyName::TargetLag);
    assert_eq!("Refresh_Strategy".parse::<PropertyName>().unwrap(), PropertyName::RefreshMode);
    for name in PropertyName::ALL {
        assert_eq!(name.as_str().parse::<PropertyName>().unwrap(), name);
    }
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let hint = |name: &str| name.parse::<PropertyName>().unwrap_err().hint().unwrap_or_default().to_owned();
    assert_eq!(hint("TARGETLAG"), "Did you mean TARGET_LAG?");
    assert_eq!(hint("refresh_mod"), "Did you mean REFRESH_MODE?");
    assert!(hint("colour").starts_with("The properties are TARGET_LAG, "));
    assert!(hint("warehouse").contains("no warehouses"));
}

#[test]
fn values() {
    for (name, value, expected) in [
        ("TARGET_LAG", "1 hour", "TARGET_LAG = '1 hour'"),
        ("TARGET_LAG", "Downstream", "TARGET_LAG = DOWNSTREAM"),
        ("REFRESH_STRATEGY", "affected_keys", "REFRESH_MODE = AUTO"),
        ("REFRESH_STRATEGY", "incremental", "REFRESH_MODE = INCREMENTAL"),
        ("REFRESH_MODE", "full", "REFRESH_MODE = FULL"),
        ("INITIALIZE", "on_schedule", "INITIALIZE = ON_SCHEDULE"),
        ("DEDUPLICATION", "on", "DEDUPLICATION = TRUE"),
        ("DEDUPLICATION", "False", "DEDUPLICATION = FALSE"),
        ("CARDINALITY_THRESHOLD", "0", "CARDINALITY_THRESHOLD = 0"),
        ("CARDINALITY_THRESHOLD", "1.0", "CARDINALITY_THRESHOLD = 1"),
        ("CARDINALITY_THRESHOLD", ".25", "CARDINALITY_THRESHOLD = 0.25"),
        ("PARALLEL_THRESHOLD", "10_000", "PARALLEL_THRESHOLD = 10000"),
        ("MAX_PARALLELISM", "4", "MAX_PARALLELISM = 4"),
        ("SCHEDULER", "disable", "SCHEDULER = DISABLE"),
        ("COMMENT", "it's", "COMMENT = 'it''s'"),
    ] {
        assert_eq!(parse(name, value).unwrap().to_string(), expected);
    }
}

#[test]
fn values_out_of_range_say_what_is_expected() {
    for (name, value, hint) in [
        ("CARDINALITY_THRESHOLD", "1.01", "CARDINALITY_THRESHOLD is a number from 0 to 1."),
        ("CARDINALITY_THRESHOLD", "-0.1", "CARDINALITY_THRESHOLD is a number from 0 to 1."),
        ("CARDINALITY_THRESHOLD", "nan", "CARDINALITY_THRESHOLD is a number from 0 to 1."),
        ("CARDINALITY_THRESHOLD", "inf", "CARDINALITY_THRESHOLD is a number from 0 to 1."),
        ("MAX_PARALLELISM", "0", "MAX_PARALLELISM is a whole number from 1."),
        ("MAX_PARALLELISM", "4294967296", "MAX_PARALLELISM is a whole number from 1."),
        ("PARALLEL_THRESHOLD", "-1", "PARALLEL_THRESHOLD is a whole number."),
        ("PARALLEL_THRESHOLD", "1.5", "PARALLEL_THRESHOLD is a whole number."),
        ("PARALLEL_THRESHOLD", "_1", "PARALLEL_THRESHOLD is a whole number."),
        ("PARALLEL_THRESHOLD", "99999999999999999999", "PARALLEL_THRESHOLD is a whole number."),
        ("REFRESH_MODE", "sometimes", "REFRESH_MODE is AUTO, INCREMENTAL or FULL."),
        ("INITIALIZE", "later", "INITIALIZE is ON_CREATE or ON_SCHEDULE."),
        ("DEDUPLICATION", "maybe", "DEDUPLICATION is TRUE or FALSE."),
        ("SCHEDULER", "", "SCHEDULER is ENABLE or DISABLE."),
    ] {
        let error = parse(name, value).unwrap_err();
        assert_eq!(error.message(), format!("invalid {name} {value:?}"));
        assert_eq!(error.hint(), Some(hint));
    }
}

#[test]
fn command_line_assignments() {
    let shown = |text: &str| Property::parse_assignment(text).map(|property| property.to_string());
    assert_eq!(shown("TARGET_LAG=5 minutes").unwrap(), "TARGET_LAG = '5 minutes'");
    assert_eq!(shown(" target_lag = '5 minutes' ").unwrap(), "TARGET_LAG = '5 minutes'");
    assert_eq!(shown("COMMENT=a = b, it's").unwrap(), "COMMENT = 'a = b, it''s'");
    assert_eq!(shown("COMMENT='a' and 'b'").unwrap(), "COMMENT = '''a'' and ''b'''");
    assert_eq!(shown("COMMENT=").unwrap(), "COMMENT = ''");
    assert!(shown("TARGET_LAG").is_err());
    assert!(shown("=5").is_err());
}

#[test]
fn set_get_and_unset_agree() {
    let mut properties = Properties::default();
    let all = [
        Property::TargetLag(TargetLag::Downstream),
        Property::RefreshMode(RefreshMode::Full),
        Property::Initialize(Initialize::OnSchedule),
        Property::Deduplication(true),
        Property::CardinalityThreshold(0.5),
        Property::ParallelThreshold(7),
        Property::MaxParallelism(3),
        Property::Scheduler(Scheduler::Disable),
        Property::Comment("c".to_owned()),
        Property::ClusterBy("(a, \"b c\")".parse().unwrap()),
    ];
    for property in &all {
        properties.set(property.clone());
        assert_eq!(properties.get(property.name()).as_ref(), Some(property));
    }
    assert_eq!(properties.not_default(), all);
    for name in PropertyName::ALL {
        properties.unset(name);
    }
    assert_eq!(properties, Properties::default());
    assert!(properties.not_default().is_empty());
}

#[test]
fn a_lag_is_needed_unless_the_scheduler_is_off() {
    let mut properties = Properties::default();
    assert_eq!(properties.check().unwrap_err().message(), "TARGET_LAG is missing");
    properties.set(Property::Scheduler(Scheduler::Disable));
    assert!(properties.check().is_ok());
    properties.set(Property::Scheduler(Scheduler::Enable));
    properties.set(Property::TargetLag(TargetLag::Downstream));
    assert!(properties.check().is_ok());
}

#[test]
fn json_round_trips_and_older_records_read() {
    let mut properties = Properties::default();
    properties.set(parse("TARGET_LAG", "5m").unwrap());
    properties.set(parse("INITIALIZE", "ON_SCHEDULE").unwrap());
    properties.set(parse("CLUSTER_BY", "a, \"b, c\"").unwrap());
    let json = serde_json::to_string(&properties).unwrap();
    assert!(json.contains(r#""target_lag":"5 minutes""#) && json.contains(r#""initialize":"ON_SCHEDULE""#), "{json}");
    assert_eq!(serde_json::from_str::<Properties>(&json).unwrap(), properties);
    let older: Properties = serde_json::from_str(r#"{"target_lag":"5 minutes"}"#).unwrap();
    assert_eq!((older.max_parallelism, older.target_lag), (16, properties.target_lag));
}

#[test]
fn columns_to_cluster_by() {
    let shown = |text: &str| parse("CLUSTER BY", text).map(|property| property.to_string());
    assert_eq!(shown("region").unwrap(), "CLUSTER BY (region)");
    assert_eq!(shown(r#"( region, "the day", "select" )"#).unwrap(), r#"CLUSTER BY (region, "the day", "select")"#);
    let listed: ClusterBy = "(a, \"B\")".parse().unwrap();
    assert_eq!(listed.columns(), ["a", "B"]);
    for (text, message) in [
        ("", "expected a column, found the end of the statement"),
        ("()", "expected a column, found \")\""),
        ("(a", "expected a comma or \")\", found the end of the statement"),
        ("(a) b", "expected a comma, found \"b\""),
        ("(a, A)", "column A is listed twice"),
        ("(t.a)", "a column to cluster by has one part"),
        ("(date_trunc('day', a))", "expected a comma or \")\", found \"(\""),
        ("(a DESC)", "expected a comma or \")\", found \"DESC\""),
        ("('a')", "expected a column, found a string"),
    ] {
        let error = shown(text).unwrap_err();
        assert_eq!(error.message(), message, "{text}");
        assert!(error.hint().is_some(), "{text}");
    }
}
