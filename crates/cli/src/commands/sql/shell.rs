//! The shell: statements as they are typed, over several lines until a semicolon, with history.

use std::path::PathBuf;

use ::refresh::DynamicTables;
use ::sql::statement::{is_complete, parse_statements};
use error::{Code, Error, Result};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Editor, Helper};

use super::execute;
use crate::commands::Context;
use crate::config::Origin;

/// A person reads no more rows than this; a file takes all (`-c`, `-f`, `--format csv`).
const SHOWN_ROWS: usize = 200;

const HELP: &str = "\
Statements end with a semicolon and may span lines.

  CREATE DYNAMIC TABLE name TARGET_LAG = '5 minutes' AS SELECT ...;
  SHOW DYNAMIC TABLES;            DESCRIBE DYNAMIC TABLE name;    EXPLAIN DYNAMIC TABLE name;
  ALTER DYNAMIC TABLE name REFRESH | SUSPEND | RESUME | SET ... | UNSET ... | RENAME TO ...;
  DROP DYNAMIC TABLE name;
  and everything that DuckDB understands, on the lake.

  .tables   tables and views      .help   this text      .quit   end (or Ctrl-D)
  Ctrl-C cancels the statement that runs, or what is being typed.";

/// Asks the editor for more lines until the statement is complete.
struct Statements;

impl Helper for Statements {}

impl Completer for Statements {
    type Candidate = String;
}

impl Highlighter for Statements {}

impl Hinter for Statements {
    type Hint = String;
}

impl Validator for Statements {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let complete = text.trim().is_empty() || text.trim_start().starts_with('.') || is_complete(text);
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Reads and runs statements until the end of input.
pub fn run(context: &mut Context<'_>, tables: &DynamicTables) -> Result<()> {
    let mut editor: Editor<Statements, DefaultHistory> = Editor::new().map_err(terminal_failure)?;
    editor.set_helper(Some(Statements));
    let history = history_file();
    if let Some(file) = &history {
        // No history yet is how everybody begins.
        let _ = editor.load_history(file);
    }
    greet(context);
    loop {
        match editor.readline("dynamic-tables> ") {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => {
                if !may_hold_secret(&text) {
                    // A history that cannot be kept is no reason not to work.
                    let _ = editor.add_history_entry(text.trim());
                }
                if !answer(context, tables, &text) {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(problem) => return Err(terminal_failure(problem)),
        }
    }
    if let Some(file) = &history {
        let _ = editor.save_history(file);
    }
    Ok(())
}

fn greet(context: &mut Context<'_>) {
    let lake = context.config.setting("duckdb-path");
    let path = lake.and_then(crate::config::Setting::shown).unwrap_or_default();
    let note = match lake.map(|setting| &setting.origin) {
        Some(Origin::Default) => " (the default lake of this directory)",
        _ => "",
    };
    context.printer.say(&format!("lake {path}{note}\n.help shows what can be said, .quit ends"));
}

/// Runs what was typed; whether to go on.
fn answer(context: &mut Context<'_>, tables: &DynamicTables, text: &str) -> bool {
    match text.trim().trim_end_matches(';').trim_end() {
        ".quit" | ".exit" | "quit" | "exit" => return false,
        ".help" | "help" => {
            context.printer.say(HELP);
            return true;
        }
        ".tables" => return run_text(context, tables, "SHOW TABLES;"),
        command if command.starts_with('.') => {
            let problem = Error::new(Code::Query, format!("unknown command {command}"));
            context.printer.error(&problem.with_hint(".help shows the commands there are."));
            return true;
        }
        _ => {}
    }
    run_text(context, tables, text)
}

fn run_text(context: &mut Context<'_>, tables: &DynamicTables, text: &str) -> bool {
    let statements = match parse_statements(text) {
        Ok(statements) => statements,
        // Comments only.
        Err(_) if is_complete(text) && !text.contains(';') => return true,
        Err(error) => {
            context.printer.error(&error);
            return true;
        }
    };
    for located in &statements {
        let result = execute(context, tables, text, located, Some(SHOWN_ROWS));
        let result = context.or_cancelled(result);
        let cancelled = context.cancellation.take();
        if let Err(error) = result {
            context.printer.error(&error);
            break;
        }
        if cancelled {
            break;
        }
    }
    true
}

/// Whether a text may say a password, which is not for a file that stays.
fn may_hold_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["connection", "secret"].iter().any(|what| text.contains(what))
        && ["password", "secret", "token", "key"].iter().any(|what| text.contains(what))
}

fn history_file() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".dynamic_tables_history"))
}

fn terminal_failure(problem: ReadlineError) -> Error {
    Error::new(Code::Resource, "cannot read from the terminal")
        .with_hint("Use -c, -f or standard input where there is no terminal.")
        .with_source(problem)
}
