//! The steps by which a registry's tables came to be. A step that has been released is never changed again.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Says which steps a registry has seen. A name of our own, since others may keep their tables in the same schema.
const TABLE: &str = "dynamic_tables_migration";

pub(crate) fn postgres() -> Migrator {
    migrator(&[(
        1,
        "definitions, sources, progress, publications, history",
        include_str!("../migrations/postgres/0001_registry.sql"),
    )])
}

pub(crate) fn sqlite() -> Migrator {
    migrator(&[(
        1,
        "definitions, sources, progress, publications, history",
        include_str!("../migrations/sqlite/0001_registry.sql"),
    )])
}

pub(crate) fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}

fn migrator(steps: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = steps.iter().map(|&(version, about, sql)| {
        Migration::new(version, about.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator
}
