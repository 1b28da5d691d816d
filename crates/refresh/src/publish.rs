//! Publishing a prepared change: one short lake transaction with the rows, the watermark and the provenance, tried
//! again when somebody else committed at the same moment.

use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use error::{Code, Error, Result};
use lake::{Provenance, ProvenanceEntry, Publication, Snapshot, TableChange, Watermark, WatermarkMove};
use registry::DynamicTable;
use sql::names::quote_identifier;
use uuid::Uuid;

use crate::prepare::Prepared;
use crate::tables::DynamicTables;

/// How often a publication that met a conflict is tried in all.
const TRIES: usize = 8;

/// What is published besides the rows.
pub(crate) struct Mark<'a> {
    pub refresh: Uuid,
    pub version: Snapshot,
    pub fingerprint: &'a str,
    pub message: String,
}

impl DynamicTables {
    /// Publishes the change of one table. The result is the snapshot that holds it, and the watermark it moved.
    pub(crate) fn publish(
        &self,
        table: &DynamicTable,
        expected: Option<&Watermark>,
        prepared: &Prepared,
        mut statements_before: Vec<String>,
        mark: &Mark<'_>,
    ) -> Result<(Snapshot, Watermark)> {
        let definition = &table.definition;
        let watermark = Watermark {
            table_id: definition.id.to_string(),
            data_version: mark.version.id,
            fingerprint: mark.fingerprint.to_owned(),
            refresh_id: mark.refresh.to_string(),
            fence: expected.map_or(table.progress.fence, |expected| expected.fence) + 1,
        };
        let mut changes = vec![TableChange {
            table: definition.name.clone(),
            delete: prepared.delete.clone(),
            insert: prepared.insert.clone(),
        }];
        if let Some(state) = &prepared.state {
            statements_before.extend(state.statements(self.lake.alias()));
            changes.push(state.rows(self.lake.alias(), &watermark.refresh_id));
        }
        let publication = Publication {
            statements_before,
            changes,
            watermarks: vec![WatermarkMove { expected: expected.cloned(), new: Some(watermark.clone()) }],
            provenance: Provenance {
                refreshes: vec![ProvenanceEntry {
                    table_id: watermark.table_id.clone(),
                    schema: definition.name.schema.clone(),
                    name: definition.name.name.clone(),
                    data_version: watermark.data_version,
                    fingerprint: watermark.fingerprint.clone(),
                    refresh_id: watermark.refresh_id.clone(),
                }],
            },
            message: mark.message.clone(),
        };
        let windows: Vec<&lake::Window> = prepared.windows.iter().collect();
        let attempt = || {
            if !windows.is_empty() && !self.session.windows_hold(&windows)? {
                return Err(Error::new(Code::Conflict, "the sources were compacted while their change was read")
                    .with_transient(false)
                    .with_context("again", "prepare"));
            }
            self.session.publish(&publication)
        };
        let snapshot = self.retried(attempt)?;
        Ok((snapshot, watermark))
    }

    /// Runs something that commits to the lake, again if it met a conflict.
    pub(crate) fn retried<T>(&self, attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(TRIES - 1)
            .with_jitter();
        attempt
            .retry(backoff)
            .when(|error: &Error| error.code() == Code::Conflict && error.is_transient())
            .notify(|error, pause| tracing::debug!(%error, pause_ms = pause.as_millis(), "commit met a conflict"))
            .call()
    }
}

/// The statements that make the table of a result.
pub(crate) fn create_table(
    lake: &str,
    table: &DynamicTable,
    columns: &[(String, String)],
    replace: bool,
) -> Vec<String> {
    let name = &table.definition.name;
    let columns: Vec<String> =
        columns.iter().map(|(name, data_type)| format!("{} {data_type}", quote_identifier(name))).collect();
    let mut statements = Vec::new();
    if !name.schema.eq_ignore_ascii_case("main") {
        statements.push(format!(
            "CREATE SCHEMA IF NOT EXISTS {}.{}",
            quote_identifier(lake),
            quote_identifier(&name.schema)
        ));
    }
    let create = if replace { "CREATE OR REPLACE TABLE" } else { "CREATE TABLE" };
    statements.push(format!("{create} {} ({})", name.quoted(lake), columns.join(", ")));
    statements
}

/// Whether the change has to be computed again before it can be published.
pub(crate) fn must_prepare_again(error: &Error) -> bool {
    error.context().iter().any(|(key, value)| *key == "again" && value == "prepare")
}

/// Whether another process published the table since its watermark was read.
pub(crate) fn was_overtaken(error: &Error) -> bool {
    error.code() == Code::Conflict && error.context().iter().any(|(key, _)| *key == "table_id")
}
