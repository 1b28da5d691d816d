//! An engine without a lake of its own, in which somebody's query is tried on data elsewhere: places are attached for reading,
//! then it is shut, then one query runs. Meant for a process of its own; what a query may say is for the caller to decide.

use std::fmt;
use std::path::Path;

use duckdb::{Config, Connection};
use error::{Code, Error, Result};
use sql::names::{quote_identifier, quote_literal};

use crate::attach::{forbid_wrong_optimizations, run};
use crate::failure::translate;
use crate::outside::{self, PostgresPlace, Storage};
use crate::session::InterruptHandle;
use crate::stream::stream_rows;
use crate::{Parameters, Take, extensions};

/// How much the engine may take.
#[derive(Clone, Debug)]
pub struct SandboxLimits {
    /// Memory, as DuckDB writes it: `1GB`.
    pub memory: String,
    /// Threads.
    pub threads: u32,
    /// Room on disk for what does not fit into memory, as DuckDB writes it.
    pub disk: String,
}

/// The engine.
pub struct Sandbox {
    connection: Connection,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Starts the engine. It spills into `folder` and loads extensions from this directory, if one is given.
    pub fn open(limits: &SandboxLimits, folder: &Path, extension_directory: Option<&Path>) -> Result<Self> {
        let start = || -> duckdb::Result<_> {
            let config = Config::default().with("autoinstall_known_extensions", "false")?;
            Connection::open_in_memory_with_flags(config)
        };
        let connection = start().map_err(|failure| translate(failure, "", 0))?;
        extensions::configure(&connection, extension_directory)?;
        for (setting, value) in [
            ("memory_limit", limits.memory.clone()),
            ("threads", limits.threads.max(1).to_string()),
            ("temp_directory", folder.display().to_string()),
            ("max_temp_directory_size", limits.disk.clone()),
            ("allow_community_extensions", "false".to_owned()),
            ("allow_persistent_secrets", "false".to_owned()),
            ("errors_as_json", "true".to_owned()),
        ] {
            run(&connection, &format!("SET GLOBAL {setting} = {}", quote_literal(&value)))?;
        }
        // Known only with the extension for time zones, which may not be there.
        if extensions::load(&connection, "icu").is_ok() {
            run(&connection, "SET GLOBAL TimeZone = 'UTC'")?;
        }
        forbid_wrong_optimizations(&connection)?;
        Ok(Self { connection })
    }

    /// Loads what a place of this kind takes, before it is known which one it will be.
    pub fn load(&self, extension: &str) -> Result<()> {
        extensions::load(&self.connection, extension)
    }

    /// Attaches a PostgreSQL database for reading. The password is in no setting and no catalog afterwards.
    pub fn attach_postgres(&self, alias: &str, place: &PostgresPlace) -> Result<()> {
        outside::attach_postgres(&self.connection, alias, place, true)
    }

    /// Attaches a DuckLake for reading; where its data files are.
    pub fn attach_lake(
        &self,
        alias: &str,
        path: &str,
        metadata_schema: Option<&str>,
        storage: &Storage,
    ) -> Result<String> {
        self.load("ducklake")?;
        let place = crate::catalog::Location::parse(path)?;
        match place.kind() {
            crate::CatalogKind::Sqlite => self.load("sqlite_scanner")?,
            crate::CatalogKind::Postgres => self.load("postgres_scanner")?,
            _ => {}
        }
        self.use_storage(storage)?;
        let schema =
            metadata_schema.map_or_else(String::new, |schema| format!(", METADATA_SCHEMA {}", quote_literal(schema)));
        run(
            &self.connection,
            &format!(
                "ATTACH {} AS {} (READ_ONLY, CREATE_IF_NOT_EXISTS false{schema})",
                quote_literal(&place.attach_string()),
                quote_identifier(alias)
            ),
        )?;
        let metadata = quote_identifier(&format!("__ducklake_metadata_{alias}"));
        let schema = metadata_schema.map_or_else(String::new, |schema| format!(".{}", quote_identifier(schema)));
        let asked = format!("SELECT value FROM {metadata}{schema}.ducklake_metadata WHERE key = 'data_path'");
        let read: duckdb::Result<String> = self.connection.query_row(&asked, [], |row| row.get(0));
        read.map_err(|failure| translate(failure, "", 0))
    }

    /// Makes a folder of files a catalog in which every one of these names is a relation, if there is a file of the name.
    ///
    /// # Errors
    /// `QUERY` for a name without a file, or one that leads out of the folder.
    pub fn attach_files(&self, alias: &str, root: &str, names: &[String], storage: &Storage) -> Result<()> {
        if root.contains("://") {
            self.load("httpfs")?;
        }
        self.use_storage(storage)?;
        let catalog = quote_identifier(alias);
        run(&self.connection, &format!("ATTACH ':memory:' AS {catalog}"))?;
        for name in names {
            let (path, function) = outside::find_files(&self.connection, root, name)?;
            run(
                &self.connection,
                &format!(
                    "CREATE VIEW {catalog}.main.{} AS SELECT * FROM {function}({})",
                    quote_identifier(name),
                    quote_literal(&path)
                ),
            )?;
        }
        Ok(())
    }

    fn use_storage(&self, storage: &Storage) -> Result<()> {
        let number = secrets_there_are(&self.connection)?;
        outside::use_storage(&self.connection, &format!("sandbox_s3_{number}"), storage)
    }

    /// Shuts the engine: no file and no address but these folders, no further extension, and no setting can be changed any
    /// more, this one included.
    pub fn close(&self, folders: &[String]) -> Result<()> {
        let folders: Vec<String> =
            folders.iter().map(|folder| quote_literal(&format!("{}/", folder.trim_end_matches('/')))).collect();
        run(&self.connection, &format!("SET GLOBAL allowed_directories = [{}]", folders.join(", ")))?;
        run(&self.connection, "SET GLOBAL enable_external_access = false")?;
        run(&self.connection, "SET GLOBAL lock_configuration = true")
    }

    /// Names and types of what a SELECT gives.
    pub fn describe(&self, select: &str) -> Result<Vec<(String, String)>> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(&format!("DESCRIBE {select}"))?;
            let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            columns.collect()
        };
        read().map_err(|failure| translate(failure, select, "DESCRIBE ".len()))
    }

    /// The plan of a SELECT as text.
    pub fn plan(&self, select: &str) -> Result<String> {
        let read = || -> duckdb::Result<String> {
            self.connection.query_row(&format!("EXPLAIN {select}"), [], |row| row.get(1))
        };
        read().map_err(|failure| translate(failure, select, "EXPLAIN ".len()))
    }

    /// The rows of a SELECT, every value as text.
    pub fn texts(&self, select: &str) -> Result<Vec<Vec<Option<String>>>> {
        let read = || -> duckdb::Result<_> {
            let mut statement = self.connection.prepare(&format!("SELECT COLUMNS(*)::VARCHAR FROM ({select})"))?;
            let mut result = statement.query([])?;
            let mut rows = Vec::new();
            while let Some(row) = result.next()? {
                let statement: &duckdb::Statement<'_> = row.as_ref();
                let width = statement.column_count();
                rows.push((0..width).map(|index| row.get(index)).collect::<duckdb::Result<_>>()?);
            }
            Ok(rows)
        };
        read().map_err(|failure| translate(failure, "", 0))
    }

    /// Looks into a folder of files, which may be empty but must be there to be looked into.
    pub fn list(&self, root: &str) -> Result<()> {
        if !root.contains("://") {
            return match Path::new(root).is_dir() {
                true => Ok(()),
                false => {
                    Err(Error::new(Code::Connection, format!("there is no folder {root}")).with_transient(false))
                }
            };
        }
        let pattern = quote_literal(&format!("{}/*", root.trim_end_matches('/')));
        self.texts(&format!("SELECT count(*) FROM (SELECT 1 FROM glob({pattern}) LIMIT 1)")).map(drop)
    }

    /// Keeps the rows of a SELECT under a name, in this engine only.
    pub fn keep(&self, name: &str, select: &str) -> Result<()> {
        run(&self.connection, &format!("CREATE TEMPORARY TABLE {} AS {select}", quote_identifier(name)))
    }

    /// Runs a SELECT and hands its rows over as they come.
    pub fn stream(&self, sql: &str, take: &mut dyn Take) -> Result<()> {
        stream_rows(&self.connection, sql, &Parameters::default(), take)
    }

    /// Stops what it is doing.
    #[must_use]
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle::of(&self.connection)
    }
}

/// How many secrets there are, which is the number of the next.
fn secrets_there_are(connection: &Connection) -> Result<i64> {
    let read: duckdb::Result<i64> =
        connection.query_row("SELECT count(*) FROM duckdb_secrets()", [], |row| row.get(0));
    read.map_err(|failure| translate(failure, "", 0))
}
