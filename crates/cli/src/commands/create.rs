//! `create`: dynamic tables from files. Every statement is checked before the first one runs.

use ::refresh::{CreateAction, Created, DynamicTables};
use ::sql::names::{ObjectName, same_identifier};
use ::sql::query::Parser;
use ::sql::statement::{CreateDynamicTable, Statement};
use error::{Code, Error, Result, Span};

use crate::args::CreateArgs;
use crate::commands::Context;
use crate::commands::refresh::refreshed_rows;
use crate::input::{self, Input};
use crate::listing::{Listing, duration, optional};

/// One statement to run and the text it stands in.
pub struct Pending {
    /// What to create.
    pub create: CreateDynamicTable,
    /// The text it stands in.
    pub input: Input,
}

/// Creates what the files say.
pub fn run(context: &mut Context<'_>, args: &CreateArgs) -> Result<()> {
    let pending = read(&args.files)?;
    let tables = context.open()?;
    check_all(&tables, &pending)?;

    let mut listing = Listing::new(COLUMNS);
    let mut outcome = Ok(());
    for statement in &pending {
        let progress = context.printer.progress(&format!("creating {}", statement.create.name));
        let result = tables.create(&statement.create, &statement.input.text);
        drop(progress);
        match context.or_cancelled(result) {
            Ok(created) => {
                for notice in &created.notices {
                    context.printer.warning(&format!("{}: {notice}", created.name));
                }
                add(&mut listing, &created);
            }
            Err(error) => outcome = Err(statement.input.locate(error)),
        }
        if outcome.is_err() {
            break;
        }
        outcome = context.cancellation.check();
    }
    context.printer.listing_or(&listing, "nothing was created");
    outcome
}

/// The columns of what [`add`] adds.
pub const COLUMNS: [&str; 6] = ["name", "result", "refresh_mode", "reason", "rows", "duration"];

/// Adds what came of a statement.
pub fn add(listing: &mut Listing, created: &Created) {
    listing.row(vec![
        created.name.to_string().into(),
        action_name(created.action).into(),
        if created.incremental { "INCREMENTAL" } else { "FULL" }.into(),
        optional(created.reason.as_deref(), Into::into),
        optional(created.refresh.as_ref(), refreshed_rows),
        optional(created.refresh.as_ref(), |report| duration(report.duration)),
    ]);
}

fn action_name(action: CreateAction) -> &'static str {
    match action {
        CreateAction::Created => "created",
        CreateAction::Replaced => "replaced",
        CreateAction::Altered => "altered",
        CreateAction::Unchanged => "unchanged",
        CreateAction::AlreadyExists => "already exists",
    }
}

/// The statements of these files; all of them must create dynamic tables.
fn read(files: &[String]) -> Result<Vec<Pending>> {
    let mut pending = Vec::new();
    for input in input::read(files)? {
        pending.extend(statements(&input)?);
    }
    Ok(pending)
}

/// The statements of one text; all of them must create dynamic tables.
pub fn statements(input: &Input) -> Result<Vec<Pending>> {
    let mut pending = Vec::new();
    for located in input.statements()? {
        match located.value {
            Statement::Create(create) => pending.push(Pending { create, input: input.clone() }),
            _ => {
                let place = Span::new(input.text.clone(), located.offset, first_word_length(&located.text));
                let error = Error::new(Code::Query, "only CREATE DYNAMIC TABLE can stand here")
                    .with_span(place)
                    .with_hint("Run other statements with `dynamic-tables sql -f FILE`.");
                return Err(input.locate(error));
            }
        }
    }
    Ok(pending)
}

fn first_word_length(text: &str) -> usize {
    text.find(char::is_whitespace).unwrap_or(text.len())
}

/// The first thing that is wrong with any of the statements.
fn check_all(tables: &DynamicTables, pending: &[Pending]) -> Result<()> {
    for (index, statement) in pending.iter().enumerate() {
        if reads_one_of(&statement.create.query, &pending[..index]) {
            // What it reads does not exist yet, so only its text can be checked now; creating it checks the rest.
            check_text(statement).map_err(|error| statement.input.locate(error))?;
            continue;
        }
        for check in tables.validate(&statement.create, &statement.input.text) {
            check.result.map_err(|error| statement.input.locate(error))?;
        }
    }
    Ok(())
}

fn check_text(statement: &Pending) -> Result<()> {
    Parser::new()?.parse(&statement.create.query).map(|_| ()).map_err(|error| match error.span() {
        Some(span) => {
            let place = statement.create.query_offset + span.offset;
            let span = Span::new(statement.input.text.clone(), place, span.length);
            error.with_span(span)
        }
        None => error,
    })
}

/// Whether the query names a table that one of these statements creates. It may say so of a query that only has a
/// column or an alias of that name; such a statement is checked when its turn comes.
pub fn reads_one_of(query: &str, earlier: &[Pending]) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    earlier.iter().any(|statement| {
        let ObjectName { name, .. } = &statement.create.name;
        if name.chars().all(is_word) {
            query.split(|character| !is_word(character)).any(|word| same_identifier(word, name))
        } else {
            query.to_ascii_lowercase().contains(&name.replace('"', "\"\"").to_ascii_lowercase())
        }
    })
}
