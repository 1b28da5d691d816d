//! The grammar of our statements, by recursive descent over the tokens.

use std::collections::HashMap;

use error::{Code, Error, Result};

use super::{AlterAction, CreateDynamicTable, CreateMode, Statement};
use crate::cluster_by::ClusterBy;
use crate::cursor::Cursor;
use crate::keyword;
use crate::properties::{Properties, Property, PropertyName, TargetLag};
use crate::token::{Kind, Token};

/// The statement, or none if it is not one of ours.
pub(super) fn parse(mut cursor: Cursor<'_>) -> Result<Option<Statement>> {
    // `SHOW dynamic` and `DESCRIBE dynamic` are DuckDB's: about a table of that name.
    let names_our_kind = |cursor: &Cursor<'_>| {
        cursor.is_word(1, "DYNAMIC") && (cursor.is_word(2, "TABLE") || cursor.is_word(2, "TABLES"))
    };
    let Some(verb) = cursor.word(0).map(str::to_ascii_uppercase) else {
        return Ok(None);
    };
    let is_ours = match verb.as_str() {
        "CREATE" => creates_dynamic(&cursor),
        "ALTER" | "DROP" => cursor.is_word(1, "DYNAMIC"),
        "SHOW" | "DESC" | "DESCRIBE" | "EXPLAIN" => names_our_kind(&cursor),
        _ => false,
    };
    if !is_ours {
        return Ok(None);
    }
    cursor.advance();
    let statement = match verb.as_str() {
        "CREATE" => create(&mut cursor)?,
        "ALTER" => alter(&mut cursor)?,
        "DROP" => drop_table(&mut cursor)?,
        "SHOW" => show(&mut cursor)?,
        "EXPLAIN" => {
            let name = only_name(&mut cursor)?;
            Statement::Explain { name }
        }
        _ => {
            let name = only_name(&mut cursor)?;
            Statement::Describe { name }
        }
    };
    Ok(Some(statement))
}

/// Words of other systems between CREATE and DYNAMIC, of which there is no such kind here.
const KINDS: [&str; 5] = ["TEMP", "TEMPORARY", "TRANSIENT", "PERSISTENT", "SECURE"];

fn creates_dynamic(cursor: &Cursor<'_>) -> bool {
    let mut ahead = 1;
    if cursor.is_word(ahead, "OR") {
        // Also without the word behind OR, so that its absence is what the error says.
        ahead += if cursor.is_word(2, "DYNAMIC") { 1 } else { 2 };
    }
    if KINDS.iter().any(|kind| cursor.is_word(ahead, kind)) {
        ahead += 1;
    }
    cursor.is_word(ahead, "DYNAMIC")
}

fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let mode = if cursor.accept(&["OR", "REPLACE"]) {
        CreateMode::OrReplace
    } else if cursor.accept(&["OR", "ALTER"]) {
        CreateMode::OrAlter
    } else if cursor.accept(&["OR"]) {
        return Err(cursor.unexpected("REPLACE or ALTER"));
    } else {
        CreateMode::Create
    };
    if let Some(kind) = KINDS.iter().find(|kind| cursor.is_word(0, kind)) {
        return Err(Error::new(Code::Query, format!("a dynamic table cannot be {kind}"))
            .with_hint("Leave the word out.")
            .with_span(cursor.here()));
    }
    cursor.expect("DYNAMIC")?;
    cursor.expect("TABLE")?;
    if mode != CreateMode::Create && cursor.is_word(0, "IF") && cursor.is_word(1, "NOT") {
        return Err(Error::new(Code::Query, "IF NOT EXISTS contradicts OR REPLACE and OR ALTER")
            .with_hint("Say one of them: leave an existing table alone, or replace or alter it.")
            .with_span(cursor.here()));
    }
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    let name = cursor.object_name("the name of the dynamic table")?;
    let mut assignments = Assignments::default();
    if cursor.is_symbol(0, '(') {
        parenthesised(cursor, &mut assignments)?;
        // The comma that other lists would have here is harmless.
        cursor.accept_symbol(',');
    }
    let list_end = |cursor: &Cursor<'_>| cursor.is_word(0, "AS") || cursor.at_end();
    assignments.read_until(cursor, list_end, "a property or AS and the query")?;
    if cursor.at_end() {
        return Err(cursor.unexpected("AS and the query"));
    }
    cursor.expect("AS")?;
    let rest = cursor.rest();
    let (Some(first), Some(last)) = (rest.first(), rest.last()) else {
        return Err(cursor.unexpected("the query behind AS"));
    };
    let (query_offset, query_end) = (first.start, last.end);
    let mut properties = Properties::default();
    for property in assignments.properties {
        properties.set(property);
    }
    properties.check().map_err(|error| error.with_span(cursor.span(name.offset, name.offset + name.length)))?;
    let query = cursor.slice(query_offset, query_end).to_owned();
    Ok(Statement::Create(CreateDynamicTable { mode, if_not_exists, name, properties, query, query_offset }))
}

fn parenthesised(cursor: &mut Cursor<'_>, assignments: &mut Assignments) -> Result<()> {
    let is_clustering = cursor.is_word(1, "CLUSTER") && cursor.is_word(2, "BY");
    let is_column_list =
        cursor.rest().len() > 1 && !cursor.is_symbol(1, ')') && !cursor.is_symbol(2, '=') && !is_clustering;
    if is_column_list {
        return Err(Error::new(Code::Query, "a dynamic table has no column list")
            .with_hint(
                "Its columns are those of the query: name them there with AS. In parentheses stand properties.",
            )
            .with_span(cursor.here()));
    }
    cursor.accept_symbol('(');
    let list_end = |cursor: &Cursor<'_>| cursor.is_symbol(0, ')') || cursor.at_end();
    assignments.read_until(cursor, list_end, "a property or \")\"")?;
    if cursor.accept_symbol(')') { Ok(()) } else { Err(cursor.unexpected("\")\"")) }
}

fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DYNAMIC")?;
    cursor.expect("TABLE")?;
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let name = cursor.object_name("the name of the dynamic table")?;
    let action = if cursor.accept(&["SET"]) {
        let mut assignments = Assignments::default();
        assignments.read_until(cursor, |cursor| cursor.at_end(), "a property")?;
        if assignments.properties.is_empty() {
            return Err(cursor.unexpected("a property"));
        }
        AlterAction::Set(assignments.properties)
    } else if cursor.accept(&["UNSET"]) {
        AlterAction::Unset(property_names(cursor)?)
    } else if cursor.accept(&["SUSPEND"]) {
        AlterAction::Suspend
    } else if cursor.accept(&["RESUME"]) {
        AlterAction::Resume
    } else if cursor.accept(&["REFRESH"]) {
        AlterAction::Refresh { full: cursor.accept(&["FULL"]) }
    } else if cursor.is_word(0, "CLUSTER") {
        let mut assignments = Assignments::default();
        assignments.read_clustering(cursor)?;
        AlterAction::Set(assignments.properties)
    } else if cursor.accept(&["DROP", "CLUSTERING", "KEY"]) {
        AlterAction::Unset(vec![PropertyName::ClusterBy])
    } else if cursor.accept(&["DROP"]) {
        return Err(cursor.unexpected("CLUSTERING KEY"));
    } else if cursor.accept(&["RENAME", "TO"]) {
        AlterAction::RenameTo(cursor.object_name("the new name")?)
    } else if cursor.accept(&["RENAME"]) {
        return Err(cursor.unexpected("TO"));
    } else {
        return Err(
            cursor.unexpected("SET, UNSET, CLUSTER BY, DROP CLUSTERING KEY, SUSPEND, RESUME, REFRESH or RENAME TO")
        );
    };
    cursor.expect_end(if action == (AlterAction::Refresh { full: false }) {
        "FULL or the end of the statement"
    } else {
        "the end of the statement"
    })?;
    Ok(Statement::Alter { name, if_exists, action })
}

fn property_names(cursor: &mut Cursor<'_>) -> Result<Vec<PropertyName>> {
    let mut names: Vec<PropertyName> = Vec::new();
    loop {
        let Some(word) = cursor.word(0) else {
            return Err(cursor.unexpected("the name of a property"));
        };
        let name: PropertyName = word.parse().map_err(|error: Error| error.with_span(cursor.here()))?;
        if names.contains(&name) {
            return Err(given_twice(name, word).with_span(cursor.here()));
        }
        names.push(name);
        cursor.advance();
        if !cursor.accept_symbol(',') && cursor.at_end() {
            return Ok(names);
        }
    }
}

fn drop_table(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DYNAMIC")?;
    cursor.expect("TABLE")?;
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let name = cursor.object_name("the name of the dynamic table")?;
    let cascade = cursor.accept(&["CASCADE"]);
    if !cascade {
        cursor.accept(&["RESTRICT"]);
    }
    cursor.expect_end("CASCADE, RESTRICT or the end of the statement")?;
    Ok(Statement::Drop { name, if_exists, cascade })
}

fn show(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DYNAMIC")?;
    cursor.expect("TABLES")?;
    let mut like = None;
    if cursor.accept(&["LIKE"]) {
        match cursor.peek().map(|token| &token.kind) {
            Some(Kind::Text(pattern)) => like = Some(pattern.clone()),
            _ => return Err(cursor.unexpected("a pattern in single quotes")),
        }
        cursor.advance();
    }
    cursor.expect_end(if like.is_none() {
        "LIKE or the end of the statement"
    } else {
        "the end of the statement"
    })?;
    Ok(Statement::Show { like })
}

fn only_name(cursor: &mut Cursor<'_>) -> Result<crate::names::ObjectName> {
    cursor.expect("DYNAMIC")?;
    cursor.expect("TABLE")?;
    let name = cursor.object_name("the name of the dynamic table")?;
    cursor.expect_end("the end of the statement")?;
    Ok(name)
}

/// The properties of one statement in the order given, each at most once.
#[derive(Default)]
struct Assignments {
    properties: Vec<Property>,
    /// Each property with the spelling it was given in.
    spelled: HashMap<PropertyName, String>,
}

impl Assignments {
    /// Reads assignments with or without commas between them up to the end of the list, which it leaves unread.
    fn read_until(
        &mut self,
        cursor: &mut Cursor<'_>,
        list_end: impl Fn(&Cursor<'_>) -> bool,
        expected: &str,
    ) -> Result<()> {
        while !list_end(cursor) {
            self.read_one(cursor, expected)?;
            if cursor.accept_symbol(',') && list_end(cursor) {
                return Err(cursor.unexpected("a property behind the comma"));
            }
        }
        Ok(())
    }

    fn read_one(&mut self, cursor: &mut Cursor<'_>, expected: &str) -> Result<()> {
        let (Some(spelling), Some(place)) = (cursor.word(0), cursor.peek()) else {
            return Err(cursor.unexpected(expected));
        };
        if cursor.is_word(0, "CLUSTER") && !cursor.is_symbol(1, '=') {
            return self.read_clustering(cursor);
        }
        let name: Result<PropertyName> = spelling.parse();
        if !cursor.is_symbol(1, '=') {
            if name.is_err() {
                return Err(not_a_property(cursor, spelling, expected));
            }
            cursor.advance();
            return Err(cursor.unexpected(&format!("= behind {}", spelling.to_ascii_uppercase())));
        }
        let name = name.map_err(|error| error.with_span(cursor.span_of(place)))?;
        if let Some(earlier) = self.spelled.get(&name) {
            return Err(given_twice(name, earlier).with_span(cursor.span_of(place)));
        }
        cursor.advance();
        cursor.advance();
        let property = value(cursor, name)?;
        self.spelled.insert(name, spelling.to_owned());
        self.properties.push(property);
        Ok(())
    }

    /// `CLUSTER BY (a, b)`, which has no `=`.
    fn read_clustering(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let name = PropertyName::ClusterBy;
        if self.spelled.contains_key(&name) {
            return Err(given_twice(name, name.as_str()).with_span(cursor.here()));
        }
        cursor.expect("CLUSTER")?;
        cursor.expect("BY")?;
        self.properties.push(Property::ClusterBy(ClusterBy::read(cursor)?));
        self.spelled.insert(name, name.as_str().to_owned());
        Ok(())
    }
}

fn not_a_property(cursor: &Cursor<'_>, word: &str, expected: &str) -> Error {
    let begins_query = ["SELECT", "WITH", "FROM", "VALUES"].iter().any(|first| word.eq_ignore_ascii_case(first));
    let error = cursor.unexpected(expected);
    if begins_query && expected.contains("AS") {
        error.with_hint("AS stands between the properties and the query.")
    } else {
        error
    }
}

fn given_twice(name: PropertyName, earlier: &str) -> Error {
    let error = Error::new(Code::Query, format!("{name} is given twice"));
    if earlier.eq_ignore_ascii_case(name.as_str()) {
        error.with_hint("Leave one of them out.")
    } else {
        error
            .with_hint(format!("{} is another name for {name}; leave one of them out.", earlier.to_ascii_uppercase()))
    }
}

/// The value behind `NAME =`.
fn value(cursor: &mut Cursor<'_>, name: PropertyName) -> Result<Property> {
    if name == PropertyName::ClusterBy && cursor.is_symbol(0, '(') {
        return ClusterBy::read(cursor).map(Property::ClusterBy);
    }
    let Some(first) = cursor.peek() else {
        return Err(cursor.unexpected(name.expected()));
    };
    let mut last = first;
    let text = match &first.kind {
        Kind::Text(text) => {
            cursor.advance();
            text.clone()
        }
        Kind::Word if is_value_word(cursor.token_text(first)) => {
            cursor.advance();
            cursor.token_text(first).to_owned()
        }
        Kind::Number | Kind::Symbol('-' | '+') => {
            last = number(cursor, name)?;
            cursor.slice(first.start, last.end).to_owned()
        }
        _ => return Err(cursor.unexpected(name.expected())),
    };
    Property::new(name, &text).map_err(|error| error.with_span(cursor.span(first.start, last.end)))
}

/// Steps over a number, its sign and, for a lag, its unit; gives the last token of it.
fn number<'a>(cursor: &mut Cursor<'a>, name: PropertyName) -> Result<&'a Token> {
    if matches!(cursor.peek().map(|token| &token.kind), Some(Kind::Symbol(_))) {
        cursor.advance();
    }
    let number = match cursor.peek() {
        Some(number) if number.kind == Kind::Number => number,
        _ => return Err(cursor.unexpected(name.expected())),
    };
    cursor.advance();
    let has_unit = name == PropertyName::TargetLag && cursor.word(0).is_some_and(TargetLag::is_unit);
    let unit = if has_unit { cursor.advance() } else { None };
    Ok(unit.unwrap_or(number))
}

/// Keywords are no values, so that a forgotten value is not the AS behind it; but for those that are booleans.
fn is_value_word(word: &str) -> bool {
    !keyword::is_reserved(word) || ["TRUE", "FALSE", "ON"].iter().any(|boolean| word.eq_ignore_ascii_case(boolean))
}
