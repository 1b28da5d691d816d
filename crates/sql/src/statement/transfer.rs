//! Statements about sources, which bring rows from a connection into the lake, and exports, which take them out. What a
//! connection leads to is not known here.
//!
//! ```text
//! CREATE [OR REPLACE] SOURCE [IF NOT EXISTS] name FROM connection.[schema.]table
//!     [KEY (column [, ...])] [CURSOR (column)] [SCHEDULE = 'duration' | MANUAL]
//!     [LOOKBACK = 'duration' | number] [COMPARE = 'duration' | NEVER]
//! CREATE EXPORT [IF NOT EXISTS] name FROM table TO connection.[schema.]table
//!     [KEY (column [, ...])] [SCHEDULE = 'duration' | MANUAL]
//! ALTER SOURCE | EXPORT [IF EXISTS] name SET property [[,] ...] | SUSPEND | RESUME
//! DROP SOURCE [IF EXISTS] name [KEEP TABLE]
//! DROP EXPORT [IF EXISTS] name
//! REFRESH SOURCE | EXPORT name [FULL]
//! SHOW SOURCES | EXPORTS
//! DESC[RIBE] SOURCE | EXPORT name
//! EXPLAIN SOURCE | EXPORT name
//! ```

use std::time::Duration;

use error::{Code, Error, Result};

use crate::cursor::Cursor;
use crate::names::ObjectName;
use crate::target_lag::parse_duration;
use crate::token::Kind;

/// In which direction rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a connection into the lake.
    Source,
    /// From the lake to a connection.
    Export,
}

/// A table behind a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideName {
    /// The connection.
    pub connection: String,
    /// The schema there, where one is named.
    pub schema: Option<String>,
    /// The table there, or the name of a file or of a folder of files.
    pub table: String,
}

/// What is said about when and how rows are brought; what is not said is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferProperties {
    /// `SCHEDULE`: how stale it may become; within, `None` for by hand only.
    pub schedule: Option<Option<Duration>>,
    /// `LOOKBACK`: how far behind the newest value of the cursor reading begins, as it was written.
    pub lookback: Option<Lookback>,
    /// `COMPARE`: how often everything is compared; within, `None` for never.
    pub compare: Option<Option<Duration>>,
}

/// How far behind the newest value of a cursor reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookback {
    /// So many seconds, for a cursor of dates or times.
    Seconds(u64),
    /// So many, for a cursor of numbers.
    Count(u64),
}

/// `CREATE SOURCE` and `CREATE EXPORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTransfer {
    /// A table of the lake that comes to be; of an export, its name.
    pub name: ObjectName,
    /// The table that an export reads.
    pub reads: Option<ObjectName>,
    /// The table behind a connection.
    pub outside: OutsideName,
    /// The columns that tell rows apart.
    pub key: Vec<String>,
    /// The column that grows with every change.
    pub cursor: Option<String>,
    /// What else is said.
    pub properties: TransferProperties,
    /// Whether one of the name is replaced.
    pub or_replace: bool,
    /// Whether one of the name is left alone.
    pub if_not_exists: bool,
}

/// What an `ALTER` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferChange {
    /// Gives properties values.
    Set(TransferProperties),
    /// Stops the schedule.
    Suspend,
    /// Starts it again.
    Resume,
}

/// What a statement about sources or exports does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferAction {
    /// `CREATE`
    Create(Box<CreateTransfer>),
    /// `ALTER`
    Alter {
        /// Which one.
        name: ObjectName,
        /// Whether a missing one is no error.
        if_exists: bool,
        /// What is done to it.
        change: TransferChange,
    },
    /// `DROP`
    Drop {
        /// Which one.
        name: ObjectName,
        /// Whether a missing one is no error.
        if_exists: bool,
        /// Whether the table of a source stays in the lake.
        keep_table: bool,
    },
    /// `REFRESH`
    Refresh {
        /// Which one.
        name: ObjectName,
        /// Everything anew, whatever has changed.
        full: bool,
    },
    /// `SHOW`
    Show,
    /// `DESCRIBE`: with its last runs.
    Describe {
        /// Which one.
        name: ObjectName,
    },
    /// `EXPLAIN`: what the next refresh will do.
    Explain {
        /// Which one.
        name: ObjectName,
    },
}

/// A statement about sources or exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferStatement {
    /// Of which of the two it is.
    pub direction: Direction,
    /// What it does.
    pub action: TransferAction,
}

/// Whether the statement is one about sources or exports.
pub(super) fn direction(cursor: &Cursor<'_>) -> Option<Direction> {
    let named = |ahead, source: &str, export: &str| {
        if cursor.is_word(ahead, source) {
            Some(Direction::Source)
        } else {
            cursor.is_word(ahead, export).then_some(Direction::Export)
        }
    };
    match cursor.word(0).map(str::to_ascii_uppercase).as_deref() {
        Some("CREATE") if cursor.is_word(1, "OR") => named(3, "SOURCE", "EXPORT"),
        Some("CREATE" | "ALTER" | "DROP" | "REFRESH") => named(1, "SOURCE", "EXPORT"),
        // What is shorter is DuckDB's: about a table of that name.
        Some("DESC" | "DESCRIBE" | "EXPLAIN") if cursor.rest().len() > 2 => named(1, "SOURCE", "EXPORT"),
        Some("SHOW") if cursor.rest().len() == 2 => named(1, "SOURCES", "EXPORTS"),
        _ => None,
    }
}

/// Reads the statement.
pub(super) fn parse(mut cursor: Cursor<'_>, direction: Direction) -> Result<TransferStatement> {
    let cursor = &mut cursor;
    let verb = cursor.word(0).unwrap_or_default().to_ascii_uppercase();
    cursor.advance();
    let (noun, what) = match direction {
        Direction::Source => ("SOURCE", "the name of the source"),
        Direction::Export => ("EXPORT", "the name of the export"),
    };
    let action = match verb.as_str() {
        "CREATE" => create(cursor, direction, noun, what)?,
        "SHOW" => {
            cursor.advance();
            TransferAction::Show
        }
        "ALTER" => {
            cursor.expect(noun)?;
            let if_exists = cursor.accept(&["IF", "EXISTS"]);
            let name = cursor.object_name(what)?;
            TransferAction::Alter { name, if_exists, change: change(cursor, direction)? }
        }
        "DROP" => {
            cursor.expect(noun)?;
            let if_exists = cursor.accept(&["IF", "EXISTS"]);
            let name = cursor.object_name(what)?;
            let keep_table = direction == Direction::Source && cursor.accept(&["KEEP", "TABLE"]);
            TransferAction::Drop { name, if_exists, keep_table }
        }
        "REFRESH" => {
            cursor.expect(noun)?;
            let name = cursor.object_name(what)?;
            TransferAction::Refresh { name, full: cursor.accept(&["FULL"]) }
        }
        "EXPLAIN" => {
            cursor.expect(noun)?;
            TransferAction::Explain { name: cursor.object_name(what)? }
        }
        _ => {
            cursor.expect(noun)?;
            TransferAction::Describe { name: cursor.object_name(what)? }
        }
    };
    cursor.expect_end("the end of the statement")?;
    Ok(TransferStatement { direction, action })
}

fn create(cursor: &mut Cursor<'_>, direction: Direction, noun: &str, what: &str) -> Result<TransferAction> {
    let or_replace = cursor.accept(&["OR", "REPLACE"]);
    cursor.expect(noun)?;
    let here = cursor.here();
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    if or_replace && if_not_exists {
        return Err(Error::new(Code::Query, "IF NOT EXISTS contradicts OR REPLACE").with_span(here));
    }
    let name = cursor.object_name(what)?;
    cursor.expect("FROM")?;
    let reads = match direction {
        Direction::Source => None,
        Direction::Export => {
            let reads = cursor.object_name("the table that is exported")?;
            cursor.expect("TO")?;
            Some(reads)
        }
    };
    let outside = outside_name(cursor)?;
    let mut made = CreateTransfer {
        name,
        reads,
        outside,
        key: Vec::new(),
        cursor: None,
        properties: TransferProperties::default(),
        or_replace,
        if_not_exists,
    };
    while !cursor.at_end() {
        let here = cursor.here();
        let twice = |what: &str| Error::new(Code::Query, format!("{what} is given twice")).with_span(here.clone());
        if cursor.accept(&["KEY"]) {
            if !made.key.is_empty() {
                return Err(twice("KEY"));
            }
            made.key = columns(cursor)?;
        } else if direction == Direction::Source && cursor.accept(&["CURSOR"]) {
            if made.cursor.is_some() {
                return Err(twice("CURSOR"));
            }
            let mut named = columns(cursor)?;
            made.cursor = named.pop();
            if !named.is_empty() {
                return Err(Error::new(Code::Query, "CURSOR takes one column").with_span(here));
            }
        } else {
            property(cursor, direction, &mut made.properties)?;
        }
        cursor.accept_symbol(',');
    }
    Ok(TransferAction::Create(Box::new(made)))
}

fn change(cursor: &mut Cursor<'_>, direction: Direction) -> Result<TransferChange> {
    if cursor.accept(&["SUSPEND"]) {
        return Ok(TransferChange::Suspend);
    }
    if cursor.accept(&["RESUME"]) {
        return Ok(TransferChange::Resume);
    }
    if !cursor.accept(&["SET"]) {
        return Err(cursor.unexpected("SET, SUSPEND or RESUME"));
    }
    let mut set = TransferProperties::default();
    loop {
        property(cursor, direction, &mut set)?;
        cursor.accept_symbol(',');
        if cursor.at_end() {
            return Ok(TransferChange::Set(set));
        }
    }
}

fn outside_name(cursor: &mut Cursor<'_>) -> Result<OutsideName> {
    let here = cursor.here();
    let name = cursor.object_name("connection.table")?;
    match (name.catalog, name.schema) {
        (Some(connection), schema) => Ok(OutsideName { connection, schema, table: name.name }),
        (None, Some(connection)) => Ok(OutsideName { connection, schema: None, table: name.name }),
        (None, None) => Err(Error::new(Code::Query, "the connection is missing")
            .with_hint("Write connection.table; quote a name with a dot, a slash or a -, as in \"my-crm\".orders.")
            .with_span(here)),
    }
}

/// `(a, "b c")`
fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    if !cursor.accept_symbol('(') {
        return Err(cursor.unexpected("\"(\""));
    }
    let mut columns: Vec<String> = Vec::new();
    loop {
        let here = cursor.here();
        let name = cursor.object_name("a column")?;
        if name.schema.is_some() {
            return Err(Error::new(Code::Query, "a column is named by itself here").with_span(here));
        }
        if columns.iter().any(|known| known.eq_ignore_ascii_case(&name.name)) {
            return Err(Error::new(Code::Query, format!("the column {} is named twice", name.name)).with_span(here));
        }
        columns.push(name.name);
        if cursor.accept_symbol(')') {
            return Ok(columns);
        }
        if !cursor.accept_symbol(',') {
            return Err(cursor.unexpected("\",\" or \")\""));
        }
    }
}

fn property(cursor: &mut Cursor<'_>, direction: Direction, properties: &mut TransferProperties) -> Result<()> {
    let expected = match direction {
        Direction::Source => "KEY, CURSOR, SCHEDULE, LOOKBACK or COMPARE",
        Direction::Export => "KEY or SCHEDULE",
    };
    let known: &[&str] = match direction {
        Direction::Source => &["SCHEDULE", "LOOKBACK", "COMPARE"],
        Direction::Export => &["SCHEDULE"],
    };
    let word = cursor.word(0).map(str::to_ascii_uppercase).unwrap_or_default();
    let place = cursor.here();
    if !known.contains(&word.as_str()) {
        return Err(cursor.unexpected(expected));
    }
    let is_twice = match word.as_str() {
        "SCHEDULE" => properties.schedule.is_some(),
        "LOOKBACK" => properties.lookback.is_some(),
        _ => properties.compare.is_some(),
    };
    if is_twice {
        return Err(Error::new(Code::Query, format!("{word} is given twice")).with_span(place));
    }
    cursor.advance();
    cursor.accept_symbol('=');
    let Some(token) = cursor.advance() else { return Err(cursor.unexpected("a value")) };
    let here = cursor.span_of(token);
    let invalid = |why: &str| Error::new(Code::Query, format!("invalid {word}: {why}")).with_span(here.clone());
    let duration = |text: &str| match parse_duration(text) {
        Ok(Duration::ZERO) => Err(invalid("it must be longer than nothing")),
        Ok(duration) => Ok(duration),
        Err(why) => Err(invalid(&why).with_hint("Write a number of seconds, minutes, hours or days: '10 minutes'.")),
    };
    // By hand or never, in a word.
    let none = ["MANUAL", "NEVER", "NULL"].iter().any(|none| cursor.token_text(token).eq_ignore_ascii_case(none));
    match (&token.kind, word.as_str()) {
        (Kind::Word, "SCHEDULE") if none => properties.schedule = Some(None),
        (Kind::Word, "COMPARE") if none => properties.compare = Some(None),
        (Kind::Text(text), "SCHEDULE") => properties.schedule = Some(Some(duration(text)?)),
        (Kind::Text(text), "COMPARE") => properties.compare = Some(Some(duration(text)?)),
        (Kind::Text(text), "LOOKBACK") => {
            let lookback = parse_duration(text).map_err(|why| invalid(&why))?;
            properties.lookback = Some(Lookback::Seconds(lookback.as_secs()));
        }
        (Kind::Number, "LOOKBACK") => {
            let count = cursor.token_text(token).replace('_', "").parse();
            properties.lookback = Some(Lookback::Count(count.map_err(|_| invalid("it must be a whole number"))?));
        }
        (_, "LOOKBACK") => return Err(invalid("write a duration such as '10 minutes', or a number")),
        (_, "COMPARE") => return Err(invalid("write a duration such as '1 day', or NEVER")),
        _ => return Err(invalid("write a duration such as '10 minutes', or MANUAL")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::statement::{Statement, parse_statements};

    fn parsed(text: &str) -> TransferStatement {
        match parse_statements(text).unwrap().pop().unwrap().value {
            Statement::Transfer(statement) => statement,
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn a_source_is_read() {
        let statement = parsed(
            "CREATE OR REPLACE SOURCE raw.\"odd \"\"x\" FROM \"my-crm\".sales.orders KEY (id, \"a b\") CURSOR (updated_at) \
             SCHEDULE '10 minutes' LOOKBACK = 500, COMPARE = NEVER;",
        );
        let TransferAction::Create(made) = statement.action else { panic!("no CREATE") };
        assert_eq!(made.name.to_string(), "raw.\"odd \"\"x\"");
        let outside = OutsideName {
            connection: "my-crm".to_owned(),
            schema: Some("sales".to_owned()),
            table: "orders".to_owned(),
        };
        assert_eq!(made.outside, outside);
        assert_eq!((made.key, made.cursor.as_deref()), (vec!["id".to_owned(), "a b".to_owned()], Some("updated_at")));
        let properties = TransferProperties {
            schedule: Some(Some(Duration::from_secs(600))),
            lookback: Some(Lookback::Count(500)),
            compare: Some(None),
        };
        assert_eq!(made.properties, properties);
        assert!(made.or_replace && !made.if_not_exists);
    }

    #[test]
    fn every_verb_is_read() {
        use TransferAction::{Alter, Describe, Drop, Explain, Refresh, Show};
        let action = |text| parsed(text).action;
        assert_eq!(action("show sources"), Show);
        assert!(matches!(
            action("DROP SOURCE IF EXISTS a.b KEEP TABLE"),
            Drop { if_exists: true, keep_table: true, .. }
        ));
        assert!(matches!(action("REFRESH SOURCE a FULL"), Refresh { full: true, .. }));
        assert!(matches!(action("DESCRIBE SOURCE a"), Describe { .. }));
        assert!(matches!(action("explain export a"), Explain { .. }));
        assert!(matches!(action("ALTER EXPORT a SUSPEND"), Alter { change: TransferChange::Suspend, .. }));
        let Alter { change: TransferChange::Set(set), .. } = action("ALTER SOURCE a SET SCHEDULE = MANUAL") else {
            panic!("no SET")
        };
        assert_eq!(set.schedule, Some(None));
        let TransferAction::Create(export) = action("CREATE EXPORT e FROM daily TO crm.daily KEY (day)") else {
            panic!("no CREATE")
        };
        assert_eq!((export.reads.unwrap().name.as_str(), export.outside.table.as_str()), ("daily", "daily"));
    }

    #[test]
    fn what_is_duckdbs_stays_so() {
        for text in ["DESCRIBE source", "SHOW TABLES", "EXPORT DATABASE 'x'", "CREATE TABLE source (a INT)"] {
            let value = parse_statements(text).unwrap().pop().unwrap().value;
            assert!(matches!(value, Statement::Other(_)), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, what) in [
            ("CREATE SOURCE a FROM orders", "the connection is missing"),
            ("CREATE SOURCE a FROM c.t CURSOR (a, b)", "CURSOR takes one column"),
            ("CREATE SOURCE a FROM c.t KEY (a, A)", "named twice"),
            ("CREATE SOURCE a FROM c.t KEY (a) KEY (b)", "KEY is given twice"),
            ("CREATE SOURCE a FROM c.t SCHEDULE = '0 minutes'", "longer than nothing"),
            ("CREATE SOURCE a FROM c.t SCHEDULE = soon", "or MANUAL"),
            ("CREATE SOURCE a FROM c.t LOOKBACK = 1.5", "whole number"),
            ("CREATE EXPORT a FROM t TO c.t CURSOR (x)", "KEY or SCHEDULE"),
            ("CREATE EXPORT a FROM t KEY (x)", "expected TO"),
            ("CREATE OR REPLACE SOURCE IF NOT EXISTS a FROM c.t", "contradicts"),
            ("ALTER SOURCE a", "SET, SUSPEND or RESUME"),
            ("DROP EXPORT a KEEP TABLE", "the end of the statement"),
        ] {
            let error = parse_statements(text).unwrap_err();
            assert!(error.message().contains(what), "{text}: {error}");
        }
    }
}
