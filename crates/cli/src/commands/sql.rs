//! `sql`: runs our statements and DuckDB's on the lake, from the command line, from files, from standard input, or as
//! they are typed into the shell.

use std::io::{IsTerminal as _, Read as _};
use std::time::Instant;

use ::refresh::{DynamicTables, RefreshRequest};
use ::sql::statement::{AlterAction, Located, Statement};
use error::{Code, Error, Result};
use lake::Rows;
use registry::RefreshTrigger;

use crate::args::SqlArgs;
use crate::commands::{Context, alter, connection, create, describe, drop, explain, list, refresh, transfer};
use crate::input::{self, Input};
use crate::listing::{Listing, duration_text};

mod shell;

/// Runs what the options say; without any, standard input, or the shell if that is a terminal.
pub fn run(context: &mut Context<'_>, args: &SqlArgs) -> Result<()> {
    let mut inputs: Vec<Input> =
        args.commands.iter().map(|text| Input { name: "-c".to_owned(), text: text.clone() }).collect();
    inputs.extend(input::read(&args.files)?);
    if inputs.is_empty() {
        if std::io::stdin().is_terminal() {
            let tables = context.open_or_create()?;
            return shell::run(context, &tables);
        }
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map_err(|source| Error::new(Code::Configuration, "cannot read standard input").with_source(source))?;
        inputs.push(Input { name: "standard input".to_owned(), text });
    }
    // A mistake in the last statement is found before the first one runs.
    let mut statements = Vec::new();
    for input in &inputs {
        for located in input.statements()? {
            statements.push((input, located));
        }
    }
    let tables = context.open_or_create()?;
    for (input, located) in statements {
        let result = execute(context, &tables, &input.text, &located, None);
        context.or_cancelled(result).map_err(|error| input.locate(error))?;
        context.cancellation.check()?;
    }
    Ok(())
}

/// Runs one statement of `text` and prints its result, of a query at most `limit` rows.
fn execute(
    context: &mut Context<'_>,
    tables: &DynamicTables,
    text: &str,
    located: &Located<Statement>,
    limit: Option<usize>,
) -> Result<()> {
    match &located.value {
        Statement::Create(statement) => {
            let created = tables.create(statement, text)?;
            for notice in &created.notices {
                context.printer.warning(&format!("{}: {notice}", created.name));
            }
            let mut listing = Listing::new(create::COLUMNS);
            create::add(&mut listing, &created);
            context.printer.listing(&listing);
        }
        Statement::Alter { name, if_exists: false, action: AlterAction::Refresh { full } } => {
            let request = RefreshRequest {
                names: vec![name.clone()],
                full: *full,
                trigger: RefreshTrigger::Manual,
                worker: None,
            };
            let reports = tables.refresh(&request)?;
            refresh::print(context, &reports);
        }
        Statement::Alter { name, if_exists, action } => {
            let altered = tables.alter(name, *if_exists, action)?;
            let mut listing = Listing::new(alter::COLUMNS);
            alter::add(&mut listing, &altered);
            context.printer.listing(&listing);
            refresh::print_some(context, &altered.refreshes);
        }
        Statement::Drop { name, if_exists, cascade } => {
            let dropped = tables.drop(name, *if_exists, *cascade)?;
            drop::print(context, &dropped);
        }
        Statement::Show { like } => {
            let statuses = tables.status(None)?;
            list::print(context, statuses, like.as_deref());
        }
        Statement::Describe { name } => {
            let description = tables.describe(name)?;
            describe::print(context, &description);
        }
        Statement::Explain { name } => {
            let explanation = tables.explain(name)?;
            explain::print(context, &explanation, false);
        }
        Statement::Connection(statement) => connection::execute(context, statement)?,
        Statement::Transfer(statement) => transfer::execute(context, tables, statement)?,
        Statement::Other(sql) => {
            let started = Instant::now();
            let rows = tables.query(sql).map_err(|error| error.within(text, located.offset))?;
            print_rows(context, sql, rows, limit, started);
        }
    }
    Ok(())
}

fn print_rows(context: &mut Context<'_>, sql: &str, mut rows: Rows, limit: Option<usize>, started: Instant) {
    let time = duration_text(started.elapsed());
    let interactive = limit.is_some();
    if let Some(done) = rows_changed(sql, &rows) {
        // A statement without a result set: a script needs no word of it.
        if interactive {
            context.printer.say(&format!("{done} ({time})"));
        }
        return;
    }
    let total = rows.rows.len();
    if let Some(limit) = limit {
        rows.rows.truncate(limit);
    }
    context.printer.listing(&Listing::from_rows(&rows));
    if interactive {
        let shown = if total > rows.rows.len() { format!(", {} shown", rows.rows.len()) } else { String::new() };
        let rows = if total == 1 { "row" } else { "rows" };
        context.printer.say(&format!("({total} {rows}{shown}, {time})"));
    }
}

/// What a statement that is no query did, in words; `None` if it gave rows.
fn rows_changed(sql: &str, rows: &Rows) -> Option<String> {
    let first = sql.split(|character: char| !character.is_ascii_alphabetic()).find(|word| !word.is_empty());
    let changes = ["insert", "update", "delete", "merge", "create", "copy", "truncate"];
    let changes = first.is_some_and(|word| changes.iter().any(|known| word.eq_ignore_ascii_case(known)));
    match (rows.columns.as_slice(), rows.rows.as_slice()) {
        ([], _) => Some("done".to_owned()),
        ([(name, _)], []) if name == "Success" => Some("done".to_owned()),
        ([(name, _)], [row]) if changes && name == "Count" => {
            let changed = row.first().cloned().flatten().unwrap_or_default();
            Some(format!("{} changed", if changed == "1" { "1 row".to_owned() } else { format!("{changed} rows") }))
        }
        ([(name, _)], []) if name == "Count" => Some("done".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: &[(&str, &str)], values: &[&[&str]]) -> Rows {
        Rows {
            columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect(),
            rows: values.iter().map(|row| row.iter().map(|value| Some((*value).to_owned())).collect()).collect(),
        }
    }

    #[test]
    fn statements_without_a_result_set_are_told_apart() {
        let count = rows(&[("Count", "Int64")], &[&["3"]]);
        assert_eq!(rows_changed("INSERT INTO t VALUES (1)", &count).as_deref(), Some("3 rows changed"));
        assert_eq!(rows_changed("SELECT 3 AS \"Count\"", &count), None);
        assert_eq!(rows_changed("BEGIN", &rows(&[("Success", "Boolean")], &[])).as_deref(), Some("done"));
        assert_eq!(rows_changed("INSERT INTO t VALUES (1) RETURNING a", &rows(&[("a", "Int32")], &[&["1"]])), None);
        assert_eq!(rows_changed("FROM t", &rows(&[("a", "INTEGER")], &[])), None);
    }
}
