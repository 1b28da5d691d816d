//! What the text of a setting means: sizes, times, addresses, and why another text means nothing.

use std::net::SocketAddr;
use std::time::Duration;

use error::Result;

use super::{LogFormat, LogLevel, Setting, find, text};
use crate::printer::Format;

pub(super) fn truth(setting: &Setting) -> Result<bool> {
    match setting.value.as_deref().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(setting.invalid("it is neither true nor false", "Give true or false.")),
    }
}

/// A size as DuckDB writes it, and in bytes.
pub(super) fn memory(setting: &Setting) -> Result<(String, u64)> {
    const UNITS: [(&str, u64); 8] = [
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("TIB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let text = setting.value.as_deref().unwrap_or_default().trim().to_ascii_uppercase();
    let bytes = UNITS.iter().find_map(|(unit, bytes)| {
        let count: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        count.checked_mul(*bytes).filter(|bytes| *bytes > 0)
    });
    bytes
        .map(|bytes| (text, bytes))
        .ok_or_else(|| setting.invalid("it is no size", "Give a size, such as 1GB or 512MiB."))
}

pub(super) fn log_level(setting: &Setting) -> Result<LogLevel> {
    match setting.value.as_deref().unwrap_or_default().trim().to_ascii_uppercase().as_str() {
        "TRACE" => Ok(LogLevel::Trace),
        "DEBUG" => Ok(LogLevel::Debug),
        "INFO" => Ok(LogLevel::Info),
        "WARNING" | "WARN" => Ok(LogLevel::Warning),
        "ERROR" => Ok(LogLevel::Error),
        _ => Err(setting.invalid("there is no such level", "Give TRACE, DEBUG, INFO, WARNING or ERROR.")),
    }
}

pub(super) fn log_format(setting: &Setting) -> Result<LogFormat> {
    match setting.value.as_deref().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(setting.invalid("there is no such format", "Give text or json.")),
    }
}

pub(super) fn format(setting: &Setting) -> Result<Format> {
    let value = setting.value.as_deref().unwrap_or_default();
    value.parse().map_err(|()| setting.invalid("there is no such format", "Give table, json or csv."))
}

/// A number of seconds, or a duration in words (`90s`, `2 minutes`).
pub(super) fn seconds(setting: &Setting, least: u64) -> Result<Duration> {
    const HINT: &str = "Give a number of seconds, such as 60, or a duration, such as '2 minutes'.";
    let value = setting.value.as_deref().unwrap_or_default().trim();
    let duration = match value.parse::<u64>() {
        Ok(number) => Duration::from_secs(number),
        Err(_) => value
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .ok_or_else(|| setting.invalid("it is not a duration", HINT))?,
    };
    if duration < Duration::from_secs(least) {
        return Err(setting.invalid(&format!("it must be at least {least} s"), HINT));
    }
    Ok(duration)
}

/// A whole number from 1 to `most`.
pub(super) fn number<T: TryFrom<u64>>(setting: &Setting, most: u64) -> Result<T> {
    let value = setting.value.as_deref().unwrap_or_default().trim();
    let number =
        value.parse().ok().filter(|number| (1..=most).contains(number)).and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| {
        setting.invalid(&format!("it must be a whole number from 1 to {most}"), "Give a number, such as 2.")
    })
}

pub(super) fn on_or_off(setting: &Setting) -> Result<bool> {
    match setting.value.as_deref().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(setting.invalid("it is on or off", "Say on or off.")),
    }
}

pub(super) fn listen(setting: &Setting) -> Result<SocketAddr> {
    let value = setting.value.as_deref().unwrap_or_default().trim();
    let named = value.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    named.as_deref().unwrap_or(value).parse().map_err(|_| {
        setting.invalid("it is no address with a port", "Give an address and a port, such as 127.0.0.1:8642.")
    })
}

pub(super) fn tls(settings: &[Setting]) -> Result<Option<server::Tls>> {
    let said = |key| find(settings, key).filter(|setting| setting.value.is_some());
    match (said("tls-certificate"), said("tls-key")) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let path = |setting: &Setting| setting.value.clone().unwrap_or_default().into();
            Ok(Some(server::Tls { certificate: path(certificate), key: path(key) }))
        }
        (Some(alone), None) | (None, Some(alone)) => {
            Err(alone.invalid("TLS takes two files", "Give both --tls-certificate and --tls-key."))
        }
    }
}

pub(super) fn lineage(settings: &[Setting]) -> Result<Option<lineage::Target>> {
    let Some(setting) = find(settings, "openlineage-url").filter(|setting| setting.value.is_some()) else {
        return Ok(None);
    };
    let target =
        lineage::Target::parse(setting.value.as_deref().unwrap_or_default(), text(settings, "openlineage-api-key"));
    target.map(Some).map_err(|error| error.with_context("from", setting.origin.to_string()))
}

pub(super) fn tokens(setting: &Setting) -> Result<server::Tokens> {
    let parsed = server::Tokens::parse(setting.value.as_deref().unwrap_or_default());
    parsed.map_err(|error| error.with_context("from", setting.origin.to_string()))
}

pub(super) fn queues(setting: &Setting) -> Result<Vec<String>> {
    let value = setting.value.as_deref().unwrap_or_default();
    let names: Vec<String> =
        value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    match names.iter().find(|name| !sql::properties::is_queue(name)) {
        Some(name) => Err(setting.invalid(
            &format!("{name:?} cannot be a queue"),
            "Give names of letters, digits, _ and -, separated by commas, such as default,heavy.",
        )),
        None => Ok(names),
    }
}

pub(super) fn lease(length: &Setting, heartbeat: &Setting) -> Result<worker::Lease> {
    let lease = worker::Lease { length: seconds(length, 1)?, heartbeat: seconds(heartbeat, 1)? };
    if lease.heartbeat * 2 > lease.length {
        return Err(heartbeat.invalid(
            "it must be at most half of --lease",
            "One sign of life that comes late must not cost the worker what it refreshes.",
        ));
    }
    Ok(lease)
}
