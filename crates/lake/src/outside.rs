//! Data outside of the lake: PostgreSQL databases that are attached for a while, and files in folders and object storage. What
//! is read there, and what for, is not known here.

use std::fmt;

use duckdb::Connection;
use error::{Code, Error, Result};
use sql::names::{quote_identifier, quote_literal};

use crate::attach::run;
use crate::failure::translate;
use crate::{Session, extensions};

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

/// In which form a file holds rows, by the end of its name.
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

impl Session {
    /// Attaches a PostgreSQL database under a name that nothing else has. The password is in no setting and no catalog afterwards.
    pub fn attach_postgres(&self, alias: &str, place: &PostgresPlace, read_only: bool) -> Result<()> {
        attach_postgres(&self.connection, alias, place, read_only)
    }

    /// Lets go of what was attached under a name.
    pub fn detach(&self, alias: &str) -> Result<()> {
        run(&self.connection, &format!("DETACH {}", quote_identifier(alias)))
    }

    /// Opens a folder of files: the key to object storage counts under this name until [`Session::close_files`].
    pub fn open_files(&self, secret: &str, root: &str, storage: &Storage) -> Result<()> {
        if root.contains("://") {
            extensions::load(&self.connection, "httpfs")?;
        }
        use_storage(&self.connection, secret, storage)
    }

    /// Forgets the key to object storage.
    pub fn close_files(&self, secret: &str) -> Result<()> {
        run(&self.connection, &format!("DROP SECRET IF EXISTS {}", quote_identifier(secret)))
    }

    /// The pattern of the files in a folder that hold the rows of a name, and the function that reads them.
    ///
    /// # Errors
    /// `QUERY` for a name without a file, or one that leads out of the folder.
    pub fn find_files(&self, root: &str, name: &str) -> Result<(String, &'static str)> {
        find_files(&self.connection, root, name)
    }
}

/// Attaches a PostgreSQL database. The password is in no setting and no catalog afterwards.
pub(crate) fn attach_postgres(
    connection: &Connection,
    alias: &str,
    place: &PostgresPlace,
    read_only: bool,
) -> Result<()> {
    extensions::load(connection, "postgres_scanner")?;
    let mut parts = vec!["TYPE postgres".to_owned()];
    for (name, value) in
        [("HOST", &place.host), ("PORT", &place.port), ("DATABASE", &place.database), ("USER", &place.user)]
    {
        parts.push(format!("{name} {}", quote_literal(value)));
    }
    if let Some(password) = &place.password {
        parts.push(format!("PASSWORD {}", quote_literal(password)));
    }
    let secret = quote_identifier(&format!("{alias}_postgres"));
    run(connection, &format!("CREATE TEMPORARY SECRET {secret} ({})", parts.join(", ")))?;
    let options: Vec<String> = place.session.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
    let mut keywords = place.keywords.clone();
    keywords.push(("options", options.join(" ")));
    let attach = |keywords: &[(&'static str, String)]| {
        let words: Vec<String> = keywords
            .iter()
            .map(|(name, value)| format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
            .collect();
        let mode = if read_only { "READ_ONLY" } else { "READ_WRITE" };
        run(
            connection,
            &format!(
                "ATTACH {} AS {} (TYPE postgres, {mode}, SECRET {secret})",
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
    run(connection, &format!("DROP SECRET {secret}"))?;
    attached
}

/// Makes the key to object storage known under a name.
pub(crate) fn use_storage(connection: &Connection, secret: &str, storage: &Storage) -> Result<()> {
    if storage.settings.is_empty() {
        return Ok(());
    }
    extensions::load(connection, "httpfs")?;
    let parts: Vec<String> =
        storage.settings.iter().map(|(name, value)| format!("{name} {}", quote_literal(value))).collect();
    let secret = quote_identifier(secret);
    run(connection, &format!("CREATE TEMPORARY SECRET {secret} (TYPE s3, {})", parts.join(", ")))
}

/// The pattern of the files that hold the rows of a name, and the function that reads them.
pub(crate) fn find_files(connection: &Connection, root: &str, name: &str) -> Result<(String, &'static str)> {
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '/'));
    let stays = !name.starts_with('/') && !name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
    if !plain || !stays {
        return Err(Error::new(Code::Query, format!("{name:?} is not the name of a file or folder there")));
    }
    let root = root.trim_end_matches('/');
    let is_there = |path: &str| {
        let asked = format!("SELECT count(*) FROM (SELECT 1 FROM glob({}) LIMIT 1)", quote_literal(path));
        let found: duckdb::Result<i64> = connection.query_row(&asked, [], |row| row.get(0));
        found.map(|found| found > 0).map_err(|failure| translate(failure, "", 0))
    };
    let mut found = Vec::new();
    for (end, function) in FORMS {
        let path = format!("{root}/{name}{end}");
        // A folder's own files are among those of the folders in it.
        let is_within = end == "/**/*.parquet" && found.iter().any(|(known, _)| *known == "/*.parquet");
        if !is_within && is_there(&path)? {
            found.push((end, function));
        }
    }
    match found.as_slice() {
        [] => {}
        [(end, function)] => return Ok((format!("{root}/{name}{end}"), *function)),
        several => {
            let ends: Vec<String> = several.iter().map(|(end, _)| format!("{name}{end}")).collect();
            return Err(Error::new(Code::Query, format!("{name} can be several things: {}", ends.join(", ")))
                .with_hint("Name a file with its end, or keep files of one form in a folder."));
        }
    }
    // What is named with its end, as it is called in the folder.
    let path = format!("{root}/{name}");
    if let Some((_, function)) = FORMS.iter().take(8).find(|(end, _)| name.ends_with(end))
        && is_there(&path)?
    {
        return Ok((path, function));
    }
    Err(Error::new(Code::Query, format!("there is no file or folder of the name {name}"))
        .with_hint("A table is a file such as NAME.parquet, NAME.csv or NAME.json, or a folder of such files."))
}
