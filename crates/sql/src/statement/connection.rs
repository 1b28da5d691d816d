//! Statements about connections. What a setting means is not known here; that its value may be a secret is.
//!
//! ```text
//! CREATE [OR REPLACE] CONNECTION [IF NOT EXISTS] name TYPE = kind [setting = value [[,] ...]]
//! ALTER CONNECTION [IF EXISTS] name SET setting = value [[,] ...] | UNSET setting [[,] ...] | RENAME TO name
//! DROP CONNECTION [IF EXISTS] name
//! SHOW CONNECTIONS
//! DESC[RIBE] CONNECTION name
//! TEST CONNECTION name
//! ```

use std::fmt;

use error::{Code, Error, Result, Span};

use crate::cursor::Cursor;
use crate::token::Kind;

/// A setting and its value, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionSetting {
    /// Its name as it was written.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl fmt::Debug for ConnectionSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = ***", self.name)
    }
}

/// A statement about connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionStatement {
    /// `CREATE CONNECTION`
    Create {
        /// The connection.
        name: String,
        /// Its kind as it was written.
        kind: String,
        /// What is said about it.
        settings: Vec<ConnectionSetting>,
        /// Whether one of the name is replaced.
        or_replace: bool,
        /// Whether one of the name is left alone.
        if_not_exists: bool,
    },
    /// `ALTER CONNECTION`
    Alter {
        /// The connection.
        name: String,
        /// Whether a missing one is no error.
        if_exists: bool,
        /// What is done to it.
        change: ConnectionChange,
    },
    /// `DROP CONNECTION`
    Drop {
        /// The connection.
        name: String,
        /// Whether a missing one is no error.
        if_exists: bool,
    },
    /// `SHOW CONNECTIONS`
    Show,
    /// `DESCRIBE CONNECTION`
    Describe {
        /// The connection.
        name: String,
    },
    /// `TEST CONNECTION`
    Test {
        /// The connection.
        name: String,
    },
}

/// What an `ALTER CONNECTION` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionChange {
    /// Gives settings values.
    Set(Vec<ConnectionSetting>),
    /// Takes settings away.
    Unset(Vec<String>),
    /// Gives it another name.
    RenameTo(String),
}

/// Whether the statement is one about connections.
pub(super) fn is_ours(cursor: &Cursor<'_>) -> bool {
    let names_ours = |ahead| cursor.is_word(ahead, "CONNECTION");
    match cursor.word(0).map(str::to_ascii_uppercase).as_deref() {
        Some("CREATE") => names_ours(1) || cursor.is_word(1, "OR") && names_ours(3),
        // `DESCRIBE connection` is DuckDB's: about a table of that name.
        Some("DESC" | "DESCRIBE") => names_ours(1) && cursor.rest().len() > 2,
        Some("ALTER" | "DROP" | "TEST") => names_ours(1),
        Some("SHOW") => cursor.is_word(1, "CONNECTIONS"),
        _ => false,
    }
}

/// Reads the statement.
pub(super) fn parse(mut cursor: Cursor<'_>) -> Result<ConnectionStatement> {
    let cursor = &mut cursor;
    let verb = cursor.word(0).unwrap_or_default().to_ascii_uppercase();
    cursor.advance();
    let statement = match verb.as_str() {
        "CREATE" => return create(cursor),
        "ALTER" => return alter(cursor),
        "SHOW" => {
            cursor.advance();
            ConnectionStatement::Show
        }
        "DROP" => {
            cursor.expect("CONNECTION")?;
            let if_exists = cursor.accept(&["IF", "EXISTS"]);
            ConnectionStatement::Drop { name: name(cursor)?, if_exists }
        }
        "TEST" => {
            cursor.expect("CONNECTION")?;
            ConnectionStatement::Test { name: name(cursor)? }
        }
        _ => {
            cursor.expect("CONNECTION")?;
            ConnectionStatement::Describe { name: name(cursor)? }
        }
    };
    cursor.expect_end("the end of the statement")?;
    Ok(statement)
}

fn create(cursor: &mut Cursor<'_>) -> Result<ConnectionStatement> {
    let or_replace = cursor.accept(&["OR", "REPLACE"]);
    cursor.expect("CONNECTION")?;
    let here = cursor.here();
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    if or_replace && if_not_exists {
        return Err(Error::new(Code::Query, "IF NOT EXISTS contradicts OR REPLACE").with_span(here));
    }
    let name = name(cursor)?;
    let place = cursor.here();
    let is_list = cursor.accept_symbol('(');
    let mut settings = settings(cursor, is_list)?;
    let is_type = |setting: &ConnectionSetting| ["type", "kind"].iter().any(|n| setting.name.eq_ignore_ascii_case(n));
    let Some(position) = settings.iter().position(is_type) else {
        return Err(Error::new(Code::Query, "TYPE is missing")
            .with_hint("Say what it leads to: TYPE = postgres, files, ducklake or iceberg-rest.")
            .with_span(place));
    };
    let kind = settings.remove(position).value;
    Ok(ConnectionStatement::Create { name, kind, settings, or_replace, if_not_exists })
}

fn alter(cursor: &mut Cursor<'_>) -> Result<ConnectionStatement> {
    cursor.expect("CONNECTION")?;
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let altered = name(cursor)?;
    let change = if cursor.accept(&["SET"]) {
        let set = settings(cursor, false)?;
        if set.is_empty() {
            return Err(cursor.unexpected("a setting"));
        }
        ConnectionChange::Set(set)
    } else if cursor.accept(&["UNSET"]) {
        let mut names = Vec::new();
        loop {
            names.push(cursor.word(0).ok_or_else(|| cursor.unexpected("the name of a setting"))?.to_owned());
            cursor.advance();
            if !cursor.accept_symbol(',') && cursor.at_end() {
                break;
            }
        }
        ConnectionChange::Unset(names)
    } else if cursor.accept(&["RENAME", "TO"]) {
        ConnectionChange::RenameTo(name(cursor)?)
    } else {
        return Err(cursor.unexpected("SET, UNSET or RENAME TO"));
    };
    cursor.expect_end("the end of the statement")?;
    Ok(ConnectionStatement::Alter { name: altered, if_exists, change })
}

fn name(cursor: &mut Cursor<'_>) -> Result<String> {
    let here = cursor.here();
    let name = cursor.object_name("the name of the connection")?;
    if name.schema.is_some() {
        return Err(Error::new(Code::Query, "the name of a connection has one part").with_span(here));
    }
    Ok(name.name)
}

fn settings(cursor: &mut Cursor<'_>, is_list: bool) -> Result<Vec<ConnectionSetting>> {
    let mut settings: Vec<ConnectionSetting> = Vec::new();
    while !(cursor.at_end() || is_list && cursor.is_symbol(0, ')')) {
        let (Some(name), here) = (cursor.word(0), cursor.here()) else { return Err(cursor.unexpected("a setting")) };
        if settings.iter().any(|setting| setting.name.eq_ignore_ascii_case(name)) {
            let message = format!("{} is given twice", name.to_ascii_uppercase());
            return Err(Error::new(Code::Query, message).with_span(here));
        }
        cursor.advance();
        if !cursor.accept_symbol('=') {
            return Err(cursor.unexpected("= behind the name of a setting"));
        }
        settings.push(ConnectionSetting { name: name.to_owned(), value: value(cursor)? });
        cursor.accept_symbol(',');
    }
    if is_list {
        if !cursor.accept_symbol(')') {
            return Err(cursor.unexpected("\")\""));
        }
        cursor.expect_end("the end of the statement")?;
    }
    Ok(settings)
}

/// A string, a number, or words with - between: `iceberg-rest`, `verify-full`.
fn value(cursor: &mut Cursor<'_>) -> Result<String> {
    let Some(first) = cursor.peek() else { return Err(cursor.unexpected("a value")) };
    match &first.kind {
        Kind::Text(text) => {
            cursor.advance();
            Ok(text.clone())
        }
        Kind::Number => {
            cursor.advance();
            Ok(cursor.token_text(first).to_owned())
        }
        Kind::Word => {
            let mut end = first.end;
            cursor.advance();
            while cursor.is_symbol(0, '-') && cursor.word(1).is_some() {
                cursor.advance();
                end = cursor.advance().map_or(end, |token| token.end);
            }
            Ok(cursor.slice(first.start, end).to_owned())
        }
        Kind::Quoted(_) => {
            Err(Error::new(Code::Query, "a value stands in single quotes, not in double ones")
                .with_span(cursor.here()))
        }
        Kind::Symbol(_) => Err(cursor.unexpected("a string, a word or a number")),
    }
}

/// Whether a text may hold a statement about connections, and so a password in a string.
pub(super) fn may_hold_secrets(text: &str) -> bool {
    text.to_ascii_lowercase().contains("connection")
}

/// The error with its place in the text, of which every string is stars: the line of the place is shown to people and logs.
pub(super) fn without_strings(error: Error) -> Error {
    let Some(span) = error.span() else { return error };
    let mut masked = String::with_capacity(span.text.len());
    // Whatever kind of string it is; and to the end, if it is never closed.
    let mut rest = span.text.as_str();
    while let Some(start) = rest.find(['\'', '$', '"']) {
        let mark = &rest[start..=start];
        masked.push_str(&rest[..=start]);
        rest = &rest[start + 1..];
        let end = rest.find(mark).unwrap_or(rest.len());
        // A place is in bytes, so the text stays as long as it was.
        masked.extend(rest[..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }));
        masked.push_str(&rest[end..(end + 1).min(rest.len())]);
        rest = &rest[(end + 1).min(rest.len())..];
    }
    masked.push_str(rest);
    let masked = without_words(&masked);
    let place = Span::new(masked, span.offset, span.length);
    error.with_span(place)
}

/// Stars in place of the bare words behind `=`.
fn without_words(text: &str) -> String {
    let mut parts = text.split('=');
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let value = part.trim_start();
        let blank = part.len() - value.len();
        let end = value.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ')')).unwrap_or(value.len());
        masked.push('=');
        masked.push_str(&part[..blank]);
        masked.extend(std::iter::repeat_n('*', end));
        masked.push_str(&value[end..]);
    }
    masked
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::statement::{Statement, parse_statements};

    fn parse_one(text: &str) -> Result<ConnectionStatement> {
        match parse_statements(text)?.remove(0).value {
            Statement::Connection(statement) => Ok(statement),
            other => panic!("{other:?}"),
        }
    }

    fn setting(name: &str, value: &str) -> ConnectionSetting {
        ConnectionSetting { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn every_statement_is_read() {
        let expected = ConnectionStatement::Create {
            name: "crm".to_owned(),
            kind: "postgres".to_owned(),
            settings: vec![
                setting("HOST", "db"),
                setting("port", "5432"),
                setting("sslmode", "verify-full"),
                setting("PASSWORD", "it's"),
            ],
            or_replace: false,
            if_not_exists: true,
        };
        for text in [
            "CREATE CONNECTION IF NOT EXISTS crm TYPE = postgres HOST = 'db' port = 5432 sslmode = verify-full PASSWORD = 'it''s'",
            "create connection if not exists crm (HOST = 'db', port = 5432, type = 'postgres', sslmode = verify-full, PASSWORD = $$it's$$);",
        ] {
            assert_eq!(parse_one(text).unwrap(), expected, "{text}");
        }
        assert_eq!(parse_one("SHOW CONNECTIONS").unwrap(), ConnectionStatement::Show);
        assert_eq!(
            parse_one("test connection \"a-b\"").unwrap(),
            ConnectionStatement::Test { name: "a-b".to_owned() }
        );
        let dropped = ConnectionStatement::Drop { name: "a".to_owned(), if_exists: true };
        assert_eq!(parse_one("DROP CONNECTION IF EXISTS a").unwrap(), dropped);
        for (text, change) in [
            ("SET port = 1, host = 'x'", ConnectionChange::Set(vec![setting("port", "1"), setting("host", "x")])),
            ("UNSET port, host", ConnectionChange::Unset(vec!["port".to_owned(), "host".to_owned()])),
            ("RENAME TO b", ConnectionChange::RenameTo("b".to_owned())),
        ] {
            let expected = ConnectionStatement::Alter { name: "a".to_owned(), if_exists: false, change };
            assert_eq!(parse_one(&format!("ALTER CONNECTION a {text}")).unwrap(), expected);
        }
    }

    #[test]
    fn tables_of_that_name_stay_duckdbs() {
        for text in [
            "DESCRIBE connection",
            "SELECT * FROM connection",
            "CREATE TABLE connection (a INT)",
            "DROP TABLE connection",
        ] {
            let statement = parse_statements(text).unwrap().remove(0).value;
            assert!(matches!(statement, Statement::Other(_)), "{text}");
        }
    }

    #[test]
    fn no_error_and_no_debug_shows_a_password() {
        for text in [
            "CREATE CONNECTION a PASSWORD = 'hunter2'",
            "CREATE CONNECTION a TYPE = postgres PASSWORD = 'hunter2' PASSWORD = 'hunter2'",
            "CREATE CONNECTION a TYPE = postgres PASSWORD 'hunter2'",
            "CREATE CONNECTION a TYPE = postgres PASSWORD = \"hunter2\"",
            "CREATE CONNECTION a TYPE = postgres PASSWORD = $$hunter2$$ =",
            "CREATE CONNECTION a TYPE = postgres PASSWORD = $x$hunter2$x$ =",
            "CREATE CONNECTION a TYPE = postgres PASSWORD = 'hunter2",
            "CREATE CONNECTION a TYPE = postgres PASSWORD = E'hunter2\\",
            "ALTER CONNECTION a SET PASSWORD = 'hunter2' ,, x",
            "ALTER CONNECTION a SET PASSWORD = hunter2, PORT = = 2",
            "DROP CONNECTION a 'hunter2'",
            "SELECT 1; CREATE CONNECTION a TYPE = postgres PASSWORD = 'hunter2'; SELECT 'x",
        ] {
            let error = parse_statements(text).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{text}: {error:?}");
            assert_eq!(error.span().unwrap().text.len(), text.len());
        }
        let read = parse_one("ALTER CONNECTION a SET PASSWORD = 'hunter2'").unwrap();
        assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
    }
}
