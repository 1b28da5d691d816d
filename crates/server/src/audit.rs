//! Who has changed what: one line for each statement that changes something, and for each that was refused. The lines go to
//! the log, and as JSON to a file if one is given. Secrets in statements are masked.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use error::{Code, Error, Result};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::access::Caller;

/// Something that somebody does.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Deed {
    /// The name of the token; none where no tokens are asked for.
    by: Option<String>,
    role: &'static str,
    /// `CREATE`, `ALTER`, `DROP`, `REFRESH`, `SQL` or `CANCEL`.
    action: &'static str,
    /// The dynamic tables that it is about; none means all, or that the statement says it.
    tables: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Uuid>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Outcome {
    /// It goes on as a task, of which another line will say how it ended.
    Started,
    /// It is done.
    Success,
    /// It was refused, or failed.
    Failure,
    /// It was cancelled.
    Revoked,
}

#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    #[serde(flatten)]
    deed: &'a Deed,
    result: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Where the lines go.
#[derive(Default)]
pub(crate) struct Audit {
    file: Option<Mutex<File>>,
    /// How many lines there were.
    deeds: AtomicU64,
}

impl Deed {
    pub fn new(caller: &Caller, action: &'static str, tables: Vec<String>) -> Self {
        Self { by: caller.name.clone(), role: caller.role.as_str(), action, tables, statement: None, task: None }
    }

    /// With its text.
    pub fn with_statement(mut self, text: &str) -> Self {
        self.statement = Some(lake::mask(text));
        self
    }

    /// With the task that does it, or that it is about.
    pub fn with_task(mut self, task: Uuid) -> Self {
        self.task = Some(task);
        self
    }
}

impl Audit {
    /// Lines go to the end of this file, too.
    pub fn open(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else { return Ok(Self::default()) };
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|cause| {
            let message = format!("the audit log {} cannot be written: {cause}", path.display());
            Error::new(Code::Configuration, message).with_hint("Name a file in a folder that exists.")
        })?;
        Ok(Self { file: Some(Mutex::new(file)), deeds: AtomicU64::new(0) })
    }

    /// A number that changes whenever something that changes something begins or ends, before whoever asked for it is
    /// answered.
    pub fn deeds(&self) -> u64 {
        self.deeds.load(Ordering::SeqCst)
    }

    /// Says how it ended that was done at once.
    pub fn ended(&self, deed: &Deed, failed: Option<&Error>) {
        let outcome = if failed.is_some() { Outcome::Failure } else { Outcome::Success };
        self.record(deed, outcome, failed.map(|error| (error.code().as_str(), error.message())));
    }

    /// Writes a line; of a failure its code and message.
    pub fn record(&self, deed: &Deed, result: Outcome, failed: Option<(&str, &str)>) {
        self.deeds.fetch_add(1, Ordering::SeqCst);
        let (error_code, error) = (failed.map(|(code, _)| code), failed.map(|(_, message)| lake::mask(message)));
        tracing::info!(
            by = deed.by,
            action = deed.action,
            tables = deed.tables.join(", "),
            statement = deed.statement,
            task = deed.task.map(tracing::field::display),
            ?result,
            error_code,
            "audit"
        );
        let Some(file) = &self.file else { return };
        let line = Line { at: Timestamp::now(), deed, result, error_code, error };
        let written = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            // In one piece, so that another server may write to the same file.
            file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!(%error, "the audit log could not be written");
        }
    }
}
