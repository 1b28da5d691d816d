//! `validate`: checks files of statements and creates nothing.

use error::{Error, Result};

use crate::args::ValidateArgs;
use crate::commands::Context;
use crate::commands::create::{self, Pending, reads_one_of};
use crate::input;
use crate::listing::{Cell, Listing};
use crate::printer::error_as_json;

/// Reports every check of every statement as OK or FAIL.
pub fn run(context: &mut Context<'_>, args: &ValidateArgs) -> Result<()> {
    let inputs = input::read(&args.files)?;
    let tables = context.open()?;
    let mut listing = Listing::new(["file", "name", "check", "result", "details"]);
    let mut failures: Vec<Error> = Vec::new();
    let mut fail = |error: Error| {
        let details = Cell::shown(error_as_json(&error), error.message());
        failures.push(error);
        ("FAIL", details)
    };
    let mut pending: Vec<Pending> = Vec::new();
    for input in &inputs {
        match create::statements(input) {
            Ok(statements) => pending.extend(statements),
            Err(error) => {
                let (result, details) = fail(error);
                let file = input.name.as_str();
                listing.row(vec![file.into(), Cell::none(), "statement".into(), result.into(), details]);
            }
        }
    }
    for (index, statement) in pending.iter().enumerate() {
        let needs_earlier = reads_one_of(&statement.create.query, &pending[..index]);
        for check in tables.validate(&statement.create, &statement.input.text) {
            let (result, details) = match check.result {
                Ok(details) => ("OK", details.into()),
                Err(_) if needs_earlier => {
                    // It reads what an earlier statement of the same files creates.
                    ("LATER", "can be checked once the statements before it have run".into())
                }
                Err(error) => fail(statement.input.locate(error)),
            };
            listing.row(vec![
                statement.input.name.as_str().into(),
                statement.create.name.to_string().into(),
                check.name.into(),
                result.into(),
                details,
            ]);
        }
    }
    context.printer.listing(&listing);
    for failure in &failures {
        context.failed(failure);
    }
    Ok(())
}
