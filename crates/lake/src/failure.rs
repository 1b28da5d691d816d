//! DuckDB's errors in the product's terms: the code, one sentence, the place in the SQL, what to do. And the
//! masking of passwords, through which every text that may hold a connection string goes.

use error::{Code, Error, Span};
use serde::Deserialize;

const JSON_START: &str = "{\"exception_type\"";

/// What DuckDB says about a failure.
#[derive(Debug, Default, Deserialize)]
struct Report {
    #[serde(default)]
    exception_type: String,
    #[serde(default)]
    exception_message: String,
    /// Bytes from the start of the statement; DuckDB writes the number as text.
    #[serde(default)]
    position: Option<String>,
    /// What the message is about, such as the unknown column.
    #[serde(default)]
    name: Option<String>,
}

/// Translates a failure. `sql` is the text as the user gave it and `prefix` how many bytes were put before it.
pub(crate) fn translate(failure: duckdb::Error, sql: &str, prefix: usize) -> Error {
    let text = match &failure {
        duckdb::Error::DuckDBFailure(_, Some(message)) => message.clone(),
        // Of a text that is one word with a letter outside of ASCII, DuckDB makes no statement, and no error either.
        duckdb::Error::DuckDBFailure(_, None) => "Parser Error: there is no statement in the text".to_owned(),
        other => other.to_string(),
    };
    let report = read_report(&text);
    let (message, hint) = sentence(&report.exception_message);
    let kind = classify(&report.exception_type, &report.exception_message);
    let mut error = Error::new(kind.code, kind.message.map_or(message, str::to_owned));
    if let Some(transient) = kind.transient {
        error = error.with_transient(transient);
    }
    if let Some(hint) = kind.hint.map(str::to_owned).or(hint) {
        error = error.with_hint(hint);
    }
    if kind.code == Code::Query
        && let Some(position) = report.position.and_then(|position| position.parse::<usize>().ok())
        && let Some(offset) = position.checked_sub(prefix)
        && offset <= sql.len()
        && sql.is_char_boundary(offset)
    {
        let named = report.name.filter(|name| sql[offset..].to_lowercase().starts_with(&name.to_lowercase()));
        error = error.with_span(Span::new(sql, offset, named.map_or(0, |name| name.len())));
    }
    // The original is kept for the log only in its masked form: its text may hold a connection string.
    error.with_source(mask(&text))
}

/// DuckDB reports in JSON where a session asked for it (`errors_as_json`), else as `Kind Error: message`.
fn read_report(text: &str) -> Report {
    if let Some(start) = text.find(JSON_START)
        && let Ok(mut report) = serde_json::from_str::<Report>(&text[start..])
    {
        // DuckLake puts the report of what it did itself into the message of its own.
        if let Some(nested) = report.exception_message.find(JSON_START) {
            let cause = read_report(&report.exception_message[nested..]);
            report.exception_message.truncate(nested);
            report.exception_message.push_str(&cause.exception_message);
            report.exception_type = cause.exception_type;
            report.position = None;
        }
        return report;
    }
    match text.split_once(" Error: ") {
        Some((kind, message)) if kind.split(' ').count() <= 4 && !kind.contains('\n') => Report {
            exception_type: kind.to_owned(),
            exception_message: message.split("\n\nLINE ").next().unwrap_or(message).to_owned(),
            ..Report::default()
        },
        _ => Report { exception_message: text.to_owned(), ..Report::default() },
    }
}

/// What kind of failure it is, and what to say instead of or besides DuckDB's own words.
struct Kind {
    code: Code,
    message: Option<&'static str>,
    hint: Option<&'static str>,
    transient: Option<bool>,
}

const fn kind(code: Code) -> Kind {
    Kind { code, message: None, hint: None, transient: None }
}

impl Kind {
    const fn saying(mut self, message: &'static str) -> Self {
        self.message = Some(message);
        self
    }

    const fn advising(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    const fn lasting(mut self) -> Self {
        self.transient = Some(false);
        self
    }
}

const LOCKED_HINT: &str = "A catalog in a DuckDB file takes one process at a time. Close the other one, or keep the \
    catalog in SQLite (ducklake:sqlite:...) or PostgreSQL (ducklake:postgres:...), which take several.";
const MEMORY_HINT: &str = "Raise memory_limit, lower threads, or give temp_directory a disk with more room.";
const READ_ONLY_HINT: &str = "The lake is attached for reading only. A catalog in a DuckDB file on object storage \
    always is: to write, keep the catalog in PostgreSQL (ducklake:postgres:...) and only the data on S3 \
    (--data-path s3://...).";

/// Whole-message marks first: the same trouble arrives under several of DuckDB's exception types.
fn classify(exception_type: &str, message: &str) -> Kind {
    let has = |mark: &str| message.contains(mark);
    if has("Transaction conflict") || has("write-write conflict") || has("could not serialize access") {
        return kind(Code::Conflict);
    }
    if has("database is locked") {
        // At commit it means that somebody else committed since this transaction began.
        let code = if has("Failed to commit") { Code::Conflict } else { Code::Connection };
        return kind(code).advising("Another process is writing to the lake; trying again helps.");
    }
    if has("Could not set lock on file") || has("Conflicting lock is held") {
        return kind(Code::Connection)
            .saying("the lake's catalog file is locked by another process")
            .advising(LOCKED_HINT);
    }
    if has("No space left on device") || has("Disk quota exceeded") || has("max_temp_directory_size") {
        return kind(Code::Resource).advising("Free some disk space, or raise max_temp_directory_size.");
    }
    if has("attempt to write a readonly database") {
        return kind(Code::Permission)
            .saying("the lake's catalog file cannot be written")
            .advising("The file and the folder it is in must be writable for this user, for reading too.");
    }
    if has("disk I/O error") || has("database or disk is full") {
        return kind(Code::Resource).advising("Check that the disk of the lake's catalog has space and is healthy.");
    }
    if has("database disk image is malformed") {
        return kind(Code::Internal).advising("The lake's catalog file is damaged: restore it from a backup.");
    }
    if has("too many columns on") {
        return kind(Code::Query)
            .saying("the table has more columns than the catalog's database can keep rows of")
            .advising("Give it fewer columns, or set data_inlining_row_limit=0 in --duckdb-settings.");
    }
    if has("read-only mode") || has("attached in read-only") {
        return kind(Code::Permission).advising(READ_ONLY_HINT);
    }
    if has("No snapshot found at version") {
        return kind(Code::Dependency)
            .advising("The snapshot was expired. What needs it has to be refreshed in full.");
    }
    if has("password authentication failed") || has("Permission denied") || has("permission denied for") {
        return kind(Code::Permission);
    }
    let lost = ["Unable to connect to Postgres", "server closed the connection", "terminating connection"];
    let lost_too = ["connection to server", "Connection refused", "Could not resolve", "SSL connection"];
    if lost.into_iter().chain(lost_too).any(has) {
        return kind(Code::Connection);
    }
    match exception_type {
        "Out of Memory" => kind(Code::Resource).advising(MEMORY_HINT),
        "Interrupt" | "INTERRUPT" => kind(Code::Resource).saying("the query was cancelled"),
        "Permission" => kind(Code::Permission),
        "HTTP" if has("403") || has("401") || has("Forbidden") => kind(Code::Permission),
        "HTTP" if has("404") => kind(Code::Connection).lasting(),
        "IO" if has("No such file") || has("No files found") || has("not found") => kind(Code::Connection).lasting(),
        "IO" | "HTTP" | "Network" | "Connection" => kind(Code::Connection),
        _ if has("unable to open database file") => kind(Code::Connection).lasting(),
        "Binder"
        | "Catalog"
        | "Parser"
        | "Syntax"
        | "Conversion"
        | "Out of Range"
        | "Invalid Input"
        | "Constraint"
        | "Invalid type"
        | "Mismatch Type"
        | "Not implemented"
        | "Divide by Zero"
        | "Decimal"
        | "Expression"
        | "Unknown Type"
        | "Parameter Not Resolved"
        | "Parameter Not Allowed"
        | "Settings"
        | "Dependency"
        | "Missing Extension"
        | "Sequence"
        | "TransactionContext"
        | "Invalid Configuration" => kind(Code::Query),
        _ => kind(Code::Internal),
    }
}

/// DuckDB's message as one sentence in lower case without a full stop, and its advice if it gives any.
fn sentence(message: &str) -> (String, Option<String>) {
    const ADVICE: [&str; 4] = ["Did you mean", "Candidate", "You can ", "Possible solutions"];
    let mut said: Vec<&str> = Vec::new();
    let mut advice: Vec<&str> = Vec::new();
    for line in message.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let advises = !advice.is_empty() || ADVICE.iter().any(|start| line.starts_with(start));
        if advises { &mut advice } else { &mut said }.push(line);
    }
    let mut said: Vec<&str> = said.iter().map(|line| line.trim_end_matches(['.', '!', ':'])).collect();
    // "Failed to commit: Failed to commit DuckLake transaction" says nothing that the reason after it does not.
    if said.len() > 1 && said[0].starts_with("Failed to commit") {
        said.remove(0);
    }
    let said = lower_first(&mask(&said.join(": ")));
    let hint = (!advice.is_empty()).then(|| mask(&advice.join(" ")));
    (said, hint)
}

/// The text with a small first letter, unless the first word is an abbreviation.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(std::iter::once(second)).chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}

const MASK: &str = "***";

/// The text without passwords: those of URLs (`scheme://user:password@host`), of connection strings
/// (`password=...`) and of SQL (`SECRET '...'`) become `***`.
#[must_use]
pub fn mask(text: &str) -> String {
    mask_named(&mask_urls(text))
}

fn mask_urls(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        masked.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ';' | ')')).unwrap_or(after.len());
        let (url, remainder) = after.split_at(end);
        // The last @ ends the user part: a password may hold one that was not escaped.
        match url.rfind('@').and_then(|at| url[..at].find(':').map(|colon| (colon, at))) {
            Some((colon, at)) => {
                masked.push_str(&url[..=colon]);
                masked.push_str(MASK);
                masked.push_str(&url[at..]);
            }
            None => masked.push_str(url),
        }
        rest = remainder;
    }
    masked.push_str(rest);
    masked
}

fn mask_named(text: &str) -> String {
    const NAMES: [&str; 6] = ["password", "passwd", "secret", "session_token", "key_id", "secret_access_key"];
    let lower = text.to_ascii_lowercase();
    let mut masked = String::with_capacity(text.len());
    let mut position = 0;
    while position < text.len() {
        let found = NAMES
            .iter()
            .filter_map(|name| lower[position..].find(name).map(|at| (position + at, name.len())))
            .min_by_key(|(at, length)| (*at, std::cmp::Reverse(*length)));
        let Some((at, length)) = found else { break };
        let name_end = at + length;
        let value = secret_value(text, name_end);
        masked.push_str(&text[position..value.start]);
        if !value.is_empty() {
            masked.push_str(MASK);
        }
        position = value.end;
    }
    masked.push_str(&text[position..]);
    masked
}

/// Where the value that follows a name stands: `= value`, `='quoted \' value'` or ` 'quoted'`. Empty if none does.
fn secret_value(text: &str, name_end: usize) -> std::ops::Range<usize> {
    let skip_spaces = |from: usize| from + text[from..].len() - text[from..].trim_start().len();
    let mut start = skip_spaces(name_end);
    let assigned = text[start..].starts_with('=');
    if assigned {
        start = skip_spaces(start + 1);
    }
    let Some(first) = text[start..].chars().next() else { return name_end..name_end };
    if first == '\'' || first == '"' {
        let mut escaped = false;
        for (index, character) in text[start + 1..].char_indices() {
            match character {
                '\\' if !escaped => escaped = true,
                quote if quote == first && !escaped => return start + 1..start + 1 + index,
                _ => escaped = false,
            }
        }
        return start + 1..text.len();
    }
    if !assigned {
        return name_end..name_end;
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '&' | ';' | '\'' | '"' | ',' | ')');
    start..text[start..].find(ends).map_or(text.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn failed(message: &str, sql: &str, prefix: usize) -> Error {
        let state = duckdb::ffi::Error::new(duckdb::ffi::DuckDBError);
        translate(duckdb::Error::DuckDBFailure(state, Some(message.to_owned())), sql, prefix)
    }

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (text, expected) in [
            ("postgresql://me:geheim@host:5/db", "postgresql://me:***@host:5/db"),
            ("postgresql://me:ge@h/e:im@host/db?x=1", "postgresql://me:***@host/db?x=1"),
            ("postgresql://host/db?user=me&password=geheim&x=1", "postgresql://host/db?user=me&password=***&x=1"),
            ("at \"host=h password=geheim dbname=d\": no", "at \"host=h password=*** dbname=d\": no"),
            ("host=h password = 'ge\\' heim' dbname=d", "host=h password = '***' dbname=d"),
            ("PASSWORD=geheim", "PASSWORD=***"),
            ("(TYPE s3, KEY_ID 'geheim', SECRET 'geheim')", "(TYPE s3, KEY_ID '***', SECRET '***')"),
            ("s3://bucket/path and /tmp/x", "s3://bucket/path and /tmp/x"),
            ("password authentication failed for user \"me\"", "password authentication failed for user \"me\""),
            ("the secret", "the secret"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    #[test]
    fn the_place_is_in_the_users_text() {
        let report = r#"Binder Error: {"exception_type":"Binder","exception_message":"Referenced column \"foo\" not found in FROM clause!\nCandidate bindings: \"a\"","candidates":"a","position":"16","error_subtype":"COLUMN_NOT_FOUND","name":"foo"}"#;
        let error = failed(report, "SELECT foo FROM t", 9);
        assert_eq!(error.code(), Code::Query);
        assert_eq!(error.message(), "referenced column \"foo\" not found in FROM clause");
        assert_eq!(error.hint(), Some("Candidate bindings: \"a\""));
        let span = error.span().unwrap();
        assert_eq!((span.offset, span.length), (7, 3));
    }

    #[test]
    fn kinds_of_failure() {
        let commit = "TransactionContext Error: Failed to commit: Failed to commit DuckLake transaction.\n";
        for (message, code, transient) in [
            (format!("{commit}Transaction conflict - attempting to insert"), Code::Conflict, true),
            (format!("{commit}Failed to flush changes into DuckLake: database is locked"), Code::Conflict, true),
            ("Invalid Error: database is locked".to_owned(), Code::Connection, true),
            ("IO Error: Could not set lock on file \"x\": held in y".to_owned(), Code::Connection, true),
            ("IO Error: Could not write: No space left on device".to_owned(), Code::Resource, false),
            ("Out of Memory Error: could not allocate".to_owned(), Code::Resource, false),
            ("INTERRUPT Error: Interrupted!".to_owned(), Code::Resource, false),
            ("Conversion Error: Could not convert string 'x' to INT32".to_owned(), Code::Query, false),
            ("IO Error: No files found that match the pattern \"x\"".to_owned(), Code::Connection, false),
            ("Invalid Error: disk I/O error".to_owned(), Code::Resource, false),
            ("Invalid Error: attempt to write a readonly database".to_owned(), Code::Permission, false),
            ("TransactionContext Error: cannot commit - no transaction is active".to_owned(), Code::Query, false),
            ("INTERNAL Error: assertion".to_owned(), Code::Internal, false),
        ] {
            let error = failed(&message, "", 0);
            assert_eq!((error.code(), error.is_transient()), (code, transient), "{message}");
        }
    }

    #[test]
    fn a_report_within_a_report_is_read() {
        let nested = r#"{"exception_type":"Invalid","exception_message":"Failed to query: {\"exception_type\":\"IO\",\"exception_message\":\"no route\"}"}"#;
        let error = failed(nested, "", 0);
        assert_eq!((error.code(), error.message()), (Code::Connection, "failed to query: no route"));
    }

    #[test]
    fn a_commit_conflict_says_its_reason() {
        let error = failed(
            "TransactionContext Error: Failed to commit: Failed to commit DuckLake transaction.\nTransaction conflict - x",
            "",
            0,
        );
        assert_eq!(error.message(), "transaction conflict - x");
    }
}
