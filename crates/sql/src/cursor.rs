//! Walks over the tokens of one statement and says what was expected where.

use error::{Code, Error, Result, Span};

use crate::keyword;
use crate::names::ObjectName;
use crate::token::{Kind, Token};

/// A place between the tokens of one statement.
pub(crate) struct Cursor<'a> {
    /// The whole text, of which the tokens may be a part.
    text: &'a str,
    tokens: &'a [Token],
    position: usize,
    /// Where the statement ends in the text.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, tokens: &'a [Token], end: usize) -> Self {
        Self { text, tokens, position: 0, end }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.position == self.tokens.len()
    }

    pub(crate) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.position)
    }

    pub(crate) fn advance(&mut self) -> Option<&'a Token> {
        let token = self.peek()?;
        self.position += 1;
        Some(token)
    }

    /// What is left of the statement, from its next token on.
    pub(crate) fn rest(&self) -> &'a [Token] {
        &self.tokens[self.position..]
    }

    pub(crate) fn token_text(&self, token: &Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a str {
        &self.text[start..end]
    }

    /// The bare word `ahead` tokens from here.
    pub(crate) fn word(&self, ahead: usize) -> Option<&'a str> {
        let token = self.tokens.get(self.position + ahead)?;
        (token.kind == Kind::Word).then(|| self.token_text(token))
    }

    pub(crate) fn is_word(&self, ahead: usize, keyword: &str) -> bool {
        self.word(ahead).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    pub(crate) fn is_symbol(&self, ahead: usize, symbol: char) -> bool {
        self.tokens.get(self.position + ahead).is_some_and(|token| token.kind == Kind::Symbol(symbol))
    }

    /// Steps over these words if all of them come next.
    pub(crate) fn accept(&mut self, keywords: &[&str]) -> bool {
        let found = keywords.iter().enumerate().all(|(ahead, keyword)| self.is_word(ahead, keyword));
        if found {
            self.position += keywords.len();
        }
        found
    }

    pub(crate) fn accept_symbol(&mut self, symbol: char) -> bool {
        let found = self.is_symbol(0, symbol);
        if found {
            self.position += 1;
        }
        found
    }

    pub(crate) fn expect(&mut self, keyword: &str) -> Result<()> {
        if self.accept(&[keyword]) { Ok(()) } else { Err(self.unexpected(keyword)) }
    }

    pub(crate) fn expect_end(&self, expected: &str) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// A name of up to three parts; `what` names it in errors.
    pub(crate) fn object_name(&mut self, what: &str) -> Result<ObjectName> {
        let start = self.peek().map_or(self.end, |token| token.start);
        let mut parts = vec![self.identifier(what, true)?];
        while self.accept_symbol('.') {
            parts.push(self.identifier("an identifier behind the dot", false)?);
        }
        let end = self.tokens[self.position - 1].end;
        if parts.len() > 3 {
            return Err(Error::new(Code::Query, "a name has at most three parts")
                .with_hint("Write catalog.schema.table, and quote a part that holds a dot.")
                .with_span(Span::new(self.text, start, end - start)));
        }
        let name = parts.pop().unwrap_or_default();
        let schema = parts.pop();
        Ok(ObjectName { catalog: parts.pop(), schema, name, offset: start, length: end - start })
    }

    /// One part of a name. As in DuckDB, a reserved word is one only behind a dot.
    fn identifier(&mut self, what: &str, first: bool) -> Result<String> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected(what));
        };
        let identifier = match &token.kind {
            Kind::Quoted(value) if value.is_empty() => {
                return Err(
                    Error::new(Code::Query, "an identifier in quotes cannot be empty").with_span(self.span_of(token))
                );
            }
            Kind::Quoted(value) => value.clone(),
            Kind::Word => {
                let word = self.token_text(token);
                if first && keyword::is_reserved(word) {
                    return Err(self
                        .unexpected(what)
                        .with_hint(format!("A name that is a keyword must be quoted: \"{word}\".")));
                }
                word.to_owned()
            }
            Kind::Text(_) => {
                return Err(self
                    .unexpected(what)
                    .with_hint("Names stand bare or in double quotes; single quotes are for strings."));
            }
            Kind::Number | Kind::Symbol(_) => return Err(self.unexpected(what)),
        };
        self.position += 1;
        Ok(identifier)
    }

    /// "expected this, found that", at the next token.
    pub(crate) fn unexpected(&self, expected: &str) -> Error {
        let found = match self.peek() {
            None => "the end of the statement".to_owned(),
            Some(token) if matches!(token.kind, Kind::Text(_)) => "a string".to_owned(),
            Some(token) if matches!(token.kind, Kind::Quoted(_)) => self.token_text(token).to_owned(),
            Some(token) => format!("{:?}", self.token_text(token)),
        };
        Error::new(Code::Query, format!("expected {expected}, found {found}")).with_span(self.here())
    }

    /// The place of the next token, or of the end.
    pub(crate) fn here(&self) -> Span {
        match self.peek() {
            Some(token) => self.span_of(token),
            None => Span::new(self.text, self.tokens.last().map_or(self.end, |last| last.end), 0),
        }
    }

    pub(crate) fn span_of(&self, token: &Token) -> Span {
        self.span(token.start, token.end)
    }

    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.text, start, end - start)
    }
}
