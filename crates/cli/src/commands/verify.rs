//! `verify`: compares dynamic tables with what their queries give at their data version.

use ::refresh::Verification;
use error::{Code, Error, Result};

use crate::args::VerifyArgs;
use crate::commands::{Context, names};
use crate::listing::{Listing, optional};
use crate::printer::Format;

/// Verifies the named dynamic tables, or all.
pub fn run(context: &mut Context<'_>, args: &VerifyArgs) -> Result<()> {
    let names = names(&args.names)?;
    let tables = context.open()?;
    let progress = context.printer.progress("comparing with the queries");
    let result = tables.verify(&names);
    drop(progress);
    let verifications = context.or_cancelled(result)?;
    print(context, &verifications);
    Ok(())
}

/// Prints what was found; a difference counts for the exit code.
pub fn print(context: &mut Context<'_>, verifications: &[Verification]) {
    let wide = context.printer.format() != Format::Table;
    let mut columns = vec!["name", "result", "data_version", "rows", "missing", "surplus", "float_noise", "details"];
    if wide {
        columns.push("sample");
    }
    let mut listing = Listing::new(columns);
    for verification in verifications {
        let mut row = vec![
            verification.name.to_string().into(),
            result(verification).into(),
            optional(verification.data_version, Into::into),
            verification.rows.into(),
            verification.missing.into(),
            verification.surplus.into(),
            verification.float_noise.into(),
            optional(details(verification).as_deref(), Into::into),
        ];
        if wide {
            row.push(Listing::from_rows(&verification.sample).to_value().into());
        }
        listing.row(row);
    }
    context.printer.listing_or(&listing, "there is no dynamic table");
    for verification in verifications.iter().filter(|one| !wide && !one.sample.rows.is_empty()) {
        context.printer.say(&format!("\n{}", verification.name));
        context.printer.listing(&Listing::from_rows(&verification.sample));
    }
    let compared: Vec<&Verification> = verifications.iter().filter(|one| one.skipped.is_none()).collect();
    let equal = compared.iter().filter(|one| one.equal()).count();
    let skipped = verifications.len() - compared.len();
    let rest = if skipped == 0 { String::new() } else { format!(", {skipped} cannot be compared") };
    context
        .printer
        .say(&format!("\nverified: {equal} of {} dynamic tables equal their queries{rest}", compared.len()));
    for error in verifications.iter().filter_map(|verification| verification.error.as_ref()) {
        context.failed(error);
    }
    for verification in compared.iter().filter(|one| !one.equal()) {
        let problem = if verification.missing + verification.surplus == 0 {
            format!("{} equals its query, but its state table does not", verification.name)
        } else {
            format!(
                "{} differs from its query: {} rows missing, {} too many",
                verification.name, verification.missing, verification.surplus
            )
        };
        context.failed(&Error::new(Code::Internal, problem).with_hint(format!(
            "If somebody else wrote to the table, its next refresh computes it again; if nobody did, please report it and run \
             `dynamic-tables refresh {} --full`.",
            verification.name
        )));
    }
}

/// What the figures do not say.
fn details(verification: &Verification) -> Option<String> {
    match verification.wrong_state_rows {
        0 => verification.skipped.clone(),
        wrong => Some(format!("{wrong} rows of its state table are wrong")),
    }
}

fn result(verification: &Verification) -> &'static str {
    match (&verification.skipped, verification.equal()) {
        (Some(_), _) if verification.error.is_some() => "FAILED",
        (Some(_), _) => "skipped",
        (None, true) => "equal",
        (None, false) => "DIFFERS",
    }
}
