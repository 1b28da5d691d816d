//! `rename`: gives a dynamic table another name.

use ::sql::names::ObjectName;
use ::sql::statement::AlterAction;
use error::Result;

use crate::args::RenameArgs;
use crate::commands::{Context, alter};

/// Renames the dynamic table.
pub fn run(context: &mut Context<'_>, args: &RenameArgs) -> Result<()> {
    let name = ObjectName::parse(&args.name)?;
    let new_name = ObjectName::parse(&args.new_name)?;
    let tables = context.open()?;
    alter::each(context, &tables, &[name], &[AlterAction::RenameTo(new_name)])
}
