//! An engine without a lake of its own, in which somebody's query is tried on data elsewhere: places are attached for reading,
//! then it is shut, then one query runs. Meant for a process of its own; what a query may say is for the caller to decide.

use std::fmt;
use std::path::Path;

use duckdb::{Config, Connection};
use error::{Code, Error, Result};
use sql::names::{quote_identifier, quote_literal};

use crate::attach::{forbid_wrong_optimizations, run};
use crate::failure::translate;
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

/// How to get into a PostgreSQL database. Shows no password.
#[derive(Clone)]
pub struct PostgresPlace {
    /// The host.
    pub host: String,
    /// The port.
    pub port: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<String>,
    /// More of libpq's keywords and their values, such as `sslmode`.
    pub keywords: Vec<(&'static str, String)>,
    /// Settings of the server for the session, such as `statement_timeout`; left out where the server does not know them.
    pub session: Vec<(&'static str, String)>,
}

/// How to get at files in object storage. Shows no secret.
#[derive(Clone, Default)]
pub struct Storage {
    /// What goes into the secret: DuckDB's names and their values.
    pub settings: Vec<(&'static str, String)>,
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPlace")
            .field("host", &self.host)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
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

/// In which form a file holds rows, by the end of its name; the first that there is counts.
const FORMS: [(&str, &str); 14] = [
    (".parquet", "read_parquet"),
    (".csv", "read_csv"),
    (".csv.gz", "read_csv"),
    (".tsv", "read_csv"),
    (".json", "read_json"),
    (".jsonl", "read_json"),
    (".ndjson", "read_json"),
    (".json.gz", "read_json"),
    ("/*.parquet", "read_parquet"),
    ("/**/*.parquet", "read_parquet"),
    ("/*.csv", "read_csv"),
    ("/*.csv.gz", "read_csv"),
    ("/*.json", "read_json"),
    ("/*.jsonl", "read_json"),
];

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
        self.load("postgres_scanner")?;
        let mut parts = vec!["TYPE postgres".to_owned()];
        for (name, value) in
            [("HOST", &place.host), ("PORT", &place.port), ("DATABASE", &place.database), ("USER", &place.user)]
        {
            parts.push(format!("{name} {}", quote_literal(value)));
        }
        if let Some(password) = &place.password {
            parts.push(format!("PASSWORD {}", quote_literal(password)));
        }
        run(&self.connection, &format!("CREATE TEMPORARY SECRET sandbox_postgres ({})", parts.join(", ")))?;
        let options: Vec<String> = place.session.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
        let mut keywords = place.keywords.clone();
        keywords.push(("options", options.join(" ")));
        let attach = |keywords: &[(&'static str, String)]| {
            let words: Vec<String> = keywords
                .iter()
                .map(|(name, value)| format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
                .collect();
            run(
                &self.connection,
                &format!(
                    "ATTACH {} AS {} (TYPE postgres, READ_ONLY, SECRET sandbox_postgres)",
                    quote_literal(&words.join(" ")),
                    quote_identifier(alias)
                ),
            )
        };
        let mut attached = attach(&keywords);
        // An older server, or a pooler in front of it, that does not take these.
        if attached.as_ref().is_err_and(|error| {
            ["unrecognized configuration parameter", "unsupported startup parameter"]
                .iter()
                .any(|mark| error.message().contains(mark))
        }) {
            attached = attach(&place.keywords);
        }
        run(&self.connection, "DROP SECRET sandbox_postgres")?;
        attached
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
            let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '/'));
            let stays =
                !name.starts_with('/') && !name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
            if !plain || !stays {
                return Err(Error::new(Code::Query, format!("{name:?} is not the name of a file or folder there")));
            }
            let Some((path, function)) = self.find(root, name)? else {
                return Err(Error::new(Code::Query, format!("there is no file or folder of the name {name}"))
                    .with_hint(
                        "A table is a file such as NAME.parquet, NAME.csv or NAME.json, or a folder of such files.",
                    ));
            };
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

    /// The pattern of the files that hold the rows of a name, and the function that reads them.
    fn find(&self, root: &str, name: &str) -> Result<Option<(String, &'static str)>> {
        let root = root.trim_end_matches('/');
        for (end, function) in FORMS {
            let path = format!("{root}/{name}{end}");
            let asked = format!("SELECT count(*) FROM (SELECT 1 FROM glob({}) LIMIT 1)", quote_literal(&path));
            let found: duckdb::Result<i64> = self.connection.query_row(&asked, [], |row| row.get(0));
            if found.map_err(|failure| translate(failure, "", 0))? > 0 {
                return Ok(Some((path, function)));
            }
        }
        // What is named with its end, as it is called in the folder.
        let function = FORMS.iter().take(8).find(|(end, _)| name.ends_with(end)).map(|(_, function)| *function);
        let Some(function) = function else { return Ok(None) };
        let path = format!("{root}/{name}");
        let asked = format!("SELECT count(*) FROM glob({})", quote_literal(&path));
        let found: duckdb::Result<i64> = self.connection.query_row(&asked, [], |row| row.get(0));
        Ok((found.map_err(|failure| translate(failure, "", 0))? > 0).then_some((path, function)))
    }

    fn use_storage(&self, storage: &Storage) -> Result<()> {
        if storage.settings.is_empty() {
            return Ok(());
        }
        self.load("httpfs")?;
        let parts: Vec<String> =
            storage.settings.iter().map(|(name, value)| format!("{name} {}", quote_literal(value))).collect();
        let number = secrets_there_are(&self.connection)?;
        run(&self.connection, &format!("CREATE TEMPORARY SECRET sandbox_s3_{number} (TYPE s3, {})", parts.join(", ")))
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
