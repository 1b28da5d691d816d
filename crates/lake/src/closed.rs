//! The lake in an engine of its own that can do nothing but read it: for statements of people who are not trusted with more.
//!
//! The engine has the lake attached for reading only and is then shut: no file and no address but the lake's data and one
//! folder for results, no further extension, and no setting can be changed any more, this one included. What the engine
//! cannot tell apart (functions of its extensions that read the catalog's database) is for the caller to refuse.

use std::path::Path;

use error::{Code, Error, Result};
use sql::names::quote_literal;

use crate::attach::run;
use crate::{CatalogKind, Lake, Options, Session};

const TAKES_SEVERAL: &str = "Keep the catalog in SQLite (ducklake:sqlite:...) or PostgreSQL (ducklake:postgres:...), which take several engines.";

impl Lake {
    /// Opens a lake that exists for reading, in an engine that is closed to everything else but `results`, a folder into
    /// which results may be written. The sessions are all that there will ever be on it.
    ///
    /// # Errors
    /// `CONFIGURATION` for a lake whose catalog takes one engine at a time, else what [`Lake::open`] says.
    pub fn open_closed(options: &Options, sessions: usize, results: &Path) -> Result<Vec<Session>> {
        let options = Options { read_only: true, ..options.clone() };
        let lake = Self::open(&options)?;
        if matches!(lake.kind(), CatalogKind::Memory | CatalogKind::DuckDb) {
            return Err(Error::new(
                Code::Configuration,
                "the lake's catalog takes one engine at a time, so nobody else can read it in a closed one",
            )
            .with_hint(TAKES_SEVERAL));
        }
        // What a session needs is set before nothing can be set any more.
        let opened = (0..sessions).map(|_| lake.reading_session()).collect::<Result<Vec<_>>>()?;
        let results = format!("{}/", results.display().to_string().trim_end_matches('/'));
        let directories = [lake.data_path(), &results].map(quote_literal).join(", ");
        lake.with_connection(|connection| {
            run(connection, &format!("SET GLOBAL allowed_directories = [{directories}]"))?;
            run(connection, "SET GLOBAL enable_external_access = false")?;
            run(connection, "SET GLOBAL lock_configuration = true")
        })?;
        Ok(opened)
    }
}
