#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::*;
use crate::properties::{Initialize, RefreshMode, Scheduler, TargetLag};

fn one(text: &str) -> Statement {
    let mut statements = parse_statements(text).unwrap();
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0).value
}

fn created(text: &str) -> CreateDynamicTable {
    match one(text) {
        Statement::Create(create) => create,
        other => panic!("{other:?}"),
    }
}

/// The message, what the caret points at, and the hint.
fn failure(text: &str) -> (String, String, String) {
    let error = parse_statements(text).unwrap_err();
    let span = error.span().unwrap_or_else(|| panic!("no place: {error}"));
    assert_eq!(span.text, text);
    let pointed_at = text.get(span.offset..span.offset + span.length).unwrap().to_owned();
    (error.message().to_owned(), pointed_at, error.hint().unwrap_or_default().to_owned())
}

#[test]
fn the_statement_of_the_readme() {
    let text = "CREATE DYNAMIC TABLE daily TARGET_LAG = '5 minutes' AS SELECT 1";
    let create = created(text);
    assert_eq!(create.name.to_string(), "daily");
    assert_eq!((create.mode, create.if_not_exists), (CreateMode::Create, false));
    assert_eq!(create.properties.target_lag, Some("5 minutes".parse().unwrap()));
    assert_eq!(create.query, "SELECT 1");
    assert_eq!(&text[create.query_offset..], "SELECT 1");
}

#[test]
fn every_property_with_and_without_commas_in_any_case() {
    let create = created(
        "create or replace dynamic table Lake.\"My Schema\".t
           target_lag = downstream, refresh_strategy = 'Affected_Keys'
           INITIALIZE = on_schedule DEDUPLICATION = TRUE, CARDINALITY_THRESHOLD = 0.5
           PARALLEL_THRESHOLD = 1_000 MAX_PARALLELISM = 4 SCHEDULER = DISABLE COMMENT = 'it''s'
         as (select 1)",
    );
    assert_eq!(create.mode, CreateMode::OrReplace);
    assert_eq!(create.name.to_string(), "Lake.\"My Schema\".t");
    assert_eq!(
        create.properties,
        Properties {
            target_lag: Some(TargetLag::Downstream),
            refresh_mode: RefreshMode::Auto,
            initialize: Initialize::OnSchedule,
            deduplication: true,
            cardinality_threshold: 0.5,
            parallel_threshold: 1_000,
            max_parallelism: 4,
            queue: "default".to_owned(),
            comment: Some("it's".to_owned()),
            scheduler: Scheduler::Disable,
            cluster_by: None,
        }
    );
    assert_eq!(create.query, "(select 1)");
}

#[test]
fn properties_in_parentheses_and_behind_them() {
    let create = created(
        "CREATE OR ALTER DYNAMIC TABLE t (TARGET_LAG = 5 minutes, REFRESH_MODE = FULL) COMMENT = 'c' AS FROM x",
    );
    assert_eq!(create.mode, CreateMode::OrAlter);
    assert_eq!(create.properties.refresh_mode, RefreshMode::Full);
    assert_eq!(create.properties.target_lag, Some("5 minutes".parse().unwrap()));
    assert_eq!(create.properties.comment.as_deref(), Some("c"));
}

#[test]
fn a_lag_needs_no_quotes() {
    for written in ["5 minutes", "5m", "'5m'", "300 seconds", "$$5 minutes$$", "E'5\\x20minutes'"] {
        let create =
            created(&format!("CREATE DYNAMIC TABLE t TARGET_LAG = {written} REFRESH_MODE = FULL AS SELECT 1"));
        assert_eq!(create.properties.target_lag, Some("5 minutes".parse().unwrap()), "{written}");
    }
}

#[test]
fn the_query_keeps_its_inner_comments_and_loses_the_outer_ones() {
    let text = "-- about t\nCREATE DYNAMIC TABLE t /* x */ SCHEDULER = DISABLE AS -- why\n SELECT ';' -- inner\n AS a; -- end";
    let create = created(text);
    assert_eq!(create.query, "SELECT ';' -- inner\n AS a");
    assert_eq!(&text[create.query_offset..create.query_offset + create.query.len()], create.query);
}

#[test]
fn if_not_exists() {
    assert!(created("CREATE DYNAMIC TABLE IF NOT EXISTS t TARGET_LAG = '1 day' AS SELECT 1").if_not_exists);
    let (message, place, _) =
        failure("CREATE OR REPLACE DYNAMIC TABLE IF NOT EXISTS t TARGET_LAG = '1 day' AS SELECT 1");
    assert_eq!((message.as_str(), place.as_str()), ("IF NOT EXISTS contradicts OR REPLACE and OR ALTER", "IF"));
}

#[test]
fn a_statement_reads_back_as_it_is_shown() {
    for text in [
        "CREATE DYNAMIC TABLE t\n  TARGET_LAG = '5 minutes'\nAS\nSELECT 1",
        "CREATE OR REPLACE DYNAMIC TABLE a.\"B c\"\n  TARGET_LAG = DOWNSTREAM\n  REFRESH_MODE = FULL\n  \
         CARDINALITY_THRESHOLD = 0.25\n  COMMENT = 'it''s'\nAS\nSELECT 1",
        "CREATE DYNAMIC TABLE IF NOT EXISTS t\n  SCHEDULER = DISABLE\nAS\nSELECT 1",
        "CREATE OR ALTER DYNAMIC TABLE t\n  TARGET_LAG = '1 day'\nAS\nSELECT 1",
        "CREATE DYNAMIC TABLE t\n  TARGET_LAG = '1 day'\n  CLUSTER BY (a, \"b c\")\nAS\nSELECT 1",
    ] {
        assert_eq!(created(text).to_string(), text);
    }
}

#[test]
fn clustering_has_no_equals_sign() {
    for written in [
        "CLUSTER BY (a, b) TARGET_LAG = '1 day'",
        "(cluster by (a, b), TARGET_LAG = '1 day')",
        "(TARGET_LAG = '1 day') CLUSTER BY (a, b)",
        "TARGET_LAG = '1 day', CLUSTER_BY = (a, b)",
        "TARGET_LAG = '1 day', CLUSTER_BY = 'a, b'",
    ] {
        let create = created(&format!("CREATE DYNAMIC TABLE t {written} AS SELECT 1"));
        assert_eq!(create.properties.cluster_by, Some("(a, b)".parse().unwrap()), "{written}");
    }
    let refused = |written: &str| {
        let (message, place, _) = failure(&format!("CREATE DYNAMIC TABLE t {written} AS SELECT 1"));
        (message, place)
    };
    let said = |message: &str, place: &str| (message.to_owned(), place.to_owned());
    assert_eq!(refused("CLUSTER BY a"), said("expected \"(\" and a list of columns, found \"a\"", "a"));
    assert_eq!(refused("CLUSTER (a)"), said("expected BY, found \"(\"", "("));
    assert_eq!(refused("CLUSTER BY (a) CLUSTER BY (b)"), said("CLUSTER_BY is given twice", "CLUSTER"));
}

#[test]
fn alter_in_every_form() {
    let action = |text: &str| match one(&format!("ALTER DYNAMIC TABLE s.t {text}")) {
        Statement::Alter { name, if_exists: false, action } if name.to_string() == "s.t" => action,
        other => panic!("{other:?}"),
    };
    assert_eq!(action("SUSPEND"), AlterAction::Suspend);
    assert_eq!(action("resume;"), AlterAction::Resume);
    assert_eq!(action("REFRESH"), AlterAction::Refresh { full: false });
    assert_eq!(action("REFRESH FULL"), AlterAction::Refresh { full: true });
    assert!(matches!(action("RENAME TO s.\"new\""), AlterAction::RenameTo(name) if name.to_string() == "s.new"));
    assert_eq!(
        action("SET TARGET_LAG = '1 hour', COMMENT = 'x' REFRESH_MODE = FULL"),
        AlterAction::Set(vec![
            Property::TargetLag("1 hour".parse().unwrap()),
            Property::Comment("x".to_owned()),
            Property::RefreshMode(RefreshMode::Full),
        ])
    );
    assert_eq!(
        action("UNSET COMMENT, REFRESH_STRATEGY"),
        AlterAction::Unset(vec![PropertyName::Comment, PropertyName::RefreshMode])
    );
    let clustered = AlterAction::Set(vec![Property::ClusterBy("(a, b)".parse().unwrap())]);
    assert_eq!(action("CLUSTER BY (a, b)"), clustered);
    assert_eq!(action("SET CLUSTER BY (a, b)"), clustered);
    assert_eq!(action("DROP CLUSTERING KEY"), AlterAction::Unset(vec![PropertyName::ClusterBy]));
    assert!(matches!(one("ALTER DYNAMIC TABLE IF EXISTS t SUSPEND"), Statement::Alter { if_exists: true, .. }));
}

#[test]
fn the_short_statements() {
    let name = |statement: Statement| match statement {
        Statement::Describe { name } | Statement::Explain { name } => name.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(name(one("DESC DYNAMIC TABLE t")), "t");
    assert_eq!(name(one("describe dynamic table a.b.t;")), "a.b.t");
    assert_eq!(name(one("EXPLAIN DYNAMIC TABLE t")), "t");
    assert_eq!(one("SHOW DYNAMIC TABLES"), Statement::Show { like: None });
    assert_eq!(one("SHOW DYNAMIC TABLES LIKE 'd%'"), Statement::Show { like: Some("d%".to_owned()) });
    let drop = |text: &str| match one(text) {
        Statement::Drop { name, if_exists, cascade } => (name.to_string(), if_exists, cascade),
        other => panic!("{other:?}"),
    };
    assert_eq!(drop("DROP DYNAMIC TABLE t"), ("t".to_owned(), false, false));
    assert_eq!(drop("DROP DYNAMIC TABLE IF EXISTS t CASCADE"), ("t".to_owned(), true, true));
    assert_eq!(drop("DROP DYNAMIC TABLE t RESTRICT"), ("t".to_owned(), false, false));
}

#[test]
fn what_is_not_ours_is_duckdbs() {
    for text in [
        "SELECT 1",
        "CREATE TABLE dynamic AS SELECT 1",
        "CREATE OR REPLACE TABLE t AS SELECT 1",
        "CREATE OR ALTER TABLE t",
        "SHOW dynamic",
        "DESCRIBE dynamic",
        "EXPLAIN SELECT 1",
        "DROP TABLE t",
        "\"CREATE\" DYNAMIC TABLE t",
        "'CREATE' DYNAMIC TABLE",
        "ALTER",
        "SHOW",
        "+",
    ] {
        assert_eq!(one(text), Statement::Other(text.to_owned()));
    }
}

#[test]
fn several_statements_with_their_places() {
    let text = "\u{feff}; SELECT ';' ;; -- one; two\nDROP DYNAMIC TABLE t;\n/* ; */ SELECT $$;$$ AS \";\" ";
    let statements = parse_statements(text).unwrap();
    let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
    assert_eq!(texts, ["SELECT ';'", "DROP DYNAMIC TABLE t", "SELECT $$;$$ AS \";\""]);
    for statement in &statements {
        assert_eq!(&text[statement.offset..statement.offset + statement.text.len()], statement.text);
    }
    assert!(matches!(statements[1].value, Statement::Drop { .. }));
}

#[test]
fn errors_say_what_was_expected_and_where() {
    for (text, message, place) in [
        ("", "there is no statement in the text", ""),
        (" -- nothing\n ;; /* x */", "there is no statement in the text", ""),
        ("CREATE DYNAMIC TABEL t AS SELECT 1", "expected TABLE, found \"TABEL\"", "TABEL"),
        ("CREATE OR DYNAMIC TABLE t", "expected REPLACE or ALTER, found \"DYNAMIC\"", "DYNAMIC"),
        ("CREATE OR DROP DYNAMIC TABLE t", "expected REPLACE or ALTER, found \"DROP\"", "DROP"),
        ("CREATE TEMP DYNAMIC TABLE t AS SELECT 1", "a dynamic table cannot be TEMP", "TEMP"),
        ("CREATE DYNAMIC TABLE", "expected the name of the dynamic table, found the end of the statement", ""),
        ("CREATE DYNAMIC TABLE AS SELECT 1", "expected the name of the dynamic table, found \"AS\"", "AS"),
        ("CREATE DYNAMIC TABLE 't' AS SELECT 1", "expected the name of the dynamic table, found a string", "'t'"),
        ("CREATE DYNAMIC TABLE \"\" AS SELECT 1", "an identifier in quotes cannot be empty", "\"\""),
        ("CREATE DYNAMIC TABLE a.b.c.d AS SELECT 1", "a name has at most three parts", "a.b.c.d"),
        ("CREATE DYNAMIC TABLE a. AS", "expected AS and the query, found the end of the statement", ""),
        ("CREATE DYNAMIC TABLE t AS SELECT 1", "TARGET_LAG is missing", "t"),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1 day'",
            "expected AS and the query, found the end of the statement",
            "",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1 day' SELECT 1",
            "expected a property or AS and the query, found \"SELECT\"",
            "SELECT",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1 day' AS",
            "expected the query behind AS, found the end of the statement",
            "",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1 day' AS ; SELECT 1",
            "expected the query behind AS, found the end of the statement",
            "",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG '1 day' AS SELECT 1",
            "expected = behind TARGET_LAG, found a string",
            "'1 day'",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = AS SELECT 1",
            "expected a lag such as '5 minutes', or DOWNSTREAM, found \"AS\"",
            "AS",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = \"5 minutes\" AS SELECT 1",
            "expected a lag such as '5 minutes', or DOWNSTREAM, found \"5 minutes\"",
            "\"5 minutes\"",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG =",
            "expected a lag such as '5 minutes', or DOWNSTREAM, found the end of the statement",
            "",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = 'soon' AS SELECT 1",
            "invalid TARGET_LAG \"soon\": it does not begin with a number",
            "'soon'",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = soon AS SELECT 1",
            "invalid TARGET_LAG \"soon\": it does not begin with a number",
            "soon",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = 0 minutes AS SELECT 1",
            "invalid TARGET_LAG \"0 minutes\": a lag of zero cannot be kept",
            "0 minutes",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = -5 minutes AS SELECT 1",
            "invalid TARGET_LAG \"-5 minutes\": a lag cannot be negative",
            "-5 minutes",
        ),
        ("CREATE DYNAMIC TABLE t TARGET_LAG = 5 AS SELECT 1", "invalid TARGET_LAG \"5\": the unit is missing", "5"),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1d' CARDINALITY_THRESHOLD = 1.5 AS SELECT 1",
            "invalid CARDINALITY_THRESHOLD \"1.5\"",
            "1.5",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1d' CARDINALITY_THRESHOLD = - AS SELECT 1",
            "expected a number from 0 to 1, found \"AS\"",
            "AS",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1d', AS SELECT 1",
            "expected a property behind the comma, found \"AS\"",
            "AS",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1d' TARGETLAG = '1d' AS SELECT 1",
            "unknown property \"TARGETLAG\"",
            "TARGETLAG",
        ),
        (
            "CREATE DYNAMIC TABLE t TARGET_LAG = '1d' target_lag = '2d' AS SELECT 1",
            "TARGET_LAG is given twice",
            "target_lag",
        ),
        ("CREATE DYNAMIC TABLE t (TARGET_LAG = '1d' AS SELECT 1", "expected a property or \")\", found \"AS\"", "AS"),
        ("CREATE DYNAMIC TABLE t (TARGET_LAG = '1d'", "expected \")\", found the end of the statement", ""),
        ("CREATE DYNAMIC TABLE t (a, b) TARGET_LAG = '1d' AS SELECT 1", "a dynamic table has no column list", "("),
        (
            "ALTER DYNAMIC TABLE t",
            "expected SET, UNSET, CLUSTER BY, DROP CLUSTERING KEY, SUSPEND, RESUME, REFRESH or RENAME TO, found the end of the statement",
            "",
        ),
        (
            "ALTER DYNAMIC TABLE t SUSPENDED",
            "expected SET, UNSET, CLUSTER BY, DROP CLUSTERING KEY, SUSPEND, RESUME, REFRESH or RENAME TO, found \"SUSPENDED\"",
            "SUSPENDED",
        ),
        ("ALTER DYNAMIC TABLE t SET", "expected a property, found the end of the statement", ""),
        ("ALTER DYNAMIC TABLE t SET COMMENT", "expected = behind COMMENT, found the end of the statement", ""),
        ("ALTER DYNAMIC TABLE t UNSET", "expected the name of a property, found the end of the statement", ""),
        (
            "ALTER DYNAMIC TABLE t UNSET COMMENT,",
            "expected the name of a property, found the end of the statement",
            "",
        ),
        ("ALTER DYNAMIC TABLE t UNSET COMMENT, comment", "COMMENT is given twice", "comment"),
        ("ALTER DYNAMIC TABLE t RENAME u", "expected TO, found \"u\"", "u"),
        ("ALTER DYNAMIC TABLE t SUSPEND now", "expected the end of the statement, found \"now\"", "now"),
        ("ALTER DYNAMIC TABLE t REFRESH now", "expected FULL or the end of the statement, found \"now\"", "now"),
        ("DROP DYNAMIC TABLE a, b", "expected CASCADE, RESTRICT or the end of the statement, found \",\"", ","),
        ("DROP DYNAMIC t", "expected TABLE, found \"t\"", "t"),
        ("SHOW DYNAMIC TABLES LIKE d", "expected a pattern in single quotes, found \"d\"", "d"),
        ("SHOW DYNAMIC TABLE", "expected TABLES, found \"TABLE\"", "TABLE"),
        ("DESCRIBE DYNAMIC TABLE t u", "expected the end of the statement, found \"u\"", "u"),
        ("SELECT 1; SELECT 'x", "unterminated string", "'"),
        ("SELECT 1; /* x", "unterminated comment", "/"),
        ("SELECT \"x", "unterminated quoted identifier", "\""),
    ] {
        let (found, pointed_at, _) = failure(text);
        assert_eq!((found.as_str(), pointed_at.as_str()), (message, place), "{text}");
    }
}

#[test]
fn hints_help() {
    let create = |rest: &str| failure(&format!("CREATE DYNAMIC TABLE t {rest} AS SELECT 1")).2;
    assert_eq!(create("TARGETLAG = '1d'"), "Did you mean TARGET_LAG?");
    assert_eq!(
        create("REFRESH_STRATEGY = FULL REFRESH_MODE = AUTO"),
        "REFRESH_STRATEGY is another name for REFRESH_MODE; leave one of them out."
    );
    assert_eq!(create("TARGET_LAG = '1d' TARGET_LAG = '1d'"), "Leave one of them out.");
    assert!(create("").contains("SCHEDULER = DISABLE"));
    assert_eq!(
        failure("CREATE DYNAMIC TABLE t TARGET_LAG = '1d' SELECT 1").2,
        "AS stands between the properties and the query."
    );
    assert_eq!(failure("DROP DYNAMIC TABLE select").2, "A name that is a keyword must be quoted: \"select\".");
}

#[test]
fn the_place_is_in_the_whole_text() {
    let text = "SELECT 1;\n\nCREATE DYNAMIC TABLE größe\n  TARGET_LAG = 'soon'\nAS SELECT 2;";
    let error = parse_statements(text).unwrap_err();
    let span = error.span().unwrap();
    assert_eq!(span.line_and_column(), (4, 16));
    assert_eq!(span.excerpt(), "4 |   TARGET_LAG = 'soon'\n  |                ^^^^^^");
}

#[test]
fn complete_texts() {
    for text in ["SELECT 1;", "SELECT ';'; -- x", "", "  -- only a comment", "DROP DYNAMIC TABLE t;\n"] {
        assert!(is_complete(text), "{text:?}");
    }
    for text in ["SELECT 1", "SELECT 1 -- ;", "SELECT 'a;", "SELECT 1; SELECT 2", "/* ;", "SELECT $$;", "SELECT \";"]
    {
        assert!(!is_complete(text), "{text:?}");
    }
}

/// Texts made of the pieces that matter to the grammar, in any order.
fn fragments() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "CREATE", "OR", "REPLACE", "ALTER", "DYNAMIC", "TABLE", "TABLES", "IF", "NOT", "EXISTS", "AS", "SELECT", "DROP",
            "SHOW", "LIKE", "DESC", "EXPLAIN", "SET", "UNSET", "REFRESH", "FULL", "RENAME", "TO", "TARGET_LAG", "COMMENT",
            "MAX_PARALLELISM", "=", ",", "(", ")", ".", "-", "5", "minutes", "1e400", "'5 minutes'", "'", "''", "\"a\"",
            "\"", "\"\"", "$$", "$a$", "$1", "E'\\", "E'\\x", "E'\\u00e9'", "\\", "--", "/*", "*/", "\n", ";", "t", "größe",
            "\u{feff}", "\u{a0}", "\u{0}",
        ]).prop_map(str::to_owned),
        1 => ".{0,4}",
    ];
    let glue = prop::sample::select(vec!["", " ", "\n"]);
    prop::collection::vec((piece, glue), 0..40)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, glue)| [piece, glue.to_owned()]).collect())
}

/// A text that is read is covered by its statements; between them is nothing but `;`, blanks and comments.
fn check_that_nothing_is_lost(text: &str) -> std::result::Result<(), TestCaseError> {
    let Ok(statements) = parse_statements(text) else {
        return Ok(());
    };
    let mut between_from = 0;
    for statement in &statements {
        let end = statement.offset + statement.text.len();
        prop_assert_eq!(&text[statement.offset..end], statement.text.as_str());
        check_gap(&text[between_from..statement.offset])?;
        between_from = end;
        if let Statement::Create(create) = &statement.value {
            prop_assert_eq!(
                &text[create.query_offset..create.query_offset + create.query.len()],
                create.query.as_str()
            );
            prop_assert!(create.query_offset + create.query.len() == end && !create.query.is_empty());
        }
        // What one statement says does not depend on what stands around it.
        prop_assert_eq!(parse_statements(&statement.text).unwrap().len(), 1);
    }
    check_gap(&text[between_from..])
}

fn check_gap(gap: &str) -> std::result::Result<(), TestCaseError> {
    let tokens = tokenize(gap);
    let only_ends = tokens.is_ok_and(|tokens| tokens.iter().all(|token| token.kind == Kind::Symbol(';')));
    prop_assert!(only_ends, "lost: {:?}", gap);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in any::<String>()) {
        if let Err(error) = parse_statements(&text) {
            prop_assert!(error.span().is_some());
            prop_assert!(!error.span().unwrap().excerpt().is_empty());
        }
        check_that_nothing_is_lost(&text)?;
        let _ = is_complete(&text);
        let _ = ObjectName::parse(&text);
        let _ = Property::parse_assignment(&text);
    }

    #[test]
    fn any_mixture_of_our_words_is_read_or_refused(text in fragments()) {
        if let Err(error) = parse_statements(&text) {
            prop_assert!(!error.span().unwrap().excerpt().is_empty());
        }
        check_that_nothing_is_lost(&text)?;
    }

    #[test]
    fn a_file_of_statements_splits_into_them(
        queries in prop::collection::vec("(SELECT|WITH) [a-z]{1,5} ('[;a-z]{0,4}'|\"[;a-z]{1,4}\"|\\$\\$[;']{0,3}\\$\\$)", 1..6)
    ) {
        let text = queries.join(" ; -- next ; '\n");
        let read: Vec<String> = parse_statements(&text).unwrap().into_iter().map(|statement| statement.text).collect();
        prop_assert_eq!(read, queries);
    }

    #[test]
    fn names_read_back_as_they_are_shown(parts in prop::collection::vec("[^\u{0}]{1,6}", 1..=3)) {
        let text: Vec<String> = parts.iter().map(|part| crate::names::quote_identifier_if_needed(part)).collect();
        let name = ObjectName::parse(&text.join(".")).unwrap();
        let read: Vec<String> = [name.catalog, name.schema, Some(name.name)].into_iter().flatten().collect();
        prop_assert_eq!(read, parts);
    }
}
