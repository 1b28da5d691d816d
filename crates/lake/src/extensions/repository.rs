//! DuckDB's own way: `INSTALL` from its repository or a mirror of it.
//!
//! `INSTALL` has no limit of its own: from a server that accepts and never answers it never comes back, and it
//! cannot be interrupted. So it runs in a thread that is given up after a while. How long is the question: a
//! slow line may rightly need minutes for 40 MB, an unreachable one must not cost more than seconds. So first a
//! name that no repository has is asked for, which a reachable repository refuses at once.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use duckdb::Connection;

use super::quote;
use crate::mask;

/// How long a repository may take to say that it does not have something.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// How long a download may take from a repository that has answered.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(180);
/// No repository has this.
const NO_EXTENSION: &str = "dynamic_tables_reachability_check";

pub(super) struct Repository {
    directory: Option<PathBuf>,
    address: Option<String>,
    /// What is known of it after the first attempt: that it answers, or why there is no use in asking again.
    answers: Option<Result<(), String>>,
}

impl Repository {
    pub(super) fn new(directory: Option<&Path>, address: Option<String>) -> Self {
        Self { directory: directory.map(Path::to_path_buf), address, answers: None }
    }

    /// Installs one extension, or says in a sentence why not.
    pub(super) fn install(&mut self, name: &str) -> Result<(), String> {
        if self.answers.is_none() {
            self.answers = Some(self.ask());
        }
        if let Some(Err(reason)) = &self.answers {
            return Err(reason.clone());
        }
        match self.run(name, DOWNLOAD_LIMIT) {
            Some(Ok(())) => Ok(()),
            Some(Err(reason)) => Err(reason),
            None => {
                let reason = format!("download not done after {} s", DOWNLOAD_LIMIT.as_secs());
                self.answers = Some(Err(reason.clone()));
                Err(reason)
            }
        }
    }

    fn ask(&self) -> Result<(), String> {
        match self.run(NO_EXTENSION, ANSWER_LIMIT) {
            Some(Err(reason)) if reason.contains("Could not establish connection") => {
                Err(format!("{} cannot be reached", self.shown()))
            }
            // Whatever else it says, it says something, and soon.
            Some(_) => Ok(()),
            None => Err(format!("{} gave no answer within {} s", self.shown(), ANSWER_LIMIT.as_secs())),
        }
    }

    /// One `INSTALL`, given up (`None`) after `limit`. A thread that was given up hangs on until the process ends;
    /// should its answer still come, DuckDB moves a complete file into place, which does no harm.
    fn run(&self, name: &str, limit: Duration) -> Option<Result<(), String>> {
        let mut statements = String::new();
        if let Some(directory) = &self.directory {
            statements.push_str(&format!("SET extension_directory = {};", quote(directory)));
        }
        if let Some(address) = &self.address {
            statements
                .push_str(&format!("SET custom_extension_repository = {};", sql::names::quote_literal(address)));
        }
        // FORCE, because a file that is there but does not load is to be replaced.
        statements.push_str(&format!("FORCE INSTALL {name};"));

        let (sender, receiver) = mpsc::channel();
        let worker = thread::Builder::new().name("install-extension".to_owned()).spawn(move || {
            let outcome = Connection::open_in_memory().and_then(|connection| connection.execute_batch(&statements));
            // Nobody listens any more after the limit.
            let _ = sender.send(outcome.map_err(|failure| reason(&failure.to_string())));
        });
        match worker {
            Ok(_) => receiver.recv_timeout(limit).ok(),
            Err(failure) => Some(Err(format!("cannot start a thread: {failure}"))),
        }
    }

    fn shown(&self) -> String {
        self.address.as_deref().map_or_else(|| "DuckDB's repository".to_owned(), mask)
    }
}

/// The first sentence of DuckDB's message, and the transport's own word, which stands in parentheses at its end.
fn reason(message: &str) -> String {
    let message = mask(message);
    let first = message.lines().next().unwrap_or_default().trim();
    let last = message.lines().last().unwrap_or_default().trim();
    match last.rfind('(') {
        Some(start) if last.ends_with(')') && !first.ends_with(')') => format!("{first} {}", &last[start..]),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_line_and_what_the_transport_said() {
        let message = "IO Error: Failed to download \"x\" at URL \"http://mirror/x\"\nMore.\n\nVisit y (HTTP 404)";
        assert_eq!(reason(message), "IO Error: Failed to download \"x\" at URL \"http://mirror/x\" (HTTP 404)");
        assert_eq!(reason("IO Error: no access"), "IO Error: no access");
    }

    #[test]
    fn a_password_in_the_address_is_not_shown() {
        assert!(!reason("IO Error: at URL \"http://me:secret@mirror/x\"").contains("secret"));
    }
}
