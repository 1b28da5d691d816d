//! The kinds of connections: what each needs and may have, and which of it is secret.

use error::{Code, Error, Result};

/// What kind of system a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A PostgreSQL database.
    Postgres,
    /// Parquet, CSV and JSON files, in a folder or in object storage.
    Files,
    /// A DuckLake.
    DuckLake,
    /// An Iceberg catalog that speaks REST. Can be kept; nothing reads it yet.
    IcebergRest,
}

/// A setting of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in small letters; in SQL in capitals.
    pub name: &'static str,
    /// What it may be.
    pub check: Check,
    /// Whether there is no connection without it.
    pub required: bool,
}

/// What the value of a setting may be.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Any text.
    Text,
    /// A port.
    Port,
    /// A whole number of seconds up to an hour.
    Seconds,
    /// `true` or `false`.
    Truth,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Any text, which nobody is ever shown.
    Secret,
}

const fn field(name: &'static str, check: Check) -> Field {
    Field { name, check, required: false }
}

const fn needed(name: &'static str, check: Check) -> Field {
    Field { name, check, required: true }
}

const STORAGE: [Field; 7] = [
    field("region", Check::Text),
    field("endpoint", Check::Text),
    field("url_style", Check::OneOf(&["path", "vhost"])),
    field("use_ssl", Check::Truth),
    field("access_key_id", Check::Text),
    field("secret_access_key", Check::Secret),
    field("session_token", Check::Secret),
];

const POSTGRES: [Field; 9] = [
    needed("host", Check::Text),
    field("port", Check::Port),
    needed("database", Check::Text),
    needed("user", Check::Text),
    field("password", Check::Secret),
    field("schema", Check::Text),
    field("sslmode", Check::OneOf(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])),
    field("sslrootcert", Check::Text),
    field("connect_timeout", Check::Seconds),
];

const FILES: [Field; 8] =
    [needed("path", Check::Text), STORAGE[0], STORAGE[1], STORAGE[2], STORAGE[3], STORAGE[4], STORAGE[5], STORAGE[6]];

const DUCKLAKE: [Field; 11] = [
    needed("path", Check::Text),
    field("schema", Check::Text),
    field("metadata_schema", Check::Text),
    field("password", Check::Secret),
    STORAGE[0],
    STORAGE[1],
    STORAGE[2],
    STORAGE[3],
    STORAGE[4],
    STORAGE[5],
    STORAGE[6],
];

const ICEBERG: [Field; 5] = [
    needed("uri", Check::Text),
    needed("warehouse", Check::Text),
    field("client_id", Check::Text),
    field("client_secret", Check::Secret),
    field("token", Check::Secret),
];

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::Files, Self::DuckLake, Self::IcebergRest];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Files => "files",
            Self::DuckLake => "ducklake",
            Self::IcebergRest => "iceberg-rest",
        }
    }

    /// Reads a name; `postgresql` and `s3` are understood.
    pub fn read(name: &str) -> Result<Self> {
        let lower = name.trim().to_ascii_lowercase();
        let name_of_ours = match lower.as_str() {
            "postgresql" => "postgres",
            "s3" | "file" => "files",
            "iceberg" | "iceberg_rest" => "iceberg-rest",
            other => other,
        };
        Self::ALL.into_iter().find(|kind| kind.as_str() == name_of_ours).ok_or_else(|| {
            Error::new(Code::Query, format!("there is no kind of connection {name:?}"))
                .with_hint("There are postgres, files (or s3), ducklake and iceberg-rest.")
        })
    }

    /// What it needs and may have.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Postgres => &POSTGRES,
            Self::Files => &FILES,
            Self::DuckLake => &DUCKLAKE,
            Self::IcebergRest => &ICEBERG,
        }
    }

    /// The setting of this name.
    pub fn field(self, name: &str) -> Result<&'static Field> {
        self.fields().iter().find(|field| field.name == name).ok_or_else(|| {
            let names: Vec<String> = self.fields().iter().map(|field| field.name.to_ascii_uppercase()).collect();
            let upper = name.to_ascii_uppercase();
            Error::new(Code::Query, format!("a connection of the kind {} has no {upper}", self.as_str()))
                .with_hint(format!("It has {}.", names.join(", ")))
        })
    }
}

impl Field {
    /// Whether nobody is shown its value.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.check, Check::Secret)
    }

    /// Refuses a value that it cannot have. The value of a secret is in no message.
    pub fn accept(&self, value: &str) -> Result<()> {
        let is_right = match self.check {
            Check::Text => !value.trim().is_empty() && !value.contains('\0'),
            Check::Secret => !value.contains('\0'),
            Check::Port => value.parse::<u16>().is_ok_and(|port| port > 0),
            Check::Seconds => value.parse::<u32>().is_ok_and(|seconds| (1..=3_600).contains(&seconds)),
            Check::Truth => matches!(value, "true" | "false"),
            Check::OneOf(values) => values.contains(&value),
        };
        if is_right {
            return Ok(());
        }
        let form = match self.check {
            Check::Text => "a text that is not empty".to_owned(),
            Check::Secret => "a text without a NUL byte".to_owned(),
            Check::Port => "a number from 1 to 65535".to_owned(),
            Check::Seconds => "a number of seconds from 1 to 3600".to_owned(),
            Check::Truth => "true or false".to_owned(),
            Check::OneOf(values) => format!("one of {}", values.join(", ")),
        };
        Err(Error::new(Code::Query, format!("{} must be {form}", self.name.to_ascii_uppercase())))
    }
}
