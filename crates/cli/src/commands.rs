//! What the verbs do, one file per verb.

mod alter;
mod bench;
pub mod completions;
mod config;
mod connection;
mod create;
mod demo;
mod describe;
mod doctor;
mod drop;
mod explain;
mod extensions;
mod graph;
mod history;
mod list;
mod refresh;
mod rename;
mod resume;
pub mod sandbox;
mod serve;
mod sql;
mod status;
mod suspend;
mod top;
mod transfer;
mod validate;
mod verify;
mod worker;

use ::refresh::DynamicTables;
use ::sql::names::ObjectName;
use error::{Code, Error, Result};

use crate::args::Command;
use crate::cancellation::{Cancellation, cancelled};
use crate::config::{Catalog, Config, local_catalog};
use crate::printer::Printer;

/// What every verb needs: the settings in force and the way out.
pub struct Context<'a> {
    /// The settings in force.
    pub config: &'a Config,
    /// The way out.
    pub printer: &'a mut Printer,
    /// What Ctrl-C did.
    pub cancellation: &'a Cancellation,
    exit_code: u8,
}

impl<'a> Context<'a> {
    /// Nothing has failed yet.
    pub fn new(config: &'a Config, printer: &'a mut Printer, cancellation: &'a Cancellation) -> Self {
        Self { config, printer, cancellation, exit_code: 0 }
    }

    /// The exit code of what was reported with [`Context::failed`].
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Reports a failure and goes on; the process will end with its exit code.
    pub fn failed(&mut self, error: &Error) {
        self.printer.error(error);
        self.exit_code = self.exit_code.max(error.code().exit_code());
    }

    /// Opens the lake, which must exist, and the registry. From here on Ctrl-C cancels what runs.
    fn open(&self) -> Result<DynamicTables> {
        self.check_lake()?;
        self.open_or_create()
    }

    /// Refuses a lake that does not exist.
    fn check_lake(&self) -> Result<()> {
        match local_catalog(&self.config.lake.path) {
            // Making one here would hide that the user is in the wrong folder.
            Catalog::File(path) if !path.exists() => {
                Err(Error::new(Code::Configuration, format!("there is no lake {}", path.display())).with_hint(
                    "Run this where the lake is, name the lake with --duckdb-path, or make it with a first table: \
                     dynamic-tables sql -c \"CREATE TABLE ...\"",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Like [`Context::open`], but makes a lake that does not exist.
    fn open_or_create(&self) -> Result<DynamicTables> {
        let lake = lake::Lake::open(&self.config.lake)?;
        let registry = registry::Registry::open(&self.config.registry)?;
        let tables = DynamicTables::open(lake, registry)?;
        let interrupter = tables.interrupter();
        self.cancellation.listen(move || interrupter.interrupt())?;
        Ok(tables)
    }

    /// A failure as it is reported: one that followed from Ctrl-C is a cancellation, whatever DuckDB calls it.
    fn or_cancelled<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| if self.cancellation.is_cancelled() { cancelled().with_source(error) } else { error })
    }
}

/// Does what the verb says.
pub fn run(context: &mut Context<'_>, command: &Command) -> Result<()> {
    match command {
        Command::Create(args) => create::run(context, args),
        Command::Validate(args) => validate::run(context, args),
        Command::List(args) => list::run(context, args),
        Command::Describe(args) => describe::run(context, args),
        Command::Status(args) => status::run(context, args),
        Command::Alter(args) => alter::run(context, args),
        Command::Refresh(args) => refresh::run(context, args),
        Command::Suspend(args) => suspend::run(context, args),
        Command::Resume(args) => resume::run(context, args),
        Command::Drop(args) => drop::run(context, args),
        Command::Rename(args) => rename::run(context, args),
        Command::History(args) => history::run(context, args),
        Command::Graph(args) => graph::run(context, args),
        Command::Top(args) => top::run(context, args),
        Command::Explain(args) => explain::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Bench(args) => bench::run(context, args),
        Command::Sql(args) => sql::run(context, args),
        Command::Worker(args) => worker::run(context, args),
        Command::Serve(_) => serve::run(context),
        Command::Demo(args) => demo::run(context, args),
        Command::Connection(args) => connection::run(context, args),
        Command::Config => {
            config::run(context);
            Ok(())
        }
        Command::Extensions(args) => extensions::run(context, args),
        Command::Doctor => doctor::run(context),
        Command::Completions(args) => {
            completions::run(args, context.printer);
            Ok(())
        }
        // Done before there are any settings.
        Command::Sandbox(_) => Ok(()),
    }
}

fn names(texts: &[String]) -> Result<Vec<ObjectName>> {
    texts.iter().map(|text| ObjectName::parse(text)).collect()
}
