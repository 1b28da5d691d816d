#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

/// The tokens as text, strings as their values in quotes.
fn shown(text: &str) -> Vec<String> {
    let tokens = tokenize(text).unwrap();
    let show = |token: &Token| match &token.kind {
        Kind::Word => format!("w:{}", &text[token.start..token.end]),
        Kind::Quoted(value) => format!("q:{value}"),
        Kind::Text(value) => format!("t:{value}"),
        Kind::Number => format!("n:{}", &text[token.start..token.end]),
        Kind::Symbol(symbol) => format!("s:{symbol}"),
    };
    tokens.iter().map(show).collect()
}

#[test]
fn strings_of_every_kind() {
    assert_eq!(shown("'it''s'"), ["t:it's"]);
    assert_eq!(shown("''"), ["t:"]);
    assert_eq!(shown(r"'a\'"), [r"t:a\"]);
    assert_eq!(shown(r"E'a\'b\n\x41\101\q\u00e9'"), ["t:a'b\nAAqé"]);
    assert_eq!(shown("e'a''b'"), ["t:a'b"]);
    assert_eq!(shown("$$a'b;$$"), ["t:a'b;"]);
    assert_eq!(shown("$t$a$$b$t$"), ["t:a$$b"]);
    assert_eq!(shown("$é$a$é$"), ["t:a"]);
    assert_eq!(shown("1$$a$$"), ["n:1", "t:a"]);
}

#[test]
fn strings_go_on_behind_a_line_break_only() {
    assert_eq!(shown("'a' 'b'"), ["t:a", "t:b"]);
    assert_eq!(shown("'a'\n  'b'"), ["t:ab"]);
    assert_eq!(shown("'a' -- c\n 'b'"), ["t:ab"]);
    assert_eq!(shown("E'a'\n'\\'b'"), ["t:a'b"]);
}

#[test]
fn dollars_that_begin_no_string() {
    assert_eq!(shown("$1"), ["s:$", "n:1"]);
    assert_eq!(shown("$a b$"), ["s:$", "w:a", "w:b$"]);
    assert_eq!(shown("a$$b"), ["w:a$$b"]);
    assert_eq!(shown("$1x$a$1x$"), ["s:$", "n:1", "w:x$a$1x$"]);
}

#[test]
fn comments_nest_and_hide_everything() {
    assert_eq!(shown("/* a /* ; ' */ \" */ x -- it's ; \n y"), ["w:x", "w:y"]);
    assert_eq!(shown("1--x\r+1"), ["n:1", "s:+", "n:1"]);
    assert_eq!(shown("1*/**/2"), ["n:1", "s:*", "n:2"]);
    assert_eq!(shown("-- only"), Vec::<String>::new());
}

#[test]
fn identifiers_and_numbers() {
    assert_eq!(shown("\"a\"\"b;\".größe"), ["q:a\"b;", "s:.", "w:größe"]);
    assert_eq!(
        shown("1_000 .5 1.e3 1e-5 12abc 0x1F"),
        ["n:1_000", "n:.5", "n:1.e3", "n:1e-5", "n:12", "w:abc", "n:0", "w:x1F"]
    );
    assert_eq!(shown("12e'a\\'b'"), ["n:12", "t:a'b"]);
    assert_eq!(shown("1else"), ["n:1", "w:else"]);
}

#[test]
fn unicode_spaces_are_blanks() {
    assert_eq!(shown("\u{feff}select\u{a0}1\u{3000}x\u{200b}"), ["w:select", "n:1", "w:x"]);
}

#[test]
fn what_is_never_closed_points_at_its_beginning() {
    for (text, message, offset) in [
        ("a 'b", "unterminated string", 2),
        ("a E'b\\'", "unterminated string", 2),
        ("a 'b'\n'c", "unterminated string", 2),
        ("a \"b", "unterminated quoted identifier", 2),
        ("a $x$ $$ $y$", "unterminated dollar-quoted string", 2),
        ("a /* b /* c */", "unterminated comment", 2),
    ] {
        let error = tokenize(text).unwrap_err();
        assert_eq!((error.message(), error.span().unwrap().offset), (message, offset), "{text:?}");
    }
}

/// The engine itself says where our reading of its lexical rules is wrong.
#[test]
fn string_values_are_the_engines() {
    let connection = duckdb::Connection::open_in_memory().unwrap();
    for literal in [
        "'it''s'",
        r"'a\'",
        r"E'a\'b\n\t\x41\101\q'",
        "e'a''b'",
        "$$a'b;$$",
        "$t$a$$b$t$",
        "$é$a$é$",
        "'a'\n  'b'",
        "'a' -- c\n 'b'",
        "E'a'\n'\\'b'",
        r"E'\\'",
        "''",
    ] {
        let engine: String = connection.query_row(&format!("SELECT {literal}"), [], |row| row.get(0)).unwrap();
        assert_eq!(shown(literal), [format!("t:{engine}")], "{literal}");
    }
}
