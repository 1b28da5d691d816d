//! From a tree with marked tables to SQL: each mark becomes the table at a snapshot, or a temporary table that
//! holds what changed.

use error::{Code, Error, Result};
use serde_json::Value;
use sql::names::TableName;
use sql::query::Parser;
use sql::tree;

use crate::resolve::source_of;

/// How a leaf is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As it was at the data version the table has.
    Old,
    /// As it is at the data version the table gets.
    New,
    /// The rows that came.
    Came,
    /// The rows that went.
    Went,
}

impl Reading {
    const ALL: [Self; 4] = [Self::Old, Self::New, Self::Came, Self::Went];

    const fn mark(self) -> &'static str {
        match self {
            Self::Old => "#old",
            Self::New => "#new",
            Self::Came => "#came",
            Self::Went => "#went",
        }
    }
}

/// Where a source is found in each [`Reading`].
#[derive(Clone, Debug)]
pub struct SourceState {
    /// Its name in the lake.
    pub table: TableName,
    /// The snapshot at which it is read as `Old`.
    pub old: Option<i64>,
    /// The snapshot at which it is read as `New`; `None` reads it as it stands.
    pub new: Option<i64>,
    /// The temporary table with the rows that came, if any did.
    pub came: Option<String>,
    /// The temporary table with the rows that went, if any did.
    pub went: Option<String>,
}

impl SourceState {
    /// Whether anything changed between `old` and `new`.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.came.is_some() || self.went.is_some()
    }
}

/// Renders trees over sources in a given state.
pub struct Renderer<'a> {
    /// Turns trees into SQL.
    pub parser: &'a Parser,
    /// The name under which the lake is attached.
    pub lake: &'a str,
    /// The state of each source, by its number.
    pub sources: &'a [SourceState],
}

impl Renderer<'_> {
    /// The SQL of a tree whose leaves carry their readings.
    ///
    /// # Errors
    /// `INTERNAL` when a leaf asks for a reading that its source does not have.
    pub fn sql(&self, node: &Value) -> Result<String> {
        let mut node = node.clone();
        let mut failure = None;
        tree::visit_mut(&mut node, &mut |child| {
            if let Some((reading, source)) = reading_of(child)
                && let Err(error) = self.place(child, reading, source)
            {
                failure = Some(error);
            }
        });
        match failure {
            Some(error) => Err(error),
            None => self.parser.to_sql(&node),
        }
    }

    /// The SQL of the whole resolved query with every source read as `reading`.
    ///
    /// # Errors
    /// As [`Renderer::sql`].
    pub fn whole(&self, resolved: &Value, reading: Reading) -> Result<String> {
        let mut node = resolved.clone();
        tree::visit_mut(&mut node, &mut |child| {
            if let Some(source) = source_of(child) {
                mark(child, reading, source);
            }
        });
        self.sql(&node)
    }

    fn place(&self, node: &mut Value, reading: Reading, source: usize) -> Result<()> {
        let state = self
            .sources
            .get(source)
            .ok_or_else(|| Error::new(Code::Internal, format!("the plan reads an unknown source {source}")))?;
        let temporary = match reading {
            Reading::Old => return self.at(node, state, state.old),
            Reading::New => return self.at(node, state, state.new),
            Reading::Came => &state.came,
            Reading::Went => &state.went,
        };
        let Some(table) = temporary else {
            return Err(Error::new(
                Code::Internal,
                format!("the plan reads a change of {} that is not there", state.table),
            ));
        };
        node["catalog_name"] = Value::from("temp");
        node["schema_name"] = Value::from("main");
        node["table_name"] = Value::from(table.as_str());
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the branches of `place` have one type")]
    fn at(&self, node: &mut Value, state: &SourceState, snapshot: Option<i64>) -> Result<()> {
        node["catalog_name"] = Value::from(self.lake);
        node["schema_name"] = Value::from(state.table.schema.as_str());
        node["table_name"] = Value::from(state.table.name.as_str());
        if let Some(snapshot) = snapshot {
            node["at_clause"] = tree::at_version(snapshot);
        }
        Ok(())
    }
}

/// Marks a table reference with how it is to be read.
pub(crate) fn mark(node: &mut Value, reading: Reading, source: usize) {
    node["catalog_name"] = Value::from(reading.mark());
    node["schema_name"] = Value::from("");
    node["table_name"] = Value::from(source.to_string());
}

fn reading_of(node: &Value) -> Option<(Reading, usize)> {
    if !tree::is(node, "BASE_TABLE") {
        return None;
    }
    let catalog = tree::text(node, "catalog_name");
    let reading = Reading::ALL.into_iter().find(|reading| reading.mark() == catalog)?;
    Some((reading, tree::text(node, "table_name").parse().ok()?))
}
