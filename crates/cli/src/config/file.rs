//! The configuration file. It knows which keys there may be from the list of settings alone.

use std::path::PathBuf;

use clap::ArgMatches;
use error::{Code, Error, Result, Span};

use super::{DEFAULT_FILE, Setting, find};

/// The configuration file: flat keys, the names of the long options.
pub(super) struct File {
    path: PathBuf,
    values: Vec<(String, String)>,
}

impl File {
    pub(super) fn get(&self, key: &str) -> Option<(PathBuf, String)> {
        let (_, value) = self.values.iter().find(|(name, value)| name == key && !value.trim().is_empty())?;
        Some((self.path.clone(), value.clone()))
    }

    pub(super) fn refuse_unknown(&self, settings: &[Setting]) -> Result<()> {
        for (name, _) in &self.values {
            if find(settings, name).is_none() {
                let nearest = settings
                    .iter()
                    .map(|setting| (strsim::jaro_winkler(name, &setting.key), setting.key.as_str()))
                    .filter(|(likeness, _)| *likeness > 0.8)
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                let hint = match nearest {
                    Some((_, key)) => format!("Did you mean {key}?"),
                    None => "`dynamic-tables config` lists the settings there are.".to_owned(),
                };
                return Err(Error::new(Code::Configuration, format!("unknown setting \"{name}\""))
                    .with_context("file", self.path.display().to_string())
                    .with_hint(hint));
            }
        }
        Ok(())
    }
}

pub(super) fn read_file(matches: &ArgMatches) -> Result<Option<File>> {
    let named = matches.try_get_one::<PathBuf>("config").ok().flatten().filter(|path| !path.as_os_str().is_empty());
    let path = named.cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if named.is_none() && !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| {
        Error::new(Code::Configuration, "cannot read the configuration file")
            .with_context("file", path.display().to_string())
            .with_source(source)
    })?;
    parse_file(path, &text).map(Some)
}

pub(super) fn parse_file(path: PathBuf, text: &str) -> Result<File> {
    let table: toml::Table = text.parse().map_err(|problem: toml::de::Error| {
        let place = problem.span().unwrap_or_default();
        Error::new(Code::Configuration, format!("the configuration file is not TOML: {}", problem.message()))
            .with_context("file", path.display().to_string())
            .with_span(Span::new(text, place.start, place.len()))
    })?;
    let mut values = Vec::new();
    for (name, value) in table {
        let key = name.replace('_', "-");
        let Some(value) = file_value(&value) else {
            return Err(Error::new(
                Code::Configuration,
                format!("the value of \"{name}\" is neither text nor a number"),
            )
            .with_context("file", path.display().to_string())
            .with_hint("Write it as text, such as \"threads=8\"."));
        };
        values.push((key, value));
    }
    Ok(File { path, values })
}

/// A value as it would be written after the option. A table becomes `key='value';...` (for `duckdb-settings`).
pub(super) fn file_value(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => Some(value.to_string()),
        toml::Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| match value {
                toml::Value::String(text) => Some(format!("{key}='{}'", text.replace('\'', "''"))),
                toml::Value::Table(_) => None,
                other => file_value(other).map(|text| format!("{key}={text}")),
            });
            pairs.collect::<Option<Vec<_>>>().map(|pairs| pairs.join(";"))
        }
        toml::Value::Datetime(_) | toml::Value::Array(_) => None,
    }
}
