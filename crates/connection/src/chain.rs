//! The one chain that secrets come from: the environment, a mounted file, the sealed text of the registry, in this order.
//!
//! Where each is looked for follows from the connection's name: nobody who writes a statement can name a variable or a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use error::{Code, Error, Result};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::Keyring;

type Variable = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where secrets come from.
#[derive(Clone)]
pub struct Chain {
    keyring: Arc<Keyring>,
    folder: Option<PathBuf>,
    variable: Variable,
}

impl Chain {
    /// The chain of this process: its environment, the folder and the keys that that names.
    pub fn of_process() -> Result<Self> {
        Self::new(|name| std::env::var(name).ok())
    }

    /// A chain over other variables.
    pub fn new(variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Result<Self> {
        let folder = variable("DYNAMIC_TABLES_SECRETS_DIR").filter(|folder| !folder.trim().is_empty());
        let keyring = Arc::new(Keyring::from_environment(&variable)?);
        Ok(Self { keyring, folder: folder.map(PathBuf::from), variable: Arc::new(variable) })
    }

    /// The keys.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The secret of a connection, from the first place that has it; none if no place has.
    pub fn secret(
        &self,
        connection: &str,
        field: &str,
        sealed: Option<&str>,
        binding: &str,
    ) -> Result<Option<SecretString>> {
        if let Some(value) = (self.variable)(&variable_of(connection, field)).filter(|value| !value.is_empty()) {
            return Ok(Some(value.into()));
        }
        if let Some(folder) = &self.folder {
            for path in [folder.join(connection).join(field), folder.join(format!("{connection}.{field}"))] {
                if let Some(value) = read(&path)? {
                    return Ok(Some(value));
                }
            }
        }
        sealed.map(|sealed| self.keyring.open(sealed, binding)).transpose()
    }

    /// Which place a secret comes from, without opening it.
    #[must_use]
    pub fn origin(&self, connection: &str, field: &str, is_sealed: bool) -> Option<&'static str> {
        if (self.variable)(&variable_of(connection, field)).is_some_and(|value| !value.is_empty()) {
            return Some("environment");
        }
        if let Some(folder) = &self.folder
            && (folder.join(connection).join(field).is_file()
                || folder.join(format!("{connection}.{field}")).is_file())
        {
            return Some("file");
        }
        is_sealed.then_some("registry")
    }
}

/// The variable that holds a secret: `DYNAMIC_TABLES_SECRET_CRM_PASSWORD`.
fn variable_of(connection: &str, field: &str) -> String {
    format!("DYNAMIC_TABLES_SECRET_{connection}_{field}").to_ascii_uppercase().replace('-', "_")
}

fn read(path: &Path) -> Result<Option<SecretString>> {
    match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned().into())),
        Err(cause)
            if cause.kind() == std::io::ErrorKind::NotFound || cause.kind() == std::io::ErrorKind::NotADirectory =>
        {
            Ok(None)
        }
        Err(cause) => Err(Error::new(Code::Configuration, "the file of a secret cannot be read")
            .with_context("file", path.display().to_string())
            .with_source(cause)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn the_first_place_that_has_a_secret_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let chain = |said: Option<&'static str>| {
            let path = path.clone();
            Chain::new(move |name| match name {
                "DYNAMIC_TABLES_SECRETS_DIR" => Some(path.clone()),
                "CREDENTIAL_ENCRYPTION_KEY" => Some("0123456789abcdef0123456789ABCDEF".to_owned()),
                "DYNAMIC_TABLES_SECRET_MY_CRM_PASSWORD" => said.map(str::to_owned),
                _ => None,
            })
            .unwrap()
        };
        let plain = chain(None);
        let sealed = plain.keyring().seal("of the registry", "b").unwrap();
        let found = |chain: &Chain| {
            let secret = chain.secret("my-crm", "password", Some(&sealed), "b").unwrap();
            secret.map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(found(&plain).as_deref(), Some("of the registry"));
        assert_eq!(plain.origin("my-crm", "password", true), Some("registry"));
        std::fs::write(folder.path().join("my-crm.password"), "of a file\n").unwrap();
        assert_eq!(found(&plain).as_deref(), Some("of a file"));
        std::fs::create_dir(folder.path().join("my-crm")).unwrap();
        std::fs::write(folder.path().join("my-crm").join("password"), "of a folder").unwrap();
        assert_eq!(found(&plain).as_deref(), Some("of a folder"));
        assert_eq!(plain.origin("my-crm", "password", true), Some("file"));
        let said = chain(Some("of the environment"));
        assert_eq!(found(&said).as_deref(), Some("of the environment"));
        assert_eq!(said.origin("my-crm", "password", true), Some("environment"));
        assert!(plain.secret("other", "password", None, "b").unwrap().is_none());
    }
}
