//! What is asked of a preview and what it answers, in the shapes that programs of existing installations know.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How numbers that a double cannot hold are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As numbers with all their digits.
    #[default]
    Exact,
    /// As text: decimals, and integers beyond 2^53.
    Text,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowForm {
    /// An object per row; of columns of one name the later ones are called `name_1`, `name_2`.
    #[default]
    Objects,
    /// A list of values per row.
    Arrays,
}

/// What is to be tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The query; without one, the table itself.
    #[serde(default)]
    pub sql: Option<String>,
    /// The number of the connection that is read.
    pub source_id: i64,
    /// The number of the connection that it goes to; the query may read that too.
    pub destination_id: i64,
    /// The table: `name` or `schema.name`.
    pub table_name: String,
    /// A filter of the table: JSON of version 2, or conditions with `;` between.
    #[serde(default)]
    pub filter_sql: Option<String>,
    /// Not more rows than these.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Compute the query over so many rows of the table, rather than over all of them.
    #[serde(default)]
    pub sample: bool,
    /// Add figures about every column.
    #[serde(default)]
    pub include_profiling: bool,
    /// How numbers are written.
    #[serde(default)]
    pub numbers: Numbers,
    /// How rows are written.
    #[serde(default)]
    pub rows: RowForm,
}

/// What came of it. A query that fails is an answer as well: empty, with what is wrong with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The names of the columns, each once.
    pub columns: Vec<String>,
    /// What each holds: `number`, `text`, `date` or `boolean`.
    pub column_types: Vec<String>,
    /// The rows.
    pub data: Box<RawValue>,
    /// What is wrong.
    pub error: Option<String>,
    /// What kind of error it is, in the product's codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// What to do about the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The columns' types as the engine calls them.
    #[serde(default)]
    pub engine_types: Vec<String>,
    /// How many rows there are here.
    #[serde(default)]
    pub row_count: u64,
    /// Whether there are more.
    #[serde(default)]
    pub truncated: bool,
    /// Whether the query was computed over some rows of the table only.
    #[serde(default)]
    pub sample: bool,
    /// Whether the answer was kept from an earlier time.
    #[serde(default)]
    pub cached: bool,
    /// Figures about every column, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<RawValue>>,
}

impl Answer {
    /// An answer that says what is wrong.
    #[must_use]
    pub fn failed(error: &error::Error) -> Self {
        Self {
            columns: Vec::new(),
            column_types: Vec::new(),
            data: empty(),
            error: Some(error.message().to_owned()),
            error_code: Some(error.code().as_str().to_owned()),
            hint: error.hint().map(str::to_owned),
            engine_types: Vec::new(),
            row_count: 0,
            truncated: false,
            sample: false,
            cached: false,
            profile: None,
        }
    }
}

fn empty() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).unwrap_or_default()
}
