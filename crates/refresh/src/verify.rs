//! Comparing a dynamic table with its query: the oracle.

use std::collections::HashMap;

use error::{Code, Error, Result};
use incremental::apply;
use incremental::render::Reading;
use lake::Watermark;
use registry::DynamicTable;
use sql::names::{ObjectName, quote_identifier};
use uuid::Uuid;

use crate::course::refresh_graph;
use crate::prepare::output_columns;
use crate::registered::Registered;
use crate::report::Verification;
use crate::rounding::{is_beyond, is_kept_as_double};
use crate::sources::{SourceChanges, state_of};
use crate::tables::DynamicTables;
use crate::unpublished::Unpublished;

/// How often a comparison begins again because the table was refreshed meanwhile.
const TRIES: usize = 3;

/// How many of the rows that differ are shown.
const SHOWN: usize = 20;

/// Two floating-point values that differ by less than this share of the greater one are taken for the same sum.
const FLOAT_TOLERANCE: &str = "1e-9";

/// What an integer that is stored as DOUBLE can be off by, as a share of itself.
const ROUNDING: &str = "3e-16";

const EXPECTED: &str = "__dt_expected";
const DIFFERENCE: &str = "__dt_difference";

impl DynamicTables {
    /// Compares tables with their queries, evaluated at the data version that the lake itself says they have. Empty
    /// `names` means all.
    ///
    /// # Errors
    /// `QUERY` for an unknown name, and whatever the evaluation of a query fails with.
    pub fn verify(&self, names: &[ObjectName]) -> Result<Vec<Verification>> {
        // What the lake's shape was when something was last refreshed does not matter here.
        self.analyses.borrow_mut().clear();
        let mut tables = self.as_published()?;
        let ids = self.named(names, &tables)?;
        let graph = refresh_graph(&tables)?;
        let mut results = Vec::new();
        for id in graph.sorted(&ids) {
            // A table that cannot be compared keeps nobody from hearing of the others.
            let result = self.verify_table(id, &mut tables);
            let Some(table) = tables.with_id(id) else { continue };
            results.push(result.unwrap_or_else(|error| Verification {
                error: Some(error.with_context("table", table.definition.name.to_string())),
                ..not_compared(table, "the comparison failed")
            }));
        }
        Ok(results)
    }

    /// All tables, each as far as the lake says that it is: the registry may not have heard of its last publication yet.
    fn as_published(&self) -> Result<Registered> {
        let mut tables = self.load_all()?;
        let watermarks: HashMap<String, Watermark> =
            self.session.watermarks()?.into_iter().map(|mark| (mark.table_id.clone(), mark)).collect();
        for table in tables.iter_mut() {
            let id = table.definition.id.to_string();
            // What cannot be told is told when the table itself is compared.
            let watermark = watermarks.get(&id);
            let _ = self.agree_unrecorded(table, watermark)?;
        }
        Ok(tables)
    }

    fn verify_table(&self, id: Uuid, tables: &mut Registered) -> Result<Verification> {
        let mut failure = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                // What it reads was published together with it.
                *tables = self.as_published()?;
            }
            let Some(table) = tables.with_id(id) else { break };
            if self.analyse(&table.definition)?.plan.volatile {
                return Ok(not_compared(table, "the query gives another result at every evaluation"));
            }
            let Some(before) = self.watermark_of(table)? else {
                return Ok(not_compared(table, "not initialised yet"));
            };
            let result = self.compare(table, &before, tables);
            self.forget_temporaries()?;
            if self.watermark_of(table)?.as_ref() == Some(&before)
                && (attempt > 0 || result.as_ref().is_ok_and(Verification::equal))
            {
                return result;
            }
            failure = result.err();
        }
        // One that nobody disturbed is that of the table; with one that somebody did, this is as much as is known.
        Err(failure.unwrap_or_else(|| {
            Error::new(Code::Conflict, "the table was refreshed again and again while it was compared")
        }))
    }

    /// The table's watermark, as the lake has it now.
    pub(crate) fn watermark_of(&self, table: &DynamicTable) -> Result<Option<Watermark>> {
        let id = table.definition.id.to_string();
        Ok(self.session.watermarks()?.into_iter().find(|mark| mark.table_id == id))
    }

    fn compare(&self, table: &DynamicTable, watermark: &Watermark, tables: &Registered) -> Result<Verification> {
        let expected = self.relation(EXPECTED);
        let difference = self.relation(DIFFERENCE);
        let analysis = self.analyse(&table.definition)?;
        let plan = &analysis.plan;
        // Where no source changed, the data version moved on in the registry alone; that claim is checked as well.
        let version = match table.progress.data_version {
            Some(version) if table.progress.refresh_id.as_ref() == Some(&watermark.refresh_id) => version,
            _ => watermark.data_version,
        };
        let spans = self.spans(plan, None, version, tables, &Unpublished::default(), &[])?;
        let clock = self.clock(plan, None, version)?;
        let states =
            SourceChanges { states: spans.iter().map(state_of).collect(), clock, ..SourceChanges::default() };
        let query = plan.whole(&self.renderer(plan, &states), Reading::New)?;
        let columns = output_columns(plan);
        let rows = self.keep(EXPECTED, &query)?;
        let wrong_state_rows =
            self.wrong_state_rows(plan, table, &watermark.refresh_id, &states)?.unwrap_or_default();
        let stored = format!(
            "SELECT {} FROM {}",
            apply::column_list(&columns),
            table.definition.name.quoted(self.lake.alias())
        );
        let terms = [(true, format!("SELECT * FROM {expected}")), (false, stored)];
        self.keep(DIFFERENCE, &apply::net(&apply::weighted(&terms), &columns))?;
        let floats: Vec<(String, String)> =
            plan.output.iter().filter(|(_, data_type)| is_rounded(data_type)).cloned().collect();
        let float_noise = if floats.is_empty() { 0 } else { self.take_away_float_noise(&columns, &floats)? };
        let (missing, surplus) = self.weights(DIFFERENCE)?;
        let weight = apply::WEIGHT;
        let sample = self.session.query(&format!(
            "SELECT CASE WHEN {weight} > 0 THEN 'missing' ELSE 'surplus' END AS difference, {} \
             FROM {difference} ORDER BY ALL LIMIT {SHOWN}",
            apply::column_list(&columns)
        ))?;
        Ok(Verification {
            name: table.definition.name.clone(),
            data_version: Some(version),
            rows,
            missing,
            surplus,
            float_noise,
            wrong_state_rows,
            sample,
            skipped: None,
            error: None,
        })
    }

    /// Takes pairs of rows out of the difference that are the same but for the last digits of floating-point values, or of
    /// integers that the lake's files hold as such. How many pairs those were.
    fn take_away_float_noise(&self, columns: &[String], rounded: &[(String, String)]) -> Result<u64> {
        let difference = self.relation(DIFFERENCE);
        let weight = apply::WEIGHT;
        let floats: &[String] = &rounded.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let exact: Vec<String> = columns.iter().filter(|column| !floats.contains(column)).cloned().collect();
        let partition =
            if exact.is_empty() { String::new() } else { format!("PARTITION BY {}", apply::column_list(&exact)) };
        // Rows stand in the same order on both sides, so that each meets its counterpart.
        let side = |sign: &str| {
            format!(
                "SELECT rowid AS __dt_id, *, row_number() OVER ({partition} ORDER BY {}) AS __dt_n \
                 FROM {difference} WHERE {weight} = {sign}",
                apply::column_list(floats)
            )
        };
        let mut equal: Vec<String> = exact
            .iter()
            .map(|column| format!("m.{0} IS NOT DISTINCT FROM s.{0}", quote_identifier(column)))
            .collect();
        equal.push("m.__dt_n = s.__dt_n".to_owned());
        equal.extend(rounded.iter().map(|(column, data_type)| {
            let name = quote_identifier(column);
            let (close, large) = if is_float(data_type) {
                (FLOAT_TOLERANCE, String::new())
            } else {
                (ROUNDING, format!(" AND {}", is_beyond(&format!("m.{name}"))))
            };
            format!(
                "(m.{name} IS NOT DISTINCT FROM s.{name} OR abs(m.{name}::DOUBLE - s.{name}::DOUBLE) \
                 <= {close} * greatest(abs(m.{name}::DOUBLE), abs(s.{name}::DOUBLE)){large})"
            )
        }));
        let removed = self.work(&format!(
            "DELETE FROM {difference} WHERE rowid IN (SELECT unnest([m.__dt_id, s.__dt_id]) \
             FROM ({}) AS m JOIN ({}) AS s ON {})",
            side("1"),
            side("-1"),
            equal.join(" AND ")
        ))?;
        Ok(removed / 2)
    }
}

fn is_float(data_type: &str) -> bool {
    matches!(data_type, "DOUBLE" | "FLOAT")
}

/// Whether values of this type can differ from what was computed: by the order of a sum, or since the lake's files hold
/// them as DOUBLE.
fn is_rounded(data_type: &str) -> bool {
    is_float(data_type) || is_kept_as_double(data_type)
}

fn not_compared(table: &DynamicTable, why: &str) -> Verification {
    Verification {
        name: table.definition.name.clone(),
        data_version: None,
        rows: 0,
        missing: 0,
        surplus: 0,
        float_noise: 0,
        wrong_state_rows: 0,
        sample: lake::Rows::default(),
        skipped: Some(why.to_owned()),
        error: None,
    }
}
