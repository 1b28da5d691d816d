//! One round: tables are created, workers start, faults happen, the writer stops, the workers bring everything up, and what
//! there is then is judged.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::place::Place;
use crate::plan::{Deck, Fault, Round, at_creation};
use crate::program::Program;
use crate::reader::{Disagreement, Reader, Seen};
use crate::tables::{SOURCES, TABLES, definitions};
use crate::tally::Tally;
use crate::worker::{Armed, Worker};
use crate::writer::{Written, newest_snapshot, write};
use crate::{broken, tally};

/// How long a command that lists something, or creates or verifies tables, may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// How long the workers may take to bring everything to the newest snapshot once nobody writes any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// How long a worker may take to end: its grace period of 5 seconds, 10 to roll back, and some more on a busy machine.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How long one fault is waited for.
const FAULT_LIMIT: Duration = Duration::from_secs(8);
/// How exactly two clocks tell what came first: that of a reader's look, and that of an attempt.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
const TICK: Duration = Duration::from_millis(50);

/// What came of a round.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What happened and what was wrong.
    pub tally: Tally,
    /// What the writer did.
    pub written: Written,
    /// What the reader saw.
    pub seen: Seen,
}

/// An attempt to refresh a table, as the history has it.
struct Attempt {
    table: String,
    state: String,
    worker: Option<String>,
    started_at: Timestamp,
    completed_at: Option<Timestamp>,
}

struct Running<'a> {
    program: &'a Program,
    round: &'a Round,
    place: Place,
    random: StdRng,
    tally: Tally,
}

/// Runs a round. Its folder is left in `keep` if something was wrong.
///
/// # Errors
/// When the tester itself fails.
pub fn run(program: &Program, round: &Round, deck: &mut Deck, keep: Option<&Path>) -> Result<Outcome> {
    let place = Place::new(round, keep)?;
    let random = StdRng::seed_from_u64(round.seed);
    let mut running = Running { program, round, place, random, tally: Tally::default() };
    let result = running.play(deck);
    if keep.is_some() && (result.is_err() || !running.tally.is_clean()) {
        let path = running.place.keep();
        running.tally.problems.push(format!("kept in {}", path.display()));
    }
    let (written, seen) = result?;
    Ok(Outcome { tally: running.tally, written, seen })
}

/// Tells threads to stop, however the round ends.
struct Stop<'a>(&'a [&'a AtomicBool]);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        for flag in self.0 {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

impl Running<'_> {
    fn play(&mut self, deck: &mut Deck) -> Result<(Written, Seen)> {
        let session = self.place.session()?;
        for statement in SOURCES {
            session.execute(statement)?;
        }
        if !self.create()? {
            return Ok((Written::default(), Seen::default()));
        }
        let created = newest_snapshot(&session)?;
        let mut workers =
            (0..self.round.workers).map(|number| Worker::new(number, &self.place)).collect::<Result<Vec<_>>>()?;
        let (writing, reading) = (AtomicBool::new(false), AtomicBool::new(false));
        let seed = self.round.seed;
        let sessions = (self.place.session()?, self.place.session()?);
        let (written, seen) = thread::scope(|scope| {
            let _stop = Stop(&[&writing, &reading]);
            let (writers, readers) = sessions;
            let writer = scope.spawn(|| {
                let session = writers;
                write(&session, seed, &writing)
            });
            let reader = scope.spawn(|| {
                let session = readers;
                Reader::new(&session)?.read(&reading)
            });
            self.disturb(&mut workers, deck)?;
            writing.store(true, Ordering::SeqCst);
            let written = writer.join().map_err(|_| broken("the writer", "it panicked"))??;
            self.settle(&mut workers, written.last)?;
            self.end(&mut workers)?;
            reading.store(true, Ordering::SeqCst);
            let seen = reader.join().map_err(|_| broken("the reader", "it panicked"))??;
            Ok::<_, Error>((written, seen))
        })?;
        self.judge(&session, &seen, (created, written.last))?;
        Ok((written, seen))
    }

    /// Creates the dynamic tables, in some rounds after an attempt that a fault ends. Whether they are there.
    fn create(&mut self) -> Result<bool> {
        let file = self.place.folder().join("tables.sql");
        std::fs::write(&file, definitions(self.round.lag_seconds)).map_err(|cause| broken("no file", cause))?;
        if self.round.disturbed_creation {
            let log = self.place.folder().join("faults-create");
            let mut command = self.program.command();
            command.arg("create").arg("-f").arg(&file).args(self.place.arguments(None));
            command.env(failpoint::FAULTS, at_creation(&mut self.random)).env(failpoint::LOG, &log);
            if self.program.run(command, self.place.folder(), COMMAND_LIMIT)?.is_none() {
                self.tally.hangs("creating tables under a fault".to_owned());
            }
            for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
                if let Some((point, action)) = line.split_once('=') {
                    *self.tally.faults.entry((point.to_owned(), action.to_owned())).or_default() += 1;
                }
            }
        }
        // A table whose creation died is there, and is filled by hand before another one can read it.
        for verb in [vec!["refresh"], vec!["create", "-f", "tables.sql"], vec!["refresh"]] {
            let mut command = self.program.command();
            command.args(&verb).args(self.place.arguments(None));
            let said = match self.program.run(command, self.place.folder(), COMMAND_LIMIT)? {
                Some(run) if run.code == Some(0) => continue,
                Some(run) => format!("{}{}", run.stdout, run.stderr),
                None => format!("no end within {COMMAND_LIMIT:?}"),
            };
            let faults = std::fs::read_to_string(self.place.folder().join("faults-create")).unwrap_or_default();
            self.tally.hangs(format!("{verb:?} after {:?}: {said}", faults.trim()));
            return Ok(false);
        }
        Ok(true)
    }

    /// Lets faults happen until there were enough.
    fn disturb(&mut self, workers: &mut [Worker], deck: &mut Deck) -> Result<()> {
        let enough = self.tally.number() + self.round.faults;
        let limit = FAULT_LIMIT * u32::try_from(self.round.faults).unwrap_or(1);
        let deadline = Instant::now() + limit;
        let mut strike_at = Instant::now() + Duration::from_secs(4);
        for worker in &mut *workers {
            let armed = self.armed(worker, deck, &[]);
            worker.start(self.program, &self.place, armed)?;
        }
        while self.tally.number() < enough && Instant::now() < deadline {
            for worker in &mut *workers {
                let happened = self.happened(worker);
                if let Some(unused) = worker.ended()? {
                    unused.into_iter().for_each(|fault| deck.give_back(fault));
                    let armed = self.armed(worker, deck, &happened);
                    worker.start(self.program, &self.place, armed)?;
                }
            }
            if Instant::now() >= strike_at {
                strike_at = Instant::now() + Duration::from_millis(self.random.random_range(6_000..15_000));
                let worker = self.random.random_range(0..workers.len());
                let kinds = if workers[worker].has_connections() { 3 } else { 2 };
                let action = ["kill", "stop", "cut"][self.random.random_range(0..kinds)];
                workers[worker].strike(action);
                self.tally.happened(&Fault { point: "any moment", action });
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// The faults of a process that starts after these have happened to the one before.
    fn armed(&mut self, worker: &Worker, deck: &mut Deck, happened: &[Fault]) -> Vec<Armed> {
        let mut armed: Vec<Armed> = Vec::new();
        for _ in 0..self.random.random_range(1..=3) {
            let fault = deck.deal(worker.has_connections());
            // One thing at a time at each step.
            if armed.iter().any(|armed| armed.fault.point == fault.point) {
                deck.give_back(fault);
                continue;
            }
            let most = match fault.point {
                "look" => 4,
                "adopt" => 1,
                _ => 6,
            };
            let time = self.random.random_range(1..=most);
            armed.push(Armed { fault, time });
        }
        // What died between the two commits is now adopted; that can fail as well.
        let between = ["committed", "finish", "registry-commit"];
        let died_between = happened.iter().any(|fault| between.contains(&fault.point));
        if died_between && armed.iter().all(|armed| armed.fault.point != "adopt") && self.random.random_bool(0.5) {
            let action = ["kill", "error"][self.random.random_range(0..2)];
            armed.push(Armed { fault: Fault { point: "adopt", action }, time: 1 });
        }
        armed
    }

    /// Counts what happened to a worker, and lets it go on if it was stopped for long enough.
    fn happened(&mut self, worker: &mut Worker) -> Vec<Fault> {
        let happened = worker.happened();
        for fault in &happened {
            self.tally.happened(fault);
        }
        worker.go_on();
        happened
    }

    /// Waits until every table is at the newest snapshot and nothing runs any more.
    fn settle(&mut self, workers: &mut [Worker], last: i64) -> Result<()> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut asked_at = Instant::now();
        while Instant::now() < deadline {
            for worker in &mut *workers {
                self.happened(worker);
                if worker.ended()?.is_some() {
                    worker.start(self.program, &self.place, Vec::new())?;
                }
            }
            if asked_at.elapsed() > Duration::from_secs(2) {
                // What does not answer now may answer at the next look.
                if self.behind(last).is_ok_and(|behind| behind.is_empty())
                    && self.attempts().is_ok_and(|attempts| attempts.iter().all(|attempt| !is_left(attempt)))
                {
                    return Ok(());
                }
                asked_at = Instant::now();
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Asks the workers to end.
    fn end(&mut self, workers: &mut [Worker]) -> Result<()> {
        for worker in &mut *workers {
            worker.terminate();
        }
        let deadline = Instant::now() + END_LIMIT;
        for (number, worker) in workers.iter_mut().enumerate() {
            while worker.ended()?.is_none() {
                if Instant::now() > deadline {
                    self.tally.hangs(format!("worker {number} did not end {END_LIMIT:?} after SIGTERM"));
                    worker.strike("kill");
                    break;
                }
                thread::sleep(TICK);
            }
            self.happened(worker);
        }
        Ok(())
    }

    fn rows(&self, verb: &[&str]) -> Result<Vec<Value>> {
        self.program.rows(&self.place.arguments(None), verb, self.place.folder(), COMMAND_LIMIT)
    }

    /// The tables that are not at this snapshot, in words.
    fn behind(&self, last: i64) -> Result<Vec<String>> {
        let rows = self.rows(&["list"])?;
        let of = |name: &str| rows.iter().find(|row| row["name"] == name);
        let mut behind = Vec::new();
        for table in &TABLES {
            let row = of(table.name);
            let version = row.and_then(|row| row["data_version"].as_i64());
            if version.is_none_or(|version| version < last) {
                let row = row.map(ToString::to_string).unwrap_or_default();
                behind.push(format!("{} is at {version:?}, not at {last}: {row}", table.name));
            }
        }
        Ok(behind)
    }

    fn attempts(&self) -> Result<Vec<Attempt>> {
        let attempt = |row: &Value| -> Option<Attempt> {
            let time = |name: &str| row[name].as_str()?.parse::<Timestamp>().ok();
            Some(Attempt {
                table: row["name"].as_str()?.rsplit('.').next()?.to_owned(),
                state: row["state"].as_str()?.to_owned(),
                worker: row["worker"].as_str().map(str::to_owned),
                started_at: time("started_at")?,
                completed_at: time("completed_at"),
            })
        };
        let rows = self.rows(&["history", "--limit", "1000000"])?;
        let attempts: Vec<Attempt> = rows.iter().filter_map(attempt).collect();
        if attempts.len() < rows.len() {
            return Err(broken("the history", "rows without a name, a state or a time"));
        }
        Ok(attempts)
    }

    /// The attempts that failed on a disk so full that the history could not be written either: that of one table, and of those
    /// that read it. Only the logs have them.
    fn unrecorded(&self) -> Result<Vec<Attempt>> {
        let mut unrecorded = Vec::new();
        let folder = self.place.folder();
        for entry in std::fs::read_dir(folder).map_err(|cause| broken("no folder", cause))?.flatten() {
            if !entry.file_name().to_string_lossy().starts_with("worker-") {
                continue;
            }
            let log = std::fs::read_to_string(entry.path()).map_err(|cause| broken("no log", cause))?;
            for line in log.lines().filter(|line| line.contains("could not record a failed refresh")) {
                let time = line.split_whitespace().next().and_then(|time| time.parse::<Timestamp>().ok());
                let Some(time) = time else { continue };
                unrecorded.extend(TABLES.iter().map(|table| Attempt {
                    table: table.name.to_owned(),
                    state: "FAILED".to_owned(),
                    worker: None,
                    started_at: time,
                    completed_at: Some(time),
                }));
            }
        }
        Ok(unrecorded)
    }

    /// What there is after the round.
    fn judge(&mut self, session: &lake::Session, seen: &Seen, (created, last): (i64, i64)) -> Result<()> {
        for behind in self.behind(last)? {
            self.tally.hangs(behind);
        }
        let mut attempts = self.attempts()?;
        for attempt in attempts.iter().filter(|attempt| is_left(attempt)) {
            let Attempt { table, worker, started_at, .. } = attempt;
            let worker = worker.as_deref().unwrap_or_default();
            self.tally.hangs(format!("a refresh of {table} by {worker} has been running since {started_at}"));
        }
        attempts.extend(self.unrecorded()?);
        let all = Reader::new(session)?.look_back(created)?;
        let unexcused = |seen: &'_ &Disagreement| !is_excused(seen, &attempts);
        let seen_apart = seen.disagreements.iter().chain(&all.disagreements).filter(unexcused);
        let torn: BTreeSet<&str> = seen_apart.map(|seen| seen.said.as_str()).collect();
        torn.into_iter().for_each(|said| self.tally.torn(said.to_owned()));
        for wrong in &seen.wrong {
            self.tally.wrong(wrong);
        }
        let reader = Reader::new(session)?;
        for table in &TABLES {
            if let Some(wrong) = reader.compare(table)? {
                self.tally.wrong(&wrong);
            }
        }
        verify(&self.rows(&["verify"])?, &mut self.tally)
    }
}

/// What the product says of itself must be the same.
fn verify(rows: &[Value], tally: &mut tally::Tally) -> Result<()> {
    if rows.len() < TABLES.len() {
        return Err(Error::new(Code::Internal, format!("verify compared {} tables", rows.len())));
    }
    for row in rows.iter().filter(|row| row["result"] != "equal") {
        let count = |column: &str| row[column].as_u64().unwrap_or(0);
        let (missing, surplus) = (count("missing"), count("surplus"));
        let name = row["name"].as_str().and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        if row["result"] == "FAILED" {
            tally.hangs(format!("verify could not compare: {row}"));
            continue;
        }
        // One whose state table alone is wrong will be wrong itself.
        let missing = if missing + surplus == 0 { 1 } else { missing };
        tally.differs(name, missing, surplus, &format!("verify: {row}"));
    }
    Ok(())
}

/// Whether it counts as running. Of a command that died nobody can tell for an hour whether it still runs.
fn is_left(attempt: &Attempt) -> bool {
    attempt.state == "EXECUTING" && attempt.worker.is_some()
}

/// Whether one of both tables stayed behind because its refresh failed: then the other one goes on without it.
fn is_excused(disagreement: &Disagreement, attempts: &[Attempt]) -> bool {
    let Disagreement { behind: Some(behind), since, at, .. } = disagreement else { return false };
    attempts.iter().any(|attempt| {
        let failed = matches!(attempt.state.as_str(), "FAILED" | "UPSTREAM_FAILED" | "CANCELLED");
        let after = attempt.completed_at.is_some_and(|completed| completed.duration_since(*since) > -SLACK);
        let before = attempt.started_at.duration_since(*at) < SLACK;
        failed && after && before && attempt.table == *behind
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_failure_of_the_one_behind_at_that_time_excuses() {
        let time = |second: i64| Timestamp::from_second(1_000 + second).unwrap();
        let seen = Disagreement { said: String::new(), behind: Some("sums"), since: time(10), at: time(20) };
        let attempt = |table: &str, state: &str, from: i64, to: i64| Attempt {
            table: table.to_owned(),
            state: state.to_owned(),
            worker: None,
            started_at: time(from),
            completed_at: Some(time(to)),
        };
        assert!(is_excused(&seen, &[attempt("sums", "FAILED", 14, 15)]));
        assert!(is_excused(&seen, &[attempt("sums", "UPSTREAM_FAILED", 14, 25)]));
        assert!(!is_excused(&seen, &[attempt("copies", "FAILED", 14, 15), attempt("sums", "SUCCEEDED", 14, 15)]));
        assert!(!is_excused(&seen, &[attempt("sums", "FAILED", 1, 5), attempt("sums", "FAILED", 25, 26)]));
        assert!(!is_excused(&Disagreement { behind: None, ..seen }, &[attempt("sums", "FAILED", 14, 15)]));
    }
}
