//! Names and quoting. Identifiers compare as DuckDB compares them: ASCII letters without regard to case.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use error::{Code, Error, Result, Span};

use crate::cursor::Cursor;
use crate::keyword;
use crate::token::tokenize;

/// A name as a user wrote it: `t`, `schema.t` or `catalog.schema.t`, quotes removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The first of three parts.
    pub catalog: Option<String>,
    /// The part before the last.
    pub schema: Option<String>,
    /// The last part.
    pub name: String,
    /// Where the name stands in the text it was read from, in bytes.
    pub offset: usize,
    /// How many bytes it covers there.
    pub length: usize,
}

impl ObjectName {
    /// Reads a text that is a name and nothing else, such as a command-line argument.
    pub fn parse(text: &str) -> Result<Self> {
        let tokens = tokenize(text)?;
        let mut cursor = Cursor::new(text, &tokens, text.len());
        let name = cursor.object_name("a table name")?;
        if !cursor.at_end() {
            return Err(cursor.unexpected("the end of the name").with_hint(
                "Quote a name that holds anything but letters, digits and underscores: main.\"Odd name\".",
            ));
        }
        Ok(name)
    }

    /// The table of the lake that is meant.
    ///
    /// - `t` is in the default schema.
    /// - `a.t` is table `t` of schema `a`, unless `a` is the lake's alias: then it is `t` in the lake's default
    ///   schema. For a schema that is called like the lake write all three parts, as DuckDB demands too.
    /// - `c.a.t` must have the lake's alias as its catalog.
    pub fn resolve(&self, lake_alias: &str, default_schema: &str) -> Result<TableName> {
        if let Some(catalog) = &self.catalog
            && !same_identifier(catalog, lake_alias)
        {
            return Err(Error::new(Code::Query, format!("{self} is not in the lake: its catalog is {catalog:?}"))
                .with_hint(format!(
                    "Dynamic tables and their sources live in the catalog {}; leave the catalog out or name that one.",
                    quote_identifier_if_needed(lake_alias)
                )));
        }
        let schema = match (&self.catalog, &self.schema) {
            (None, Some(first)) if same_identifier(first, lake_alias) => default_schema,
            (_, Some(schema)) => schema,
            (_, None) => default_schema,
        };
        Ok(TableName::new(schema, &self.name))
    }

    /// Where the name stands in `text`, which is the text it was read from.
    #[must_use]
    pub fn span(&self, text: &str) -> Span {
        Span::new(text, self.offset, self.length)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.catalog, &self.schema].into_iter().flatten() {
            write!(f, "{}.", quote_identifier_if_needed(part))?;
        }
        f.write_str(&quote_identifier_if_needed(&self.name))
    }
}

/// How many bytes at the start of `text` are a name as it is written, `a.b."c d"`.
#[must_use]
pub fn written_length(text: &str) -> usize {
    let mut end = 0;
    loop {
        let part = identifier_length(&text[end..]);
        if part == 0 {
            return end;
        }
        end += part;
        // A dot belongs to the name only if another part follows.
        match text[end..].strip_prefix('.') {
            Some(rest) if identifier_length(rest) > 0 => end += 1,
            _ => return end,
        }
    }
}

fn identifier_length(text: &str) -> usize {
    let Some(quoted) = text.strip_prefix('"') else {
        let part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
        return text.find(|character| !part(character)).unwrap_or(text.len());
    };
    let mut characters = quoted.char_indices().peekable();
    while let Some((position, character)) = characters.next() {
        if character == '"' && characters.next_if(|(_, next)| *next == '"').is_none() {
            return position + 2;
        }
    }
    0
}

/// A table or view in the lake, fully resolved. Equal, ordered and hashed without regard to case; shown with quotes
/// where SQL needs them: `main."Odd name"`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct TableName {
    /// The schema, as written where it was first named.
    pub schema: String,
    /// The table or view.
    pub name: String,
}

impl TableName {
    /// The table `name` in `schema`.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// The name in the form every statement takes: `"lake"."main"."t"`.
    #[must_use]
    pub fn quoted(&self, catalog: &str) -> String {
        format!("{}.{}.{}", quote_identifier(catalog), quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        // The separator keeps ("ab", "c") and ("a", "bc") apart; no UTF-8 text holds the byte.
        self.schema
            .bytes()
            .chain(std::iter::once(0xFF))
            .chain(self.name.bytes())
            .map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for TableName {
    fn eq(&self, other: &Self) -> bool {
        same_identifier(&self.schema, &other.schema) && same_identifier(&self.name, &other.name)
    }
}

impl Eq for TableName {}

impl Hash for TableName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.folded() {
            state.write_u8(byte);
        }
    }
}

impl Ord for TableName {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_schema = compare_identifiers(&self.schema, &other.schema);
        by_schema.then_with(|| compare_identifiers(&self.name, &other.name))
    }
}

impl PartialOrd for TableName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote_identifier_if_needed(&self.schema), quote_identifier_if_needed(&self.name))
    }
}

/// Whether two identifiers name the same thing.
#[must_use]
pub fn same_identifier(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

fn compare_identifiers(left: &str, right: &str) -> Ordering {
    let left = left.bytes().map(|byte| byte.to_ascii_lowercase());
    left.cmp(right.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// The identifier in double quotes, always.
#[must_use]
pub fn quote_identifier(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The identifier for people to read: in double quotes only where SQL needs them.
#[must_use]
pub fn quote_identifier_if_needed(identifier: &str) -> String {
    let mut characters = identifier.chars();
    let starts_plain = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let goes_on_plain = characters.all(|next| next.is_ascii_alphanumeric() || next == '_');
    if starts_plain && goes_on_plain && !keyword::needs_quotes(identifier) {
        identifier.to_owned()
    } else {
        quote_identifier(identifier)
    }
}

/// The text as a string literal: `'it''s'`.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    fn resolve(text: &str) -> Result<String> {
        Ok(ObjectName::parse(text)?.resolve("lake", "main")?.to_string())
    }

    #[test]
    fn one_two_and_three_parts() {
        assert_eq!(resolve("t").unwrap(), "main.t");
        assert_eq!(resolve("s.t").unwrap(), "s.t");
        assert_eq!(resolve("Lake.s.t").unwrap(), "s.t");
        assert_eq!(resolve(" lake . s . \"t\" ").unwrap(), "s.t");
    }

    #[test]
    fn two_parts_that_begin_with_the_lake_are_in_its_default_schema() {
        assert_eq!(resolve("LAKE.t").unwrap(), "main.t");
        assert_eq!(resolve("lake.lake.t").unwrap(), "lake.t");
    }

    #[test]
    fn another_catalog_is_refused_by_name() {
        let error = resolve("other.s.t").unwrap_err();
        assert_eq!(error.message(), "other.s.t is not in the lake: its catalog is \"other\"");
        assert!(error.hint().unwrap().contains("catalog lake"));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in ["", "  ", "a.", ".a", "a b", "a.b.c.d", "\"\"", "'a'", "select", "daily-figures", "\"a"] {
            assert!(ObjectName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn quoted_parts_keep_dots_quotes_and_case() {
        let name = ObjectName::parse("\"a.b\".\"say \"\"hi\"\"\"").unwrap();
        assert_eq!((name.schema.as_deref(), name.name.as_str()), (Some("a.b"), "say \"hi\""));
        assert_eq!(name.to_string(), "\"a.b\".\"say \"\"hi\"\"\"");
        assert_eq!((name.offset, name.length), (0, 18));
    }

    #[test]
    fn reserved_words_are_names_behind_a_dot_as_in_the_engine() {
        assert_eq!(resolve("main.order").unwrap(), "main.\"order\"");
    }

    #[test]
    fn table_names_compare_without_case() {
        let (a, b) = (TableName::new("Main", "Daily"), TableName::new("MAIN", "daily"));
        assert_eq!(a, b);
        assert_eq!(HashSet::from([a.clone(), b.clone()]).len(), 1);
        assert_eq!(BTreeSet::from([a, b]).len(), 1);
        assert_ne!(TableName::new("ab", "c"), TableName::new("a", "bc"));
        assert!(TableName::new("a", "Z") < TableName::new("A", "zz"));
    }

    #[test]
    fn quoting() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_identifier_if_needed("Carrier_1"), "Carrier_1");
        assert_eq!(quote_identifier_if_needed("1st"), "\"1st\"");
        assert_eq!(quote_identifier_if_needed(""), "\"\"");
        assert_eq!(quote_identifier_if_needed("left"), "\"left\"");
        assert_eq!(quote_identifier_if_needed("größe"), "\"größe\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(TableName::new("main", "Odd name").to_string(), "main.\"Odd name\"");
        assert_eq!(TableName::new("main", "t").quoted("lake"), "\"lake\".\"main\".\"t\"");
    }
}
