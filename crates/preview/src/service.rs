//! Running previews: which connections, within which limits, one answer for the same question for a while.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use connection::{Connections, Kind, Resolved, not_read_yet};
use error::{Code, Error, Result};
use registry::Registry;

use crate::answer::{Answer, Asked};
use crate::cache::{Cache, key};
use crate::child::{Order, Reply, Trial};
use crate::names::{destination_alias, source_alias};
use crate::place::Place;
use crate::process::{Deadlines, Ended, Launch, Sandboxed};

/// What one is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that is a sandbox with these arguments and one more.
    pub program: PathBuf,
    /// The arguments before the last.
    pub arguments: Vec<String>,
    /// After this a query is interrupted.
    pub soft_limit: Duration,
    /// After this its process is killed.
    pub hard_limit: Duration,
    /// How many rows are shown unless fewer or more are asked for.
    pub row_limit: u64,
    /// More rows than these are never shown.
    pub most_rows: u64,
    /// How much memory one preview may take, as DuckDB writes it, and in bytes.
    pub memory: (String, u64),
    /// How many threads one preview may take.
    pub threads: u32,
    /// How many previews run at the same time; others wait for their turn.
    pub concurrency: usize,
    /// How long an answer is remembered.
    pub cache: Duration,
    /// Where DuckDB's extensions are, if not in DuckDB's own folder.
    pub extension_directory: Option<PathBuf>,
    /// Whether, once somebody has asked, the sandbox of the next is started before they ask.
    pub warm: bool,
}

impl Options {
    /// The defaults, with this program as the sandbox.
    #[must_use]
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            program,
            arguments,
            soft_limit: Duration::from_secs(120),
            hard_limit: Duration::from_secs(180),
            row_limit: 100,
            most_rows: 10_000,
            memory: ("1GB".to_owned(), 1_000_000_000),
            threads: 2,
            concurrency: 4,
            cache: Duration::from_secs(300),
            extension_directory: None,
            warm: true,
        }
    }
}

/// How the places for previews were used since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotFigures {
    /// How many previews got a place.
    pub acquired: u64,
    /// How many gave it back.
    pub released: u64,
    /// How many had to wait for one.
    pub waited: u64,
    /// How many hold one now.
    pub in_use: u64,
}

/// Larger answers are refused.
const MOST_BYTES: usize = 64 * 1_048_576;
/// The longest text of a query or a filter.
const LONGEST_TEXT: usize = 1_048_576;

/// Runs previews.
pub struct Previews {
    connections: Connections,
    options: Options,
    cache: Cache,
    slots: Mutex<usize>,
    freed: Condvar,
    spare: Mutex<Option<Sandboxed>>,
    acquired: AtomicU64,
    released: AtomicU64,
    waited: AtomicU64,
}

impl std::fmt::Debug for Previews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Previews").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Previews {
    /// Ready to run.
    #[must_use]
    pub fn new(connections: Connections, options: Options) -> Arc<Self> {
        Arc::new(Self {
            cache: Cache::new(options.cache),
            connections,
            options,
            slots: Mutex::new(0),
            freed: Condvar::new(),
            spare: Mutex::new(None),
            acquired: AtomicU64::new(0),
            released: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        })
    }

    /// The connections.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        self.connections.registry()
    }

    /// What it was told.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How the places were used.
    #[must_use]
    pub fn figures(&self) -> SlotFigures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let in_use = *self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        SlotFigures {
            acquired: read(&self.acquired),
            released: read(&self.released),
            waited: read(&self.waited),
            in_use: in_use as u64,
        }
    }

    /// Refuses what can be seen to be wrong before anything is reached.
    pub fn check(&self, asked: &Asked) -> Result<()> {
        let too_long = [&asked.sql, &asked.filter_sql].into_iter().flatten().any(|text| text.len() > LONGEST_TEXT);
        if too_long {
            return Err(Error::new(Code::Query, "the query or the filter is longer than 1 MiB"));
        }
        if asked.limit.is_some_and(|limit| limit == 0 || limit > self.options.most_rows) {
            let most = self.options.most_rows;
            return Err(Error::new(Code::Query, format!("limit must be a number from 1 to {most}")));
        }
        Ok(())
    }

    /// Refuses connections that are not those of the pipeline.
    pub fn authorize(&self, pipeline: i64, asked: &Asked) -> Result<()> {
        let known = self.registry().pipeline(pipeline)?;
        let pipeline = known.ok_or_else(|| Error::new(Code::Query, format!("there is no pipeline {pipeline}")))?;
        if pipeline.source != asked.source_id {
            return Err(Error::new(Code::Permission, "the source is not the one of this pipeline"));
        }
        if !pipeline.destinations.contains(&asked.destination_id) {
            return Err(Error::new(Code::Permission, "the destination is none of this pipeline"));
        }
        Ok(())
    }

    /// Tries a query. What is wrong with it is in the answer; none if somebody cancelled it.
    pub fn run(self: &Arc<Self>, asked: &Asked, goes_on: &mut dyn FnMut() -> bool) -> Option<Answer> {
        let began = Instant::now();
        let result = self.check(asked).map_err(Ended::Failed).and_then(|()| self.answer(asked, goes_on));
        let answer = match result {
            Ok(answer) => answer,
            Err(Ended::Cancelled) => {
                tracing::info!(table = asked.table_name, "preview cancelled");
                return None;
            }
            Err(Ended::Failed(error)) => Answer::failed(&error),
        };
        tracing::info!(
            table = asked.table_name,
            source = asked.source_id,
            rows = answer.row_count,
            cached = answer.cached,
            code = answer.error_code,
            ms = began.elapsed().as_secs_f64() * 1e3,
            "preview"
        );
        Some(answer)
    }

    fn answer(self: &Arc<Self>, asked: &Asked, goes_on: &mut dyn FnMut() -> bool) -> Result<Answer, Ended> {
        let find = |number: i64, what: &str| -> Result<Resolved> {
            let found = self.connections.resolve_number(number)?;
            found.ok_or_else(|| Error::new(Code::Query, format!("there is no {what} {number}")))
        };
        let source = find(asked.source_id, "source").map_err(Ended::Failed)?;
        // Only a query can read the destination, and one that does not works without it.
        let destination = if asked.destination_id == asked.source_id || asked.sql.is_none() {
            None
        } else {
            find(asked.destination_id, "destination").ok().filter(|found| found.kind != Kind::IcebergRest)
        };
        let rows = asked.limit.unwrap_or(self.options.row_limit);
        let revisions: Vec<(i64, u64)> =
            std::iter::once(&source).chain(&destination).map(|found| (found.number, found.revision)).collect();
        let key = key(asked, rows, &revisions);
        if let Some(answer) = self.cache.get(&key) {
            return Ok(answer);
        }
        let alias = source_alias(&source.name);
        let trial = Trial {
            destination: destination.map(|found| Place::new(destination_alias(&found.name, &alias), &found)),
            source: Place::new(alias, &source),
            asked: asked.clone(),
            rows,
            most_bytes: MOST_BYTES,
            statement_ms: u64::try_from(self.options.hard_limit.as_millis()).unwrap_or(u64::MAX),
        };
        match self.order(&Order::Preview(Box::new(trial)), goes_on)? {
            Reply::Preview(answer) => {
                self.cache.put(key, &answer);
                Ok(*answer)
            }
            Reply::Test(_) => Err(Ended::Failed(Error::new(Code::Internal, "a sandbox answers another question"))),
        }
    }

    /// Whether a connection can be reached.
    pub fn test(self: &Arc<Self>, name: &str) -> Result<()> {
        let connection = self.connections.resolve(name)?;
        if connection.kind == Kind::IcebergRest {
            return Err(not_read_yet(connection.kind));
        }
        let order = Order::Test(Place::new(source_alias(&connection.name), &connection));
        match self.order(&order, &mut || true) {
            Ok(Reply::Test(Ok(()))) => Ok(()),
            Ok(Reply::Test(Err(refused))) => {
                let error = Error::new(refused.code, refused.message).with_context("connection", connection.name);
                Err(match refused.hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
            Err(Ended::Failed(error)) => Err(error.with_context("connection", connection.name)),
            _ => Err(Error::new(Code::Internal, "a sandbox answers another question")),
        }
    }

    fn order(self: &Arc<Self>, order: &Order, goes_on: &mut dyn FnMut() -> bool) -> Result<Reply, Ended> {
        let _slot = self.slot(goes_on)?;
        let sandbox = self.take_warm().map_or_else(|| Sandboxed::start(&self.launch()), Ok).map_err(Ended::Failed)?;
        self.warm_up();
        let deadlines = Deadlines { soft: self.options.soft_limit, hard: self.options.hard_limit };
        sandbox.run(order, deadlines, goes_on)
    }

    /// Waits for a place.
    fn slot(&self, goes_on: &mut dyn FnMut() -> bool) -> Result<Slot<'_>, Ended> {
        const LOOK_INTERVAL: Duration = Duration::from_millis(50);
        let mut in_use = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if *in_use >= self.options.concurrency {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
        while *in_use >= self.options.concurrency {
            if !goes_on() {
                return Err(Ended::Cancelled);
            }
            in_use = self.freed.wait_timeout(in_use, LOOK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
        *in_use += 1;
        self.acquired.fetch_add(1, Ordering::Relaxed);
        Ok(Slot(self))
    }

    fn launch(&self) -> Launch {
        let (memory, memory_bytes) = self.options.memory.clone();
        Launch {
            program: self.options.program.clone(),
            arguments: self.options.arguments.clone(),
            disk: memory.clone(),
            memory,
            memory_bytes,
            threads: self.options.threads,
            extension_directory: self.options.extension_directory.clone(),
        }
    }

    fn take_warm(&self) -> Option<Sandboxed> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take().and_then(Sandboxed::if_alive)
    }

    /// Starts the sandbox of whoever asks next.
    fn warm_up(self: &Arc<Self>) {
        if !self.options.warm {
            return;
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none() {
            // Whoever asks then is told why none can be started.
            *spare = Sandboxed::start(&self.launch()).ok();
        }
    }
}

/// A place; given back when it goes.
struct Slot<'a>(&'a Previews);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.slots.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.released.fetch_add(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}
