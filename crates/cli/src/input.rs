//! Texts of SQL that commands read: files, and standard input as `-`.

use std::io::Read as _;

use error::{Code, Error, Result};
use sql::statement::{Located, Statement, parse_statements};

/// A text and what it is called in messages.
#[derive(Clone, Debug)]
pub struct Input {
    /// The file's name as given, or `standard input`.
    pub name: String,
    /// What it holds.
    pub text: String,
}

impl Input {
    /// Its statements; at least one, or it is an error: whoever names a file means something.
    pub fn statements(&self) -> Result<Vec<Located<Statement>>> {
        parse_statements(&self.text).map_err(|error| self.locate(error))
    }

    /// The error with the name of the text in which it happened. A place in another text, such as the query of a
    /// stored definition, is none in this one.
    pub fn locate(&self, error: Error) -> Error {
        match error.span() {
            Some(span) if span.text != self.text => error,
            _ => error.with_context("file", self.name.clone()),
        }
    }
}

/// Reads each of these files.
pub fn read(files: &[String]) -> Result<Vec<Input>> {
    if files.iter().filter(|file| *file == "-").count() > 1 {
        return Err(Error::new(Code::Configuration, "standard input can be read only once"));
    }
    files.iter().map(|file| read_one(file)).collect()
}

fn read_one(file: &str) -> Result<Input> {
    let (name, bytes) = if file == "-" {
        let mut bytes = Vec::new();
        ("standard input".to_owned(), std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (file.to_owned(), std::fs::read(file))
    };
    let bytes = bytes.map_err(|source| {
        Error::new(Code::Configuration, "cannot read the file").with_context("file", name.clone()).with_source(source)
    })?;
    let text = String::from_utf8(bytes).map_err(|source| {
        Error::new(Code::Configuration, "the file is not UTF-8 text")
            .with_context("file", name.clone())
            .with_hint("Save it as UTF-8.")
            .with_source(source)
    })?;
    Ok(Input { name, text })
}
