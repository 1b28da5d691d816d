//! A sandbox as whoever starts it sees it: a process with a clock, a limit of memory, and an end.

use std::io::{BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use tempfile::TempDir;

use crate::child::{Order, Reply, Setup};

/// How often it is looked at whether it shall go on.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// After an interruption that somebody asked for, a query has so long to end by itself.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// What it answers is never longer, whatever it is told.
const LONGEST_REPLY: u64 = 256 * 1_048_576;
/// What the process takes besides what its engine counts.
const MEMORY_BESIDES: u64 = 512 * 1_048_576;

/// What the environment of a sandbox has: what it takes to find the engine, its extensions and the certificates to trust, and
/// nothing that is secret.
const ENVIRONMENT: [&str; 6] =
    ["HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How one is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub memory: String,
    /// The same in bytes.
    pub memory_bytes: u64,
    pub threads: u32,
    pub disk: String,
    pub extension_directory: Option<PathBuf>,
}

/// A sandbox that waits for its order.
pub(crate) struct Sandboxed {
    child: Child,
    stdin: Option<ChildStdin>,
    memory_bytes: u64,
    /// Gone with it.
    _folder: TempDir,
}

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// Then the query is interrupted.
    pub soft: Duration,
    /// Then the process is killed.
    pub hard: Duration,
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Somebody cancelled it.
    Cancelled,
    /// It failed in a way that is an answer all the same: too slow, too large.
    Failed(Error),
}

impl Sandboxed {
    pub fn start(launch: &Launch) -> Result<Self> {
        let failed = |cause: std::io::Error| {
            Error::new(Code::Resource, "a process for the preview cannot be started").with_source(cause)
        };
        let folder = tempfile::Builder::new().prefix("dynamic-tables-preview-").tempdir().map_err(failed)?;
        let setup = Setup {
            memory: launch.memory.clone(),
            threads: launch.threads,
            disk: launch.disk.clone(),
            folder: folder.path().to_owned(),
            extension_directory: launch.extension_directory.clone(),
        };
        let setup = serde_json::to_string(&setup)
            .map_err(|cause| Error::new(Code::Internal, "a sandbox cannot be described").with_source(cause))?;
        let kept = ENVIRONMENT.iter().filter_map(|name| std::env::var_os(name).map(|value| (*name, value)));
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .arg(setup)
            .env_clear()
            .envs(kept)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, memory_bytes: launch.memory_bytes, _folder: folder })
    }

    /// Itself, if it still waits.
    pub fn if_alive(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }

    /// Gives it its order and waits for what comes of it, as long as `goes_on` says so.
    pub fn run(
        mut self,
        order: &Order,
        deadlines: Deadlines,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Reply, Ended> {
        let began = Instant::now();
        let unsaid = || Ended::Failed(Error::new(Code::Internal, "a sandbox does not take its order"));
        let text = serde_json::to_string(order).map_err(|_| unsaid())?;
        self.say(&text).map_err(|_| unsaid())?;
        let received = self.receive().ok_or_else(unsaid)?;
        let mut interrupted: Option<(Instant, bool)> = None;
        loop {
            match received.recv_timeout(LOOK_INTERVAL) {
                Ok(reply) => return self.ended(&reply, interrupted, deadlines),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.ended("", interrupted, deadlines),
            }
            if began.elapsed() >= deadlines.hard {
                self.kill();
                return Err(Ended::Failed(too_slow(deadlines.hard)));
            }
            if self.resident().is_some_and(|bytes| bytes > self.memory_bytes + MEMORY_BESIDES) {
                self.kill();
                return Err(Ended::Failed(too_large()));
            }
            match interrupted {
                Some((since, true)) if since.elapsed() >= CANCEL_GRACE => {
                    self.kill();
                    return Err(Ended::Cancelled);
                }
                Some((_, true)) => {}
                // Whoever is cancelled after the soft limit does not wait for the hard one.
                _ if !goes_on() => {
                    interrupted = Some((Instant::now(), true));
                    let _ = self.say("interrupt");
                }
                None if began.elapsed() >= deadlines.soft => {
                    interrupted = Some((Instant::now(), false));
                    let _ = self.say("interrupt");
                }
                _ => {}
            }
        }
    }

    fn ended(
        &mut self,
        reply: &str,
        interrupted: Option<(Instant, bool)>,
        deadlines: Deadlines,
    ) -> Result<Reply, Ended> {
        match interrupted {
            Some((_, true)) => return Err(Ended::Cancelled),
            Some((_, false)) => return Err(Ended::Failed(too_slow(deadlines.soft))),
            None => {}
        }
        serde_json::from_str(reply).map_err(|_| {
            let status = self.child.wait().map(|status| status.to_string()).unwrap_or_default();
            tracing::warn!(status, "a sandbox ended without an answer");
            Ended::Failed(
                Error::new(Code::Resource, "the process of the preview ended before it had an answer").with_hint(
                    "The query took more memory than there is, or hit a defect of the engine. Let it read less.",
                ),
            )
        })
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        stdin.write_all(line.as_bytes())?;
        stdin.write_all(b"\n")?;
        stdin.flush()
    }

    /// What it says, once it has said all of it.
    fn receive(&mut self) -> Option<Receiver<String>> {
        let stdout = self.child.stdout.take()?;
        let (send, receive) = sync_channel(1);
        std::thread::spawn(move || {
            let mut text = String::new();
            if BufReader::new(stdout).take(LONGEST_REPLY).read_to_string(&mut text).is_ok() {
                // Nobody may wait any more.
                let _ = send.send(text);
            }
        });
        Some(receive)
    }

    /// How much memory it holds, where that can be known.
    fn resident(&self) -> Option<u64> {
        let figures = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let pages: u64 = figures.split(' ').nth(1)?.parse().ok()?;
        Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
    }

    fn kill(&mut self) {
        // One that has just ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sandboxed {
    fn drop(&mut self) {
        self.kill();
    }
}

fn too_slow(limit: Duration) -> Error {
    Error::new(Code::Resource, format!("the preview took longer than {} seconds", limit.as_secs_f64()))
        .with_hint("Filter more, or take a sample.")
}

fn too_large() -> Error {
    Error::new(Code::Resource, "the preview took more memory than it may").with_hint("Filter more, or take a sample.")
}
