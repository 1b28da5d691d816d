//! Running the program, never for longer than it may take.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use serde_json::Value;

use crate::broken;

/// How often a process that runs is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The program with fail points.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

/// A process that is killed when it is forgotten.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is not killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Program {
    /// The program that is built beside the one that runs, or the given one.
    ///
    /// # Errors
    /// When it is not there.
    pub fn find(path: Option<&Path>) -> Result<Self> {
        let beside = || -> Option<PathBuf> {
            let own = std::env::current_exe().ok()?;
            Some(own.parent()?.join("dynamic-tables-with-faults"))
        };
        let path = path.map(Path::to_owned).or_else(beside).filter(|path| path.exists());
        let Some(path) = path else {
            return Err(Error::new(Code::Configuration, "the program with fail points was not built"));
        };
        Ok(Self { path })
    }

    /// The program, not started yet, without any setting of the environment.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DYNAMIC_TABLES_") {
                command.env_remove(name);
            }
        }
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs a command to its end; none if it does not come to one in time.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, mut command: Command, folder: &Path, limit: Duration) -> Result<Option<Run>> {
        let (out, err) = (folder.join("stdout"), folder.join("stderr"));
        let file = |path: &Path| File::create(path).map_err(|cause| broken("no file for output", cause));
        command.current_dir(folder).stdout(file(&out)?).stderr(file(&err)?);
        let child = command.spawn().map_err(|cause| broken("cannot run the program", cause))?;
        let mut process = Process(child);
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = process.0.try_wait().map_err(|cause| broken("cannot wait for a process", cause))? {
                let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
                return Ok(Some(Run { code: status.code(), stdout: read(&out), stderr: read(&err) }));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Runs a command that lists something; its rows.
    ///
    /// # Errors
    /// When it does not answer in time, or with something else than rows.
    pub fn rows(&self, arguments: &[String], verb: &[&str], folder: &Path, limit: Duration) -> Result<Vec<Value>> {
        let mut command = self.command();
        command.args(verb).args(["--format", "json"]).args(arguments);
        let Some(run) = self.run(command, folder, limit)? else {
            return Err(broken("no answer", format!("{verb:?} took longer than {limit:?}")));
        };
        match serde_json::from_str(run.stdout.trim()) {
            Ok(Value::Array(rows)) => Ok(rows),
            _ => Err(broken("no rows", format!("{verb:?}: {}{}", run.stdout, run.stderr))),
        }
    }
}
