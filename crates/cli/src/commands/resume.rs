//! `resume`: lets suspended dynamic tables be refreshed again, and those that were suspended along with them.

use ::sql::statement::AlterAction;
use error::Result;

use crate::args::NamesArgs;
use crate::commands::{Context, alter, names};

/// Resumes the dynamic tables.
pub fn run(context: &mut Context<'_>, args: &NamesArgs) -> Result<()> {
    let names = names(&args.names)?;
    let tables = context.open()?;
    alter::each(context, &tables, &names, &[AlterAction::Resume])
}
