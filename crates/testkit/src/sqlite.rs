//! Asking an SQLite database as its operator would, beside the process that has it open.

use std::io;
use std::process::Command;

/// Python's sqlite3 is everywhere where the rest of the project is built; the sqlite3 shell is not.
const SCRIPT: &str = "import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
for row in connection.execute(sys.argv[2]): print('|'.join('' if v is None else str(v) for v in row))
connection.commit()";

/// Runs one statement on the database of a URL `sqlite:path`: rows as lines, columns separated by `|`.
///
/// # Errors
/// If there is no Python, or the statement fails: with what it says.
pub fn ask(url: &str, sql: &str) -> io::Result<String> {
    let path = url.trim_start_matches("sqlite:");
    let output = Command::new("python3").args(["-c", SCRIPT, path, sql]).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let said = String::from_utf8(output.stdout).map_err(io::Error::other)?;
    Ok(said.trim_end().to_owned())
}
