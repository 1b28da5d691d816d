//! Running a script: every statement in its order, and after every refresh each table compared with its query.

use std::collections::{BTreeMap, HashMap};

use error::{Code, Error, Result};
use refresh::{RefreshReport, RefreshRequest};
use registry::{RefreshAction, RefreshState, RefreshTrigger};
use sql::names::ObjectName;
use sql::properties::RefreshMode;
use sql::statement::{Statement, parse_statements};
use testkit::lake::{CatalogKind, ThrowAway};

use crate::compare::{difference, same_columns};
use crate::oracle::Oracle;
use crate::round::mentions;
use crate::script::{Script, Step, mode_word};

/// What came of a dynamic table.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// It is maintained incrementally.
    pub incremental: bool,
    /// Why not, if INCREMENTAL was asked for.
    pub refused: Option<String>,
    /// The query cannot be evaluated, so nothing can be said.
    pub invalid: Option<String>,
    /// The query gives several results over the same rows, so nothing can be said.
    pub unstable: bool,
    /// What is wrong: the first thing that was found.
    pub wrong: Option<String>,
    /// How often each action was taken.
    pub actions: BTreeMap<&'static str, u64>,
}

struct Table {
    name: String,
    query: String,
    mode: RefreshMode,
    has_upstream: bool,
    /// Something happened since its last refresh that it may have to start over for.
    disturbed: bool,
    explained: Option<String>,
    verdict: Verdict,
}

struct Run<'a> {
    lake: &'a ThrowAway,
    oracle: Oracle<'a>,
    tables: Vec<Table>,
    in_transaction: bool,
}

/// Runs a script over a fresh lake and says what came of each table.
///
/// # Errors
/// When the lake cannot be opened or looked at. What a statement of the script says is no error.
pub fn run(script: &Script, kind: CatalogKind) -> Result<HashMap<String, Verdict>> {
    let lake = ThrowAway::with(kind, "threads=1")?;
    let mut run = Run { lake: &lake, oracle: Oracle::new(&lake), tables: Vec::new(), in_transaction: false };
    for (position, step) in script.steps.iter().enumerate() {
        match step {
            Step::Sql(text) => run.change(text)?,
            Step::Create { name, mode, query } => run.create(script, position, name, *mode, query)?,
            Step::Explain(name) => run.explain(name)?,
            Step::Refresh(names) => run.refresh(names)?,
        }
    }
    run.verify(if script.tables().len() > 3 { script.steps.len() } else { 0 })?;
    Ok(run.tables.into_iter().map(|table| (table.name, table.verdict)).collect())
}

impl Run<'_> {
    fn change(&mut self, text: &str) -> Result<()> {
        let word = |start: &str| text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
        // A statement that fails has changed nothing, which is as good as any change.
        let done = self.lake.others.execute(text).is_ok();
        match text {
            "BEGIN" => self.in_transaction = true,
            "COMMIT" | "ROLLBACK" => self.in_transaction = false,
            _ => {}
        }
        if !done && std::env::var_os("FUZZ_DEBUG").is_some() {
            let error = self.lake.others.execute(text).err();
            eprintln!("statement failed: {text}: {error:?}");
        }
        if word("CREATE VIEW") && done {
            self.oracle.view(text)?;
        }
        let reshapes =
            ["CREATE OR", "DROP", "ALTER", "CALL ducklake_expire", "CHECKPOINT"].iter().any(|verb| word(verb));
        for table in &mut self.tables {
            table.disturbed |= reshapes || mentions(text, &table.name);
            table.explained = None;
        }
        self.oracle.forget();
        Ok(())
    }

    /// A transaction that the script left open, because its end was cut away, ends before the next refresh.
    fn settle(&mut self) {
        if std::mem::take(&mut self.in_transaction) && self.lake.others.execute("COMMIT").is_err() {
            drop(self.lake.others.execute("ROLLBACK"));
        }
    }

    fn create(&mut self, script: &Script, position: usize, name: &str, mode: RefreshMode, query: &str) -> Result<()> {
        self.settle();
        let mut table = Table {
            name: name.to_owned(),
            query: query.to_owned(),
            mode,
            has_upstream: self.tables.iter().any(|other| mentions(query, &other.name)),
            disturbed: false,
            explained: None,
            verdict: Verdict::default(),
        };
        self.oracle.dynamic(name);
        if let Err(error) = self.oracle.is_suitable(query) {
            table.verdict.invalid = Some(error.to_string());
            self.tables.push(table);
            return Ok(());
        }
        match self.try_create(name, mode, query) {
            Err(error) if error.message().contains("cannot be refreshed incrementally") => {
                table.verdict.refused = Some(error.message().to_owned());
                table.mode = RefreshMode::Auto;
                self.finish_create(&mut table, RefreshMode::Auto)?;
            }
            first => self.finish(&mut table, first)?,
        }
        let read_later = |step: &Step| matches!(step, Step::Create { query, .. } if mentions(query, name));
        if script.steps[position + 1..].iter().any(read_later) {
            self.oracle.upstream(name, query);
        }
        self.tables.push(table);
        Ok(())
    }

    fn finish_create(&mut self, table: &mut Table, mode: RefreshMode) -> Result<()> {
        let created = self.try_create(&table.name, mode, &table.query);
        self.finish(table, created)
    }

    fn finish(&mut self, table: &mut Table, created: Result<bool>) -> Result<()> {
        match created {
            Ok(incremental) => {
                table.verdict.incremental = incremental;
                if table.mode == RefreshMode::Full && incremental {
                    table.verdict.wrong = Some("incremental in spite of REFRESH_MODE = FULL".to_owned());
                }
                self.compare(table, "after creation")
            }
            Err(error) => {
                match self.oracle.evaluable(&table.query) {
                    Ok(()) => table.verdict.wrong = Some(format!("cannot be created: {error}")),
                    Err(cause) => table.verdict.invalid = Some(cause.to_string()),
                }
                Ok(())
            }
        }
    }

    fn try_create(&self, name: &str, mode: RefreshMode, query: &str) -> Result<bool> {
        let text = format!(
            "CREATE DYNAMIC TABLE {name} TARGET_LAG = '1 minute' REFRESH_MODE = {} AS\n{query}",
            mode_word(mode)
        );
        for statement in parse_statements(&text)? {
            if let Statement::Create(create) = statement.value {
                return self.lake.tables.create(&create, &text).map(|created| created.incremental);
            }
        }
        Err(Error::new(Code::Internal, "no statement"))
    }

    fn explain(&mut self, name: &str) -> Result<()> {
        self.settle();
        let object = ObjectName::parse(name)?;
        let Some(table) = self.tables.iter_mut().find(|table| table.name == name && is_watched(table)) else {
            return Ok(());
        };
        match self.lake.tables.explain(&object) {
            Ok(explanation) => {
                let mode = if table.verdict.incremental { "INCREMENTAL" } else { "FULL" };
                if explanation.mode != mode {
                    table.verdict.wrong = Some(format!("explain says {}, creation said {mode}", explanation.mode));
                }
                table.explained = explanation.choice.map(|choice| choice.action);
            }
            Err(error) => match self.oracle.evaluable(&table.query) {
                Ok(()) => table.verdict.wrong = Some(format!("explain failed: {error}")),
                Err(cause) => table.verdict.invalid = Some(cause.to_string()),
            },
        }
        Ok(())
    }

    fn refresh(&mut self, names: &[String]) -> Result<()> {
        self.settle();
        let there = |name: &&String| self.tables.iter().any(|table| &table.name == *name && table.exists());
        let names = names.iter().filter(there).map(|name| ObjectName::parse(name)).collect::<Result<Vec<_>>>()?;
        if names.is_empty() {
            return Ok(());
        }
        let version = self.lake.others.query("SELECT id FROM lake.current_snapshot()")?;
        let version = version.rows.first().and_then(|row| row[0].as_ref()?.parse::<i64>().ok());
        let request = RefreshRequest { names, full: false, trigger: RefreshTrigger::Manual, worker: None };
        let reports = self.lake.tables.refresh(&request)?;
        for report in reports {
            let Some(number) = self.tables.iter().position(|table| table.name == report.name.name) else { continue };
            let mut table = self.tables.remove(number);
            let result = self.judge(&mut table, &report, version);
            self.tables.insert(number, table);
            result?;
        }
        Ok(())
    }

    fn judge(&mut self, table: &mut Table, report: &RefreshReport, version: Option<i64>) -> Result<()> {
        let disturbed = std::mem::take(&mut table.disturbed);
        let explained = table.explained.take();
        if !is_watched(table) || report.state == RefreshState::UpstreamFailed {
            return Ok(());
        }
        if report.state != RefreshState::Succeeded {
            // Failing where the query itself fails is right.
            match self.oracle.evaluable(&table.query) {
                Ok(()) => {
                    let cause = report.error.as_ref().map_or_else(|| report.reason.clone(), ToString::to_string);
                    table.verdict.wrong = Some(format!("the refresh failed: {cause}"));
                }
                Err(cause) => table.verdict.invalid = Some(cause.to_string()),
            }
            return Ok(());
        }
        let action = report.action.map_or("", RefreshAction::as_str);
        *table.verdict.actions.entry(action).or_default() += 1;
        let said = format!("{action}: {}", report.reason);
        self.compare(table, &format!("after a refresh, {said}"))?;
        if report.reason.starts_with("the table lacks") && has_several_windows(&table.query) {
            // A group that was computed again with the same rows, told apart otherwise: computed in full, as it has to be.
            table.verdict.unstable = true;
            return Ok(());
        }
        let forced = table.mode == RefreshMode::Incremental;
        let wrong = match report.action {
            Some(RefreshAction::Incremental) if !table.verdict.incremental => Some("incremental, was stated FULL"),
            // What the engine cannot run is none of ours, as long as the whole result can be had.
            Some(RefreshAction::Full) if forced && !report.reason.starts_with("the engine could not") => {
                Some("full, was stated INCREMENTAL")
            }
            Some(RefreshAction::Reinitialize) if !disturbed && !table.has_upstream => {
                Some("started over without cause")
            }
            _ if version.is_some() && report.data_version != version => Some("not at the newest snapshot"),
            _ => None,
        };
        let wrong = wrong.map(|wrong| format!("{wrong} ({said})")).or_else(|| {
            let explained = explained.filter(|explained| explained != action && !table.has_upstream)?;
            Some(format!("explain said {explained} ({said})"))
        });
        if is_watched(table) {
            table.verdict.wrong = wrong;
        }
        Ok(())
    }

    fn compare(&mut self, table: &mut Table, when: &str) -> Result<()> {
        let expected = match self.oracle.rows(&table.query) {
            Ok(expected) => expected,
            Err(cause) => {
                table.verdict.invalid = Some(cause.to_string());
                return Ok(());
            }
        };
        let found = self.lake.others.query(&format!("SELECT * FROM lake.main.{}", table.name))?;
        let Some(difference) = difference(&expected, &found) else { return Ok(()) };
        for salt in 0..6 {
            self.oracle.shuffle(salt)?;
            let again = self.oracle.rows(&table.query);
            if !again.is_ok_and(|again| crate::compare::difference(&expected, &again).is_none()) {
                table.verdict.unstable = true;
                return Ok(());
            }
        }
        let chosen_by_one = table.query.contains(" QUALIFY ") && expected.rows.len() == found.rows.len();
        if has_several_windows(&table.query) && (chosen_by_one || same_columns(&expected, &found)) {
            table.verdict.unstable = true;
            return Ok(());
        }
        table.verdict.wrong = Some(format!("{when}: {difference}"));
        Ok(())
    }

    /// The product's own check must agree. It takes as long as everything else together, so some tables stand for all.
    fn verify(&mut self, salt: usize) -> Result<()> {
        self.settle();
        let watched = self.tables.iter().filter(|table| is_watched(table)).skip(salt % 3).step_by(3);
        let names = watched.map(|table| ObjectName::parse(&table.name)).collect::<Result<Vec<_>>>()?;
        if names.is_empty() {
            return Ok(());
        }
        for verification in self.lake.tables.verify(&names)? {
            let found = self.tables.iter_mut().find(|table| table.name == verification.name.name);
            let Some(table) = found.filter(|table| is_watched(table)) else { continue };
            if verification.skipped.is_none() && !verification.equal() {
                table.verdict.wrong = Some(format!(
                    "verify: {} missing, {} surplus at data version {:?}",
                    verification.missing, verification.surplus, verification.data_version
                ));
            }
        }
        Ok(())
    }
}

impl Table {
    /// It was created.
    fn exists(&self) -> bool {
        !self.verdict.actions.is_empty() || self.verdict.invalid.is_none() && self.verdict.wrong.is_none()
    }
}

/// Rows that are alike in everything are told apart by each window as it likes: which number of the one window stands
/// beside which value of the other has no one answer; where one of them chooses rows in QUALIFY, nor has which number of the
/// other is chosen.
pub(crate) fn has_several_windows(query: &str) -> bool {
    query.matches(" OVER ").count() > 1
}

/// Nothing has been found about it yet that ends the matter.
fn is_watched(table: &Table) -> bool {
    table.verdict.invalid.is_none() && table.verdict.wrong.is_none() && !table.verdict.unstable
}
