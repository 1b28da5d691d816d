//! What the databases say went wrong, in the words and codes of the product.

use error::{Code, Error};
use sqlx::error::ErrorKind;
use sqlx::migrate::MigrateError;

use crate::migrations;

/// Turns a failure of sqlx into ours. Neither a statement's values nor a password are part of these messages.
pub(crate) fn translate(cause: sqlx::Error) -> Error {
    let (code, message, hint) = describe(&cause);
    let error = Error::new(code, message).with_source(cause);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Turns a failed migration into ours.
pub(crate) fn translate_migration(cause: MigrateError) -> Error {
    match cause {
        MigrateError::VersionMissing(version) => newer_registry(version)
            .with_hint("Nothing was changed. Use the newer program that made it, or another registry."),
        MigrateError::VersionMismatch(version) => Error::new(
            Code::Configuration,
            format!("version {version} of the registry was made by another build of this program"),
        )
        .with_hint("Nothing was changed. Use a released program, or another registry."),
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => translate(cause),
        other => Error::new(Code::Internal, format!("the registry cannot be brought up to date: {other}")),
    }
}

/// The error for a registry of a version that this program does not know.
pub(crate) fn newer_registry(version: i64) -> Error {
    let newest = migrations::newest();
    Error::new(
        Code::Configuration,
        format!("the registry is of version {version}, and this program knows versions up to {newest}"),
    )
}

pub(crate) fn is_unique_violation(cause: &sqlx::Error) -> bool {
    cause.as_database_error().is_some_and(|cause| cause.kind() == ErrorKind::UniqueViolation)
}

pub(crate) fn is_foreign_key_violation(cause: &sqlx::Error) -> bool {
    cause.as_database_error().is_some_and(|cause| cause.kind() == ErrorKind::ForeignKeyViolation)
}

/// Whether it is worth trying again at once: somebody else holds the file.
pub(crate) fn is_busy(cause: &sqlx::Error) -> bool {
    sqlite_code(cause).is_some_and(|code| matches!(code & 0xFF, 5 | 6))
}

fn sqlite_code(cause: &sqlx::Error) -> Option<i32> {
    let cause = cause.as_database_error()?;
    cause.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    cause.code()?.parse().ok()
}

fn describe(cause: &sqlx::Error) -> (Code, String, Option<&'static str>) {
    match cause {
        sqlx::Error::Io(cause) => (Code::Connection, format!("the registry cannot be reached: {cause}"), Some(REACH)),
        sqlx::Error::Tls(cause) => (
            Code::Connection,
            format!("no encrypted connection to the registry: {cause}"),
            Some("Check sslmode and the certificates."),
        ),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            (Code::Connection, "the registry cannot be reached".to_owned(), Some(REACH))
        }
        sqlx::Error::Configuration(cause) => {
            (Code::Configuration, format!("the registry's URL cannot be used: {cause}"), None)
        }
        sqlx::Error::Database(database) => match (sqlite_code(cause), database.code()) {
            (Some(code), _) => describe_sqlite(code, database.message()),
            (None, Some(code)) => describe_postgres(&code, database.message()),
            (None, None) => (Code::Internal, format!("the registry failed: {}", database.message()), None),
        },
        sqlx::Error::Protocol(message) => (
            Code::Connection,
            format!("what answers is not a registry's database: {message}"),
            Some("Check host and port in the registry's URL."),
        ),
        other => (Code::Internal, format!("the registry failed: {other}"), None),
    }
}

const REACH: &str = "Check that the database runs and that host and port in the registry's URL are right.";

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn describe_postgres(code: &str, message: &str) -> (Code, String, Option<&'static str>) {
    let class = code.get(..2).unwrap_or_default();
    let (kind, hint) = match (class, code) {
        ("28", _) => (Code::Permission, Some("Check user and password in the registry's URL.")),
        (_, "42501") => {
            (Code::Permission, Some("Give the user USAGE and CREATE on the schema that its search_path begins with."))
        }
        (_, "3D000") => (Code::Configuration, Some("Create the database with CREATE DATABASE, or name another one.")),
        (_, "3F000") => (Code::Configuration, Some("Create a schema that the user's search_path names.")),
        (_, "25006") => (Code::Permission, Some("This server is a read-only replica: name the primary one.")),
        ("40", _) => (Code::Conflict, None),
        ("53", _) => (Code::Resource, None),
        ("08", _) | (_, "57P01" | "57P02" | "57P03") => (Code::Connection, None),
        _ => (Code::Internal, None),
    };
    (kind, format!("the registry's database says: {message}"), hint)
}

/// <https://www.sqlite.org/rescode.html>
fn describe_sqlite(code: i32, message: &str) -> (Code, String, Option<&'static str>) {
    let (kind, hint) = match code & 0xFF {
        5 | 6 => (Code::Conflict, Some("Another process holds the file; try again.")),
        3 | 8 => (Code::Permission, Some("Make the file and its folder writable.")),
        10 | 13 => (Code::Resource, Some("Check that the disk has space and is healthy.")),
        11 => (Code::Internal, Some("The file is damaged: restore it from a backup.")),
        14 => (Code::Permission, Some("Check that the file's folder can be written.")),
        26 => (Code::Configuration, Some("The file is something else than a registry: name another path.")),
        _ => (Code::Internal, None),
    };
    (kind, format!("the registry's file says: {message}"), hint)
}
