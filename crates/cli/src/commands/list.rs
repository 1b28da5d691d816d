//! `list`: the dynamic tables, one line each.

use ::refresh::{Status, StatusRequest};
use error::Result;
use jiff::Timestamp;

use crate::args::ListArgs;
use crate::commands::Context;
use crate::commands::status::{lag_listing, listing};
use crate::printer::Format;
use crate::since::since;

/// Lists the dynamic tables.
pub fn run(context: &mut Context<'_>, args: &ListArgs) -> Result<()> {
    let lag_since = args.lag.then(|| since(&args.since, Timestamp::now())).transpose()?;
    let tables = context.open()?;
    let mut statuses = tables.statuses(&StatusRequest { names: Vec::new(), lag_since })?;
    if args.lag {
        retain_like(&mut statuses, args.like.as_deref());
        context.printer.listing_or(&lag_listing(&statuses), NOTHING);
    } else {
        print(context, statuses, args.like.as_deref());
    }
    Ok(())
}

const NOTHING: &str = "there is no dynamic table";

/// Prints these dynamic tables as a list; a person gets the columns that fit a terminal, a program all.
pub fn print(context: &mut Context<'_>, mut statuses: Vec<Status>, like: Option<&str>) {
    retain_like(&mut statuses, like);
    let listing = listing(&statuses, context.printer.format() != Format::Table);
    context.printer.listing_or(&listing, NOTHING);
}

fn retain_like(statuses: &mut Vec<Status>, like: Option<&str>) {
    if let Some(pattern) = like {
        statuses.retain(|status| matches(pattern, &status.name.name));
    }
}

/// Whether the name is LIKE the pattern, without regard to case as names are.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut at, mut position) = (0, 0);
    // Where to go on when what follows the last `%` did not fit.
    let mut retry: Option<(usize, usize)> = None;
    while position < name.len() {
        match pattern.get(at) {
            Some('%') => {
                retry = Some((at, position));
                at += 1;
            }
            Some('_') => {
                at += 1;
                position += 1;
            }
            Some(wanted) if *wanted == name[position] => {
                at += 1;
                position += 1;
            }
            _ => match retry {
                Some((wildcard, from)) => {
                    retry = Some((wildcard, from + 1));
                    at = wildcard + 1;
                    position = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '%')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_those_of_like() {
        for (pattern, name, expected) in [
            ("%", "", true),
            ("daily%", "Daily_orders", true),
            ("%orders", "daily_orders", true),
            ("d%o%s", "daily_orders", true),
            ("d_ily", "daily", true),
            ("daily", "daily_orders", false),
            ("%x%", "daily", false),
            ("", "daily", false),
            ("%a_", "aab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
