//! What it costs to look when nothing has changed, by the number of tables.

use std::time::Duration;

use error::{Code, Error, Result};
use lake::Lake;
use refresh::{DynamicTables, Poll};
use registry::{DynamicTable, Registry};
use testkit::lake::{CatalogKind, ThrowAway};
use testkit::postgres::Postgres;
use uuid::Uuid;

use crate::figures::{longest, median, milliseconds, ratio, timed};
use crate::report::{Bound, Scene};

const LOOKS: usize = 101;
const COMMITS: usize = 5;

/// A poll of so many tables may take this long.
const LIMIT: Duration = Duration::from_millis(50);

struct Measured {
    quiet: Duration,
    worst: Duration,
    first: Duration,
    elsewhere: Duration,
}

/// Looks at lakes with ever more tables.
///
/// # Errors
/// What lake or registry say.
pub fn run(quick: bool) -> Result<Scene> {
    let sizes: &[usize] = if quick { &[10, 1_000] } else { &[10, 100, 1_000, 10_000] };
    let mut rows = Vec::new();
    let mut bounds = Vec::new();
    for (kind, name) in [(CatalogKind::Postgres, "PostgreSQL"), (CatalogKind::Sqlite, "SQLite")] {
        let mut measured = Vec::new();
        for size in sizes {
            let of_size = measure(kind, *size)?;
            rows.push(vec![
                name.to_owned(),
                size.to_string(),
                milliseconds(of_size.quiet),
                milliseconds(of_size.worst),
                milliseconds(of_size.elsewhere),
                milliseconds(of_size.first),
            ]);
            measured.push(of_size);
        }
        if let (Some(few), Some(many), Some(count)) = (measured.first(), measured.last(), sizes.last()) {
            let in_ms = many.quiet.as_secs_f64() * 1e3;
            let limit = LIMIT.as_secs_f64() * 1e3;
            bounds.push(Bound::at_most(format!("{name}: a quiet look at {count} tables in ms"), in_ms, limit));
            let growth = ratio(many.quiet, few.quiet);
            let what = format!("{name}: a quiet look at {count} tables as a multiple of one at {}", sizes[0]);
            bounds.push(Bound::at_most(what, growth, 1.5));
        }
    }
    Ok(Scene {
        name: "poll",
        about: format!(
            "A look at tables that are not due, lake and registry in one database server or file (ms). Quiet: nothing happened \
             since the last look, median and worst of {LOOKS}. Elsewhere: somebody committed to a table that no dynamic table \
             reads, median of {COMMITS}. First: the first look of a process. The tables are registered copies of one."
        ),
        columns: vec!["registry", "tables", "quiet", "worst", "elsewhere", "first"],
        rows,
        notes: Vec::new(),
        bounds,
    })
}

fn measure(kind: CatalogKind, size: usize) -> Result<Measured> {
    let lake = ThrowAway::with(kind, "")?;
    let registry = match kind {
        CatalogKind::Postgres => Postgres::shared()?.fresh_database()?,
        _ => lake.registry_url().to_owned(),
    };
    let open = || DynamicTables::open(Lake::open(lake.options())?, Registry::open(&registry)?);
    lake.run("CREATE TABLE lake.src AS SELECT i AS id, i % 10 AS k FROM range(5000) t(i); CREATE TABLE lake.elsewhere (i INT)")?;
    let tables = open()?;
    create(&tables, "CREATE DYNAMIC TABLE t0 TARGET_LAG = '1 day' AS SELECT k, count(*) AS n FROM src GROUP BY k")?;
    let pattern = tables.registry().load_all()?.pop();
    let pattern = pattern.ok_or_else(|| Error::new(Code::Internal, "the table was not registered"))?;
    for number in 1..size {
        tables.registry().create(&copy_of(&pattern, number))?;
    }
    // A process that has done nothing yet.
    let tables = open()?;
    let poll = Poll { interval: Duration::from_secs(60), queues: Vec::new(), now: None };
    let look = || timed(|| tables.look(&poll)).map(|(look, took)| (look.tables, took));
    let (seen, first) = look()?;
    if seen != size {
        return Err(Error::new(Code::Internal, format!("a look saw {seen} of {size} tables")));
    }
    let mut quiet = Vec::new();
    for _ in 0..LOOKS {
        quiet.push(look()?.1);
    }
    let mut elsewhere = Vec::new();
    for _ in 0..COMMITS {
        lake.run("INSERT INTO lake.elsewhere VALUES (1)")?;
        elsewhere.push(look()?.1);
    }
    Ok(Measured { quiet: median(&quiet), worst: longest(&quiet), first, elsewhere: median(&elsewhere) })
}

fn create(tables: &DynamicTables, text: &str) -> Result<()> {
    for statement in sql::statement::parse_statements(text)? {
        if let sql::statement::Statement::Create(create) = statement.value {
            tables.create(&create, &statement.text)?;
        }
    }
    Ok(())
}

fn copy_of(pattern: &DynamicTable, number: usize) -> DynamicTable {
    let mut table = pattern.clone();
    table.definition.id = Uuid::now_v7();
    table.definition.name.name = format!("t{number}");
    table
}
