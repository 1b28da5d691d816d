//! The semantics of dynamic tables as files to read: `slt/*.slt`, one topic each, in the format of sqllogictest.
//!
//! Our statements go through the interface of the product, all others through DuckDB, on a lake that lives as long as its
//! file. Two of ours give rows: `ALTER DYNAMIC TABLE name REFRESH` says what was done and which rows came (`+`) and went (`-`),
//! `EXPLAIN DYNAMIC TABLE name` which rule every operator has. In the end every table is held against its query.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use error::{Code, Error, Result};
use sql::names::ObjectName;
use sql::statement::{AlterAction, Statement, parse_statements};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};
use testkit::lake::ThrowAway;

/// The rows of an answer; `None` of a statement that gives none.
type Answer = Option<Vec<Vec<String>>>;

/// Asks a thread of its own, because a lake stays on the thread that opened it.
struct Asked {
    statements: Sender<String>,
    answers: Receiver<Result<Answer>>,
}

impl Asked {
    fn open() -> Self {
        let (statements, asked) = channel::<String>();
        let (answer, answers) = channel();
        std::thread::spawn(move || {
            let lake = ThrowAway::new();
            for statement in asked {
                let said = match &lake {
                    Ok(lake) => run(lake, &statement),
                    Err(failure) => Err(Error::new(Code::Connection, failure.to_string())),
                };
                if answer.send(said).is_err() {
                    return;
                }
            }
        });
        Self { statements, answers }
    }
}

impl DB for Asked {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        let gone = || Error::new(Code::Internal, "the lake is gone");
        self.statements.send(sql.to_owned()).map_err(|_| gone())?;
        Ok(match self.answers.recv().map_err(|_| gone())?? {
            None => DBOutput::StatementComplete(0),
            Some(rows) => {
                let width = rows.first().map_or(0, Vec::len);
                DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows }
            }
        })
    }
}

fn run(lake: &ThrowAway, text: &str) -> Result<Answer> {
    let mut statements = parse_statements(text)?;
    let Some(statement) = statements.pop() else { return Ok(None) };
    if statement.text.eq_ignore_ascii_case("verify") {
        return lake.verify().map(|()| None);
    }
    match statement.value {
        Statement::Alter { name, if_exists, action: action @ AlterAction::Refresh { .. } } => {
            let before = content(lake, &name)?;
            let altered = lake.tables.alter(&name, if_exists, &action)?;
            let mut rows = Vec::new();
            for report in altered.refreshes {
                if let Some(failure) = report.error {
                    return Err(failure);
                }
                if report.name.name == name.name {
                    rows.extend(report.action.map(|action| vec![action.to_string()]));
                }
            }
            rows.extend(difference(before, content(lake, &name)?));
            Ok(Some(rows))
        }
        Statement::Explain { name } => {
            let tree = lake.tables.explain(&name)?.tree;
            let shown = tree.into_iter().map(|node| {
                let said = node.rule.or_else(|| node.reason.map(|reason| format!("not incremental: {reason}")));
                vec![format!("{}: {}", node.operator, said.unwrap_or_default())]
            });
            Ok(Some(shown.collect()))
        }
        Statement::Other(_) if gives_rows(text) => Ok(Some(content_of(lake, text)?)),
        _ => lake.run(text).map(|()| None),
    }
}

fn gives_rows(text: &str) -> bool {
    ["select", "from", "with", "table"]
        .contains(&text.split_whitespace().next().unwrap_or_default().to_lowercase().as_str())
}

fn content(lake: &ThrowAway, name: &ObjectName) -> Result<Vec<Vec<String>>> {
    content_of(lake, &format!("FROM {name}"))
}

fn content_of(lake: &ThrowAway, query: &str) -> Result<Vec<Vec<String>>> {
    let shown = |value: Option<String>| match value.as_deref() {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(value) => value.to_owned(),
    };
    let rows = lake.others.query(query)?.rows.into_iter();
    Ok(rows.map(|row| row.into_iter().map(shown).collect()).collect())
}

/// The rows that came and those that went, as multisets.
fn difference(before: Vec<Vec<String>>, after: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut weights: BTreeMap<Vec<String>, i64> = BTreeMap::new();
    after.into_iter().for_each(|row| *weights.entry(row).or_default() += 1);
    before.into_iter().for_each(|row| *weights.entry(row).or_default() -= 1);
    let mut rows = Vec::new();
    for (row, weight) in weights {
        let sign = if weight > 0 { "+" } else { "-" };
        let shown: Vec<String> = std::iter::once(sign.to_owned()).chain(row).collect();
        rows.extend(std::iter::repeat_n(shown, usize::try_from(weight.abs()).unwrap()));
    }
    rows.sort();
    rows
}

fn file(name: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/slt")).join(name);
    let script = std::fs::read_to_string(&path).unwrap();
    let mut runner = Runner::new(|| async { Ok(Asked::open()) });
    let whole = format!("{script}\n\nstatement ok\nVERIFY\n");
    if let Err(failure) = runner.run_script_with_name(&whole, name) {
        panic!("{}", failure.display(false));
    }
}

macro_rules! files {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                file(concat!(stringify!($name), ".slt"));
            }
        )*

        #[test]
        fn every_file_is_run() {
            let known = [$(concat!(stringify!($name), ".slt")),*];
            for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/slt")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(known.contains(&name.as_str()), "{name} is not in the list");
            }
        }
    };
}

files!(
    filters,
    joins,
    outer_joins,
    groups,
    windows,
    distinct,
    set_operations,
    subqueries,
    limit,
    grouping_sets,
    nulls,
    time,
    schema_change,
);
