//! Where a registry is: the text a user gives, read and shown without its password.

use std::path::{Path, PathBuf};

use error::{Code, Error, Result};
use sqlx::postgres::PgConnectOptions;

/// What stands in a message for a password.
const MASK: &str = "***";

#[derive(Clone, Debug)]
pub(crate) enum Location {
    Postgres(Box<PgConnectOptions>),
    File(PathBuf),
    /// For a lake that is in memory as well: gone with the process.
    Memory,
}

impl Location {
    /// Reads `postgresql://...`, `sqlite:path` or a path.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::new(Code::Configuration, "the registry's URL is empty").with_hint(EXPECTED));
        }
        if text.starts_with("postgresql://") || text.starts_with("postgres://") {
            // What the parser says holds no part of the URL, and so no password.
            let options = text.parse::<PgConnectOptions>().map_err(|cause| {
                Error::new(Code::Configuration, format!("invalid registry URL: {cause}"))
                    .with_context("registry", mask(text))
                    .with_hint("It has the form postgresql://user:password@host:port/database; escape special characters, such as @ as %40.")
            })?;
            for key in unknown_parameters(text) {
                tracing::warn!(parameter = key, "a parameter of the registry's URL is not known and has no effect");
            }
            let options = match options.get_application_name() {
                Some(_) => options,
                None => options.application_name("dynamic-tables"),
            };
            return Ok(Self::Postgres(Box::new(options)));
        }
        let path = match text.strip_prefix("sqlite:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None if text.contains("://") => {
                let scheme = text.split("://").next().unwrap_or_default();
                return Err(Error::new(Code::Configuration, format!("a registry cannot be kept in {scheme:?}"))
                    .with_hint(EXPECTED));
            }
            None if is_connection_string(text) => {
                return Err(Error::new(Code::Configuration, "the registry cannot be given as a connection string")
                    .with_hint(EXPECTED));
            }
            None => text,
        };
        match path {
            "" => Err(Error::new(Code::Configuration, "the registry's path is empty").with_hint(EXPECTED)),
            ":memory:" => Ok(Self::Memory),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }

    /// Refuses a file that could not be made, with a better word for it than SQLite has.
    pub(crate) fn check_folder(path: &Path) -> Result<()> {
        if path.is_dir() {
            return Err(Error::new(Code::Configuration, "the registry's path is a folder")
                .with_context("registry", path.display().to_string())
                .with_hint("Name a file in it."));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if folder.is_dir() {
            return Ok(());
        }
        Err(Error::new(Code::Configuration, "the folder of the registry does not exist")
            .with_context("registry", path.display().to_string())
            .with_hint(format!("Create {} or choose another path.", folder.display())))
    }
}

const EXPECTED: &str = "Give postgresql://user:password@host:port/database, or the path of an SQLite file.";

/// Whether it is written as `host=... password=...`, and not the path that it would otherwise be taken for.
fn is_connection_string(text: &str) -> bool {
    let keys = ["host", "hostaddr", "port", "dbname", "user", "password"];
    text.split_whitespace().any(|word| {
        word.split_once('=').is_some_and(|(key, _)| keys.iter().any(|known| key.eq_ignore_ascii_case(known)))
    })
}

/// The names of parameters that the driver does not know. Its own warning shows their values, which may be secret.
fn unknown_parameters(url: &str) -> impl Iterator<Item = &str> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let keys = parameters.split('&').filter_map(|parameter| parameter.split_once('=')).map(|(key, _)| key);
    keys.filter(|key| !PARAMETERS.contains(key) && !key.starts_with("options["))
}

/// The parameters that the driver knows.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The URL with its passwords replaced. Rather hides too much than too little: a password may hold an unescaped `@`
/// or `/`.
pub(crate) fn mask(url: &str) -> String {
    let (address, parameters) = match url.split_once('?') {
        Some((address, parameters)) => (address, Some(parameters)),
        None => (url, None),
    };
    let mut masked = match (address.split_once("://"), address.rfind('@')) {
        (Some((scheme, rest)), Some(at)) if rest.find('@').is_some() => {
            let user = rest.split([':', '@']).next().unwrap_or_default();
            let has_password = rest.get(user.len()..).is_some_and(|rest| rest.starts_with(':'));
            let secret = if has_password { format!(":{MASK}") } else { String::new() };
            format!("{scheme}://{user}{secret}{}", &address[at..])
        }
        _ => address.to_owned(),
    };
    for (index, parameter) in parameters.iter().flat_map(|parameters| parameters.split('&')).enumerate() {
        masked.push(if index == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("password") => {
                masked.push_str(&format!("{key}={MASK}"))
            }
            _ => masked.push_str(parameter),
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_are() {
        assert_eq!(mask("postgresql://u:secret@h:5432/d"), "postgresql://u:***@h:5432/d");
        assert_eq!(mask("postgresql://u:se@c/r:et@h/d?sslmode=require"), "postgresql://u:***@h/d?sslmode=require");
        assert_eq!(mask("postgresql://h/d?user=u&password=secret"), "postgresql://h/d?user=u&password=***");
        assert_eq!(mask("postgresql://u@h/d"), "postgresql://u@h/d");
        assert_eq!(mask("/data/registry@home.sqlite"), "/data/registry@home.sqlite");
    }

    #[test]
    fn parameters_without_effect_are_named_without_their_values() {
        let of = |url| unknown_parameters(url).collect::<Vec<_>>();
        assert_eq!(
            of("postgresql://h/d?sslmode=require&ssl_mode=x&options[a]=b&sslpassword=y"),
            ["ssl_mode", "sslpassword"]
        );
        assert!(of("postgresql://h/d").is_empty());
    }

    #[test]
    fn locations_are_told_apart() {
        assert!(matches!(Location::parse("postgres://h/d").unwrap(), Location::Postgres(_)));
        assert!(
            matches!(Location::parse("sqlite:a/b.sqlite").unwrap(), Location::File(path) if path == Path::new("a/b.sqlite"))
        );
        assert!(
            matches!(Location::parse("sqlite:///a/b").unwrap(), Location::File(path) if path == Path::new("/a/b"))
        );
        assert!(matches!(Location::parse("C-drive.db").unwrap(), Location::File(_)));
        assert!(matches!(Location::parse(":memory:").unwrap(), Location::Memory));
        for wrong in [
            "",
            "  ",
            "sqlite:",
            "mysql://h/d",
            "postgresql://u:secret@h:port/d",
            "postgresql://h/d?sslmode=maybe",
            "host=h password=secret",
        ] {
            let error = Location::parse(wrong).unwrap_err();
            assert_eq!(error.code(), Code::Configuration, "{wrong}");
            assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
        }
    }
}
