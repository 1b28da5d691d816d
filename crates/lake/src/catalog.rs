//! What a lake's path means: which kind of database holds its catalog, and where.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use error::{Code, Error, Result};

use crate::failure::mask;

/// Which kind of database holds the lake's catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// Nothing is kept; for tests.
    Memory,
    /// A DuckDB file: one process at a time.
    DuckDb,
    /// An SQLite file: several processes of one machine.
    Sqlite,
    /// A PostgreSQL database: any number of processes and machines.
    Postgres,
    /// A DuckDB file on object storage: can only be read.
    Remote,
}

/// Where the catalog is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Memory,
    DuckDb(PathBuf),
    Sqlite(PathBuf),
    Postgres(String),
    Remote(String),
}

const FORMS: &str = "Give a local path (./lake.ducklake, ./lake.sqlite), ducklake:sqlite:<file>, \
    ducklake:postgres:<connection>, ducklake:s3://<bucket>/<file> or :memory:.";

impl Location {
    /// Reads what the user gave as the lake's path.
    pub(crate) fn parse(path: &str) -> Result<Self> {
        let path = path.trim();
        let rest = strip_scheme(path, "ducklake:").unwrap_or(path).trim();
        let refused =
            |why: &str| Error::new(Code::Configuration, format!("{why}: {:?}", mask(path))).with_hint(FORMS);
        if rest.is_empty() {
            return Err(refused("the path of the lake is empty"));
        }
        if rest == ":memory:" {
            return Ok(Self::Memory);
        }
        if strip_scheme(rest, "postgres://").or(strip_scheme(rest, "postgresql://")).is_some() {
            return Ok(Self::Postgres(rest.to_owned()));
        }
        if let Some(connection) = strip_scheme(rest, "postgres:").or(strip_scheme(rest, "postgresql:")) {
            return Ok(Self::Postgres(connection.to_owned()));
        }
        if let Some(file) = strip_scheme(rest, "sqlite:") {
            return Ok(Self::Sqlite(local(file)?));
        }
        if let Some(file) = strip_scheme(rest, "duckdb:") {
            return Ok(Self::DuckDb(local(file)?));
        }
        if strip_scheme(rest, "mysql:").is_some() {
            return Err(refused("a catalog in MySQL is not supported"));
        }
        match rest.split_once("://") {
            Some(("s3" | "s3a" | "s3n" | "gs" | "gcs" | "r2" | "http" | "https" | "az" | "azure" | "abfss", _)) => {
                Ok(Self::Remote(rest.to_owned()))
            }
            Some(("file", file)) => Ok(Self::of_file(local(file)?)),
            Some(_) => Err(refused("the path of the lake has a scheme that is not known")),
            None => Ok(Self::of_file(local(rest)?)),
        }
    }

    /// An existing file says itself what it is; of a new one its ending does.
    fn of_file(file: PathBuf) -> Self {
        let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let named_sqlite = matches!(ending.as_deref(), Some("sqlite" | "sqlite3"));
        match FileFormat::of(&file) {
            FileFormat::Sqlite => Self::Sqlite(file),
            FileFormat::DuckDb => Self::DuckDb(file),
            FileFormat::Missing | FileFormat::Other if named_sqlite => Self::Sqlite(file),
            FileFormat::Missing | FileFormat::Other => Self::DuckDb(file),
        }
    }

    pub(crate) const fn kind(&self) -> CatalogKind {
        match self {
            Self::Memory => CatalogKind::Memory,
            Self::DuckDb(_) => CatalogKind::DuckDb,
            Self::Sqlite(_) => CatalogKind::Sqlite,
            Self::Postgres(_) => CatalogKind::Postgres,
            Self::Remote(_) => CatalogKind::Remote,
        }
    }

    /// The file that holds the catalog, if a local one does.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::DuckDb(file) | Self::Sqlite(file) => Some(file),
            Self::Memory | Self::Postgres(_) | Self::Remote(_) => None,
        }
    }

    /// The string to attach. May hold a password.
    pub(crate) fn attach_string(&self) -> String {
        match self {
            Self::Memory => "ducklake::memory:".to_owned(),
            Self::DuckDb(file) => format!("ducklake:{}", file.display()),
            Self::Sqlite(file) => format!("ducklake:sqlite:{}", file.display()),
            Self::Postgres(connection) => format!("ducklake:postgres:{connection}"),
            Self::Remote(url) => format!("ducklake:{url}"),
        }
    }

    /// How it is called in messages.
    pub(crate) fn shown(&self) -> String {
        mask(&self.attach_string())
    }

    /// Where the data files of a new lake go if nobody says: a folder beside the catalog file.
    pub(crate) fn default_data_path(&self) -> Option<PathBuf> {
        let file = self.file()?;
        let stem = file.file_stem()?.to_string_lossy();
        Some(file.with_file_name(format!("{stem}_data")))
    }
}

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// No such file, or an empty one.
    Missing,
    Sqlite,
    DuckDb,
    Other,
}

impl FileFormat {
    pub(crate) fn of(file: &Path) -> Self {
        let mut head = [0; 16];
        let Ok(length) = File::open(file).and_then(|mut file| file.read(&mut head)) else {
            return if file.exists() { Self::Other } else { Self::Missing };
        };
        match &head[..length] {
            [] => Self::Missing,
            head if head.starts_with(b"SQLite format 3\0") => Self::Sqlite,
            head if head.get(8..12) == Some(b"DUCK") => Self::DuckDb,
            _ => Self::Other,
        }
    }
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let head = text.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

/// A local path made absolute: DuckLake keeps what it is given, and the working directory may be another tomorrow.
pub(crate) fn local(path: &str) -> Result<PathBuf> {
    let expanded = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(below), Some(home)) => PathBuf::from(home).join(below),
        _ => PathBuf::from(path),
    };
    if path.is_empty() {
        return Err(Error::new(Code::Configuration, "the path of the lake's catalog file is empty").with_hint(FORMS));
    }
    std::path::absolute(&expanded).map_err(|failure| {
        Error::new(Code::Configuration, format!("the path {path:?} cannot be made absolute")).with_source(failure)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn kind(path: &str) -> CatalogKind {
        Location::parse(path).unwrap().kind()
    }

    #[test]
    fn every_form_of_path() {
        assert_eq!(kind("./lake.ducklake"), CatalogKind::DuckDb);
        assert_eq!(kind("/data/lake.db"), CatalogKind::DuckDb);
        assert_eq!(kind("lake.sqlite"), CatalogKind::Sqlite);
        assert_eq!(kind("ducklake:sqlite:lake.db"), CatalogKind::Sqlite);
        assert_eq!(kind("DuckLake:lake.ducklake"), CatalogKind::DuckDb);
        assert_eq!(kind("ducklake:postgres:dbname=x host=h"), CatalogKind::Postgres);
        assert_eq!(kind("ducklake:postgres:postgresql://u:p@h/d"), CatalogKind::Postgres);
        assert_eq!(kind("postgresql://u:p@h/d"), CatalogKind::Postgres);
        assert_eq!(kind("ducklake:s3://bucket/lake.duckdb"), CatalogKind::Remote);
        assert_eq!(kind(":memory:"), CatalogKind::Memory);
        assert_eq!(kind("ducklake::memory:"), CatalogKind::Memory);
    }

    #[test]
    fn what_cannot_be_a_lake_is_refused_without_its_password() {
        for path in ["", "ducklake:", "ducklake:sqlite:", "ftp://me:geheim@x/y", "ducklake:mysql:db=x"] {
            let error = Location::parse(path).unwrap_err();
            assert_eq!(error.code(), Code::Configuration, "{path}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }

    #[test]
    fn a_local_path_is_absolute_and_plain() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(local("./a//b").unwrap(), here.join("a/b"));
        let location = Location::parse("x/lake.sqlite").unwrap();
        assert_eq!(location.default_data_path().unwrap(), here.join("x/lake_data"));
    }
}
