//! `demo`: a lake with months of real flights, dynamic tables over them, and then the days that followed, step by step,
//! each followed by a refresh; at the end what that took, beside what computing everything again would have taken.
//!
//! All of the data and of the SQL is in `examples/flights`, for a person to read and run by hand; here is only the
//! order in which it happens. The demo goes the way of every user: statements, refresh, verify.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::refresh::{AutoPolicy, DynamicTables, RefreshReport, RefreshRequest, Verification};
use ::sql::names::{TableName, quote_identifier, quote_literal};
use ::sql::statement::parse_statements;
use error::{Code, Error, Result};
use lake::{Lake, Options, Session};
use registry::{RefreshAction, RefreshTrigger, Registry};

use crate::args::DemoArgs;
use crate::commands::{Context, create};
use crate::config::Origin;
use crate::input::Input;
use crate::listing::{Cell, Listing, duration, duration_text, optional};
use crate::printer::Steps;

/// What the lake holds at first.
const LOAD: &str = include_str!("../../../../examples/flights/load.sql");
/// The dynamic tables.
const DEFINITIONS: &str = include_str!("../../../../examples/flights/dynamic_tables.sql");
/// What happens on a day, in this order.
const DAY: [(&str, &str); 4] = [
    ("timetable", include_str!("../../../../examples/flights/timetable.sql")),
    ("departures", include_str!("../../../../examples/flights/departures.sql")),
    ("arrivals", include_str!("../../../../examples/flights/arrivals.sql")),
    ("corrections", include_str!("../../../../examples/flights/corrections.sql")),
];

/// The files that a folder of flights has.
const FILES: [&str; 5] = ["airlines", "airports", "flights", "planes", "weather"];

/// Marks a folder as one that the demo made and may make anew.
const MARK: &str = "made-by-dynamic-tables-demo.txt";
const MARK_TEXT: &str =
    "`dynamic-tables demo` made this folder. It deletes everything in it when it runs again: keep nothing here.\n";

/// How often a full recompute is measured.
const RECOMPUTES: usize = 3;

/// Runs the demo.
pub fn run(context: &mut Context<'_>, args: &DemoArgs) -> Result<()> {
    let data = data_folder(&args.data)?;
    let place = Place::prepare(&args.keep)?;
    let lake = Lake::open(&place.options(context))?;
    let others = lake.session()?;
    let tables = DynamicTables::open(lake, Registry::open(&place.registry())?)?;
    let (ours, theirs) = (tables.interrupter(), others.interrupt_handle());
    context.cancellation.listen(move || {
        ours.interrupt();
        theirs.interrupt();
    })?;
    let result = play(context, args, &data, &tables, &others);
    let played = context.or_cancelled(result)?;
    print(context, &played, &place);
    Ok(())
}

/// What came of the demo.
struct Played {
    acts: Vec<Act>,
    /// Refreshes of each table after its creation.
    refreshes: usize,
    /// Rows of flights at the end.
    flights: String,
}

/// One dynamic table in the demo.
struct Act {
    name: TableName,
    /// Why it is not incremental.
    reason: Option<String>,
    actions: BTreeMap<&'static str, u64>,
    rows_changed: u64,
    refreshing: Duration,
    recompute: Duration,
    verification: Option<Verification>,
}

fn play(
    context: &mut Context<'_>,
    args: &DemoArgs,
    data: &Path,
    tables: &DynamicTables,
    others: &Session,
) -> Result<Played> {
    others.execute(&format!("SET VARIABLE data = {}", quote_literal(&data.display().to_string())))?;
    let input = Input { name: "examples/flights/dynamic_tables.sql".to_owned(), text: DEFINITIONS.to_owned() };
    let definitions = create::statements(&input)?;
    let days = days(others, args.days)?;
    let count = 1 + definitions.len() + days.len() * DAY.len() + definitions.len();
    let steps = context.printer.steps(u64::try_from(count).unwrap_or(u64::MAX));

    // At this size AUTO would soon find out that computing everything is faster, and that is nothing to see.
    tables.set_auto(AutoPolicy { floor_rows: 0, least_gain: Duration::MAX });
    load(others, &days, &steps)?;
    let mut acts = Vec::new();
    for definition in &definitions {
        context.cancellation.check()?;
        steps.begin(&format!("creating {}", definition.create.name));
        let started = Instant::now();
        let created = tables.create(&definition.create, &input.text).map_err(|error| input.locate(error))?;
        let mode = if created.incremental { "incremental" } else { "full" };
        steps.done(&format!("created {} ({mode}) in {}", created.name.name, duration_text(started.elapsed())));
        acts.push(Act {
            name: created.name,
            reason: created.reason,
            actions: BTreeMap::new(),
            rows_changed: 0,
            refreshing: Duration::ZERO,
            recompute: Duration::ZERO,
            verification: None,
        });
    }
    for day in &days {
        others.execute(&format!("SET VARIABLE day = DATE {}", quote_literal(day)))?;
        for (step, script) in DAY {
            context.cancellation.check()?;
            steps.begin(&format!("{day} {step}"));
            let changed = execute(others, script)?;
            let started = Instant::now();
            let reports = tables.refresh(&everything())?;
            let took = duration_text(started.elapsed());
            steps.done(&format!("{day} {step}: {changed} rows changed; {} refreshed in {took}", summary(&reports)));
            for report in reports {
                note(&mut acts, report)?;
            }
        }
    }
    for act in &mut acts {
        context.cancellation.check()?;
        steps.begin(&format!("verifying {}", act.name.name));
        let name = ::sql::names::ObjectName::parse(&act.name.to_string())?;
        act.verification = tables.verify(std::slice::from_ref(&name))?.pop();
        act.recompute = recompute(others, &tables.describe(&name)?.query)?;
        steps.done(&format!("verified {}", act.name.name));
    }
    let flights = others.query("SELECT count(*) FROM flights")?;
    let flights = flights.rows.into_iter().flatten().flatten().next().unwrap_or_default();
    Ok(Played { acts, refreshes: days.len() * DAY.len(), flights })
}

/// All dynamic tables, as `dynamic-tables refresh` asks for them.
fn everything() -> RefreshRequest {
    RefreshRequest { names: Vec::new(), full: false, trigger: RefreshTrigger::Manual, worker: None }
}

/// The first days of the last month of the data: those that arrive.
fn days(session: &Session, count: u32) -> Result<Vec<String>> {
    let rows = session.query(&format!(
        "SELECT DISTINCT make_date(year, month, day) AS day FROM read_parquet(getvariable('data') || '/flights.parquet') \
         WHERE (year, month) = (SELECT max((year, month)) FROM read_parquet(getvariable('data') || '/flights.parquet')) \
         ORDER BY day LIMIT {count}"
    ))?;
    Ok(rows.rows.into_iter().flatten().flatten().collect())
}

fn load(session: &Session, days: &[String], steps: &Steps) -> Result<()> {
    let first =
        days.first().ok_or_else(|| Error::new(Code::Configuration, "there are no flights in flights.parquet"))?;
    steps.begin("loading the months before");
    let started = Instant::now();
    session.execute(&format!("SET VARIABLE first_day = DATE {}", quote_literal(first)))?;
    execute(session, LOAD)?;
    steps.done(&format!("loaded everything before {first} in {}", duration_text(started.elapsed())));
    Ok(())
}

/// Runs the statements of a script; how many rows they changed together.
fn execute(session: &Session, script: &str) -> Result<u64> {
    let mut changed = 0;
    for statement in parse_statements(script)? {
        changed += session.execute(&statement.text)?;
    }
    Ok(changed)
}

/// `6 incremental, 2 full`.
fn summary(reports: &[RefreshReport]) -> String {
    let mut actions: BTreeMap<&str, usize> = BTreeMap::new();
    for report in reports {
        *actions.entry(report.action.map_or(report.state.as_str(), |action| action.as_str())).or_default() += 1;
    }
    let parts =
        actions.into_iter().map(|(action, count)| format!("{count} {}", action.to_lowercase().replace('_', " ")));
    parts.collect::<Vec<_>>().join(", ")
}

fn note(acts: &mut [Act], report: RefreshReport) -> Result<()> {
    if let Some(error) = report.error {
        return Err(error.with_context("table", report.name.to_string()));
    }
    let (Some(act), Some(action)) = (acts.iter_mut().find(|act| act.name == report.name), report.action) else {
        return Ok(());
    };
    *act.actions.entry(action.as_str()).or_default() += 1;
    act.rows_changed += report.rows_inserted + report.rows_deleted;
    act.refreshing += report.duration;
    if matches!(action, RefreshAction::Full | RefreshAction::Reinitialize) {
        act.reason.get_or_insert(report.reason);
    }
    Ok(())
}

/// The median time of computing a query's result and writing it into the lake as a new table, which is thrown away.
fn recompute(session: &Session, query: &str) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..RECOMPUTES {
        session.execute("BEGIN TRANSACTION")?;
        let started = Instant::now();
        let written =
            session.execute(&format!("CREATE TABLE {} AS {query}", quote_identifier("recomputed by the demo")));
        times.push(started.elapsed());
        session.execute("ROLLBACK")?;
        written?;
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn print(context: &mut Context<'_>, played: &Played, place: &Place) {
    let mut listing = Listing::new([
        "name",
        "no_data",
        "incremental",
        "full",
        "reinitialize",
        "rows_changed",
        "refreshing",
        "recomputing",
        "gain",
        "verified",
        "why_full",
    ]);
    for act in &played.acts {
        let count = |action: RefreshAction| act.actions.get(action.as_str()).copied().unwrap_or(0).into();
        let recomputing = act.recomputing(played.refreshes);
        let equal = act.verification.as_ref().is_some_and(Verification::equal);
        let mut row: Vec<Cell> = vec![act.name.name.as_str().into()];
        row.extend(
            [RefreshAction::NoData, RefreshAction::Incremental, RefreshAction::Full, RefreshAction::Reinitialize]
                .map(count),
        );
        row.extend([
            act.rows_changed.into(),
            duration(act.refreshing),
            duration(recomputing),
            gain(recomputing, act.refreshing),
            if equal { "equal" } else { "DIFFERS" }.into(),
            optional(act.reason.as_deref(), Into::into),
        ]);
        listing.row(row);
    }
    context.printer.say("");
    context.printer.listing(&listing);
    context.printer.say(&caption(played));
    context.printer.say("\nLook around:");
    for words in ["status", "explain daily_by_carrier", "sql"] {
        context.printer.say(&format!("  {} {words}", place.invocation(context)));
    }
    let verified: Vec<&Verification> = played.acts.iter().filter_map(|act| act.verification.as_ref()).collect();
    for verification in verified.iter().filter(|one| !one.equal()) {
        let problem = match &verification.skipped {
            Some(why) => format!("{} was not compared with its query: {why}", verification.name),
            None => format!(
                "{} differs from its query: {} rows missing, {} too many",
                verification.name, verification.missing, verification.surplus
            ),
        };
        context.failed(&Error::new(Code::Internal, problem));
    }
    let equal = verified.iter().filter(|one| one.equal()).count();
    context.printer.say(&format!("\nverified: {equal} of {} dynamic tables equal their queries", played.acts.len()));
}

impl Act {
    fn recomputing(&self, refreshes: usize) -> Duration {
        self.recompute.saturating_mul(u32::try_from(refreshes).unwrap_or(u32::MAX))
    }
}

/// How many times as long the first takes.
fn gain(of: Duration, than: Duration) -> Cell {
    let ratio = of.as_secs_f64() / than.as_secs_f64().max(1e-6);
    Cell::shown((ratio * 100.0).round() / 100.0, format!("{ratio:.1}x"))
}

fn caption(played: &Played) -> String {
    let Played { acts, refreshes, flights } = played;
    let mut text = format!(
        "\nrefreshing:  all {refreshes} refreshes of the table together, finding out what changed and committing included\n\
         recomputing: {refreshes} x the median of {RECOMPUTES} times CREATE TABLE AS its query into this lake, without the \
         commit, measured in this run at its end"
    );
    let slower: Vec<&str> = acts
        .iter()
        .filter(|act| act.recomputing(*refreshes) < act.refreshing)
        .map(|act| act.name.name.as_str())
        .collect();
    if !slower.is_empty() {
        let which = if slower.len() == acts.len() { "every table".to_owned() } else { slower.join(", ") };
        text.push_str(&format!(
            "\n\nComputing everything again was faster for {which}.\nDuckDB reads {flights} flights in less time than \
             the bookkeeping of a refresh takes; the former grows with the table, the latter does not."
        ));
    }
    text
}

fn data_folder(folder: &Path) -> Result<PathBuf> {
    let unfit = |problem: String| {
        Error::new(Code::Configuration, problem)
            .with_context("folder", folder.display().to_string())
            .with_hint("Name the folder examples/flights/data of the sources with --data.")
    };
    let missing = FILES.iter().map(|name| format!("{name}.parquet")).find(|name| !folder.join(name).is_file());
    if let Some(missing) = missing {
        return Err(unfit(format!("there is no {missing} in the folder of flights")));
    }
    folder.canonicalize().map_err(|source| unfit("cannot find the folder of flights".to_owned()).with_source(source))
}

/// Where the demo's lake and registry are.
struct Place {
    folder: PathBuf,
}

impl Place {
    /// An empty folder: a new one, an empty one, or that of an earlier demo without what it held.
    fn prepare(folder: &Path) -> Result<Self> {
        let failed = |source: std::io::Error| {
            Error::new(Code::Resource, "cannot prepare the folder for the lake")
                .with_context("folder", folder.display().to_string())
                .with_source(source)
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let ours = folder.join(MARK).is_file();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            if !ours {
                return Err(Error::new(
                    Code::Configuration,
                    "the folder for the lake is not empty and not that of a demo",
                )
                .with_context("folder", folder.display().to_string())
                .with_hint("Name an empty or a new folder with --keep."));
            }
            let entry = entry.map_err(failed)?;
            // The mark goes last, so that a cancelled cleaning can be taken up again.
            if entry.file_name() == MARK {
                continue;
            }
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            let path = entry.path();
            if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.map_err(failed)?;
        }
        std::fs::write(folder.join(MARK), MARK_TEXT).map_err(failed)?;
        Ok(Self { folder })
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn lake(&self) -> String {
        format!("ducklake:sqlite:{}", self.file("lake.sqlite"))
    }

    /// The registry where every command looks for it that is told of the lake only.
    fn registry(&self) -> String {
        self.file("dynamic_tables.sqlite")
    }

    /// What is set for the engine holds for the demo; what is set for the user's own lake does not.
    fn options(&self, context: &Context<'_>) -> Options {
        let set = &context.config.lake;
        Options {
            path: self.lake(),
            data_path: Some(format!("{}/", self.file("lake_data"))),
            settings: set.settings.clone(),
            extension_directory: set.extension_directory.clone(),
            ..Options::default()
        }
    }

    /// The beginning of a command on this lake that a person can copy.
    fn invocation(&self, context: &Context<'_>) -> String {
        let program = std::env::args().next().filter(|program| program.contains('/'));
        let mut words =
            vec![program.unwrap_or_else(|| "dynamic-tables".to_owned()), "--duckdb-path".to_owned(), self.lake()];
        // Whoever has a lake and a registry of their own in the environment would otherwise look there.
        let defaults = Options::default();
        for (setting, value) in
            [("pg-url", self.registry()), ("lake-alias", defaults.alias), ("schema", defaults.schema)]
        {
            if context.config.setting(setting).is_some_and(|known| known.origin != Origin::Default) {
                words.extend([format!("--{setting}"), value]);
            }
        }
        words.iter().map(|word| for_shell(word)).collect::<Vec<_>>().join(" ")
    }
}

/// A word as a shell takes it.
fn for_shell(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./:=@%+,".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
