//! Where a round takes place: a lake and a registry of its own, gone with the round unless they are kept.

use std::path::{Path, PathBuf};

use error::Result;
use lake::{Lake, Options, Session, Settings};
use tempfile::TempDir;
use testkit::postgres::Postgres;

use crate::broken;
use crate::plan::{Kind, Round};

/// A lake and a registry.
pub struct Place {
    folder: TempDir,
    lake: String,
    registry: String,
    /// The port of the server, where one is used.
    server: Option<u16>,
    threads: usize,
}

impl Place {
    /// The place of a round.
    ///
    /// # Errors
    /// When there is no room for it, or no PostgreSQL where one is needed.
    pub fn new(round: &Round, keep: Option<&Path>) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let prefix = format!("round-{}-", round.number);
        builder.prefix(&prefix);
        let made = match keep {
            Some(keep) => std::fs::create_dir_all(keep).and_then(|()| builder.tempdir_in(keep)),
            None => builder.tempdir(),
        };
        let folder = made.map_err(|cause| broken("no folder for a round", cause))?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let server =
            if [round.catalog, round.registry].contains(&Kind::Postgres) { Some(Postgres::shared()?) } else { None };
        let fresh = |postgres: &Postgres| postgres.fresh_database();
        let lake = match (round.catalog, server) {
            (Kind::Postgres, Some(server)) => {
                let url = fresh(server)?;
                format!("ducklake:postgres:{}", server.dsn(url.rsplit('/').next().unwrap_or_default()))
            }
            _ => format!("ducklake:sqlite:{}", at("lake.sqlite")),
        };
        let registry = match (round.registry, server) {
            (Kind::Postgres, Some(server)) => fresh(server)?,
            _ => format!("sqlite:{}", at("registry.sqlite")),
        };
        Ok(Self { folder, lake, registry, server: server.map(Postgres::port), threads: round.threads })
    }

    /// The folder of the round.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port of the server that lake or registry are in, if any is.
    #[must_use]
    pub fn server(&self) -> Option<u16> {
        self.server
    }

    /// The options of the command line that lead here, through this port of a proxy if there is one.
    #[must_use]
    pub fn arguments(&self, through: Option<u16>) -> Vec<String> {
        let lead = |place: &str| match (self.server, through) {
            (Some(server), Some(port)) => place
                .replace(&format!("127.0.0.1:{server}/"), &format!("127.0.0.1:{port}/"))
                .replace(&format!("127.0.0.1 port={server} "), &format!("127.0.0.1 port={port} ")),
            _ => place.to_owned(),
        };
        let pairs = [
            ("--duckdb-path", lead(&self.lake)),
            ("--data-path", self.data_path()),
            ("--pg-url", lead(&self.registry)),
            ("--duckdb-settings", format!("threads={}", self.threads)),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    fn data_path(&self) -> String {
        format!("{}/", self.folder.path().join("data").display())
    }

    /// A connection to the lake as of another process.
    ///
    /// # Errors
    /// What the lake says.
    pub fn session(&self) -> Result<Session> {
        // With more threads the engine itself may read an SQLite catalog at two moments in one statement, and that is not what
        // is looked for here.
        let settings = Settings::parse("threads=1")?.0;
        let options =
            Options { path: self.lake.clone(), data_path: Some(self.data_path()), settings, ..Options::default() };
        Lake::open(&options)?.session()
    }

    /// Leaves the folder where it is.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}
