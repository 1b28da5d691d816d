//! DuckDB's extensions: which ones this product needs, where they are found, whether they load, and how they
//! get onto a machine ([`Installer`]).
//!
//! An extension is one signed file per DuckDB version and platform, kept as
//! `<directory>/<version>/<platform>/<name>.duckdb_extension`. DuckDB checks signature, version and platform when
//! it loads the file, so a file may come from anywhere. Opening a lake only ever loads ([`load`]); it never
//! downloads, because a worker that needs the network to start does not start behind a mirror.
//!
//! This module knows nothing of lakes, settings or secrets: it is what a session does first.

use std::fmt;
use std::path::{Path, PathBuf};

use duckdb::Connection;
use error::{Code, Error, Result};

mod install;
mod pip;
mod repository;

pub use install::{Installed, Installer, Source, Sources};

/// An extension that this product uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// DuckDB's name of it.
    pub name: &'static str,
    /// What it does, for a person.
    pub purpose: &'static str,
    /// What does not work without it.
    pub required_for: RequiredFor,
}

/// What an extension is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredFor {
    /// Nothing works without it.
    EveryLake,
    /// Lakes whose catalog is an SQLite file, such as the default one.
    SqliteCatalogs,
    /// Lakes whose catalog is in PostgreSQL.
    PostgresCatalogs,
    /// Lakes and files on S3 or HTTP.
    RemoteFiles,
    /// Queries that compute with time zones or collations.
    TimeZones,
    /// This product's own tests and benchmarks.
    Tests,
}

impl fmt::Display for RequiredFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EveryLake => "every lake",
            Self::SqliteCatalogs => "lakes catalogued in SQLite (the default)",
            Self::PostgresCatalogs => "lakes catalogued in PostgreSQL",
            Self::RemoteFiles => "lakes and files on S3 or HTTP",
            Self::TimeZones => "queries with time zones or collations",
            Self::Tests => "tests and benchmarks",
        })
    }
}

const KNOWN: [Extension; 7] = [
    Extension { name: "ducklake", purpose: "the lake format", required_for: RequiredFor::EveryLake },
    Extension {
        name: "sqlite_scanner",
        purpose: "reads and writes SQLite",
        required_for: RequiredFor::SqliteCatalogs,
    },
    Extension {
        name: "postgres_scanner",
        purpose: "reads and writes PostgreSQL",
        required_for: RequiredFor::PostgresCatalogs,
    },
    Extension { name: "httpfs", purpose: "reads and writes S3 and HTTP", required_for: RequiredFor::RemoteFiles },
    Extension { name: "icu", purpose: "time zones and collations", required_for: RequiredFor::TimeZones },
    Extension { name: "tpch", purpose: "generates TPC-H data", required_for: RequiredFor::Tests },
    Extension { name: "tpcds", purpose: "generates TPC-DS data", required_for: RequiredFor::Tests },
];

/// The extensions that this product uses, the most important first.
#[must_use]
pub fn known() -> &'static [Extension] {
    &KNOWN
}

/// The names that `extensions install` installs when none is given: all but what only tests need.
#[must_use]
pub fn default_names() -> Vec<&'static str> {
    KNOWN.iter().filter(|extension| extension.required_for != RequiredFor::Tests).map(|e| e.name).collect()
}

/// What a machine has of one extension.
#[derive(Debug)]
pub struct ExtensionStatus {
    /// DuckDB's name of it.
    pub name: &'static str,
    /// What it does.
    pub purpose: &'static str,
    /// What does not work without it.
    pub required_for: RequiredFor,
    /// Its file; `None` if there is none, or if it is part of the engine itself (then it loads all the same).
    pub file: Option<PathBuf>,
    /// Its own version, once it has been loaded.
    pub version: Option<String>,
    /// Whether it loads, and if not, why and what to do.
    pub loadable: Result<()>,
}

/// Which engine the extensions must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// With its letter: `v1.5.5`.
    pub version: String,
    /// Such as `linux_amd64`.
    pub platform: String,
}

impl Engine {
    /// The engine in this program.
    ///
    /// # Errors
    /// When it does not start.
    pub fn here() -> Result<Self> {
        let connection = Connection::open_in_memory().map_err(engine_failure)?;
        let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(engine_failure);
        Ok(Self {
            version: text("SELECT library_version FROM pragma_version()")?,
            platform: text("SELECT platform FROM pragma_platform()")?,
        })
    }
}

/// Makes a connection look for extensions where this product keeps them, and never download one by itself.
///
/// The places are: `directory` alone if one is given; else the folder `../extensions` of the running program, if it
/// exists (that is how packages bring them along), and then DuckDB's own `~/.duckdb/extensions`.
///
/// # Errors
/// When the engine refuses the directory.
pub fn configure(connection: &Connection, directory: Option<&Path>) -> Result<()> {
    let mut statements = String::from("SET autoinstall_known_extensions = false;");
    if let Some(directory) = directory {
        statements.push_str(&format!("SET extension_directory = {};", quote(directory)));
    } else if let Some(beside) = beside_program() {
        // The list replaces DuckDB's own default directory, so that has to be named too.
        let mut places = vec![quote(&beside)];
        places.extend(user_directory().map(|directory| quote(&directory)));
        statements.push_str(&format!("SET extension_directories = [{}];", places.join(", ")));
    }
    connection.execute_batch(&statements).map_err(engine_failure)
}

/// Loads an extension into a connection prepared by [`configure`].
///
/// # Errors
/// When it is not installed or does not fit this engine; the hint says how to install it.
pub fn load(connection: &Connection, name: &str) -> Result<()> {
    let name = canonical_name(name)?;
    connection.execute_batch(&format!("LOAD {name}")).map_err(|failure| {
        let reason = first_line(&failure);
        let error = if reason.contains("not found") {
            Error::new(Code::Configuration, format!("the DuckDB extension {name} is not installed"))
                .with_hint(format!("Install it with `dynamic-tables extensions install {name}`."))
        } else {
            Error::new(Code::Configuration, format!("the DuckDB extension {name} does not load")).with_hint(format!(
                "The file is incomplete or made for another DuckDB. Replace it with \
                 `dynamic-tables extensions install {name}`."
            ))
        };
        error.with_context("reason", reason).with_source(failure)
    })
}

/// What this machine has of every known extension. Tries to load each, in a database of its own.
///
/// # Errors
/// Only when the engine itself does not start; a missing extension is part of the answer.
pub fn status(directory: Option<&Path>) -> Result<Vec<ExtensionStatus>> {
    let connection = Connection::open_in_memory().map_err(engine_failure)?;
    configure(&connection, directory)?;
    KNOWN
        .iter()
        .map(|extension| {
            let loadable = load(&connection, extension.name);
            let (file, version) = describe(&connection, extension.name)?;
            Ok(ExtensionStatus {
                name: extension.name,
                purpose: extension.purpose,
                required_for: extension.required_for,
                file,
                version: version.filter(|_| loadable.is_ok()),
                loadable,
            })
        })
        .collect()
}

/// Where an [`Installer`] puts an extension's file for this engine when told `directory`.
///
/// # Errors
/// When no directory is given and there is no home directory.
pub fn install_directory(directory: Option<&Path>, engine: &Engine) -> Result<PathBuf> {
    let root = directory.map(Path::to_path_buf).or_else(user_directory).ok_or_else(|| {
        Error::new(Code::Configuration, "no home directory to keep DuckDB extensions in")
            .with_hint("Say where with `--extension-directory`.")
    })?;
    Ok(root.join(&engine.version).join(&engine.platform))
}

/// The file and version of one extension as DuckDB sees them.
fn describe(connection: &Connection, name: &str) -> Result<(Option<PathBuf>, Option<String>)> {
    let (path, version) = connection
        .query_row(
            "SELECT install_path, extension_version FROM duckdb_extensions() WHERE extension_name = ?",
            [name],
            |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?)),
        )
        .or_else(|failure| match failure {
            duckdb::Error::QueryReturnedNoRows => Ok((None, None)),
            other => Err(engine_failure(other)),
        })?;
    // What is compiled in has "(BUILT-IN)" in place of a path.
    let file = path.filter(|path| !path.is_empty() && !path.starts_with('(')).map(PathBuf::from);
    Ok((file, version.filter(|version| !version.is_empty())))
}

/// DuckDB's name for what a person may write: `sqlite`, `postgres` and hyphens are understood.
fn canonical_name(name: &str) -> Result<String> {
    let name = name.to_lowercase().replace('-', "_");
    let name = match name.as_str() {
        "sqlite" => "sqlite_scanner".to_owned(),
        "postgres" => "postgres_scanner".to_owned(),
        _ => name,
    };
    // The name becomes part of a statement, a path and a package name.
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if name.is_empty() || !plain {
        return Err(Error::new(Code::Configuration, format!("{name:?} is not the name of a DuckDB extension"))
            .with_hint("See `dynamic-tables extensions list` for the names."));
    }
    Ok(name)
}

fn beside_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    let directory = program.parent()?.parent()?.join("extensions");
    directory.is_dir().then_some(directory)
}

fn user_directory() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".duckdb").join("extensions"))
}

fn quote(path: &Path) -> String {
    sql::names::quote_literal(&path.to_string_lossy())
}

fn engine_failure(failure: duckdb::Error) -> Error {
    Error::new(Code::Internal, "the DuckDB engine does not answer")
        .with_context("reason", first_line(&failure))
        .with_source(failure)
}

/// DuckDB's messages go on with advice of its own after the first line.
fn first_line(failure: &duckdb::Error) -> String {
    failure.to_string().lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_are_understood_as_people_write_them() {
        assert_eq!(canonical_name("postgres").unwrap(), "postgres_scanner");
        assert_eq!(canonical_name("SQLite-Scanner").unwrap(), "sqlite_scanner");
        assert_eq!(canonical_name("quack").unwrap(), "quack");
    }

    #[test]
    fn a_name_cannot_smuggle_a_statement_or_a_path() {
        for name in ["", "x; DROP TABLE t", "../x", "x FROM 'y'", "x==1"] {
            assert_eq!(canonical_name(name).unwrap_err().code(), Code::Configuration, "{name}");
        }
    }
}
