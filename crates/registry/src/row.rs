//! A row of either database, read by column name into the types of the domain.

use error::{Code, Error, Result};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::failure::translate;
use crate::postgres::Instant;

pub(crate) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

/// A type that a column can be read as.
pub(crate) trait Column: Sized {
    fn read(row: &Row, name: &str) -> Result<Option<Self>>;
}

impl Row {
    pub(crate) fn get<T: Column>(&self, name: &str) -> Result<T> {
        T::read(self, name)?.ok_or_else(|| damaged(name, "it is empty"))
    }

    pub(crate) fn optional<T: Column>(&self, name: &str) -> Result<Option<T>> {
        T::read(self, name)
    }

    /// A column that holds a word of an enum.
    pub(crate) fn word<T: std::str::FromStr<Err = Error>>(&self, name: &str) -> Result<T> {
        self.optional_word(name)?.ok_or_else(|| damaged(name, "it is empty"))
    }

    pub(crate) fn optional_word<T: std::str::FromStr<Err = Error>>(&self, name: &str) -> Result<Option<T>> {
        let text: Option<String> = self.optional(name)?;
        text.map(|text| text.parse().map_err(|cause: Error| damaged(name, cause.message()))).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_value(self.get(name)?).map_err(|cause| damaged(name, &cause.to_string()))
    }
}

fn damaged(column: &str, why: &str) -> Error {
    Error::new(Code::Internal, format!("the registry's column {column:?} cannot be read: {why}"))
        .with_hint("Somebody may have changed the registry by hand.")
}

/// Types that both databases know as they are.
macro_rules! plain_columns {
    ($($rust:ty,)+) => { $(
        impl Column for $rust {
            fn read(row: &Row, name: &str) -> Result<Option<Self>> {
                match row {
                    Row::Postgres(row) => row.try_get(name),
                    Row::Sqlite(row) => row.try_get(name),
                }
                .map_err(translate)
            }
        }
    )+ };
}

plain_columns! { String, i64, f64, bool, serde_json::Value, }

impl Column for u64 {
    fn read(row: &Row, name: &str) -> Result<Option<Self>> {
        let number: Option<i64> = row.optional(name)?;
        number.map(|number| Self::try_from(number).map_err(|_| damaged(name, "it is negative"))).transpose()
    }
}

impl Column for u32 {
    fn read(row: &Row, name: &str) -> Result<Option<Self>> {
        let number: Option<i64> = row.optional(name)?;
        number.map(|number| Self::try_from(number).map_err(|_| damaged(name, "it is out of range"))).transpose()
    }
}

/// SQLite has no type for ids: text, which people can read.
impl Column for Uuid {
    fn read(row: &Row, name: &str) -> Result<Option<Self>> {
        match row {
            Row::Postgres(row) => row.try_get(name).map_err(translate),
            Row::Sqlite(row) => {
                let text: Option<String> = row.try_get(name).map_err(translate)?;
                text.map(|text| text.parse().map_err(|_| damaged(name, "it is not a UUID"))).transpose()
            }
        }
    }
}

/// SQLite has no type for times: text, which people can read.
impl Column for Timestamp {
    fn read(row: &Row, name: &str) -> Result<Option<Self>> {
        match row {
            Row::Postgres(row) => {
                let instant: Option<Instant> = row.try_get(name).map_err(translate)?;
                Ok(instant.map(|instant| instant.0))
            }
            Row::Sqlite(row) => {
                let text: Option<String> = row.try_get(name).map_err(translate)?;
                text.map(|text| text.parse().map_err(|_| damaged(name, "it is not a time"))).transpose()
            }
        }
    }
}
