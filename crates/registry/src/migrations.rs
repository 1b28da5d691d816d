//! The steps by which a registry's tables came to be. A step that has been released is never changed again.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Says which steps a registry has seen. A name of our own, since others may keep their tables in the same schema.
pub(crate) const TABLE: &str = "dynamic_tables_migration";

/// A step: what it brings, in the words of PostgreSQL and of SQLite. Its number is its place, from 1.
struct Step {
    about: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
}

const STEPS: [Step; 6] = [
    Step {
        about: "definitions, sources, progress, publications, history",
        postgres: include_str!("../migrations/postgres/0001_registry.sql"),
        sqlite: include_str!("../migrations/sqlite/0001_registry.sql"),
    },
    Step {
        about: "claims, workers, news, the past of the graph",
        postgres: include_str!("../migrations/postgres/0002_coordination.sql"),
        sqlite: include_str!("../migrations/sqlite/0002_coordination.sql"),
    },
    Step {
        about: "wishes, the steps of refreshes",
        postgres: include_str!("../migrations/postgres/0003_priority.sql"),
        sqlite: include_str!("../migrations/sqlite/0003_priority.sql"),
    },
    Step {
        about: "connections, pipelines, tasks",
        postgres: include_str!("../migrations/postgres/0004_connections.sql"),
        sqlite: include_str!("../migrations/sqlite/0004_connections.sql"),
    },
    Step {
        about: "sources, exports, their runs",
        postgres: include_str!("../migrations/postgres/0005_transfers.sql"),
        sqlite: include_str!("../migrations/sqlite/0005_transfers.sql"),
    },
    Step {
        about: "compactions",
        postgres: include_str!("../migrations/postgres/0006_compactions.sql"),
        sqlite: include_str!("../migrations/sqlite/0006_compactions.sql"),
    },
];

pub(crate) fn postgres() -> Migrator {
    migrator(|step| step.postgres)
}

pub(crate) fn sqlite() -> Migrator {
    migrator(|step| step.sqlite)
}

/// The newest version that this program knows.
pub(crate) const fn newest() -> i64 {
    STEPS.len() as i64
}

fn migrator(sql: fn(&Step) -> &'static str) -> Migrator {
    let migrations = STEPS.iter().zip(1..).map(|(step, version)| {
        Migration::new(version, step.about.into(), MigrationType::Simple, sql(step).into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator
}
