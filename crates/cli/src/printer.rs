//! The one way out: everything that is printed goes through the [`Printer`]. Results go to standard output in the format
//! asked for; warnings, errors and progress go to standard error.
//!
//! A reader that went away (`| head`) does not stop the work: what is left is done and not printed.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::str::FromStr;
use std::time::Duration;

use error::{Code, Error};
use indicatif::{ProgressBar, ProgressStyle};
use lake::mask;
use serde_json::{Map, Value, json};

use crate::listing::{Listing, Record};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    #[default]
    Table,
    /// For a program.
    Json,
    /// For a spreadsheet.
    Csv,
    /// For Graphviz; only of a graph and of an explanation.
    Dot,
    /// A picture; only of an explanation.
    Svg,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.trim().to_ascii_lowercase().as_str() {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "dot" => Ok(Self::Dot),
            "svg" => Ok(Self::Svg),
            _ => Err(()),
        }
    }
}

/// Prints results, warnings, errors and progress.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    /// The width of the terminal, if standard output is one.
    width: Option<u16>,
    color: bool,
    /// Why standard output takes no more, once it does not.
    broken: Option<io::ErrorKind>,
}

impl Printer {
    /// Prints to this process's standard output and error.
    pub fn new(format: Format) -> Self {
        let width = io::stdout().is_terminal().then(terminal_width);
        let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, width, color, broken: None }
    }

    /// How results are printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows.
    pub fn listing(&mut self, listing: &Listing) {
        let text = match self.format {
            Format::Table | Format::Dot | Format::Svg => listing.to_table(self.width),
            Format::Json => listing.to_json(),
            Format::Csv => listing.to_csv(),
        };
        self.out(&text);
    }

    /// Rows, or this sentence for a person if there are none.
    pub fn listing_or(&mut self, listing: &Listing, otherwise: &str) {
        if listing.is_empty() && self.format == Format::Table {
            self.out(otherwise);
        } else {
            self.listing(listing);
        }
    }

    /// One thing.
    pub fn record(&mut self, record: &Record) {
        let text = match self.format {
            Format::Table | Format::Dot | Format::Svg => record.to_table(),
            Format::Json => record.to_json(),
            Format::Csv => record.to_csv(),
        };
        self.out(&text);
    }

    /// A line for a person; programs do not get it.
    pub fn say(&mut self, text: &str) {
        if self.format == Format::Table {
            self.out(text);
        }
    }

    /// Text that is the result itself, in every format.
    pub fn text(&mut self, text: &str) {
        self.out(text);
    }

    /// Something the reader should know, though it went on.
    pub fn warning(&mut self, text: &str) {
        let head = self.paint("1;33", "warning:");
        Self::err(&format!("{head} {}", mask(text)));
    }

    /// What failed, where, why, and what to do.
    pub fn error(&mut self, error: &Error) {
        let text = match self.format {
            Format::Json => json!({ "error": error_as_json(error) }).to_string(),
            Format::Table | Format::Csv | Format::Dot | Format::Svg => error_as_text(error, self.color),
        };
        Self::err(&text);
    }

    /// A sign of life on standard error while something takes long; nothing unless that is a terminal. It goes away
    /// when dropped.
    pub fn progress(&self, message: &str) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(Some(bar))
    }

    /// How far many steps are, on standard error: a bar on a terminal, else a line for each step.
    pub fn steps(&self, count: u64) -> Steps {
        if !io::stderr().is_terminal() {
            return Steps(None);
        }
        let bar = ProgressBar::new(count);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Steps(Some(bar))
    }

    /// Whether everything printed arrived. A reader that went away is not a failure.
    pub fn finish(&mut self) -> error::Result<()> {
        if let Err(problem) = io::stdout().flush() {
            self.broken.get_or_insert(problem.kind());
        }
        match self.broken {
            None | Some(io::ErrorKind::BrokenPipe) => Ok(()),
            Some(kind) => Err(Error::new(Code::Resource, format!("cannot write the output: {kind}"))
                .with_hint("What was asked for is done; only its output is incomplete.")),
        }
    }

    fn out(&mut self, text: &str) {
        let text = if self.format == Format::Table { harmless(text) } else { text.into() };
        if self.broken.is_none()
            && let Err(problem) = writeln!(io::stdout().lock(), "{text}")
        {
            self.broken = Some(problem.kind());
        }
    }

    fn err(text: &str) {
        // Where standard error is gone there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    fn paint(&self, style: &str, text: &str) -> String {
        paint(self.color, style, text)
    }
}

/// A sign of life; see [`Printer::progress`].
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// How far many steps are; see [`Printer::steps`].
#[derive(Debug)]
pub struct Steps(Option<ProgressBar>);

impl Steps {
    /// What begins now; shown only where it can be wiped out again.
    pub fn begin(&self, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_owned());
        }
    }

    /// A step is done, and this is what came of it.
    pub fn done(&self, outcome: &str) {
        match &self.0 {
            Some(bar) => {
                bar.println(outcome);
                bar.inc(1);
            }
            None => Printer::err(outcome),
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A terminal that says it is narrower than a word does not know its width.
fn terminal_width() -> u16 {
    comfy_table::Table::new().width().filter(|width| *width >= 20).unwrap_or(80)
}

fn paint(color: bool, style: &str, text: &str) -> String {
    if color { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Why it failed, from the nearest reason to the last, without repeating what was said already.
fn causes(error: &Error) -> Vec<String> {
    // Engines decorate and wrap the same words in several ways.
    let essence = |text: &str| -> String { text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect() };
    let mut causes: Vec<String> = Vec::new();
    let mut said = essence(&mask(error.message()));
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = mask(cause.to_string().trim());
        let words = essence(&text);
        // A report for programs holds nothing that the message does not.
        let repeats = said.contains(&words) || words.contains(&said) || text.contains("{\"exception_type\"");
        if !repeats {
            said = words;
            causes.push(text);
        }
        next = cause.source();
    }
    causes
}

/// What to do, in general, about failures that say nothing more particular.
fn hint(error: &Error) -> Option<String> {
    let general = match error.code() {
        Code::Connection | Code::Permission => "`dynamic-tables doctor` checks every part and says what is wrong.",
        Code::Resource => "`dynamic-tables doctor` shows how much memory and disk there are.",
        Code::Internal => "This should not happen: please report it, with what `dynamic-tables doctor` says.",
        _ => return error.hint().map(mask),
    };
    Some(error.hint().map_or_else(|| general.to_owned(), mask))
}

/// The text with control characters spelled out: what a table holds must not steer the reader's terminal.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !text.contains(steers) {
        return text.into();
    }
    text.chars()
        .fold(String::with_capacity(text.len()), |mut spelled, character| {
            if steers(character) {
                spelled.extend(character.escape_default())
            } else {
                spelled.push(character)
            }
            spelled
        })
        .into()
}

/// An error for a person.
fn error_as_text(error: &Error, color: bool) -> String {
    let mut text = paint(color, "1;31", &format!("error[{}]:", error.code()));
    text.push(' ');
    text.push_str(&mask(error.message()));
    let file = error.context().iter().find(|(key, _)| *key == "file").map(|(_, value)| value.as_str());
    if let Some(span) = error.span() {
        let (line, column) = span.line_and_column();
        match file {
            Some(file) => text.push_str(&format!("\n --> {file}:{line}:{column}")),
            None => text.push_str(&format!("\n --> line {line}, column {column}")),
        }
        for line in mask(&span.excerpt()).lines() {
            text.push_str(&format!("\n  {line}"));
        }
    }
    for (key, value) in error.context() {
        if *key != "file" || error.span().is_none() {
            push_field(&mut text, color, key, &mask(value));
        }
    }
    for cause in causes(error) {
        push_field(&mut text, color, "why", &cause);
    }
    if let Some(hint) = hint(error) {
        push_field(&mut text, color, "hint", &hint);
    }
    text
}

fn push_field(text: &mut String, color: bool, name: &str, value: &str) {
    let mut lines = value.lines();
    let head = paint(color, "1", &format!("{name}:"));
    text.push_str(&format!("\n  {head} {}", lines.next().unwrap_or_default()));
    for line in lines {
        text.push_str(&format!("\n  {:width$} {line}", "", width = name.len() + 1));
    }
}

/// An error for a program.
pub fn error_as_json(error: &Error) -> Value {
    let mut object = Map::new();
    object.insert("code".to_owned(), error.code().as_str().into());
    object.insert("message".to_owned(), mask(error.message()).into());
    let context: Map<String, Value> =
        error.context().iter().map(|(key, value)| ((*key).to_owned(), mask(value).into())).collect();
    object.insert("context".to_owned(), context.into());
    if let Some(span) = error.span() {
        let (line, column) = span.line_and_column();
        object
            .insert("where".to_owned(), json!({ "line": line, "column": column, "excerpt": mask(&span.excerpt()) }));
    }
    object.insert("why".to_owned(), causes(error).into());
    object.insert("hint".to_owned(), hint(error).into());
    object.insert("transient".to_owned(), error.is_transient().into());
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use error::Span;

    use super::*;

    fn sample() -> Error {
        Error::new(Code::Query, "unknown column \"bad\"")
            .with_context("file", "delays.sql")
            .with_context("table", "lake.main.daily")
            .with_span(Span::new("SELECT a,\n  bad\nFROM t", 12, 3))
            .with_source(io::Error::other("Binder Error: no bad in postgresql://u:pw@h/d"))
            .with_hint("Name a column of t.")
    }

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        insta::assert_snapshot!(error_as_text(&sample(), false), @r#"
        error[QUERY]: unknown column "bad"
         --> delays.sql:2:3
          2 |   bad
            |   ^^^
          table: lake.main.daily
          why: Binder Error: no bad in postgresql://u:***@h/d
          hint: Name a column of t.
        "#);
    }

    #[test]
    fn an_error_for_a_program_has_the_same() {
        insta::assert_snapshot!(error_as_json(&sample()), @r#"{"code":"QUERY","message":"unknown column \"bad\"","context":{"file":"delays.sql","table":"lake.main.daily"},"where":{"line":2,"column":3,"excerpt":"2 |   bad\n  |   ^^^"},"why":["Binder Error: no bad in postgresql://u:***@h/d"],"hint":"Name a column of t.","transient":false}"#);
    }
}
