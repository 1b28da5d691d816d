//! `TARGET_LAG`: how stale a dynamic table may be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use error::{Code, Error, Result};

/// How stale a dynamic table may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum TargetLag {
    /// At most this long.
    Duration(Duration),
    /// As stale as the tables that read it allow; if none does, it follows the dynamic tables it reads.
    Downstream,
}

/// Units from the largest, with the names each is known by: first the one it is shown with, then its plural.
const UNITS: [(u64, &[&str]); 4] = [
    (86_400, &["day", "days", "d"]),
    (3_600, &["hour", "hours", "h", "hr", "hrs"]),
    (60, &["minute", "minutes", "m", "min", "mins"]),
    (1, &["second", "seconds", "s", "sec", "secs"]),
];

/// Anything longer is a slip; the bound also keeps every sum with a timestamp in range.
const LONGEST_DAYS: u64 = 36_500;

const EXPECTED: &str = "Write a number of seconds, minutes, hours or days, such as '5 minutes', or DOWNSTREAM.";

impl TargetLag {
    /// Whether the word is a unit of time, so that `TARGET_LAG = 5 minutes` can be read without quotes.
    pub(crate) fn is_unit(word: &str) -> bool {
        unit_seconds(word).is_some()
    }
}

impl FromStr for TargetLag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("downstream") {
            return Ok(Self::Downstream);
        }
        let invalid =
            |why: &str| Error::new(Code::Query, format!("invalid TARGET_LAG {text:?}: {why}")).with_hint(EXPECTED);
        if text.starts_with('-') {
            return Err(invalid("a lag cannot be negative"));
        }
        match parse_duration(text) {
            Ok(Duration::ZERO) => Err(invalid("a lag of zero cannot be kept")),
            Ok(duration) => Ok(Self::Duration(duration)),
            Err(why) => Err(invalid(&why)),
        }
    }
}

/// A duration as people write it: a whole number and a unit, `5 minutes`, `30s`, `7d`; at most 100 years.
///
/// # Errors
/// What is wrong with it, to follow upon its name.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits_end = text.find(|next: char| !next.is_ascii_digit() && next != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return Err("it does not begin with a number".to_owned());
    }
    let unit = unit.trim();
    if unit.is_empty() {
        return Err("the unit is missing".to_owned());
    }
    if unit.starts_with(['.', ',']) {
        return Err("it must be a whole number".to_owned());
    }
    let seconds_each = unit_seconds(unit).ok_or_else(|| format!("unknown unit {unit:?}"))?;
    let seconds = number.replace('_', "").parse::<u64>().ok().and_then(|count| count.checked_mul(seconds_each));
    match seconds {
        Some(seconds) if seconds <= LONGEST_DAYS * 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err("it is longer than 100 years".to_owned()),
    }
}

fn unit_seconds(word: &str) -> Option<u64> {
    let known = UNITS.iter().find(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(word)));
    known.map(|(seconds, _)| *seconds)
}

impl fmt::Display for TargetLag {
    /// `5 minutes` in the largest unit that divides it, or `DOWNSTREAM`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Duration(duration) = self else {
            return f.write_str("DOWNSTREAM");
        };
        let seconds = duration.as_secs();
        for (seconds_each, names) in UNITS {
            if seconds >= seconds_each && seconds.is_multiple_of(seconds_each) {
                let count = seconds / seconds_each;
                return write!(f, "{count} {}", if count == 1 { names[0] } else { names[1] });
            }
        }
        f.write_str("0 seconds")
    }
}

impl From<TargetLag> for String {
    fn from(lag: TargetLag) -> Self {
        lag.to_string()
    }
}

impl TryFrom<String> for TargetLag {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_unit_in_every_spelling() {
        for (text, shown, seconds) in [
            ("5 minutes", "5 minutes", 300),
            ("1 minute", "1 minute", 60),
            ("  1   HOUR ", "1 hour", 3_600),
            ("1 day", "1 day", 86_400),
            ("30s", "30 seconds", 30),
            ("90 sec", "90 seconds", 90),
            ("60 seconds", "1 minute", 60),
            ("5m", "5 minutes", 300),
            ("36 h", "36 hours", 129_600),
            ("2d", "2 days", 172_800),
            ("1_000 seconds", "1000 seconds", 1_000),
        ] {
            let lag: TargetLag = text.parse().unwrap();
            assert_eq!(lag, TargetLag::Duration(Duration::from_secs(seconds)), "{text}");
            assert_eq!(lag.to_string(), shown);
            assert_eq!(shown.parse::<TargetLag>().unwrap(), lag);
        }
        assert_eq!("downStream".parse::<TargetLag>().unwrap().to_string(), "DOWNSTREAM");
    }

    #[test]
    fn what_is_no_lag_says_why() {
        for (text, why) in [
            ("soon", "it does not begin with a number"),
            ("", "it does not begin with a number"),
            ("0 minutes", "a lag of zero cannot be kept"),
            ("-5 minutes", "a lag cannot be negative"),
            ("5", "the unit is missing"),
            ("1.5 hours", "it must be a whole number"),
            ("5 fortnights", "unknown unit \"fortnights\""),
            ("5 minutes 3 seconds", "unknown unit \"minutes 3 seconds\""),
            ("99999999999999999999 days", "it is longer than 100 years"),
            ("18446744073709551615 days", "it is longer than 100 years"),
            ("36501 days", "it is longer than 100 years"),
        ] {
            let error = text.parse::<TargetLag>().unwrap_err();
            assert_eq!(error.message(), format!("invalid TARGET_LAG {text:?}: {why}"));
            assert_eq!(error.hint(), Some(EXPECTED));
        }
    }

    #[test]
    fn json_is_the_text() {
        let lag: TargetLag = "5m".parse().unwrap();
        assert_eq!(serde_json::to_string(&lag).unwrap(), "\"5 minutes\"");
        assert_eq!(serde_json::from_str::<TargetLag>("\"5 minutes\"").unwrap(), lag);
    }
}
