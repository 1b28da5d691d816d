//! The keys of an installation: which one seals, and which ones still open what was sealed before.
//!
//! | variable | what |
//! |---|---|
//! | `CREDENTIAL_ENCRYPTION_KEY` | the key that seals |
//! | `CREDENTIAL_ENCRYPTION_KEY_FILE` | a file with keys, one per line, the first one seals; or a folder with a key per file, the last one by name seals |
//! | `CREDENTIAL_ENCRYPTION_OLD_KEYS` | keys that only open, with spaces between |
//!
//! Each is also read with `DYNAMIC_TABLES_` in front, which wins.

use std::fmt;
use std::path::Path;

use error::{Code, Error, Result};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::cipher::{Key, V2, damaged};

/// In which form secrets are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretFormat {
    /// With the id of the key, bound to the place.
    #[default]
    V2,
    /// As existing installations do it, so that they can read it.
    Legacy,
}

/// The keys.
#[derive(Default)]
pub struct Keyring {
    /// The first one seals.
    keys: Vec<Key>,
    format: SecretFormat,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

/// How the key is named.
pub(crate) const KEY: &str = "CREDENTIAL_ENCRYPTION_KEY";

impl Keyring {
    /// Reads the keys that the environment names; none is no error until one is needed.
    ///
    /// # Errors
    /// `CONFIGURATION` for a key that is none, or a file that cannot be read. Says where, never what.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let said = |name: &str| {
            let ours = variable(&format!("DYNAMIC_TABLES_{name}"));
            ours.or_else(|| variable(name)).filter(|value| !value.trim().is_empty())
        };
        let mut keyring = Self::default();
        if let Some(text) = said(KEY).map(Zeroizing::new) {
            keyring.add(&text, KEY)?;
        }
        let file = format!("{KEY}_FILE");
        if let Some(path) = said(&file) {
            keyring.read_path(Path::new(path.trim()))?;
        }
        let old = "CREDENTIAL_ENCRYPTION_OLD_KEYS";
        for text in said(old).map(Zeroizing::new).iter().flat_map(|keys| keys.split_whitespace()) {
            keyring.add(text, old)?;
        }
        keyring.format = match said("SECRET_FORMAT").as_deref().map(str::trim) {
            None | Some("v2") => SecretFormat::V2,
            Some("legacy") => SecretFormat::Legacy,
            Some(_) => {
                return Err(Error::new(Code::Configuration, "SECRET_FORMAT is neither v2 nor legacy"));
            }
        };
        Ok(keyring)
    }

    /// A ring of these keys; the first one seals.
    pub fn of(keys: &[&str]) -> Result<Self> {
        let mut keyring = Self::default();
        for key in keys {
            keyring.add(key, "keys")?;
        }
        Ok(keyring)
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        self.keys.first().map(|key| key.id.as_str())
    }

    /// Seals a text in the form that is configured. An empty one stays empty.
    pub fn seal(&self, plain: &str, binding: &str) -> Result<String> {
        match self.format {
            _ if plain.is_empty() => Ok(String::new()),
            SecretFormat::V2 => self.first()?.seal(plain, binding),
            SecretFormat::Legacy => self.first()?.seal_legacy(plain),
        }
    }

    /// Opens a text of either form.
    pub fn open(&self, sealed: &str, binding: &str) -> Result<SecretString> {
        if sealed.is_empty() {
            return Ok(String::new().into());
        }
        if let Some(rest) = sealed.strip_prefix(V2) {
            let (id, text) = rest.split_once(':').ok_or_else(|| damaged("it has no key id"))?;
            self.first()?;
            let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| {
                let id: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
                Error::new(Code::Configuration, format!("a secret was sealed with the key {id}, which is not here"))
                    .with_hint("Name the key in CREDENTIAL_ENCRYPTION_OLD_KEYS, or set the secret anew.")
            })?;
            return key.open(text, binding);
        }
        let mut opened = self.first()?.open_legacy(sealed);
        for key in self.keys.iter().skip(1) {
            opened = opened.or_else(|_| key.open_legacy(sealed));
        }
        opened
    }

    /// Whether a text is sealed as [`Keyring::seal`] would do it now.
    #[must_use]
    pub fn is_current(&self, sealed: &str, binding: &str) -> bool {
        let Some(key) = self.keys.first() else { return true };
        match (self.format, sealed.strip_prefix(V2)) {
            _ if sealed.is_empty() => true,
            (SecretFormat::V2, Some(rest)) => {
                rest.split_once(':').is_some_and(|(id, text)| id == key.id && key.open(text, binding).is_ok())
            }
            (SecretFormat::Legacy, None) => key.open_legacy(sealed).is_ok(),
            _ => false,
        }
    }

    fn first(&self) -> Result<&Key> {
        self.keys.first().ok_or_else(|| {
            Error::new(Code::Configuration, "there is no key to seal and open secrets with").with_hint(format!(
                "Set {KEY} to 32 bytes in base64 (`openssl rand -base64 32`), or {KEY}_FILE to a file that holds it."
            ))
        })
    }

    fn add(&mut self, text: &str, origin: &str) -> Result<()> {
        let key = Key::read(text).map_err(|error| error.with_context("from", origin))?;
        if self.keys.iter().all(|known| known.id != key.id) {
            self.keys.push(key);
        }
        Ok(())
    }

    fn read_path(&mut self, path: &Path) -> Result<()> {
        let unread = |cause: std::io::Error| {
            Error::new(Code::Configuration, "the encryption keys cannot be read")
                .with_context("from", path.display().to_string())
                .with_source(cause)
        };
        if !path.is_dir() {
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unread)?);
            return text
                .lines()
                .map(str::trim_end)
                .filter(|line| !line.is_empty())
                .try_for_each(|line| self.add(line, &path.display().to_string()));
        }
        let entries = std::fs::read_dir(path).map_err(unread)?;
        let mut files: Vec<_> = entries.map(|entry| Ok(entry.map_err(unread)?.path())).collect::<Result<_>>()?;
        // What begins with a dot is the bookkeeping of whoever has mounted the folder.
        files.retain(|file| {
            file.is_file() && !file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        });
        files.sort();
        for file in files.iter().rev() {
            let text = Zeroizing::new(std::fs::read_to_string(file).map_err(unread)?);
            self.add(text.trim_end_matches(['\r', '\n']), &file.display().to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use secrecy::ExposeSecret as _;

    use super::*;

    const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "0123456789abcdef0123456789ABCDEF";

    fn read(variables: &[(&str, &str)]) -> Result<Keyring> {
        Keyring::from_environment(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn after_a_rotation_the_old_opens_and_the_new_seals() {
        let old = read(&[(KEY, OLD)]).unwrap();
        let (bound, legacy) = (old.seal("hunter2", "a").unwrap(), old.keys[0].seal_legacy("hunter2").unwrap());
        let both = read(&[(KEY, NEW), ("CREDENTIAL_ENCRYPTION_OLD_KEYS", OLD)]).unwrap();
        for sealed in [&bound, &legacy] {
            assert_eq!(both.open(sealed, "a").unwrap().expose_secret(), "hunter2");
            assert!(!both.is_current(sealed, "a"));
            assert!(old.open(sealed, "a").is_ok());
        }
        let renewed = both.seal("hunter2", "a").unwrap();
        assert!(both.is_current(&renewed, "a") && !both.is_current(&renewed, "b"));
        assert!(old.open(&renewed, "a").unwrap_err().message().contains("which is not here"));
        assert!(both.open(&bound, "b").is_err());
    }

    #[test]
    fn keys_come_from_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("2025"), format!("{OLD}\n")).unwrap();
        std::fs::write(folder.path().join("2026"), format!("{NEW}\n")).unwrap();
        std::fs::write(folder.path().join(".hidden"), "no key").unwrap();
        let of_folder = read(&[("CREDENTIAL_ENCRYPTION_KEY_FILE", folder.path().to_str().unwrap())]).unwrap();
        assert_eq!(of_folder.keys.len(), 2);
        assert_eq!(of_folder.current(), Keyring::of(&[NEW]).unwrap().current());
        let file = folder.path().join("2025");
        let of_file =
            read(&[(KEY, NEW), ("DYNAMIC_TABLES_CREDENTIAL_ENCRYPTION_KEY_FILE", file.to_str().unwrap())]).unwrap();
        assert_eq!(format!("{of_file:?}"), format!("{of_folder:?}"));
        let error = read(&[("CREDENTIAL_ENCRYPTION_KEY_FILE", "/nowhere")]).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }

    #[test]
    fn without_a_key_the_error_says_how_to_make_one() {
        let none = read(&[]).unwrap();
        assert!(none.is_empty());
        assert_eq!(none.seal("", "a").unwrap(), "");
        assert!(none.seal("x", "a").unwrap_err().hint().unwrap().contains(KEY));
        let error = read(&[(KEY, "too short to be a key")]).unwrap_err();
        assert!(!error.to_string().contains("too short"), "{error}");
    }

    #[test]
    fn legacy_is_written_where_it_is_asked_for() {
        let legacy = read(&[(KEY, OLD), ("SECRET_FORMAT", "legacy")]).unwrap();
        let sealed = legacy.seal("hunter2", "anywhere").unwrap();
        assert!(!sealed.contains(':') && legacy.is_current(&sealed, "elsewhere"));
        assert_eq!(read(&[(KEY, OLD)]).unwrap().open(&sealed, "").unwrap().expose_secret(), "hunter2");
    }
}
