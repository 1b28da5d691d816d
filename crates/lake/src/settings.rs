//! `--duckdb-settings`: text such as `threads=8;memory_limit='12GB'` as settings of DuckDB and options of the lake.
//!
//! A setting belongs to this process; an option of the lake (how many rows stay inlined, how files are compressed)
//! belongs to the lake and is kept in its catalog. Both may be given here; the names tell them apart.

use duckdb::Connection;
use error::{Code, Error, Result, Span};
use sql::names::{quote_identifier, quote_literal};
use sql::suggest::nearest;

use crate::failure::translate;

/// Settings to apply when the lake is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// For DuckDB, in the order given.
    session: Vec<(String, String)>,
    /// For the lake, in the order given.
    lake: Vec<(String, String)>,
}

/// Options of a lake (`CALL lake.set_option`).
const LAKE_OPTIONS: [&str; 14] = [
    "auto_compact",
    "data_inlining_row_limit",
    "delete_older_than",
    "expire_older_than",
    "hive_file_pattern",
    "parquet_compression",
    "parquet_compression_level",
    "parquet_row_group_size",
    "parquet_row_group_size_bytes",
    "parquet_version",
    "per_thread_output",
    "require_commit_message",
    "rewrite_delete_threshold",
    "target_file_size",
];

/// Names that earlier documents use, and the option that does what they say.
const ALIASES: [(&str, &str); 4] = [
    ("ducklake_inline_threshold", "data_inlining_row_limit"),
    ("ducklake_compression", "parquet_compression"),
    ("ducklake_compression_level", "parquet_compression_level"),
    ("ducklake_snapshot_retention_days", "expire_older_than"),
];

/// Settings that would open what an operator closed, or that a session relies on, and what to do instead.
const DENIED: [(&str, &str); 23] = [
    ("access_mode", "Lakes are opened for writing; this program decides."),
    ("allow_community_extensions", "Only extensions signed by DuckDB's makers are loaded."),
    ("allow_extensions_metadata_mismatch", "Only extensions made for this DuckDB are loaded."),
    ("allow_persistent_secrets", "Give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role."),
    ("allow_unredacted_secrets", "Secrets are never shown."),
    ("allow_unsigned_extensions", "Only extensions signed by DuckDB's makers are loaded."),
    ("allowed_directories", "Restrict the process instead."),
    ("allowed_paths", "Restrict the process instead."),
    ("autoinstall_known_extensions", "Install extensions with `dynamic-tables extensions install`."),
    ("custom_extension_repository", "Install extensions with `dynamic-tables extensions install`."),
    ("default_secret_storage", "Give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role."),
    ("disabled_filesystems", "A lake needs its file systems."),
    ("enable_external_access", "A lake is external to DuckDB: without access there is none."),
    ("errors_as_json", "Errors are read by this program."),
    ("extension_directory", "Give the directory by its own option, --extension-directory."),
    ("lock_configuration", "Sessions set what they need when they begin."),
    ("s3_access_key_id", "Give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role."),
    ("s3_secret_access_key", "Give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role."),
    ("s3_session_token", "Give credentials by AWS_SESSION_TOKEN, or a role."),
    ("schema", "Give the schema by its own option, --schema."),
    ("search_path", "Give the schema by its own option, --schema."),
    ("secret_directory", "Give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role."),
    ("username", "This is not a setting of a lake."),
];

const FORM: &str = "Write key=value pairs with ; between them, and quote a value that holds one: \
    threads=8;memory_limit='12GB'.";

impl Settings {
    /// Reads `key=value` pairs separated by `;`, values quoted where they hold a `;`. The second part of the
    /// result are warnings about names that were mapped to what DuckLake really has.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>)> {
        let mut settings = Self::default();
        let mut warnings = Vec::new();
        for pair in read_pairs(text)? {
            let key = pair.key.to_ascii_lowercase();
            if let Some((_, advice)) = DENIED.iter().find(|(denied, _)| *denied == key) {
                let span = Span::new(text, pair.offset, key.len());
                return Err(Error::new(Code::Configuration, format!("the setting {key} may not be changed"))
                    .with_hint(*advice)
                    .with_span(span));
            }
            if let Some((_, option)) = ALIASES.iter().find(|(alias, _)| *alias == key) {
                let value = match key.as_str() {
                    "ducklake_snapshot_retention_days" => retention(text, &pair)?,
                    _ => pair.value,
                };
                warnings
                    .push(format!("{key} is not a setting of DuckDB: the lake's option {option} is set to {value}"));
                settings.lake.push(((*option).to_owned(), value));
            } else if LAKE_OPTIONS.contains(&key.as_str()) {
                settings.lake.push((key, pair.value));
            } else {
                settings.session.push((key, pair.value));
            }
        }
        warnings.extend(settings.compression_warning());
        Ok((settings, warnings))
    }

    fn compression_warning(&self) -> Option<String> {
        let last = |name: &str| self.lake.iter().rev().find(|(option, _)| option == name).map(|(_, value)| value);
        let level = last("parquet_compression_level")?;
        let zstd = last("parquet_compression").is_some_and(|codec| codec.eq_ignore_ascii_case("zstd"));
        (!zstd).then(|| {
            format!(
                "parquet_compression_level={level} holds for zstd only: with any other compression \
                 DuckLake fails to write; set parquet_compression='zstd' too"
            )
        })
    }

    /// The value given for a setting, the last one if several.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.session.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a setting is one of the extension that reads object storage.
    pub(crate) fn needs_httpfs(&self) -> bool {
        self.session.iter().any(|(key, _)| key.starts_with("s3_"))
    }

    pub(crate) fn lake_options(&self) -> &[(String, String)] {
        &self.lake
    }

    /// Applies what DuckDB knows before any extension is loaded; gives what is left for [`Self::apply_rest`].
    pub(crate) fn apply_known(&self, connection: &Connection) -> Result<Applied> {
        let known = setting_names(connection)?;
        let mut applied = Applied::default();
        for (key, value) in &self.session {
            if known.contains(key) {
                applied.set(connection, key, value)?;
            } else {
                applied.rest.push((key.clone(), value.clone()));
            }
        }
        Ok(applied)
    }
}

/// How far settings are applied.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Statements that every session has to run for itself.
    pub(crate) per_session: Vec<String>,
    rest: Vec<(String, String)>,
}

impl Applied {
    /// Applies the settings that extensions brought; any that is still unknown is an error.
    pub(crate) fn apply_rest(&mut self, connection: &Connection) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let known = setting_names(connection)?;
        for (key, value) in std::mem::take(&mut self.rest) {
            if !known.contains(&key) {
                let candidates = known.iter().map(String::as_str).chain(LAKE_OPTIONS);
                let hint = nearest(&key, candidates).map_or_else(
                    || "See `SELECT name FROM duckdb_settings()` for the names.".to_owned(),
                    |near| format!("Did you mean {near}?"),
                );
                return Err(Error::new(Code::Configuration, format!("unknown setting {key:?}")).with_hint(hint));
            }
            self.set(connection, &key, &value)?;
        }
        Ok(())
    }

    fn set(&mut self, connection: &Connection, key: &str, value: &str) -> Result<()> {
        let assignment = format!("{} = {}", quote_identifier(key), quote_literal(value));
        let failure = match connection.execute_batch(&format!("SET GLOBAL {assignment}")) {
            Ok(()) => return Ok(()),
            Err(failure) if failure.to_string().contains("cannot be set globally") => {
                let local = format!("SET SESSION {assignment}");
                match connection.execute_batch(&local) {
                    Ok(()) => {
                        self.per_session.push(local);
                        return Ok(());
                    }
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        let reason = translate(failure, "", 0);
        Err(Error::new(Code::Configuration, format!("the setting {key} does not take the value {value:?}"))
            .with_context("reason", reason.message()))
    }
}

fn setting_names(connection: &Connection) -> Result<std::collections::HashSet<String>> {
    let read = || -> duckdb::Result<_> {
        // DuckDB accepts some settings under a second name that duckdb_settings() does not list.
        let mut statement =
            connection.prepare("SELECT lower(name) FROM duckdb_settings() UNION ALL VALUES ('worker_threads')")?;
        let names = statement.query_map([], |row| row.get(0))?;
        names.collect()
    };
    read().map_err(|failure| translate(failure, "", 0))
}

fn retention(text: &str, pair: &Pair) -> Result<String> {
    match pair.value.trim().parse::<u32>() {
        Ok(1) => Ok("1 day".to_owned()),
        Ok(days) if days > 0 => Ok(format!("{days} days")),
        _ => {
            Err(Error::new(Code::Configuration, format!("{} takes a number of days, not {:?}", pair.key, pair.value))
                .with_span(Span::new(text, pair.offset, pair.key.len())))
        }
    }
}

struct Pair {
    key: String,
    value: String,
    /// Of the key in the text.
    offset: usize,
}

fn read_pairs(text: &str) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let mut position = 0;
    loop {
        position = skip_spaces(text, position);
        let Some(first) = text[position..].chars().next() else { return Ok(pairs) };
        if first == ';' {
            position += 1;
            continue;
        }
        let offset = position;
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let key_end = text[offset..].find(|c| !is_key(c)).map_or(text.len(), |length| offset + length);
        let key = text[offset..key_end].to_owned();
        position = skip_spaces(text, key_end);
        if key.is_empty() {
            return Err(malformed(text, offset, "expected the name of a setting"));
        }
        if !text[position..].starts_with('=') {
            return Err(malformed(text, position, &format!("expected = after {key}")));
        }
        let (value, end) = read_value(text, skip_spaces(text, position + 1), &key)?;
        pairs.push(Pair { key, value, offset });
        position = skip_spaces(text, end);
        if !matches!(text[position..].chars().next(), None | Some(';')) {
            return Err(malformed(text, position, "expected ; or the end after a quoted value"));
        }
    }
}

/// The value that begins at `start`, and where it ends.
fn read_value(text: &str, start: usize, key: &str) -> Result<(String, usize)> {
    let rest = &text[start..];
    let Some(quote) = rest.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let end = rest.find(';').unwrap_or(rest.len());
        let value = rest[..end].trim();
        if value.is_empty() {
            return Err(malformed(text, start, &format!("{key} has no value")));
        }
        if let Some(stray) = value.find(['\'', '"']) {
            return Err(malformed(text, start + stray, &format!("the value of {key} has a quote inside")));
        }
        return Ok((value.to_owned(), start + end));
    };
    let mut value = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character != quote {
            value.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            value.push(quote);
        } else {
            return Ok((value, start + index + 1));
        }
    }
    Err(malformed(text, start, &format!("the quoted value of {key} has no end")))
}

fn skip_spaces(text: &str, position: usize) -> usize {
    text.len() - text[position..].trim_start().len()
}

fn malformed(text: &str, offset: usize, what: &str) -> Error {
    Error::new(Code::Configuration, format!("the settings cannot be read: {what}"))
        .with_hint(FORM)
        .with_span(Span::new(text, offset, 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        Settings::parse(text).unwrap().0.session
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn pairs_with_and_without_quotes() {
        assert_eq!(pairs(""), []);
        assert_eq!(pairs(" ; ;"), []);
        assert_eq!(
            pairs(" threads = 8 ;memory_limit='12GB';temp_directory=/tmp/a b ;"),
            [pair("threads", "8"), pair("memory_limit", "12GB"), pair("temp_directory", "/tmp/a b")]
        );
        assert_eq!(
            pairs("temp_directory='/tmp/a;b''c=d';TimeZone=\"UTC\""),
            [pair("temp_directory", "/tmp/a;b'c=d"), pair("timezone", "UTC")]
        );
    }

    #[test]
    fn malformed_text_says_what_and_where() {
        for (text, offset, what) in [
            ("threads", 7, "expected = after threads"),
            ("threads 8", 8, "expected = after threads"),
            ("threads=8;=3", 10, "expected the name"),
            ("threads=", 8, "threads has no value"),
            ("threads=;x=1", 8, "threads has no value"),
            ("a='x", 2, "has no end"),
            ("a='x'y;b=1", 5, "expected ; or the end"),
            ("a=x'y", 3, "a quote inside"),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::Configuration);
            assert!(error.message().contains(what), "{text}: {}", error.message());
            assert_eq!(error.span().unwrap().offset, offset, "{text}");
        }
    }

    #[test]
    fn what_would_open_the_house_is_refused() {
        for text in ["enable_external_access=false", "LOCK_configuration=true", "threads=1;s3_secret_access_key=x"] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.message().contains("may not be changed"), "{}", error.message());
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn invented_names_become_options_of_the_lake() {
        let text = "ducklake_inline_threshold=1024;ducklake_compression='zstd';ducklake_compression_level=3;\
                    ducklake_snapshot_retention_days=30;target_file_size=64MB";
        let (settings, warnings) = Settings::parse(text).unwrap();
        assert_eq!(
            settings.lake,
            [
                pair("data_inlining_row_limit", "1024"),
                pair("parquet_compression", "zstd"),
                pair("parquet_compression_level", "3"),
                pair("expire_older_than", "30 days"),
                pair("target_file_size", "64MB"),
            ]
        );
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(warnings[0].contains("ducklake_inline_threshold"));
        assert!(Settings::parse("ducklake_snapshot_retention_days=soon").is_err());
        assert!(Settings::parse("parquet_compression_level=3").unwrap().1[0].contains("zstd only"));
    }
}
