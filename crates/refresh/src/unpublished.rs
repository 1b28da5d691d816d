//! What tables will hold once what was computed for them is published, or would hold if it were: the tables that read
//! them are computed over that.
//!
//! Everything here is in temporary tables of the session. This module does not know how a change is computed or chosen.

use std::collections::HashMap;

use error::Result;
use incremental::render::SourceState;
use incremental::{Plan, apply};
use lake::{Delete, Window, WindowRule};
use registry::DynamicTable;
use serde_json::Value;
use sql::names::{TableName, quote_identifier};
use sql::query::Parser;
use sql::tree;

use crate::course::is_isolated;
use crate::decide::Situation;
use crate::prepare::{Prepared, output_columns};
use crate::sources::{Span, state_of};
use crate::tables::DynamicTables;

/// How many of the rows that would change are shown.
const SHOWN: usize = 20;

/// The tables of a course whose change is computed but not published.
#[derive(Debug, Default)]
pub(crate) struct Unpublished {
    tables: HashMap<TableName, NewContent>,
    /// How many there ever were: each has temporary tables of its own.
    made: usize,
}

/// A table as it will be after its refresh.
#[derive(Debug)]
pub(crate) struct NewContent {
    /// The temporary view with its content.
    content: String,
    /// The temporary table with the rows that would come.
    came: String,
    /// The temporary table with the rows that would go, with their row ids.
    went: String,
    rows_inserted: u64,
    rows_deleted: u64,
    columns: Vec<(String, String)>,
    /// Why what reads it cannot go on from what it was built from.
    breaks: Option<String>,
    /// It starts over: since it was last published, others may have written to it.
    restarts: bool,
    /// The lake's table has other columns, or there is none.
    reshaped: bool,
    /// What reads it reads this. One that is refreshed by hand only is read as it stands at the data version.
    read: bool,
}

impl NewContent {
    /// The change of some columns since the start of a window of the stored table, as [`Window::delta_sql`] gives it: the
    /// coming change comes on top.
    pub fn delta_sql(&self, window: &Window, columns: &[String], apart: &[String]) -> String {
        let list = apply::column_list(columns);
        let (row_id, weight) = (apply::ROW_ID, apply::WEIGHT);
        let came = format!("SELECT {list}, 1::TINYINT AS {weight} FROM temp.main.{}", self.came);
        if window.rule == WindowRule::Unchanged {
            return format!("SELECT {list}, -1::TINYINT AS {weight} FROM temp.main.{} UNION ALL {came}", self.went);
        }
        // A row that came within the window and would go again is no change.
        let written: String = apart.iter().map(|column| format!(", {}::VARCHAR", quote_identifier(column))).collect();
        format!(
            "SELECT {list}, sum({weight})::TINYINT AS {weight} FROM (\
             SELECT * FROM ({}) UNION ALL SELECT {row_id}, {list}, -1::TINYINT FROM temp.main.{}) \
             GROUP BY {row_id}, {list}{written} HAVING sum({weight}) <> 0 UNION ALL {came}",
            window.delta_with_row_id_sql(row_id, columns, weight),
            self.went
        )
    }

    fn changes(&self) -> bool {
        // One that starts over may hold what was published, and yet not what stood there before.
        self.rows_inserted + self.rows_deleted > 0 || self.reshaped || self.restarts
    }
}

impl Unpublished {
    /// The coming change of a table, if it would change.
    pub fn change_of(&self, table: &TableName) -> Option<&NewContent> {
        self.tables.get(table).filter(|coming| coming.read && coming.changes())
    }

    fn changes_of<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = &'a NewContent> {
        plan.sources.iter().filter_map(|source| self.change_of(&source.name))
    }

    /// How many rows of the sources of a query would come or go.
    pub fn changed_rows(&self, plan: &Plan) -> u64 {
        self.changes_of(plan).map(|coming| coming.rows_inserted + coming.rows_deleted).sum()
    }

    /// How many rows the sources would have that have `stored` rows.
    pub fn source_rows(&self, plan: &Plan, stored: u64) -> u64 {
        self.changes_of(plan)
            .fold(stored, |rows, coming| (rows + coming.rows_inserted).saturating_sub(coming.rows_deleted))
    }

    /// Whether a table starts over, so that what it holds before need not be what was last published.
    pub fn restarts(&self, table: &TableName) -> bool {
        self.change_of(table).is_some_and(|coming| coming.restarts)
    }

    /// Why a source would not be one that can be gone on from.
    pub fn breaks(&self, plan: &Plan) -> Option<String> {
        self.changes_of(plan).find_map(|coming| coming.breaks.clone())
    }

    /// The sources as they were and would be, with no change known.
    pub fn states_of(&self, spans: &[Span]) -> Vec<SourceState> {
        spans.iter().map(|span| self.state_of(span)).collect()
    }

    /// A source as it was and would be.
    pub fn state_of(&self, span: &Span) -> SourceState {
        let new_relation = self.change_of(&span.table).map(|coming| coming.content.clone());
        SourceState { new_relation, ..state_of(span) }
    }

    /// The columns that a table would have, if the lake's table does not have them.
    pub fn columns(&self, table: &TableName) -> Option<&[(String, String)]> {
        self.tables.get(table).filter(|coming| coming.read && coming.reshaped).map(|coming| coming.columns.as_slice())
    }

    /// Whether some table would have other columns than it has.
    pub fn reshapes(&self) -> bool {
        self.tables.values().any(|coming| coming.read && coming.reshaped)
    }

    /// A SELECT over the lake as one that reads the tables which would have other columns as they would be.
    pub fn redirected(&self, select: &str, parser: &Parser, lake: &str) -> Result<String> {
        let mut node = parser.parse(select)?.node;
        tree::visit_mut(&mut node, &mut |child| {
            if !tree::is(child, "BASE_TABLE") || tree::text(child, "catalog_name") != lake {
                return;
            }
            let name = TableName::new(tree::text(child, "schema_name"), tree::text(child, "table_name"));
            if let Some(coming) = self.tables.get(&name).filter(|coming| coming.read && coming.reshaped) {
                child["catalog_name"] = Value::from("temp");
                child["schema_name"] = Value::from("main");
                child["table_name"] = Value::from(coming.content.as_str());
            }
        });
        parser.to_sql(&node)
    }
}

impl DynamicTables {
    /// Keeps what a table will hold after a change that was computed, for those that read it. `at` is the snapshot at which
    /// its rows were read.
    pub(crate) fn keep_unpublished(
        &self,
        unpublished: &mut Unpublished,
        table: &DynamicTable,
        situation: &Situation,
        prepared: &Prepared,
        at: i64,
    ) -> Result<()> {
        let read = !is_isolated(table);
        let table = &table.definition.name;
        let plan = &situation.analysis.plan;
        let columns = output_columns(plan);
        let list = apply::column_list(&columns);
        unpublished.made += 1;
        let content = format!("__dt_unpublished{}", unpublished.made);
        let (came, went) = (format!("{content}_came"), format!("{content}_went"));
        let mut coming = NewContent {
            content,
            came,
            went,
            rows_inserted: prepared.rows_inserted,
            rows_deleted: prepared.rows_deleted,
            columns: plan.output.clone(),
            breaks: None,
            restarts: situation.start_over.is_some(),
            reshaped: true,
            read,
        };
        // Where the table is made anew, its old rows are not part of any change.
        let stored = situation.target.and_then(|target| {
            coming.reshaped = !target.has_shape;
            let altered = situation.reshape.as_ref().map(|reshape| &reshape.items);
            let items = if target.has_shape { &list } else { altered? };
            let name = table.quoted(self.lake.alias());
            Some(format!("(SELECT rowid AS {}, {items} FROM {name} AT (VERSION => {at}))", apply::ROW_ID))
        });
        if stored.is_none() {
            coming.breaks = Some(match situation.target {
                Some(_) => format!("{table} was dropped and created again, or replaced"),
                None => format!("the state of {table} that the table was built from is not known"),
            });
        }
        let typed: Vec<String> = plan
            .output
            .iter()
            .map(|(name, data_type)| format!("{0}::{data_type} AS {0}", quote_identifier(name)))
            .collect();
        let nothing: Vec<String> = plan
            .output
            .iter()
            .map(|(name, data_type)| format!("NULL::{data_type} AS {}", quote_identifier(name)))
            .collect();
        let nothing = format!("SELECT {} WHERE false", nothing.join(", "));
        let came = prepared.insert.as_ref().unwrap_or(&nothing);
        // As an insertion does it: by position, into the types of the columns.
        self.session.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE {} AS SELECT {} FROM ({came}) AS __dt_came({list})",
            coming.came,
            typed.join(", ")
        ))?;
        let went = match (&stored, &prepared.delete) {
            (None, _) | (_, Delete::None) => format!("SELECT NULL::BIGINT AS {}, * FROM ({nothing})", apply::ROW_ID),
            (Some(stored), Delete::All) => format!("SELECT * FROM {stored}"),
            (Some(stored), Delete::RowIds(ids)) => {
                format!("SELECT * FROM {stored} WHERE {} IN ({ids})", apply::ROW_ID)
            }
        };
        self.session.execute(&format!("CREATE OR REPLACE TEMP TABLE {} AS {went}", coming.went))?;
        let stays = match (stored, &prepared.delete) {
            (None, _) | (_, Delete::All) => nothing,
            (Some(stored), Delete::None | Delete::RowIds(_)) => format!(
                "SELECT {list} FROM {stored} AS __dt_t ANTI JOIN temp.main.{} AS __dt_w ON __dt_t.{1} = __dt_w.{1}",
                coming.went,
                apply::ROW_ID
            ),
        };
        self.session.execute(&format!(
            "CREATE OR REPLACE TEMP VIEW {} AS {stays} UNION ALL SELECT {list} FROM temp.main.{}",
            coming.content, coming.came
        ))?;
        unpublished.tables.insert(table.clone(), coming);
        Ok(())
    }

    /// Some of the rows that would change in a table, with a first column `change`: `+` or `-`.
    pub(crate) fn sample_of(&self, unpublished: &Unpublished, table: &TableName) -> Result<lake::Rows> {
        let Some(coming) = unpublished.tables.get(table).filter(|known| known.rows_inserted + known.rows_deleted > 0)
        else {
            return Ok(lake::Rows::default());
        };
        let columns: Vec<String> = coming.columns.iter().map(|(name, _)| name.clone()).collect();
        let list = apply::column_list(&columns);
        self.session.query(&format!(
            "SELECT * FROM (SELECT '+' AS change, {list} FROM temp.main.{} \
             UNION ALL SELECT '-', {list} FROM temp.main.{}) ORDER BY ALL LIMIT {SHOWN}",
            coming.came, coming.went
        ))
    }

    /// Forgets all that is unpublished: it is published, or will not be.
    pub(crate) fn forget_unpublished(&self, unpublished: &mut Unpublished) -> Result<()> {
        let tables = std::mem::take(&mut unpublished.tables);
        tables.into_values().try_for_each(|coming| self.drop_content(&coming))
    }

    /// Forgets what one table was to hold.
    pub(crate) fn forget_unpublished_of(&self, unpublished: &mut Unpublished, table: &TableName) -> Result<()> {
        unpublished.tables.remove(table).map_or(Ok(()), |coming| self.drop_content(&coming))
    }

    fn drop_content(&self, coming: &NewContent) -> Result<()> {
        let NewContent { content, came, went, .. } = coming;
        let sql = format!(
            "DROP VIEW IF EXISTS temp.main.{content}; DROP TABLE IF EXISTS temp.main.{came}; \
             DROP TABLE IF EXISTS temp.main.{went}"
        );
        self.session.execute(&sql).map(|_| ())
    }
}
