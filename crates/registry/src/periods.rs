//! The past of the graph in the database: periods end and begin in the transactions that change the graph.

use std::collections::HashMap;

use error::{Code, Error, Result};
use jiff::Timestamp;
use sql::names::TableName;
use uuid::Uuid;

use crate::Registry;
use crate::catalog::{ids, one_of};
use crate::definition::SourceDocument;
use crate::graph::{AlterTrigger, GraphFilter, GraphInput, GraphNode, GraphPeriod, triggers};
use crate::record::{json, read_name};
use crate::row::Row;
use crate::statement::Statement;
use crate::store::Transaction;

impl Registry {
    /// The last `limit` periods of the graph that the filter lets through, the newest first.
    pub fn graph_history(&self, filter: &GraphFilter, limit: u32) -> Result<Vec<GraphPeriod>> {
        let mut statement = Statement::new("SELECT * FROM graph_history");
        if let Some(table) = filter.table {
            statement = statement.filter("table_id = {}", [table.into()]);
        }
        if let Some(TableName { schema, name }) = &filter.name {
            statement = statement.filter(
                "lower(schema_name) = {} AND lower(name) = {}",
                [schema.to_ascii_lowercase().into(), name.to_ascii_lowercase().into()],
            );
        }
        // A table that was dropped at once has two periods that began at the same time.
        let statement = statement.append(" ORDER BY valid_from DESC, period DESC, table_id LIMIT {}", [limit.into()]);
        let read = |row: &Row| {
            Ok(GraphPeriod {
                table: row.get("table_id")?,
                node: read_node(row, row.json("inputs")?)?,
                alter_trigger: row.json("alter_trigger")?,
                valid_from: row.get("valid_from")?,
                valid_to: row.optional("valid_to")?,
            })
        };
        self.store.fetch(statement)?.iter().map(read).collect()
    }
}

/// Begins the first period of a table that was just created.
pub(crate) async fn begin_first(transaction: &mut Transaction, table: Uuid) -> Result<()> {
    let now = now(transaction).await?;
    for (table, node) in present(transaction, &[table]).await? {
        begin(transaction, table, &node, &[AlterTrigger::CreateDynamicTable], now).await?;
    }
    Ok(())
}

/// Ends the periods of those tables that are not any more what they were, and begins new ones. To be called with the
/// tables locked, after the change.
pub(crate) async fn begin_next(transaction: &mut Transaction, tables: &[Uuid]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let before = recorded(transaction, tables).await?;
    let after = present(transaction, tables).await?;
    let renaming = after.iter().any(|(table, node)| before.get(table).is_some_and(|before| before.name != node.name));
    let mut changed = Vec::new();
    for (table, node) in after {
        match before.get(&table).map(|before| triggers(before, &node, renaming)) {
            Some(triggers) if triggers.is_empty() => {}
            // Somebody has deleted its history: it goes on from here.
            triggers => changed.push((table, node, triggers.unwrap_or_default())),
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let now = now(transaction).await?;
    let ending: Vec<Uuid> = changed.iter().map(|(table, ..)| *table).collect();
    end(transaction, &ending, now).await?;
    for (table, node, triggers) in changed {
        begin(transaction, table, &node, &triggers, now).await?;
    }
    Ok(())
}

/// Ends the periods of tables that are dropped, and says that they were. To be called with the tables locked.
pub(crate) async fn begin_last(transaction: &mut Transaction, tables: &[Uuid]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let dropped = recorded(transaction, tables).await?;
    let now = now(transaction).await?;
    end(transaction, tables, now).await?;
    for (table, node) in dropped {
        begin(transaction, table, &node, &[AlterTrigger::Drop], now).await?;
    }
    end(transaction, tables, now).await
}

/// What the tables were until now.
async fn recorded(transaction: &mut Transaction, tables: &[Uuid]) -> Result<HashMap<Uuid, GraphNode>> {
    let statement = Statement::new("SELECT * FROM graph_history")
        .filter(&one_of("table_id", tables.len()), ids(tables))
        .filter("valid_to IS NULL", []);
    let rows = transaction.fetch(statement).await?;
    rows.iter().map(|row| Ok((row.get("table_id")?, read_node(row, row.json("inputs")?)?))).collect()
}

/// What the tables are now.
async fn present(transaction: &mut Transaction, tables: &[Uuid]) -> Result<Vec<(Uuid, GraphNode)>> {
    let statement = Statement::new(format!(
        "SELECT t.id, t.schema_name, t.name, t.query, t.properties ->> 'target_lag' AS target_lag, \
         t.properties ->> 'scheduler' AS scheduler, t.properties ->> 'queue' AS queue, \
         CASE WHEN t.incremental THEN 'INCREMENTAL' ELSE 'FULL' END AS refresh_mode, \
         t.scheduling_state, t.suspended_reason, {} AS sources FROM dynamic_table t",
        transaction.dialect().sources
    ));
    let rows = transaction.fetch(statement.filter(&one_of("t.id", tables.len()), ids(tables))).await?;
    let read = |row: &Row| {
        let sources: Vec<SourceDocument> = row.json("sources")?;
        Ok((row.get("id")?, read_node(row, sources.into_iter().map(GraphInput::from).collect())?))
    };
    rows.iter().map(read).collect()
}

fn read_node(row: &Row, inputs: Vec<GraphInput>) -> Result<GraphNode> {
    Ok(GraphNode {
        name: read_name(row, "schema_name", "name")?,
        query: row.get("query")?,
        target_lag: row.optional("target_lag")?,
        scheduler: row.optional("scheduler")?,
        refresh_mode: row.get("refresh_mode")?,
        queue: row.optional("queue")?,
        inputs,
        scheduling_state: row.get("scheduling_state")?,
        suspended_reason: row.optional("suspended_reason")?,
    })
}

/// One time for all that a transaction changes: the graph goes from one shape to the next as a whole.
async fn now(transaction: &mut Transaction) -> Result<Timestamp> {
    let statement = Statement::new(format!("SELECT {} AS now", transaction.dialect().now));
    let rows = transaction.fetch(statement).await?;
    rows.first()
        .ok_or_else(|| Error::new(Code::Internal, "the registry does not say what time it is"))
        .and_then(|row| row.get("now"))
}

async fn end(transaction: &mut Transaction, tables: &[Uuid], now: Timestamp) -> Result<()> {
    // The clock may have been set back since the period began.
    let statement = Statement::new("")
        .append(
            "UPDATE graph_history SET valid_to = CASE WHEN valid_from > {} THEN valid_from ELSE {} END",
            [now.into(), now.into()],
        )
        .filter("valid_to IS NULL", [])
        .filter(&one_of("table_id", tables.len()), ids(tables));
    transaction.execute(statement).await?;
    Ok(())
}

/// Begins a period where the last one ended.
async fn begin(
    transaction: &mut Transaction,
    table: Uuid,
    node: &GraphNode,
    triggers: &[AlterTrigger],
    now: Timestamp,
) -> Result<()> {
    let columns = [
        ("table_id", table.into()),
        ("schema_name", node.name.schema.as_str().into()),
        ("name", node.name.name.as_str().into()),
        ("query", node.query.as_str().into()),
        ("target_lag", node.target_lag.clone().into()),
        ("scheduler", node.scheduler.clone().into()),
        ("refresh_mode", node.refresh_mode.as_str().into()),
        ("queue", node.queue.clone().into()),
        ("inputs", json(&node.inputs)?),
        ("scheduling_state", node.scheduling_state.as_str().into()),
        ("suspended_reason", node.suspended_reason.clone().into()),
        ("alter_trigger", json(&triggers)?),
    ];
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let placeholders = vec!["{}"; values.len()].join(", ");
    let insert = format!(
        "INSERT INTO graph_history ({}, period, valid_from) \
         SELECT {placeholders}, coalesce(max(period), 0) + 1, coalesce(max(valid_to), {{}}) FROM graph_history",
        names.join(", ")
    );
    let statement = Statement::new("")
        .append(&insert, values.into_iter().chain([now.into()]))
        .filter("table_id = {}", [table.into()]);
    transaction.execute(statement).await?;
    Ok(())
}
