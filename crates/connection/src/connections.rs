//! The connections of an installation: made, changed, shown without their secrets, and resolved with them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use error::{Code, Error, Result};
use jiff::Timestamp;
use registry::{Connection, Registry};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::{Chain, Kind};

/// What is said about a connection: `HOST = 'db'`. Shows its value to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name in any case. With `_encrypted` behind the name of a secret, the value is sealed already.
    pub name: String,
    /// The value.
    pub value: String,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// A connection that is to be made.
#[derive(Clone, Debug)]
pub struct NewConnection {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// What is said about it.
    pub settings: Vec<Setting>,
    /// Whether one of the name is replaced.
    pub or_replace: bool,
    /// Whether one of the name is left alone.
    pub if_not_exists: bool,
}

/// A connection as anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its number.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How to get there.
    pub settings: BTreeMap<String, String>,
    /// Which secrets it has and where each comes from: `environment`, `file` or `registry`.
    pub secrets: BTreeMap<String, &'static str>,
    /// One more with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A connection with its secrets, for whoever opens it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its number.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// How to get there.
    pub settings: BTreeMap<String, String>,
    /// Its secrets.
    pub secrets: BTreeMap<String, SecretString>,
    /// One more with every change.
    pub revision: u64,
}

/// The connections. Clones share the registry and the chain.
#[derive(Clone)]
pub struct Connections {
    registry: Registry,
    chain: Arc<Chain>,
}

/// The longest name.
const LONGEST_NAME: usize = 63;
const ENCRYPTED: &str = "_encrypted";

/// Whether a connection or a pipeline can be called so: letters, digits, `-` and `_`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    plain && (1..=LONGEST_NAME).contains(&name.len())
}

impl Connections {
    /// The connections that a registry keeps, with secrets from this chain.
    #[must_use]
    pub fn new(registry: Registry, chain: Chain) -> Self {
        Self { registry, chain: Arc::new(chain) }
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where secrets come from.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Makes a connection. Nothing is reached for it. What is there now, and whether that is new.
    pub fn create(&self, new: &NewConnection) -> Result<(Described, bool)> {
        check_name(&new.name)?;
        if let Some(known) = self.registry.connection(&new.name)? {
            if new.if_not_exists {
                return Ok((self.describe(&known), false));
            }
            if new.or_replace {
                let mut replaced = Connection { kind: new.kind.as_str().to_owned(), ..known };
                replaced.settings.clear();
                replaced.secrets.clear();
                return Ok((self.change(replaced, &new.settings, &[])?, true));
            }
        }
        let now = Timestamp::now();
        let mut connection = Connection {
            number: 0,
            id: Uuid::now_v7(),
            name: new.name.clone(),
            kind: new.kind.as_str().to_owned(),
            settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        self.apply(&mut connection, new.kind, &new.settings)?;
        connection.number = self.registry.create_connection(&connection)?;
        Ok((self.describe(&connection), true))
    }

    /// Sets and unsets settings and secrets.
    pub fn alter(&self, name: &str, set: &[Setting], unset: &[String]) -> Result<Described> {
        let connection = self.stored(name)?;
        self.change(connection, set, unset)
    }

    fn change(&self, mut connection: Connection, set: &[Setting], unset: &[String]) -> Result<Described> {
        let kind = Kind::read(&connection.kind)?;
        for name in unset {
            let field = kind.field(&name.to_ascii_lowercase())?;
            connection.settings.remove(field.name);
            connection.secrets.remove(field.name);
        }
        self.apply(&mut connection, kind, set)?;
        self.update(connection)
    }

    /// Gives it another name. Secrets of the environment and of files are looked for under that from here on.
    pub fn rename(&self, name: &str, to: &str) -> Result<Described> {
        check_name(to)?;
        let mut connection = self.stored(name)?;
        to.clone_into(&mut connection.name);
        self.update(connection)
    }

    fn update(&self, mut connection: Connection) -> Result<Described> {
        connection.updated_at = Timestamp::now();
        self.registry.alter_connection(&connection)?;
        connection.revision += 1;
        Ok(self.describe(&connection))
    }

    /// Forgets one; whether it was there.
    pub fn drop(&self, name: &str, if_exists: bool) -> Result<bool> {
        match self.registry.connection(name)? {
            None if if_exists => Ok(false),
            None => Err(unknown(name)),
            Some(connection) => self.registry.drop_connection(connection.id),
        }
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Described>> {
        Ok(self.registry.connections()?.iter().map(|connection| self.describe(connection)).collect())
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<Described> {
        self.stored(name).map(|connection| self.describe(&connection))
    }

    /// One with its secrets.
    pub fn resolve(&self, name: &str) -> Result<Resolved> {
        self.open(self.stored(name)?)
    }

    /// One with its secrets, by its number; none if there is none.
    pub fn resolve_number(&self, number: i64) -> Result<Option<Resolved>> {
        self.registry.connection_by_number(number)?.map(|connection| self.open(connection)).transpose()
    }

    /// Seals every secret anew that is not sealed as it would be now: with an old key, or in the old form. How many there were.
    pub fn rotate(&self) -> Result<usize> {
        let keyring = self.chain.keyring();
        let mut renewed = 0;
        for mut connection in self.registry.connections()? {
            let before = renewed;
            for (field, sealed) in &mut connection.secrets {
                let binding = binding(connection.id, field);
                if !keyring.is_current(sealed, &binding) {
                    let opened = keyring.open(sealed, &binding);
                    let opened = opened.map_err(|error| error.with_context("connection", connection.name.clone()))?;
                    *sealed = keyring.seal(opened.expose_secret(), &binding)?;
                    renewed += 1;
                }
            }
            if renewed > before {
                self.update(connection)?;
            }
        }
        Ok(renewed)
    }

    fn stored(&self, name: &str) -> Result<Connection> {
        self.registry.connection(name)?.ok_or_else(|| unknown(name))
    }

    fn apply(&self, connection: &mut Connection, kind: Kind, set: &[Setting]) -> Result<()> {
        let keyring = self.chain.keyring();
        for setting in set {
            let name = setting.name.to_ascii_lowercase();
            let sealed_field = name.strip_suffix(ENCRYPTED).and_then(|name| kind.field(name).ok());
            if let Some(field) = sealed_field.filter(|field| field.is_secret()) {
                // It must open here, and is kept as it would be sealed here: bound to this row.
                let binding = binding(connection.id, field.name);
                let opened = keyring.open(&setting.value, &binding)?;
                connection.secrets.insert(field.name.to_owned(), keyring.seal(opened.expose_secret(), &binding)?);
                continue;
            }
            let field = kind.field(&name)?;
            field.accept(&setting.value)?;
            if field.is_secret() {
                let sealed = keyring.seal(&setting.value, &binding(connection.id, field.name))?;
                connection.secrets.insert(field.name.to_owned(), sealed);
            } else {
                connection.settings.insert(field.name.to_owned(), setting.value.clone());
            }
        }
        for field in kind.fields().iter().filter(|field| field.required) {
            if !connection.settings.contains_key(field.name) {
                let name = field.name.to_ascii_uppercase();
                return Err(Error::new(
                    Code::Query,
                    format!("a connection of the kind {} needs {name}", kind.as_str()),
                ));
            }
        }
        check_together(kind, &connection.settings)
    }

    fn describe(&self, connection: &Connection) -> Described {
        let fields = Kind::read(&connection.kind).map(Kind::fields).unwrap_or_default();
        let secrets = fields.iter().filter(|field| field.is_secret()).filter_map(|field| {
            let is_sealed = connection.secrets.contains_key(field.name);
            let origin = self.chain.origin(&connection.name, field.name, is_sealed)?;
            Some((field.name.to_owned(), origin))
        });
        Described {
            number: connection.number,
            name: connection.name.clone(),
            kind: connection.kind.clone(),
            settings: connection.settings.clone(),
            secrets: secrets.collect(),
            revision: connection.revision,
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        }
    }

    fn open(&self, connection: Connection) -> Result<Resolved> {
        let kind = Kind::read(&connection.kind)?;
        let mut secrets = BTreeMap::new();
        for field in kind.fields().iter().filter(|field| field.is_secret()) {
            let sealed = connection.secrets.get(field.name).map(String::as_str);
            let binding = binding(connection.id, field.name);
            let secret = self.chain.secret(&connection.name, field.name, sealed, &binding);
            let secret = secret.map_err(|error| error.with_context("connection", connection.name.clone()))?;
            secrets.extend(secret.map(|secret| (field.name.to_owned(), secret)));
        }
        Ok(Resolved {
            number: connection.number,
            name: connection.name,
            kind,
            settings: connection.settings,
            secrets,
            revision: connection.revision,
        })
    }
}

/// What only fits together with other settings.
fn check_together(kind: Kind, settings: &BTreeMap<String, String>) -> Result<()> {
    // A password there would be shown with the other settings.
    let holds_password = |value: &&String| {
        let lower = value.to_ascii_lowercase();
        let in_url = value.split_once("://").is_some_and(|(_, rest)| {
            rest.split('/')
                .next()
                .is_some_and(|authority| authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')))
        });
        lower.contains("password=") || lower.contains("password =") || in_url
    };
    if let Some((name, _)) = settings.iter().find(|(_, value)| holds_password(value)) {
        let name = name.to_ascii_uppercase();
        return Err(Error::new(Code::Query, format!("{name} holds a password, and everybody is shown it"))
            .with_hint("Leave it out there and give it as PASSWORD = '...', which is sealed."));
    }
    let path = settings.get("path").map(String::as_str).unwrap_or_default();
    if kind == Kind::Files && path.contains(['*', '?', '[', '\n']) {
        return Err(Error::new(Code::Query, "PATH is a folder, not a pattern")
            .with_hint("Every file and folder in it is a table of its name."));
    }
    Ok(())
}

/// What a secret is bound to: moved to another row or another name, it does not open.
fn binding(connection: Uuid, field: &str) -> String {
    format!("connection/{connection}/{field}")
}

fn check_name(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::new(Code::Query, format!("{name:?} cannot be the name of a connection"))
        .with_hint("A name has letters, digits, - and _, at most 63."))
}

fn unknown(name: &str) -> Error {
    Error::new(Code::Query, format!("there is no connection {name:?}"))
        .with_hint("SHOW CONNECTIONS lists those there are.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "0123456789abcdef0123456789ABCDEF";

    fn open(registry: &Registry, key: &'static str, old: &'static str) -> Connections {
        let chain = Chain::new(move |name| match name {
            "CREDENTIAL_ENCRYPTION_KEY" => Some(key.to_owned()),
            "CREDENTIAL_ENCRYPTION_OLD_KEYS" => Some(old.to_owned()),
            _ => None,
        });
        Connections::new(registry.clone(), chain.unwrap())
    }

    fn settings(pairs: &[(&str, &str)]) -> Vec<Setting> {
        pairs.iter().map(|(name, value)| Setting { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
    }

    fn new(name: &str, pairs: &[(&str, &str)]) -> NewConnection {
        NewConnection {
            name: name.to_owned(),
            kind: Kind::Postgres,
            settings: settings(pairs),
            or_replace: false,
            if_not_exists: false,
        }
    }

    const PLAIN: [(&str, &str); 4] =
        [("HOST", "db"), ("DATABASE", "d"), ("USER", "u"), ("PASSWORD", "hunter2-secret")];

    #[test]
    fn a_secret_is_sealed_resolved_rotated_and_never_shown() {
        let registry = Registry::open(":memory:").unwrap();
        let connections = open(&registry, OLD, "");
        let made = new("crm", &PLAIN);
        assert!(!format!("{made:?}").contains("hunter2"), "{made:?}");
        let (described, _) = connections.create(&made).unwrap();
        assert_eq!(described.secrets, BTreeMap::from([("password".to_owned(), "registry")]));
        assert!(!format!("{described:?}").contains("hunter2"));
        let kept = registry.connection("crm").unwrap().unwrap();
        assert!(kept.secrets["password"].starts_with("v2:") && !format!("{kept:?}").contains("hunter2"));
        let resolved = connections.resolve("CRM").unwrap();
        assert_eq!(resolved.secrets["password"].expose_secret(), "hunter2-secret");
        assert!(!format!("{resolved:?}").contains("hunter2"), "{resolved:?}");

        let rotated = open(&registry, NEW, OLD);
        assert_eq!((rotated.rotate().unwrap(), rotated.rotate().unwrap()), (1, 0));
        let with_new_only = open(&registry, NEW, "");
        assert_eq!(with_new_only.resolve("crm").unwrap().secrets["password"].expose_secret(), "hunter2-secret");
        assert!(connections.resolve("crm").unwrap_err().to_string().contains("connection=crm"));
    }

    #[test]
    fn a_sealed_secret_opens_in_its_own_row_only() {
        let registry = Registry::open(":memory:").unwrap();
        let connections = open(&registry, OLD, "");
        connections.create(&new("a", &PLAIN)).unwrap();
        connections.create(&new("b", &PLAIN)).unwrap();
        let a = registry.connection("a").unwrap().unwrap();
        let mut b = registry.connection("b").unwrap().unwrap();
        b.secrets = a.secrets;
        registry.alter_connection(&b).unwrap();
        assert!(connections.resolve("a").is_ok());
        assert!(connections.resolve("b").unwrap_err().message().contains("does not open"));
    }

    #[test]
    fn what_an_existing_installation_has_sealed_is_taken_over() {
        let registry = Registry::open(":memory:").unwrap();
        let connections = open(&registry, OLD, "");
        let sealed = "FBUWFxgZGhscHR4fSh0WaG0YOOb0wyrTt+jvB3s/2aVrpXcJar601EC/";
        let mut pairs = PLAIN;
        pairs[3] = ("password_encrypted", sealed);
        connections.create(&new("old", &pairs)).unwrap();
        assert_eq!(connections.resolve("old").unwrap().secrets["password"].expose_secret(), "pässwörd €");
        assert!(registry.connection("old").unwrap().unwrap().secrets["password"].starts_with("v2:"));
        pairs[3] = ("password_encrypted", "AAAA");
        assert!(connections.create(&new("bad", &pairs)).is_err());
    }

    #[test]
    fn what_cannot_be_a_connection_is_refused_without_an_echo() {
        let registry = Registry::open(":memory:").unwrap();
        let connections = open(&registry, OLD, "");
        for (name, pairs, what) in [
            ("a b", PLAIN.to_vec(), "cannot be the name"),
            ("", PLAIN.to_vec(), "cannot be the name"),
            ("crm", vec![("HOST", "db")], "needs DATABASE"),
            ("crm", [PLAIN.as_slice(), &[("port", "0")]].concat(), "PORT must be"),
            ("crm", [PLAIN.as_slice(), &[("bucket", "x")]].concat(), "has no BUCKET"),
            ("crm", [PLAIN.as_slice(), &[("sslmode", "maybe")]].concat(), "SSLMODE must be"),
            ("crm", [PLAIN.as_slice(), &[("host", "postgres://u:hunter2@db/x")]].concat(), "HOST holds a password"),
        ] {
            let error = connections.create(&new(name, &pairs)).unwrap_err();
            assert!(error.message().contains(what), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(registry.connections().unwrap().is_empty());
    }
}
