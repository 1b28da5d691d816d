//! The process in which somebody's query runs. It is told how much it may take by its argument, and what to do by one line on
//! its standard input; it answers with one line on its standard output and ends. `interrupt` on its input stops the query; the
//! end of its input ends it: nobody waits any more.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connection::Kind;
use error::{Code, Error, Result};
use lake::{InterruptHandle, Sandbox, SandboxLimits};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sql::names::quote_identifier;
use sql::query::Parser;

use crate::answer::{Answer, Asked};
use crate::compose::{Parts, distinct, label};
use crate::json::Rows;
use crate::names::{Names, Side, table};
use crate::place::Place;
use crate::walk::walk;
use crate::{filter, profile};

/// How much the process may take. Known before what it is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub memory: String,
    pub threads: u32,
    pub disk: String,
    /// Where it may spill.
    pub folder: PathBuf,
    pub extension_directory: Option<PathBuf>,
}

/// What it is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Try a query.
    Preview(Box<Trial>),
    /// See whether a place can be reached.
    Test(Place),
}

/// A query to try.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub asked: Asked,
    /// Not more rows than these.
    pub rows: u64,
    pub source: Place,
    pub destination: Option<Place>,
    /// Not more bytes than these.
    pub most_bytes: usize,
    /// After this the databases at the other end give up by themselves.
    pub statement_ms: u64,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// An answer, or what is wrong with the query.
    Preview(Box<Answer>),
    /// The place can be reached, or why not.
    Test(std::result::Result<(), Refused>),
}

/// An error on its way out of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
}

/// More columns than these are not shown.
const MOST_COLUMNS: usize = 4_096;
/// How often a query that is to stop is interrupted: an interruption between two statements stops neither.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);
/// What a process exits with whose arguments or input are none.
const USAGE: u8 = 2;

/// Runs as the sandbox; `setup` is the program's one argument.
#[must_use]
pub fn main(setup: Option<&str>) -> ExitCode {
    let Some(setup) = setup.and_then(|setup| serde_json::from_str::<Setup>(setup).ok()) else {
        return ExitCode::from(USAGE);
    };
    restrict();
    // Opened before anybody asks, so that who does waits for the query only.
    let opened = open(&setup);
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line).is_err() || line.is_empty() {
        clear(&setup.folder);
        return ExitCode::SUCCESS;
    }
    let Ok(order) = serde_json::from_str::<Order>(&line) else { return ExitCode::from(USAGE) };
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Ok((sandbox, _)) = &opened {
        listen(sandbox.interrupt_handle(), Arc::clone(&interrupted), setup.folder.clone());
    }
    let reply = match order {
        Order::Preview(trial) => {
            let result = opened.and_then(|(sandbox, parser)| preview(&sandbox, &parser, &trial));
            Reply::Preview(Box::new(result.unwrap_or_else(|error| {
                let mut answer = Answer::failed(&error);
                for place in std::iter::once(&trial.source).chain(&trial.destination) {
                    answer.error = answer.error.map(|error| place.scrub(&error));
                    answer.hint = answer.hint.map(|hint| place.scrub(&hint));
                }
                answer
            })))
        }
        Order::Test(place) => {
            let result = opened.and_then(|(sandbox, _)| test(&sandbox, &place));
            Reply::Test(result.map_err(|error| Refused {
                code: error.code(),
                message: place.scrub(error.message()),
                hint: error.hint().map(|hint| place.scrub(hint)),
            }))
        }
    };
    let Ok(text) = serde_json::to_string(&reply) else { return ExitCode::from(USAGE) };
    // Whoever is gone hears nothing.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    // Not by returning: a connection that hangs must not keep the process.
    std::process::exit(0)
}

/// No dump of memory that holds secrets, and not more open files than a query needs.
fn restrict() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, 512)] {
        // Where it is refused, the other walls stand.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

fn open(setup: &Setup) -> Result<(Sandbox, Parser)> {
    let limits = SandboxLimits { memory: setup.memory.clone(), threads: setup.threads, disk: setup.disk.clone() };
    let sandbox = Sandbox::open(&limits, &setup.folder, setup.extension_directory.as_deref())?;
    // What most previews read. Where it is not installed, whoever needs it is told.
    let _ = sandbox.load("postgres_scanner");
    Ok((sandbox, Parser::new()?))
}

/// Takes its folder away. Whoever started it does that, unless it is gone.
fn clear(folder: &Path) {
    // There is nobody to be told.
    let _ = std::fs::remove_dir_all(folder);
}

fn listen(handle: InterruptHandle, interrupted: Arc<AtomicBool>, folder: PathBuf) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if line == "interrupt" && !interrupted.swap(true, Ordering::SeqCst) {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    loop {
                        handle.interrupt();
                        std::thread::sleep(INTERRUPT_INTERVAL);
                    }
                });
            }
        }
        clear(&folder);
        std::process::exit(0)
    });
}

fn test(sandbox: &Sandbox, place: &Place) -> Result<()> {
    place.attach(sandbox, &[], 10_000)?;
    if place.kind == Kind::Files.as_str() {
        return sandbox.list(place.settings.get("path").map(String::as_str).unwrap_or_default());
    }
    Ok(())
}

fn preview(sandbox: &Sandbox, parser: &Parser, trial: &Trial) -> Result<Answer> {
    let asked = &trial.asked;
    let side = |place: &Place| Side { alias: place.alias.clone(), schema: place.schema() };
    let source = side(&trial.source);
    let (schema, name) = table(&asked.table_name, &source.schema, trial.source.kind == Kind::Files.as_str())?;
    let sql = asked.sql.as_deref().filter(|sql| !sql.trim().is_empty());
    let filter = asked.filter_sql.as_deref().filter(|filter| !filter.trim().is_empty());
    let mut names = Names {
        filtered: (filter.is_some() || asked.sample).then(|| unused_name(sql.unwrap_or_default())),
        destination: trial.destination.as_ref().map(side),
        table: (schema.clone(), name.clone()),
        relations: Vec::new(),
        source,
    };
    let query = sql.map(|sql| walk(parser, sql, &mut names).and_then(|node| parser.to_sql(&node))).transpose()?;
    let mut parts = Parts {
        table: (trial.source.alias.clone(), schema, name),
        filtered: names.filtered.clone(),
        condition: None,
        sample: asked.sample.then_some(trial.rows),
        query,
    };
    attach(sandbox, trial, &names, &parts)?;
    if let Some(filter) = filter {
        let columns = sandbox.describe(&format!("SELECT * FROM {}", parts.table()))?;
        parts.condition = filter::condition(parser, filter, &columns)?;
    }
    run(sandbox, trial, &parts)
}

fn attach(sandbox: &Sandbox, trial: &Trial, names: &Names, parts: &Parts) -> Result<()> {
    let mut folders = Vec::new();
    let sides = [(Some(&trial.source), "source"), (trial.destination.as_ref(), "destination")];
    for (place, what) in sides.into_iter().filter_map(|(place, what)| place.map(|place| (place, what))) {
        let mut relations: Vec<String> = names
            .relations
            .iter()
            .filter(|(alias, _, _)| *alias == place.alias)
            .map(|(_, _, name)| name.clone())
            .collect();
        let is_source = what == "source";
        if is_source && !relations.contains(&parts.table.2) {
            relations.push(parts.table.2.clone());
        }
        // A destination that the query does not read need not be there.
        if !is_source && relations.is_empty() {
            continue;
        }
        folders.extend(place.attach(sandbox, &relations, trial.statement_ms).map_err(
            |error| match error.code() {
                Code::Connection | Code::Permission | Code::Internal => {
                    let why = reason(error.message());
                    let message = format!("Could not connect to {what} database: {why}");
                    Error::new(error.code(), message).with_hint("TEST CONNECTION says whether it can be reached.")
                }
                _ => error,
            },
        )?);
    }
    sandbox.close(&folders)
}

/// What a database or its driver says, in words that somebody who only asked for a preview understands.
fn reason(message: &str) -> &str {
    for (mark, said) in [
        ("password authentication failed", "the user or the password is wrong"),
        ("no password supplied", "it takes a password"),
        ("Connection refused", "nothing answers there (connection refused)"),
        ("timeout expired", "it does not answer (timeout)"),
        ("could not translate host name", "the host is not known"),
        ("does not support SSL", "it does not speak TLS, which the connection demands"),
        ("certificate verify failed", "its certificate is not trusted"),
        ("no pg_hba.conf entry", "it does not let this user in from here"),
    ] {
        if message.contains(mark) {
            return said;
        }
    }
    message
}

fn run(sandbox: &Sandbox, trial: &Trial, parts: &Parts) -> Result<Answer> {
    let asked = &trial.asked;
    let columns = sandbox.describe(&parts.described())?;
    if columns.len() > MOST_COLUMNS {
        let message = format!("the result has {} columns, and at most {MOST_COLUMNS} are shown", columns.len());
        return Err(Error::new(Code::Query, message).with_hint("Select fewer columns."));
    }
    let names = distinct(&columns);
    // One more than is shown, to know whether there are more.
    let mut text = parts.limited(&columns, trial.rows.saturating_add(1));
    if asked.include_profiling {
        let list: Vec<String> = (1..=columns.len()).map(|number| format!("c{number}")).collect();
        sandbox.keep(profile::TABLE, &format!("SELECT * FROM ({text}) AS kept({})", list.join(", ")))?;
        text = format!("SELECT * FROM {}", quote_identifier(profile::TABLE));
    }
    let mut rows = Rows {
        names: &names,
        kinds: columns.iter().map(|(_, kind)| kind.as_str()).collect(),
        form: asked.rows,
        numbers: asked.numbers,
        most_rows: trial.rows,
        most_bytes: trial.most_bytes,
        text: String::new(),
        rows: 0,
        truncated: false,
    };
    sandbox.stream(&text, &mut rows)?;
    let (data, row_count, truncated) = rows.finish();
    let profile = match asked.include_profiling {
        true => Some(profile::of(sandbox, &names, &columns, trial.rows)?),
        false => None,
    };
    let raw = |text: String| {
        RawValue::from_string(text)
            .map_err(|cause| Error::new(Code::Internal, "the rows are no JSON").with_source(cause))
    };
    Ok(Answer {
        column_types: columns.iter().map(|(_, kind)| label(kind).to_owned()).collect(),
        engine_types: columns.into_iter().map(|(_, kind)| kind).collect(),
        columns: names,
        data: raw(data)?,
        error: None,
        error_code: None,
        hint: None,
        row_count,
        truncated,
        sample: asked.sample,
        cached: false,
        profile: profile.map(raw).transpose()?,
    })
}

/// A name that does not occur in a text.
fn unused_name(text: &str) -> String {
    let text = text.to_lowercase();
    let numbered = (2..).map(|number| format!("filtered_source_{number}"));
    let mut names = std::iter::once("filtered_source".to_owned()).chain(numbered);
    names.find(|name| !text.contains(name.as_str())).unwrap_or_default()
}
