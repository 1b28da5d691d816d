//! A throw-away lake with a registry beside it.

use std::path::Path;
use std::time::Duration;

use ::lake::{Lake, Options, Session, Settings};
use error::{Code, Error, Result};
use refresh::{AutoPolicy, DynamicTables, RefreshReport, RefreshRequest};
use registry::{RefreshTrigger, Registry};
use sql::names::ObjectName;
use sql::statement::{Statement, parse_statements};
use tempfile::TempDir;

use crate::postgres::Postgres;

/// Which database holds the catalog of a throw-away lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// A DuckDB file: one process at a time.
    DuckDb,
    /// An SQLite file: the default.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
}

/// AUTO in tests: the rules are what is tested, on few rows, and not how fast the machine is.
pub const BY_RULE: AutoPolicy = AutoPolicy { floor_rows: 1_000, least_gain: Duration::from_secs(60) };

/// A lake in a directory that goes away with this value, its dynamic tables, and a second connection that plays
/// everybody else.
pub struct ThrowAway {
    /// The dynamic tables.
    pub tables: DynamicTables,
    /// A connection of its own, for changing sources and looking at results.
    pub others: Session,
    options: Options,
    registry_url: String,
    directory: TempDir,
}

impl ThrowAway {
    /// A lake with an SQLite catalog, the product's default.
    ///
    /// # Errors
    /// When something of it cannot be opened.
    pub fn new() -> Result<Self> {
        Self::with(CatalogKind::Sqlite, "")
    }

    /// A lake with a catalog of this kind, opened with these settings.
    ///
    /// # Errors
    /// When something of it cannot be opened.
    pub fn with(kind: CatalogKind, settings: &str) -> Result<Self> {
        let directory = tempfile::tempdir()
            .map_err(|cause| Error::new(Code::Resource, format!("no temporary directory: {cause}")))?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        let path = match kind {
            CatalogKind::DuckDb => format!("ducklake:{}", at("catalog.ducklake")),
            CatalogKind::Sqlite => format!("ducklake:sqlite:{}", at("catalog.sqlite")),
            CatalogKind::Postgres => {
                let url = Postgres::shared()?.fresh_database()?;
                let name = url.rsplit('/').next().unwrap_or_default().to_owned();
                format!("ducklake:postgres:{}", Postgres::shared()?.dsn(&name))
            }
        };
        let options = Options {
            path,
            data_path: Some(format!("{}/", at("data"))),
            settings: Settings::parse(settings)?.0,
            ..Options::default()
        };
        let registry_url = format!("sqlite:{}", at("registry.sqlite"));
        let lake = Lake::open(&options)?;
        let others = lake.session()?;
        let tables = DynamicTables::open(lake, Registry::open(&registry_url)?)?;
        tables.set_auto(BY_RULE);
        Ok(Self { tables, others, options, registry_url, directory })
    }

    /// Where everything is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// How the lake was opened.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Where the registry is.
    #[must_use]
    pub fn registry_url(&self) -> &str {
        &self.registry_url
    }

    /// A second product process's view of the same lake, within this process.
    ///
    /// # Errors
    /// When something of it cannot be opened.
    pub fn another(&self) -> Result<DynamicTables> {
        let tables = DynamicTables::open(Lake::open(&self.options)?, Registry::open(&self.registry_url)?)?;
        tables.set_auto(BY_RULE);
        Ok(tables)
    }

    /// Runs statements as somebody else: ours and DuckDB's.
    ///
    /// # Errors
    /// What the first statement that fails says.
    pub fn run(&self, text: &str) -> Result<()> {
        for statement in parse_statements(text)? {
            match statement.value {
                Statement::Create(create) => drop(self.tables.create(&create, text)?),
                Statement::Alter { name, if_exists, action } => drop(self.tables.alter(&name, if_exists, &action)?),
                Statement::Drop { name, if_exists, cascade } => drop(self.tables.drop(&name, if_exists, cascade)?),
                _ => drop(self.others.execute(&statement.text)?),
            }
        }
        Ok(())
    }

    /// Refreshes tables by name; none means all. A table that fails is an error.
    ///
    /// # Errors
    /// The error of the first table that failed.
    pub fn refresh(&self, names: &[&str]) -> Result<Vec<RefreshReport>> {
        let names = names.iter().map(|name| ObjectName::parse(name)).collect::<Result<_>>()?;
        let request = RefreshRequest { names, full: false, trigger: RefreshTrigger::Manual, worker: None };
        let mut reports = self.tables.refresh(&request)?;
        match reports.iter().position(|report| report.error.is_some()) {
            Some(position) => Err(reports
                .swap_remove(position)
                .error
                .unwrap_or_else(|| Error::new(Code::Internal, "a refresh failed without an error"))),
            None => Ok(reports),
        }
    }

    /// The oracle: every dynamic table equals its query at its data version.
    ///
    /// # Errors
    /// `INTERNAL` with the rows that differ.
    pub fn verify(&self) -> Result<()> {
        for verification in self.tables.verify(&[])? {
            if verification.skipped.is_none() && !verification.equal() {
                return Err(Error::new(
                    Code::Internal,
                    format!("{} differs from its query: {verification:?}", verification.name),
                ));
            }
        }
        Ok(())
    }

    /// The rows of a query as text, sorted.
    ///
    /// # Errors
    /// What the lake says.
    pub fn rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut rows = self.others.query(query)?.rows;
        rows.sort();
        Ok(rows)
    }
}
