//! Sealing texts by AES-256-GCM, in two forms: the one of existing installations, and one that says by which key and for
//! which place it was sealed. Knows nothing of where keys and texts are kept.
//!
//! | form | text |
//! |---|---|
//! | legacy | `base64(nonce[12] ‖ ciphertext ‖ tag[16])`, nothing authenticated besides |
//! | v2 | `v2:<key id>:base64(nonce[12] ‖ ciphertext ‖ tag[16])`, key id and binding authenticated |

use aes_gcm::aead::rand_core::RngCore as _;
use aes_gcm::aead::{Aead as _, OsRng, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use error::{Code, Error, Result};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// So much of the hash of a key is its id: enough to tell the keys of one installation apart, too little to guess by.
const ID_BYTES: usize = 4;
pub(crate) const V2: &str = "v2:";

/// A key.
pub(crate) struct Key {
    /// Eight hexadecimal digits that follow from the key.
    pub id: String,
    cipher: Aes256Gcm,
}

impl Key {
    /// Reads a key as it is configured: 32 bytes in base64, else a text of exactly 32 bytes. In this order, as existing
    /// installations do it: a text of 32 letters is base64 of 24 bytes, and so a key as it stands.
    pub fn read(text: &str) -> Result<Self> {
        let decoded = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
        let bytes = match decoded.len() {
            KEY_BYTES => decoded.as_slice(),
            _ if text.len() == KEY_BYTES => text.as_bytes(),
            _ => {
                return Err(Error::new(Code::Configuration, "an encryption key has 32 bytes, and this one has not")
                    .with_hint("Make one with `openssl rand -base64 32`; a text of exactly 32 characters is taken as it stands."));
            }
        };
        let mut hash = Sha256::new();
        hash.update(b"dynamic-tables key id\0");
        hash.update(bytes);
        let id = hash.finalize().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let cipher = Aes256Gcm::new_from_slice(bytes)
            .map_err(|_| Error::new(Code::Internal, "a key of 32 bytes is not taken as one"))?;
        Ok(Self { id, cipher })
    }

    /// Seals in the form of existing installations.
    pub fn seal_legacy(&self, plain: &str) -> Result<String> {
        Ok(STANDARD.encode(self.encrypt(plain, &[])?))
    }

    /// Seals for one place: the text opens nowhere else.
    pub fn seal(&self, plain: &str, binding: &str) -> Result<String> {
        let sealed = self.encrypt(plain, self.authenticated(binding).as_bytes())?;
        Ok(format!("{V2}{}:{}", self.id, STANDARD.encode(sealed)))
    }

    /// Opens what [`Key::seal_legacy`] or an existing installation has sealed.
    pub fn open_legacy(&self, sealed: &str) -> Result<SecretString> {
        self.decrypt(sealed, &[])
    }

    /// Opens the last part of what [`Key::seal`] has sealed for this place.
    pub fn open(&self, sealed: &str, binding: &str) -> Result<SecretString> {
        self.decrypt(sealed, self.authenticated(binding).as_bytes())
    }

    fn authenticated(&self, binding: &str) -> String {
        format!("dynamic-tables/v2/{}/{binding}", self.id)
    }

    fn encrypt(&self, plain: &str, aad: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        OsRng.fill_bytes(&mut nonce);
        let payload = Payload { msg: plain.as_bytes(), aad };
        let sealed = self.cipher.encrypt(&nonce.into(), payload);
        let sealed = sealed.map_err(|_| Error::new(Code::Internal, "a secret is too long to be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn decrypt(&self, sealed: &str, aad: &[u8]) -> Result<SecretString> {
        let bytes = STANDARD.decode(sealed).map_err(|_| damaged("it is no base64"))?;
        let Some((nonce, sealed)) =
            bytes.split_first_chunk::<NONCE_BYTES>().filter(|(_, sealed)| sealed.len() >= TAG_BYTES)
        else {
            return Err(damaged("it is too short"));
        };
        let plain = self.cipher.decrypt(&(*nonce).into(), Payload { msg: sealed, aad });
        let plain = plain.map_err(|_| {
            Error::new(
                Code::Configuration,
                "a sealed secret does not open: the key is another one, or the text was changed",
            )
            .with_hint("Give the key that it was sealed with, or set the secret anew.")
        })?;
        match String::from_utf8(plain) {
            Ok(plain) => Ok(plain.into()),
            Err(wrong) => {
                drop(Zeroizing::new(wrong.into_bytes()));
                Err(damaged("what is in it is no text"))
            }
        }
    }
}

pub(crate) fn damaged(why: &str) -> Error {
    Error::new(Code::Configuration, format!("a sealed secret cannot be read: {why}"))
        .with_hint("Restore the text as it was, or set the secret anew.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use secrecy::ExposeSecret as _;

    use super::*;

    // Made with Python's `cryptography` 48: AESGCM(key).encrypt(nonce, text, aad), nonce in front, base64.
    const RAW_KEY: &str = "0123456789abcdef0123456789ABCDEF";
    const RAW_SEALED: &str = "AQIDBAUGBwgJCgsM4jF5vh0XwO4Yick++S9aPHH6tMw/bjMdaX/MF54gnGU=";
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const SEALED: &str = "FBUWFxgZGhscHR4fSh0WaG0YOOb0wyrTt+jvB3s/2aVrpXcJar601EC/";
    const V2_SEALED: &str = "KCkqKywtLi8wMTIziMcEsJYdU82TWMopvpzwW2d2nFiO6Hg=";
    const BINDING: &str = "connection/018f0000-0000-7000-8000-000000000001/password";

    #[test]
    fn what_others_have_sealed_opens() {
        let raw = Key::read(RAW_KEY).unwrap();
        assert_eq!(raw.open_legacy(RAW_SEALED).unwrap().expose_secret(), "s3cr3t@Pass-word");
        let key = Key::read(KEY).unwrap();
        assert_eq!(key.open_legacy(SEALED).unwrap().expose_secret(), "pässwörd €");
        assert_eq!(key.id, "3d8bf14f");
        assert_eq!(key.open(V2_SEALED, BINDING).unwrap().expose_secret(), "hunter2");
    }

    #[test]
    fn what_is_sealed_opens_again_and_never_looks_the_same() {
        let key = Key::read(KEY).unwrap();
        for plain in ["x", "pässwörd", &"long".repeat(10_000)] {
            let (first, second) = (key.seal_legacy(plain).unwrap(), key.seal_legacy(plain).unwrap());
            assert_ne!(first, second);
            assert_eq!(key.open_legacy(&first).unwrap().expose_secret(), plain);
            let sealed = key.seal(plain, BINDING).unwrap();
            let last = sealed.strip_prefix("v2:3d8bf14f:").unwrap();
            assert_eq!(key.open(last, BINDING).unwrap().expose_secret(), plain);
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = Key::read(KEY).unwrap();
        let bytes = STANDARD.decode(V2_SEALED).unwrap();
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            assert!(key.open(&STANDARD.encode(&changed), BINDING).is_err(), "{position}");
            let cut = key.open(&STANDARD.encode(&bytes[..position]), BINDING);
            assert!(cut.is_err(), "cut at {position}");
        }
        for other in ["connection/018f0000-0000-7000-8000-000000000002/password", ""] {
            assert!(key.open(V2_SEALED, other).is_err(), "{other}");
        }
        assert!(key.open_legacy(V2_SEALED).is_err());
        assert!(Key::read(RAW_KEY).unwrap().open_legacy(SEALED).is_err());
        assert!(key.open_legacy("not base64!").unwrap_err().message().contains("no base64"));
    }

    #[test]
    fn a_key_is_32_bytes_or_none() {
        for text in
            ["", "short", &"x".repeat(31), &"x".repeat(33), &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])]
        {
            assert_eq!(Key::read(text).err().map(|error| error.code()), Some(Code::Configuration), "{text}");
        }
        // 32 letters are base64 of 24 bytes, and so a key as they stand.
        assert!(Key::read(&"x".repeat(32)).is_ok());
    }
}
