//! `--since`: how far back, as a person says it.

use error::{Code, Error, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sql::properties::parse_duration;

/// The moment that is meant: so long ago (`90 minutes`, `7d`), or a date or time, in UTC unless it says otherwise.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp> {
    let wrong = |why: &str| {
        Error::new(Code::Configuration, format!("invalid --since {text:?}: {why}"))
            .with_hint("Write how long ago, such as '90 minutes' or 7d, or a moment, such as 2026-01-31T08:00Z.")
    };
    if let Ok(moment) = text.trim().parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(local) = text.trim().parse::<DateTime>() {
        return local
            .to_zoned(TimeZone::UTC)
            .map(|zoned| zoned.timestamp())
            .map_err(|_| wrong("there is no such time"));
    }
    let ago = parse_duration(text).map_err(|why| wrong(&why))?;
    now.checked_sub(ago).map_err(|_| wrong("there is no such time"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_dates_and_moments() {
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("24 hours", "2026-01-31T00:00:00Z"),
            ("7d", "2026-01-25T00:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T08:30", "2026-01-31T08:30:00Z"),
            ("2026-01-31 08:30:00+02", "2026-01-31T06:30:00Z"),
            ("2026-01-31T08:00Z", "2026-01-31T08:00:00Z"),
        ] {
            assert_eq!(since(text, now).unwrap().to_string(), moment, "{text}");
        }
        let error = since("yesterday", now).unwrap_err();
        assert_eq!(error.message(), "invalid --since \"yesterday\": it does not begin with a number");
    }
}
