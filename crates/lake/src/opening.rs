//! Attaching a lake, or making one where there is none, and saying why it cannot be. It knows nothing of who will use it.

use std::path::Path;

use duckdb::Connection;
use error::{Code, Error, Result};
use sql::names::{quote_identifier, quote_literal};

use crate::catalog::{FileFormat, Location, local};
use crate::failure::{mask, translate};
use crate::{CatalogKind, Options, extensions, secrets};

const TAKES_SEVERAL: &str =
    "Keep the catalog in PostgreSQL (ducklake:postgres:...) and only the data on S3 (--data-path s3://...).";

/// How long a writer waits for another one's lock on an SQLite catalog, in milliseconds.
const SQLITE_BUSY_TIMEOUT: u32 = 5_000;

/// What opening needs from step to step.
pub(crate) struct Opening<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) options: &'a Options,
    pub(crate) location: &'a Location,
    /// As the user gave it, a local one absolute; ends with a slash.
    pub(crate) wanted_data_path: Option<String>,
}

impl Opening<'_> {
    pub(crate) fn read_only(&self) -> bool {
        self.options.read_only || self.location.kind() == CatalogKind::Remote
    }

    pub(crate) fn load_extensions(&self) -> Result<()> {
        extensions::load(self.connection, "ducklake")?;
        match self.location.kind() {
            CatalogKind::Sqlite => extensions::load(self.connection, "sqlite_scanner")?,
            CatalogKind::Postgres => extensions::load(self.connection, "postgres_scanner")?,
            CatalogKind::Remote => extensions::load(self.connection, "httpfs")?,
            CatalogKind::Memory | CatalogKind::DuckDb => {}
        }
        if self.wanted_data_path.as_deref().is_some_and(is_url) || self.options.settings.needs_httpfs() {
            extensions::load(self.connection, "httpfs")?;
        }
        Ok(())
    }

    pub(crate) fn touches_s3(&self) -> bool {
        let remote = matches!(self.location, Location::Remote(url) if is_s3(url));
        remote || self.wanted_data_path.as_deref().is_some_and(is_s3)
    }

    /// Attaches the lake, creating it if there is none; the result is where its data files are.
    pub(crate) fn attach(&self) -> Result<String> {
        match self.location {
            Location::Memory => return self.create(),
            Location::Remote(_) => {}
            Location::Postgres(_) => {
                if !self.attach_existing()? {
                    return self.create();
                }
            }
            Location::DuckDb(file) | Location::Sqlite(file) => {
                self.check_file(file)?;
                if FileFormat::of(file) == FileFormat::Missing {
                    return self.create();
                }
                if !self.holds_lake(file)? || !self.attach_existing()? {
                    return Err(self.not_a_lake());
                }
            }
        }
        if self.location.kind() == CatalogKind::Remote && !self.attach_existing()? {
            return Err(self.not_a_lake());
        }
        self.check_data_path()
    }

    fn check_file(&self, file: &Path) -> Result<()> {
        let wrong = |what: String| Error::new(Code::Configuration, what);
        if file.is_dir() {
            return Err(wrong(format!("{} is a directory, not a catalog file", file.display()))
                .with_hint(format!("Name a file in it, such as {}.", file.join("lake.sqlite").display())));
        }
        let (format, sqlite) = (FileFormat::of(file), self.location.kind() == CatalogKind::Sqlite);
        let fits = match format {
            FileFormat::Missing => true,
            FileFormat::Sqlite => sqlite,
            FileFormat::DuckDb => !sqlite,
            FileFormat::Other => false,
        };
        if !fits {
            let is = match format {
                FileFormat::Sqlite => "an SQLite file",
                FileFormat::DuckDb => "a DuckDB file",
                FileFormat::Missing | FileFormat::Other => "neither a DuckDB nor an SQLite file",
            };
            return Err(wrong(format!("{} cannot be the lake's catalog: it is {is}", file.display()))
                .with_hint("Name the catalog by its path alone to have its kind recognised, or name a new file."));
        }
        let folder = file.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            return Err(wrong(format!("the folder {} does not exist", folder.display()))
                .with_hint(format!("Create it with mkdir -p {}.", folder.display())));
        }
        Ok(())
    }

    /// Whether an SQLite file is a DuckLake catalog. Attaching it as one would first set its journal mode, which is
    /// a change of a database that may not be ours.
    fn holds_lake(&self, file: &Path) -> Result<bool> {
        if self.location.kind() != CatalogKind::Sqlite {
            return Ok(true);
        }
        let sql = format!(
            "SELECT count(*) FROM sqlite_scan({}, 'sqlite_master') WHERE name = 'ducklake_metadata'",
            quote_literal(&file.display().to_string())
        );
        let count: duckdb::Result<i64> = self.connection.query_row(&sql, [], |row| row.get(0));
        count.map(|count| count > 0).map_err(|failure| self.explain(failure))
    }

    fn not_a_lake(&self) -> Error {
        let shown = self.location.shown();
        let what = match self.location {
            Location::DuckDb(file) => {
                format!("{} is a plain DuckDB database, not a DuckLake catalog", file.display())
            }
            Location::Sqlite(file) => {
                format!("{} is a plain SQLite database, not a DuckLake catalog", file.display())
            }
            _ => format!("there is no lake at {shown}"),
        };
        let error = Error::new(Code::Configuration, what);
        match self.location.file() {
            Some(file) => error.with_hint(format!(
                "It is left as it is. Name a new file, such as {}, for the lake; then copy tables into it with \
                 CREATE TABLE ... AS SELECT ... from the attached database.",
                file.with_extension("ducklake").display()
            )),
            None => error.with_hint(TAKES_SEVERAL),
        }
    }

    /// Attaches the lake that is there, changing nothing; `false` if there is none.
    fn attach_existing(&self) -> Result<bool> {
        let mut parts = vec!["CREATE_IF_NOT_EXISTS false".to_owned()];
        if self.read_only() {
            parts.push("READ_ONLY".to_owned());
        }
        match self.run_attach(parts) {
            Ok(()) => Ok(true),
            Err(failure) if failure.to_string().contains("creating a new DuckLake is explicitly disabled") => {
                Ok(false)
            }
            Err(failure) => Err(self.explain(failure)),
        }
    }

    fn create(&self) -> Result<String> {
        let shown = self.location.shown();
        if self.read_only() {
            return Err(Error::new(Code::Configuration, format!("there is no lake at {shown}"))
                .with_hint("Open it for writing once to create it."));
        }
        let default = || self.location.default_data_path().map(|path| format!("{}/", path.display()));
        let memory = || (self.location.kind() == CatalogKind::Memory).then(temporary_data_path);
        let Some(data_path) = self.wanted_data_path.clone().or_else(default).or_else(memory) else {
            return Err(Error::new(
                Code::Configuration,
                format!("there is no lake yet at {shown}, and no data path to create one"),
            )
            .with_hint(
                "Say where its data files go: --data-path /shared/folder or --data-path s3://bucket/folder.",
            ));
        };
        if !is_url(&data_path) {
            std::fs::create_dir_all(&data_path).map_err(|failure| {
                let code = match failure.kind() {
                    std::io::ErrorKind::PermissionDenied => Code::Permission,
                    std::io::ErrorKind::StorageFull => Code::Resource,
                    _ => Code::Configuration,
                };
                Error::new(code, format!("the data path {data_path} cannot be created: {failure}"))
                    .with_hint("Choose a folder that can be written with --data-path.")
            })?;
        }
        self.run_attach(vec![format!("DATA_PATH {}", quote_literal(&data_path))])
            .map_err(|failure| self.explain(failure))?;
        tracing::info!(catalog = %shown, data_path = mask(&data_path), "lake created");
        Ok(data_path)
    }

    fn run_attach(&self, mut parts: Vec<String>) -> duckdb::Result<()> {
        if let Some(schema) = &self.options.metadata_schema {
            parts.push(format!("METADATA_SCHEMA {}", quote_literal(schema)));
        }
        if self.location.kind() == CatalogKind::Sqlite {
            // Without the write-ahead log an open reader makes every commit fail.
            if !self.read_only() {
                parts.push("META_JOURNAL_MODE 'WAL'".to_owned());
            }
            parts.push(format!("META_BUSY_TIMEOUT {SQLITE_BUSY_TIMEOUT}"));
        }
        let (catalog, alias) = (quote_literal(&self.location.attach_string()), quote_identifier(&self.options.alias));
        self.connection.execute_batch(&format!("ATTACH {catalog} AS {alias} ({})", parts.join(", ")))
    }

    /// An attach that failed, in terms of what to do about it.
    fn explain(&self, failure: duckdb::Error) -> Error {
        let text = failure.to_string();
        let shown = self.location.shown();
        if let Some(version) = text.split_once("catalog version is ").and_then(|(_, rest)| rest.split_once(',')) {
            let (theirs, rest) = version;
            let ours = rest.split_once("requires version ").map_or("", |(_, rest)| rest);
            let ours = ours.split(". ").next().unwrap_or(ours).trim();
            let newer = version_of(theirs) > version_of(ours);
            let (relation, hint) = if newer {
                ("newer", "Use a newer version of this program; a lake is never taken back to an older format.")
            } else {
                (
                    "older",
                    "Migrate it once with DuckDB: ATTACH '...' (AUTOMATIC_MIGRATION true). Older programs cannot read it then.",
                )
            };
            return Error::new(
                Code::Configuration,
                format!("the lake at {shown} has the {relation} DuckLake format {theirs}; this program reads {ours}"),
            )
            .with_hint(hint);
        }
        let error = translate(failure, "", 0);
        match error.code() {
            // Whatever it is, it is the place that was named that could not be attached.
            Code::Query | Code::Internal => {
                let message = format!("the lake at {shown} cannot be opened: {}", error.message());
                Error::new(Code::Configuration, message).with_source(error)
            }
            _ => error.with_context("lake", shown),
        }
    }

    /// The data path the attached lake has, which must be the one that was asked for.
    fn check_data_path(&self) -> Result<String> {
        let alias = quote_literal(&self.options.alias);
        let sql = format!(
            "SELECT value FROM ducklake_options({alias}) WHERE option_name = 'data_path' AND scope = 'GLOBAL'"
        );
        let read: duckdb::Result<String> = self.connection.query_row(&sql, [], |row| row.get(0));
        let actual = read.map_err(|failure| translate(failure, "", 0))?;
        if let Some(wanted) = &self.wanted_data_path
            && *wanted != absolute_data_path(&actual)?
        {
            return Err(Error::new(
                Code::Configuration,
                format!("the lake's data path is {}, not {}", mask(&actual), mask(wanted)),
            )
            .with_hint("A lake keeps the data path it was created with: leave --data-path out, or name that one."));
        }
        if is_url(&actual) && self.wanted_data_path.is_none() {
            extensions::load(self.connection, "httpfs")?;
            if is_s3(&actual) && !self.touches_s3() {
                secrets::create(self.connection, &self.options.settings)?;
            }
        }
        Ok(actual)
    }

    /// Sets the options of the lake that do not have the wanted value yet: they are kept in the catalog.
    pub(crate) fn set_lake_options(&self) -> Result<()> {
        let wanted = self.options.settings.lake_options();
        if wanted.is_empty() {
            return Ok(());
        }
        if self.read_only() {
            tracing::warn!("the lake is read-only: its options are left as they are");
            return Ok(());
        }
        let alias = quote_literal(&self.options.alias);
        let read = || -> duckdb::Result<Vec<(String, String)>> {
            let sql = format!("SELECT option_name, value FROM ducklake_options({alias}) WHERE scope = 'GLOBAL'");
            let mut statement = self.connection.prepare(&sql)?;
            let options = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            options.collect()
        };
        let present = read().map_err(|failure| translate(failure, "", 0))?;
        for (name, value) in wanted {
            if present.iter().any(|(option, current)| option == name && current == value) {
                continue;
            }
            let (lake, name_literal) = (quote_identifier(&self.options.alias), quote_literal(name));
            let call = format!("CALL {lake}.set_option({name_literal}, {})", quote_literal(value));
            self.connection.execute_batch(&call).map_err(|failure| {
                let reason = translate(failure, "", 0);
                match reason.code() {
                    Code::Query | Code::Internal => {
                        let message = format!("the lake's option {name} does not take the value {value:?}");
                        Error::new(Code::Configuration, message).with_context("reason", reason.message())
                    }
                    _ => reason,
                }
            })?;
        }
        Ok(())
    }
}

fn version_of(text: &str) -> Vec<u32> {
    text.split('.').map_while(|part| part.trim().parse().ok()).collect()
}

pub(crate) fn is_url(path: &str) -> bool {
    path.contains("://")
}

fn is_s3(path: &str) -> bool {
    ["s3://", "s3a://", "s3n://"].iter().any(|scheme| path.starts_with(scheme))
}

/// A data path as DuckLake keeps it: with a slash at the end, and a local one absolute.
pub(crate) fn absolute_data_path(path: &str) -> Result<String> {
    let path = if is_url(path) { path.to_owned() } else { local(path)?.display().to_string() };
    Ok(format!("{}/", path.trim_end_matches('/')))
}

/// A folder for the data of a lake that is kept nowhere.
fn temporary_data_path() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("dynamic-tables-memory-{}-{number}", std::process::id()));
    format!("{}/", folder.display())
}
