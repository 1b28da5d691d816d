//! What one says to open a lake.

use std::path::PathBuf;

use crate::Settings;

/// Where a lake is and how DuckDB is opened over it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The lake's catalog: a local path (`./lake.ducklake`, `lake.sqlite`), any `ducklake:` string
    /// (`ducklake:sqlite:...`, `ducklake:postgres:...`, `ducklake:s3://...`), or `:memory:` for tests.
    pub path: String,
    /// Where the data files of a new lake go (local or `s3://`). An existing lake knows its own.
    pub data_path: Option<String>,
    /// The name under which the lake is attached.
    pub alias: String,
    /// The schema that unqualified names mean.
    pub schema: String,
    /// The schema of the catalog database that holds DuckLake's tables, where it is not the default one.
    pub metadata_schema: Option<String>,
    /// Settings of DuckDB and options of the lake.
    pub settings: Settings,
    /// Where DuckDB's extensions are, where it is not DuckDB's own directory.
    pub extension_directory: Option<PathBuf>,
    /// Attach the lake for reading only.
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: "ducklake:sqlite:dynamic_tables.sqlite".to_owned(),
            data_path: None,
            alias: "lake".to_owned(),
            schema: "main".to_owned(),
            metadata_schema: None,
            settings: Settings::default(),
            extension_directory: None,
            read_only: false,
        }
    }
}
