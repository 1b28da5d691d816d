//! Where events go: a catalog over HTTP, a file, or standard output.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use error::{Code, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use ureq::Agent;

/// Where a catalog takes events, as the specification's clients have it.
const ENDPOINT: &str = "api/v1/lineage";
/// A catalog that takes longer for one event is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where events go.
#[derive(Clone, Debug)]
pub enum Target {
    /// To this address, one request per event.
    Http {
        /// The whole address.
        url: String,
        /// What shows who sends it.
        api_key: Option<SecretString>,
    },
    /// To the end of this file, one line per event.
    File(PathBuf),
    /// To standard output, one line per event.
    Console,
}

impl Target {
    /// Reads `http://host:5000`, `https://...`, `file:events.jsonl` or `console`. To an address without a path the usual
    /// one, `/api/v1/lineage`, is added.
    ///
    /// # Errors
    /// `CONFIGURATION` for anything else. The message does not hold the text, in which a password may stand.
    pub fn parse(text: &str, api_key: Option<String>) -> Result<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("console") {
            return Ok(Self::Console);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.is_empty() {
                return Ok(Self::File(path.into()));
            }
        }
        let lower = text.to_ascii_lowercase();
        let rest = ["http://", "https://"].iter().find_map(|scheme| lower.strip_prefix(scheme));
        let Some(rest) = rest.filter(|rest| rest.starts_with(|first: char| first.is_alphanumeric() || first == '['))
        else {
            return Err(Error::new(
                Code::Configuration,
                "the target of lineage is neither an address, nor a file, nor the console",
            )
            .with_hint("Give http://host:5000, https://..., file:events.jsonl or console."));
        };
        let has_path = rest.split_once('/').is_some_and(|(_, path)| !path.is_empty());
        let url = if has_path { text.to_owned() } else { format!("{}/{ENDPOINT}", text.trim_end_matches('/')) };
        Ok(Self::Http { url, api_key: api_key.filter(|key| !key.trim().is_empty()).map(Into::into) })
    }

    /// Something that sends events there.
    pub(crate) fn sender(&self) -> Sender {
        let config =
            Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).max_redirects(0);
        Sender { target: self.clone(), agent: config.build().into() }
    }
}

/// Sends events.
pub(crate) struct Sender {
    target: Target,
    agent: Agent,
}

impl Sender {
    /// Sends one event. An error says by [`Error::is_transient`] whether trying again may help.
    pub fn send(&self, event: &Value) -> Result<()> {
        let away = |cause: String, transient| {
            Error::new(Code::Connection, format!("an event of lineage was not taken: {cause}"))
                .with_transient(transient)
        };
        let line = || format!("{event}\n");
        match &self.target {
            Target::Http { url, api_key } => {
                let mut request = self.agent.post(url).header("content-type", "application/json");
                if let Some(key) = api_key {
                    request = request.header("authorization", format!("Bearer {}", key.expose_secret()));
                }
                // The cause may name the address, in which a password can stand; it is enough to know what kind it is.
                let answer =
                    request.send(event.to_string()).map_err(|cause| away(kind_of(&cause).to_owned(), true))?;
                let status = answer.status();
                if status.is_success() {
                    return Ok(());
                }
                let transient = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
                Err(away(format!("the catalog answers with status {}", status.as_u16()), transient))
            }
            Target::File(path) => {
                let mut options = OpenOptions::new();
                options.append(true).create(true);
                let written = options.open(path).and_then(|mut file| file.write_all(line().as_bytes()));
                written.map_err(|cause| away(format!("{} cannot be written: {cause}", path.display()), false))
            }
            Target::Console => std::io::stdout()
                .lock()
                .write_all(line().as_bytes())
                .map_err(|cause| away(format!("standard output cannot be written: {cause}"), false)),
        }
    }
}

const fn kind_of(cause: &ureq::Error) -> &'static str {
    match cause {
        ureq::Error::HostNotFound => "its host is not known",
        ureq::Error::Timeout(_) => "it takes too long",
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "its certificate is not accepted, or it speaks no TLS",
        _ => "it cannot be reached",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_files_and_the_console() {
        let url = |text: &str| match Target::parse(text, None).unwrap() {
            Target::Http { url, .. } => url,
            other => format!("{other:?}"),
        };
        assert_eq!(url("http://marquez:5000"), "http://marquez:5000/api/v1/lineage");
        assert_eq!(url(" https://[::1]:5000/ "), "https://[::1]:5000/api/v1/lineage");
        assert_eq!(url("https://host/other/path"), "https://host/other/path");
        assert_eq!(url("file:events.jsonl"), "File(\"events.jsonl\")");
        assert_eq!(url("file:///var/log/events.jsonl"), "File(\"/var/log/events.jsonl\")");
        assert_eq!(url("CONSOLE"), "Console");
        for wrong in ["", "file:", "ftp://host", "host:5000", "http://", "http:///path"] {
            assert_eq!(Target::parse(wrong, None).unwrap_err().code(), Code::Configuration, "{wrong}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let target = Target::parse("http://host", Some("geheim".to_owned())).unwrap();
        assert!(!format!("{target:?}").contains("geheim"));
    }
}
