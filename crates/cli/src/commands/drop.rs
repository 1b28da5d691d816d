//! `drop`: removes dynamic tables and what they hold.

use ::sql::names::TableName;
use error::Result;

use crate::args::DropArgs;
use crate::commands::{Context, names};
use crate::listing::Listing;

/// Drops the dynamic tables.
pub fn run(context: &mut Context<'_>, args: &DropArgs) -> Result<()> {
    let names = names(&args.names)?;
    let tables = context.open()?;
    let mut dropped: Vec<TableName> = Vec::new();
    let mut outcome = Ok(());
    for name in &names {
        let resolved = tables.resolve(name)?;
        if dropped.contains(&resolved) {
            // It read one of those before it and went with that.
            continue;
        }
        match context.or_cancelled(tables.drop(name, args.if_exists, args.cascade)) {
            Ok(more) => dropped.extend(more),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    print(context, &dropped);
    outcome
}

/// Prints what was dropped.
pub fn print(context: &mut Context<'_>, dropped: &[TableName]) {
    let mut listing = Listing::new(["name", "result"]);
    for name in dropped {
        listing.row(vec![name.to_string().into(), "dropped".into()]);
    }
    context.printer.listing_or(&listing, "nothing was dropped");
}
