//! `alter`: sets properties, or sets them back.

use ::refresh::{Altered, DynamicTables};
use ::sql::names::ObjectName;
use ::sql::properties::{Property, PropertyName};
use ::sql::statement::AlterAction;
use error::Result;

use crate::args::AlterArgs;
use crate::commands::Context;
use crate::listing::Listing;

/// Alters the dynamic table.
pub fn run(context: &mut Context<'_>, args: &AlterArgs) -> Result<()> {
    let name = ObjectName::parse(&args.name)?;
    // All of it is checked before any of it is done.
    let set = args.set.iter().map(|text| Property::parse_assignment(text)).collect::<Result<Vec<_>>>()?;
    let unset = args.unset.iter().map(|text| text.trim().parse()).collect::<Result<Vec<PropertyName>>>()?;
    let tables = context.open()?;
    let mut actions = Vec::new();
    if !set.is_empty() {
        actions.push(AlterAction::Set(set));
    }
    if !unset.is_empty() {
        actions.push(AlterAction::Unset(unset));
    }
    each(context, &tables, &[name], &actions)
}

/// Does each of these actions to each of the dynamic tables and prints what came of it.
pub fn each(
    context: &mut Context<'_>,
    tables: &DynamicTables,
    names: &[ObjectName],
    actions: &[AlterAction],
) -> Result<()> {
    let mut listing = Listing::new(COLUMNS);
    let mut outcome = Ok(());
    'all: for name in names {
        for action in actions {
            match context.or_cancelled(tables.alter(name, false, action)) {
                Ok(altered) => add(&mut listing, &altered),
                Err(error) => {
                    outcome = Err(error);
                    break 'all;
                }
            }
        }
    }
    context.printer.listing_or(&listing, "nothing was changed");
    outcome
}

/// The columns of what [`add`] adds.
pub const COLUMNS: [&str; 3] = ["name", "result", "affected"];

/// Adds what came of an action.
pub fn add(listing: &mut Listing, altered: &Altered) {
    let affected: Vec<String> = altered.affected.iter().map(ToString::to_string).collect();
    listing.row(vec![altered.name.to_string().into(), altered.message.as_str().into(), affected.into()]);
}
