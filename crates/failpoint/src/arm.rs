//! Arming fail points from the environment, and what happens at one.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use error::{Code, Error, Result};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use crate::POINTS;

/// What shall happen: `point=action@n;...`, at the n-th time that the point is reached.
pub const FAULTS: &str = "DYNAMIC_TABLES_FAULTS";
/// The file that gets a line `point=action` just before it happens.
pub const LOG: &str = "DYNAMIC_TABLES_FAULTS_LOG";
/// The address `host:port` of who cuts the connections of this process when somebody connects there.
pub const CONTROL: &str = "DYNAMIC_TABLES_FAULTS_CONTROL";

/// If it is set, the process ends with its standard input: with whoever holds the other end.
pub const LIFELINE: &str = "DYNAMIC_TABLES_FAULTS_LIFELINE";

/// How long the disk stays full.
const FULL_DISK: Duration = Duration::from_secs(1);
/// How long the one who cuts connections may take.
const CUT_LIMIT: Duration = Duration::from_secs(5);
/// The number of SIGXFSZ, which would end a process that writes to a full disk.
const SIGXFSZ: i32 = 25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Stop,
    Exit,
    Panic,
    Cut,
    FullDisk,
    Error,
}

/// One fault as it is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Armed<'a> {
    point: &'a str,
    action: Action,
    name: &'a str,
    time: u64,
}

/// Arms the fail points that the environment names.
///
/// # Errors
/// `CONFIGURATION` for an unknown point or action.
pub fn arm() -> Result<()> {
    if std::env::var_os(LIFELINE).is_some() {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(2);
        });
    }
    let Ok(faults) = std::env::var(FAULTS) else { return Ok(()) };
    for fault in faults.split(';').filter(|fault| !fault.is_empty()) {
        parse(fault).and_then(|armed| set(&armed)).map_err(|why| {
            Error::new(Code::Configuration, format!("{FAULTS} is wrong: {why}")).with_context("fault", fault)
        })?;
    }
    Ok(())
}

fn parse(fault: &str) -> std::result::Result<Armed<'_>, String> {
    let (point, rest) = fault.split_once('=').ok_or("it is not point=action@n")?;
    let (name, time) = rest.split_once('@').unwrap_or((rest, "1"));
    let action = match name {
        "kill" => Action::Kill,
        "stop" => Action::Stop,
        "exit" => Action::Exit,
        "panic" => Action::Panic,
        "cut" => Action::Cut,
        "enospc" => Action::FullDisk,
        "error" => Action::Error,
        _ => return Err(format!("there is no action {name}")),
    };
    if !POINTS.contains(&point) {
        return Err(format!("there is no fail point {point}"));
    }
    let time = time.parse().ok().filter(|time| *time > 0).ok_or("the time is not a number from 1")?;
    Ok(Armed { point, action, name, time })
}

fn set(armed: &Armed<'_>) -> std::result::Result<(), String> {
    let Armed { point, action, time, .. } = *armed;
    if action == Action::Error {
        let before = if time > 1 { format!("{}*off->", time - 1) } else { String::new() };
        return fail::cfg(point, &format!("{before}1*return"));
    }
    if action == Action::FullDisk {
        // With a handler of any kind, a write to a full disk fails in place of ending the process.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
            .map_err(|cause| format!("cannot listen for SIGXFSZ: {cause}"))?;
    }
    let reached = AtomicU64::new(0);
    let line = format!("{point}={}", armed.name);
    fail::cfg_callback(point, move || {
        if reached.fetch_add(1, Ordering::SeqCst) + 1 == time {
            log(&line);
            happen(action);
        }
    })
}

#[expect(clippy::panic, reason = "that is what was asked for")]
fn happen(action: Action) {
    match action {
        Action::Kill | Action::Stop => {
            let signal = if action == Action::Kill { Signal::KILL } else { Signal::STOP };
            // A signal to oneself cannot be refused.
            let _ = kill_process(getpid(), signal);
        }
        Action::Exit => std::process::exit(2),
        Action::Panic => std::panic::panic_any("injected panic"),
        Action::Cut => cut(),
        Action::FullDisk => fill_disk(),
        Action::Error => {}
    }
}

/// Has the connections cut, and waits until they are.
fn cut() {
    let Some(mut control) = std::env::var(CONTROL).ok().and_then(|address| TcpStream::connect(address).ok()) else {
        return;
    };
    // Its end is the answer.
    let _ = control.set_read_timeout(Some(CUT_LIMIT)).and_then(|()| control.read_to_end(&mut Vec::new()));
}

/// Lets every write to a file fail for a while.
fn fill_disk() {
    let before = getrlimit(Resource::Fsize);
    if setrlimit(Resource::Fsize, Rlimit { current: Some(0), ..before }).is_ok() {
        std::thread::spawn(move || {
            std::thread::sleep(FULL_DISK);
            let _ = setrlimit(Resource::Fsize, before);
        });
    }
}

/// The failure of a step that was made to fail: a connection was lost.
#[must_use]
pub fn injected(point: &str) -> Error {
    log(&format!("{point}=error"));
    Error::new(Code::Connection, format!("injected at {point}"))
}

/// A line that cannot be written is a fault that is not counted.
fn log(line: &str) {
    let Ok(path) = std::env::var(LOG) else { return };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(
            parse("commit=kill@3"),
            Ok(Armed { point: "commit", action: Action::Kill, name: "kill", time: 3 })
        );
        assert_eq!(parse("look=enospc").map(|armed| armed.time), Ok(1));
        for (fault, why) in [
            ("commit", "not point"),
            ("comit=kill", "no fail point"),
            ("commit=burn", "no action"),
            ("commit=kill@0", "from 1"),
        ] {
            assert!(parse(fault).is_err_and(|said| said.contains(why)), "{fault}");
        }
    }

    #[test]
    fn a_step_fails_at_its_time_and_never_again() {
        fn step() -> Result<()> {
            crate::fail_point!("decided");
            Ok(())
        }
        assert!(step().is_ok());
        assert!(parse("decided=error@2").and_then(|armed| set(&armed)).is_ok());
        let ends: Vec<bool> = (0..4).map(|_| step().is_ok()).collect();
        assert_eq!(ends, [true, false, true, true]);
    }
}
