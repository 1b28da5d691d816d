//! Which way of refreshing a table is the quickest: measured on a copy, in a lake of its own, over the changes that the sources
//! really had. The table, what it reads and the registry stay untouched.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use error::{Code, Error, Result};
use incremental::apply::WEIGHT;
use lake::{ChangeKind, Lake, Options, WindowRule};
use registry::{Definition, RefreshAction, RefreshTrigger, Registry};
use sql::names::{ObjectName, TableName, quote_identifier, quote_literal};
use sql::properties::{Properties, RefreshMode, Scheduler, TargetLag};
use sql::statement::{CreateDynamicTable, CreateMode};

use crate::report::RefreshRequest;
use crate::tables::{DynamicTables, Interrupter};

/// The copy's name while the original is copied.
const COPY: &str = "__dt_copy";

/// After so many refreshes AUTO has to know which way is better.
const FINDING_OUT: usize = 3;

/// So many commits of the sources' history are replayed, forth and back.
const COMMITS: usize = 8;

/// Without a history one row of so many goes in each step.
const MADE_UP_SHARE: u64 = 1_000;

/// What is wanted of a trial.
#[derive(Clone, Debug)]
pub struct TrialRequest {
    /// The dynamic table.
    pub name: ObjectName,
    /// How many refreshes of each way are measured.
    pub rounds: usize,
    /// How the original's lake is opened; the copy is opened alike, elsewhere.
    pub options: Options,
    /// The folder in which the copy is made; without one, that of the system for temporary files.
    pub folder: Option<PathBuf>,
}

/// One way of refreshing.
#[derive(Clone, Debug)]
pub struct Way {
    /// The refresh mode.
    pub mode: RefreshMode,
    /// What each measured refresh took.
    pub took: Vec<Duration>,
    /// What was done in the last of them.
    pub went: Option<RefreshAction>,
    /// Why it was not measured.
    pub refused: Option<String>,
}

/// What a trial found.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The dynamic table.
    pub name: TableName,
    /// The tables that it reads, and how many rows of each were copied.
    pub sources: Vec<(TableName, u64)>,
    /// How many rows changed in each step, in all sources together.
    pub steps: Vec<u64>,
    /// Whether the steps are commits of the sources' own history.
    pub replayed: bool,
    /// The ways: in full, incrementally, and as AUTO chooses.
    pub ways: Vec<Way>,
}

/// A copy of a dynamic table's sources, that goes with this value.
pub struct TrialCopy<'a> {
    original: &'a DynamicTables,
    definition: Definition,
    sources: Vec<(TableName, u64)>,
    steps: Vec<Step>,
    replayed: bool,
    rounds: usize,
    copy: DynamicTables,
    /// Behind everything that has files of it open.
    _folder: tempfile::TempDir,
}

/// What changes from one state of the sources to the next.
struct Step {
    /// The sources that change, each with the temporary table that has its rows and their weights.
    changes: Vec<(TableName, String)>,
    rows: u64,
}

impl DynamicTables {
    /// Copies what a dynamic table reads into a lake of its own.
    ///
    /// # Errors
    /// `QUERY` for an unknown name, and what reading the sources or writing the copy fails with. Nothing is left of it then.
    pub fn copy_for_trial(&self, request: &TrialRequest) -> Result<TrialCopy<'_>> {
        let table = self.find(&request.name)?;
        let definition = table.definition;
        let folder = match &request.folder {
            Some(folder) => tempfile::Builder::new().prefix("dynamic-tables-bench-").tempdir_in(folder),
            None => tempfile::Builder::new().prefix("dynamic-tables-bench-").tempdir(),
        };
        let folder = folder.map_err(|cause| {
            Error::new(Code::Resource, format!("the copy cannot be made: {cause}"))
                .with_hint("Name a folder that can be written with --folder.")
        })?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let catalog = format!("ducklake:sqlite:{}", at("catalog.sqlite"));
        let options = Options {
            path: catalog.clone(),
            data_path: Some(format!("{}/", at("data"))),
            schema: "main".to_owned(),
            metadata_schema: None,
            read_only: false,
            ..request.options.clone()
        };
        // The schema that the query's names are in has to be there before a session can be in it.
        let made = Lake::open(&options)?.session()?;
        made.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(&definition.default_schema)))?;
        drop(made);
        let lake = Lake::open(&Options { schema: definition.default_schema.clone(), ..options })?;
        let copy = Self::open(lake, Registry::open(&format!("sqlite:{}", at("registry.sqlite")))?)?;
        self.session.execute(&format!(
            "ATTACH {} AS {COPY} (META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000)",
            quote_literal(&catalog)
        ))?;
        // From here on what was begun is undone by the value's end.
        let (original, sources, rounds) = (self, Vec::new(), request.rounds.max(1));
        let mut trial = TrialCopy {
            original,
            definition,
            sources,
            steps: Vec::new(),
            replayed: false,
            rounds,
            copy,
            _folder: folder,
        };
        trial.fill()?;
        Ok(trial)
    }
}

impl Drop for TrialCopy<'_> {
    fn drop(&mut self) {
        let session = &self.original.session;
        let temporary = self.steps.iter().flat_map(|step| &step.changes).map(|(_, relation)| relation);
        let drop: String = temporary.map(|relation| format!("DROP TABLE IF EXISTS {relation}; ")).collect();
        if let Err(error) = session.execute(&format!("{drop}DETACH DATABASE IF EXISTS {COPY}")) {
            tracing::debug!(%error, "could not let go of the copy");
        }
    }
}

impl TrialCopy<'_> {
    /// A handle that stops what the copy is doing.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.copy.interrupter()
    }

    /// The tables that are read, and how many rows of each were copied.
    #[must_use]
    pub fn sources(&self) -> &[(TableName, u64)] {
        &self.sources
    }

    /// Copies the sources as they were before the changes that will be replayed.
    fn fill(&mut self) -> Result<()> {
        let plan = self.original.analyse(&self.definition)?;
        let tables: Vec<TableName> = plan.plan.sources.iter().map(|source| source.name.clone()).collect();
        let now = self.original.session.current_snapshot()?.id;
        let commits = self.commits(&tables, now)?;
        let from = commits.first().map_or(now, |first| first - 1);
        let session = &self.original.session;
        for table in &tables {
            let copied = table.quoted(COPY);
            let original = table.quoted(self.original.lake.alias());
            let rows = format!("SELECT * FROM {original} AT (VERSION => {from})");
            session.execute(&format!(
                "CREATE SCHEMA IF NOT EXISTS {COPY}.{}; CREATE TABLE {copied} AS {rows} LIMIT 0",
                quote_identifier(&table.schema)
            ))?;
            let count = session.execute(&format!("INSERT INTO {copied} {rows}"))?;
            self.sources.push((table.clone(), count));
        }
        self.make_views(&plan.plan.views)?;
        self.replayed = !commits.is_empty();
        if self.replayed { self.read_steps(&tables, from, &commits) } else { self.make_up_steps() }
    }

    /// The newest commits that changed rows of these tables, as far as all that came since can be told. None if there is none.
    fn commits(&self, tables: &[TableName], now: i64) -> Result<Vec<i64>> {
        let session = &self.original.session;
        let ids: Vec<i64> = session.table_ids(tables)?.into_iter().flatten().collect();
        // That far back at most: reading the past of years takes long.
        let since = (now - 100_000).max(0);
        let changes = session.changes_since(since)?;
        let of_ours = |change: &&lake::Change| change.table_id.is_some_and(|id| ids.contains(&id));
        let told = |kind: ChangeKind| matches!(kind, ChangeKind::Inserted | ChangeKind::Deleted);
        let unlike = changes.changes.iter().rev().find(|change| {
            change.kind == ChangeKind::Forgotten
                || of_ours(change) && !told(change.kind) && change.kind != ChangeKind::Compacted
                || change.name.as_ref().is_some_and(|(schema, name)| tables.contains(&TableName::new(schema, name)))
        });
        let begin = unlike.map_or(changes.oldest.max(since), |change| change.snapshot);
        let mut commits: Vec<i64> = changes
            .changes
            .iter()
            .filter(of_ours)
            .filter(|change| told(change.kind) && change.snapshot > begin)
            .map(|change| change.snapshot)
            .collect();
        commits.dedup();
        let mut commits = commits.split_off(commits.len().saturating_sub(COMMITS));
        if commits.is_empty() {
            return Ok(commits);
        }
        // What filled the tables was no change of what there was.
        let ends: Vec<i64> = commits.iter().map(|commit| commit - 1).chain([now]).collect();
        let counts: Vec<String> = ends
            .iter()
            .map(|version| {
                let each = tables.iter().map(|table| {
                    let table = table.quoted(self.original.lake.alias());
                    format!("(SELECT count(*) FROM {table} AT (VERSION => {version}))")
                });
                each.collect::<Vec<_>>().join(" + ")
            })
            .collect();
        let counts = session.counts(&format!("SELECT {}", counts.join(", ")))?;
        let filled = counts.windows(2).rposition(|pair| pair[1] > pair[0].saturating_mul(2));
        let commits = commits.split_off(filled.map_or(0, |filled| filled + 1));
        Ok(commits)
    }

    fn read_steps(&mut self, tables: &[TableName], from: i64, commits: &[i64]) -> Result<()> {
        let mut before = from;
        for (number, commit) in commits.iter().enumerate() {
            let mut step = Step { changes: Vec::new(), rows: 0 };
            let windows = self.original.session.windows(tables, before, *commit)?;
            for (place, window) in windows.iter().enumerate() {
                if let WindowRule::Broken(why) = window.rule {
                    let message = format!("the change of {} cannot be read: {why:?}", window.table);
                    return Err(Error::new(Code::Conflict, message).with_transient(true));
                }
                if window.is_unchanged() {
                    continue;
                }
                let columns = self.columns(&window.table)?;
                let relation = format!("temp.main.__dt_step{number}_{place}");
                let rows = self.original.session.create_as(&format!(
                    "CREATE OR REPLACE TEMP TABLE {relation} AS {}",
                    window.delta_sql(&columns, WEIGHT)
                ))?;
                step.rows += rows;
                step.changes.push((window.table.clone(), relation));
            }
            before = *commit;
            self.steps.push(step);
        }
        self.steps.retain(|step| step.rows > 0);
        if self.steps.is_empty() {
            self.replayed = false;
            return self.make_up_steps();
        }
        Ok(())
    }

    /// Steps for sources without a history: some rows of the largest go in each, others in the next.
    fn make_up_steps(&mut self) -> Result<()> {
        let Some((table, count)) = self.sources.iter().max_by_key(|(_, rows)| *rows).cloned() else {
            return Err(Error::new(
                Code::Query,
                format!("{} reads no table that could change", self.definition.name),
            ));
        };
        let copied = table.quoted(COPY);
        let share = MADE_UP_SHARE.min(count / 4).max(1);
        for number in 0..COMMITS {
            let relation = format!("temp.main.__dt_step{number}_made_up");
            let rows = self.original.session.create_as(&format!(
                "CREATE OR REPLACE TEMP TABLE {relation} AS SELECT *, (-1)::TINYINT AS {} FROM {copied} \
                 WHERE hash(rowid) % {share} = {number}",
                quote_identifier(WEIGHT)
            ))?;
            self.steps.push(Step { changes: vec![(table.clone(), relation)], rows });
        }
        self.steps.retain(|step| step.rows > 0);
        if self.steps.is_empty() {
            return Err(Error::new(Code::Query, format!("{} reads nothing but empty tables", self.definition.name)));
        }
        Ok(())
    }

    /// Views in the order in which they can be made, which only trying tells.
    fn make_views(&self, views: &[TableName]) -> Result<()> {
        let mut left: Vec<(TableName, String)> = Vec::new();
        for view in views {
            if let Some(select) = self.original.session.view(view)? {
                left.push((view.clone(), select));
            }
        }
        let session = self.copy.session();
        while !left.is_empty() {
            let before = left.len();
            let mut failure = None;
            left.retain(|(view, select)| {
                let schema = quote_identifier(&view.schema);
                let name = view.quoted(self.copy.lake.alias());
                let sql = format!("CREATE SCHEMA IF NOT EXISTS {schema}; CREATE VIEW {name} AS {select}");
                session.execute(&sql).inspect_err(|error| failure = Some(error.to_string())).is_err()
            });
            if left.len() == before {
                let message = format!("the views cannot be copied: {}", failure.unwrap_or_default());
                return Err(Error::new(Code::Query, message));
            }
        }
        Ok(())
    }

    fn columns(&self, table: &TableName) -> Result<Vec<String>> {
        let shape = self.original.session.shape(table, None)?;
        let shape = shape.ok_or_else(|| Error::new(Code::Schema, format!("{table} is gone")))?;
        Ok(shape.columns.into_iter().map(|column| column.name).collect())
    }

    /// Refreshes the copies in all three ways after each step, and compares them with the query in the end.
    ///
    /// # Errors
    /// What a refresh fails with, and `INTERNAL` if a copy differs from its query in the end.
    pub fn run(&self) -> Result<Trial> {
        let mut ways = Vec::new();
        for mode in [RefreshMode::Full, RefreshMode::Incremental, RefreshMode::Auto] {
            let refused = match self.copy.create(&self.statement(mode), &self.definition.query) {
                Ok(_) => None,
                // A query that cannot be kept incrementally is refused by that mode alone.
                Err(error) if mode == RefreshMode::Incremental && !self.definition.incremental => {
                    Some(error.message().to_owned())
                }
                Err(error) => return Err(error),
            };
            ways.push(Way { mode, took: Vec::new(), went: None, refused });
        }
        let count = self.steps.len();
        for round in 0..FINDING_OUT + self.rounds {
            // Forth through all steps, and back.
            let (turn, place) = (round / count, round % count);
            let forth = turn % 2 == 0;
            self.apply(&self.steps[if forth { place } else { count - 1 - place }], forth)?;
            for offset in 0..ways.len() {
                // Each of them is first now and then.
                let place = (offset + round) % ways.len();
                let way = &mut ways[place];
                if way.refused.is_some() {
                    continue;
                }
                let (took, action) = self.refresh(way.mode)?;
                if round >= FINDING_OUT {
                    way.took.push(took);
                    way.went = action;
                }
            }
        }
        for verification in self.copy.verify(&[])? {
            if verification.skipped.is_none() && !verification.equal() {
                let message = format!("{} differs from its query after its refreshes", verification.name);
                return Err(Error::new(Code::Internal, message));
            }
            if let Some(error) = verification.error {
                return Err(error);
            }
        }
        Ok(Trial {
            name: self.definition.name.clone(),
            sources: self.sources.clone(),
            steps: self.steps.iter().map(|step| step.rows).collect(),
            replayed: self.replayed,
            ways,
        })
    }

    fn refresh(&self, mode: RefreshMode) -> Result<(Duration, Option<RefreshAction>)> {
        let names = vec![copy_name(mode)];
        let request = RefreshRequest { names, full: false, trigger: RefreshTrigger::Manual, worker: None };
        let began = Instant::now();
        let report = self.copy.refresh(&request)?.pop();
        let took = began.elapsed();
        match report {
            Some(report) => report.error.map_or(Ok((took, report.action)), Err),
            None => Err(Error::new(Code::Internal, "a refresh without a report")),
        }
    }

    fn statement(&self, mode: RefreshMode) -> CreateDynamicTable {
        let properties = Properties {
            refresh_mode: mode,
            target_lag: Some(TargetLag::Duration(Duration::from_hours(24))),
            scheduler: Scheduler::default(),
            ..self.definition.properties.clone()
        };
        CreateDynamicTable {
            mode: CreateMode::Create,
            if_not_exists: false,
            name: copy_name(mode),
            properties,
            query: self.definition.query.clone(),
            query_offset: 0,
        }
    }

    /// Brings the copied sources to the state behind a step, or back to the one before it.
    fn apply(&self, step: &Step, forth: bool) -> Result<()> {
        let session = &self.original.session;
        let weight = quote_identifier(WEIGHT);
        let (came, went) = if forth { (">", "<") } else { ("<", ">") };
        session.execute("BEGIN")?;
        let work = || -> Result<()> {
            for (table, relation) in &step.changes {
                let (copied, columns) = (table.quoted(COPY), self.columns(table)?);
                let list = |prefix: &str| -> String {
                    let columns = columns.iter().map(|column| format!("{prefix}{}", quote_identifier(column)));
                    columns.collect::<Vec<_>>().join(", ")
                };
                let same: Vec<String> = columns
                    .iter()
                    .map(|column| format!("t.{0} IS NOT DISTINCT FROM g.{0}", quote_identifier(column)))
                    .collect();
                // Of rows that are all the same as many go as went.
                let deleted = session.execute(&format!(
                    "DELETE FROM {copied} WHERE rowid IN (SELECT r FROM (\
                       SELECT t.rowid AS r, g.c, row_number() OVER (PARTITION BY {}) AS n FROM {copied} AS t JOIN (\
                         SELECT {}, count(*) AS c FROM {relation} WHERE {weight} {went} 0 GROUP BY ALL) AS g ON {}) \
                     WHERE n <= c)",
                    list("g."),
                    list(""),
                    same.join(" AND ")
                ))?;
                let expected = session.counts(&format!("SELECT count(*) FROM {relation} WHERE {weight} {went} 0"))?;
                if expected != [deleted] {
                    let message =
                        format!("{deleted} rows of the copy of {table} are those that changed, not {expected:?}");
                    return Err(Error::new(Code::Internal, message));
                }
                session.execute(&format!(
                    "INSERT INTO {copied} SELECT {} FROM {relation} WHERE {weight} {came} 0",
                    list("")
                ))?;
            }
            Ok(())
        };
        let result = work();
        let end = session.execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" });
        result.and(end.map(|_| ()))
    }
}

fn copy_name(mode: RefreshMode) -> ObjectName {
    let name = match mode {
        RefreshMode::Full => "__dt_trial_full",
        RefreshMode::Incremental => "__dt_trial_incremental",
        RefreshMode::Auto => "__dt_trial_auto",
    };
    ObjectName { catalog: None, schema: None, name: name.to_owned(), offset: 0, length: 0 }
}
