//! `config`: the settings in force and where each came from, secrets masked.

use crate::commands::Context;
use crate::listing::{Listing, optional};

/// Prints every setting.
pub fn run(context: &mut Context<'_>) {
    let mut listing = Listing::new(["setting", "value", "from"]);
    for setting in &context.config.settings {
        listing.row(vec![
            setting.key.as_str().into(),
            optional(setting.shown(), Into::into),
            setting.origin.to_string().into(),
        ]);
    }
    context.printer.listing(&listing);
}
