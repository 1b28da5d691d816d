//! Places that an engine attaches: what a connection says, on its way into the other process where that is a sandbox, and how it
//! is opened.

use std::collections::BTreeMap;
use std::fmt;

use connection::{ExposeSecret as _, Kind, Resolved};
use error::{Code, Error, Result};
use lake::{PostgresPlace, Sandbox, Storage};
use serde::{Deserialize, Serialize};

/// A place. Holds secrets, and shows none.
#[derive(Clone, Serialize, Deserialize)]
pub struct Place {
    pub(crate) alias: String,
    pub(crate) kind: String,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("alias", &self.alias).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Seconds that a database may take to answer at all, unless the connection says otherwise.
const CONNECT_SECONDS: &str = "10";

impl Place {
    /// What a connection leads to, under this alias.
    #[must_use]
    pub fn new(alias: String, connection: &Resolved) -> Self {
        let secrets =
            connection.secrets.iter().map(|(name, secret)| (name.clone(), secret.expose_secret().to_owned()));
        let mut place = Self {
            alias,
            kind: connection.kind.as_str().to_owned(),
            settings: connection.settings.clone(),
            secrets: secrets.collect(),
        };
        place.complete(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        place
    }

    /// Object storage that comes without a key of its own is reached with the one of the environment, which the sandbox
    /// itself has not.
    fn complete(&mut self, variable: &dyn Fn(&str) -> Option<String>) {
        let is_s3 = self.settings.get("path").is_some_and(|path| path.starts_with("s3://"));
        if !is_s3 || self.settings.contains_key("access_key_id") || self.secrets.contains_key("secret_access_key") {
            return;
        }
        let said = |names: &[&str]| names.iter().find_map(|name| variable(name));
        let key = said(&["DUCKDB_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"]);
        let secret = said(&["DUCKDB_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"]);
        let (Some(key), Some(secret)) = (key, secret) else { return };
        self.settings.insert("access_key_id".to_owned(), key);
        self.secrets.insert("secret_access_key".to_owned(), secret);
        self.secrets.extend(said(&["AWS_SESSION_TOKEN"]).map(|token| ("session_token".to_owned(), token)));
        for (setting, names) in [
            ("region", ["DUCKDB_S3_REGION", "AWS_REGION"]),
            ("endpoint", ["DUCKDB_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3"]),
        ] {
            if let Some(value) = said(&names).filter(|_| !self.settings.contains_key(setting)) {
                self.settings.insert(setting.to_owned(), value);
            }
        }
    }

    /// The schema of names without one.
    #[must_use]
    pub fn schema(&self) -> String {
        let default = if self.kind == Kind::Postgres.as_str() { "public" } else { "main" };
        self.settings.get("schema").cloned().unwrap_or_else(|| default.to_owned())
    }

    fn said(&self, name: &str) -> Option<String> {
        self.settings.get(name).cloned()
    }

    fn needed(&self, name: &str) -> Result<String> {
        self.said(name)
            .ok_or_else(|| Error::new(Code::Configuration, format!("the connection has no {}", name.to_uppercase())))
    }

    /// How to get into the database of a PostgreSQL connection, as this application and with these settings of the server.
    pub fn postgres(&self, application: &str, session: Vec<(&'static str, String)>) -> Result<PostgresPlace> {
        let mut keywords = vec![
            ("application_name", application.to_owned()),
            ("connect_timeout", self.said("connect_timeout").unwrap_or_else(|| CONNECT_SECONDS.to_owned())),
        ];
        keywords.extend(self.said("sslmode").map(|mode| ("sslmode", mode)));
        keywords.extend(self.said("sslrootcert").map(|file| ("sslrootcert", file)));
        Ok(PostgresPlace {
            host: self.needed("host")?,
            port: self.said("port").unwrap_or_else(|| "5432".to_owned()),
            database: self.needed("database")?,
            user: self.needed("user")?,
            password: self.secrets.get("password").cloned(),
            keywords,
            session,
        })
    }

    /// The folder of a connection to files, and the key to it.
    pub fn files(&self) -> Result<(String, Storage)> {
        Ok((self.needed("path")?, self.storage()))
    }

    /// Attaches it for reading, with these relations of a folder of files; the folders that have to stay open.
    pub(crate) fn attach(&self, sandbox: &Sandbox, names: &[String], statement_ms: u64) -> Result<Vec<String>> {
        match Kind::read(&self.kind)? {
            Kind::Postgres => {
                // The server ends what nobody waits for any more, also when this process is killed.
                let session = vec![
                    ("default_transaction_read_only", "on".to_owned()),
                    ("statement_timeout", statement_ms.to_string()),
                    ("client_connection_check_interval", "500".to_owned()),
                ];
                let place = self.postgres("dynamic-tables preview", session)?;
                sandbox.attach_postgres(&self.alias, &place)?;
                Ok(Vec::new())
            }
            Kind::Files => {
                let (root, storage) = self.files()?;
                sandbox.attach_files(&self.alias, &root, names, &storage)?;
                Ok(vec![root])
            }
            Kind::DuckLake => {
                let mut path = self.needed("path")?;
                if let Some(password) = self.secrets.get("password") {
                    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
                    path = format!("{path} password='{quoted}'");
                }
                let schema = self.said("metadata_schema");
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
    #[must_use]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(pairs: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let settings = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let kind = Kind::Files.as_str().to_owned();
        let mut place = Place { alias: "a".to_owned(), kind, settings, secrets: BTreeMap::new() };
        place.complete(&|name| match name {
            "DUCKDB_ACCESS_KEY_ID" => Some("id".to_owned()),
            "DUCKDB_SECRET_ACCESS_KEY" => Some("geheim".to_owned()),
            "DUCKDB_S3_ENDPOINT" => Some("http://minio:9000/".to_owned()),
            _ => None,
        });
        assert!(!place.scrub("key geheim").contains("geheim") || place.secrets.is_empty());
        place.storage().settings
    }

    #[test]
    fn object_storage_without_a_key_takes_that_of_the_environment() {
        let taken = storage(&[("path", "s3://bucket/zone")]);
        for expected in
            [("KEY_ID", "id"), ("SECRET", "geheim"), ("ENDPOINT", "minio:9000"), ("SCOPE", "s3://bucket/zone")]
        {
            assert!(taken.iter().any(|(name, value)| (*name, value.as_str()) == expected), "{expected:?}");
        }
        let own = storage(&[("path", "s3://bucket/zone"), ("access_key_id", "own")]);
        assert!(own.contains(&("KEY_ID", "own".to_owned())) && !own.iter().any(|(name, _)| *name == "SECRET"));
        assert!(storage(&[("path", "/data")]).is_empty());
    }
}
