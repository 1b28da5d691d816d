//! Places that a sandbox attaches: what a connection says, on its way into the other process, and how that opens it.

use std::collections::BTreeMap;
use std::fmt;

use connection::{ExposeSecret as _, Kind, Resolved};
use error::{Code, Error, Result};
use lake::{PostgresPlace, Sandbox, Storage};
use serde::{Deserialize, Serialize};

/// A place. Holds secrets, and shows none.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub alias: String,
    pub kind: String,
    pub settings: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, String>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("alias", &self.alias).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Seconds that a database may take to answer at all, unless the connection says otherwise.
const CONNECT_SECONDS: &str = "10";

impl Place {
    pub fn new(alias: String, connection: &Resolved) -> Self {
        let secrets =
            connection.secrets.iter().map(|(name, secret)| (name.clone(), secret.expose_secret().to_owned()));
        Self {
            alias,
            kind: connection.kind.as_str().to_owned(),
            settings: connection.settings.clone(),
            secrets: secrets.collect(),
        }
    }

    /// The schema of names without one.
    pub fn schema(&self) -> String {
        let default = if self.kind == Kind::Postgres.as_str() { "public" } else { "main" };
        self.settings.get("schema").cloned().unwrap_or_else(|| default.to_owned())
    }

    /// Attaches it for reading, with these relations of a folder of files; the folders that have to stay open.
    pub fn attach(&self, sandbox: &Sandbox, names: &[String], statement_ms: u64) -> Result<Vec<String>> {
        let said = |name: &str| self.settings.get(name).cloned();
        let needed = |name: &str| {
            said(name).ok_or_else(|| {
                Error::new(Code::Configuration, format!("the connection has no {}", name.to_uppercase()))
            })
        };
        match Kind::read(&self.kind)? {
            Kind::Postgres => {
                let mut keywords = vec![
                    ("application_name", "dynamic-tables preview".to_owned()),
                    ("connect_timeout", said("connect_timeout").unwrap_or_else(|| CONNECT_SECONDS.to_owned())),
                ];
                keywords.extend(said("sslmode").map(|mode| ("sslmode", mode)));
                keywords.extend(said("sslrootcert").map(|file| ("sslrootcert", file)));
                let place = PostgresPlace {
                    host: needed("host")?,
                    port: said("port").unwrap_or_else(|| "5432".to_owned()),
                    database: needed("database")?,
                    user: needed("user")?,
                    password: self.secrets.get("password").cloned(),
                    keywords,
                    // The server ends what nobody waits for any more, also when this process is killed.
                    session: vec![
                        ("default_transaction_read_only", "on".to_owned()),
                        ("statement_timeout", statement_ms.to_string()),
                        ("client_connection_check_interval", "500".to_owned()),
                    ],
                };
                sandbox.attach_postgres(&self.alias, &place)?;
                Ok(Vec::new())
            }
            Kind::Files => {
                let root = needed("path")?;
                sandbox.attach_files(&self.alias, &root, names, &self.storage())?;
                Ok(vec![root])
            }
            Kind::DuckLake => {
                let mut path = needed("path")?;
                if let Some(password) = self.secrets.get("password") {
                    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
                    path = format!("{path} password='{quoted}'");
                }
                let schema = said("metadata_schema");
                Ok(vec![sandbox.attach_lake(&self.alias, &path, schema.as_deref(), &self.storage())?])
            }
            Kind::IcebergRest => Err(connection::not_read_yet(Kind::IcebergRest)),
        }
    }

    fn storage(&self) -> Storage {
        let mut settings: Vec<(&'static str, String)> = Vec::new();
        for (name, of_duckdb) in [
            ("access_key_id", "KEY_ID"),
            ("region", "REGION"),
            ("endpoint", "ENDPOINT"),
            ("url_style", "URL_STYLE"),
            ("use_ssl", "USE_SSL"),
        ] {
            settings.extend(self.settings.get(name).map(|value| (of_duckdb, value.clone())));
        }
        for (name, of_duckdb) in [("secret_access_key", "SECRET"), ("session_token", "SESSION_TOKEN")] {
            settings.extend(self.secrets.get(name).map(|value| (of_duckdb, value.clone())));
        }
        if let Some((_, endpoint)) = settings.iter_mut().find(|(name, _)| *name == "ENDPOINT") {
            // DuckDB wants host and port.
            let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
            *endpoint = host.trim_end_matches('/').to_owned();
        }
        if !settings.is_empty() {
            let path = self.settings.get("path").map(String::as_str).unwrap_or_default();
            if path.starts_with("s3://") {
                settings.push(("SCOPE", path.to_owned()));
            }
        }
        Storage { settings }
    }

    /// A text without the secrets of this place.
    pub fn scrub(&self, text: &str) -> String {
        let mut scrubbed = text.to_owned();
        for secret in self.secrets.values().filter(|secret| !secret.is_empty()) {
            let escaped = secret.replace('\\', "\\\\").replace('\'', "\\'");
            for form in [secret.clone(), escaped, secret.replace('\'', "''")] {
                scrubbed = scrubbed.replace(&form, "***");
            }
        }
        lake::mask(&scrubbed)
    }
}
