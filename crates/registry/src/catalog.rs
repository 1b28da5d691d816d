//! Operations on definitions: create, change, drop, find.

use error::{Code, Error, Result};
use sql::names::TableName;
use uuid::Uuid;

use crate::Registry;
use crate::definition::{Advance, Alteration, Definition, DynamicTable, Progress, SchedulingState, Source};
use crate::failure::{is_foreign_key_violation, is_unique_violation, translate};
use crate::news::tell_change;
use crate::periods::{begin_first, begin_last, begin_next};
use crate::record::{
    definition_columns, progress_columns, read_name, read_table, select_tables, source_columns, state_columns,
};
use crate::statement::{Statement, Value, placeholders};
use crate::store::Transaction;

/// Databases limit the placeholders of one statement; SQLite to 32,766.
const ROWS_PER_STATEMENT: usize = 5_000;

impl Registry {
    /// Every dynamic table with its sources and progress, ordered by name, in one query: what a worker needs to know
    /// each time it looks.
    pub fn load_all(&self) -> Result<Vec<DynamicTable>> {
        let statement = select_tables(self.store.dialect().sources).append(" ORDER BY t.schema_name, t.name", []);
        self.store.fetch(statement)?.iter().map(read_table).collect()
    }

    /// The dynamic table of this name, regardless of its case.
    pub fn get(&self, name: &TableName) -> Result<Option<DynamicTable>> {
        let statement = select_tables(self.store.dialect().sources).filter(
            "lower(t.schema_name) = {} AND lower(t.name) = {}",
            [name.schema.to_ascii_lowercase().into(), name.name.to_ascii_lowercase().into()],
        );
        // PostgreSQL's lower() may fold more than ASCII; of what it finds only the equal name counts.
        let found: Vec<DynamicTable> = self.store.fetch(statement)?.iter().map(read_table).collect::<Result<_>>()?;
        Ok(found.into_iter().find(|table| table.definition.name == *name))
    }

    /// Records a new dynamic table. Its revision must be 1. If its progress has a snapshot, that is its first
    /// publication.
    pub fn create(&self, table: &DynamicTable) -> Result<()> {
        let DynamicTable { definition, sources, progress } = table;
        self.store.transaction(async |transaction| {
            let mut row = definition_columns(definition)?;
            row.extend(state_columns(&definition.state));
            row.extend([
                ("id", definition.id.into()),
                ("revision", definition.revision.into()),
                ("created_at", definition.created_at.into()),
            ]);
            let inserted = transaction.attempt(Statement::insert("dynamic_table", row)).await;
            inserted.map_err(|cause| name_taken(cause, &definition.name))?;

            let mut row = progress_columns(progress);
            row.push(("table_id", definition.id.into()));
            transaction.execute(Statement::insert("dynamic_table_progress", row)).await?;
            write_publication(transaction, definition.id, progress).await?;
            write_sources(transaction, definition.id, sources).await?;
            begin_first(transaction, definition.id).await?;
            tell_change(transaction).await
        })
    }

    /// Changes definitions, all or none: `ALTER`, `CREATE OR REPLACE`, `RENAME TO` (together with the dependants whose
    /// queries name it). Each revision must be the one that is stored, and is one more afterwards; else it is a
    /// conflict. Sources that point to a renamed table get its new name.
    pub fn alter(&self, alterations: &[Alteration]) -> Result<()> {
        if alterations.is_empty() {
            return Ok(());
        }
        let altered: Vec<Uuid> = alterations.iter().map(|alteration| alteration.definition.id).collect();
        self.store.transaction(async |transaction| {
            let affected = lock_with_readers(transaction, &altered).await?;
            for alteration in alterations {
                change_definition(transaction, &alteration.definition).await?;
            }
            // After all definitions, so that they may name each other's new names.
            for Alteration { definition, sources, progress } in alterations {
                replace_sources(transaction, definition.id, sources).await?;
                if let Some(progress) = progress {
                    let restart = Statement::update("dynamic_table_progress", progress_columns(progress));
                    transaction.execute(restart.filter("table_id = {}", [definition.id.into()])).await?;
                    let forget = Statement::new("DELETE FROM publication");
                    transaction.execute(forget.filter("table_id = {}", [definition.id.into()])).await?;
                    write_publication(transaction, definition.id, progress).await?;
                }
            }
            for Alteration { definition, .. } in alterations {
                let names = vec![
                    ("schema_name", definition.name.schema.as_str().into()),
                    ("name", definition.name.name.as_str().into()),
                ];
                let statement = Statement::update("dynamic_table_source", names);
                transaction.execute(statement.filter("upstream_id = {}", [definition.id.into()])).await?;
            }
            begin_next(transaction, &affected).await?;
            tell_change(transaction).await
        })
    }

    /// Suspends or resumes tables, all or none. Not a change of the definition: revisions stay.
    pub fn set_state(&self, tables: &[Uuid], state: &SchedulingState) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        self.store.transaction(async |transaction| {
            let there = lock(transaction, tables, transaction.dialect().lock_to_change).await?;
            if there.is_empty() {
                return Ok(());
            }
            let statement = Statement::update("dynamic_table", state_columns(state));
            transaction.execute(statement.filter(&one_of("id", there.len()), ids(&there))).await?;
            begin_next(transaction, &there).await?;
            tell_change(transaction).await
        })
    }

    /// Forgets tables, all or none, with their sources, progress and publications; their history stays. Refused if a
    /// dynamic table that is not among them reads one of them. The number of tables that were there.
    pub fn drop(&self, tables: &[Uuid]) -> Result<u64> {
        if tables.is_empty() {
            return Ok(0);
        }
        let dropped = self.store.transaction(async |transaction| {
            // As claims are locked, so that neither waits for the other; and so that nobody claims them from here on.
            let there = lock(transaction, tables, transaction.dialect().lock_to_delete).await?;
            // First what they read themselves, or PostgreSQL would find that one of them still reads another.
            let sources = Statement::new("DELETE FROM dynamic_table_source");
            transaction.execute(sources.filter(&one_of("table_id", tables.len()), ids(tables))).await?;
            let statement =
                Statement::new("DELETE FROM dynamic_table").filter(&one_of("id", tables.len()), ids(tables));
            let dropped =
                transaction.attempt(statement).await.map_err(|cause| match is_foreign_key_violation(&cause) {
                    true => Error::new(Code::Dependency, "cannot drop tables that others read"),
                    false => translate(cause),
                })?;
            if dropped > 0 {
                begin_last(transaction, &there).await?;
                tell_change(transaction).await?;
            }
            Ok(dropped)
        });
        match dropped {
            Err(error) if error.code() == Code::Dependency => Err(self.still_read(tables)?.unwrap_or(error)),
            dropped => dropped,
        }
    }

    /// Moves data versions forward where no source has changed, in one statement. Tables that another refresh has
    /// published, or that are further already, stay as they are. The number of tables that moved.
    pub fn advance(&self, advances: &[Advance]) -> Result<u64> {
        if advances.is_empty() {
            return Ok(0);
        }
        self.store.transaction(async |transaction| {
            let mut moved = 0;
            for advances in advances.chunks(ROWS_PER_STATEMENT) {
                moved += transaction.execute(advance_statement(advances)).await?;
            }
            if moved > 0 {
                tell_change(transaction).await?;
            }
            Ok(moved)
        })
    }

    /// The snapshot that holds the content a table had at a data version: that of the greatest data version not
    /// above it.
    pub fn publication_at(&self, table: Uuid, data_version: i64) -> Result<Option<i64>> {
        Ok(self.publication_before(table, data_version)?.map(|(_, snapshot)| snapshot))
    }

    /// The greatest data version not above this one that a table was published at, and the snapshot that holds it.
    pub fn publication_before(&self, table: Uuid, data_version: i64) -> Result<Option<(i64, i64)>> {
        let statement = Statement::new("SELECT data_version, snapshot FROM publication")
            .filter("table_id = {} AND data_version <= {}", [table.into(), data_version.into()])
            .append(" ORDER BY data_version DESC LIMIT 1", []);
        let rows = self.store.fetch(statement)?;
        rows.first().map(|row| Ok((row.get("data_version")?, row.get("snapshot")?))).transpose()
    }

    /// Forgets publications whose snapshot the lake no longer has, except the latest of each table. Their number.
    pub fn prune_publications(&self, oldest_snapshot: i64) -> Result<u64> {
        let statement =
            Statement::new("DELETE FROM publication").filter("snapshot < {}", [oldest_snapshot.into()]).filter(
                "data_version < (SELECT max(latest.data_version) FROM publication latest \
                 WHERE latest.table_id = publication.table_id)",
                [],
            );
        self.store.execute(statement)
    }

    /// The error for tables that cannot be dropped, since others read them; none if those are gone by now.
    fn still_read(&self, tables: &[Uuid]) -> Result<Option<Error>> {
        let statement = Statement::new(
            "SELECT DISTINCT u.schema_name AS upstream_schema, u.name AS upstream, d.schema_name, d.name \
             FROM dynamic_table_source s JOIN dynamic_table u ON u.id = s.upstream_id \
             JOIN dynamic_table d ON d.id = s.table_id",
        )
        .filter(&one_of("s.upstream_id", tables.len()), ids(tables))
        .filter(&format!("NOT {}", one_of("s.table_id", tables.len())), ids(tables))
        .append(" ORDER BY d.schema_name, d.name", []);
        let rows = self.store.fetch(statement)?;
        let Some(first) = rows.first() else { return Ok(None) };
        let upstream = read_name(first, "upstream_schema", "upstream")?;
        let readers: Vec<String> =
            rows.iter().map(|row| Ok(read_name(row, "schema_name", "name")?.to_string())).collect::<Result<_>>()?;
        let verb = if readers.len() == 1 { "depends" } else { "depend" };
        Ok(Some(
            Error::new(Code::Dependency, format!("cannot drop {upstream}: {} {verb} on it", readers.join(", ")))
                .with_hint("Drop those first, or all together with DROP DYNAMIC TABLE ... CASCADE."),
        ))
    }
}

/// Locks tables in the order of their ids, which is that of everybody who locks several. Those that there are.
pub(crate) async fn lock(transaction: &mut Transaction, tables: &[Uuid], lock: &str) -> Result<Vec<Uuid>> {
    let statement = Statement::new("SELECT id FROM dynamic_table")
        .filter(&one_of("id", tables.len()), ids(tables))
        .append(&format!(" ORDER BY id{lock}"), []);
    transaction.fetch(statement).await?.iter().map(|row| row.get("id")).collect()
}

/// Locks tables that are going to be changed, and those that read them.
async fn lock_with_readers(transaction: &mut Transaction, tables: &[Uuid]) -> Result<Vec<Uuid>> {
    let readers = format!(
        "({} OR id IN (SELECT table_id FROM dynamic_table_source WHERE {}))",
        one_of("id", tables.len()),
        one_of("upstream_id", tables.len())
    );
    let statement = Statement::new("SELECT id FROM dynamic_table")
        .filter(&readers, ids(tables).chain(ids(tables)))
        .append(&format!(" ORDER BY id{}", transaction.dialect().lock_to_change), []);
    transaction.fetch(statement).await?.iter().map(|row| row.get("id")).collect()
}

async fn change_definition(transaction: &mut Transaction, definition: &Definition) -> Result<()> {
    let mut row = definition_columns(definition)?;
    row.push(("revision", (definition.revision + 1).into()));
    let statement = Statement::update("dynamic_table", row)
        .filter("id = {} AND revision = {}", [definition.id.into(), definition.revision.into()]);
    let changed = transaction.attempt(statement).await.map_err(|cause| name_taken(cause, &definition.name))?;
    if changed == 0 {
        return Err(Error::new(
            Code::Conflict,
            format!("dynamic table {} was changed or dropped meanwhile", definition.name),
        )
        // The caller has to look at the new definition first.
        .with_transient(false)
        .with_hint("Look at what it is now, and try again."));
    }
    Ok(())
}

pub(crate) async fn replace_sources(transaction: &mut Transaction, table: Uuid, sources: &[Source]) -> Result<()> {
    let delete = Statement::new("DELETE FROM dynamic_table_source").filter("table_id = {}", [table.into()]);
    transaction.execute(delete).await?;
    write_sources(transaction, table, sources).await
}

async fn write_sources(transaction: &mut Transaction, table: Uuid, sources: &[Source]) -> Result<()> {
    for (source, position) in sources.iter().zip(0..) {
        let insert = Statement::insert("dynamic_table_source", source_columns(table, position, source)?);
        transaction.attempt(insert).await.map_err(|cause| match is_foreign_key_violation(&cause) {
            true => Error::new(Code::Dependency, format!("dynamic table {} does not exist any more", source.name))
                .with_hint("It was dropped meanwhile: create it again, or change the query."),
            false => translate(cause),
        })?;
    }
    Ok(())
}

pub(crate) async fn write_publication(transaction: &mut Transaction, table: Uuid, progress: &Progress) -> Result<()> {
    let (Some(data_version), Some(snapshot)) = (progress.data_version, progress.snapshot) else { return Ok(()) };
    let row = vec![
        ("table_id", table.into()),
        ("data_version", data_version.into()),
        ("snapshot", snapshot.into()),
        ("data_timestamp", progress.data_timestamp.into()),
        ("refresh_id", progress.refresh_id.clone().into()),
    ];
    // The same data version is published again by a full refresh that was asked for.
    let statement = Statement::insert("publication", row).append(
        " ON CONFLICT (table_id, data_version) DO UPDATE SET snapshot = excluded.snapshot, \
         data_timestamp = excluded.data_timestamp, refresh_id = excluded.refresh_id",
        [],
    );
    transaction.execute(statement).await?;
    Ok(())
}

fn advance_statement(advances: &[Advance]) -> Statement {
    let values = vec!["({}, {}, {}, {})"; advances.len()].join(", ");
    let parameters = advances.iter().flat_map(|advance| {
        [
            Value::from(advance.table),
            advance.refresh_id.clone().into(),
            advance.data_version.into(),
            advance.data_timestamp.into(),
        ]
    });
    Statement::new("WITH advanced (table_id, refresh_id, data_version, data_timestamp) AS (VALUES ").append(
        &format!(
            "{values}) UPDATE dynamic_table_progress \
             SET data_version = advanced.data_version, data_timestamp = advanced.data_timestamp FROM advanced \
             WHERE dynamic_table_progress.table_id = advanced.table_id \
             AND dynamic_table_progress.refresh_id IS NOT DISTINCT FROM advanced.refresh_id \
             AND dynamic_table_progress.data_version < advanced.data_version"
        ),
        parameters,
    )
}

fn name_taken(cause: sqlx::Error, name: &TableName) -> Error {
    if is_unique_violation(&cause) {
        return Error::new(Code::Configuration, format!("dynamic table {name} already exists"))
            .with_hint("Choose another name, or use CREATE OR REPLACE or CREATE ... IF NOT EXISTS.");
    }
    translate(cause)
}

pub(crate) fn one_of(column: &str, count: usize) -> String {
    format!("{column} IN ({})", placeholders(count))
}

pub(crate) fn ids(tables: &[Uuid]) -> impl Iterator<Item = Value> {
    tables.iter().map(|table| Value::from(*table))
}
