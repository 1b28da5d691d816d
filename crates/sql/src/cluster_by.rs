//! `CLUSTER BY`: the columns by which the rows of a dynamic table are sorted within its files. Whether the table has them is
//! not known here.

use std::fmt;
use std::str::FromStr;

use error::{Code, Error, Result};

use crate::cursor::Cursor;
use crate::names::{quote_identifier_if_needed, same_identifier};
use crate::token::tokenize;

/// The columns by which rows are sorted, the most important first: one at least, none twice.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClusterBy {
    columns: Vec<String>,
}

const HINT: &str =
    "List columns of the query, such as CLUSTER BY (region, day). An expression has to be a column of the query.";

impl ClusterBy {
    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Reads the list behind `CLUSTER BY`, which stands in parentheses.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        if !cursor.accept_symbol('(') {
            return Err(cursor.unexpected("\"(\" and a list of columns").with_hint(HINT));
        }
        let columns = list(cursor)?;
        if cursor.accept_symbol(')') {
            return Ok(Self { columns });
        }
        Err(cursor.unexpected("a comma or \")\"").with_hint(HINT))
    }
}

/// Columns with commas between them.
fn list(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let mut columns: Vec<String> = Vec::new();
    loop {
        let place = cursor.here();
        let name = cursor.object_name("a column").map_err(|error| match error.hint() {
            None => error.with_hint(HINT),
            Some(_) => error,
        })?;
        if name.schema.is_some() {
            return Err(Error::new(Code::Query, "a column to cluster by has one part")
                .with_hint("Name the column as the query gives it, without its table.")
                .with_span(place));
        }
        if columns.iter().any(|known| same_identifier(known, &name.name)) {
            let message = format!("column {} is listed twice", quote_identifier_if_needed(&name.name));
            return Err(Error::new(Code::Query, message).with_hint("Leave one of them out.").with_span(place));
        }
        columns.push(name.name);
        if !cursor.accept_symbol(',') {
            return Ok(columns);
        }
    }
}

impl FromStr for ClusterBy {
    type Err = Error;

    /// The list with or without its parentheses.
    fn from_str(text: &str) -> Result<Self> {
        let tokens = tokenize(text)?;
        let mut cursor = Cursor::new(text, &tokens, text.len());
        let columns = if cursor.is_symbol(0, '(') { Self::read(&mut cursor)?.columns } else { list(&mut cursor)? };
        if cursor.at_end() { Ok(Self { columns }) } else { Err(cursor.unexpected("a comma").with_hint(HINT)) }
    }
}

impl fmt::Display for ClusterBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self.columns.iter().map(|column| quote_identifier_if_needed(column)).collect();
        write!(f, "({})", columns.join(", "))
    }
}

impl From<ClusterBy> for String {
    fn from(columns: ClusterBy) -> Self {
        columns.to_string()
    }
}

impl TryFrom<String> for ClusterBy {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}
