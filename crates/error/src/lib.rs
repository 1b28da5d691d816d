//! The one error type of the product: a code an operator can act on, a message, where it happened, and what
//! to do about it.
//!
//! Every crate returns [`Error`]. It knows nothing of databases, terminals or HTTP; those rooms translate
//! their own failures into it at their boundary. Secrets never go into an error: build messages from masked
//! values only.

use std::fmt;

mod span;

pub use span::Span;

/// What kind of failure this is. The first eight are the codes of a failed refresh (see `docs/reference/errors.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Something that this depends on (an upstream dynamic table, a source) failed or is missing.
    Dependency,
    /// The shape of a source or result is not what the definition needs.
    Schema,
    /// Memory, disk or time ran out.
    Resource,
    /// The query or statement itself is wrong, or failed on the data.
    Query,
    /// Not allowed to do this.
    Permission,
    /// Somebody else changed the same thing at the same time.
    Conflict,
    /// A database, a file or a service could not be reached.
    Connection,
    /// A defect of this product.
    Internal,
    /// An option, a setting or a file given by the user is wrong. Never the code of a refresh.
    Configuration,
}

impl Code {
    /// The code as it is stored and shown, in capitals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dependency => "DEPENDENCY",
            Self::Schema => "SCHEMA",
            Self::Resource => "RESOURCE",
            Self::Query => "QUERY",
            Self::Permission => "PERMISSION",
            Self::Conflict => "CONFLICT",
            Self::Connection => "CONNECTION",
            Self::Internal => "INTERNAL",
            Self::Configuration => "CONFIGURATION",
        }
    }

    /// Whether doing the same thing again later may succeed without anybody changing anything.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Conflict | Self::Connection)
    }

    /// The exit code of a process that ends with such an error: 1 for what the user can mend in their input,
    /// 2 for what went wrong in the system.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Dependency | Self::Schema | Self::Query | Self::Configuration => 1,
            Self::Resource | Self::Permission | Self::Conflict | Self::Connection | Self::Internal => 2,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: what failed ([`Error::message`]), what kind it is ([`Error::code`]), on what it happened
/// ([`Error::context`]), where in the SQL ([`Error::span`]), and what to do ([`Error::hint`]).
#[derive(Debug)]
pub struct Error {
    details: Box<Details>,
}

#[derive(Debug)]
struct Details {
    code: Code,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    span: Option<Span>,
    transient: Option<bool>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure of this kind. The message is one sentence, lower-case, without a full stop: `unknown source "x"`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            details: Box::new(Details {
                code,
                message: message.into(),
                context: Vec::new(),
                hint: None,
                span: None,
                transient: None,
                source: None,
            }),
        }
    }

    /// Adds on what it happened, such as `("table", "lake.main.daily")`.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.details.context.push((key, value.into()));
        self
    }

    /// Adds what the reader can do about it, as a sentence.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.details.hint = Some(hint.into());
        self
    }

    /// Adds the place in the SQL text.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.details.span = Some(span);
        self
    }

    /// Moves the place from one statement into the whole text it was taken from, at so many bytes from its start. A
    /// place in the whole text stays.
    #[must_use]
    pub fn within(self, text: &str, offset: usize) -> Self {
        match self.span() {
            Some(span) if span.text.len() < text.len() => {
                let span = Span::new(text, offset + span.offset, span.length);
                self.with_span(span)
            }
            _ => self,
        }
    }

    /// Takes the place away, where the text it lies in is not the reader's.
    #[must_use]
    pub fn without_span(mut self) -> Self {
        self.details.span = None;
        self
    }

    /// Adds the lower-level failure this one came from.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.details.source = Some(source.into());
        self
    }

    /// Overrides whether doing it again may help, where the code alone does not tell.
    #[must_use]
    pub fn with_transient(mut self, transient: bool) -> Self {
        self.details.transient = Some(transient);
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn code(&self) -> Code {
        self.details.code
    }

    /// What failed, in one sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.details.message
    }

    /// On what it happened, outermost last.
    #[must_use]
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.details.context
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.details.hint.as_deref()
    }

    /// Where in the SQL text it happened.
    #[must_use]
    pub fn span(&self) -> Option<&Span> {
        self.details.span.as_ref()
    }

    /// Whether doing the same thing again later may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.details.transient.unwrap_or_else(|| self.details.code.is_transient())
    }
}

impl fmt::Display for Error {
    /// One line: `QUERY: unknown column "x" (table=lake.main.t)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.details.code, self.details.message)?;
        for (index, (key, value)) in self.details.context.iter().enumerate() {
            let separator = if index == 0 { " (" } else { ", " };
            write!(f, "{separator}{key}={value}")?;
        }
        if !self.details.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.details.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_code_message_and_context() {
        let error = Error::new(Code::Query, "unknown column \"x\"").with_context("table", "lake.main.t");
        assert_eq!(error.to_string(), "QUERY: unknown column \"x\" (table=lake.main.t)");
    }

    #[test]
    fn transience_follows_the_code_unless_said_otherwise() {
        assert!(Error::new(Code::Conflict, "x").is_transient());
        assert!(!Error::new(Code::Query, "x").is_transient());
        assert!(Error::new(Code::Resource, "x").with_transient(true).is_transient());
    }

    #[test]
    fn a_place_in_a_statement_becomes_one_in_the_text_around_it() {
        let text = "SELECT 1; SELECT oops";
        let error = Error::new(Code::Query, "x").with_span(Span::new("SELECT oops", 7, 4)).within(text, 10);
        let offset = |error: &Error| error.span().map(|span| span.offset);
        assert_eq!(offset(&error), text.find("oops"));
        assert_eq!(offset(&error.within(text, 10)), Some(17));
    }
}
