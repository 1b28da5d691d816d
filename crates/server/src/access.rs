//! Who may do what: tokens and the roles that they carry. Knows nothing of HTTP.

use std::fmt;

use error::{Code, Error, Result};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What somebody may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Look at everything, and query the lake.
    Read,
    /// Refresh, suspend, resume, verify, and cancel tasks.
    Operate,
    /// Create, alter and drop, and change the lake by SQL.
    Admin,
}

impl Role {
    /// The role as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Operate, Self::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of the token; none where no tokens are asked for.
    pub name: Option<String>,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// Refuses what the role does not allow.
    pub(crate) fn may(&self, needed: Role) -> Result<()> {
        if self.role >= needed {
            return Ok(());
        }
        let (has, needed) = (self.role.as_str(), needed.as_str());
        Err(Error::new(Code::Permission, format!("this takes the role {needed}, and the token has {has}"))
            .with_hint("Use a token with that role."))
    }
}

/// The tokens that are accepted. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Clone)]
struct Token {
    name: String,
    role: Role,
    hash: [u8; 32],
    until: Option<Timestamp>,
}

/// A token is at least so long, or guessing it would not be hopeless.
const SHORTEST: usize = 16;

const FORM: &str = "Write name=role:token, or name=role:sha256:HEX with the token's hash, and end it with @ and a date \
    if it expires; role is read, operate or admin, and between two tokens stands a ; or the end of a line.";

impl Tokens {
    /// Reads tokens as they are configured: `name=role:token[@date]`, one per line or separated by `;`. Instead of the
    /// token `sha256:` and its hash in hexadecimal may stand. Lines that begin with `#` say nothing.
    ///
    /// # Errors
    /// `CONFIGURATION` that names the token by its name or number, never by its value.
    pub fn parse(text: &str) -> Result<Self> {
        let mut tokens: Vec<Token> = Vec::new();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let entries = lines.flat_map(|line| line.split(';')).map(str::trim).filter(|entry| !entry.is_empty());
        for (entry, number) in entries.zip(1..) {
            let token = Token::parse(entry, number)?;
            if tokens.iter().any(|other| other.name == token.name) {
                return Err(wrong(&format!("there are two tokens of the name {:?}", token.name)));
            }
            tokens.push(token);
        }
        Ok(Self { tokens })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whose token it is. Takes as long for a wrong token as for a right one.
    pub(crate) fn find(&self, presented: &str) -> Result<Caller> {
        let hash: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.hash.ct_eq(&hash)) {
                found = Some(token);
            }
        }
        let Some(token) = found else {
            return Err(Error::new(Code::Permission, "the token is not known").with_hint("Check the token."));
        };
        if token.until.is_some_and(|until| until <= Timestamp::now()) {
            return Err(Error::new(Code::Permission, format!("the token of {} has expired", token.name))
                .with_hint("Ask for a new one."));
        }
        Ok(Caller { name: Some(token.name.clone()), role: token.role })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.tokens.iter().map(|token| (&token.name, token.role));
        f.debug_map().entries(names).finish()
    }
}

impl Token {
    fn parse(entry: &str, number: usize) -> Result<Self> {
        let Some((name, rest)) = entry.split_once('=') else {
            return Err(wrong(&format!("token {number} has no name")));
        };
        let name = name.trim().to_owned();
        let problem = |what: &str| wrong(&format!("the token of {name:?} {what}"));
        let Some((role, secret)) = rest.split_once(':') else { return Err(problem("has no role")) };
        let Some(role) = Role::parse(role.trim()) else { return Err(problem("has a role that does not exist")) };
        let (secret, until) = match secret.rsplit_once('@') {
            Some((secret, until)) => {
                (secret, Some(moment(until.trim()).ok_or_else(|| problem("ends with a date that is none"))?))
            }
            None => (secret, None),
        };
        let secret = secret.trim();
        let hash = match secret.strip_prefix("sha256:") {
            Some(hex) => from_hex(hex).ok_or_else(|| problem("has a hash that is none"))?,
            None if secret.len() < SHORTEST => {
                return Err(problem(&format!("is shorter than {SHORTEST} characters")));
            }
            None => Sha256::digest(secret.as_bytes()).into(),
        };
        Ok(Self { name, role, hash, until })
    }
}

/// A moment, or the beginning of a day in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|start| start.timestamp())
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

fn wrong(problem: &str) -> Error {
    Error::new(Code::Configuration, problem).with_hint(FORM)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn tokens_carry_a_role_and_may_expire() {
        let tokens = Tokens::parse(
            "# who may look\nann=read:0123456789abcdef; bob=admin:sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n\
             old=operate:fedcba9876543210@2020-01-01",
        )
        .unwrap();
        assert_eq!(tokens.find("0123456789abcdef").unwrap().role, Role::Read);
        assert_eq!(tokens.find("test").unwrap(), Caller { name: Some("bob".to_owned()), role: Role::Admin });
        assert!(tokens.find("fedcba9876543210").unwrap_err().message().contains("expired"));
        for forged in [
            "",
            "0123456789abcde",
            "0123456789abcdef ",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert_eq!(tokens.find(forged).unwrap_err().code(), Code::Permission, "{forged}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_without_its_value() {
        for text in [
            "geheimgeheimgeheim",
            "a=read",
            "a=root:geheimgeheimgeheim",
            "a=read:geheim",
            "a=read:sha256:geheim",
            "a=read:geheimgeheimgeheim@never",
            "a=read:geheimgeheimgeheim;a=admin:geheimgeheimgeheim",
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::Configuration);
            assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        }
        assert!(!format!("{:?}", Tokens::parse("a=read:geheimgeheimgeheim").unwrap()).contains("geheim"));
    }

    #[test]
    fn a_role_may_do_what_those_below_it_may() {
        let caller = Caller { name: None, role: Role::Operate };
        assert!(caller.may(Role::Read).is_ok() && caller.may(Role::Operate).is_ok());
        assert_eq!(caller.may(Role::Admin).unwrap_err().code(), Code::Permission);
    }
}
