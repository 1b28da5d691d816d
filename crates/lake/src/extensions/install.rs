//! Getting extensions onto a machine, by the first way that works.
//!
//! Users sit behind mirrors and without networks, so every way has a limit in seconds, and when all ways fail
//! the error says why each did.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use duckdb::Connection;
use error::{Code, Error, Result};

use super::repository::Repository;
use super::{Engine, canonical_name, configure, describe, engine_failure, install_directory, load, pip};

/// Where an extension came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was there already, as a file or as a part of the engine.
    Present,
    /// DuckDB's repository of extensions, or the mirror of it that was named.
    Repository,
    /// The Python package index, as pip is configured on this machine.
    Pip,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "already there",
            Self::Repository => "DuckDB's repository",
            Self::Pip => "Python package index",
        })
    }
}

/// The ways to try, and how.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The ways in the order in which they are tried. What is present is never fetched again.
    pub order: Vec<Source>,
    /// A mirror of DuckDB's repository (DuckDB's `custom_extension_repository`): an address or a folder.
    pub repository: Option<String>,
    /// A package index other than the one pip is configured for.
    pub package_index: Option<String>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { order: vec![Source::Repository, Source::Pip], repository: None, package_index: None }
    }
}

/// An extension that is now there and loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// DuckDB's name of it.
    pub name: String,
    /// Where it came from.
    pub from: Source,
    /// Its file; `None` if it is a part of the engine.
    pub file: Option<PathBuf>,
}

/// Gets extensions onto this machine.
pub struct Installer {
    directory: Option<PathBuf>,
    engine: Engine,
    order: Vec<Source>,
    repository: Repository,
    package_index: Option<String>,
}

impl Installer {
    /// One that puts files into `directory` (DuckDB's own if there is none). Touches neither disk nor network.
    ///
    /// # Errors
    /// Only when the engine does not start.
    pub fn new(directory: Option<&Path>, sources: Sources) -> Result<Self> {
        Ok(Self {
            directory: directory.map(Path::to_path_buf),
            engine: Engine::here()?,
            repository: Repository::new(directory, sources.repository),
            order: sources.order,
            package_index: sources.package_index,
        })
    }

    /// Makes sure that this extension is there and loads, and says where it came from. What is there and loads is left
    /// alone; a file that does not load is replaced. A repository that could not be reached is not asked again for the
    /// next one.
    ///
    /// # Errors
    /// When it is no name, the directory cannot be written, or every way failed: the context has one entry per way.
    pub fn install(&mut self, name: &str) -> Result<Installed> {
        let name = canonical_name(name)?;
        if let Some(file) = present(&name, self.directory.as_deref())? {
            return Ok(Installed { name, from: Source::Present, file });
        }
        let from = self.fetch(&name)?;
        let file = present(&name, self.directory.as_deref())?.flatten();
        tracing::info!(extension = name, from = %from, "extension installed");
        Ok(Installed { name, from, file })
    }

    /// Tries the ways in turn until the extension loads.
    fn fetch(&mut self, name: &str) -> Result<Source> {
        let folder = install_directory(self.directory.as_deref(), &self.engine)?;
        fs::create_dir_all(&folder).map_err(|failure| {
            Error::new(Code::Permission, "cannot create the directory of DuckDB extensions")
                .with_context("directory", folder.display().to_string())
                .with_context("reason", failure.to_string())
                .with_hint("Name a directory that can be written with `--extension-directory`.")
        })?;

        let mut failures = Vec::new();
        for &way in &self.order {
            let outcome = match way {
                Source::Present => continue,
                Source::Repository => self.repository.install(name),
                Source::Pip => pip::install(name, &folder, &self.engine, self.package_index.as_deref()),
            };
            match outcome.and_then(|()| loads(name, self.directory.as_deref())) {
                Ok(()) => return Ok(way),
                Err(reason) => {
                    tracing::debug!(extension = name, way = %way, reason, "extension not to be had this way");
                    failures.push((way, reason));
                }
            }
        }
        Err(nowhere_to_be_had(name, &folder, &self.engine, failures))
    }
}

/// `Some` if the extension loads as things are, with its file if it has one.
fn present(name: &str, directory: Option<&Path>) -> Result<Option<Option<PathBuf>>> {
    let connection = Connection::open_in_memory().map_err(engine_failure)?;
    configure(&connection, directory)?;
    if load(&connection, name).is_err() {
        return Ok(None);
    }
    Ok(Some(describe(&connection, name)?.0))
}

/// Whether the file that was just put there is what it should be: DuckDB checks signature, version and platform.
fn loads(name: &str, directory: Option<&Path>) -> Result<(), String> {
    let attempt = || -> Result<()> {
        let connection = Connection::open_in_memory().map_err(engine_failure)?;
        configure(&connection, directory)?;
        load(&connection, name)
    };
    attempt().map_err(|error| error.context().first().map_or_else(|| error.to_string(), |(_, reason)| reason.clone()))
}

fn nowhere_to_be_had(name: &str, folder: &Path, engine: &Engine, failures: Vec<(Source, String)>) -> Error {
    let Engine { version, platform } = engine;
    let message = format!("cannot install the DuckDB extension {name} for {version} on {platform}");
    let mut error = Error::new(Code::Connection, message).with_hint(format!(
        "Behind a mirror, name it with `--repository` (a copy of DuckDB's extension repository: an address or a \
         folder), or configure pip for it (the package is {}). Without any network, copy {name}.duckdb_extension \
         for DuckDB {version} on {platform} from a machine that has it into {}.",
        pip::package(name),
        folder.display(),
    ));
    for (way, reason) in failures {
        let key = if way == Source::Pip { "pip" } else { "repository" };
        error = error.with_context(key, reason);
    }
    error
}
