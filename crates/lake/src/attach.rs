//! Opening a lake: settings, extensions, secrets, attach, lake options, in this order.

use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, PoisonError};

use duckdb::{Config, Connection};
use error::{Code, Error, Result};
use sql::names::{quote_identifier, quote_literal};

use crate::catalog::Location;
use crate::failure::translate;
use crate::opening::{Opening, absolute_data_path, is_url};
use crate::{CatalogKind, Options, Session, extensions, secrets};

/// An open lake: one DuckDB instance with the lake attached. Cheap to clone; closed with its last session.
#[derive(Clone)]
pub struct Lake {
    shared: Arc<Shared>,
}

/// What all sessions of a lake share.
pub(crate) struct Shared {
    pub(crate) alias: String,
    pub(crate) schema: String,
    /// The database, and the schema if it is not the default one, of DuckLake's metadata tables.
    pub(crate) metadata: String,
    pub(crate) kind: CatalogKind,
    pub(crate) read_only: bool,
    /// The id of the table of watermarks; 0 where it is not known to exist.
    pub(crate) watermarks: AtomicI64,
    /// Whether that table is known to have its option, by which its rows stay in the catalog.
    pub(crate) watermarks_have_option: AtomicBool,
    /// Whether options of the lake may say which rows go to its catalog.
    pub(crate) has_inlining_options: AtomicBool,
    data_path: String,
    per_session: Vec<String>,
    /// What a work session runs besides.
    for_work: Vec<String>,
    /// The instance; sessions are cloned from it.
    pub(crate) connection: Mutex<Connection>,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lake").field("alias", &self.shared.alias).field("kind", &self.shared.kind).finish()
    }
}

impl Lake {
    /// Opens DuckDB over the lake, creating the lake if there is none.
    pub fn open(options: &Options) -> Result<Self> {
        let location = Location::parse(&options.path)?;
        let connection = start_engine()?;
        extensions::configure(&connection, options.extension_directory.as_deref())?;

        let mut applied = options.settings.apply_known(&connection)?;
        let wanted_data_path = options.data_path.as_deref().map(absolute_data_path).transpose()?;
        let opening = Opening { connection: &connection, options, location: &location, wanted_data_path };
        opening.load_extensions()?;
        applied.apply_rest(&connection)?;

        if opening.touches_s3() {
            secrets::create(&connection, &options.settings)?;
        }
        let data_path = opening.attach()?;
        opening.set_lake_options()?;
        forbid_wrong_optimizations(&connection)?;
        // From here on failures carry their kind and place in a form that need not be guessed from prose.
        run(&connection, "SET GLOBAL errors_as_json = true")?;

        let for_work = one_time_zone(&connection, options)?;

        tracing::debug!(catalog = %location.shown(), alias = options.alias, data_path, "lake opened");
        let metadata_database = quote_identifier(&format!("__ducklake_metadata_{}", options.alias));
        let metadata = match &options.metadata_schema {
            Some(schema) => format!("{metadata_database}.{}", quote_identifier(schema)),
            None => metadata_database,
        };
        let shared = Shared {
            alias: options.alias.clone(),
            schema: options.schema.clone(),
            metadata,
            kind: location.kind(),
            read_only: opening.read_only(),
            watermarks: AtomicI64::new(0),
            watermarks_have_option: AtomicBool::new(false),
            has_inlining_options: AtomicBool::new(false),
            data_path,
            per_session: applied.per_session,
            for_work,
            connection: Mutex::new(connection),
        };
        let lake = Self { shared: Arc::new(shared) };
        // A schema that does not exist is found now, not at the first query.
        let session = lake.session()?;
        if !lake.read_only() {
            session.look_for_inlining_options()?;
        }
        Ok(lake)
    }

    /// The name under which the lake is attached.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.shared.alias
    }

    /// The schema that unqualified names mean.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.shared.schema
    }

    /// Which kind of database holds the catalog.
    #[must_use]
    pub fn kind(&self) -> CatalogKind {
        self.shared.kind
    }

    /// Whether the lake can only be read.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.shared.read_only
    }

    /// Where the lake's data files are, local or a URL; ends with a slash.
    #[must_use]
    pub fn data_path(&self) -> &str {
        &self.shared.data_path
    }

    /// A connection of its own on the same instance, for a user's statements: what they create without naming a place
    /// goes into the lake.
    pub fn session(&self) -> Result<Session> {
        let place = self.place();
        let session = self.connect(&format!("USE {place}"));
        session.map_err(|failure| match failure.code() {
            Code::Query => {
                Error::new(Code::Configuration, format!("the lake has no schema {:?}", self.shared.schema))
                    .with_hint(format!("Create it with CREATE SCHEMA {place}, or name another one with --schema."))
            }
            _ => failure,
        })
    }

    /// A connection of its own on the same instance, for many small statements that name the place of what they create.
    /// Names without one are found in the lake as well, but functions and operators are looked for in the engine
    /// first: with the lake first, every statement costs a look at the lake's newest snapshot, though it be `SELECT 1`.
    ///
    /// Its time zone is UTC unless the settings name one: what a query gives must not depend on where it is run.
    pub fn work_session(&self) -> Result<Session> {
        let mut session =
            self.connect(&format!("SET search_path = {}", quote_literal(&format!("system.main,{}", self.place()))))?;
        for statement in &self.shared.for_work {
            run(&session.connection, statement)?;
        }
        session.transaction = Some(Cell::new(false));
        Ok(session)
    }

    /// A user's session that gives the same answers wherever it runs: in UTC unless the settings name a time zone.
    pub(crate) fn reading_session(&self) -> Result<Session> {
        let session = self.session()?;
        for statement in &self.shared.for_work {
            run(&session.connection, statement)?;
        }
        Ok(session)
    }

    /// Does something to the instance itself.
    pub(crate) fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&self.shared.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn place(&self) -> String {
        format!("{}.{}", quote_identifier(&self.shared.alias), quote_identifier(&self.shared.schema))
    }

    fn connect(&self, path: &str) -> Result<Session> {
        let shared = &self.shared;
        let connection = {
            let instance = shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
            instance.try_clone().map_err(|failure| translate(failure, "", 0))?
        };
        for statement in &shared.per_session {
            run(&connection, statement)?;
        }
        run(&connection, path)?;
        Ok(Session { connection, lake: Arc::clone(shared), transaction: None, scans: RefCell::default() })
    }
}

fn start_engine() -> Result<Connection> {
    let open = || -> duckdb::Result<_> {
        let config = Config::default().with("autoinstall_known_extensions", "false")?;
        Connection::open_in_memory_with_flags(config)
    };
    open().map_err(|failure| translate(failure, "", 0))
}

/// Optimizations of DuckDB 1.5.5 that give wrong results over a DuckLake; the tests in `tests/it/feed.rs` fail when the
/// engine is mended.
///
/// - `statistics_propagation`: DuckLake has one set of statistics per table. After a rewrite of data files they cover only
///   the rows that are left, and a query AT an older version that trusts them loses rows (`WHERE id < 100` is
///   folded to false) or changes values (a compressed GROUP BY overflows). Files and row groups are pruned by statistics
///   of their own, which are right.
/// - `common_subplan`: scans of two different tables of an SQLite database are taken for the same one, so that counting
///   both in one query gives the first count twice.
const WRONG_OPTIMIZATIONS: &str = "statistics_propagation,common_subplan";

pub(crate) fn forbid_wrong_optimizations(connection: &Connection) -> Result<()> {
    let read: duckdb::Result<String> =
        connection.query_row("SELECT current_setting('disabled_optimizers')::VARCHAR", [], |row| row.get(0));
    let mut disabled = read.map_err(|failure| translate(failure, "", 0))?;
    if !disabled.is_empty() {
        disabled.push(',');
    }
    disabled.push_str(WRONG_OPTIMIZATIONS);
    run(connection, &format!("SET GLOBAL disabled_optimizers = {}", quote_literal(&disabled)))?;
    // An ASOF join of few rows and one of many differ where the compared value is NULL (tests/it/feed.rs): a result must not
    // depend on how many rows are computed at once.
    run(connection, "SET GLOBAL asof_loop_join_threshold = 0")
}

/// The statement that gives a session the one time zone, unless a setting does; none without the extension for time zones.
fn one_time_zone(connection: &Connection, options: &Options) -> Result<Vec<String>> {
    if options.settings.value("timezone").is_some() {
        return Ok(Vec::new());
    }
    let known: duckdb::Result<bool> =
        connection
            .query_row("SELECT count(*) > 0 FROM duckdb_settings() WHERE name = 'TimeZone'", [], |row| row.get(0));
    let known = known.map_err(|failure| translate(failure, "", 0))?;
    Ok(if known { vec!["SET TimeZone = 'UTC'".to_owned()] } else { Vec::new() })
}

pub(crate) fn run(connection: &Connection, sql: &str) -> Result<()> {
    connection.execute_batch(sql).map_err(|failure| translate(failure, "", 0))
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.kind == CatalogKind::Memory && !is_url(&self.data_path) {
            // Only the folder that was made for it above; one that the user named is the user's.
            let ours = Path::new(&self.data_path)
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("dynamic-tables-memory-"));
            if ours
                && let Err(failure) = std::fs::remove_dir_all(&self.data_path)
                && failure.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%failure, path = self.data_path, "the temporary data of the lake could not be removed");
            }
        }
    }
}
