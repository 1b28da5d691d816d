//! A worker: a place at which one process after the other works, each behind the same proxy, with its faults.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use error::Result;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::broken;
use crate::place::Place;
use crate::plan::Fault;
use crate::program::{Process, Program};
use crate::proxy::Proxy;

/// How long a stopped process stays stopped: longer than a claim of it lasts.
const STOPPED: Duration = Duration::from_millis(3_500);

/// Short, so that what is left behind is taken over while the round lasts, and a stopped process finds that it was.
const IN_A_HURRY: [&str; 6] = ["--lease", "3", "--heartbeat-interval", "1", "--concurrency", "2"];

/// A fault that is armed: it happens when its step is reached for the `time`-th time.
#[derive(Clone, Debug)]
pub struct Armed {
    /// What happens.
    pub fault: Fault,
    /// When.
    pub time: u64,
}

/// One worker of a round.
pub struct Worker {
    number: usize,
    generation: usize,
    proxy: Option<Proxy>,
    folder: PathBuf,
    process: Option<Process>,
    armed: Vec<Armed>,
    /// How many lines of the log of faults were read.
    read: usize,
    continue_at: Option<Instant>,
}

impl Worker {
    /// A worker that does not run yet.
    ///
    /// # Errors
    /// When its proxy cannot be started.
    pub fn new(number: usize, place: &Place) -> Result<Self> {
        Ok(Self {
            number,
            generation: 0,
            proxy: place.server().map(Proxy::start).transpose()?,
            folder: place.folder().to_owned(),
            process: None,
            armed: Vec::new(),
            read: 0,
            continue_at: None,
        })
    }

    /// Whether there are connections that can be cut.
    #[must_use]
    pub fn has_connections(&self) -> bool {
        self.proxy.is_some()
    }

    /// Starts a process with these faults.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, program: &Program, place: &Place, armed: Vec<Armed>) -> Result<()> {
        self.generation += 1;
        let faults: Vec<String> = armed
            .iter()
            .map(|armed| format!("{}={}@{}", armed.fault.point, armed.fault.action, armed.time))
            .collect();
        let mut command = program.command();
        command.arg("worker").args(["--poll-interval", "1", "--grace-period", "5"]).args(IN_A_HURRY);
        command.args(place.arguments(self.proxy.as_ref().map(Proxy::port)));
        command.env(failpoint::FAULTS, faults.join(";")).env(failpoint::LOG, self.log());
        if let Some(proxy) = &self.proxy {
            command.env(failpoint::CONTROL, proxy.control());
        }
        // Should this process be killed, its workers end as well.
        command.env(failpoint::LIFELINE, "1").stdin(Stdio::piped());
        command.current_dir(&self.folder).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| broken("cannot start a worker", cause))?;
        let path = self.folder.join(format!("worker-{}-{}.log", self.number, self.generation));
        write_down(&mut child, &format!("faults: {}", faults.join(";")), path)?;
        self.process = Some(Process(child));
        self.armed = armed;
        self.read = 0;
        self.continue_at = None;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("faults-{}-{}", self.number, self.generation))
    }

    /// The faults that happened since this was last asked.
    pub fn happened(&mut self) -> Vec<Fault> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let mut happened = Vec::new();
        for line in text.lines().skip(self.read) {
            self.read += 1;
            let found =
                self.armed.iter().position(|armed| format!("{}={}", armed.fault.point, armed.fault.action) == line);
            if let Some(position) = found {
                happened.push(self.armed.remove(position).fault);
            }
        }
        if happened.iter().any(|fault| fault.action == "stop") {
            self.continue_at = Some(Instant::now() + STOPPED);
        }
        happened
    }

    /// Lets a stopped process go on when it is time.
    pub fn go_on(&mut self) {
        if self.continue_at.is_none() && self.is_stopped() {
            // It stopped itself while its own full disk kept it from writing that down.
            self.continue_at = Some(Instant::now() + STOPPED);
        }
        if self.continue_at.is_some_and(|time| Instant::now() >= time) {
            self.signal(Signal::CONT);
            self.continue_at = None;
        }
    }

    /// Whether its process has ended. The faults that it was armed with and that did not happen are given back.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<Vec<Fault>>> {
        let Some(process) = &mut self.process else { return Ok(Some(Vec::new())) };
        match process.0.try_wait().map_err(|cause| broken("cannot wait for a worker", cause))? {
            Some(_) => {
                self.process = None;
                Ok(Some(self.armed.drain(..).map(|armed| armed.fault).collect()))
            }
            None => Ok(None),
        }
    }

    /// Does something to it from outside, whatever it is doing.
    pub fn strike(&mut self, action: &str) {
        match action {
            "kill" => self.signal(Signal::KILL),
            "stop" => {
                self.signal(Signal::STOP);
                self.continue_at = Some(Instant::now() + STOPPED);
            }
            _ => {
                if let Some(proxy) = &self.proxy {
                    proxy.cut();
                }
            }
        }
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
        // A stopped process cannot end.
        self.signal(Signal::CONT);
    }

    fn is_stopped(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let asked = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(Pid::from_child(&process.0)), asked), Ok(Some(status)) if status.stopped())
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            // It has not been waited for, so its number is still its own; one that has ended takes no harm.
            let _ = kill_process(Pid::from_child(&process.0), signal);
        }
    }
}

/// Writes what a process says into a file. It gets a pipe, since a full disk would end one that writes into the file itself.
fn write_down(child: &mut Child, heading: &str, path: PathBuf) -> Result<()> {
    let mut file = File::create(path).map_err(|cause| broken("no file for a log", cause))?;
    writeln!(file, "{heading}").map_err(|cause| broken("no file for a log", cause))?;
    let Some(said) = child.stderr.take() else { return Ok(()) };
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(std::result::Result::ok) {
            if writeln!(file, "{line}").is_err() {
                return;
            }
        }
    });
    Ok(())
}
