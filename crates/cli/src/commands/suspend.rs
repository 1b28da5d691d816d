//! `suspend`: stops refreshing dynamic tables and those that read them, until they are resumed.

use ::sql::statement::AlterAction;
use error::Result;

use crate::args::NamesArgs;
use crate::commands::{Context, alter, names};

/// Suspends the dynamic tables.
pub fn run(context: &mut Context<'_>, args: &NamesArgs) -> Result<()> {
    let names = names(&args.names)?;
    let tables = context.open()?;
    alter::each(context, &tables, &names, &[AlterAction::Suspend])
}
