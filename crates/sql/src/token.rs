//! DuckDB's lexical rules, as far as they decide where a word, a string, a comment and a statement ends.
//!
//! Strings `'it''s'` (continued over a line break), `E'\n'`, `$$...$$`, `$tag$...$tag$`; quoted identifiers; comments
//! `-- ...` and nested `/* ... */`; numbers. Every other character is a token of its own, so that whatever DuckDB's
//! grammar allows passes through unread.

use error::{Code, Error, Result, Span};

/// One token and where it stands, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare identifier or keyword.
    Word,
    /// A quoted identifier, unquoted.
    Quoted(String),
    /// A string of any kind, its value.
    Text(String),
    /// A number without a sign.
    Number,
    /// Any other character.
    Symbol(char),
}

/// The tokens of a text; comments and white space are left out. It fails on something that is never closed, and on a
/// NUL character: DuckDB would silently leave out what follows it.
pub(crate) fn tokenize(text: &str) -> Result<Vec<Token>> {
    if let Some(place) = text.find('\0') {
        return Err(Error::new(Code::Query, "the text holds a NUL character")
            .with_hint("Remove it; in a string write chr(0).")
            .with_span(Span::new(text, place, 1)));
    }
    let mut lexer = Lexer { text, position: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    fn next_token(&mut self) -> Result<Option<Token>> {
        self.skip_blanks()?;
        let start = self.position;
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let kind = match first {
            '\'' => self.string(start, false)?,
            'e' | 'E' if self.rest()[1..].starts_with('\'') => {
                self.position += 1;
                self.string(start, true)?
            }
            '"' => self.quoted_identifier(start)?,
            '$' => match self.dollar_string(start)? {
                Some(kind) => kind,
                None => self.symbol(first),
            },
            '0'..='9' => self.number(),
            '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => self.number(),
            _ if starts_word(first) => {
                self.skip_while(continues_word);
                Kind::Word
            }
            _ => self.symbol(first),
        };
        Ok(Some(Token { kind, start, end: self.position }))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.position += rest.find(|next| !wanted(next)).unwrap_or(rest.len());
    }

    fn symbol(&mut self, symbol: char) -> Kind {
        self.position += symbol.len_utf8();
        Kind::Symbol(symbol)
    }

    fn unterminated(&self, start: usize, what: &str, end: &str) -> Error {
        Error::new(Code::Query, format!("unterminated {what}"))
            .with_hint(format!("It begins here and is never closed by {end}."))
            .with_span(Span::new(self.text, start, 1))
    }

    fn skip_blanks(&mut self) -> Result<()> {
        loop {
            self.skip_while(is_blank);
            if self.rest().starts_with("--") {
                self.skip_while(|next| next != '\n' && next != '\r');
            } else if self.rest().starts_with("/*") {
                self.block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn block_comment(&mut self) -> Result<()> {
        let start = self.position;
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        while self.position < bytes.len() {
            match &bytes[self.position..] {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.position += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.position += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => self.position += 1,
            }
        }
        Err(self.unterminated(start, "comment", "*/ (comments nest)"))
    }

    /// A string from its opening quote on; `escapes` is the rule of `E'...'`.
    fn string(&mut self, start: usize, escapes: bool) -> Result<Kind> {
        let mut value = String::new();
        self.position += 1;
        loop {
            let stop = self.rest().find(|next| next == '\'' || (escapes && next == '\\'));
            let Some(stop) = stop else {
                return Err(self.unterminated(start, "string", "a single quote"));
            };
            value.push_str(&self.rest()[..stop]);
            self.position += stop;
            if self.rest().starts_with('\\') {
                self.escape(&mut value);
            } else if self.rest().starts_with("''") {
                value.push('\'');
                self.position += 2;
            } else {
                self.position += 1;
                let Some(continuation) = self.continuation() else {
                    return Ok(Kind::Text(value));
                };
                self.position = continuation + 1;
            }
        }
    }

    /// The position of the quote that continues a string which has just ended: behind white space with a line break.
    fn continuation(&self) -> Option<usize> {
        let mut ahead = Lexer { text: self.text, position: self.position };
        loop {
            ahead.skip_while(is_blank);
            if !ahead.rest().starts_with("--") {
                break;
            }
            ahead.skip_while(|next| next != '\n' && next != '\r');
        }
        let line_break = self.text[self.position..ahead.position].contains(['\n', '\r']);
        (line_break && ahead.rest().starts_with('\'')).then_some(ahead.position)
    }

    /// One backslash escape of `E'...'`, as DuckDB reads it.
    fn escape(&mut self, value: &mut String) {
        self.position += 1;
        let Some(escaped) = self.peek() else {
            return;
        };
        let digits = match escaped {
            'x' => self.code(1, 2, 16),
            '0'..='7' => self.code(0, 3, 8),
            'u' => self.code(1, 4, 16),
            'U' => self.code(1, 8, 16),
            _ => None,
        };
        if let Some((character, length)) = digits {
            value.push(character);
            self.position += length;
            return;
        }
        value.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            other => other,
        });
        self.position += escaped.len_utf8();
    }

    /// The character whose number stands `skip` bytes ahead in at most `most` digits, and the bytes it takes.
    fn code(&self, skip: usize, most: usize, radix: u32) -> Option<(char, usize)> {
        let digits = self.rest()[skip..].chars().take(most).take_while(|next| next.is_digit(radix)).count();
        let number = u32::from_str_radix(&self.rest()[skip..skip + digits], radix).ok()?;
        char::from_u32(number).map(|character| (character, skip + digits))
    }

    fn quoted_identifier(&mut self, start: usize) -> Result<Kind> {
        let mut value = String::new();
        self.position += 1;
        loop {
            let Some(stop) = self.rest().find('"') else {
                return Err(self.unterminated(start, "quoted identifier", "a double quote"));
            };
            value.push_str(&self.rest()[..stop]);
            self.position += stop + 1;
            if !self.rest().starts_with('"') {
                break;
            }
            value.push('"');
            self.position += 1;
        }
        Ok(Kind::Quoted(value))
    }

    /// `$$...$$` or `$tag$...$tag$`; none if the dollar begins something else, such as the parameter `$1`.
    fn dollar_string(&mut self, start: usize) -> Result<Option<Kind>> {
        let inner = &self.rest()[1..];
        let tag_end = inner.find(|next| next == '$' || !continues_word(next)).unwrap_or(inner.len());
        let tag_begins_as_word = inner[..tag_end].chars().next().is_none_or(starts_word);
        if !inner[tag_end..].starts_with('$') || !tag_begins_as_word {
            return Ok(None);
        }
        let delimiter = &self.rest()[..tag_end + 2];
        let body = &self.rest()[delimiter.len()..];
        let Some(length) = body.find(delimiter) else {
            return Err(self.unterminated(start, "dollar-quoted string", delimiter));
        };
        self.position += delimiter.len() + length + delimiter.len();
        Ok(Some(Kind::Text(body[..length].to_owned())))
    }

    fn number(&mut self) -> Kind {
        let is_digit = |next: char| next.is_ascii_digit() || next == '_';
        self.skip_while(is_digit);
        if self.rest().starts_with('.') {
            self.position += 1;
            self.skip_while(is_digit);
        }
        if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.starts_with(|next: char| next.is_ascii_digit()) {
                self.position = self.text.len() - digits.len();
                self.skip_while(is_digit);
            }
        }
        Kind::Number
    }
}

fn starts_word(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || (!character.is_ascii() && !is_blank(character))
}

fn continues_word(character: char) -> bool {
    starts_word(character) || character.is_ascii_digit() || character == '$'
}

/// White space as DuckDB has it: ASCII's, and the Unicode spaces that it replaces before it reads (among them the mark
/// that some editors put at the beginning of a file).
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
        || matches!(character, '\u{a0}' | '\u{2000}'..='\u{200d}' | '\u{202f}' | '\u{205f}' | '\u{2060}')
        || matches!(character, '\u{3000}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
